/**
 * The front of a log that lives in one thread: producers' queues, what is injected into them, and outcomes in order. What a
 * batch becomes in the end is the business of the log behind it.
 */
import { BATCH_MAGIC, BATCH_VERSION, BatchAt, BatchKind } from '../core/batch.js';
import { viewOf } from '../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES, RING_BYTES } from '../core/limits.js';
import { AppendOutcome, type AppendSink, type LogProducer, Refusal } from '../core/ports.js';

/**
 * What is to become of an append.
 * - pass: it is written.
 * - refused_*: it is not written.
 * - unknown_done, unknown_not_done: it is or is not written, and the producer does not learn which.
 * - queue_full: `append` returns false.
 */
export type InjectedAppend =
  | 'pass'
  | 'refused_full'
  | 'refused_failed'
  | 'unknown_done'
  | 'unknown_not_done'
  | 'queue_full';

/** The log behind the queues. */
export interface AppendTarget {
  readonly topics: number;
  partitions(topic: number): number;
  /** Writes a batch, which it may keep; returns its offset. */
  store(topic: number, partition: number, batch: Uint8Array): number;
  /** How many batches of the topic were ever written, and are synced. */
  written(topic: number): number;
  synced(topic: number): number;
}

interface Queued {
  readonly partition: number;
  readonly tag: number;
  readonly injected: InjectedAppend;
  readonly bytes: Uint8Array;
}

interface Told {
  readonly tag: number;
  readonly outcome: number;
  readonly offset: number;
  readonly refusal: number;
  /** Told when so many batches of the topic are synced. */
  readonly after: number;
}

/** What one producer has on one topic. */
interface ProducerTopic {
  readonly queue: Queued[];
  queuedBytes: number;
  readonly told: Told[];
}

export class AppendQueues {
  readonly #target: AppendTarget;
  readonly #bytesMax: number;
  /** By producer and topic. */
  readonly #producers: ProducerTopic[][] = [];
  readonly #injected: InjectedAppend[] = [];
  /** Called after every append. */
  appended: (() => void) | undefined;

  constructor(target: AppendTarget, bytesMax = RING_BYTES) {
    this.#target = target;
    this.#bytesMax = bytesMax;
  }

  producer(): LogProducer {
    const topics = Array.from({ length: this.#target.topics }, (): ProducerTopic => {
      return { queue: [], queuedBytes: 0, told: [] };
    });
    this.#producers.push(topics);
    return {
      append: (topic, partition, batch, tag) => this.#append(topics[topic]!, partition, batch, tag),
      outcomes: (sink) => this.#outcomes(topics, sink),
    };
  }

  /** What is to become of the next appends, in order; those behind them pass. */
  inject(...appends: readonly InjectedAppend[]): void {
    this.#injected.push(...appends);
  }

  #append(to: ProducerTopic, partition: number, batch: Uint8Array, tag: number): boolean {
    const max = this.#bytesMax;
    if (batch.length > max)
      throw new RangeError(`a batch of ${batch.length} bytes never fits into this queue (${max})`);
    if (to.queuedBytes + batch.length > max) return false;
    const injected = this.#injected.shift() ?? 'pass';
    if (injected === 'queue_full') return false;
    to.queue.push({ partition, tag, injected, bytes: batch.slice() });
    to.queuedBytes += batch.length;
    this.appended?.();
    return true;
  }

  /** Writes what waits in the queues, a batch of each producer in turn. */
  write(): void {
    for (let topic = 0; topic < this.#target.topics; topic++) {
      const queues = this.#producers.map((topics) => topics[topic]!);
      for (let worked = true; worked; ) {
        worked = false;
        for (const from of queues) {
          const queued = from.queue.shift();
          if (queued === undefined) continue;
          worked = true;
          from.queuedBytes -= queued.bytes.length;
          this.#take(topic, from, queued);
        }
      }
    }
  }

  #take(topic: number, from: ProducerTopic, queued: Queued): void {
    const { partition, tag, injected, bytes } = queued;
    const refusal = this.#refusalOf(topic, queued);
    const writes = refusal === Refusal.NONE && injected !== 'unknown_not_done';
    const offset = writes ? this.#target.store(topic, partition, bytes) : 0;
    // A producer's outcomes keep their order: none is told before those of its earlier appends.
    const after = writes ? this.#target.written(topic) : (from.told.at(-1)?.after ?? 0);
    if (refusal !== Refusal.NONE) from.told.push({ tag, outcome: AppendOutcome.REFUSED, offset: 0, refusal, after });
    else if (injected === 'pass') from.told.push({ tag, outcome: AppendOutcome.DURABLE, offset, refusal, after });
    else from.told.push({ tag, outcome: AppendOutcome.UNKNOWN, offset: 0, refusal: Refusal.FAILED, after });
  }

  #refusalOf(topic: number, { partition, injected, bytes }: Queued): number {
    if (bytes.length > BATCH_BYTES_MAX) return Refusal.TOO_LARGE;
    if (partition >= this.#target.partitions(topic) || !isBatch(bytes)) return Refusal.FAILED;
    if (injected === 'refused_full') return Refusal.DISK_FULL;
    return injected === 'refused_failed' ? Refusal.FAILED : Refusal.NONE;
  }

  #outcomes(topics: readonly ProducerTopic[], sink: AppendSink): number {
    let count = 0;
    topics.forEach((from, topic) => {
      const synced = this.#target.synced(topic);
      for (let told = from.told[0]; told !== undefined && told.after <= synced; told = from.told[0]) {
        from.told.shift();
        sink(told.tag, told.outcome, told.offset, told.refusal);
        count++;
      }
    });
    return count;
  }
}

function isBatch(bytes: Uint8Array): boolean {
  if (bytes.length < BATCH_HEADER_BYTES) return false;
  const view = viewOf(bytes);
  const kind = view.getUint8(BatchAt.KIND);
  if (view.getUint32(0, true) !== BATCH_MAGIC || view.getUint32(BatchAt.LENGTH, true) !== bytes.length) return false;
  if (view.getUint16(BatchAt.VERSION, true) !== BATCH_VERSION) return false;
  return kind === BatchKind.FRAMES || kind === BatchKind.FANOUT;
}
