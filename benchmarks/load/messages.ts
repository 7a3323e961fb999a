/**
 * What the coordinator and the generator processes say to each other. Everything survives structured cloning: plain
 * objects, numbers, typed arrays.
 */
import type { Summary } from '../../core/checks/summary.js';
import type { Tally } from '../../core/checks/violation.js';
import type { HistogramState } from './histogram.js';
import type { ShownViolation } from './result.js';
import type { Workload } from './workload.js';

export interface TraceSource {
  readonly file: string;
  readonly speed: number;
  readonly limit: number;
}

/** Everything that a process needs to build the same plan as all the others. */
export interface RunPlan {
  readonly url: string;
  readonly workload: Workload;
  readonly seed: number;
  readonly run: number;
  readonly trace: TraceSource | null;
  readonly key: KeySource;
  /** PEM of a certificate authority for wss://, or null for the system's. */
  readonly caBundle: string | null;
  /** New connections a second, all processes together. */
  readonly connectsPerSecond: number;
  readonly processes: number;
  /** Each process writes its history here, as PROCESS.ndjson; null: it keeps none. */
  readonly historyDirectory: string | null;
}

/** Where tokens come from: the development key in a data directory, or a private key file. */
export type KeySource = { readonly data: string } | { readonly file: string };

export type Command =
  | { readonly type: 'setup'; readonly plan: RunPlan; readonly process: number }
  /** All devices, so that the server knows them all: what is owed to a device counts from its first connection. */
  | { readonly type: 'connect' }
  /** Users that are to be offline while the run lasts say goodbye. */
  | { readonly type: 'rest' }
  | { readonly type: 'found' }
  /** The schedule starts at this time of the monotonic clock. */
  | { readonly type: 'start'; readonly atMs: number }
  /** A new rate from this time of the schedule on, and how much may be outstanding at a time (Workload), of all processes. */
  | {
      readonly type: 'rate';
      readonly ratePerSecond: number;
      readonly fromMs: number;
      readonly outstandingMax: number;
    }
  /** What was due by then is sent still, however late; nothing else is. */
  | { readonly type: 'stop'; readonly atMs: number }
  | { readonly type: 'drain' }
  | { readonly type: 'cuts'; readonly cuts: readonly Cut[] }
  | { readonly type: 'poll'; readonly id: number }
  | { readonly type: 'summarise' }
  | { readonly type: 'finish' };

/** A connection was lost, or is back. */
export interface Cut {
  readonly device: number;
  readonly planned: boolean;
  readonly fromMs: number;
  /** Infinity while it lasts. */
  readonly toMs: number;
}

/** Counters since the start of the run. */
export interface Counters {
  sent: number;
  acked: number;
  delivered: number;
  /** Receptions that the acknowledged and the unacknowledged sends should come to, at devices that are online. */
  expected: number;
  /** Receptions that were expected: deliveries and SENT. */
  seen: number;
  groupMessages: number;
  groupChanges: number;
  receipts: number;
  reads: number;
  plannedCuts: number;
  unplannedCuts: number;
  refused: number;
}

export function emptyCounters(): Counters {
  return {
    sent: 0,
    acked: 0,
    delivered: 0,
    expected: 0,
    seen: 0,
    groupMessages: 0,
    groupChanges: 0,
    receipts: 0,
    reads: 0,
    plannedCuts: 0,
    unplannedCuts: 0,
    refused: 0,
  };
}

export function addCounters(to: Counters, from: Counters): void {
  for (const name of Object.keys(to) as (keyof Counters)[]) to[name] += from[name];
}

export interface Stats {
  readonly type: 'stats';
  readonly process: number;
  readonly id: number;
  readonly counters: Counters;
  readonly rejected: ReadonlyMap<number, number>;
  readonly tally: Tally;
  /** Delivery latency since the last poll. */
  readonly interval: HistogramState;
  /** The same from when the server had logged the message. */
  readonly accepted: HistogramState;
  readonly connections: number;
  readonly wanted: number;
  /** Groups of this process's users that are not created yet. */
  readonly unfounded: number;
  /** Sends without an outcome. */
  readonly inFlight: number;
  /** Arrivals may still come. */
  readonly isSending: boolean;
  /** Arrivals that wait: for a place in an outbox, or for a join. */
  readonly waiting: number;
  /** True when a schedule that ends has ended. */
  readonly exhausted: boolean;
  /** Reads that are not sent yet. */
  readonly readsWaiting: number;
  readonly lagMs: number;
  readonly cpu: number;
}

export interface Latencies {
  readonly all: HistogramState;
  readonly warmUp: HistogramState;
  readonly steady: HistogramState;
  readonly resumed: HistogramState;
  readonly ack: HistogramState;
}

export type Report =
  | { readonly type: 'ready'; readonly process: number }
  | Stats
  | { readonly type: 'violation'; readonly violation: ShownViolation }
  | { readonly type: 'cuts'; readonly process: number; readonly cuts: readonly Cut[] }
  | {
      readonly type: 'latencies';
      readonly process: number;
      readonly latencies: Latencies;
      readonly outages: Float64Array;
    }
  | { readonly type: 'summary'; readonly process: number; readonly summary: Summary }
  /** Nothing more can be done: a sentence for people, and the exit code's meaning. */
  | { readonly type: 'failed'; readonly sentence: string; readonly usage: boolean };

/** How the coordinator reaches one generator, wherever it runs. */
export interface GeneratorPort {
  send(command: Command): void;
  onReport(listener: (report: Report) => void): void;
  close(): Promise<void>;
}
