/**
 * Reads some partitions of a journal, from given offsets up to what the writer has published, straight from its files: the page
 * cache holds what is hot, and a backlog costs no memory. Every batch is checked against its checksum.
 */
import { join } from 'node:path';
import { type Batch, BatchAt, type BatchHeader, readBatchHeader } from '../../core/batch.js';
import { DunlinError, LogLossError } from '../../core/errors.js';
import { viewOf } from '../../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES } from '../../core/limits.js';
import type { LogConsumer, LogPosition } from '../../core/ports.js';
import { type Files, readFully, realFiles } from './files.js';
import {
  byteOf,
  Control,
  ControlCell,
  decodeSegmentHeader,
  PartitionCell,
  position,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentName,
  segmentOf,
} from './layout.js';
import { batchAt } from './recover.js';

const BLOCK_BYTES = 1024 * 1024;

export class JournalReader implements LogConsumer {
  readonly #files: Files;
  readonly #directory: string;
  readonly #control: Control;
  /** By partition: next offset to hand out; undefined: not ours. */
  readonly #next: number[] = [];
  #buffer: Uint8Array = new Uint8Array(BLOCK_BYTES);
  #view = viewOf(this.#buffer);
  /** Bytes [from, to) of the buffer are read and not yet handed out; they lie in the file from `fileAt` on. */
  #from = 0;
  #to = 0;
  #fileAt = SEGMENT_HEADER_BYTES;
  #segment = 0;
  #fd = -1;

  constructor(directory: string, control: Control, positions: readonly LogPosition[], files: Files = realFiles) {
    this.#files = files;
    this.#directory = directory;
    this.#control = control;
    for (const { partition, offset } of positions) {
      this.#next[partition] = offset;
      this.#checkOffset(partition, offset);
    }
    this.#open(this.#firstSegment(positions));
  }

  #checkOffset(partition: number, offset: number): void {
    const end = this.readableEnd(partition);
    if (offset > end) {
      throw new LogLossError(partition, end, `the log in ${this.#directory}`);
    }
  }

  #header(number: number): SegmentHeader {
    const path = join(this.#directory, segmentName(number));
    const fd = this.#openFile(number);
    try {
      const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
      const header = decodeSegmentHeader(bytes.subarray(0, readFully(this.#files, fd, bytes, 0, bytes.length, 0)));
      if (typeof header === 'string') throw new DunlinError(`${path} cannot be read: ${header}.`);
      return header;
    } finally {
      this.#files.close(fd);
    }
  }

  /** The last segment that begins at or before every position. */
  #firstSegment(positions: readonly LogPosition[]): number {
    const first = this.#control.get(ControlCell.FIRST_SEGMENT);
    const last = segmentOf(this.#control.get(ControlCell.READABLE));
    for (let number = last; number >= first; number--) {
      const { offsets } = this.#header(number);
      if (positions.every(({ partition, offset }) => offsets[partition]! <= offset)) return number;
    }
    const { offsets } = this.#header(first);
    const lost = positions.find(({ partition, offset }) => offsets[partition]! > offset)!;
    throw new DunlinError(
      `offset ${lost.offset} of partition ${lost.partition} is no longer in the log in ${this.#directory}, which begins at ${offsets[lost.partition]}.`,
    );
  }

  #openFile(number: number): number {
    try {
      return this.#files.openToRead(join(this.#directory, segmentName(number)));
    } catch (error) {
      // Deleted after the first segment's number was read.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new DunlinError(`segment ${number} is no longer in the log in ${this.#directory}.`);
    }
  }

  #open(number: number): void {
    const fd = this.#openFile(number);
    if (this.#fd >= 0) this.#files.close(this.#fd);
    this.#fd = fd;
    this.#segment = number;
    this.#fileAt = SEGMENT_HEADER_BYTES;
    this.#from = 0;
    this.#to = 0;
  }

  poll(): Batch | undefined {
    for (;;) {
      const length = this.#nextBatch();
      if (length === 0) return undefined;
      const at = this.#from;
      const partition = this.#view.getUint16(at + BatchAt.PARTITION, true);
      const wanted = this.#next[partition];
      if (wanted === undefined) {
        this.#from += length;
        continue;
      }
      const bytes = this.#buffer.subarray(at, at + length);
      const view = new DataView(this.#buffer.buffer, at, length);
      const header: BatchHeader = readBatchHeader(view);
      if (header.offset > wanted) this.#damaged(`offset ${wanted} of partition ${partition} is missing`);
      this.#from += length;
      if (header.offset < wanted) continue;
      this.#next[partition] = header.offset + 1;
      return { bytes, view, header };
    }
  }

  /** Length of the whole, checked batch at `#from`; 0: there is none yet. Reads and changes segments as needed. */
  #nextBatch(): number {
    for (;;) {
      const have = this.#to - this.#from;
      if (have >= BATCH_HEADER_BYTES) {
        const length = this.#view.getUint32(this.#from + BatchAt.LENGTH, true);
        if (length > BATCH_BYTES_MAX || length < BATCH_HEADER_BYTES) this.#damaged('a batch has an impossible length');
        if (have >= length) {
          const checked = batchAt(this.#buffer.subarray(0, this.#to), this.#view, this.#from);
          if (typeof checked === 'string') this.#damaged(checked);
          return length;
        }
      }
      if (!this.#readMore()) return 0;
    }
  }

  #damaged(why: string): never {
    const byte = this.#fileAt - (this.#to - this.#from);
    throw new DunlinError(`${join(this.#directory, segmentName(this.#segment))} is damaged at byte ${byte}: ${why}.`);
  }

  /** Brings more bytes in. False: there are none now. */
  #readMore(): boolean {
    const readable = this.#control.get(ControlCell.READABLE);
    const isLast = segmentOf(readable) === this.#segment;
    const end = isLast ? byteOf(readable) : this.#files.size(this.#fd);
    if (this.#fileAt >= end) {
      // What is readable ends where a batch does.
      if (this.#from < this.#to) this.#damaged('what is readable ends within a batch');
      if (isLast) return false;
      this.#open(this.#segment + 1);
      return true;
    }
    this.#makeRoom();
    const length = Math.min(end - this.#fileAt, this.#buffer.length - this.#to);
    const read = this.#files.read(this.#fd, this.#buffer, this.#to, length, this.#fileAt);
    if (read === 0) this.#damaged('the file is shorter than what was written');
    this.#to += read;
    this.#fileAt += read;
    return true;
  }

  #makeRoom(): void {
    const have = this.#to - this.#from;
    if (have === this.#buffer.length) {
      const grown = new Uint8Array(this.#buffer.length * 2);
      grown.set(this.#buffer.subarray(this.#from, this.#to));
      this.#buffer = grown;
      this.#view = viewOf(grown);
    } else if (this.#from > 0) {
      this.#buffer.copyWithin(0, this.#from, this.#to);
    }
    this.#from = 0;
    this.#to = have;
  }

  durableEnd(partition: number): number {
    return this.#control.getPartition(partition, PartitionCell.DURABLE_END);
  }

  readableEnd(partition: number): number {
    return this.#control.getPartition(partition, PartitionCell.READABLE_END);
  }

  lagBytes(): number {
    const readable = this.#control.get(ControlCell.READABLE);
    const here = position(this.#segment, this.#fileAt - (this.#to - this.#from));
    if (segmentOf(readable) === this.#segment) return readable - here;
    const size = this.#files.size(this.#fd);
    // Segments in between are about as long as this one is.
    const between = (segmentOf(readable) - this.#segment - 1) * (size - SEGMENT_HEADER_BYTES);
    return size - byteOf(here) + between + byteOf(readable) - SEGMENT_HEADER_BYTES;
  }

  release(partition: number, offset: number): void {
    const before = this.#control.getPartition(partition, PartitionCell.RELEASED);
    if (offset > before) this.#control.setPartition(partition, PartitionCell.RELEASED, offset);
  }

  close(): void {
    if (this.#fd >= 0) this.#files.close(this.#fd);
    this.#fd = -1;
  }
}
