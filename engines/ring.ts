/**
 * A ring: how batches go from one thread to one other. Bytes in shared memory with two counters; nothing is serialised, and
 * one copy is made, by the writer.
 *
 * ```text
 * 0   i32  head   bytes consumed, modulo 2^32 (moved by the reader only)
 * 4   i32  tail   bytes written, modulo 2^32 (moved by the writer only)
 * 64  data, a power of two long; records: u32 length · u32 meta0 · u32 meta1 · u32 0 · bytes, padded to 8
 * ```
 *
 * A record never wraps: when it does not fit before the end, a record of length SKIP fills the rest. The tail moves after
 * the bytes are there, so a writer that dies in between leaves nothing; the head moves when the reader is done, so a reader
 * that dies in between sees the record again.
 */
import type { Bell } from './doorbell.js';

const HEAD = 0;
const TAIL = 1;
const DATA_AT = 64;
const RECORD_HEADER_BYTES = 16;
const SKIP = 0xffff_ffff;

export function createRing(bytes: number): SharedArrayBuffer {
  if (bytes < 64 || (bytes & (bytes - 1)) !== 0)
    throw new RangeError(`a ring of ${bytes} bytes: a power of two is needed`);
  return new SharedArrayBuffer(DATA_AT + bytes);
}

function padded(bytes: number): number {
  return (bytes + 7) & ~7;
}

abstract class RingEnd {
  protected readonly counters: Int32Array;
  protected readonly words: Uint32Array;
  protected readonly bytes: Uint8Array;
  protected readonly size: number;

  constructor(shared: SharedArrayBuffer) {
    this.counters = new Int32Array(shared, 0, 2);
    this.words = new Uint32Array(shared, DATA_AT);
    this.bytes = new Uint8Array(shared, DATA_AT);
    this.size = this.bytes.length;
  }

  /** Bytes written and not yet consumed. */
  get usedBytes(): number {
    return (Atomics.load(this.counters, TAIL) - Atomics.load(this.counters, HEAD)) >>> 0;
  }
}

export class RingWriter extends RingEnd {
  readonly #doorbell: Bell;

  constructor(shared: SharedArrayBuffer, doorbell: Bell) {
    super(shared);
    this.#doorbell = doorbell;
  }

  /** Largest record that always fits once the ring is empty. */
  get recordBytesMax(): number {
    return this.size / 2 - RECORD_HEADER_BYTES;
  }

  /** Copies a record in and rings. False: there is no room now, nothing was taken. Throws if it never fits. */
  offer(meta0: number, meta1: number, record: Uint8Array): boolean {
    if (record.length > this.recordBytesMax) {
      throw new RangeError(`a record of ${record.length} bytes never fits into this ring (${this.recordBytesMax})`);
    }
    const need = RECORD_HEADER_BYTES + padded(record.length);
    const tail = Atomics.load(this.counters, TAIL) >>> 0;
    const free = this.size - this.usedBytes;
    let at = tail & (this.size - 1);
    const toEnd = this.size - at;
    const skip = toEnd < need ? toEnd : 0;
    if (free < need + skip) return false;
    if (skip > 0) {
      this.words[at >>> 2] = SKIP;
      at = 0;
    }
    const word = at >>> 2;
    this.words[word] = record.length;
    this.words[word + 1] = meta0;
    this.words[word + 2] = meta1;
    this.bytes.set(record, at + RECORD_HEADER_BYTES);
    Atomics.store(this.counters, TAIL, (tail + skip + need) | 0);
    this.#doorbell.ring();
    return true;
  }
}

/** A record as its reader sees it: a view that stays valid until `consume`. */
export interface RingRecord {
  meta0: number;
  meta1: number;
  bytes: Uint8Array;
}

export class RingReader extends RingEnd {
  readonly #record: RingRecord = { meta0: 0, meta1: 0, bytes: new Uint8Array(0) };
  /** Where the head moves to: behind the record last peeked. */
  #next: number;

  constructor(shared: SharedArrayBuffer) {
    super(shared);
    this.#next = Atomics.load(this.counters, HEAD);
  }

  /** The oldest record, or undefined. The same object is returned each time. */
  peek(): RingRecord | undefined {
    let head = Atomics.load(this.counters, HEAD) >>> 0;
    const tail = Atomics.load(this.counters, TAIL) >>> 0;
    if (head === tail) return undefined;
    let at = head & (this.size - 1);
    if (this.words[at >>> 2] === SKIP) {
      head = (head + this.size - at) >>> 0;
      at = 0;
      if (head === tail) return undefined;
    }
    const word = at >>> 2;
    const length = this.words[word]!;
    const record = this.#record;
    record.meta0 = this.words[word + 1]!;
    record.meta1 = this.words[word + 2]!;
    record.bytes = this.bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length);
    this.#next = head + RECORD_HEADER_BYTES + padded(length);
    return record;
  }

  /** Gives the room of the record last peeked back to the writer. */
  consume(): void {
    Atomics.store(this.counters, HEAD, this.#next | 0);
  }
}
