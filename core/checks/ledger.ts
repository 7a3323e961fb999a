/**
 * What checkers know, in fixed-width rows of linear memory: who is who, what each device has seen, what stands in each
 * conversation, and what became of each send. No judgement is in here.
 *
 * Ids are interned to small numbers once, so that an event costs few look-ups; whoever feeds millions of events keeps the
 * pair numbers that `pair` gives it.
 */
import { fromWords, hashWords, highWord, isDirect, lowWord, mix32, userOfDevice } from '../ids.js';
import { SEQUENCE_MAX } from '../limits.js';
import { LinearMemory } from '../memory.js';
import { Table } from '../table.js';

/** Words of a user row. */
export const UserAt = { FIRST_DEVICE: 2, WORDS: 3 } as const;
/** Words of a device row. FIRST_DEVICE and NEXT hold row + 1; 0 is none. RESUMED: number of the event of its last reconnect. */
export const DeviceAt = { USER: 2, NEXT: 3, FLAGS: 4, RESUMED: 5, WORDS: 6 } as const;
/** Words of a conversation row. The log is one word a sequence: the fingerprint that stands there, or 0: not seen. */
export const ConversationAt = { LOG: 4, LOG_CAPACITY: 5, HEAD: 6, WORDS: 7 } as const;
/** Words of a row for a device in a conversation: those that each delivery needs come first. */
export const PairAt = {
  DEVICE: 0,
  CONVERSATION: 1,
  /** Last sequence that the device saw, or was told that it will not. */
  LAST: 2,
  /** The stay that LAST lies in: first and last visible sequence. 0, 0 before the first stay. */
  FROM: 3,
  UNTIL: 4,
  /** Hash over everything seen, in order: two independent lanes. */
  PREFIX_A: 5,
  PREFIX_B: 6,
  /** Number of the pair's last event that took it on; see DeviceAt.RESUMED. */
  EVENT: 7,
  /** Of the device's key. */
  FINGERPRINT: 8,
  /** Sends by counter: OperationAt.WORDS words each; counter 1 first. */
  OPERATIONS: 9,
  OPERATIONS_CAPACITY: 10,
  OPERATIONS_LENGTH: 11,
  /** Of the device's own sends that anybody saw in the conversation: the highest counter, and its sequence. */
  TOP_COUNTER: 12,
  TOP_SEQ: 13,
  FLAGS: 14,
  /** Highest own sequence that was acknowledged. */
  SENT_LAST: 15,
  /** What the device surely told to have read, and what it may have told. */
  READ_SURE: 16,
  READ: 17,
  /** Where a device that began in the middle began: LAST at that moment. What it did not see, it did not ack. */
  START: 18,
  /** The last run of messages with a time to live of their own: if they expire before they are acked, no receipt tells of them. */
  MORTAL_FIRST: 19,
  MORTAL_LAST: 20,
  WORDS: 21,
} as const;
/** Words of one send. CONTENT is 0 until known. */
export const OperationAt = { SEQ: 0, CONTENT: 1, OUTCOME: 2, WORDS: 3 } as const;
/** Words of a stay. The row with FROM 0 is the head of a user's list in a conversation. NEXT holds row + 1. */
export const StayAt = { CONVERSATION: 0, USER: 1, FROM: 2, UNTIL: 3, NEXT: 4, WORDS: 5 } as const;
/** Words of a row for what a device was told of somebody's watermarks. WHOSE: user row + 1; 0: all members. */
export const ReceiptAt = { PAIR: 0, WHOSE: 1, DELIVERED: 2, READ: 3, WORDS: 4 } as const;

export const DeviceFlag = {
  /** Its events are fed to this checker: it is not only a sender's name. */
  HOSTED: 1,
  /** It is away, and need not have everything at the end. */
  AWAY: 2,
} as const;
export const PairFlag = {
  /** A GAP excused sequences, so the prefix hash is not comparable. */
  GAPPED: 1,
  /** It began in the middle, as a new device does. */
  STARTED_LATE: 2,
  /** Its user left and came back. */
  REJOINED: 4,
  /** A violation was reported. */
  FAILED: 8,
  /** One of the two users of a direct conversation blocked the other, once at least: what they are told is not complete. */
  BLOCKED: 16,
  /** The application lost what it had done, and went over some of it again: the prefix hash is not comparable. */
  REWOUND: 32,
} as const;

/** What became of a send. `unknown` (no outcome came) may go either way. In a row it stands beside marks. */
export const Outcome = { NEVER_SENT: 0, UNKNOWN: 1, OK: 2, REJECTED: 3 } as const;
const OUTCOME_MASK = 3;
/** Marks beside the outcome: a violation was reported, and need not be again when all is put together. */
export const Reported = { OUTCOME: 4, ORDER: 8 } as const;

/** The furthest that a sequence or a counter may jump and still be kept; a wild value must not take all memory. */
const JUMP_MAX = 1 << 20;
const BLOCK_BYTES_MIN = 64;

export class Ledger {
  readonly memory = new LinearMemory(1 << 20);
  readonly users = new Table(this.memory, UserAt.WORDS, 2);
  readonly devices = new Table(this.memory, DeviceAt.WORDS, 2);
  readonly conversations = new Table(this.memory, ConversationAt.WORDS, 4);
  readonly pairs = new Table(this.memory, PairAt.WORDS, 2);
  readonly stays = new Table(this.memory, StayAt.WORDS, 3);
  readonly receipts = new Table(this.memory, ReceiptAt.WORDS, 2);

  user(id: number): number {
    const row = this.users.find(lowWord(id), highWord(id));
    return row >= 0 ? row : this.users.insert(lowWord(id), highWord(id));
  }

  userId(user: number): number {
    return this.#id(this.users.at(user));
  }

  /** The number of a device, made if there is none. */
  device(key: number): number {
    const row = this.devices.find(lowWord(key), highWord(key));
    return row >= 0 ? row : this.#addDevice(key);
  }

  #addDevice(key: number): number {
    const user = this.user(userOfDevice(key));
    const row = this.devices.insert(lowWord(key), highWord(key));
    const u32 = this.memory.u32;
    const at = this.devices.at(row);
    const userAt = this.users.at(user);
    u32[at + DeviceAt.USER] = user;
    u32[at + DeviceAt.NEXT] = u32[userAt + UserAt.FIRST_DEVICE]!;
    u32[userAt + UserAt.FIRST_DEVICE] = row + 1;
    return row;
  }

  deviceKey(device: number): number {
    return this.#id(this.devices.at(device));
  }

  userOf(device: number): number {
    return this.memory.u32[this.devices.at(device) + DeviceAt.USER]!;
  }

  /** Calls `visit` with every known device of a user. */
  eachDevice(user: number, visit: (device: number) => void): void {
    let next = this.memory.u32[this.users.at(user) + UserAt.FIRST_DEVICE]!;
    while (next !== 0) {
      const device = next - 1;
      next = this.memory.u32[this.devices.at(device) + DeviceAt.NEXT]!;
      visit(device);
    }
  }

  conversation(a: number, b: number): number {
    const row = this.conversations.find(lowWord(a), highWord(a), lowWord(b), highWord(b));
    return row >= 0 ? row : this.conversations.insert(lowWord(a), highWord(a), lowWord(b), highWord(b));
  }

  convA(conversation: number): number {
    return this.#id(this.conversations.at(conversation));
  }

  convB(conversation: number): number {
    return this.#id(this.conversations.at(conversation) + 2);
  }

  #id(at: number): number {
    const u32 = this.memory.u32;
    return fromWords(u32[at]!, u32[at + 1]!);
  }

  head(conversation: number): number {
    return this.memory.u32[this.conversations.at(conversation) + ConversationAt.HEAD]!;
  }

  /** The number of a device in a conversation, made if there is none. In a direct conversation its users are there from 1 on. */
  pair(device: number, conversation: number): number {
    const row = this.pairs.find(device, conversation);
    if (row >= 0) return row;
    const added = this.pairs.insert(device, conversation);
    const key = this.deviceKey(device);
    this.memory.u32[this.pairs.at(added) + PairAt.FINGERPRINT] = hashWords(lowWord(key), highWord(key), 0, 0);
    const a = this.convA(conversation);
    const user = this.userId(this.userOf(device));
    if (isDirect(a) && (user === a || user === this.convB(conversation))) {
      const at = this.pairs.at(added);
      this.memory.u32[at + PairAt.FROM] = 1;
      this.memory.u32[at + PairAt.UNTIL] = SEQUENCE_MAX;
    }
    return added;
  }

  /** The fingerprint that stands at a sequence, or 0. */
  fingerprintAt(conversation: number, seq: number): number {
    const u32 = this.memory.u32;
    const at = this.conversations.at(conversation);
    return seq <= u32[at + ConversationAt.HEAD]! ? u32[u32[at + ConversationAt.LOG]! + seq - 1]! : 0;
  }

  /** Puts a fingerprint at a sequence. False: the sequence is absurdly far from all others. */
  setFingerprint(conversation: number, seq: number, fingerprint: number): boolean {
    const at = this.conversations.at(conversation);
    if (seq > this.memory.u32[at + ConversationAt.LOG_CAPACITY]!) {
      if (seq > this.memory.u32[at + ConversationAt.HEAD]! + JUMP_MAX) return false;
      this.#grow(at + ConversationAt.LOG, seq);
    }
    const u32 = this.memory.u32;
    if (seq > u32[at + ConversationAt.HEAD]!) u32[at + ConversationAt.HEAD] = seq;
    u32[u32[at + ConversationAt.LOG]! + seq - 1] = fingerprint;
    return true;
  }

  /** Word index of a send's row, made if there is none; −1: the counter is absurdly far from all others. */
  operation(pair: number, counter: number): number {
    const at = this.pairs.at(pair);
    const u32 = this.memory.u32;
    const offset = (counter - 1) * OperationAt.WORDS;
    if (counter > u32[at + PairAt.OPERATIONS_LENGTH]!) {
      if (counter > u32[at + PairAt.OPERATIONS_LENGTH]! + JUMP_MAX) return -1;
      const words = offset + OperationAt.WORDS;
      if (words > u32[at + PairAt.OPERATIONS_CAPACITY]!) this.#grow(at + PairAt.OPERATIONS, words);
      this.memory.u32[at + PairAt.OPERATIONS_LENGTH] = counter;
    }
    return this.memory.u32[at + PairAt.OPERATIONS]! + offset;
  }

  /** Outcome.* of the send at this word index. */
  outcome(operation: number): number {
    return this.memory.u32[operation + OperationAt.OUTCOME]! & OUTCOME_MASK;
  }

  setOutcome(operation: number, outcome: number): void {
    const at = operation + OperationAt.OUTCOME;
    this.memory.u32[at] = (this.memory.u32[at]! & ~OUTCOME_MASK) | outcome;
  }

  /** `mark`: Reported.* */
  isReported(operation: number, mark: number): boolean {
    return (this.memory.u32[operation + OperationAt.OUTCOME]! & mark) !== 0;
  }

  markReported(operation: number, mark: number): void {
    this.memory.u32[operation + OperationAt.OUTCOME]! |= mark;
  }

  /** Makes room for `words` in the block whose word index stands at `at`, and its capacity in words behind it. */
  #grow(at: number, words: number): void {
    const capacity = this.memory.u32[at + 1]!;
    const bytes = 1 << (32 - Math.clz32(Math.max(words * 4, capacity * 8, BLOCK_BYTES_MIN) - 1));
    const block = this.memory.alloc(bytes) >>> 2;
    const u32 = this.memory.u32;
    const old = u32[at]!;
    if (capacity > 0) {
      u32.copyWithin(block, old, old + capacity);
      this.memory.free(old * 4, capacity * 4);
    }
    u32[at] = block;
    u32[at + 1] = bytes >>> 2;
  }

  /** The row before which a stay that begins after `seq` belongs: the last with FROM ≤ seq; the list's head if there is none. */
  stayBefore(conversation: number, user: number, seq: number): number {
    let row = this.stays.find(conversation, user, 0);
    if (row < 0) row = this.stays.insert(conversation, user, 0);
    for (;;) {
      const next = this.memory.u32[this.stays.at(row) + StayAt.NEXT]!;
      if (next === 0 || this.memory.u32[this.stays.at(next - 1) + StayAt.FROM]! > seq) return row;
      row = next - 1;
    }
  }

  /** Word index of the stay that holds a sequence, or −1. */
  stayAt(conversation: number, user: number, seq: number): number {
    if (this.stays.find(conversation, user, 0) < 0) return -1;
    const at = this.stays.at(this.stayBefore(conversation, user, seq));
    const u32 = this.memory.u32;
    return u32[at + StayAt.FROM] !== 0 && seq <= u32[at + StayAt.UNTIL]! ? at : -1;
  }

  addStay(conversation: number, user: number, from: number, until: number): void {
    const before = this.stayBefore(conversation, user, from);
    if (this.memory.u32[this.stays.at(before) + StayAt.FROM] === from) {
      const at = this.stays.at(before) + StayAt.UNTIL;
      this.memory.u32[at] = Math.min(this.memory.u32[at]!, until);
      return;
    }
    const row = this.stays.insert(conversation, user, from);
    const u32 = this.memory.u32;
    const at = this.stays.at(row);
    const beforeAt = this.stays.at(before);
    u32[at + StayAt.UNTIL] = until;
    u32[at + StayAt.NEXT] = u32[beforeAt + StayAt.NEXT]!;
    u32[beforeAt + StayAt.NEXT] = row + 1;
  }

  /** Word index of what a device was told of somebody's watermarks, made if there is none. */
  receipt(pair: number, whose: number): number {
    const row = this.receipts.find(pair, whose);
    return this.receipts.at(row >= 0 ? row : this.receipts.insert(pair, whose));
  }
}

/** Fingerprint of a message: who sent it (PairAt.FINGERPRINT), under which counter, with what content. Never 0. */
export function fingerprintOf(sender: number, counter: number, content: number): number {
  return mix32(mix32(sender ^ Math.imul(counter, 0x9e37_79b1)) ^ content) || 1;
}

/** Hash of a message's content: its kind, the number that goes with it, and its payload's bytes. Never 0, which means "not known". */
export function contentOf(kind: number, extra: number, payload: Uint8Array, start = 0, end = payload.length): number {
  let h = mix32(mix32(kind + 1) ^ extra) ^ (end - start);
  let at = start;
  for (; at + 4 <= end; at += 4) {
    const word = payload[at]! | (payload[at + 1]! << 8) | (payload[at + 2]! << 16) | (payload[at + 3]! << 24);
    h = Math.imul(((h << 13) | (h >>> 19)) ^ Math.imul(word, 0xcc9e_2d51), 5) + 0xe654_6b64;
  }
  for (; at < end; at++) h = Math.imul(h ^ payload[at]!, 0x0100_0193);
  return mix32(h) || 1;
}
