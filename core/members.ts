/**
 * Payloads that are lists of users or devices. All are msgpack arrays; readers take any valid encoding of them, writers
 * write fixed widths:
 *
 * ```text
 * members       dd u32 count, then each  cf u64 user                  GROUP_CREATE, _ADD, _REMOVE, _ROLE
 * member rows   dd u32 count, then each  95 cf u64 user, cc u8 role, ce u32 joined seq,
 *                                           ce u32 delivered, ce u32 read                              INFO
 * device rows   dd u32 count, then each  93 cc u8 device number, cc u8 online, cf u64 last seen         DEVICES
 * ```
 */
import { viewOf, writeU53 } from './frame.js';
import { DEVICE_NUMBER_MAX, DEVICES_PER_USER_MAX, GROUP_MEMBERS_MAX, SEQUENCE_MAX, USER_ID_MAX } from './limits.js';
import { MsgpackReader } from './msgpack.js';

const LIST_HEADER_BYTES = 5;
const MEMBER_BYTES = 9;
const MEMBER_ROW_BYTES = 27;
const DEVICE_ROW_BYTES = 14;

export const Role = { MEMBER: 0, ADMIN: 1 } as const;

/** One member of a conversation, as INFO tells it. */
export interface MemberRow {
  readonly user: number;
  /** Role.* */
  readonly role: number;
  /** The member sees sequences from this one on. */
  readonly joinedSeq: number;
  /** Watermarks: sequences up to and including this one. */
  readonly delivered: number;
  readonly read: number;
}

/** One device of a user, as DEVICES tells it. */
export interface DeviceRow {
  /** 1 .. 127 */
  readonly number: number;
  readonly online: boolean;
  /** Milliseconds since 1970; 0: never. */
  readonly lastSeenMs: number;
}

function list(count: number, itemBytes: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(LIST_HEADER_BYTES + count * itemBytes);
  const view = viewOf(bytes);
  bytes[0] = 0xdd;
  view.setUint32(1, count);
  return { bytes, view };
}

/**
 * The items of the array at exactly [start, end) of untrusted bytes; undefined if it is none, has more than `max` items, or
 * an item is malformed. `read` reads one item, and calls `fail` on the reader if it is wrong.
 */
function readList<T>(
  bytes: Uint8Array,
  start: number,
  end: number,
  max: number,
  read: (reader: MsgpackReader) => T,
): T[] | undefined {
  const reader = new MsgpackReader(bytes, start, end);
  const count = reader.arrayLength();
  if (reader.failed || count > max) return undefined;
  const items: T[] = [];
  for (let i = 0; i < count && !reader.failed; i++) items.push(read(reader));
  return reader.failed || reader.offset !== end ? undefined : items;
}

function positive(reader: MsgpackReader, max: number): number {
  const value = reader.integer(max);
  return value === 0 ? reader.fail() : value;
}

/** A member list. The ids are the caller's responsibility: what is no user id is refused by who reads it. */
export function encodeMembers(users: readonly number[]): Uint8Array {
  const { bytes, view } = list(users.length, MEMBER_BYTES);
  let at = LIST_HEADER_BYTES;
  for (const user of users) {
    bytes[at] = 0xcf;
    writeU53(view, at + 1, user);
    at += MEMBER_BYTES;
  }
  return bytes;
}

/**
 * The user ids of the member list at exactly [start, end) of untrusted bytes, in their order; undefined if it is malformed,
 * empty, longer than `max`, or holds an id twice or one that is no user id.
 */
export function readMembers(bytes: Uint8Array, start: number, end: number, max: number): number[] | undefined {
  const users = readList(bytes, start, end, max, (reader) => positive(reader, USER_ID_MAX));
  if (users === undefined || users.length === 0) return undefined;
  return users.length === 1 || new Set(users).size === users.length ? users : undefined;
}

export function encodeMemberRows(rows: readonly MemberRow[]): Uint8Array {
  const { bytes, view } = list(rows.length, MEMBER_ROW_BYTES);
  let at = LIST_HEADER_BYTES;
  for (const row of rows) {
    bytes[at] = 0x95;
    bytes[at + 1] = 0xcf;
    writeU53(view, at + 2, row.user);
    bytes[at + 10] = 0xcc;
    bytes[at + 11] = row.role;
    bytes[at + 12] = 0xce;
    view.setUint32(at + 13, row.joinedSeq);
    bytes[at + 17] = 0xce;
    view.setUint32(at + 18, row.delivered);
    bytes[at + 22] = 0xce;
    view.setUint32(at + 23, row.read);
    at += MEMBER_ROW_BYTES;
  }
  return bytes;
}

/** INFO's payload at exactly [start, end); undefined if it is none. */
export function readMemberRows(bytes: Uint8Array, start = 0, end = bytes.length): MemberRow[] | undefined {
  return readList(bytes, start, end, GROUP_MEMBERS_MAX, (reader) => {
    if (reader.arrayLength() !== 5) reader.fail();
    const user = positive(reader, USER_ID_MAX);
    const role = reader.integer(Role.ADMIN);
    const joinedSeq = reader.integer(SEQUENCE_MAX);
    const delivered = reader.integer(SEQUENCE_MAX);
    const read = reader.integer(SEQUENCE_MAX);
    return { user, role, joinedSeq, delivered, read };
  });
}

export function encodeDeviceRows(rows: readonly DeviceRow[]): Uint8Array {
  const { bytes, view } = list(rows.length, DEVICE_ROW_BYTES);
  let at = LIST_HEADER_BYTES;
  for (const row of rows) {
    bytes[at] = 0x93;
    bytes[at + 1] = 0xcc;
    bytes[at + 2] = row.number;
    bytes[at + 3] = 0xcc;
    bytes[at + 4] = row.online ? 1 : 0;
    bytes[at + 5] = 0xcf;
    writeU53(view, at + 6, row.lastSeenMs);
    at += DEVICE_ROW_BYTES;
  }
  return bytes;
}

/** DEVICES' payload at exactly [start, end); undefined if it is none. */
export function readDeviceRows(bytes: Uint8Array, start = 0, end = bytes.length): DeviceRow[] | undefined {
  return readList(bytes, start, end, DEVICES_PER_USER_MAX, (reader) => {
    if (reader.arrayLength() !== 3) reader.fail();
    const number = positive(reader, DEVICE_NUMBER_MAX);
    const online = reader.integer(1) === 1;
    const lastSeenMs = reader.integer(Number.MAX_SAFE_INTEGER);
    return { number, online, lastSeenMs };
  });
}
