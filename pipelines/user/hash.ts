/** A hash of the logical state: independent of row numbers, of what is shared in memory, and of what was exported. */
import { highWord, lowWord, mix32 } from '../../core/ids.js';
import { frameAt } from './blobs.js';
import {
  BlobAt,
  BlockAt,
  CHUNK_BROKEN,
  ChunkAt,
  DEVICE_WORDS,
  DeviceAt,
  EntryAt,
  UPDATE_WORDS,
  UpdateAt,
  USER_DIRTY_MASK,
  UserAt,
  WATCHER_WORDS,
  WatcherAt,
} from './rows.js';
import type { UserState } from './state.js';

/** Words of a user's row that are values, not references or derived. */
const USER_VALUES = [
  UserAt.ID,
  UserAt.ID + 1,
  UserAt.LAST,
  UserAt.LAST + 1,
  UserAt.DELIVERED,
  UserAt.DELIVERED + 1,
  UserAt.HOT_BYTES,
  UserAt.DEVICES,
  UserAt.CHUNKS,
  UserAt.CHUNK_SERIAL,
  UserAt.BLOCKS,
  UserAt.WATCHERS,
  UserAt.UPDATES,
  UserAt.PENDING,
  UserAt.WINDOW,
  UserAt.WINDOW_UPDATES,
  UserAt.LAST_SEEN,
  UserAt.LAST_SEEN + 1,
] as const;

function add(hash: number, word: number): number {
  return mix32(Math.imul(hash, 31) ^ word);
}

function addWords(hash: number, u32: Uint32Array, from: number, to: number): number {
  let h = hash;
  for (let at = from; at < to; at++) h = add(h, u32[at]!);
  return h;
}

export function hashState(state: UserState): number {
  let h = add(add(0, state.generation), state.generationWindow);
  for (let source = 0; source < state.conversationPartitions; source++) {
    h = add(add(h, state.seenSeq[source]!), state.seenIndex[source]!);
  }
  for (const { device, other, offset } of state.blockAnswers) {
    for (const value of [device, other, offset]) h = add(add(h, lowWord(value)), highWord(value));
  }
  // A sum, so that the order of the users does not count.
  let users = 0;
  state.forEachUser((user) => {
    users = (users + hashUserRow(state, user)) >>> 0;
  });
  return add(h, users);
}

function hashUserRow(state: UserState, user: number): number {
  const u32 = state.memory.u32;
  let h = 0;
  for (const word of USER_VALUES) h = add(h, u32[user + word]!);
  h = add(h, u32[user + UserAt.FLAGS]! & ~USER_DIRTY_MASK);
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    h = addWords(h, u32, device + DeviceAt.NUMBER, device + DEVICE_WORDS);
  }
  for (let watcher = u32[user + UserAt.FIRST_WATCHER]!; watcher !== 0; watcher = u32[watcher + WatcherAt.NEXT]!) {
    h = addWords(h, u32, watcher + WatcherAt.DEVICE, watcher + WATCHER_WORDS);
  }
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = u32[update + UpdateAt.NEXT]!) {
    h = addWords(h, u32, update + UpdateAt.KIND, update + UPDATE_WORDS);
  }
  for (let chunk = u32[user + UserAt.FIRST_CHUNK]!; chunk !== 0; chunk = u32[chunk + ChunkAt.NEXT]!) {
    h = addWords(h, u32, chunk + ChunkAt.FIRST, chunk + ChunkAt.FLAGS);
    h = add(h, u32[chunk + ChunkAt.FLAGS]! & CHUNK_BROKEN);
  }
  for (let entry = u32[user + UserAt.FIRST_ENTRY]!; entry !== 0; entry = u32[entry + EntryAt.NEXT]!) {
    h = addWords(h, u32, entry + EntryAt.POSITION, entry + EntryAt.BLOB);
    h = hashBlob(state, h, u32[entry + EntryAt.BLOB]!);
  }
  return add(h, hashBlocks(u32, user));
}

function hashBlob(state: UserState, hash: number, blob: number): number {
  const { u32, u8 } = state.memory;
  let h = addWords(hash, u32, blob + BlobAt.LENGTH, blob + BlobAt.EXPORT_RUN);
  const end = frameAt(blob) + u32[blob + BlobAt.LENGTH]!;
  for (let at = frameAt(blob); at < end; at++) h = Math.imul(h ^ u8[at]!, 0x0100_0193);
  return h >>> 0;
}

/** A sum: the list's order means nothing. */
function hashBlocks(u32: Uint32Array, user: number): number {
  let sum = 0;
  for (let block = u32[user + UserAt.FIRST_BLOCK]!; block !== 0; block = u32[block + BlockAt.NEXT]!) {
    sum = (sum + add(u32[block + BlockAt.BLOCKED]!, u32[block + BlockAt.BLOCKED + 1]!)) >>> 0;
  }
  return sum;
}
