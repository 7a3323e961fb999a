/**
 * What a stage is to the lane that runs it: a deterministic state machine over the batches of one partition. No I/O, no
 * clock, no randomness: time comes in with the batch. State after a batch depends on the batches before it and on nothing
 * else, so that recovery is the fold of the log from the last checkpoint.
 */
import type { Batch, BatchBuilder } from './batch.js';

/** Collects store keys that a batch needs. A key named twice may be added twice. */
export type KeySink = (key: Uint8Array) => void;

/** Values that `needs` asked for; undefined: the store has no such key. */
export interface Fetched {
  get(key: Uint8Array): Uint8Array | undefined;
}

/**
 * Where a step writes. Everything is committed or emitted by the lane, in a safe order. Each call returns the builder that
 * the next entry of at most `bytes` (frame and list together) goes to: a full batch is closed and the next one begun.
 */
export interface Out {
  /** The FANOUT batch for a user partition. */
  user(partition: number, bytes: number): BatchBuilder;
  /** The FRAMES batch for a user partition: frames for the user stage itself. */
  userFrames(partition: number, bytes: number): BatchBuilder;
  /** The FRAMES batch for a conversation partition. */
  conversation(partition: number, bytes: number): BatchBuilder;
  /** The EGRESS batch for a gateway. */
  gateway(gateway: number, bytes: number): BatchBuilder;
  /** Cold data: written with the state, in one transaction. Both arrays are copied by the callee if it keeps them. */
  put(key: Uint8Array, value: Uint8Array): void;
  remove(key: Uint8Array): void;
}

/** Takes one exported chunk of state: self-contained, at most STORE_VALUE_BYTES_MAX bytes. Bytes are copied. */
export type ChunkSink = (chunk: Uint8Array) => void;

export interface Stage {
  /** Names the cold data that `step(batch)` will ask for. */
  needs(batch: Batch, keys: KeySink): void;
  /** Applies a batch. Never throws on any content of a frame. */
  step(batch: Batch, out: Out, fetched: Fetched): void;
  /** Logged time at which the stage wants a TICK if nothing else comes before; Infinity: none. */
  readonly wakeAtMs: number;
  /** Offset of the first batch about which the stage wants SYNCED once it survives a power failure; Infinity: none. */
  readonly syncWantedAt: number;
  /** Bytes that `exportDirty` would write about now. */
  readonly dirtyBytes: number;
  /** Writes all state that changed since the last export, and calls it clean. */
  exportDirty(sink: ChunkSink): void;
  /**
   * Writes a part of the whole state, of about `bytes`, starting at `cursor` (0 at first); returns the next cursor, or −1
   * at the end. Steps may run between two parts.
   */
  exportAll(cursor: number, bytes: number, sink: ChunkSink): number;
  /** Takes a chunk that either export wrote. Later chunks win over earlier ones. */
  importChunk(chunk: Uint8Array): void;
  /** All chunks are in: derive what is not exported. */
  importDone(): void;
  /**
   * After the import: the log lost what lay behind the checkpoint, so many times by now, and that was accepted. `isFirst`: the
   * imported state does not know of the last time.
   */
  goOnAfterLoss?(losses: number, isFirst: boolean): void;
  /** Hash of the whole logical state: equal states have equal hashes, on every machine. */
  stateHash(): number;
}
