/**
 * The tables of a conversation partition, word by word. Rows are 32-bit words in linear memory; ids take two words, low first.
 *
 * ```text
 * conversation (16 words)                 participant (12 words)                  device (8 words)
 *  0 a low    ┐                            0 conversation row ┐                    0 conversation row ┐
 *  1 a high   │ key                        1 user low         │ key                1 device low       │ key
 *  2 b low    │                            2 user high        ┘                    2 device high      ┘
 *  3 b high   ┘                            3 flags ParticipantFlag.*               3 last counter taken
 *  4 head: last sequence given out         4 joined: first sequence it sees        4 its sequence, 0 if rejected
 *  5 flags ConversationFlag.*              5 delivered up to                       5 its error code, 0 if sequenced
 *  6 current members                       6 read up to                            6 next device row + 1
 *  7 block of participant rows (bytes)     7 sequence of the last own message      7 —
 *  8 rows that fit into the block          8 partition of the user
 *  9 rows in the block, leavers too        9 typing: state × 2^31 + logged seconds
 * 10 aggregate delivered                  10 join order: grows with every join
 * 11 members at that minimum              11 —
 * 12 aggregate read
 * 13 members at that minimum
 * 14 admins
 * 15 first device row + 1
 * ```
 *
 * A participant stays in the block after leaving, so that a later return finds its row; it is a member only by its flag.
 */
import { fromWords } from '../../core/ids.js';
import { LinearMemory } from '../../core/memory.js';
import { Table } from '../../core/table.js';

export const Conv = {
  HEAD: 4,
  FLAGS: 5,
  MEMBERS: 6,
  BLOCK: 7,
  BLOCK_ROOM: 8,
  BLOCK_COUNT: 9,
  DELIVERED: 10,
  AT_DELIVERED: 11,
  READ: 12,
  AT_READ: 13,
  ADMINS: 14,
  DEVICES: 15,
} as const;
export const CONV_WORDS = 16;

export const ConversationFlag = { DIRTY: 1, GROUP: 2, CREATED: 4 } as const;

export const Part = {
  USER_LOW: 1,
  USER_HIGH: 2,
  FLAGS: 3,
  JOINED: 4,
  DELIVERED: 5,
  READ: 6,
  LAST_SENT: 7,
  PARTITION: 8,
  TYPING: 9,
  ORDER: 10,
} as const;
export const PART_WORDS = 12;

export const ParticipantFlag = { MEMBER: 1, ADMIN: 2 } as const;

export const Dev = { LOW: 1, HIGH: 2, COUNTER: 3, SEQ: 4, CODE: 5, NEXT: 6 } as const;
export const DEV_WORDS = 8;

const SMALLEST_BLOCK_ROWS = 4;

/** The state of one partition. Row numbers are stable; word indexes (`*At`) are stable too, the `u32` view is not. */
export class Rows {
  readonly memory = new LinearMemory(1 << 20);
  readonly conversations = new Table(this.memory, CONV_WORDS, 4);
  readonly participants = new Table(this.memory, PART_WORDS, 3);
  readonly devices = new Table(this.memory, DEV_WORDS, 3);
  /** Conversations that changed since the last export, in the order in which they first did. */
  readonly dirty: number[] = [];
  /** About what exporting them takes. */
  dirtyBytes = 0;

  get u32(): Uint32Array {
    return this.memory.u32;
  }

  findConversation(a: readonly [number, number], b: readonly [number, number]): number {
    return this.conversations.find(a[0], a[1], b[0], b[1]);
  }

  /** Marks a conversation as changed. */
  touch(conversation: number, bytes = 64): void {
    const at = this.conversations.at(conversation) + Conv.FLAGS;
    this.dirtyBytes += bytes;
    if ((this.u32[at]! & ConversationFlag.DIRTY) !== 0) return;
    this.u32[at]! |= ConversationFlag.DIRTY;
    this.dirty.push(conversation);
    this.dirtyBytes += 160;
  }

  /** Adds a participant row, which must not be there, to the conversation's block. */
  addParticipant(conversation: number, userLow: number, userHigh: number): number {
    const row = this.participants.insert(conversation, userLow, userHigh);
    const at = this.conversations.at(conversation);
    const count = this.u32[at + Conv.BLOCK_COUNT]!;
    const room = this.u32[at + Conv.BLOCK_ROOM]!;
    if (count === room) this.#growBlock(at, count);
    this.u32[(this.u32[at + Conv.BLOCK]! >>> 2) + count] = row;
    this.u32[at + Conv.BLOCK_COUNT] = count + 1;
    return row;
  }

  #growBlock(at: number, count: number): void {
    const room = Math.max(SMALLEST_BLOCK_ROWS, count * 2);
    const block = this.memory.alloc(room * 4);
    const old = this.u32[at + Conv.BLOCK]!;
    if (old !== 0) {
      this.u32.copyWithin(block >>> 2, old >>> 2, (old >>> 2) + count);
      this.memory.free(old, count * 4);
    }
    this.u32[at + Conv.BLOCK] = block;
    this.u32[at + Conv.BLOCK_ROOM] = room;
  }

  /** The participant row at a place of the conversation's block. */
  participantAt(conversationAt: number, place: number): number {
    return this.u32[(this.u32[conversationAt + Conv.BLOCK]! >>> 2) + place]!;
  }

  addDevice(conversation: number, low: number, high: number): number {
    const row = this.devices.insert(conversation, low, high);
    const at = this.conversations.at(conversation);
    this.u32[this.devices.at(row) + Dev.NEXT] = this.u32[at + Conv.DEVICES]!;
    this.u32[at + Conv.DEVICES] = row + 1;
    return row;
  }

  userOf(participant: number): number {
    const at = this.participants.at(participant);
    return fromWords(this.u32[at + Part.USER_LOW]!, this.u32[at + Part.USER_HIGH]!);
  }

  isMember(participant: number): boolean {
    return (
      participant >= 0 && (this.u32[this.participants.at(participant) + Part.FLAGS]! & ParticipantFlag.MEMBER) !== 0
    );
  }

  isAdmin(participant: number): boolean {
    return (
      participant >= 0 && (this.u32[this.participants.at(participant) + Part.FLAGS]! & ParticipantFlag.ADMIN) !== 0
    );
  }
}
