/**
 * How a journal lies on disk and in shared memory.
 *
 * A journal holds one topic: segment files `<number>.segment`, written one after the other. A segment is a header of 8 KiB and
 * batches (core/batch.ts), back to back, of all partitions in the order in which they were appended.
 *
 * ```text
 * segment header, little-endian
 *    0  u32  magic 'DNLJ'
 *    4  u16  version 1
 *    6  u16  topic
 *    8  u16  partitions
 *   12  u32  number of the segment
 *   16  u32  CRC32C of bytes 20 .. 8192
 *   64  partitions × { u64 offset of the partition's next batch, u64 time of its last batch }
 * ```
 *
 * A batch header's last field (BatchAt.MARK) says up to which byte of its segment the journal was known to be on the disk when
 * the batch was written. So at a start it can be told whether damage lies in what was only on its way (a torn tail: cut) or in
 * what had been acknowledged (refused).
 */
import { readU53LE, writeU53LE } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import { PARTITIONS_MAX } from '../../core/limits.js';
import { nativeCrc32c } from '../crc32c.js';

export const SEGMENT_HEADER_BYTES = 8_192;
const SEGMENT_MAGIC = 0x4a4c_4e44;
const SEGMENT_VERSION = 1;

const CRC_AT = 16;
const CRC_FROM = 20;
const PARTITIONS_AT = 64;
const PARTITION_BYTES = 16;

if (PARTITIONS_AT + PARTITIONS_MAX * PARTITION_BYTES > SEGMENT_HEADER_BYTES)
  throw new Error('a segment header is too small');

export interface SegmentHeader {
  readonly topic: number;
  readonly number: number;
  /** By partition: offset of the first batch in or after this segment. */
  readonly offsets: readonly number[];
  /** By partition: logged time of the last batch before this segment. */
  readonly timesMs: readonly number[];
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, SEGMENT_MAGIC, true);
  view.setUint16(4, SEGMENT_VERSION, true);
  view.setUint16(6, header.topic, true);
  view.setUint16(8, header.offsets.length, true);
  view.setUint32(12, header.number, true);
  header.offsets.forEach((offset, partition) => {
    writeU53LE(view, PARTITIONS_AT + partition * PARTITION_BYTES, offset);
    writeU53LE(view, PARTITIONS_AT + partition * PARTITION_BYTES + 8, header.timesMs[partition]!);
  });
  view.setUint32(CRC_AT, nativeCrc32c(bytes, CRC_FROM, bytes.length), true);
  return bytes;
}

/** The header, or a sentence that says why it is none. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | string {
  if (bytes.length < SEGMENT_HEADER_BYTES) return `it has only ${bytes.length} bytes`;
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== SEGMENT_MAGIC) return 'it does not begin like a segment';
  const version = view.getUint16(4, true);
  if (version !== SEGMENT_VERSION) return `its version ${version} is not known here (${SEGMENT_VERSION} is)`;
  if (view.getUint32(CRC_AT, true) !== nativeCrc32c(bytes, CRC_FROM, SEGMENT_HEADER_BYTES))
    return 'its header is damaged';
  const partitions = view.getUint16(8, true);
  if (partitions < 1 || partitions > PARTITIONS_MAX) return `it says ${partitions} partitions`;
  const at = (partition: number): number => PARTITIONS_AT + partition * PARTITION_BYTES;
  const numbers = Array.from({ length: partitions }, (_, partition) => partition);
  return {
    topic: view.getUint16(6, true),
    number: view.getUint32(12, true),
    offsets: numbers.map((partition) => readU53LE(view, at(partition))),
    timesMs: numbers.map((partition) => readU53LE(view, at(partition) + 8)),
  };
}

export function segmentName(number: number): string {
  return `${String(number).padStart(10, '0')}.segment`;
}

export function segmentNumber(name: string): number | undefined {
  const match = /^(\d{10})\.segment$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/** The file that says how far the journal was synced at least: "<segment> <byte>". */
export const SYNCED_NOTE = 'synced';

export function encodeNote(segment: number, byte: number): Uint8Array {
  return new TextEncoder().encode(`${segment} ${byte}\n`);
}

/** Undefined if it was cut while it was written. */
export function decodeNote(bytes: Uint8Array): { segment: number; byte: number } | undefined {
  const match = /^(\d{1,10}) (\d{1,10})\n$/.exec(new TextDecoder().decode(bytes));
  return match === null ? undefined : { segment: Number(match[1]), byte: Number(match[2]) };
}

// --- shared memory ------------------------------------------------------------------------------------------------------

/**
 * What the writer of a journal publishes: 64-bit cells. A position is segment × 2^32 + byte, so that one atomic read gives both.
 */
export const ControlCell = {
  READABLE: 0,
  DURABLE: 1,
  FIRST_SEGMENT: 2,
  FAILED: 3,
  REFUSING: 4,
  APPENDED: 5,
  PARTITIONS: 8,
} as const;
export const PartitionCell = { READABLE_END: 0, DURABLE_END: 1, RELEASED: 2 } as const;
const CELLS_PER_PARTITION = 4;

export function createControl(partitions: number): SharedArrayBuffer {
  return new SharedArrayBuffer((ControlCell.PARTITIONS + partitions * CELLS_PER_PARTITION) * 8);
}

export class Control {
  readonly #cells: BigInt64Array;

  constructor(shared: SharedArrayBuffer) {
    this.#cells = new BigInt64Array(shared);
  }

  get(cell: number): number {
    return Number(Atomics.load(this.#cells, cell));
  }

  set(cell: number, value: number): void {
    Atomics.store(this.#cells, cell, BigInt(value));
  }

  getPartition(partition: number, cell: number): number {
    return this.get(ControlCell.PARTITIONS + partition * CELLS_PER_PARTITION + cell);
  }

  setPartition(partition: number, cell: number, value: number): void {
    this.set(ControlCell.PARTITIONS + partition * CELLS_PER_PARTITION + cell, value);
  }
}

export function position(segment: number, byte: number): number {
  return segment * 2 ** 32 + byte;
}

export function segmentOf(at: number): number {
  return Math.floor(at / 2 ** 32);
}

export function byteOf(at: number): number {
  return at % 2 ** 32;
}
