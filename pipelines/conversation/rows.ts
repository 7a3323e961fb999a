/**
 * The tables of a conversation partition, word by word. Rows are 32-bit words in linear memory; ids take two words, low first.
 *
 * ```text
 * conversation (16 words)                 participant (16 words)                  device (8 words)
 *  0 a low    ┐                            0 conversation row ┐                    0 conversation row ┐
 *  1 a high   │ key                        1 user low         │ key                1 device low       │ key
 *  2 b low    │                            2 user high        ┘                    2 device high      ┘
 *  3 b high   ┘                            3 flags ParticipantFlag.*               3 last counter taken
 *  4 head: last sequence given out         4 joined: first sequence it sees        4 its sequence, 0 if rejected
 *  5 flags ConversationFlag.*              5 delivered up to                       5 its error code, 0 if sequenced
 *  6 device rows                           6 read up to                            6 next device row + 1
 *  7 group: its block (byte offset)        7 sequence of the last own frame        7 —
 *  8 group: members that fit into it       8 typing: logged time in 2 ms × 2 + state
 *  9 current members                       9 partition of the user
 * 10 group: aggregate delivered           10 to 15 —: a row is a line of the cache
 *    direct: participant row of a
 * 11 group: members at that minimum
 *    direct: participant row of b
 * 12 group: aggregate read
 *    direct: partition of a
 * 13 group: members at that minimum
 *    direct: partition of b
 * 14 admins
 * 15 first device row + 1
 * ```
 *
 * The block of a group holds the current members, in the order in which they joined, four words each: participant row, user low,
 * user high, partition of the user. Who leaves loses its row, so that a group costs what its members cost, however many came
 * and went. Devices stay: their counters must never be taken twice.
 *
 * That a fan-out finds its recipients in the block, or in the row of a direct conversation, spares it a line of memory a member.
 */
import { fromWords } from '../../core/ids.js';
import { LinearMemory } from '../../core/memory.js';
import { Table } from '../../core/table.js';

export const Conv = {
  HEAD: 4,
  FLAGS: 5,
  DEVICE_COUNT: 6,
  BLOCK: 7,
  BLOCK_ROOM: 8,
  MEMBERS: 9,
  DELIVERED: 10,
  AT_DELIVERED: 11,
  READ: 12,
  AT_READ: 13,
  ADMINS: 14,
  DEVICES: 15,
  /** Direct conversations only: two words each. */
  DIRECT_ROWS: 10,
  DIRECT_PARTITIONS: 12,
} as const;
const CONV_WORDS = 16;

export const ConversationFlag = { DIRTY: 1, GROUP: 2, CREATED: 4 } as const;

export const Part = {
  USER_LOW: 1,
  USER_HIGH: 2,
  FLAGS: 3,
  JOINED: 4,
  DELIVERED: 5,
  READ: 6,
  LAST_SENT: 7,
  TYPING: 8,
  PARTITION: 9,
} as const;
const PART_WORDS = 16;

export const ParticipantFlag = { ADMIN: 1 } as const;

export const Dev = { LOW: 1, HIGH: 2, COUNTER: 3, SEQ: 4, CODE: 5, NEXT: 6 } as const;
const DEV_WORDS = 8;

/** What a part of a conversation takes in an export (export.ts). */
export const ExportBytes = { HEAD: 36, PARTICIPANT: 32, DEVICE: 20 } as const;

/**
 * What the partition has one of, as words in linear memory: 0 byte offset of the list of dirty conversations, 1 how many it
 * lists, 2 bytes that exporting them takes, 3 to 5 byte offsets of the tables' descriptors.
 */
const Ledger = { DIRTY: 0, DIRTY_COUNT: 1, DIRTY_BYTES: 2, CONVERSATIONS: 3, PARTICIPANTS: 4, DEVICES: 5, WORDS: 6 };
const DIRTY_ROOM = 1_024;

const SMALLEST_BLOCK_ROWS = 4;
/** Words of a member in a block. */
const BLOCK_WORDS = 4;

/** The state of one partition. Row numbers are stable; word indexes (`*At`) are stable too, the `u32` view is not. */
export class Rows {
  readonly memory = new LinearMemory(1 << 20);
  readonly conversations = new Table(this.memory, CONV_WORDS, 4, 1_024, true);
  readonly participants = new Table(this.memory, PART_WORDS, 3);
  readonly devices = new Table(this.memory, DEV_WORDS, 3);
  /** Byte offset of the words of `Ledger`. */
  readonly ledger = this.memory.alloc(Ledger.WORDS * 4);
  readonly #ledger = this.ledger >>> 2;
  #dirtyRoom = DIRTY_ROOM;

  constructor() {
    const dirty = this.memory.alloc(DIRTY_ROOM * 4);
    const { u32 } = this.memory;
    u32[this.#ledger + Ledger.DIRTY] = dirty;
    u32[this.#ledger + Ledger.CONVERSATIONS] = this.conversations.descriptor;
    u32[this.#ledger + Ledger.PARTICIPANTS] = this.participants.descriptor;
    u32[this.#ledger + Ledger.DEVICES] = this.devices.descriptor;
  }

  get u32(): Uint32Array {
    return this.memory.u32;
  }

  /** Conversations that changed since the last export. */
  get dirtyCount(): number {
    return this.u32[this.#ledger + Ledger.DIRTY_COUNT]!;
  }

  /** One of them, in the order in which they first changed. */
  dirtyAt(place: number): number {
    return this.u32[(this.u32[this.#ledger + Ledger.DIRTY]! >>> 2) + place]!;
  }

  /** About what exporting them takes. */
  get dirtyBytes(): number {
    return this.u32[this.#ledger + Ledger.DIRTY_BYTES]!;
  }

  /** Forgets which conversations changed; their flags are the caller's. */
  clearDirty(): void {
    this.u32[this.#ledger + Ledger.DIRTY_COUNT] = 0;
    this.u32[this.#ledger + Ledger.DIRTY_BYTES] = 0;
  }

  /** Makes room for `more` conversations to become dirty. */
  reserveDirty(more: number): void {
    const count = this.dirtyCount;
    if (count + more <= this.#dirtyRoom) return;
    const room = Math.max(count + more, this.#dirtyRoom * 2);
    const list = this.memory.alloc(room * 4);
    const { u32 } = this;
    const old = u32[this.#ledger + Ledger.DIRTY]!;
    u32.copyWithin(list >>> 2, old >>> 2, (old >>> 2) + count);
    this.memory.free(old, this.#dirtyRoom * 4);
    u32[this.#ledger + Ledger.DIRTY] = list;
    this.#dirtyRoom = room;
  }

  /** Marks a conversation as changed: all of it is exported next. */
  touch(conversation: number): void {
    const at = this.conversations.at(conversation);
    if (this.#isDirty(at)) return;
    this.reserveDirty(1);
    const { u32 } = this;
    const ledger = this.#ledger;
    u32[at + Conv.FLAGS]! |= ConversationFlag.DIRTY;
    u32[(u32[ledger + Ledger.DIRTY]! >>> 2) + u32[ledger + Ledger.DIRTY_COUNT]!++] = conversation;
    this.#addDirtyBytes(
      ExportBytes.HEAD +
        u32[at + Conv.MEMBERS]! * ExportBytes.PARTICIPANT +
        u32[at + Conv.DEVICE_COUNT]! * ExportBytes.DEVICE,
    );
  }

  #addDirtyBytes(bytes: number): void {
    this.u32[this.#ledger + Ledger.DIRTY_BYTES]! += bytes;
  }

  #isDirty(conversationAt: number): boolean {
    return (this.u32[conversationAt + Conv.FLAGS]! & ConversationFlag.DIRTY) !== 0;
  }

  /** True if the conversation has two users, whom its key names. */
  isDirect(conversationAt: number): boolean {
    return this.u32[conversationAt] !== 0 || this.u32[conversationAt + 1] !== 0;
  }

  /** Adds a participant, who must not be there, to the conversation. */
  addParticipant(conversation: number, userLow: number, userHigh: number, partition: number): number {
    const row = this.participants.insert(conversation, userLow, userHigh);
    const at = this.conversations.at(conversation);
    const count = this.u32[at + Conv.MEMBERS]!;
    this.u32[this.participants.at(row) + Part.PARTITION] = partition;
    if (this.isDirect(at)) {
      this.u32[at + Conv.DIRECT_ROWS + count] = row;
      this.u32[at + Conv.DIRECT_PARTITIONS + count] = partition;
    } else {
      if (count === this.u32[at + Conv.BLOCK_ROOM]!) this.#growBlock(at, count);
      const { u32 } = this;
      const place = (u32[at + Conv.BLOCK]! >>> 2) + count * BLOCK_WORDS;
      u32[place] = row;
      u32[place + 1] = userLow;
      u32[place + 2] = userHigh;
      u32[place + 3] = partition;
    }
    this.u32[at + Conv.MEMBERS] = count + 1;
    if (this.#isDirty(at)) this.#addDirtyBytes(ExportBytes.PARTICIPANT);
    return row;
  }

  #growBlock(at: number, count: number): void {
    const room = Math.max(SMALLEST_BLOCK_ROWS, count * 2);
    const block = this.memory.alloc(room * BLOCK_WORDS * 4);
    const old = this.u32[at + Conv.BLOCK]!;
    if (old !== 0) {
      this.u32.copyWithin(block >>> 2, old >>> 2, (old >>> 2) + count * BLOCK_WORDS);
      this.memory.free(old, count * BLOCK_WORDS * 4);
    }
    this.u32[at + Conv.BLOCK] = block;
    this.u32[at + Conv.BLOCK_ROOM] = room;
  }

  /** Takes members out of a group; the others keep their order. Rows taken out stay readable until the next insert. */
  removeParticipants(conversation: number, rows: ReadonlySet<number>): void {
    const { u32 } = this;
    const at = this.conversations.at(conversation);
    const block = u32[at + Conv.BLOCK]! >>> 2;
    const count = u32[at + Conv.MEMBERS]!;
    let kept = 0;
    for (let place = 0; place < count; place++) {
      const from = block + place * BLOCK_WORDS;
      if (rows.has(u32[from]!)) this.participants.remove(u32[from]!);
      else u32.copyWithin(block + kept++ * BLOCK_WORDS, from, from + BLOCK_WORDS);
    }
    u32[at + Conv.MEMBERS] = kept;
    if (this.#isDirty(at)) this.#addDirtyBytes((kept - count) * ExportBytes.PARTICIPANT);
  }

  /** Takes all participants out. */
  clearParticipants(conversation: number): void {
    const at = this.conversations.at(conversation);
    const count = this.u32[at + Conv.MEMBERS]!;
    for (let place = 0; place < count; place++) this.participants.remove(this.participantAt(at, place));
    this.u32[at + Conv.MEMBERS] = 0;
  }

  /** The participant row of a member, counted in the order in which they joined. */
  participantAt(conversationAt: number, place: number): number {
    const { u32 } = this;
    const block = u32[conversationAt + Conv.BLOCK]!;
    if (block === 0) return u32[conversationAt + Conv.DIRECT_ROWS + place]!;
    return u32[(block >>> 2) + place * BLOCK_WORDS]!;
  }

  addDevice(conversation: number, low: number, high: number): number {
    const row = this.devices.insert(conversation, low, high);
    const at = this.conversations.at(conversation);
    this.u32[this.devices.at(row) + Dev.NEXT] = this.u32[at + Conv.DEVICES]!;
    this.u32[at + Conv.DEVICES] = row + 1;
    this.u32[at + Conv.DEVICE_COUNT]!++;
    if (this.#isDirty(at)) this.#addDirtyBytes(ExportBytes.DEVICE);
    return row;
  }

  userOf(participant: number): number {
    const at = this.participants.at(participant);
    return fromWords(this.u32[at + Part.USER_LOW]!, this.u32[at + Part.USER_HIGH]!);
  }

  isAdmin(participant: number): boolean {
    return (this.u32[this.participants.at(participant) + Part.FLAGS]! & ParticipantFlag.ADMIN) !== 0;
  }
}
