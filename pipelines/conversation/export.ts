/**
 * State in and out of chunks. A chunk is a list of records, one for a conversation or a part of one, little-endian:
 *
 * ```text
 * u32 words that follow
 * a low, a high, b low, b high, head, flags (with FIRST instead of DIRTY)
 * participants in this record, devices in this record
 * participants × { user low, user high, flags, joined, delivered, read, last sent, typing }
 * devices × { low, high, counter, seq, code }
 * ```
 *
 * A large conversation is cut into records that repeat its head, always exported together. The first one replaces the
 * participants that an earlier export had; devices are only ever added or overwritten. Aggregates are derived at the end.
 */

import { hashWords, mix32, partitionOfHash } from '../../core/ids.js';
import { STORE_CHUNK_BYTES } from '../../core/limits.js';
import type { ChunkSink } from '../../core/stage.js';
import { Conv, ConversationFlag, Dev, Part, ParticipantFlag, type Rows } from './rows.js';

const HEAD_WORDS = 8;
/** Words of a participant row that are exported, from its user on. The partition depends on the deployment and is not. */
const PARTICIPANT_WORDS = 8;
/** Words of a device row that are exported, from its key on. */
const DEVICE_WORDS = 5;
const CHUNK_WORDS = STORE_CHUNK_BYTES / 4;
/** Words of participants and devices in one record. */
const RECORD_WORDS_MAX = CHUNK_WORDS - HEAD_WORDS - 1;
/** In a record's flags: it is the conversation's first. */
const FIRST = ConversationFlag.DIRTY;

export class Exporter {
  readonly #rows: Rows;
  readonly #words = new Uint32Array(CHUNK_WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  #used = 0;
  #written = 0;
  #sink: ChunkSink = () => {};

  constructor(rows: Rows) {
    this.#rows = rows;
  }

  dirty(sink: ChunkSink): void {
    const rows = this.#rows;
    this.#sink = sink;
    for (let place = 0; place < rows.dirtyCount; place++) {
      const conversation = rows.dirtyAt(place);
      rows.u32[rows.conversations.at(conversation) + Conv.FLAGS]! &= ~ConversationFlag.DIRTY;
      this.#conversation(conversation);
    }
    rows.clearDirty();
    this.#flush();
  }

  /** Conversations from row `cursor` on, about `bytes` of them; the next cursor, or −1. */
  all(cursor: number, bytes: number, sink: ChunkSink): number {
    const { conversations } = this.#rows;
    this.#sink = sink;
    this.#written = 0;
    let row = cursor;
    for (; row < conversations.rowLimit && this.#written + this.#used * 4 < bytes; row++) {
      if (conversations.isLive(row)) this.#conversation(row);
    }
    this.#flush();
    return row < conversations.rowLimit ? row : -1;
  }

  #flush(): void {
    if (this.#used === 0) return;
    this.#sink(this.#bytes.subarray(0, this.#used * 4));
    this.#written += this.#used * 4;
    this.#used = 0;
  }

  #conversation(conversation: number): void {
    const rows = this.#rows;
    const at = rows.conversations.at(conversation);
    const participants = rows.u32[at + Conv.MEMBERS]!;
    let place = 0;
    let device = rows.u32[at + Conv.DEVICES]! - 1;
    do {
      let room = RECORD_WORDS_MAX;
      let devices = 0;
      const first = place;
      for (; place < participants && room >= PARTICIPANT_WORDS; place++) room -= PARTICIPANT_WORDS;
      const firstDevice = device;
      for (; device >= 0 && room >= DEVICE_WORDS; device = this.#nextDevice(device)) {
        room -= DEVICE_WORDS;
        devices++;
      }
      this.#record(at, first, place - first, firstDevice, devices);
    } while (place < participants || device >= 0);
  }

  #nextDevice(device: number): number {
    return this.#rows.u32[this.#rows.devices.at(device) + Dev.NEXT]! - 1;
  }

  #record(at: number, first: number, participants: number, firstDevice: number, devices: number): void {
    const rows = this.#rows;
    const { u32 } = rows;
    const length = HEAD_WORDS + participants * PARTICIPANT_WORDS + devices * DEVICE_WORDS;
    if (this.#used + 1 + length > CHUNK_WORDS) this.#flush();
    const words = this.#words;
    let to = this.#used;
    words[to++] = length;
    for (let word = 0; word < 4; word++) words[to++] = u32[at + word]!;
    words[to++] = u32[at + Conv.HEAD]!;
    words[to++] = (u32[at + Conv.FLAGS]! & ~ConversationFlag.DIRTY) | (first === 0 ? FIRST : 0);
    words[to++] = participants;
    words[to++] = devices;
    for (let place = first; place < first + participants; place++) {
      const from = rows.participants.at(rows.participantAt(at, place)) + Part.USER_LOW;
      for (let word = 0; word < PARTICIPANT_WORDS; word++) words[to++] = u32[from + word]!;
    }
    let device = firstDevice;
    for (let n = 0; n < devices; n++) {
      const from = rows.devices.at(device) + Dev.LOW;
      for (let word = 0; word < DEVICE_WORDS; word++) words[to++] = u32[from + word]!;
      device = this.#nextDevice(device);
    }
    this.#used = to;
  }
}

/** Takes a chunk. Admins are not counted until `deriveAdmins`, aggregates not known until they have been computed. */
export function importChunk(rows: Rows, chunk: Uint8Array, userPartitions: number): void {
  // Chunks come from anywhere in memory, and words need alignment. Not `slice`: a Buffer's does not copy.
  const words = new Uint32Array(new Uint8Array(chunk).buffer);
  for (let at = 0; at < words.length; at += 1 + words[at]!) importRecord(rows, words, at + 1, userPartitions);
}

function importRecord(rows: Rows, words: Uint32Array, start: number, userPartitions: number): void {
  const flags = words[start + 5]!;
  const known = rows.conversations.find(words[start]!, words[start + 1]!, words[start + 2]!, words[start + 3]!);
  const conversation = known >= 0 ? known : importKey(rows, words, start);
  if (known >= 0 && (flags & FIRST) !== 0) rows.clearParticipants(conversation);
  const conversationAt = rows.conversations.at(conversation);
  rows.u32[conversationAt + Conv.HEAD] = words[start + 4]!;
  rows.u32[conversationAt + Conv.FLAGS] = flags & ~FIRST;
  let from = start + HEAD_WORDS;
  for (let n = words[start + 6]!; n > 0; n--) {
    const partition = partitionOfHash(hashWords(words[from]!, words[from + 1]!, 0, 0), userPartitions);
    const row = rows.addParticipant(conversation, words[from]!, words[from + 1]!, partition);
    const { u32 } = rows;
    const to = rows.participants.at(row);
    for (let word = 0; word < PARTICIPANT_WORDS; word++) u32[to + Part.USER_LOW + word] = words[from++]!;
  }
  for (let n = words[start + 7]!; n > 0; n--) {
    // A new conversation has no devices: not to look for them saves a third of an import.
    let row = known < 0 ? -1 : rows.devices.find(conversation, words[from]!, words[from + 1]!);
    if (row < 0) row = rows.addDevice(conversation, words[from]!, words[from + 1]!);
    const { u32 } = rows;
    const to = rows.devices.at(row) + Dev.LOW;
    for (let word = 0; word < DEVICE_WORDS; word++) u32[to + word] = words[from++]!;
  }
}

function importKey(rows: Rows, words: Uint32Array, start: number): number {
  return rows.conversations.insert(words[start]!, words[start + 1]!, words[start + 2]!, words[start + 3]!);
}

/** Counts a conversation's admins. */
export function deriveAdmins(rows: Rows, conversation: number): void {
  const { u32 } = rows;
  const at = rows.conversations.at(conversation);
  let admins = 0;
  for (let place = 0; place < u32[at + Conv.MEMBERS]!; place++) {
    const flags = u32[rows.participants.at(rows.participantAt(at, place)) + Part.FLAGS]!;
    if ((flags & ParticipantFlag.ADMIN) !== 0) admins++;
  }
  u32[at + Conv.ADMINS] = admins;
}

const HASHED_FIELDS = [
  Conv.HEAD,
  Conv.MEMBERS,
  Conv.DELIVERED,
  Conv.AT_DELIVERED,
  Conv.READ,
  Conv.AT_READ,
  Conv.ADMINS,
];

/** Hash of the logical state: a sum over conversations, participants and devices, so that row numbers do not matter. */
export function stateHash(rows: Rows): number {
  let sum = 0;
  const { u32 } = rows;
  for (let conversation = 0; conversation < rows.conversations.rowLimit; conversation++) {
    if (!rows.conversations.isLive(conversation)) continue;
    const at = rows.conversations.at(conversation);
    let h = hashWords(u32[at]!, u32[at + 1]!, u32[at + 2]!, u32[at + 3]!);
    const identity = h;
    const hasAggregates = !rows.isDirect(at);
    for (const field of HASHED_FIELDS) {
      const isAggregate = field >= Conv.DELIVERED && field <= Conv.AT_READ;
      h = mix32(Math.imul(h, 31) ^ (isAggregate && !hasAggregates ? 0 : u32[at + field]!));
    }
    sum = (sum + mix32(h ^ (u32[at + Conv.FLAGS]! & ~ConversationFlag.DIRTY))) >>> 0;
    const count = u32[at + Conv.MEMBERS]!;
    for (let place = 0; place < count; place++) {
      const from = rows.participants.at(rows.participantAt(at, place));
      let p = mix32(identity ^ place);
      for (let word = 0; word < PARTICIPANT_WORDS; word++) {
        p = mix32(Math.imul(p, 31) ^ u32[from + Part.USER_LOW + word]!);
      }
      sum = (sum + p) >>> 0;
    }
    for (let device = u32[at + Conv.DEVICES]! - 1; device >= 0; device = u32[rows.devices.at(device) + Dev.NEXT]! - 1) {
      const from = rows.devices.at(device);
      let d = identity;
      for (let word = 0; word < DEVICE_WORDS; word++) d = mix32(Math.imul(d, 31) ^ u32[from + Dev.LOW + word]!);
      sum = (sum + d) >>> 0;
    }
  }
  return sum;
}
