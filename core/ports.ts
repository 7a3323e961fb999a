/**
 * The ports: what the pure middle needs of the world. All are polled: a call never waits, an answer is fetched later, so
 * that one thread can drive a lane over a real disk and the simulator can drive it over a virtual one. Contract suites in
 * engines/ are run against every engine.
 */
import type { Batch } from './batch.js';

export const Topic = {
  /** Frames of a conversation: from gateways, and delivered watermarks from the user stage. Readable once durable. */
  CONVERSATION: 0,
  /** Frames of a user: fan-out from the conversation stage, and acks, presence, connections from gateways. */
  USER: 1,
} as const;

export const TOPICS = 2;

/** When a topic's batches may be read. */
export const Durability = {
  /** When they are on the disk. */
  BEFORE_READ: 0,
  /** When they are written; on the disk soon after. */
  LAZY: 1,
} as const;

/**
 * What became of an append.
 * - durable: on disk (or on all in-sync replicas) with the offset given.
 * - refused: definitely not written; the reason is in `Refusal`.
 * - unknown: the answer was lost; it may or may not be in the log, once or more. Retrying is safe, since consumers drop
 *   what they have seen.
 */
export const AppendOutcome = { DURABLE: 0, REFUSED: 1, UNKNOWN: 2 } as const;
export const Refusal = { NONE: 0, DISK_FULL: 1, TOO_LARGE: 2, FENCED: 3, FAILED: 4 } as const;

export type AppendSink = (tag: number, outcome: number, offset: number, refusal: number) => void;

/**
 * One thread's way to append. Appends of one producer to one partition keep their order.
 *
 * A lane's appends are durable as a prefix: when one is not, none of those after it is, until the lane has started again.
 * Readers drop what they have seen by a watermark, so what is missing before something newer would be missing for good. The
 * embedded log never refuses a lane (it tries again, in order); a broker's idempotent producer stops at the first failure.
 */
export interface LogProducer {
  /**
   * Offers a finished batch, whose bytes are copied before the call returns. False: the queue is full, nothing was taken,
   * try again later. `tag` comes back with the outcome; outcomes of one producer and topic come in order of append.
   */
  append(topic: number, partition: number, batch: Uint8Array, tag: number): boolean;
  /** Hands over the outcomes known by now; returns how many. */
  outcomes(sink: AppendSink): number;
}

/** What a log knows to have lost of a partition that readers could have. */
export interface LogLoss {
  /** How often; never falls. */
  readonly count: number;
  /** The last time: what lay at this offset and behind may be gone, or be something else now. */
  readonly from: number;
}

export interface LogPosition {
  readonly partition: number;
  /** Offset of the first batch wanted. */
  readonly offset: number;
}

/** One thread's way to read some partitions of one topic. */
export interface LogConsumer {
  /**
   * The next batch of any of the partitions, in order within each; undefined: nothing now. Valid until the next poll. Throws a
   * LogLossError if what was handed out, or lies before the first position, is not in the log any more.
   */
  poll(): Batch | undefined;
  /** One above the highest offset of the partition that survives a power failure. */
  durableEnd(partition: number): number;
  /**
   * One above the highest offset that could be polled now; undefined as long as it is not known. Once it is, it is not below
   * anything that was durable before this consumer was made, unless the log lost it.
   */
  readableEnd(partition: number): number | undefined;
  /** For logs that can lose what readers could have (docs/decisions/0013-honest-loss.md); undefined: not known yet. */
  loss?(partition: number): LogLoss | undefined;
  /** About how many bytes of log lie between what was polled and what could be polled now. */
  lagBytes(): number;
  /** Nothing below `offset` will be read again after a restart: the log may delete it when retention allows. */
  release(partition: number, offset: number): void;
  close(): void;
}

export interface Log {
  /** Throws a LogLossError if the log ends before an offset, and a DunlinError if it begins behind one. */
  consumer(topic: number, positions: readonly LogPosition[]): LogConsumer;
  partitions(topic: number): number;
}

// --- store ------------------------------------------------------------------------------------------------------------

export interface Put {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** All keys from `begin` (included) to `end` (excluded), compared as bytes. */
export interface KeyRange {
  readonly begin: Uint8Array;
  readonly end: Uint8Array;
}

/** A precondition: the key has exactly this value, or is absent (undefined), when the transaction commits. */
export interface Expectation {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** All or nothing, in this order: expectations are checked, ranges cleared, values put. */
export interface StoreTransaction {
  readonly expect: readonly Expectation[];
  readonly clear: readonly KeyRange[];
  readonly puts: readonly Put[];
}

/**
 * - committed: durable.
 * - conflict: an expectation failed; nothing was changed.
 * - unknown: it did or did not commit. Read the fence to find out.
 * - too_old: it took too long and was not committed; submit it again, or less of it.
 * - refused: it breaks a limit, or the disk is full; nothing was changed. `reason` says which.
 */
export type CommitOutcome = 'committed' | 'conflict' | 'unknown' | 'too_old' | 'refused';

export interface StoreCompletion {
  readonly tag: number;
  readonly commit?: { readonly outcome: CommitOutcome; readonly reason?: string };
  /** For `read`: values in the order of the keys. */
  readonly values?: readonly (Uint8Array | undefined)[];
  /** For `readRange`: pairs in key order, and whether there are more behind the last. */
  readonly range?: { readonly pairs: readonly Put[]; readonly more: boolean };
  /** A read failed; it may be tried again. */
  readonly failed?: string;
}

export interface Store {
  commit(tag: number, transaction: StoreTransaction): void;
  read(tag: number, keys: readonly Uint8Array[]): void;
  /** At most about `bytesMax` bytes of keys and values, and at least one pair if there is any. */
  readRange(tag: number, range: KeyRange, bytesMax: number): void;
  /** The next completion, in any order; undefined: none now. */
  completion(): StoreCompletion | undefined;
}

// --- gateway and time ----------------------------------------------------------------------------------------------------

/** Where a user lane hands batches for a gateway. */
export interface Egress {
  /** False: the gateway's ring is full; try again later. */
  offer(gateway: number, batch: Uint8Array): boolean;
}

export interface Clock {
  /** Milliseconds since 1970. May step either way. */
  wallMs(): number;
  /** Milliseconds since some moment; never falls. */
  monotonicMs(): number;
}
