/**
 * The device table: the payload of a MESSAGE with Flag.DEVICE_TABLE. It holds one ciphertext a device, since in end-to-end
 * encryption every device has its own ratchet. A msgpack array of `[device key, bin]` pairs; in its *canonical* form:
 *
 * ```text
 * dd  u32 count                       0 .. TABLE_PARTS_MAX
 * count times, device keys strictly ascending:
 *   92
 *   cf  u64 device key                user × 128 + device number (1 .. 127)
 *   c6  u32 length, bytes             that device's ciphertext
 * ```
 *
 * The gateway lets only canonical tables through; a table in another valid encoding is re-encoded there.
 */
import { DunlinError } from './errors.js';
import { readU53, viewOf, writeU53 } from './frame.js';
import { isDeviceNumber, isUserId, numberOfDevice, userOfDevice } from './ids.js';
import {
  DEVICE_KEY_FACTOR,
  DEVICE_NUMBER_MAX,
  TABLE_PARTS_MAX,
  TABLE_PAYLOAD_BYTES_MAX,
  USER_ID_MAX,
} from './limits.js';
import { MsgpackReader } from './msgpack.js';

/** `dd` and the count. */
const TABLE_HEADER_BYTES = 5;
/** `92 cf <u64> c6 <u32>`. */
const PART_HEADER_BYTES = 15;
const DEVICE_KEY_MAX = USER_ID_MAX * DEVICE_KEY_FACTOR + DEVICE_NUMBER_MAX;

/** One device's part. */
export interface TablePart {
  /** Device key. */
  readonly device: number;
  readonly bytes: Uint8Array;
}

/** Where a part's ciphertext lies. */
export interface PartPlace {
  readonly start: number;
  readonly length: number;
}

/** Unsigned 32 bits, big-endian. Read byte by byte, so that checking a table allocates nothing, not even a view. */
function u32At(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** The device key of the part at `at`, or −1 if no part header in canonical form lies in [at, end). */
function deviceAt(bytes: Uint8Array, at: number, end: number): number {
  if (at + PART_HEADER_BYTES > end) return -1;
  if (bytes[at] !== 0x92 || bytes[at + 1] !== 0xcf || bytes[at + 10] !== 0xc6) return -1;
  return u32At(bytes, at + 2) * 2 ** 32 + u32At(bytes, at + 6);
}

function isDeviceKey(device: number): boolean {
  return isUserId(userOfDevice(device)) && isDeviceNumber(numberOfDevice(device));
}

/** True if [start, end) of untrusted bytes is exactly one canonical device table. Reads no ciphertext. */
export function checkDeviceTable(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < TABLE_HEADER_BYTES || bytes[start] !== 0xdd) return false;
  const count = u32At(bytes, start + 1);
  if (count > TABLE_PARTS_MAX) return false;
  let at = start + TABLE_HEADER_BYTES;
  let last = 0;
  for (let part = 0; part < count; part++) {
    const device = deviceAt(bytes, at, end);
    if (device <= last || device > DEVICE_KEY_MAX || !isDeviceKey(device)) return false;
    last = device;
    at += PART_HEADER_BYTES + u32At(bytes, at + 11);
    if (at > end) return false;
  }
  return at === end;
}

/**
 * The part of `device` in the canonical table at [start, end); undefined if it has none. Linear, since parts differ in
 * length. In bytes that are no canonical table it finds nothing, or a place inside [start, end).
 */
export function findPart(bytes: Uint8Array, start: number, end: number, device: number): PartPlace | undefined {
  if (end - start < TABLE_HEADER_BYTES || bytes[start] !== 0xdd) return undefined;
  const count = u32At(bytes, start + 1);
  let at = start + TABLE_HEADER_BYTES;
  for (let part = 0; part < count; part++) {
    const found = deviceAt(bytes, at, end);
    if (found < 0 || found > device) return undefined;
    const length = u32At(bytes, at + 11);
    at += PART_HEADER_BYTES;
    if (at + length > end) return undefined;
    if (found === device) return { start: at, length };
    at += length;
  }
  return undefined;
}

/**
 * The canonical table of `parts`, in any order. Throws a DunlinError if a device key is none or comes twice, or if there
 * are more than TABLE_PARTS_MAX parts or TABLE_PAYLOAD_BYTES_MAX bytes.
 */
export function encodeDeviceTable(parts: readonly TablePart[]): Uint8Array {
  if (parts.length > TABLE_PARTS_MAX) {
    throw new DunlinError(`a device table of ${parts.length} parts is over the limit of ${TABLE_PARTS_MAX}`);
  }
  const sorted = parts.toSorted((one, other) => one.device - other.device);
  for (let i = 0; i < sorted.length; i++) {
    const device = sorted[i]!.device;
    if (!isDeviceKey(device))
      throw new DunlinError(`${device} is not a device key: user × 128 + device number (1 to 127)`);
    if (i > 0 && sorted[i - 1]!.device === device)
      throw new DunlinError(`device key ${device} has two parts in one table`);
  }
  const bytes = write(sorted);
  if (bytes === undefined) {
    throw new DunlinError(
      `the device table is over the limit of ${TABLE_PAYLOAD_BYTES_MAX} bytes: send less, or in parts`,
    );
  }
  return bytes;
}

/** Undefined if the table would be larger than a payload may be. */
function write(parts: readonly TablePart[]): Uint8Array | undefined {
  let length = TABLE_HEADER_BYTES;
  for (const part of parts) length += PART_HEADER_BYTES + part.bytes.length;
  if (length > TABLE_PAYLOAD_BYTES_MAX) return undefined;
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  bytes[0] = 0xdd;
  view.setUint32(1, parts.length);
  let at = TABLE_HEADER_BYTES;
  for (const part of parts) {
    bytes[at] = 0x92;
    bytes[at + 1] = 0xcf;
    writeU53(view, at + 2, part.device);
    bytes[at + 10] = 0xc6;
    view.setUint32(at + 11, part.bytes.length);
    bytes.set(part.bytes, at + PART_HEADER_BYTES);
    at += PART_HEADER_BYTES + part.bytes.length;
  }
  return bytes;
}

/**
 * The canonical form of a table in any valid msgpack encoding (small arrays, any integer width, whole floats, bin8/16/32);
 * undefined if the untrusted bytes are no table, or not in ascending order, or over a limit in canonical form.
 */
export function canonicalTable(bytes: Uint8Array): Uint8Array | undefined {
  const reader = new MsgpackReader(bytes, 0, bytes.length);
  const count = reader.arrayLength();
  if (reader.failed || count > TABLE_PARTS_MAX) return undefined;
  const parts: TablePart[] = [];
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (reader.arrayLength() !== 2) return undefined;
    const device = reader.integer(DEVICE_KEY_MAX);
    const part = reader.binary(TABLE_PAYLOAD_BYTES_MAX);
    if (reader.failed || device <= last || !isDeviceKey(device)) return undefined;
    last = device;
    parts.push({ device, bytes: part });
  }
  return reader.offset === bytes.length ? write(parts) : undefined;
}

/** The parts of a canonical table, in order; undefined if it is none. Ciphertexts are views, not copies. */
export function readDeviceTable(bytes: Uint8Array): TablePart[] | undefined {
  if (!checkDeviceTable(bytes, 0, bytes.length)) return undefined;
  const view = viewOf(bytes);
  const parts: TablePart[] = [];
  for (let at = TABLE_HEADER_BYTES; at < bytes.length; ) {
    const start = at + PART_HEADER_BYTES;
    const end = start + view.getUint32(at + 11);
    parts.push({ device: readU53(view, at + 2), bytes: bytes.subarray(start, end) });
    at = end;
  }
  return parts;
}
