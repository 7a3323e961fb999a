/**
 * The log in memory, in one thread: the twin of the embedded one for tests, benchmarks and the simulator. It answers as a log
 * may on a bad day if told so, and it knows what a power failure would leave.
 *
 * An append waits in its producer's queue until `write` takes it, and what is written is durable after `sync`. With `automatic`
 * both happen at the end of every append.
 */
import { type Batch, BatchAt, openBatch, stampBatch } from '../core/batch.js';
import type { Crc32c } from '../core/crc32c.js';
import { DunlinError, LogLossError } from '../core/errors.js';
import { viewOf } from '../core/frame.js';
import { SEGMENT_BYTES } from '../core/limits.js';
import { Durability, type Log, type LogConsumer, type LogPosition, type LogProducer } from '../core/ports.js';
import { AppendQueues, type InjectedAppend } from './append-queues.js';

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
  droppedBytes = 0;
  /** Batches ever written and ever synced. */
  written = 0;
  synced = 0;
  writtenBytes = 0;
  syncedBytes = 0;
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

  get readableBytes(): number {
    return this.isLazy ? this.writtenBytes : this.syncedBytes;
  }

  get readableEnds(): number[] {
    return this.isLazy ? this.writtenEnds : this.syncedEnds;
  }
}

export class MemoryLog implements Log {
  readonly #options: MemoryLogOptions;
  readonly #topics: MemoryTopic[];
  readonly #queues: AppendQueues;

  constructor(options: MemoryLogOptions) {
    this.#options = options;
    this.#topics = options.topics.map((topic) => new MemoryTopic(topic));
    this.#queues = new AppendQueues(
      {
        topics: options.topics.length,
        partitions: (topic) => this.partitions(topic),
        store: (topic, partition, batch) => this.#store(this.#topics[topic]!, topic, partition, batch),
        written: (topic) => this.#topics[topic]!.written,
        synced: (topic) => this.#topics[topic]!.synced,
      },
      options.queueBytes,
    );
    if (options.automatic === true) {
      this.#queues.appended = () => {
        this.write();
        this.sync();
      };
    }
  }

  partitions(topic: number): number {
    return this.#topics[topic]!.options.partitions;
  }

  consumer(topic: number, positions: readonly LogPosition[]): LogConsumer {
    return new MemoryConsumer(this.#topics[topic]!, positions);
  }

  producer(): LogProducer {
    return this.#queues.producer();
  }

  /** What is to become of the next appends, in order; those behind them pass. */
  inject(...appends: readonly InjectedAppend[]): void {
    this.#queues.inject(...appends);
  }

  /** Takes what waits in the queues, a batch of each producer in turn. */
  write(): void {
    this.#queues.write();
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
    topic.writtenBytes += bytes.length;
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
      topic.droppedBytes += oldest.bytes;
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
    topic.syncedBytes = topic.writtenBytes;
    topic.syncedEnds = [...topic.writtenEnds];
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
      left.droppedBytes = topic.droppedBytes;
      left.written = topic.synced;
      left.writtenBytes = topic.syncedBytes;
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

class MemoryConsumer implements LogConsumer {
  readonly #topic: MemoryTopic;
  /** By partition: next offset to hand out; undefined: not ours. */
  readonly #next: number[] = [];
  /** The segment being read, which stays whole even if the log deletes it, the place in it, and batches of the topic before it. */
  #segment: Segment;
  #index = 0;
  #before: number;
  /** Bytes of all batches before that place. */
  #passedBytes: number;

  constructor(topic: MemoryTopic, positions: readonly LogPosition[]) {
    this.#topic = topic;
    const first = topic.segments[0]!;
    for (const { partition, offset } of positions) {
      this.#next[partition] = offset;
      const end = topic.readableEnds[partition]!;
      if (offset > end) {
        throw new LogLossError(partition, end);
      }
      const begin = first.offsets[partition]!;
      if (offset < begin) {
        throw new DunlinError(
          `offset ${offset} of partition ${partition} is no longer in the log, which begins at ${begin}.`,
        );
      }
    }
    this.#before = topic.dropped;
    this.#passedBytes = topic.droppedBytes;
    this.#segment = first;
    for (const segment of topic.segments.slice(1)) {
      if (!positions.every(({ partition, offset }) => segment.offsets[partition]! <= offset)) break;
      this.#before += this.#segment.batches.length;
      this.#passedBytes += this.#segment.bytes;
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
      this.#passedBytes += batch.bytes.length;
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
    return this.#topic.readableBytes - this.#passedBytes;
  }

  release(partition: number, offset: number): void {
    const { released } = this.#topic;
    released[partition] = Math.max(released[partition]!, offset);
  }
  close(): void {}
}
