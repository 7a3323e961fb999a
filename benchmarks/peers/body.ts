/**
 * What a message holds: ASCII digits, so that it is the same bytes in every protocol, binary, JSON or XML. The receiver can check
 * it alone.
 *
 * ```text
 * offset  characters  hexadecimal
 *      0           8  sender
 *      8           8  conversation
 *     16           8  serial: 1, 2, 3 … of this sender in this conversation
 *     24          12  due time, µs of this process's clock
 *     36           8  checksum of the four
 *     44              filler
 * ```
 */
import { mix32 } from '../../core/ids.js';

/** Of each message outside the replay of a trace. */
export const BODY_BYTES = 120;
/** The shortest body. */
export const HEAD_BYTES = 44;
const FILLER_BYTES_MAX = 64 * 1_024;

const DIGITS = Buffer.from('0123456789abcdef', 'latin1');
const filler = Buffer.alloc(FILLER_BYTES_MAX);
for (let i = 0; i < filler.length; i++) filler[i] = DIGITS[mix32(i + 1) & 15]!;

export interface Body {
  sender: number;
  conversation: number;
  serial: number;
  dueMs: number;
}

export function makeBody(body: Readonly<Body>, length: number = BODY_BYTES): Buffer {
  const bytes = Buffer.allocUnsafe(Math.max(HEAD_BYTES, length));
  const us = Math.max(0, Math.round(body.dueMs * 1_000));
  const high = Math.floor(us / 2 ** 32);
  writeHex(bytes, 0, body.sender, 8);
  writeHex(bytes, 8, body.conversation, 8);
  writeHex(bytes, 16, body.serial, 8);
  writeHex(bytes, 24, high, 4);
  writeHex(bytes, 28, us >>> 0, 8);
  writeHex(bytes, 36, checksum(body.sender, body.conversation, body.serial, high, us >>> 0), 8);
  filler.copy(bytes, HEAD_BYTES, 0, bytes.length - HEAD_BYTES);
  return bytes;
}

/** Reads bytes into `body`; false if these are not bytes that makeBody made. */
export function readBody(bytes: Uint8Array, body: Body): boolean {
  if (bytes.length < HEAD_BYTES) return false;
  body.sender = readHex(bytes, 0, 8);
  body.conversation = readHex(bytes, 8, 8);
  body.serial = readHex(bytes, 16, 8);
  const high = readHex(bytes, 24, 4);
  const low = readHex(bytes, 28, 8);
  body.dueMs = (high * 2 ** 32 + low) / 1_000;
  // The checksum takes what is no number for 0.
  if (Number.isNaN(body.sender + body.conversation + body.serial + body.dueMs)) return false;
  if (readHex(bytes, 36, 8) !== checksum(body.sender, body.conversation, body.serial, high, low)) return false;
  return filler.compare(bytes, HEAD_BYTES, bytes.length, 0, bytes.length - HEAD_BYTES) === 0;
}

function checksum(sender: number, conversation: number, serial: number, high: number, low: number): number {
  return mix32(mix32(mix32(mix32(mix32(sender) ^ conversation) ^ serial) ^ high) ^ low) >>> 0;
}

function writeHex(bytes: Buffer, at: number, value: number, digits: number): void {
  let rest = value >>> 0;
  for (let i = at + digits - 1; i >= at; i--) {
    bytes[i] = DIGITS[rest & 15]!;
    rest >>>= 4;
  }
}

/** NaN if there is something else than digits. */
function readHex(bytes: Uint8Array, at: number, digits: number): number {
  let value = 0;
  for (let i = at; i < at + digits; i++) {
    const byte = bytes[i]!;
    const digit = byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : byte - 0x30;
    if (digit < 0 || digit > 15 || (digit > 9 && byte < 0x61)) return Number.NaN;
    value = value * 16 + digit;
  }
  return value;
}
