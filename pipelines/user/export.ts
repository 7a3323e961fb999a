/** Writing the state: what changed since the last time, or all of it in parts. The format is in records.ts. */
import { STORE_CHUNK_BYTES } from '../../core/limits.js';
import type { ChunkSink } from '../../core/stage.js';
import { frameAt } from './blobs.js';
import { isUnsynced } from './newcomers.js';
import { RecordType, RecordWriter } from './records.js';
import {
  BlobAt,
  BlockAt,
  CHUNK_BROKEN,
  CHUNK_EXPORTED,
  CHUNK_WRITTEN,
  ChunkAt,
  DeviceAt,
  ENTRY_EXPORTED,
  ENTRY_WRITTEN,
  EntryAt,
  getPair,
  UpdateAt,
  USER_DIRTY_MASK,
  UserAt,
  UserFlag,
  WatcherAt,
} from './rows.js';
import type { UserState } from './state.js';

const DEVICE_BYTES = 62;
const USER_BYTES = 60;
const UPDATE_BYTES = 54;
const BLOB_BYTES = 33;
/** A fragment of a blob is at least this long, if the blob is: chunks are not filled up with crumbs. */
const FRAGMENT_BYTES_MIN = 1_024;
/** Entries in one record. */
const ENTRIES_MAX = 512;
/** The same of answers to blocks. */
const ANSWERS_MAX = 1_024;

/** Writes everything that changed since the last call. */
export function exportDirty(state: UserState, sink: ChunkSink): void {
  const writer = new RecordWriter(sink, STORE_CHUNK_BYTES);
  state.exportRun++;
  const blobs = { next: 0 };
  if (state.partitionDirty) {
    writePartition(state, writer);
    writeWindow(state, writer);
    writeBlockAnswers(state, writer);
  }
  for (let i = 0; i < state.droppedEntries.length; i += 2) {
    writer.begin(RecordType.DROP_ENTRY, 17);
    writer.u64(state.droppedEntries[i]!);
    writer.u64(state.droppedEntries[i + 1]!);
  }
  for (let i = 0; i < state.droppedChunks.length; i += 2) {
    writer.begin(RecordType.DROP_CHUNK, 13);
    writer.u64(state.droppedChunks[i]!);
    writer.u32(state.droppedChunks[i + 1]!);
  }
  for (const user of state.dirtyUsers) {
    writeUser(state, writer, user);
    const flags = state.memory.u32[user + UserAt.FLAGS]!;
    if ((flags & UserFlag.DIRTY_BLOCKS) !== 0) writeBlocks(state, writer, user);
    if ((flags & UserFlag.DIRTY_WATCHERS) !== 0) writeWatchers(state, writer, user);
    if ((flags & UserFlag.DIRTY_UPDATES) !== 0) writeUpdates(state, writer, user);
    if ((flags & UserFlag.DIRTY_CHUNKS) !== 0) writeChunks(state, writer, user, false);
    writeNewEntries(state, writer, user, blobs);
    state.clean(user);
  }
  writer.flush();
  state.partitionDirty = false;
  state.droppedEntries.length = 0;
  state.droppedChunks.length = 0;
  state.dirtyUsers.length = 0;
  state.dirtyBytes = 0;
}

/** Writes about `bytes` of the whole state from user row `cursor` on; returns where to go on, −1 at the end. */
export function exportPart(state: UserState, cursor: number, bytes: number, sink: ChunkSink): number {
  const writer = new RecordWriter(sink, STORE_CHUNK_BYTES);
  state.exportRun++;
  const blobs = { next: 0 };
  if (cursor === 0) {
    writePartition(state, writer);
    writeWindow(state, writer);
    writeBlockAnswers(state, writer);
  }
  let row = cursor;
  for (; row < state.users.rowLimit && writer.total < bytes; row++) {
    if (!state.users.isLive(row)) continue;
    const user = state.users.at(row);
    writeUser(state, writer, user);
    writeBlocks(state, writer, user);
    writeWatchers(state, writer, user);
    writeUpdates(state, writer, user);
    writeChunks(state, writer, user, true);
    writeEntries(state, writer, user, state.memory.u32[user + UserAt.FIRST_ENTRY]!, blobs);
  }
  writer.flush();
  return row < state.users.rowLimit ? row : -1;
}

function writePartition(state: UserState, writer: RecordWriter): void {
  writer.begin(RecordType.PARTITION, 7 + state.conversationPartitions * 16);
  writer.u32(state.generation);
  writer.u16(state.conversationPartitions);
  for (let source = 0; source < state.conversationPartitions; source++) {
    writer.f64(state.seenSeq[source]!);
    writer.f64(state.seenIndex[source]!);
  }
}

function writeWindow(state: UserState, writer: RecordWriter): void {
  writer.begin(RecordType.WINDOW, 5);
  writer.u32(state.generationWindow);
}

function writeBlockAnswers(state: UserState, writer: RecordWriter): void {
  const { blockAnswers } = state;
  for (let from = 0; from === 0 || from < blockAnswers.length; from += ANSWERS_MAX) {
    const some = blockAnswers.slice(from, from + ANSWERS_MAX);
    writer.begin(RecordType.BLOCK_ANSWERS, 4 + some.length * 24);
    writer.u8(from === 0 ? 1 : 0);
    writer.u16(some.length);
    for (const { device, other, offset } of some) {
      writer.u64(device);
      writer.u64(other);
      writer.u64(offset);
    }
  }
}

function writeUser(state: UserState, writer: RecordWriter, user: number): void {
  const u32 = state.memory.u32;
  const devices = u32[user + UserAt.DEVICES]!;
  const first = u32[user + UserAt.FIRST_ENTRY]!;
  const last = getPair(u32, user + UserAt.LAST);
  writer.begin(RecordType.USER, USER_BYTES + devices * DEVICE_BYTES);
  writer.u64(state.idOf(user));
  writer.u64(first === 0 ? last + 1 : getPair(u32, first + EntryAt.POSITION));
  writer.u64(last);
  writer.u64(getPair(u32, user + UserAt.DELIVERED));
  writer.u64(getPair(u32, user + UserAt.LAST_SEEN));
  writer.u32(u32[user + UserAt.FLAGS]! & ~USER_DIRTY_MASK);
  writer.u32(u32[user + UserAt.CHUNK_SERIAL]!);
  writer.u32(u32[user + UserAt.WINDOW]!);
  writer.u32(u32[user + UserAt.WINDOW_UPDATES]!);
  writer.u8(devices);
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    writer.u8(u32[device + DeviceAt.NUMBER]!);
    writer.u8(u32[device + DeviceAt.MODE]!);
    writer.u64(getPair(u32, device + DeviceAt.CURSOR));
    for (let word = DeviceAt.GATEWAY; word <= DeviceAt.TOKEN; word++) writer.u32(u32[device + word]!);
    writer.u64(getPair(u32, device + DeviceAt.SENT));
    writer.u64(getPair(u32, device + DeviceAt.SCANNED));
    writer.u64(getPair(u32, device + DeviceAt.LAST_SEEN));
    writer.u64(getPair(u32, device + DeviceAt.GRACE_ENDS));
    writer.u32(u32[device + DeviceAt.MISSES]!);
  }
  if (state.newcomers.size > 0) writeUnsynced(state, writer, user);
}

function writeUnsynced(state: UserState, writer: RecordWriter, user: number): void {
  const u32 = state.memory.u32;
  const devices: number[] = [];
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (isUnsynced(state, device)) devices.push(device);
  }
  if (devices.length === 0) return;
  writer.begin(RecordType.UNSYNCED, 10 + devices.length * 9);
  writer.u64(state.idOf(user));
  writer.u8(devices.length);
  for (const device of devices) {
    writer.u8(u32[device + DeviceAt.NUMBER]!);
    writer.u64(getPair(u32, device + DeviceAt.UNSYNCED) - 1);
  }
}

function writeBlocks(state: UserState, writer: RecordWriter, user: number): void {
  const u32 = state.memory.u32;
  const count = u32[user + UserAt.BLOCKS]!;
  writer.begin(RecordType.BLOCKS, 11 + count * 8);
  writer.u64(state.idOf(user));
  writer.u16(count);
  for (let block = u32[user + UserAt.FIRST_BLOCK]!; block !== 0; block = u32[block + BlockAt.NEXT]!) {
    writer.u64(getPair(u32, block + BlockAt.BLOCKED));
  }
}

function writeWatchers(state: UserState, writer: RecordWriter, user: number): void {
  const u32 = state.memory.u32;
  const count = u32[user + UserAt.WATCHERS]!;
  writer.begin(RecordType.WATCHERS, 11 + count * 16);
  writer.u64(state.idOf(user));
  writer.u16(count);
  for (let watcher = u32[user + UserAt.FIRST_WATCHER]!; watcher !== 0; watcher = u32[watcher + WatcherAt.NEXT]!) {
    writer.u64(getPair(u32, watcher + WatcherAt.DEVICE));
    writer.u64(getPair(u32, watcher + WatcherAt.EXPIRES));
  }
}

function writeUpdates(state: UserState, writer: RecordWriter, user: number): void {
  const u32 = state.memory.u32;
  const count = u32[user + UserAt.UPDATES]!;
  writer.begin(RecordType.UPDATES, 11 + count * UPDATE_BYTES);
  writer.u64(state.idOf(user));
  writer.u16(count);
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = u32[update + UpdateAt.NEXT]!) {
    writer.u8(u32[update + UpdateAt.KIND]!);
    writer.u8(u32[update + UpdateAt.PENDING]!);
    writer.u64(getPair(u32, update + UpdateAt.CONV_A));
    writer.u64(getPair(u32, update + UpdateAt.CONV_B));
    writer.u64(getPair(u32, update + UpdateAt.DEVICE));
    writer.u32(u32[update + UpdateAt.STATE]!);
    writer.u64(getPair(u32, update + UpdateAt.TIME));
    writer.u64(getPair(u32, update + UpdateAt.STAMP));
    writer.u64(getPair(u32, update + UpdateAt.EXPIRES));
  }
}

/** Writes all chunk descriptors, or those that were not written yet. */
function writeChunks(state: UserState, writer: RecordWriter, user: number, all: boolean): void {
  const u32 = state.memory.u32;
  for (let chunk = u32[user + UserAt.FIRST_CHUNK]!; chunk !== 0; chunk = u32[chunk + ChunkAt.NEXT]!) {
    if (!all && (u32[chunk + ChunkAt.FLAGS]! & CHUNK_EXPORTED) !== 0) continue;
    u32[chunk + ChunkAt.FLAGS]! |= all ? CHUNK_WRITTEN : CHUNK_WRITTEN | CHUNK_EXPORTED;
    writer.begin(RecordType.CHUNK, 42);
    writer.u64(state.idOf(user));
    writer.u64(getPair(u32, chunk + ChunkAt.FIRST));
    writer.u64(getPair(u32, chunk + ChunkAt.LAST));
    writer.u32(u32[chunk + ChunkAt.BYTES]!);
    writer.u32(u32[chunk + ChunkAt.SERIAL]!);
    writer.u64(getPair(u32, chunk + ChunkAt.DEADLINE));
    writer.u8(u32[chunk + ChunkAt.FLAGS]! & CHUNK_BROKEN);
  }
}

/** Writes the entries without the flag ENTRY_EXPORTED, which are the last ones, and sets it. */
function writeNewEntries(state: UserState, writer: RecordWriter, user: number, blobs: { next: number }): void {
  const u32 = state.memory.u32;
  let first = 0;
  for (let entry = u32[user + UserAt.LAST_ENTRY]!; entry !== 0; entry = u32[entry + EntryAt.PREVIOUS]!) {
    if ((u32[entry + EntryAt.INFO]! & ENTRY_EXPORTED) !== 0) break;
    u32[entry + EntryAt.INFO]! |= ENTRY_EXPORTED;
    first = entry;
  }
  writeEntries(state, writer, user, first, blobs);
}

/** Writes the entries from `first` on, and the blobs that were not written in this run. */
function writeEntries(
  state: UserState,
  writer: RecordWriter,
  user: number,
  first: number,
  blobs: { next: number },
): void {
  const u32 = state.memory.u32;
  for (let from = first; from !== 0; ) {
    let count = 0;
    let to = from;
    for (; to !== 0 && count < ENTRIES_MAX; to = u32[to + EntryAt.NEXT]!) {
      writeBlob(state, writer, u32[to + EntryAt.BLOB]!, blobs);
      count++;
    }
    writer.begin(RecordType.ENTRIES, 11 + count * 12);
    writer.u64(state.idOf(user));
    writer.u16(count);
    for (let entry = from; entry !== to; entry = u32[entry + EntryAt.NEXT]!) {
      u32[entry + EntryAt.INFO]! |= ENTRY_WRITTEN;
      writer.u64(getPair(u32, entry + EntryAt.POSITION));
      writer.u32(u32[u32[entry + EntryAt.BLOB]! + BlobAt.EXPORT_ID]!);
    }
    from = to;
  }
}

function writeBlob(state: UserState, writer: RecordWriter, blob: number, blobs: { next: number }): void {
  const { u32, u8 } = state.memory;
  if (u32[blob + BlobAt.EXPORT_RUN] === state.exportRun) return;
  u32[blob + BlobAt.EXPORT_RUN] = state.exportRun;
  u32[blob + BlobAt.EXPORT_ID] = blobs.next;
  const length = u32[blob + BlobAt.LENGTH]!;
  for (let start = 0; start < length; ) {
    const wanted = length - start;
    if (writer.room < BLOB_BYTES + Math.min(wanted, FRAGMENT_BYTES_MIN)) writer.flush();
    const count = Math.min(wanted, writer.room - BLOB_BYTES);
    writer.begin(RecordType.BLOB, BLOB_BYTES + count);
    writer.u32(blobs.next);
    writer.u32(length);
    writer.u32(start);
    writer.u32(count);
    writer.u64(getPair(u32, blob + BlobAt.ARRIVED));
    writer.u64(getPair(u32, blob + BlobAt.DEADLINE));
    writer.copy(u8, frameAt(blob) + start, count);
    start += count;
  }
  blobs.next++;
}
