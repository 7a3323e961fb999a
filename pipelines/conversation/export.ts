/**
 * State in and out of chunks. A chunk is a list of records, one for a conversation or a part of one, little-endian:
 *
 * ```text
 * u32 words that follow
 * a low, a high, b low, b high, head, flags (without DIRTY)
 * participants in this record, devices in this record
 * participants × { user low, user high, flags, joined, delivered, read, last sent, typing, order }
 * devices × { low, high, counter, seq, code }
 * ```
 *
 * A large conversation is cut into records that repeat its head; each is taken by itself, so parts of different ages mix
 * safely: a participant or device has one place, and its latest record wins. Aggregates and counts are derived at the end.
 */

import { hashWords, mix32, partitionOfHash } from '../../core/ids.js';
import { STORE_CHUNK_BYTES } from '../../core/limits.js';
import type { ChunkSink } from '../../core/stage.js';
import { Conv, ConversationFlag, Dev, Part, ParticipantFlag, type Rows } from './rows.js';

const HEAD_WORDS = 8;
const PARTICIPANT_WORDS = 9;
const DEVICE_WORDS = 5;
const CHUNK_WORDS = STORE_CHUNK_BYTES / 4;
/** Words of participants and devices in one record. */
const RECORD_WORDS_MAX = CHUNK_WORDS - HEAD_WORDS - 1;

const PARTICIPANT_FIELDS = [
  Part.USER_LOW,
  Part.USER_HIGH,
  Part.FLAGS,
  Part.JOINED,
  Part.DELIVERED,
  Part.READ,
  Part.LAST_SENT,
  Part.TYPING,
  Part.ORDER,
] as const;
const DEVICE_FIELDS = [Dev.LOW, Dev.HIGH, Dev.COUNTER, Dev.SEQ, Dev.CODE] as const;

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
    for (const conversation of rows.dirty) {
      rows.u32[rows.conversations.at(conversation) + Conv.FLAGS]! &= ~ConversationFlag.DIRTY;
      this.#conversation(conversation);
    }
    rows.dirty.length = 0;
    rows.dirtyBytes = 0;
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
    const participants = rows.u32[at + Conv.BLOCK_COUNT]!;
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
    const length = HEAD_WORDS + participants * PARTICIPANT_WORDS + devices * DEVICE_WORDS;
    if (this.#used + 1 + length > CHUNK_WORDS) this.#flush();
    const words = this.#words;
    let to = this.#used;
    words[to++] = length;
    for (let word = 0; word < 4; word++) words[to++] = rows.u32[at + word]!;
    words[to++] = rows.u32[at + Conv.HEAD]!;
    words[to++] = rows.u32[at + Conv.FLAGS]! & ~ConversationFlag.DIRTY;
    words[to++] = participants;
    words[to++] = devices;
    for (let place = first; place < first + participants; place++) {
      const from = rows.participants.at(rows.participantAt(at, place));
      for (const field of PARTICIPANT_FIELDS) words[to++] = rows.u32[from + field]!;
    }
    let device = firstDevice;
    for (let n = 0; n < devices; n++) {
      const from = rows.devices.at(device);
      for (const field of DEVICE_FIELDS) words[to++] = rows.u32[from + field]!;
      device = this.#nextDevice(device);
    }
    this.#used = to;
  }
}

/** Takes a chunk. Counts and aggregates are wrong until `deriveCounts` and the aggregates have been computed. */
export function importChunk(rows: Rows, chunk: Uint8Array, userPartitions: number): void {
  // Chunks come from anywhere in memory; words need alignment.
  const words = new Uint32Array(chunk.slice().buffer);
  for (let at = 0; at < words.length; at += 1 + words[at]!) importRecord(rows, words, at + 1, userPartitions);
}

function importRecord(rows: Rows, words: Uint32Array, start: number, userPartitions: number): void {
  const [a0, a1, b0, b1] = words.subarray(start, start + 4) as unknown as [number, number, number, number];
  let conversation = rows.conversations.find(a0, a1, b0, b1);
  if (conversation < 0) conversation = rows.conversations.insert(a0, a1, b0, b1);
  const conversationAt = rows.conversations.at(conversation);
  rows.u32[conversationAt + Conv.HEAD] = words[start + 4]!;
  rows.u32[conversationAt + Conv.FLAGS] = words[start + 5]!;
  let from = start + HEAD_WORDS;
  for (let n = 0; n < words[start + 6]!; n++, from += PARTICIPANT_WORDS) {
    const low = words[from]!;
    const high = words[from + 1]!;
    let row = rows.participants.find(conversation, low, high);
    if (row < 0) {
      row = rows.addParticipant(conversation, low, high);
      const partition = partitionOfHash(hashWords(low, high, 0, 0), userPartitions);
      rows.u32[rows.participants.at(row) + Part.PARTITION] = partition;
    }
    const to = rows.participants.at(row);
    PARTICIPANT_FIELDS.forEach((field, i) => {
      rows.u32[to + field] = words[from + i]!;
    });
  }
  for (let n = 0; n < words[start + 7]!; n++, from += DEVICE_WORDS) {
    const low = words[from]!;
    const high = words[from + 1]!;
    let row = rows.devices.find(conversation, low, high);
    if (row < 0) row = rows.addDevice(conversation, low, high);
    const to = rows.devices.at(row);
    DEVICE_FIELDS.forEach((field, i) => {
      rows.u32[to + field] = words[from + i]!;
    });
  }
}

/** Member and admin counts of every conversation, from its participants. */
export function deriveCounts(rows: Rows, conversation: number): void {
  const at = rows.conversations.at(conversation);
  let members = 0;
  let admins = 0;
  const count = rows.u32[at + Conv.BLOCK_COUNT]!;
  for (let place = 0; place < count; place++) {
    const flags = rows.u32[rows.participants.at(rows.participantAt(at, place)) + Part.FLAGS]!;
    if ((flags & ParticipantFlag.MEMBER) !== 0) members++;
    if ((flags & ParticipantFlag.ADMIN) !== 0) admins++;
  }
  rows.u32[at + Conv.MEMBERS] = members;
  rows.u32[at + Conv.ADMINS] = admins;
}

/** Hash of the logical state: a sum over conversations, participants and devices, so that row numbers do not matter. */
export function stateHash(rows: Rows): number {
  let sum = 0;
  const { u32 } = rows;
  for (let conversation = 0; conversation < rows.conversations.rowLimit; conversation++) {
    if (!rows.conversations.isLive(conversation)) continue;
    const at = rows.conversations.at(conversation);
    let h = hashWords(u32[at]!, u32[at + 1]!, u32[at + 2]!, u32[at + 3]!);
    const identity = h;
    for (const field of [
      Conv.HEAD,
      Conv.MEMBERS,
      Conv.DELIVERED,
      Conv.AT_DELIVERED,
      Conv.READ,
      Conv.AT_READ,
      Conv.ADMINS,
    ]) {
      h = mix32(Math.imul(h, 31) ^ u32[at + field]!);
    }
    sum = (sum + mix32(h ^ (u32[at + Conv.FLAGS]! & ~ConversationFlag.DIRTY))) >>> 0;
    const count = u32[at + Conv.BLOCK_COUNT]!;
    for (let place = 0; place < count; place++) {
      const from = rows.participants.at(rows.participantAt(at, place));
      let p = mix32(identity ^ place);
      for (const field of PARTICIPANT_FIELDS) p = mix32(Math.imul(p, 31) ^ u32[from + field]!);
      sum = (sum + p) >>> 0;
    }
    for (let device = u32[at + Conv.DEVICES]! - 1; device >= 0; device = u32[rows.devices.at(device) + Dev.NEXT]! - 1) {
      const from = rows.devices.at(device);
      let d = identity;
      for (const field of DEVICE_FIELDS) d = mix32(Math.imul(d, 31) ^ u32[from + field]!);
      sum = (sum + d) >>> 0;
    }
  }
  return sum;
}
