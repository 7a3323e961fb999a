/**
 * Ids. All are plain integers below 2^53.
 *
 * - user: 1 .. 2^45 − 1
 * - device key: user × 128 + device number (1 .. 127); number 0 stands for the user as a whole
 * - conversation: a pair (a, b). Direct: a < b are its two users, so it needs no look-up and no creation. Group: a = 0,
 *   b = the group's id, 1 .. 2^52 − 1.
 */
import { DEVICE_KEY_FACTOR, DEVICE_NUMBER_MAX, GROUP_ID_MAX, USER_ID_MAX } from './limits.js';

export interface ConversationId {
  readonly a: number;
  readonly b: number;
}

const TWO_32 = 2 ** 32;

/** Low 32 bits of an id, as an unsigned number. */
export function lowWord(id: number): number {
  return id >>> 0;
}

/** Bits 32 .. 52 of an id. */
export function highWord(id: number): number {
  return Math.floor(id / TWO_32);
}

export function fromWords(low: number, high: number): number {
  return (high >>> 0) * TWO_32 + (low >>> 0);
}

export function isUserId(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= USER_ID_MAX;
}

export function isGroupId(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= GROUP_ID_MAX;
}

export function isDeviceNumber(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= DEVICE_NUMBER_MAX;
}

export function deviceKey(user: number, deviceNumber: number): number {
  return user * DEVICE_KEY_FACTOR + deviceNumber;
}

export function userOfDevice(device: number): number {
  return Math.floor(device / DEVICE_KEY_FACTOR);
}

export function numberOfDevice(device: number): number {
  return device % DEVICE_KEY_FACTOR;
}

export function directConversation(one: number, other: number): ConversationId {
  return one < other ? { a: one, b: other } : { a: other, b: one };
}

export function groupConversation(group: number): ConversationId {
  return { a: 0, b: group };
}

export function isDirect(a: number): boolean {
  return a !== 0;
}

/** True if (a, b) names a conversation: two different users in order, or a group. */
export function isConversation(a: number, b: number): boolean {
  return a === 0 ? isGroupId(b) : isUserId(a) && isUserId(b) && a < b;
}

/** Mixes one 32-bit word; the finaliser of MurmurHash3. */
export function mix32(word: number): number {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Hash of a pair of ids given as words. The same function places partitions and table slots, on every machine. */
export function hashWords(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  let h = mix32(aLow ^ 0x9e3779b9);
  h = mix32(h ^ aHigh);
  h = mix32(Math.imul(h, 5) ^ bLow);
  return mix32(h ^ bHigh);
}

export function hashConversation(a: number, b: number): number {
  return hashWords(lowWord(a), highWord(a), lowWord(b), highWord(b));
}

export function hashUser(user: number): number {
  return hashWords(lowWord(user), highWord(user), 0, 0);
}

/** Partition by the hash's high bits (multiply-shift), since the tables use the low ones. */
export function partitionOfHash(hash: number, partitions: number): number {
  return Math.floor((hash / TWO_32) * partitions);
}

export function partitionOfConversation(a: number, b: number, partitions: number): number {
  return partitionOfHash(hashConversation(a, b), partitions);
}

export function partitionOfUser(user: number, partitions: number): number {
  return partitionOfHash(hashUser(user), partitions);
}
