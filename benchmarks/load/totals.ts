/** What the generator processes say at one time, added up. */
import { Violations } from '../../core/checks/violation.js';
import { Histogram } from './histogram.js';
import { addCounters, type Counters, emptyCounters, type Stats } from './messages.js';

export interface Totals {
  counters: Counters;
  rejected: Map<number, number>;
  violations: Violations;
  interval: Histogram;
  accepted: Histogram;
  connections: number;
  wanted: number;
  unfounded: number;
  inFlight: number;
  isSending: boolean;
  waiting: number;
  readsWaiting: number;
  exhausted: boolean;
  /** Of the process that is latest. */
  lagMs: number;
  /** Share of a core that the busiest process takes, and that all take together. */
  cpu: number;
  cpuOfAll: number;
}

export function addUp(all: readonly Stats[]): Totals {
  const totals: Totals = {
    counters: emptyCounters(),
    rejected: new Map(),
    violations: new Violations(),
    interval: new Histogram(),
    accepted: new Histogram(),
    connections: 0,
    wanted: 0,
    unfounded: 0,
    inFlight: 0,
    isSending: false,
    waiting: 0,
    readsWaiting: 0,
    exhausted: true,
    lagMs: 0,
    cpu: 0,
    cpuOfAll: 0,
  };
  for (const stats of all) {
    addCounters(totals.counters, stats.counters);
    addMap(totals.rejected, stats.rejected);
    totals.violations.absorb([], stats.tally);
    totals.interval.addState(stats.interval);
    totals.accepted.addState(stats.accepted);
    totals.connections += stats.connections;
    totals.wanted += stats.wanted;
    totals.unfounded += stats.unfounded;
    totals.inFlight += stats.inFlight;
    totals.isSending ||= stats.isSending;
    totals.waiting += stats.waiting;
    totals.readsWaiting += stats.readsWaiting;
    totals.exhausted &&= stats.exhausted;
    totals.lagMs = Math.max(totals.lagMs, stats.lagMs);
    totals.cpu = Math.max(totals.cpu, stats.cpu);
    totals.cpuOfAll += stats.cpu;
  }
  return totals;
}

function addMap<K>(to: Map<K, number>, from: ReadonlyMap<K, number>): void {
  for (const [key, count] of from) to.set(key, (to.get(key) ?? 0) + count);
}

export function backlogOf(totals: Totals): number {
  return Math.max(0, totals.counters.expected - totals.counters.seen);
}
