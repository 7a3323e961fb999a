/**
 * The log in memory, in one thread: the twin of the embedded one for tests, benchmarks and the simulator. It answers as a log
 * may on a bad day if told so, and it knows what a power failure would leave.
 *
 * An append waits in its producer's queue until `write` takes it, and what is written is durable after `sync`. With `automatic`
 * both happen at the end of every append.
 */
import { BATCH_MAGIC, BATCH_VERSION, type Batch, BatchAt, BatchKind, openBatch, stampBatch } from '../core/batch.js';
import type { Crc32c } from '../core/crc32c.js';
import { DunlinError } from '../core/errors.js';
import { viewOf } from '../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES, RING_BYTES, SEGMENT_BYTES } from '../core/limits.js';
import {
  AppendOutcome,
  type AppendSink,
  Durability,
  type Log,
  type LogConsumer,
  type LogPosition,
  type LogProducer,
  Refusal,
} from '../core/ports.js';

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

export interface MemoryTopicOptions {
  readonly partitions: number;
  readonly durability: number;
}

export interface MemoryLogOptions {
  /** By topic number. */
  readonly topics: readonly MemoryTopicOptions[];
  /** Milliseconds since 1970; may step either way, logged time does not follow it back. */
  readonly nowMs: () => number;
  /** Write and sync at the end of every append; else by `write` and `sync`. */
  readonly automatic?: boolean;
  /** Bytes of batches that wait for `write`, a producer and topic. */
  readonly queueBytes?: number;
  /** As on disk, batches lie in segments of all partitions, and are deleted by whole segments. */
  readonly segmentBytes?: number;
  readonly retainBytes?: number;
  /** Stamps checksums; without it they stay zero, which costs nothing. */
  readonly crc32c?: Crc32c;
}

interface Append {
  readonly partition: number;
  readonly batch: Uint8Array;
  readonly tag: number;
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

interface Segment {
  /** By partition: offset of the first batch in or after this segment. */
  readonly offsets: readonly number[];
  readonly batches: Batch[];
  bytes: number;
}

function zeros(count: number): number[] {
  return Array.from({ length: count }, () => 0);
}

class MemoryTopic {
  readonly options: MemoryTopicOptions;
  readonly segments: Segment[];
  /** Batches before the first segment. */
  dropped = 0;
  /** Batches ever written and ever synced. */
  written = 0;
  synced = 0;
  /** By partition. */
  writtenEnds: number[];
  syncedEnds: number[];
  timesMs: number[];
  readonly released: number[];

  constructor(options: MemoryTopicOptions) {
    this.options = options;
    this.writtenEnds = zeros(options.partitions);
    this.syncedEnds = zeros(options.partitions);
    this.timesMs = zeros(options.partitions);
    this.released = zeros(options.partitions);
    this.segments = [{ offsets: zeros(options.partitions), batches: [], bytes: 0 }];
  }

  get isLazy(): boolean {
    return this.options.durability === Durability.LAZY;
  }

  get readable(): number {
    return this.isLazy ? this.written : this.synced;
  }

  get readableEnds(): number[] {
    return this.isLazy ? this.writtenEnds : this.syncedEnds;
  }
}

export class MemoryLog implements Log {
  readonly #options: MemoryLogOptions;
  readonly #topics: MemoryTopic[];
  readonly #producers: ProducerTopic[][] = [];
  readonly #injected: InjectedAppend[] = [];

  constructor(options: MemoryLogOptions) {
    this.#options = options;
    this.#topics = options.topics.map((topic) => new MemoryTopic(topic));
  }

  partitions(topic: number): number {
    return this.#topics[topic]!.options.partitions;
  }

  consumer(topic: number, positions: readonly LogPosition[]): LogConsumer {
    return new MemoryConsumer(this.#topics[topic]!, positions);
  }

  producer(): LogProducer {
    const topics = this.#topics.map((): ProducerTopic => ({ queue: [], queuedBytes: 0, told: [] }));
    this.#producers.push(topics);
    return {
      append: (topic, partition, batch, tag) => this.#append(topics[topic]!, { partition, batch, tag }),
      outcomes: (sink) => this.#outcomes(topics, sink),
    };
  }

  /** What is to become of the next appends, in order; those behind them pass. */
  inject(...appends: readonly InjectedAppend[]): void {
    this.#injected.push(...appends);
  }

  #append(to: ProducerTopic, append: Append): boolean {
    const { partition, batch, tag } = append;
    const max = this.#options.queueBytes ?? RING_BYTES;
    if (batch.length > max)
      throw new RangeError(`a batch of ${batch.length} bytes never fits into this queue (${max})`);
    if (to.queuedBytes + batch.length > max) return false;
    const injected = this.#injected.shift() ?? 'pass';
    if (injected === 'queue_full') return false;
    to.queue.push({ partition, tag, injected, bytes: batch.slice() });
    to.queuedBytes += batch.length;
    if (this.#options.automatic === true) {
      this.write();
      this.sync();
    }
    return true;
  }

  /** Takes what waits in the queues, a batch of each producer in turn. */
  write(): void {
    this.#topics.forEach((topic, number) => {
      const queues = this.#producers.map((topics) => topics[number]!);
      for (let worked = true; worked; ) {
        worked = false;
        for (const from of queues) {
          const queued = from.queue.shift();
          if (queued === undefined) continue;
          worked = true;
          from.queuedBytes -= queued.bytes.length;
          this.#take(topic, number, from, queued);
        }
      }
    });
  }

  #take(topic: MemoryTopic, number: number, from: ProducerTopic, queued: Queued): void {
    const { partition, tag, injected, bytes } = queued;
    const refusal = this.#refusalOf(topic, queued);
    const writes = refusal === Refusal.NONE && injected !== 'unknown_not_done';
    const offset = writes ? this.#store(topic, number, partition, bytes) : 0;
    // A producer's outcomes keep their order: none is told before those of its earlier appends.
    const after = writes ? topic.written : (from.told.at(-1)?.after ?? 0);
    if (refusal !== Refusal.NONE) from.told.push({ tag, outcome: AppendOutcome.REFUSED, offset: 0, refusal, after });
    else if (injected === 'pass') from.told.push({ tag, outcome: AppendOutcome.DURABLE, offset, refusal, after });
    else from.told.push({ tag, outcome: AppendOutcome.UNKNOWN, offset: 0, refusal: Refusal.FAILED, after });
  }

  #refusalOf(topic: MemoryTopic, { partition, injected, bytes }: Queued): number {
    if (bytes.length > BATCH_BYTES_MAX) return Refusal.TOO_LARGE;
    if (partition >= topic.options.partitions || !isBatch(bytes)) return Refusal.FAILED;
    if (injected === 'refused_full') return Refusal.DISK_FULL;
    return injected === 'refused_failed' ? Refusal.FAILED : Refusal.NONE;
  }

  #store(topic: MemoryTopic, number: number, partition: number, bytes: Uint8Array): number {
    let segment = topic.segments.at(-1)!;
    if (segment.batches.length > 0 && segment.bytes + bytes.length > (this.#options.segmentBytes ?? SEGMENT_BYTES)) {
      segment = { offsets: [...topic.writtenEnds], batches: [], bytes: 0 };
      topic.segments.push(segment);
      this.#syncTopic(topic);
      this.#deleteOld(topic);
    }
    const offset = topic.writtenEnds[partition]!++;
    const timeMs = Math.max(topic.timesMs[partition]!, this.#options.nowMs());
    topic.timesMs[partition] = timeMs;
    const view = viewOf(bytes);
    stampBatch(view, 0, number, partition, offset, timeMs);
    view.setUint32(BatchAt.MARK, 0, true);
    view.setUint8(BatchAt.FLAGS, 0);
    view.setUint32(BatchAt.CRC, this.#options.crc32c?.(bytes, BatchAt.LENGTH, bytes.length) ?? 0, true);
    segment.batches.push(openBatch(bytes));
    segment.bytes += bytes.length;
    topic.written++;
    return offset;
  }

  /** Deletes segments that every partition is past, as long as enough is kept. */
  #deleteOld(topic: MemoryTopic): void {
    const retain = this.#options.retainBytes ?? 0;
    let kept = 0;
    for (const segment of topic.segments) kept += segment.bytes;
    while (topic.segments.length > 1) {
      const [oldest, next] = topic.segments as [Segment, Segment];
      const released = next.offsets.every((offset, partition) => topic.released[partition]! >= offset);
      if (!released || kept - oldest.bytes < retain) return;
      topic.segments.shift();
      topic.dropped += oldest.batches.length;
      kept -= oldest.bytes;
    }
  }

  /** Makes what is written durable, on one topic or all. */
  sync(topic?: number): void {
    if (topic === undefined) for (const each of this.#topics) this.#syncTopic(each);
    else this.#syncTopic(this.#topics[topic]!);
  }

  #syncTopic(topic: MemoryTopic): void {
    topic.synced = topic.written;
    topic.syncedEnds = [...topic.writtenEnds];
  }

  #outcomes(topics: readonly ProducerTopic[], sink: AppendSink): number {
    let count = 0;
    topics.forEach((from, number) => {
      const { synced } = this.#topics[number]!;
      for (let told = from.told[0]; told !== undefined && told.after <= synced; told = from.told[0]) {
        from.told.shift();
        sink(told.tag, told.outcome, told.offset, told.refusal);
        count++;
      }
    });
    return count;
  }

  /**
   * What is left after the power fails, as a log that was just opened: what was durable, and nothing else. The producers and
   * consumers of this one must not be used any more.
   */
  powerFailure(): MemoryLog {
    const after = new MemoryLog(this.#options);
    this.#topics.forEach((topic, number) => after.#topics[number]!.segments.splice(0, 1, ...this.#survivors(topic)));
    this.#topics.forEach((topic, number) => {
      const left = after.#topics[number]!;
      left.dropped = topic.dropped;
      left.written = topic.synced;
      left.writtenEnds = [...topic.syncedEnds];
      left.timesMs = zeros(topic.options.partitions);
      for (const { batches } of left.segments)
        for (const { header } of batches) left.timesMs[header.partition] = header.time;
      // As the header of a segment keeps them: times of batches that are deleted count too.
      left.timesMs.forEach((timeMs, i) => {
        if (timeMs === 0) left.timesMs[i] = topic.timesMs[i]!;
      });
      after.#syncTopic(left);
    });
    return after;
  }

  #survivors(topic: MemoryTopic): Segment[] {
    let left = topic.synced - topic.dropped;
    const segments: Segment[] = [];
    for (const { offsets, batches } of topic.segments) {
      if (left === 0 && segments.length > 0) break;
      const kept = batches.slice(0, left);
      left -= kept.length;
      const bytes = kept.reduce((sum, batch) => sum + batch.bytes.length, 0);
      segments.push({ offsets, batches: kept, bytes });
    }
    return segments;
  }

  /** Closes the log, which syncs it, and opens it again. */
  reopen(): MemoryLog {
    this.write();
    this.sync();
    return this.powerFailure();
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

class MemoryConsumer implements LogConsumer {
  readonly #topic: MemoryTopic;
  /** By partition: next offset to hand out; undefined: not ours. */
  readonly #next: number[] = [];
  /** The segment being read, which stays whole even if the log deletes it, the place in it, and batches of the topic before it. */
  #segment: Segment;
  #index = 0;
  #before: number;

  constructor(topic: MemoryTopic, positions: readonly LogPosition[]) {
    this.#topic = topic;
    const first = topic.segments[0]!;
    for (const { partition, offset } of positions) {
      this.#next[partition] = offset;
      const end = topic.readableEnds[partition]!;
      if (offset > end) {
        throw new DunlinError(`offset ${offset} of partition ${partition} is not in the log, which ends at ${end}.`);
      }
      const begin = first.offsets[partition]!;
      if (offset < begin) {
        throw new DunlinError(
          `offset ${offset} of partition ${partition} is no longer in the log, which begins at ${begin}.`,
        );
      }
    }
    this.#before = topic.dropped;
    this.#segment = first;
    for (const segment of topic.segments.slice(1)) {
      if (!positions.every(({ partition, offset }) => segment.offsets[partition]! <= offset)) break;
      this.#before += this.#segment.batches.length;
      this.#segment = segment;
    }
  }

  poll(): Batch | undefined {
    while (this.#before + this.#index < this.#topic.readable) {
      const batch = this.#segment.batches[this.#index];
      if (batch === undefined) {
        this.#nextSegment();
        continue;
      }
      this.#index++;
      const { partition, offset } = batch.header;
      const wanted = this.#next[partition];
      if (wanted === undefined || offset < wanted) continue;
      this.#next[partition] = offset + 1;
      return batch;
    }
    return undefined;
  }

  #nextSegment(): void {
    this.#before += this.#segment.batches.length;
    this.#index = 0;
    let first = this.#topic.dropped;
    for (const segment of this.#topic.segments) {
      if (first === this.#before && segment !== this.#segment) {
        this.#segment = segment;
        return;
      }
      first += segment.batches.length;
    }
    throw new DunlinError('the next segment is no longer in the log.');
  }

  durableEnd(partition: number): number {
    return this.#topic.syncedEnds[partition]!;
  }

  readableEnd(partition: number): number {
    return this.#topic.readableEnds[partition]!;
  }

  lagBytes(): number {
    let lag = 0;
    let number = this.#topic.dropped;
    for (const { batches, bytes } of this.#topic.segments) {
      const isWhole = number >= this.#before + this.#index && number + batches.length <= this.#topic.readable;
      if (isWhole) lag += bytes;
      else {
        const from = Math.max(0, this.#before + this.#index - number);
        for (const batch of batches.slice(from, Math.max(0, this.#topic.readable - number))) lag += batch.bytes.length;
      }
      number += batches.length;
    }
    return lag;
  }

  release(partition: number, offset: number): void {
    const { released } = this.#topic;
    released[partition] = Math.max(released[partition]!, offset);
  }
  close(): void {}
}
