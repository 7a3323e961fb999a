/**
 * The start of a journal: which segments there are, where the valid data ends, and what is to be done about what follows.
 *
 * Only the last segment can have an end that is not on the disk as it was written: a segment is synced before the next one is
 * begun. In it, the scan goes from batch to batch. Where it stops, everything is cut off if it was only on its way (a torn
 * tail); if a batch further on says that the journal was synced past this place, acknowledged data is damaged, and the journal
 * is not opened.
 */
import { join } from 'node:path';
import { BATCH_MAGIC, BATCH_VERSION, BatchAt, BatchKind, checkBatch, readU53LE } from '../../core/batch.js';
import { DunlinError } from '../../core/errors.js';
import { viewOf } from '../../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES } from '../../core/limits.js';
import { nativeCrc32c } from '../crc32c.js';
import { type Files, readFully, writeFully } from './files.js';
import {
  decodeNote,
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  SYNCED_NOTE,
  segmentName,
  segmentNumber,
} from './layout.js';

const SEGMENT_MAGIC_BYTES = [0x44, 0x4e, 0x4c, 0x4a];

export interface JournalStart {
  /** All segments, oldest first. Empty: a new journal. */
  readonly segments: readonly SegmentHeader[];
  /** Bytes of each of them, after what was cut. */
  readonly sizes: readonly number[];
  /** Where valid data ends in the last segment. */
  readonly end: number;
  /** By partition. */
  readonly offsets: number[];
  readonly timesMs: number[];
  /** What was cut, as sentences. */
  readonly reports: readonly string[];
}

export interface Scan {
  readonly end: number;
  readonly offsets: number[];
  readonly timesMs: number[];
  /** Why the scan ended before the file did; undefined if it did not. */
  readonly problem: string | undefined;
  /** Highest mark of any valid batch, also of those behind the end. */
  readonly mark: number;
}

/** True if version and kind are those of a batch that may be logged. */
export function isLoggable(view: DataView, at: number): boolean {
  if (view.getUint16(at + BatchAt.VERSION, true) !== BATCH_VERSION) return false;
  const kind = view.getUint8(at + BatchAt.KIND);
  return kind === BatchKind.FRAMES || kind === BatchKind.FANOUT;
}

/** Length of the valid batch at `at`, or a sentence. */
export function batchAt(bytes: Uint8Array, view: DataView, at: number): number | string {
  if (at + BATCH_HEADER_BYTES > bytes.length) return 'a batch header is cut';
  if (view.getUint32(at, true) !== BATCH_MAGIC) return 'no batch begins here';
  // The checksum does not cover version, kind and flags: they are compared. FRAMES and FANOUT differ in two bits, and flags are
  // cleared when a batch is logged.
  if (!isLoggable(view, at) || view.getUint8(at + BatchAt.FLAGS) !== 0)
    return 'a batch is of no version or kind that a log holds';
  const length = view.getUint32(at + BatchAt.LENGTH, true);
  if (length < BATCH_HEADER_BYTES || length > BATCH_BYTES_MAX) return `a batch says ${length} bytes`;
  if (at + length > bytes.length) return 'a batch is cut';
  const crc = view.getUint32(at + BatchAt.CRC, true);
  if (crc !== nativeCrc32c(bytes, at + BatchAt.LENGTH, at + length)) return 'a checksum is wrong';
  return length;
}

/** Goes through the batches of a segment's bytes. */
function scanSegment(bytes: Uint8Array, header: SegmentHeader): Scan {
  const view = viewOf(bytes);
  const offsets = [...header.offsets];
  const timesMs = [...header.timesMs];
  let at = SEGMENT_HEADER_BYTES;
  let mark = SEGMENT_HEADER_BYTES;
  let problem: string | undefined;
  while (at < bytes.length) {
    const length = batchAt(bytes, view, at);
    if (typeof length === 'string') {
      problem = length;
      break;
    }
    problem = wrongPlace(bytes, view, at, length, header, offsets);
    if (problem !== undefined) break;
    const partition = view.getUint16(at + BatchAt.PARTITION, true);
    offsets[partition]!++;
    timesMs[partition] = readU53LE(view, at + BatchAt.TIME);
    mark = Math.max(mark, view.getUint32(at + BatchAt.MARK, true));
    at += length;
  }
  const end = at;
  if (problem !== undefined) mark = Math.max(mark, highestMarkBehind(bytes, view, at + 1, header.topic, offsets));
  return { end, offsets, timesMs, problem, mark };
}

function wrongPlace(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  header: SegmentHeader,
  offsets: readonly number[],
): string | undefined {
  const topic = view.getUint16(at + BatchAt.TOPIC, true);
  const partition = view.getUint16(at + BatchAt.PARTITION, true);
  const offset = readU53LE(view, at + BatchAt.OFFSET);
  if (topic !== header.topic) return `a batch of topic ${topic}`;
  if (offset !== offsets[partition])
    return `offset ${offset} of partition ${partition}, expected ${offsets[partition]}`;
  return checkBatch(bytes.subarray(at, at + length));
}

/**
 * Valid batches behind damage tell how far the journal had been synced when they were written. A payload may hold bytes that
 * look like a batch, by chance or by somebody's will: what does not fit in this place is not believed.
 */
function highestMarkBehind(
  bytes: Uint8Array,
  view: DataView,
  from: number,
  topic: number,
  offsets: readonly number[],
): number {
  let mark = 0;
  const fits = (at: number): boolean => {
    if (at + BATCH_HEADER_BYTES > bytes.length || view.getUint16(at + BatchAt.TOPIC, true) !== topic) return false;
    if (view.getUint32(at + BatchAt.MARK, true) > at) return false;
    const expected = offsets[view.getUint16(at + BatchAt.PARTITION, true)];
    const offset = readU53LE(view, at + BatchAt.OFFSET);
    // Every batch in between is at least a header long.
    return expected !== undefined && offset >= expected && offset <= expected + (at - from) / BATCH_HEADER_BYTES + 1;
  };
  const haystack = Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
  const needle = Buffer.from([0x44, 0x4e, 0x4c, 0x31]);
  for (let at = haystack.indexOf(needle, from); at >= 0; ) {
    const length = fits(at) ? batchAt(bytes, view, at) : '';
    if (typeof length === 'number') mark = Math.max(mark, view.getUint32(at + BatchAt.MARK, true));
    at = haystack.indexOf(needle, at + (typeof length === 'number' ? length : 1));
  }
  return mark;
}

function readSegment(files: Files, path: string): Uint8Array {
  const fd = files.open(path, false);
  try {
    const bytes = new Uint8Array(files.size(fd));
    return bytes.subarray(0, readFully(files, fd, bytes, 0, bytes.length, 0));
  } finally {
    files.close(fd);
  }
}

/** First bytes of a segment, and its size. */
function readHead(files: Files, path: string): { bytes: Uint8Array; size: number } {
  const fd = files.open(path, false);
  try {
    const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
    return { bytes: bytes.subarray(0, readFully(files, fd, bytes, 0, bytes.length, 0)), size: files.size(fd) };
  } finally {
    files.close(fd);
  }
}

/**
 * True for a segment that was just being begun: a header is synced before anything follows it, so that only a file without
 * batches can lack one; and it is only written behind another segment, or as the very first.
 */
function isUnbegun(bytes: Uint8Array, size: number, number: number, before: SegmentHeader | undefined): boolean {
  if (size > SEGMENT_HEADER_BYTES || number !== (before?.number ?? 0) + 1) return false;
  const start = bytes.subarray(0, 4);
  return start.every((byte) => byte === 0) || start.every((byte, i) => byte === SEGMENT_MAGIC_BYTES[i]);
}

/** Reads what is there; cuts a torn tail. Throws a DunlinError if acknowledged data is damaged or the files are not ours. */
export function recoverJournal(files: Files, directory: string, topic: number, partitions: number): JournalStart {
  const names = files
    .list(directory)
    .filter((name) => segmentNumber(name) !== undefined)
    .toSorted();
  const reports: string[] = [];
  const segments: SegmentHeader[] = [];
  const sizes: number[] = [];
  let sealed = false;
  for (const [i, name] of names.entries()) {
    const path = join(directory, name);
    const number = segmentNumber(name)!;
    const { bytes, size } = readHead(files, path);
    const header = decodeSegmentHeader(bytes);
    if (typeof header !== 'string') {
      checkIdentity(path, header, { topic, partitions, number, before: segments.at(-1) });
      segments.push(header);
      sizes.push(size);
      continue;
    }
    if (i < names.length - 1 || /version/.test(header) || !isUnbegun(bytes, size, number, segments.at(-1))) {
      throw new DunlinError(`${path} cannot be used: ${header}. Bring the file back from a copy.`);
    }
    files.remove(path);
    files.syncDirectory(directory);
    sealed = true;
    reports.push(`${path} was removed: ${header}; it had just been created and held nothing.`);
  }
  const last = segments.at(-1);
  if (last === undefined) {
    const zeros = (): number[] => Array.from({ length: partitions }, () => 0);
    return { segments, sizes, end: 0, offsets: zeros(), timesMs: zeros(), reports };
  }
  const path = join(directory, segmentName(last.number));
  const found = scanSegment(readSegment(files, path), last);
  const mark = Math.max(found.mark, readNote(files, directory, last.number));
  const problem = found.problem ?? (found.end < mark ? 'the file ends' : undefined);
  const scan = { ...found, mark, problem };
  // A segment is synced before the next one is created: then all of it had been acknowledged.
  if (scan.problem !== undefined) cutTail(files, path, sealed ? { ...scan, mark: Infinity } : scan, reports);
  sizes[sizes.length - 1] = scan.end;
  return { segments, sizes, end: scan.end, offsets: scan.offsets, timesMs: scan.timesMs, reports };
}

/** Up to which byte the note says that a segment was synced; 0: it says nothing about it. */
function readNote(files: Files, directory: string, segment: number): number {
  if (!files.list(directory).includes(SYNCED_NOTE)) return 0;
  const fd = files.open(join(directory, SYNCED_NOTE), false);
  try {
    const bytes = new Uint8Array(64);
    const note = decodeNote(bytes.subarray(0, readFully(files, fd, bytes, 0, bytes.length, 0)));
    return note?.segment === segment ? note.byte : 0;
  } finally {
    files.close(fd);
  }
}

interface Expected {
  readonly topic: number;
  readonly partitions: number;
  readonly number: number;
  readonly before: SegmentHeader | undefined;
}

function checkIdentity(path: string, header: SegmentHeader, expected: Expected): void {
  const { topic, partitions, number, before } = expected;
  if (header.number !== number)
    throw new DunlinError(`${path} says that it is segment ${header.number}: it was renamed.`);
  if (header.topic !== topic) throw new DunlinError(`${path} belongs to topic ${header.topic}, not ${topic}.`);
  if (header.offsets.length !== partitions) {
    throw new DunlinError(`${path} has ${header.offsets.length} partitions, not ${partitions}.`);
  }
  if (before !== undefined && header.number !== before.number + 1) {
    throw new DunlinError(`${path} follows segment ${before.number}: a segment is missing.`);
  }
}

function cutTail(files: Files, path: string, scan: Scan, reports: string[]): void {
  if (scan.end < scan.mark) {
    throw new DunlinError(
      `${path} is damaged at byte ${scan.end} (${scan.problem}), in data that had been acknowledged (${scan.mark === Infinity ? 'all of it' : `up to byte ${scan.mark}`}): ` +
        'it is not opened. Bring the file back from a copy.',
    );
  }
  const fd = files.open(path, false);
  try {
    const size = files.size(fd);
    const tail = new Uint8Array(size - scan.end);
    readFully(files, fd, tail, 0, tail.length, scan.end);
    const blank = tail.every((byte) => byte === 0);
    const copy = blank ? '' : keepCopy(files, `${path}.cut-${scan.end}`, tail);
    files.truncate(fd, scan.end);
    files.syncNow(fd);
    if (blank) return;
    reports.push(
      `${path}: a torn tail of ${tail.length} bytes was cut at byte ${scan.end} (${scan.problem}); nothing says that it had been acknowledged. ${copy}`,
    );
  } finally {
    files.close(fd);
  }
}

/** Puts aside what is cut off. That is a courtesy: the start does not depend on it. */
function keepCopy(files: Files, path: string, tail: Uint8Array): string {
  try {
    const fd = files.open(path, true);
    try {
      writeFully(files, fd, tail, 0, tail.length, 0);
      files.syncNow(fd);
    } finally {
      files.close(fd);
    }
    return `A copy is in ${path}.`;
  } catch (error) {
    return `No copy could be kept: ${(error as Error).message}.`;
  }
}
