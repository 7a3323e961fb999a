/**
 * The log that keeps nothing: batches go from each producer straight to the lane that reads them, in shared memory, and are
 * gone when that lane has stepped over them. For benchmarks, demonstrations and tests of whole processes: nothing survives.
 *
 * A *channel* leads from one producer to one lane of one topic: a ring, and two words beside it. The reader gives offsets and
 * times when it takes a batch, and the batch is read where it lies: one copy, the producer's.
 *
 * What a log on a disk gives and this one does not: a lane that dies cannot read again, so it takes the process with it. And an
 * append is `durable` as soon as it is in the ring, at an offset that its producer never learns (0 is told).
 */
import { RING_BYTES } from '../../core/limits.js';
import { createRing } from '../ring.js';

/** Words beside a ring. */
export const ChannelWord = {
  /** 1: the producer waits for room, and is to be rung. */
  WAITING: 0,
  /** Bytes that wait in the producer's own memory for room. */
  OVERFLOW_BYTES: 1,
} as const;

export interface ChannelHandle {
  readonly ring: SharedArrayBuffer;
  /** Int32: ChannelWord. */
  readonly words: SharedArrayBuffer;
  /** Of the lane's thread. */
  readonly readerBell: SharedArrayBuffer;
  /** Of the producer's thread. */
  readonly producerBell: SharedArrayBuffer;
}

export interface RingProducerHandle {
  /** True: `append` refuses when there is no room. False: the batch waits in the producer's own memory. */
  readonly isBounded: boolean;
  /** By topic and lane. */
  readonly channels: readonly (readonly ChannelHandle[])[];
}

export interface RingTopicHandle {
  readonly partitions: number;
  /** By lane and producer. */
  readonly channels: readonly (readonly ChannelHandle[])[];
}

export interface RingLogHandle {
  /** By topic. */
  readonly rings: readonly RingTopicHandle[];
}

export interface RingLogOptions {
  /** By topic; `lanes`: doorbells of the threads that read it. Lane n reads the partitions p with p mod lanes = n. */
  readonly topics: readonly { readonly partitions: number; readonly lanes: readonly SharedArrayBuffer[] }[];
  /**
   * Lanes must not be bounded: each waits for others to read what it says, and they could wait for it in turn. What they have
   * in their own memory counts as backlog, so that new sends are refused in time.
   */
  readonly producers: readonly { readonly isBounded: boolean; readonly doorbell: SharedArrayBuffer }[];
  readonly ringBytes?: number;
}

export interface RingLog {
  readonly handle: RingLogHandle;
  /** In the order of the options. */
  readonly producers: readonly RingProducerHandle[];
}

export function createRingLog(options: RingLogOptions): RingLog {
  const rings = options.topics.map(({ partitions, lanes }) => ({
    partitions,
    channels: lanes.map((readerBell) =>
      options.producers.map(
        ({ doorbell: producerBell }): ChannelHandle => ({
          ring: createRing(options.ringBytes ?? RING_BYTES),
          words: new SharedArrayBuffer(8),
          readerBell,
          producerBell,
        }),
      ),
    ),
  }));
  return {
    handle: { rings },
    producers: options.producers.map(({ isBounded }, producer) => ({
      isBounded,
      channels: rings.map(({ channels }) => channels.map((ofLane) => ofLane[producer]!)),
    })),
  };
}

export function laneOf(partition: number, lanes: number): number {
  return partition % lanes;
}
