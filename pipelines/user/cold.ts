/**
 * The cold inbox: entries that were not acknowledged in time, written behind to the store in chunks. A chunk's values never
 * change; what is rewritten gets a new serial, so that a commit that needs several transactions can be cut anywhere.
 *
 * ```text
 * key    inboxKey(partition, user, position of the first entry) · u32 serial · u8 part     (big-endian)
 * value  bytes part × CHUNK … of the chunk; only a chunk of one large entry has more than one part
 * chunk  record, record, …
 * record u64 position · u64 deadline in ms, 0: none (little-endian) · the canonical frame
 * ```
 *
 * CHUNK is STORE_CHUNK_BYTES, part of the format. What is in the chunks is read where it lies: nothing is taken back into
 * memory, so there is no state that a restored stage would lack.
 */

import { readU53LE, writeU53LE } from '../../core/batch.js';
import { At, frameLength, isSequenced, viewOf, writeFrame } from '../../core/frame.js';
import { inboxKey } from '../../core/keys.js';
import { FRAME_HEADER_BYTES } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import { frameAt } from './blobs.js';
import { GapReason, gapFor } from './deliver.js';
import { chunkAtMs, spillAtMs } from './due.js';
import { freeEntry } from './inbox.js';
import { BlobAt, CHUNK_BROKEN, CHUNK_WRITTEN, ChunkAt, EntryAt, getPair, setPair, UserAt, UserFlag } from './rows.js';
import type { UserState } from './state.js';

const RECORD_HEADER_BYTES = 16;
const KEY_MORE_BYTES = 5;

function chunkKey(partition: number, user: number, first: number, serial: number, part: number): Uint8Array {
  const prefix = inboxKey(partition, user, first);
  const key = new Uint8Array(prefix.length + KEY_MORE_BYTES);
  key.set(prefix);
  const view = viewOf(key);
  view.setUint32(prefix.length, serial);
  view.setUint8(prefix.length + 4, part);
  return key;
}

/** Calls `visit` with the key of each part of a chunk. */
export function forEachKey(state: UserState, user: number, chunk: number, visit: (key: Uint8Array) => void): void {
  const u32 = state.memory.u32;
  const parts = Math.ceil(u32[chunk + ChunkAt.BYTES]! / state.limits.chunkBytes);
  const first = getPair(u32, chunk + ChunkAt.FIRST);
  for (let part = 0; part < parts; part++) {
    visit(chunkKey(state.partition, state.idOf(user), first, u32[chunk + ChunkAt.SERIAL]!, part));
  }
}

/** A position in the records of a chunk, or of a buffer of records. */
export class Records {
  bytes: Uint8Array = new Uint8Array(0);
  view: DataView = viewOf(this.bytes);
  #next = 0;
  position = 0;
  deadlineMs = 0;
  /** Where the record's frame lies, and its length. */
  frame = 0;
  length = 0;

  open(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.#next = 0;
  }

  /** Goes to the next record; false at the end, or where the bytes are cut. */
  next(): boolean {
    const at = this.#next;
    if (at + RECORD_HEADER_BYTES + FRAME_HEADER_BYTES > this.bytes.length) return false;
    this.position = readU53LE(this.view, at);
    this.deadlineMs = readU53LE(this.view, at + 8);
    this.frame = at + RECORD_HEADER_BYTES;
    this.length = frameLength(this.view, this.frame);
    this.#next = this.frame + this.length;
    return this.#next <= this.bytes.length;
  }
}

/** Opens a chunk that was fetched for this step, or written in it; false if it is not there. */
export function openChunk(state: UserState, user: number, chunk: number, records: Records): boolean {
  const written = state.writtenChunks.get(chunk);
  if (written !== undefined) {
    records.open(written);
    return true;
  }
  const bytes = state.memory.u32[chunk + ChunkAt.BYTES]!;
  const parts: Uint8Array[] = [];
  let found = 0;
  forEachKey(state, user, chunk, (key) => {
    const value = state.fetched.get(key);
    if (value !== undefined) parts.push(value);
    found += value?.length ?? 0;
  });
  if (found !== bytes) {
    reached(Mark.INBOX_CHUNK_NOT_FETCHED);
    state.counters.chunksMissing++;
    return false;
  }
  records.open(parts.length === 1 ? parts[0]! : joined(parts, bytes));
  return true;
}

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Collects records and writes them as chunks of a user, linked behind the chunk `after` (0: as the first). */
export class ChunkWriter {
  readonly #state: UserState;
  readonly #user: number;
  #after: number;
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;
  #first = 0;
  #last = 0;
  #deadlineMs = 0;

  constructor(state: UserState, user: number, after: number) {
    this.#state = state;
    this.#user = user;
    this.#after = after;
    this.#bytes = new Uint8Array(state.limits.chunkBytes);
    this.#view = viewOf(this.#bytes);
  }

  /** Makes room for a frame of `frameBytes`. The linear memory may grow: take views of it afterwards. */
  reserve(frameBytes: number): void {
    const needed = this.#length + RECORD_HEADER_BYTES + frameBytes;
    if (this.#length > 0 && needed > this.#state.limits.chunkBytes) this.finish();
  }

  /** Adds an entry, as a GAP if its deadline has passed. `reserve` comes first if the bytes are in the linear memory. */
  add(bytes: Uint8Array, view: DataView, at: number, length: number, position: number, deadlineMs: number): void {
    const expired = deadlineMs !== 0 && deadlineMs <= this.#state.nowMs;
    if (expired && !isSequenced(bytes[at + At.KIND]!)) return;
    const to = this.#room(expired ? FRAME_HEADER_BYTES : length, position, expired ? 0 : deadlineMs);
    if (expired) writeFrame(this.#bytes, this.#view, to, gapFor(this.#state, view, at, GapReason.EXPIRED));
    else this.#bytes.set(bytes.subarray(at, at + length), to);
  }

  #room(frameBytes: number, position: number, deadlineMs: number): number {
    const needed = RECORD_HEADER_BYTES + frameBytes;
    if (this.#length > 0 && this.#length + needed > this.#state.limits.chunkBytes) this.finish();
    if (this.#length + needed > this.#bytes.length) this.#grow(this.#length + needed);
    const at = this.#length;
    if (at === 0) {
      this.#first = position;
      this.#deadlineMs = 0;
    }
    this.#last = position;
    this.#deadlineMs = Math.max(this.#deadlineMs, deadlineMs);
    writeU53LE(this.#view, at, position);
    writeU53LE(this.#view, at + 8, deadlineMs);
    this.#length = at + needed;
    return at + RECORD_HEADER_BYTES;
  }

  #grow(bytes: number): void {
    const grown = new Uint8Array(bytes);
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = viewOf(grown);
  }

  /** Writes what was collected. */
  finish(): void {
    if (this.#length === 0) return;
    const state = this.#state;
    const u32 = state.memory.u32;
    const serial = (u32[this.#user + UserAt.CHUNK_SERIAL]! + 1) >>> 0;
    u32[this.#user + UserAt.CHUNK_SERIAL] = serial;
    const chunk = linkChunk(state, this.#user, this.#after, {
      first: this.#first,
      last: this.#last,
      bytes: this.#length,
      serial,
      deadlineMs: this.#deadlineMs,
    });
    this.#after = chunk;
    let at = 0;
    forEachKey(state, this.#user, chunk, (key) => {
      const end = Math.min(at + state.limits.chunkBytes, this.#length);
      state.out.put(key, this.#bytes.subarray(at, end));
      at = end;
    });
    state.writtenChunks.set(chunk, this.#bytes.slice(0, this.#length));
    state.spillLeft -= this.#length;
    state.counters.chunksWritten++;
    state.setAlarm(this.#user, chunkAtMs(state, chunk));
    this.#length = 0;
  }
}

export interface ChunkDescriptor {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
  readonly serial: number;
  readonly deadlineMs: number;
  readonly isBroken?: boolean;
}

/** Links a new descriptor behind `after` (0: as the first). */
export function linkChunk(state: UserState, user: number, after: number, descriptor: ChunkDescriptor): number {
  const chunk = state.chunks.alloc();
  const u32 = state.memory.u32;
  const next = after === 0 ? u32[user + UserAt.FIRST_CHUNK]! : u32[after + ChunkAt.NEXT]!;
  u32[chunk + ChunkAt.NEXT] = next;
  u32[chunk + ChunkAt.PREVIOUS] = after;
  setPair(u32, chunk + ChunkAt.FIRST, descriptor.first);
  setPair(u32, chunk + ChunkAt.LAST, descriptor.last);
  u32[chunk + ChunkAt.BYTES] = descriptor.bytes;
  u32[chunk + ChunkAt.SERIAL] = descriptor.serial;
  setPair(u32, chunk + ChunkAt.DEADLINE, descriptor.deadlineMs);
  u32[chunk + ChunkAt.FLAGS] = descriptor.isBroken === true ? CHUNK_BROKEN : 0;
  if (after === 0) u32[user + UserAt.FIRST_CHUNK] = chunk;
  else u32[after + ChunkAt.NEXT] = chunk;
  if (next === 0) u32[user + UserAt.LAST_CHUNK] = chunk;
  else u32[next + ChunkAt.PREVIOUS] = chunk;
  u32[user + UserAt.CHUNKS]!++;
  state.touch(user, UserFlag.DIRTY_CHUNKS);
  return chunk;
}

export function unlinkChunk(state: UserState, user: number, chunk: number): void {
  const u32 = state.memory.u32;
  const next = u32[chunk + ChunkAt.NEXT]!;
  const previous = u32[chunk + ChunkAt.PREVIOUS]!;
  if (previous === 0) u32[user + UserAt.FIRST_CHUNK] = next;
  else u32[previous + ChunkAt.NEXT] = next;
  if (next === 0) u32[user + UserAt.LAST_CHUNK] = previous;
  else u32[next + ChunkAt.PREVIOUS] = previous;
  u32[user + UserAt.CHUNKS]!--;
  state.writtenChunks.delete(chunk);
  state.chunks.free(chunk);
}

/** Removes a chunk and its values. */
export function removeChunk(state: UserState, user: number, chunk: number): void {
  forEachKey(state, user, chunk, (key) => state.out.remove(key));
  const u32 = state.memory.u32;
  if ((u32[chunk + ChunkAt.FLAGS]! & CHUNK_WRITTEN) !== 0)
    state.droppedChunks.push(state.idOf(user), u32[chunk + ChunkAt.SERIAL]!);
  unlinkChunk(state, user, chunk);
  state.touch(user);
  state.counters.chunksRemoved++;
}

/**
 * Writes behind what is due: when the oldest entry has reached its age, all that are at least half as old go with it, so
 * that chunks get fuller; and the oldest until half of the allowed bytes are left, when there are too many.
 */
export function spill(state: UserState, user: number): void {
  const { nowMs, limits } = state;
  let u32 = state.memory.u32;
  let entry = u32[user + UserAt.FIRST_ENTRY]!;
  if (entry === 0) return;
  const tooMany = u32[user + UserAt.HOT_BYTES]! > limits.spillBytes;
  const tooOld = spillAtMs(state, entry) <= nowMs;
  if ((!tooMany && !tooOld) || state.spillLeft <= 0) return;
  reached(Mark.INBOX_WRITTEN_BEHIND);
  const writer = new ChunkWriter(state, user, u32[user + UserAt.LAST_CHUNK]!);
  while (entry !== 0) {
    u32 = state.memory.u32;
    const blob = u32[entry + EntryAt.BLOB]!;
    const old = tooOld && getPair(u32, blob + BlobAt.ARRIVED) + limits.spillAgeMs / 2 <= nowMs;
    const many = tooMany && u32[user + UserAt.HOT_BYTES]! > limits.spillBytes / 2;
    if (!old && !many) break;
    const length = u32[blob + BlobAt.LENGTH]!;
    writer.reserve(length);
    const { u8, view } = state.memory;
    u32 = state.memory.u32;
    const position = getPair(u32, entry + EntryAt.POSITION);
    writer.add(u8, view, frameAt(blob), length, position, getPair(u32, blob + BlobAt.DEADLINE));
    const next = u32[entry + EntryAt.NEXT]!;
    freeEntry(state, user, entry);
    entry = next;
    if (state.spillLeft <= 0) break;
  }
  writer.finish();
  state.touch(user);
}
