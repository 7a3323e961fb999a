/** Many worlds, on all cores: each worker takes the next seed from a shared counter. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { MARK_NAMES, SITE_NAMES } from '../core/probe.js';

export interface SwarmFailure {
  readonly seed: number;
  readonly guarantee: string;
  readonly sentence: string;
}

/** What a worker tells of one seed. */
export interface SeedReport {
  readonly seed: number;
  readonly messages: number;
  readonly deliveries: number;
  readonly marks: readonly string[];
  readonly failure: SwarmFailure | undefined;
  readonly events: number;
  readonly virtualSeconds: number;
  /** How long the run took. */
  readonly wallMs: number;
  /** Faults by kind. */
  readonly faults: readonly (readonly [kind: string, count: number])[];
}

export interface SwarmWorkerData {
  /** Int32: seeds taken so far; 1: stop. */
  readonly shared: SharedArrayBuffer;
  readonly from: number;
  readonly count: number;
  /** Directory for what is kept of seeds that fail; undefined: nothing is. */
  readonly failures: string | undefined;
}

export interface SwarmOptions {
  readonly from: number;
  readonly count: number;
  /** No seed is begun after this. */
  readonly untilMs: number;
  readonly workers?: number;
  /** Directory for what is kept of seeds that fail. */
  readonly failures?: string;
  /** Aborted: no further seed is begun. */
  readonly signal?: AbortSignal;
  readonly onSeed?: (report: SeedReport) => void;
}

export interface SwarmResult {
  readonly seeds: number;
  readonly messages: number;
  readonly deliveries: number;
  readonly failures: readonly SwarmFailure[];
  readonly neverReached: readonly string[];
  readonly marks: ReadonlyMap<string, number>;
}

/** Marks of production code (core/probe.ts) that a swarm of a thousand seeds may miss, and why. */
export const MAY_MISS: ReadonlyMap<string, string> = new Map([
  [
    'ack of what was lost',
    'a client that comes back after a loss says its cursor first, and is told that it is unknown',
  ],
  ['client asked where counters stand', 'its application must have lost its saved state'],
  ['connect repeated', 'only a broker writes a batch twice, and this one must hold a CONNECT'],
  ['pull of no use', 'a lane must start again between two pieces of a catch-up'],
  ['cursor never handed out', 'the power must fail after a device acknowledged what was not synced yet'],
  ['base piece again', 'a wrong answer of the store must meet one of the few pieces of a base'],
  ['base conflict', 'needs a take-over in the very moment in which a base is written'],
]);

/** Places that a swarm must come by: each shows that a rare path is walked. */
export const MUST_REACH: readonly string[] = [
  ...MARK_NAMES.filter((name) => !MAY_MISS.has(name)),
  ...SITE_NAMES,
  'fault cut',
  'fault stall',
  'fault slow-reader',
  'fault gateway-crash',
  'fault gateway-drain',
  'fault lane-crash',
  'fault lane-pause',
  'fault lane-takeover',
  'fault kill',
  'fault power',
  'fault store',
  'fault store-read-fails',
  'fault store-slow',
  'fault log',
  'fault ring-full',
  'ring full',
  'fault disk-slow',
  'fault disk-full',
  'fault egress-full',
  'fault clock',
  'fault bit-flip',
  'bit flipped',
  'damage refused at start',
  'torn tail cut',
  'lane died: partition N has another owner now: this lane stops',
  'lane died: the log did not take an output of this lane (outcome N, refu',
  'late commit committed',
  'late commit conflict',
  'send refused: disk full',
  'rejected DISK_FULL',
  'rejected UNAVAILABLE',
  'rejected COUNTER_GAP',
  'rejected NOT_MEMBER',
  'egress full',
  'egress for an earlier gateway',
  'gap 2',
  'group change 3',
  'group change 4',
  'group change 5',
  'presence',
  'typing',
  'fault partition',
  'connection hangs across a partition',
  'connection refused across a partition',
  'fault all-cut',
  'upgrade refused 503',
  'outbox full',
  'fault weeks',
  'socket full',
  'fault app-crash',
  'fault app-restore',
  'fault app-reinstall',
  'renumbered',
  'fault broker-crash',
  'fault broker-power',
  'fault broker-pause',
  'fault broker-isolated',
  'fault link-cut',
  'fault store-cut',
  'fault leader-move',
  'fault ack-lost',
  'fault ack-late',
  'fault producer-evicted',
  'fault unclean-election',
  'fault brokers-power',
  'fault log-restored',
  'leader elected',
  'leader moved',
  'broker fenced',
  'broker lost what was not flushed',
  'too few replicas in sync',
  'tail truncated',
  'stale leader rejected',
  'append sent again',
  'acknowledgement lost',
  'acknowledgement late',
  'retry deduplicated',
  'retry beyond the dedupe window',
  'retry of a forgotten producer: there twice',
  'append answered gap',
  'producer failed: fenced',
  'append given up',
  'reader beyond the end',
  'unclean election',
  'log brought back from an old copy',
  'acknowledged records lost',
  'loss told, epoch changed',
  'commit over a cut link',
  'gap 1',
  'watchers asked while people are away',
  'a device is new',
];

export async function swarm(options: SwarmOptions): Promise<SwarmResult> {
  const { from, count, untilMs, onSeed } = options;
  const shared = new SharedArrayBuffer(8);
  const cells = new Int32Array(shared);
  const marks = new Map<string, number>();
  const failures: SwarmFailure[] = [];
  let seeds = 0;
  let messages = 0;
  let deliveries = 0;
  const workers = Math.min(count, options.workers ?? availableParallelism());
  const stop = (): number => Atomics.store(cells, 1, 1);
  const timer = setTimeout(stop, Math.max(0, untilMs - Date.now()));
  options.signal?.addEventListener('abort', stop);
  const run = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const workerData: SwarmWorkerData = { shared, from, count, failures: options.failures };
      const worker = new Worker(new URL('./swarm-worker.js', import.meta.url), { workerData });
      worker.on('message', (report: SeedReport) => {
        seeds++;
        messages += report.messages;
        deliveries += report.deliveries;
        for (const mark of report.marks) marks.set(mark, (marks.get(mark) ?? 0) + 1);
        if (report.failure !== undefined) failures.push(report.failure);
        onSeed?.(report);
      });
      worker.once('error', reject);
      worker.once('exit', () => resolve());
    });
  try {
    await Promise.all(Array.from({ length: workers }, run));
  } finally {
    clearTimeout(timer);
  }
  failures.sort((one, other) => one.seed - other.seed);
  const neverReached = MUST_REACH.filter((mark) => !marks.has(mark));
  return { seeds, messages, deliveries, failures, neverReached, marks };
}
