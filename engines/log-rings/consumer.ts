/** A lane's end of the log that keeps nothing. */
import { type Batch, BatchAt, openBatch, stampBatch } from '../../core/batch.js';
import { LogLossError } from '../../core/errors.js';
import type { Log, LogConsumer, LogPosition } from '../../core/ports.js';
import { Doorbell } from '../doorbell.js';
import { RingReader } from '../ring.js';
import { type ChannelHandle, ChannelWord, laneOf, type RingLogHandle } from './handles.js';

class Channel {
  readonly reader: RingReader;
  readonly #words: Int32Array;
  readonly #producer: Doorbell;

  constructor({ ring, words, producerBell }: ChannelHandle) {
    this.reader = new RingReader(ring);
    this.#words = new Int32Array(words);
    this.#producer = new Doorbell(producerBell);
  }

  get waitingBytes(): number {
    return this.reader.usedBytes + Atomics.load(this.#words, ChannelWord.OVERFLOW_BYTES);
  }

  consume(): void {
    this.reader.consume();
    if (Atomics.load(this.#words, ChannelWord.WAITING) === 0) return;
    Atomics.store(this.#words, ChannelWord.WAITING, 0);
    this.#producer.ring();
  }
}

class RingConsumer implements LogConsumer {
  readonly #topic: number;
  readonly #channels: readonly Channel[];
  /** By partition: offset of the next batch, and time of the last one; undefined: not ours. */
  readonly #next: number[] = [];
  readonly #timesMs: number[] = [];
  /** Logged time follows the monotonic clock from where the wall clock stood. */
  readonly #baseMs = Date.now() - performance.now();
  #turn = 0;
  /** Whose oldest batch was handed out, and is read where it lies. */
  #open: Channel | undefined;

  constructor(topic: number, channels: readonly ChannelHandle[], positions: readonly LogPosition[]) {
    this.#topic = topic;
    this.#channels = channels.map((channel) => new Channel(channel));
    for (const { partition, offset } of positions) {
      if (offset > 0) throw new LogLossError(partition, 0);
      this.#next[partition] = 0;
      this.#timesMs[partition] = 0;
    }
  }

  poll(): Batch | undefined {
    this.#open?.consume();
    this.#open = undefined;
    for (let tried = 0; tried < this.#channels.length; tried++) {
      const channel = this.#channels[this.#turn]!;
      this.#turn = (this.#turn + 1) % this.#channels.length;
      const record = channel.reader.peek();
      if (record === undefined) continue;
      this.#open = channel;
      return this.#stamped(record.meta0, record.bytes);
    }
    return undefined;
  }

  #stamped(partition: number, bytes: Uint8Array): Batch {
    const timeMs = Math.max(this.#timesMs[partition]!, Math.floor(this.#baseMs + performance.now()));
    this.#timesMs[partition] = timeMs;
    const batch = openBatch(bytes);
    stampBatch(batch.view, 0, this.#topic, partition, this.#next[partition]!, timeMs);
    // Flags speak to a log only.
    bytes[BatchAt.FLAGS] = 0;
    const { header } = batch;
    header.topic = this.#topic;
    header.partition = partition;
    header.offset = this.#next[partition]!++;
    header.time = timeMs;
    return batch;
  }

  /** What was handed out will not be missing: there is nothing else to come back to. */
  durableEnd(partition: number): number {
    return this.#next[partition]!;
  }

  readableEnd(partition: number): number {
    return this.#next[partition]!;
  }

  lagBytes(): number {
    let bytes = 0;
    for (const channel of this.#channels) bytes += channel.waitingBytes;
    return bytes;
  }

  release(): void {
    // Gone already.
  }

  close(): void {
    this.#open?.consume();
    this.#open = undefined;
  }
}

export function openRingLog({ rings }: RingLogHandle): Log {
  return {
    consumer: (topic: number, positions: readonly LogPosition[]): LogConsumer => {
      const { channels } = rings[topic]!;
      return new RingConsumer(topic, channels[laneOf(positions[0]!.partition, channels.length)]!, positions);
    },
    partitions: (topic: number): number => rings[topic]!.partitions,
  };
}
