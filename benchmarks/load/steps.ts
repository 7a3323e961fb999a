/**
 * Steps at given rates, one after the other, within one run: what the search for the highest rate and the benchmarks are made of.
 * Every message of every step is verified as in any other run.
 */
import { monotonicMs } from './clock.js';
import { Histogram, summarise } from './histogram.js';
import type { Command } from './messages.js';
import type { StepFigures } from './result.js';
import { backlogOf, type Totals } from './totals.js';
import type { Workload } from './workload.js';

const POLL_MS = 1_000;
const SHORT_POLL_MS = 100;
const STEP_MS_MAX = 60_000;
/** Above these a generator process is short of processor time. */
export const GENERATOR_CPU_MAX = 0.85;
const GENERATOR_LAG_MS_MAX = 50;

export interface StepOptions {
  /** Messages a second, all processes together. */
  readonly rate: number;
  readonly warmUpMs: number;
  readonly measureMs: number;
  /** The step goes on until so many sends are acknowledged, however long that takes, up to a minute. */
  readonly ackedMin?: number;
  /** As in the workload; without it, the workload's. */
  readonly outstandingMax?: number;
  /** Called when the warm-up is over. */
  readonly measures?: () => void;
}

/** What a run lends to its steps. */
export interface StepControl {
  readonly startMs: number;
  readonly workload: Pick<Workload, 'drainMs' | 'outstandingMax'>;
  isStopped(): boolean;
  tellAll(command: Command): void;
  pause(ms: number): Promise<void>;
  /** Asks all processes, and keeps what they say in the run's series. */
  observe(): Promise<Totals>;
  /** False if `withinMs` passed before `done`. */
  waitFor(withinMs: number, done: (totals: Totals) => boolean): Promise<boolean>;
}

export function isBusy({ cpu, lagMs }: Pick<Totals, 'cpu' | 'lagMs'>): boolean {
  return cpu > GENERATOR_CPU_MAX || lagMs > GENERATOR_LAG_MS_MAX;
}

export class Stepper {
  readonly #control: StepControl;

  constructor(control: StepControl) {
    this.#control = control;
  }

  /** Ctrl-C: no more steps are wanted. What a step came to is of no use then. */
  get isStopped(): boolean {
    return this.#control.isStopped();
  }

  /** Sends at the rate, and goes on until the next step or `settle`. */
  async step(options: StepOptions): Promise<StepFigures> {
    const { rate, warmUpMs, measureMs, measures, outstandingMax, ackedMin = 0 } = options;
    const control = this.#control;
    control.tellAll({
      type: 'rate',
      ratePerSecond: rate,
      fromMs: monotonicMs() - control.startMs,
      outstandingMax: outstandingMax ?? control.workload.outstandingMax,
    });
    await control.pause(warmUpMs);
    const before = await control.observe();
    measures?.();
    const fromMs = monotonicMs();
    const latencies = new Histogram();
    const accepted = new Histogram();
    let last = before;
    const polls: Totals[] = [];
    const isShort = (): boolean =>
      last.counters.acked - before.counters.acked < ackedMin && monotonicMs() < fromMs + STEP_MS_MAX;
    while ((monotonicMs() < fromMs + measureMs || isShort()) && !control.isStopped()) {
      const leftMs = fromMs + measureMs - monotonicMs();
      await control.pause(leftMs > 0 ? Math.min(POLL_MS, leftMs) : SHORT_POLL_MS);
      last = await control.observe();
      latencies.add(last.interval);
      accepted.add(last.accepted);
      polls.push(last);
    }
    const seconds = Math.max(0.001, (monotonicMs() - fromMs) / 1_000);
    const perSecond = (name: 'sent' | 'acked' | 'delivered'): number =>
      Math.round((last.counters[name] - before.counters[name]) / seconds);
    const summary = summarise(latencies);
    return {
      rate,
      sent_per_s: perSecond('sent'),
      acked_per_s: perSecond('acked'),
      delivered_per_s: perSecond('delivered'),
      rejected_per_s: Math.round((rejectionsOf(last) - rejectionsOf(before)) / seconds),
      p50_ms: summary?.p50 ?? null,
      p95_ms: summary?.p95 ?? null,
      p99_ms: summary?.p99 ?? null,
      accepted_p99_ms: summarise(accepted)?.p99 ?? null,
      backlog: backlogOf(last),
      outstanding: last.inFlight,
      violations: last.violations.total,
      generator_cpu: maxOf(polls, ({ cpu }) => cpu),
      generator_cpu_of_all: maxOf(polls, ({ cpuOfAll }) => cpuOfAll),
      generator_lag_ms: maxOf(polls, ({ lagMs }) => lagMs),
      generator_busy_share: polls.filter(isBusy).length / Math.max(1, polls.length),
    };
  }

  /** Nothing is sent until what is under way has arrived. False: it has not, within the time that the run has for draining. */
  async settle(): Promise<boolean> {
    this.#control.tellAll({ type: 'stop', atMs: monotonicMs() });
    return this.#control.waitFor(
      this.#control.workload.drainMs,
      (totals) => !totals.isSending && totals.waiting === 0 && totals.inFlight === 0 && backlogOf(totals) === 0,
    );
  }
}

function rejectionsOf({ rejected }: Totals): number {
  let sum = 0;
  for (const count of rejected.values()) sum += count;
  return sum;
}

/** To two decimals. */
function maxOf(polls: readonly Totals[], of: (totals: Totals) => number): number {
  return Math.round(100 * polls.reduce((max, totals) => Math.max(max, of(totals)), 0)) / 100;
}
