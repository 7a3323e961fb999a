/**
 * The batch: what a log record is, and what one thread hands another. A header and entries.
 *
 * ```text
 * offset  type   field
 *      0  u32    magic        'DNL1'
 *      4  u16    version      1
 *      6  u8     kind         BatchKind.*
 *      7  u8     flags        BatchFlag.*
 *      8  u32    crc          CRC32C of bytes 12 .. byteLength, stamped by the log
 *     12  u32    byteLength   header included
 *     16  u32    count        entries
 *     20  u32    sourceId     who made it: SourceKind × 2^24 + number
 *     24  u64    sourceSeq    the maker's own number: a gateway's batch number, or the source partition's offset
 *     32  u32    sourceEpoch  the maker's incarnation
 *     36  u16    topic        stamped by the log
 *     38  u16    partition    stamped by the log
 *     40  u64    offset       stamped by the log: 0, 1, 2 … in the partition
 *     48  u64    time         stamped by the log: milliseconds since 1970, never falling in a partition
 *     56  u32    index        number of this batch among those of one sourceSeq for one partition
 *     60  u32    mark         stamped by the embedded log: bytes of its segment known to be on disk (engines/log-disk/layout.ts)
 *     64         entries
 * ```
 *
 * Header integers are little-endian (they are read where WebAssembly can read them); frames are msgpack, big-endian.
 *
 * Entries by kind:
 * - FRAMES: a frame.
 * - FANOUT: a frame, u32 n, n × recipient (user id as u32 low, u32 high; a RECEIPT for a single recipient may have the number of a
 *   device that need not get it above the 13 bits of high).
 * - EGRESS: a frame, u32 n, n × target (see Target).
 */
import { frameLength, viewOf } from './frame.js';
import { mix32 } from './ids.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES } from './limits.js';

export const BATCH_MAGIC = 0x314c_4e44;
export const BATCH_VERSION = 1;

export const BatchKind = { FRAMES: 1, FANOUT: 2, EGRESS: 3 } as const;
/** What a log does with a batch. */
export const BatchFlag = {
  /** It has new sends: it may be refused when the disk is nearly full. Others go on into the reserve. */
  SENDS: 1,
} as const;
export const SourceKind = { GATEWAY: 1, CONVERSATION: 2, USER: 3, LANE: 4 } as const;

export const BatchAt = {
  MAGIC: 0,
  VERSION: 4,
  KIND: 6,
  FLAGS: 7,
  CRC: 8,
  LENGTH: 12,
  COUNT: 16,
  SOURCE_ID: 20,
  SOURCE_SEQ: 24,
  SOURCE_EPOCH: 32,
  TOPIC: 36,
  PARTITION: 38,
  OFFSET: 40,
  TIME: 48,
  INDEX: 56,
  MARK: 60,
  ENTRIES: BATCH_HEADER_BYTES,
} as const;

export const RECIPIENT_BYTES = 8;
const EXCEPT_SHIFT = 16;

/** The high word of a recipient of whose devices the one with this number need not get the frame. */
export function exceptDevice(userHigh: number, deviceNumber: number): number {
  return userHigh | (deviceNumber << EXCEPT_SHIFT);
}

/** The number of the device that need not get it; 0: none. */
export function exceptedDevice(high: number): number {
  return high >>> EXCEPT_SHIFT;
}

/** The user's part of a recipient's high word. */
export function recipientHigh(high: number): number {
  return high & ((1 << EXCEPT_SHIFT) - 1);
}

/**
 * One connection that an EGRESS entry goes to: 24 bytes, little-endian.
 * u32 connection · u32 incarnation of the gateway · u32 token · u32 position low · u32 position high · u32 flags
 */
export const TARGET_BYTES = 24;
export const TargetAt = {
  CONNECTION: 0,
  INCARNATION: 4,
  TOKEN: 8,
  POSITION_LOW: 12,
  POSITION_HIGH: 16,
  FLAGS: 20,
} as const;
export const TargetFlag = {
  /** Leave the payload out and set Flag.ENVELOPE. */
  ENVELOPE: 1,
  /** The receiving device sent it: leave the payload out and make the kind SENT. */
  SENT: 2,
  /** Not part of the inbox: no position; may be dropped when the socket is full. */
  TRANSIENT: 4,
} as const;

export interface BatchHeader {
  kind: number;
  byteLength: number;
  count: number;
  sourceId: number;
  sourceSeq: number;
  sourceEpoch: number;
  topic: number;
  partition: number;
  offset: number;
  time: number;
  index: number;
}

export function sourceId(kind: number, number: number): number {
  return kind * 2 ** 24 + number;
}

export function readU53LE(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

export function writeU53LE(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

export function readBatchHeader(view: DataView, at = 0): BatchHeader {
  return {
    kind: view.getUint8(at + BatchAt.KIND),
    byteLength: view.getUint32(at + BatchAt.LENGTH, true),
    count: view.getUint32(at + BatchAt.COUNT, true),
    sourceId: view.getUint32(at + BatchAt.SOURCE_ID, true),
    sourceSeq: readU53LE(view, at + BatchAt.SOURCE_SEQ),
    sourceEpoch: view.getUint32(at + BatchAt.SOURCE_EPOCH, true),
    topic: view.getUint16(at + BatchAt.TOPIC, true),
    partition: view.getUint16(at + BatchAt.PARTITION, true),
    offset: readU53LE(view, at + BatchAt.OFFSET),
    time: readU53LE(view, at + BatchAt.TIME),
    index: view.getUint32(at + BatchAt.INDEX, true),
  };
}

/** What the log stamps at an append, where the batch lies. The CRC is computed last, over bytes 12 .. byteLength. */
export function stampBatch(
  view: DataView,
  at: number,
  topic: number,
  partition: number,
  offset: number,
  time: number,
): void {
  view.setUint16(at + BatchAt.TOPIC, topic, true);
  view.setUint16(at + BatchAt.PARTITION, partition, true);
  writeU53LE(view, at + BatchAt.OFFSET, offset);
  writeU53LE(view, at + BatchAt.TIME, time);
}

/** A batch as its readers see it: bytes that stay valid until the next poll of whoever handed them out. */
export interface Batch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly header: BatchHeader;
}

export function openBatch(bytes: Uint8Array): Batch {
  const view = viewOf(bytes);
  return { bytes, view, header: readBatchHeader(view) };
}

/**
 * Tells a batch from another one that stands in its place after a log lost something: made of what the log stamped and of who
 * made it. 32 bits, never 0.
 */
export function fingerprintOfBatch({ view }: Batch): number {
  let h = 0;
  for (let at: number = BatchAt.CRC; at < BatchAt.MARK; at += 4) h = mix32(Math.imul(h, 31) ^ view.getUint32(at, true));
  return h || 1;
}

/**
 * Checks the structure of a batch: lengths, counts and that every entry ends where the batch ends. Returns a sentence that
 * says what is wrong, or undefined. Frames are taken to be canonical: gateways let nothing else through.
 */
export function checkBatch(bytes: Uint8Array): string | undefined {
  if (bytes.length < BATCH_HEADER_BYTES) return `a batch of ${bytes.length} bytes is shorter than its header`;
  const view = viewOf(bytes);
  if (view.getUint32(BatchAt.MAGIC, true) !== BATCH_MAGIC) return 'no batch: the magic number is wrong';
  const version = view.getUint16(BatchAt.VERSION, true);
  if (version !== BATCH_VERSION) return `batch version ${version} is not known here (${BATCH_VERSION} is)`;
  const header = readBatchHeader(view);
  if (header.byteLength !== bytes.length) return `a batch says ${header.byteLength} bytes and has ${bytes.length}`;
  const suffix = suffixBytes(header.kind);
  if (suffix === undefined) return `batch kind ${header.kind} is not known`;
  let at: number = BATCH_HEADER_BYTES;
  for (let entry = 0; entry < header.count; entry++) {
    if (at + 70 > bytes.length || bytes[at] !== 0x9b) return `entry ${entry} is no frame`;
    at += frameLength(view, at);
    if (suffix > 0) {
      if (at + 4 > bytes.length) return `entry ${entry} is cut`;
      at += 4 + view.getUint32(at, true) * suffix;
    }
    if (at > bytes.length) return `entry ${entry} is cut`;
  }
  return at === bytes.length ? undefined : `${bytes.length - at} bytes follow the last entry`;
}

function suffixBytes(kind: number): number | undefined {
  if (kind === BatchKind.FRAMES) return 0;
  if (kind === BatchKind.FANOUT) return RECIPIENT_BYTES;
  return kind === BatchKind.EGRESS ? TARGET_BYTES : undefined;
}

/**
 * Builds one batch in a buffer that is kept and used again. `begin`, any number of entries, `finish`. An entry is a frame,
 * and for FANOUT and EGRESS its list: `list()` opens it, `recipient` / `target` add to it.
 */
export class BatchBuilder {
  bytes: Uint8Array;
  view: DataView;
  /** Where the next entry goes. */
  at = 0;
  count = 0;
  #listAt = -1;

  /** `initial`: bytes to begin with, or how many; when they are too few, the batch moves to others. */
  constructor(initial: number | Uint8Array = 4_096) {
    this.bytes = typeof initial === 'number' ? new Uint8Array(initial) : initial;
    this.view = viewOf(this.bytes);
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** Bytes so far, header included; 0 when not begun. */
  get byteLength(): number {
    return this.at;
  }

  begin(kind: number, source: number, sourceSeq: number, sourceEpoch: number, index = 0): void {
    this.reserve(BATCH_HEADER_BYTES, 0);
    this.bytes.fill(0, 0, BATCH_HEADER_BYTES);
    this.view.setUint32(BatchAt.MAGIC, BATCH_MAGIC, true);
    this.view.setUint16(BatchAt.VERSION, BATCH_VERSION, true);
    this.bytes[BatchAt.KIND] = kind;
    this.view.setUint32(BatchAt.SOURCE_ID, source, true);
    writeU53LE(this.view, BatchAt.SOURCE_SEQ, sourceSeq);
    this.view.setUint32(BatchAt.SOURCE_EPOCH, sourceEpoch, true);
    this.view.setUint32(BatchAt.INDEX, index, true);
    this.at = BATCH_HEADER_BYTES;
    this.count = 0;
    this.#listAt = -1;
  }

  /** Makes room for `bytes` more behind `at`; the buffer may move. */
  reserve(bytes: number, at = this.at): void {
    if (at + bytes <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(at + bytes, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
    this.view = viewOf(grown);
  }

  /** True if `bytes` more would pass the limit of a batch. */
  wouldOverflow(bytes: number): boolean {
    return this.at + bytes > BATCH_BYTES_MAX;
  }

  /** Copies a canonical frame in; returns where it lies, to be patched. */
  frame(from: Uint8Array, start: number, length: number): number {
    this.reserve(length);
    const at = this.at;
    // For frames of common sizes, set(subarray) is the fastest copy that plain JavaScript has.
    this.bytes.set(from.subarray(start, start + length), at);
    this.at = at + length;
    this.count++;
    this.#listAt = -1;
    return at;
  }

  /** Copies whole entries in, lists included. */
  append(from: Uint8Array, start: number, length: number, entries: number): void {
    this.reserve(length);
    this.bytes.set(from.subarray(start, start + length), this.at);
    this.at += length;
    this.count += entries;
    this.#listAt = -1;
  }

  /** Opens an entry of `length` bytes that the caller writes at the offset returned. */
  open(length: number): number {
    this.reserve(length);
    const at = this.at;
    this.at = at + length;
    this.count++;
    this.#listAt = -1;
    return at;
  }

  list(): void {
    this.reserve(4);
    this.#listAt = this.at;
    this.view.setUint32(this.at, 0, true);
    this.at += 4;
  }

  recipient(userLow: number, userHigh: number): void {
    this.reserve(RECIPIENT_BYTES);
    this.view.setUint32(this.at, userLow, true);
    this.view.setUint32(this.at + 4, userHigh, true);
    this.at += RECIPIENT_BYTES;
    this.view.setUint32(this.#listAt, this.view.getUint32(this.#listAt, true) + 1, true);
  }

  target(connection: number, incarnation: number, token: number, position: number, flags: number): void {
    this.reserve(TARGET_BYTES);
    const view = this.view;
    const at = this.at;
    view.setUint32(at, connection, true);
    view.setUint32(at + TargetAt.INCARNATION, incarnation, true);
    view.setUint32(at + TargetAt.TOKEN, token, true);
    view.setUint32(at + TargetAt.POSITION_LOW, position >>> 0, true);
    view.setUint32(at + TargetAt.POSITION_HIGH, Math.floor(position / 2 ** 32), true);
    view.setUint32(at + TargetAt.FLAGS, flags, true);
    this.at = at + TARGET_BYTES;
    view.setUint32(this.#listAt, view.getUint32(this.#listAt, true) + 1, true);
  }

  /** Closes the batch: a view of its bytes, valid until the next `begin`. */
  finish(): Uint8Array {
    this.view.setUint32(BatchAt.LENGTH, this.at, true);
    this.view.setUint32(BatchAt.COUNT, this.count, true);
    const bytes = this.bytes.subarray(0, this.at);
    return bytes;
  }

  /** Forgets what was built. */
  reset(): void {
    this.at = 0;
    this.count = 0;
    this.#listAt = -1;
  }
}
