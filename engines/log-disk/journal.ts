/**
 * The writer of one journal: stamps batches into a group, writes a group with one call, syncs, begins and deletes segments,
 * and publishes how far readers may go. It knows nothing of threads and producers (log-worker.ts does).
 *
 * What is on disk only grows at its end, except that a group that could not be written whole is cut off again at once.
 */

import { join } from 'node:path';
import { BatchAt, stampBatch } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import { GROUP_COMMIT_BYTES_MAX } from '../../core/limits.js';
import { Durability } from '../../core/ports.js';
import { nativeCrc32c } from '../crc32c.js';
import { type Files, isNoSpace, writeFully } from './files.js';
import {
  Control,
  ControlCell,
  encodeNote,
  encodeSegmentHeader,
  PartitionCell,
  position,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  SYNCED_NOTE,
  segmentName,
} from './layout.js';
import type { JournalStart } from './recover.js';

/** After so much more was synced it is noted. */
const NOTE_BYTES = 4 * 1024 * 1024;

export interface JournalOptions {
  readonly files: Files;
  readonly directory: string;
  readonly topic: number;
  readonly partitions: number;
  readonly durability: number;
  readonly start: JournalStart;
  readonly control: SharedArrayBuffer;
  readonly segmentBytes: number;
  readonly retainBytes: number;
  /** Logged time: milliseconds since 1970, never falling. */
  readonly nowMs: () => number;
}

export class Journal {
  readonly control: Control;
  readonly #options: JournalOptions;
  readonly #group = new Uint8Array(GROUP_COMMIT_BYTES_MAX);
  readonly #groupView = viewOf(this.#group);
  readonly #segments: SegmentHeader[];
  readonly #sizes = new Map<number, number>();
  /** By partition: of the next batch, group included. */
  readonly #offsets: number[];
  readonly #timesMs: number[];
  /** By partition, as written and as synced. */
  #writtenOffsets: number[];
  #groupBytes = 0;
  #fd = -1;
  #segment = 0;
  #written = 0;
  #synced = 0;
  #syncing = false;
  #noted = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.control = new Control(options.control);
    this.#segments = [...options.start.segments];
    options.start.segments.forEach(({ number }, i) => {
      this.#sizes.set(number, options.start.sizes[i]!);
    });
    this.#offsets = [...options.start.offsets];
    this.#timesMs = [...options.start.timesMs];
    this.#writtenOffsets = [...this.#offsets];
    const last = this.#segments.at(-1);
    if (last === undefined) {
      this.#begin(1);
    } else {
      this.#segment = last.number;
      this.#fd = options.files.open(join(options.directory, segmentName(last.number)), false);
      this.#written = options.start.end;
      // What was read at the start may still be in the page cache only.
      options.files.syncNow(this.#fd);
      this.#synced = this.#written;
    }
    this.control.set(ControlCell.FIRST_SEGMENT, this.#segments[0]!.number);
    this.#publishWritten();
    this.#publishSynced(position(this.#segment, this.#synced), this.#writtenOffsets);
  }

  get groupBytes(): number {
    return this.#groupBytes;
  }

  get unsyncedBytes(): number {
    return this.#written - this.#synced;
  }

  get isSyncing(): boolean {
    return this.#syncing;
  }

  /** Where the last written batch ends. */
  get writtenPosition(): number {
    return position(this.#segment, this.#written);
  }

  /** Everything up to here is on the disk. */
  get syncedPosition(): number {
    return position(this.#segment, this.#synced);
  }

  /** True if the group must be written, and for that a new segment begun, before `bytes` more can be added. */
  mustRoll(bytes: number): boolean {
    const end = this.#written + this.#groupBytes + bytes;
    return end > this.#options.segmentBytes && this.#written + this.#groupBytes > SEGMENT_HEADER_BYTES;
  }

  canAdd(bytes: number): boolean {
    return this.#groupBytes + bytes <= this.#group.length && !this.mustRoll(bytes);
  }

  /** Copies a batch into the group and stamps it; returns its offset. */
  add(partition: number, batch: Uint8Array): number {
    const at = this.#groupBytes;
    this.#group.set(batch, at);
    const offset = this.#offsets[partition]!++;
    const timeMs = Math.max(this.#timesMs[partition]!, this.#options.nowMs());
    this.#timesMs[partition] = timeMs;
    stampBatch(this.#groupView, at, this.#options.topic, partition, offset, timeMs);
    this.#groupView.setUint32(at + BatchAt.MARK, this.#synced, true);
    // Flags speak to the log only, and lie outside of the checksum.
    this.#group[at + BatchAt.FLAGS] = 0;
    const crc = nativeCrc32c(this.#group, at + BatchAt.LENGTH, at + batch.length);
    this.#groupView.setUint32(at + BatchAt.CRC, crc, true);
    this.#groupBytes = at + batch.length;
    return offset;
  }

  /**
   * Writes the group. False: the disk is full; nothing of the group is in the journal, and its offsets are free again. Throws
   * on any other error.
   */
  writeGroup(): boolean {
    const { files } = this.#options;
    try {
      writeFully(files, this.#fd, this.#group, 0, this.#groupBytes, this.#written);
    } catch (error) {
      files.truncate(this.#fd, this.#written);
      if (!isNoSpace(error)) throw error;
      this.#writtenOffsets.forEach((offset, partition) => {
        this.#offsets[partition] = offset;
      });
      this.#groupBytes = 0;
      return false;
    }
    this.#written += this.#groupBytes;
    this.control.set(ControlCell.APPENDED, this.control.get(ControlCell.APPENDED) + this.#groupBytes);
    this.#groupBytes = 0;
    this.#writtenOffsets = [...this.#offsets];
    this.#publishWritten();
    return true;
  }

  #publishWritten(): void {
    if (this.#options.durability !== Durability.LAZY) return;
    this.#writtenOffsets.forEach((offset, partition) => {
      this.control.setPartition(partition, PartitionCell.READABLE_END, offset);
    });
    this.control.set(ControlCell.READABLE, this.writtenPosition);
  }

  #publishSynced(at: number, offsets: readonly number[]): void {
    offsets.forEach((offset, partition) => {
      this.control.setPartition(partition, PartitionCell.DURABLE_END, offset);
      if (this.#options.durability === Durability.BEFORE_READ) {
        this.control.setPartition(partition, PartitionCell.READABLE_END, offset);
      }
    });
    this.control.set(ControlCell.DURABLE, at);
    if (this.#options.durability === Durability.BEFORE_READ) this.control.set(ControlCell.READABLE, at);
  }

  /** Begins to sync what is written. A failed sync is final: the kernel may have dropped the pages that it could not write. */
  beginSync(done: (error: Error | null) => void): void {
    const written = this.#written;
    const offsets = this.#writtenOffsets;
    this.#syncing = true;
    this.#options.files.sync(this.#fd, (error) => {
      this.#syncing = false;
      if (error === null) {
        this.#synced = written;
        this.#publishSynced(position(this.#segment, written), offsets);
        if (Math.abs(this.syncedPosition - this.#noted) >= NOTE_BYTES) this.#note();
      }
      done(error);
    });
  }

  /**
   * Ends the segment and begins the next. Not while a sync is under way or a group is open. False: there is no room for another
   * segment, and the old one stays the last.
   */
  roll(): boolean {
    const { files, directory } = this.#options;
    files.syncNow(this.#fd);
    this.#synced = this.#written;
    this.#publishSynced(position(this.#segment, this.#written), this.#writtenOffsets);
    const old = this.#fd;
    try {
      this.#begin(this.#segment + 1);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      const name = segmentName(this.#segment + 1);
      if (files.list(directory).includes(name)) files.remove(join(directory, name));
      return false;
    }
    files.close(old);
    this.#publishWritten();
    this.#publishSynced(position(this.#segment, this.#synced), this.#writtenOffsets);
    this.#deleteOld();
    return true;
  }

  #begin(number: number): void {
    const { files, directory, topic } = this.#options;
    const header = { topic, number, offsets: [...this.#offsets], timesMs: [...this.#timesMs] };
    const bytes = encodeSegmentHeader(header);
    const fd = files.open(join(directory, segmentName(number)), true);
    try {
      writeFully(files, fd, bytes, 0, bytes.length, 0);
      files.syncNow(fd);
      files.syncDirectory(directory);
    } catch (error) {
      files.close(fd);
      throw error;
    }
    if (this.#segment > 0) this.#sizes.set(this.#segment, this.#written);
    this.#fd = fd;
    this.#segments.push(header);
    this.#segment = number;
    this.#written = bytes.length;
    this.#synced = bytes.length;
  }

  /** Deletes segments that every partition is past, as long as enough is kept. */
  #deleteOld(): void {
    const { files, directory, retainBytes } = this.#options;
    this.#sizes.set(this.#segment, this.#written);
    let kept = 0;
    for (const size of this.#sizes.values()) kept += size;
    while (this.#segments.length > 1) {
      const [oldest, next] = this.#segments as [SegmentHeader, SegmentHeader];
      const size = this.#sizes.get(oldest.number)!;
      const released = next.offsets.every(
        (offset, partition) => this.control.getPartition(partition, PartitionCell.RELEASED) >= offset,
      );
      if (!released || kept - size < retainBytes) return;
      this.control.set(ControlCell.FIRST_SEGMENT, next.number);
      files.remove(join(directory, segmentName(oldest.number)));
      // One after the other: a power failure must not leave an older one behind a gap.
      files.syncDirectory(directory);
      this.#segments.shift();
      this.#sizes.delete(oldest.number);
      kept -= size;
    }
  }

  /**
   * Notes in a file of its own how far the journal is synced, so that a later start can tell damage in acknowledged data from a
   * torn tail. The note needs no sync: whatever age it has, it is true. Nothing depends on its being there.
   */
  #note(): void {
    const { files, directory } = this.#options;
    this.#noted = this.syncedPosition;
    try {
      const fd = files.open(join(directory, SYNCED_NOTE), true);
      try {
        const text = encodeNote(this.#segment, this.#synced);
        writeFully(files, fd, text, 0, text.length, 0);
      } finally {
        files.close(fd);
      }
    } catch {
      // A full disk, most likely; the marks in the batches are still there.
    }
  }

  close(): void {
    this.#note();
    this.#options.files.close(this.#fd);
  }
}
