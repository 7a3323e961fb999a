/**
 * What a run comes to: the JSON that `--json` writes, and the one line that everybody reads. Field names are those of the
 * file; times are milliseconds, rates are a second.
 */
import { cpus, totalmem } from 'node:os';
import { describeViolation, type Violation } from '../../core/checks/violation.js';
import { formatCount, formatMs } from '../../reports/format.js';
import type { LatencySummary } from './histogram.js';
import type { Workload } from './workload.js';

/** A violation, with the frames that show it, where it was seen on the wire. */
export interface ShownViolation extends Violation {
  readonly frames: readonly ShownFrame[];
}

export interface ShownFrame {
  readonly label: string;
  readonly hex: string;
  /** What the bytes say. */
  readonly fields: string;
}

/** Columns, one entry a second. */
export interface Series {
  seconds: number[];
  sent_per_s: number[];
  acked_per_s: number[];
  delivered_per_s: number[];
  p50_ms: (number | null)[];
  p95_ms: (number | null)[];
  p99_ms: (number | null)[];
  /** From the time of the log on. */
  accepted_p99_ms: (number | null)[];
  backlog: number[];
  connections: number[];
  generator_lag_ms: number[];
  generator_cpu: number[];
}

export function emptySeries(): Series {
  return {
    seconds: [],
    sent_per_s: [],
    acked_per_s: [],
    delivered_per_s: [],
    p50_ms: [],
    p95_ms: [],
    p99_ms: [],
    accepted_p99_ms: [],
    backlog: [],
    connections: [],
    generator_lag_ms: [],
    generator_cpu: [],
  };
}

/** What a step at one rate came to. */
export interface StepFigures {
  readonly rate: number;
  readonly sent_per_s: number;
  readonly acked_per_s: number;
  readonly delivered_per_s: number;
  /** Answers that refuse a send for now or for good. */
  readonly rejected_per_s: number;
  /** From the intended time to each receiving device; null if nothing arrived. */
  readonly p50_ms: number | null;
  readonly p95_ms: number | null;
  readonly p99_ms: number | null;
  /** From the time of the log, which the server writes into what it has accepted, to each receiving device. */
  readonly accepted_p99_ms: number | null;
  readonly backlog: number;
  /** Sends without an outcome at the end. */
  readonly outstanding: number;
  /** Violations since the start of the run. */
  readonly violations: number;
  /** Most of a core that one generator process took in a second, and all of them together. */
  readonly generator_cpu: number;
  readonly generator_cpu_of_all: number;
  readonly generator_lag_ms: number;
  /** Share of the seconds in which a generator process was short of processor time. */
  readonly generator_busy_share: number;
}

export interface FindMaxStep extends StepFigures {
  readonly ok: boolean;
  /** Why it failed, or `ok`. */
  readonly reason: string;
}

export interface LoadResult {
  verdict: string;
  ok: boolean;
  sent: number;
  acked: number;
  delivered: number;
  lost: number;
  duplicated: number;
  out_of_order: number;
  gaps: number;
  invented: number;
  /** How many violations of each guarantee were seen. */
  violations: Record<string, number>;
  first_violation: ShownViolation | null;
  /**
   * From the intended time of sending to each receiving device, for what was due after the warm-up; without what a planned
   * cut of the generator touched.
   */
  latency_ms: LatencySummary | null;
  /** The same for what was due in the warm-up. */
  latency_warm_up_ms: LatencySummary | null;
  /** Of latency_ms, without what an outage touched. */
  latency_steady_ms: LatencySummary | null;
  /** What a cut or an offline time touched: catch-up. */
  latency_resumed_ms: LatencySummary | null;
  /** From the intended time to SENT at the sender. */
  ack_ms: LatencySummary | null;
  /** Bars of the latency's distribution: from, to (ms), count. */
  distribution: { fromMs: number; toMs: number; count: number }[];
  rates: { intended: number; sent: number; acked: number; delivered: number };
  /** Messages sent to groups, and group changes. */
  group_messages: number;
  group_changes: number;
  receipts: number;
  reads: number;
  rejected: Record<string, number>;
  /** Sends without an outcome when the drain was over. */
  unanswered: number;
  /** Arrivals that were never sent, because the run ended before they could be. */
  unsent: number;
  /** Deliveries and SENT that were still to come when the drain was over. */
  under_way: number;
  reconnects: { planned: number; unplanned: number; refused: number };
  /** How long connections that the server lost were without it; null if it lost none. */
  cut_off_ms: { cuts: number; median: number; max: number } | null;
  connections: { users: number; devices: number; online_devices: number };
  conversations: { groups: number; directs: number };
  generator: {
    processes: number;
    cpu: number;
    cpu_of_all: number;
    lag_ms: number;
    bottleneck: boolean;
    sentence: string;
  };
  duration_s: number;
  drain_s: number;
  series: Series;
  find_max: { p99_ms: number; rate: number; steps: FindMaxStep[] } | null;
  trace: {
    file: string;
    speed: number;
    messages: number;
    joins: number;
    leaves: number;
    ignored_lines: number;
    span_s: number;
    replay_s: number;
  } | null;
  machine: { cpu: string; cores: number; memory_gib: number; node: string; platform: string };
  workload: Workload;
  seed: number;
  run: number;
  url: string;
  started: string;
}

export function describeMachine(): LoadResult['machine'] {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memory_gib: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
}

/** The line everybody reads. */
export function verdictLine(
  result: Pick<
    LoadResult,
    | 'ok'
    | 'sent'
    | 'delivered'
    | 'latency_ms'
    | 'violations'
    | 'first_violation'
    | 'unanswered'
    | 'unsent'
    | 'under_way'
    | 'drain_s'
  >,
): string {
  if (result.ok) {
    const p99 = result.latency_ms ? `, p99 ${formatMs(result.latency_ms.p99)}` : '';
    return `nothing lost, nothing doubled, all in order: ${formatCount(result.sent)} messages, ${formatCount(result.delivered)} deliveries${p99}`;
  }
  if (result.first_violation === null) {
    return `UNFINISHED after ${result.drain_s} s of draining: ${formatCount(result.unanswered)} sends without an answer, ${formatCount(result.unsent)} not sent at all, ${formatCount(result.under_way)} deliveries under way (${formatCount(result.sent)} messages, ${formatCount(result.delivered)} deliveries)`;
  }
  const counts = Object.entries(result.violations).map(([guarantee, count]) => `${guarantee} × ${formatCount(count)}`);
  const first = result.first_violation;
  return `VIOLATION ${first.guarantee}: ${first.sentence} (${counts.join(', ')}; ${formatCount(result.sent)} messages, ${formatCount(result.delivered)} deliveries)`;
}

/** A violation in full, for a terminal. */
export function printViolation(violation: ShownViolation): string {
  const lines = [describeViolation(violation)];
  for (const frame of violation.frames) {
    lines.push(`  ${frame.label}:`, `    ${frame.fields}`);
    for (let at = 0; at < frame.hex.length; at += 96) lines.push(`    ${frame.hex.slice(at, at + 96)}`);
  }
  return lines.join('\n');
}
