/**
 * The inbox in memory: entries of one user in order of position. Appended at the end; freed from the front when every
 * registered device has acknowledged them or when they are written behind (cold.ts); taken out of the middle only when a
 * newer entry says the same and more.
 */

import { At, isSequenced, Kind } from '../../core/frame.js';
import { INBOX_COMPACT_ENTRIES } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import { frameAt, releaseBlob, retainBlob, sameConversation } from './blobs.js';
import { spillAtMs } from './due.js';
import {
  BlobAt,
  ENTRY_EXPORTED,
  ENTRY_OVERHEAD_BYTES,
  ENTRY_WRITTEN,
  EntryAt,
  getPair,
  setPair,
  UserAt,
} from './rows.js';
import { ENTRY_EXPORT_BYTES, type UserState } from './state.js';

const GENERATION = 2 ** 32;

/** Appends an entry with a new position; returns it. */
export function appendEntry(state: UserState, user: number, blob: number): number {
  const position = Math.max(getPair(state.memory.u32, user + UserAt.LAST), state.generation * GENERATION) + 1;
  setPair(state.memory.u32, user + UserAt.LAST, position);
  const entry = linkEntry(state, user, state.memory.u32[user + UserAt.LAST_ENTRY]!, blob, position);
  state.touch(user);
  state.dirtyBytes += ENTRY_EXPORT_BYTES;
  state.counters.entries++;
  const u32 = state.memory.u32;
  if (u32[user + UserAt.HOT_BYTES]! > state.limits.spillBytes) state.setAlarm(user, state.nowMs);
  else if (u32[user + UserAt.FIRST_ENTRY] === entry) state.setAlarm(user, spillAtMs(state, entry));
  return entry;
}

/** Links a new entry behind `previous` (0: at the front). */
export function linkEntry(state: UserState, user: number, previous: number, blob: number, position: number): number {
  const entry = state.entries.alloc();
  retainBlob(state, blob);
  const u32 = state.memory.u32;
  const next = previous === 0 ? u32[user + UserAt.FIRST_ENTRY]! : u32[previous + EntryAt.NEXT]!;
  u32[entry + EntryAt.NEXT] = next;
  u32[entry + EntryAt.PREVIOUS] = previous;
  setPair(u32, entry + EntryAt.POSITION, position);
  u32[entry + EntryAt.BLOB] = blob;
  const kind = kindOfBlob(state, blob);
  u32[entry + EntryAt.INFO] = kind;
  if (previous === 0) u32[user + UserAt.FIRST_ENTRY] = entry;
  else u32[previous + EntryAt.NEXT] = entry;
  if (next === 0) u32[user + UserAt.LAST_ENTRY] = entry;
  else u32[next + EntryAt.PREVIOUS] = entry;
  u32[user + UserAt.HOT_BYTES]! += u32[blob + BlobAt.LENGTH]! + ENTRY_OVERHEAD_BYTES;
  // Last: the memory may grow.
  if (kind === Kind.RECEIPT) state.receipts.add(state, user, entry);
  return entry;
}

function kindOfBlob(state: UserState, blob: number): number {
  return state.memory.u8[frameAt(blob) + 2]!;
}

/** Unlinks and frees an entry. Exports drop what lies before the first entry, so only others need `noteDropped`. */
export function freeEntry(state: UserState, user: number, entry: number): void {
  const u32 = state.memory.u32;
  if ((u32[entry + EntryAt.INFO]! & 0xff) === Kind.RECEIPT) state.receipts.remove(state, user, entry);
  const next = u32[entry + EntryAt.NEXT]!;
  const previous = u32[entry + EntryAt.PREVIOUS]!;
  if (previous === 0) u32[user + UserAt.FIRST_ENTRY] = next;
  else u32[previous + EntryAt.NEXT] = next;
  if (next === 0) u32[user + UserAt.LAST_ENTRY] = previous;
  else u32[next + EntryAt.PREVIOUS] = previous;
  const blob = u32[entry + EntryAt.BLOB]!;
  u32[user + UserAt.HOT_BYTES]! -= u32[blob + BlobAt.LENGTH]! + ENTRY_OVERHEAD_BYTES;
  if ((u32[entry + EntryAt.INFO]! & ENTRY_EXPORTED) === 0) state.dirtyBytes -= ENTRY_EXPORT_BYTES;
  releaseBlob(state, blob);
  state.entries.free(entry);
}

/**
 * Takes out the entry that the one about to be appended replaces: the older RECEIPT of the same conversation and user, an older
 * BLOCK of the same user, or a GAP with nothing of its conversation behind it. BLOCK and GAP are rare, and looked for among the
 * last INBOX_COMPACT_ENTRIES only; an older one that stays does no harm, since the newer wins. A BLOCK that ends a block stays in
 * its place: what was let through behind it would come to a device that still thinks its sender is blocked.
 */
export function replaceOlder(state: UserState, user: number, blob: number): void {
  const kind = kindOfBlob(state, blob);
  const older = kind === Kind.RECEIPT ? state.receipts.find(state, user, blob) : lookBack(state, user, kind, blob);
  if (older !== 0) takeOut(state, user, older);
}

function lookBack(state: UserState, user: number, kind: number, blob: number): number {
  const { u32, view } = state.memory;
  const frame = frameAt(blob);
  let entry = u32[user + UserAt.LAST_ENTRY]!;
  for (let looked = 0; entry !== 0 && looked < INBOX_COMPACT_ENTRIES; looked++) {
    const otherKind = u32[entry + EntryAt.INFO]! & 0xff;
    const isRelated = otherKind === kind || (kind === Kind.GAP && isSequenced(otherKind));
    if (isRelated && sameConversation(view, frame, frameAt(u32[entry + EntryAt.BLOB]!))) {
      if (otherKind !== kind) return 0;
      const endsBlock = kind === Kind.BLOCK && view.getUint32(frameAt(u32[entry + EntryAt.BLOB]!) + At.EXTRA) === 0;
      return endsBlock ? 0 : entry;
    }
    entry = u32[entry + EntryAt.PREVIOUS]!;
  }
  return 0;
}

function takeOut(state: UserState, user: number, entry: number): void {
  reached(Mark.INBOX_ENTRY_REPLACED);
  const u32 = state.memory.u32;
  if ((u32[entry + EntryAt.INFO]! & ENTRY_WRITTEN) !== 0) {
    state.droppedEntries.push(state.idOf(user), getPair(u32, entry + EntryAt.POSITION));
  }
  freeEntry(state, user, entry);
}
