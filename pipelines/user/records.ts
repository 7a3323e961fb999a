/**
 * The exported state: chunks of at most STORE_CHUNK_BYTES, each a sequence of whole records. Little-endian. A record begins
 * with its type (u8); what `import.ts` reads is what `export.ts` writes, field by field, in this order:
 *
 * ```text
 * PARTITION     u32 generation · u16 n · n × (f64 sourceSeq, f64 index) of the conversation partitions
 * USER          u64 user · u64 oldest entry still in memory · u64 last · u64 delivered · u64 lastSeen · u32 flags
 *               u32 chunkSerial · u32 window · u32 windowUpdates · u8 n · n × device
 *   device      u8 number · u8 mode · u64 cursor · u32 gateway, incarnation, connection, token · u64 sent · u64 scanned
 *               u64 lastSeen · u64 graceEnds · u32 misses
 * BLOCKS        u64 user · u16 n · n × u64 user                                    replaces the list
 * WATCHERS      u64 user · u16 n · n × (u64 device key, u64 expires)               replaces the list
 * UPDATES       u64 user · u16 n · n × (u8 kind, u8 pending, u64 convA, convB, device, u32 state, u64 time, stamp, expires)
 * BLOB          u32 id · u32 length · u32 start · u32 n · u64 arrived · u64 deadline · n bytes of the frame from start on
 * ENTRIES       u64 user · u16 n · n × (u64 position, u32 blob id)
 * CHUNK         u64 user · u64 first · u64 last · u32 bytes · u32 serial · u64 deadline · u8 flags
 * DROP_ENTRY    u64 user · u64 position
 * DROP_CHUNK    u64 user · u32 serial
 * WINDOW        u32 window in which the generation began                           left out: 0
 * BLOCK_ANSWERS u8 1: replaces the list, 0: adds to it · u16 n · n × u64 device key, other, offset
 * UNSYNCED      u64 user · u8 n · n × (u8 device number, u64 offset)               follows USER, which clears the list
 * ```
 *
 * USER, BLOCKS, WATCHERS and UPDATES replace what was there; entries and chunks are added and dropped one by one, so that a
 * long inbox is not written again for each new entry. Entries before `oldest` are dropped by USER. A blob is written before
 * the entries that name it, in the same export; its id means nothing outside of it.
 */

import { readU53LE, writeU53LE } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import type { ChunkSink } from '../../core/stage.js';

export const RecordType = {
  PARTITION: 1,
  USER: 2,
  BLOCKS: 3,
  WATCHERS: 4,
  UPDATES: 5,
  BLOB: 6,
  ENTRIES: 7,
  CHUNK: 8,
  DROP_ENTRY: 9,
  DROP_CHUNK: 10,
  UNSYNCED: 11,
  WINDOW: 12,
  BLOCK_ANSWERS: 13,
} as const;

/** Fills chunks with records. */
export class RecordWriter {
  readonly #sink: ChunkSink;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  /** Bytes written so far. */
  total = 0;

  constructor(sink: ChunkSink, chunkBytes: number) {
    this.#sink = sink;
    this.#bytes = new Uint8Array(chunkBytes);
    this.#view = viewOf(this.#bytes);
  }

  /** Bytes that a record can have in this chunk. */
  get room(): number {
    return this.#bytes.length - this.#at;
  }

  /** Begins a record of at most `bytes`, its type included; larger ones than a chunk are the caller's to split. */
  begin(type: number, bytes: number): void {
    if (this.#at + bytes > this.#bytes.length) this.flush();
    if (bytes > this.#bytes.length) throw new RangeError(`a record of ${bytes} bytes fits into no chunk`);
    this.u8(type);
  }

  u8(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  u16(value: number): void {
    this.#view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  u64(value: number): void {
    writeU53LE(this.#view, this.#at, value);
    this.#at += 8;
  }

  f64(value: number): void {
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  copy(bytes: Uint8Array, start: number, length: number): void {
    this.#bytes.set(bytes.subarray(start, start + length), this.#at);
    this.#at += length;
  }

  flush(): void {
    if (this.#at === 0) return;
    this.#sink(this.#bytes.subarray(0, this.#at));
    this.total += this.#at;
    this.#at = 0;
  }
}

/** Reads the fields of records, one after the other. */
export class RecordReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
  }

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  u8(): number {
    return this.bytes[this.at++]!;
  }

  u16(): number {
    this.at += 2;
    return this.#view.getUint16(this.at - 2, true);
  }

  u32(): number {
    this.at += 4;
    return this.#view.getUint32(this.at - 4, true);
  }

  u64(): number {
    this.at += 8;
    return readU53LE(this.#view, this.at - 8);
  }

  f64(): number {
    this.at += 8;
    return this.#view.getFloat64(this.at - 8, true);
  }
}
