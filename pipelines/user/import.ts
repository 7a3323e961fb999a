/** Reading the state back; the format is in records.ts. Chunks come in the order in which they were written. */
import { highWord, lowWord } from '../../core/ids.js';
import { allocBlob, frameAt, releaseBlob, retainBlob } from './blobs.js';
import { addBlock, removeBlock } from './blocks.js';
import { linkChunk, unlinkChunk } from './cold.js';
import { freeEntry, linkEntry } from './inbox.js';
import { awaitSync, sortNewcomers } from './newcomers.js';
import { addWatcher, removeWatchers } from './presence.js';
import { RecordReader, RecordType } from './records.js';
import {
  BlobAt,
  BlockAt,
  CHUNK_EXPORTED,
  CHUNK_WRITTEN,
  ChunkAt,
  DeviceAt,
  ENTRY_EXPORTED,
  ENTRY_WRITTEN,
  EntryAt,
  getPair,
  setPair,
  UpdateAt,
  UserAt,
} from './rows.js';
import { addDevice, findDevice, freeDevice } from './sessions.js';
import { nextAlarmMs } from './settle.js';
import type { UserState } from './state.js';
import { addUpdate, freeUpdate } from './updates.js';

export class Importer {
  readonly #state: UserState;
  /** Blobs of the export being read, by id; each holds one reference. */
  readonly #blobs = new Map<number, number>();

  constructor(state: UserState) {
    this.#state = state;
  }

  take(chunk: Uint8Array): void {
    const reader = new RecordReader(chunk);
    while (!reader.isAtEnd) this.#record(reader);
  }

  #record(reader: RecordReader): void {
    const state = this.#state;
    const type = reader.u8();
    if (type === RecordType.PARTITION) return this.#partition(reader);
    if (type === RecordType.BLOB) return this.#blob(reader);
    if (type === RecordType.WINDOW) {
      this.#state.generationWindow = reader.u32();
      return;
    }
    if (type === RecordType.BLOCK_ANSWERS) return readBlockAnswers(state, reader);
    const id = reader.u64();
    const user = state.ensureUser(lowWord(id), highWord(id));
    switch (type) {
      case RecordType.USER:
        return readUser(state, user, reader);
      case RecordType.BLOCKS:
        return readBlocks(state, user, reader);
      case RecordType.WATCHERS:
        return readWatchers(state, user, reader);
      case RecordType.UPDATES:
        return readUpdates(state, user, reader);
      case RecordType.ENTRIES:
        return this.#entries(user, reader);
      case RecordType.CHUNK:
        return readChunk(state, user, reader);
      case RecordType.DROP_ENTRY:
        return dropEntry(state, user, reader.u64());
      case RecordType.DROP_CHUNK:
        return dropChunk(state, user, reader.u32());
      case RecordType.UNSYNCED:
        return readUnsynced(state, user, reader);
      default:
        throw new RangeError(`record type ${type} is not known here: use the version that wrote it`);
    }
  }

  #partition(reader: RecordReader): void {
    const state = this.#state;
    state.generation = reader.u32();
    const sources = reader.u16();
    for (let source = 0; source < sources; source++) {
      const seq = reader.f64();
      const index = reader.f64();
      if (source >= state.conversationPartitions) continue;
      state.seenSeq[source] = seq;
      state.seenIndex[source] = index;
    }
  }

  #blob(reader: RecordReader): void {
    const state = this.#state;
    const id = reader.u32();
    const length = reader.u32();
    const start = reader.u32();
    const count = reader.u32();
    const arrivedMs = reader.u64();
    const deadlineMs = reader.u64();
    if (start === 0) {
      this.#forget(id);
      const made = allocBlob(state, length, arrivedMs, deadlineMs);
      retainBlob(state, made);
      this.#blobs.set(id, made);
    }
    const blob = this.#blobs.get(id)!;
    state.memory.u8.set(reader.bytes.subarray(reader.at, reader.at + count), frameAt(blob) + start);
    reader.at += count;
  }

  #forget(id: number): void {
    const blob = this.#blobs.get(id);
    if (blob !== undefined) releaseBlob(this.#state, blob);
    this.#blobs.delete(id);
  }

  #entries(user: number, reader: RecordReader): void {
    const state = this.#state;
    const count = reader.u16();
    for (let n = 0; n < count; n++) {
      const position = reader.u64();
      const blob = this.#blobs.get(reader.u32())!;
      const u32 = state.memory.u32;
      let before = u32[user + UserAt.LAST_ENTRY]!;
      while (before !== 0 && getPair(u32, before + EntryAt.POSITION) > position)
        before = u32[before + EntryAt.PREVIOUS]!;
      if (before !== 0 && getPair(u32, before + EntryAt.POSITION) === position) continue;
      const entry = linkEntry(state, user, before, blob, position);
      state.memory.u32[entry + EntryAt.INFO]! |= ENTRY_EXPORTED | ENTRY_WRITTEN;
    }
  }

  /** Ends the import: what is derived is made, and nothing counts as changed. */
  finish(): void {
    const state = this.#state;
    for (const blob of this.#blobs.values()) releaseBlob(state, blob);
    this.#blobs.clear();
    state.forEachUser((user) => {
      const u32 = state.memory.u32;
      state.clean(user);
      markBlobsExported(u32, user);
      setPair(u32, user + UserAt.ALARM, 0);
    });
    state.dirtyUsers.length = 0;
    state.droppedEntries.length = 0;
    state.droppedChunks.length = 0;
    state.dirtyBytes = 0;
    state.partitionDirty = false;
    sortNewcomers(state);
    state.alarms.clear();
    state.forEachUser((user) => state.setAlarm(user, nextAlarmMs(state, user)));
  }
}

/** A blob that came from an export does not count as unwritten when it goes. Run numbers start above this one. */
function markBlobsExported(u32: Uint32Array, user: number): void {
  for (let entry = u32[user + UserAt.FIRST_ENTRY]!; entry !== 0; entry = u32[entry + EntryAt.NEXT]!) {
    u32[u32[entry + EntryAt.BLOB]! + BlobAt.EXPORT_RUN] = 1;
  }
}

function readUser(state: UserState, user: number, reader: RecordReader): void {
  const oldest = reader.u64();
  dropEntriesBefore(state, user, oldest);
  const u32 = state.memory.u32;
  setPair(u32, user + UserAt.LAST, reader.u64());
  setPair(u32, user + UserAt.DELIVERED, reader.u64());
  setPair(u32, user + UserAt.LAST_SEEN, reader.u64());
  u32[user + UserAt.FLAGS] = reader.u32();
  u32[user + UserAt.CHUNK_SERIAL] = reader.u32();
  u32[user + UserAt.WINDOW] = reader.u32();
  u32[user + UserAt.WINDOW_UPDATES] = reader.u32();
  while (u32[user + UserAt.FIRST_DEVICE] !== 0) freeDevice(state, user, u32[user + UserAt.FIRST_DEVICE]!);
  const devices = reader.u8();
  for (let n = 0; n < devices; n++) readDevice(state, user, reader);
}

function readDevice(state: UserState, user: number, reader: RecordReader): void {
  const device = addDevice(state, user, reader.u8());
  const u32 = state.memory.u32;
  u32[device + DeviceAt.MODE] = reader.u8();
  setPair(u32, device + DeviceAt.CURSOR, reader.u64());
  for (let word = DeviceAt.GATEWAY; word <= DeviceAt.TOKEN; word++) u32[device + word] = reader.u32();
  setPair(u32, device + DeviceAt.SENT, reader.u64());
  setPair(u32, device + DeviceAt.SCANNED, reader.u64());
  setPair(u32, device + DeviceAt.LAST_SEEN, reader.u64());
  setPair(u32, device + DeviceAt.GRACE_ENDS, reader.u64());
  u32[device + DeviceAt.MISSES] = reader.u32();
}

function readUnsynced(state: UserState, user: number, reader: RecordReader): void {
  const count = reader.u8();
  for (let n = 0; n < count; n++) {
    const device = findDevice(state, user, reader.u8());
    awaitSync(state, user, device, reader.u64());
  }
}

function readBlockAnswers(state: UserState, reader: RecordReader): void {
  if (reader.u8() === 1) state.blockAnswers.length = 0;
  const count = reader.u16();
  for (let n = 0; n < count; n++) {
    state.blockAnswers.push({ device: reader.u64(), other: reader.u64(), offset: reader.u64() });
  }
}

function dropEntriesBefore(state: UserState, user: number, oldest: number): void {
  const u32 = state.memory.u32;
  for (let entry = u32[user + UserAt.FIRST_ENTRY]!; entry !== 0; entry = u32[user + UserAt.FIRST_ENTRY]!) {
    if (getPair(u32, entry + EntryAt.POSITION) >= oldest) return;
    freeEntry(state, user, entry);
  }
}

function dropEntry(state: UserState, user: number, position: number): void {
  const u32 = state.memory.u32;
  for (let entry = u32[user + UserAt.LAST_ENTRY]!; entry !== 0; entry = u32[entry + EntryAt.PREVIOUS]!) {
    if (getPair(u32, entry + EntryAt.POSITION) > position) continue;
    if (getPair(u32, entry + EntryAt.POSITION) === position) freeEntry(state, user, entry);
    return;
  }
}

function dropChunk(state: UserState, user: number, serial: number): void {
  const u32 = state.memory.u32;
  let chunk = u32[user + UserAt.FIRST_CHUNK]!;
  while (chunk !== 0 && u32[chunk + ChunkAt.SERIAL] !== serial) chunk = u32[chunk + ChunkAt.NEXT]!;
  if (chunk !== 0) unlinkChunk(state, user, chunk);
}

function readChunk(state: UserState, user: number, reader: RecordReader): void {
  const first = reader.u64();
  const descriptor = {
    first,
    last: reader.u64(),
    bytes: reader.u32(),
    serial: reader.u32(),
    deadlineMs: reader.u64(),
    isBroken: reader.u8() !== 0,
  };
  dropChunk(state, user, descriptor.serial);
  const u32 = state.memory.u32;
  let after = u32[user + UserAt.LAST_CHUNK]!;
  while (after !== 0 && getPair(u32, after + ChunkAt.FIRST) > first) after = u32[after + ChunkAt.PREVIOUS]!;
  const chunk = linkChunk(state, user, after, descriptor);
  state.memory.u32[chunk + ChunkAt.FLAGS]! |= CHUNK_EXPORTED | CHUNK_WRITTEN;
}

function readBlocks(state: UserState, user: number, reader: RecordReader): void {
  const u32 = state.memory.u32;
  while (u32[user + UserAt.FIRST_BLOCK] !== 0) {
    removeBlock(state, user, getPair(u32, u32[user + UserAt.FIRST_BLOCK]! + BlockAt.BLOCKED));
  }
  const count = reader.u16();
  for (let n = 0; n < count; n++) addBlock(state, user, reader.u64());
}

function readWatchers(state: UserState, user: number, reader: RecordReader): void {
  removeWatchers(state, user, () => true);
  const count = reader.u16();
  for (let n = 0; n < count; n++) {
    const device = reader.u64();
    addWatcher(state, user, device, reader.u64());
  }
}

function readUpdates(state: UserState, user: number, reader: RecordReader): void {
  while (state.memory.u32[user + UserAt.FIRST_UPDATE] !== 0) {
    freeUpdate(state, user, state.memory.u32[user + UserAt.FIRST_UPDATE]!);
  }
  const count = reader.u16();
  for (let n = 0; n < count; n++) {
    const kind = reader.u8();
    const pending = reader.u8();
    const convA = reader.u64();
    const convB = reader.u64();
    const update = addUpdate(state, user, kind, convA, convB, reader.u64());
    const u32 = state.memory.u32;
    u32[update + UpdateAt.PENDING] = pending;
    u32[user + UserAt.PENDING]! += pending;
    u32[update + UpdateAt.STATE] = reader.u32();
    setPair(u32, update + UpdateAt.TIME, reader.u64());
    setPair(u32, update + UpdateAt.STAMP, reader.u64());
    setPair(u32, update + UpdateAt.EXPIRES, reader.u64());
  }
}
