/** Payloads that hold users: the member lists of group frames, and what INFO and DEVICES answer. */
import { DunlinError } from '../core/errors.js';
import { viewOf, writeU53 } from '../core/frame.js';
import { isUserId } from '../core/ids.js';
import { DEVICE_NUMBER_MAX, GROUP_MEMBERS_MAX, SEQUENCE_MAX, USER_ID_MAX } from '../core/limits.js';
import { MsgpackReader } from '../core/msgpack.js';

export interface Member {
  readonly user: number;
  readonly isAdmin: boolean;
  /** The member sees sequences from this one on. */
  readonly joinedSeq: number;
  readonly delivered: number;
  readonly read: number;
}

export interface Device {
  /** 1 .. 127. */
  readonly number: number;
  readonly online: boolean;
  /** Milliseconds since 1970; 0: never. */
  readonly lastSeenMs: number;
}

/** A msgpack array of user ids: `dd` count, then `cf` u64 each. */
export function encodeUsers(users: readonly number[]): Uint8Array {
  if (users.length > GROUP_MEMBERS_MAX) {
    throw new DunlinError(`${users.length} users are over the limit of ${GROUP_MEMBERS_MAX} members of a group.`);
  }
  const bytes = new Uint8Array(5 + users.length * 9);
  const view = viewOf(bytes);
  bytes[0] = 0xdd;
  view.setUint32(1, users.length);
  users.forEach((user, i) => {
    if (!isUserId(user)) throw new DunlinError(`${user} is not a user id: 1 to ${USER_ID_MAX}.`);
    bytes[5 + i * 9] = 0xcf;
    writeU53(view, 6 + i * 9, user);
  });
  return bytes;
}

/** The user ids of a group frame's payload; undefined if the payload is something else. */
export function readUsers(payload: Uint8Array): number[] | undefined {
  return readArray(payload, (reader) => reader.integer(USER_ID_MAX));
}

/** INFO's payload. */
export function readMembers(payload: Uint8Array): Member[] | undefined {
  return readArray(payload, (reader) => {
    if (reader.arrayLength() !== 5) reader.fail();
    const user = reader.integer(USER_ID_MAX);
    const isAdmin = reader.integer(0xff) === 1;
    const joinedSeq = reader.integer(SEQUENCE_MAX);
    const delivered = reader.integer(SEQUENCE_MAX);
    return { user, isAdmin, joinedSeq, delivered, read: reader.integer(SEQUENCE_MAX) };
  });
}

/** DEVICES' payload. */
export function readDevices(payload: Uint8Array): Device[] | undefined {
  return readArray(payload, (reader) => {
    if (reader.arrayLength() !== 3) reader.fail();
    const number = reader.integer(DEVICE_NUMBER_MAX);
    const online = reader.integer(1) === 1;
    return { number, online, lastSeenMs: reader.integer(Number.MAX_SAFE_INTEGER) };
  });
}

function readArray<T>(payload: Uint8Array, read: (reader: MsgpackReader) => T): T[] | undefined {
  const reader = new MsgpackReader(payload, 0, payload.length);
  const items: T[] = [];
  for (let left = reader.arrayLength(); left > 0 && !reader.failed; left--) items.push(read(reader));
  return reader.failed || reader.offset !== payload.length ? undefined : items;
}
