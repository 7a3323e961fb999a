/** A producer's end of the log that keeps nothing. */
import { AppendOutcome, type AppendSink, type LogProducer, Refusal } from '../../core/ports.js';
import { type Bells, Doorbell } from '../doorbell.js';
import { RingWriter } from '../ring.js';
import { type ChannelHandle, ChannelWord, laneOf, type RingProducerHandle } from './handles.js';

class Channel {
  readonly #writer: RingWriter;
  readonly #words: Int32Array;
  /** Batches that found no room, with their partitions, oldest first. */
  readonly #overflow: { readonly partition: number; readonly bytes: Uint8Array }[] = [];

  constructor({ ring, words, readerBell }: ChannelHandle, bells: Bells | undefined) {
    this.#writer = new RingWriter(ring, bells?.held(readerBell) ?? new Doorbell(readerBell));
    this.#words = new Int32Array(words);
  }

  /** False: there is no room; the reader rings when there is some. */
  offer(partition: number, batch: Uint8Array): boolean {
    if (this.#overflow.length > 0) return false;
    return this.#write(partition, batch);
  }

  #write(partition: number, batch: Uint8Array): boolean {
    if (this.#writer.offer(partition, 0, batch)) return true;
    Atomics.store(this.#words, ChannelWord.WAITING, 1);
    // The reader may have made room before it could see that.
    return this.#writer.offer(partition, 0, batch);
  }

  keep(partition: number, batch: Uint8Array): void {
    this.#overflow.push({ partition, bytes: batch.slice() });
    Atomics.add(this.#words, ChannelWord.OVERFLOW_BYTES, batch.length);
  }

  /** Hands over what was kept, as far as there is room. */
  flush(): void {
    let done = 0;
    for (const { partition, bytes } of this.#overflow) {
      if (!this.#write(partition, bytes)) break;
      Atomics.sub(this.#words, ChannelWord.OVERFLOW_BYTES, bytes.length);
      done++;
    }
    if (done > 0) this.#overflow.splice(0, done);
  }
}

class RingLogProducer implements LogProducer {
  readonly #channels: readonly (readonly Channel[])[];
  readonly #isBounded: boolean;
  /** Tags of appends whose outcome was not told. */
  #tags: number[] = [];

  constructor({ channels, isBounded }: RingProducerHandle, bells: Bells | undefined) {
    this.#channels = channels.map((lanes) => lanes.map((lane) => new Channel(lane, bells)));
    this.#isBounded = isBounded;
  }

  append(topic: number, partition: number, batch: Uint8Array, tag: number): boolean {
    const lanes = this.#channels[topic]!;
    const channel = lanes[laneOf(partition, lanes.length)]!;
    if (!channel.offer(partition, batch)) {
      if (this.#isBounded) return false;
      channel.keep(partition, batch);
    }
    this.#tags.push(tag);
    return true;
  }

  outcomes(sink: AppendSink): number {
    if (!this.#isBounded) for (const lanes of this.#channels) for (const channel of lanes) channel.flush();
    const tags = this.#tags;
    if (tags.length === 0) return 0;
    this.#tags = [];
    for (const tag of tags) sink(tag, AppendOutcome.DURABLE, 0, Refusal.NONE);
    return tags.length;
  }
}

export function openRingProducer(handle: RingProducerHandle, bells?: Bells): LogProducer {
  return new RingLogProducer(handle, bells);
}
