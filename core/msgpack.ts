/**
 * The slow path for frames that are valid msgpack but not canonical, and the reader of member lists: a bounded reader of
 * the few msgpack types that a frame can hold. It does not recurse, so nesting costs an attacker nothing but the frame.
 */
import type { Frame } from './frame.js';
import { payloadBytesMax } from './frame.js';
import { SEQUENCE_MAX } from './limits.js';

/** A position in untrusted bytes. After a failed read, `failed` stays true and every read returns 0. */
export class MsgpackReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  offset: number;
  failed = false;

  constructor(bytes: Uint8Array, offset: number, end: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = offset;
    this.#end = end;
  }

  fail(): number {
    this.failed = true;
    return 0;
  }

  #take(bytes: number): number {
    const at = this.offset;
    if (this.failed || at + bytes > this.#end) {
      this.failed = true;
      return -1;
    }
    this.offset = at + bytes;
    return at;
  }

  /** An array's length: fixarray, array16 or array32. */
  arrayLength(): number {
    const at = this.#take(1);
    if (at < 0) return 0;
    const type = this.#bytes[at]!;
    if (type >= 0x90 && type <= 0x9f) return type & 0x0f;
    if (type === 0xdc) return this.#unsigned(2);
    if (type === 0xdd) return this.#unsigned(4);
    return this.fail();
  }

  #unsigned(bytes: 1 | 2 | 4): number {
    const at = this.#take(bytes);
    if (at < 0) return 0;
    return bytes === 1 ? this.#bytes[at]! : bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  /**
   * A whole number in 0 .. max, in any msgpack integer type, or a float that is whole (JavaScript libraries write
   * integers above 2^32 as float64).
   */
  integer(max: number): number {
    const at = this.#take(1);
    if (at < 0) return 0;
    const value = this.#number(this.#bytes[at]!);
    return Number.isInteger(value) && value >= 0 && value <= max ? value : this.fail();
  }

  #number(type: number): number {
    if (type <= 0x7f) return type;
    switch (type) {
      case 0xcc:
        return this.#unsigned(1);
      case 0xcd:
        return this.#unsigned(2);
      case 0xce:
        return this.#unsigned(4);
      case 0xcf: {
        const at = this.#take(8);
        return at < 0 ? -1 : this.#view.getUint32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
      }
      case 0xd0: {
        const at = this.#take(1);
        return at < 0 ? -1 : this.#view.getInt8(at);
      }
      case 0xd1: {
        const at = this.#take(2);
        return at < 0 ? -1 : this.#view.getInt16(at);
      }
      case 0xd2: {
        const at = this.#take(4);
        return at < 0 ? -1 : this.#view.getInt32(at);
      }
      case 0xd3: {
        const at = this.#take(8);
        return at < 0 ? -1 : this.#view.getInt32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
      }
      case 0xcb: {
        const at = this.#take(8);
        return at < 0 ? -1 : this.#view.getFloat64(at);
      }
      default:
        return -1;
    }
  }

  /** Binary data of at most `max` bytes, as a view. */
  binary(max: number): Uint8Array {
    const at = this.#take(1);
    const type = at < 0 ? 0 : this.#bytes[at]!;
    let length = 0;
    if (type === 0xc4) length = this.#unsigned(1);
    else if (type === 0xc5) length = this.#unsigned(2);
    else if (type === 0xc6) length = this.#unsigned(4);
    else this.fail();
    if (length > max) this.fail();
    const start = this.#take(length);
    return start < 0 ? this.#bytes.subarray(0, 0) : this.#bytes.subarray(start, start + length);
  }
}

/**
 * Reads one frame in any valid msgpack encoding from untrusted bytes; undefined if it is none. `end` receives where the
 * frame ends. Field ranges are checked, meanings are not.
 */
export function readLooseFrame(
  bytes: Uint8Array,
  offset: number,
  limit: number,
): { frame: Frame; end: number } | undefined {
  const reader = new MsgpackReader(bytes, offset, limit);
  if (reader.arrayLength() !== 11) return undefined;
  const kind = reader.integer(0xff);
  const flags = reader.integer(0xff);
  const convA = reader.integer(Number.MAX_SAFE_INTEGER);
  const convB = reader.integer(Number.MAX_SAFE_INTEGER);
  const device = reader.integer(Number.MAX_SAFE_INTEGER);
  const counter = reader.integer(SEQUENCE_MAX);
  const seq = reader.integer(SEQUENCE_MAX);
  const inbox = reader.integer(Number.MAX_SAFE_INTEGER);
  const time = reader.integer(Number.MAX_SAFE_INTEGER);
  const extra = reader.integer(SEQUENCE_MAX);
  const payload = reader.binary(payloadBytesMax(flags));
  if (reader.failed) return undefined;
  return {
    frame: { kind, flags, convA, convB, device, counter, seq, inbox, time, extra, payload },
    end: reader.offset,
  };
}
