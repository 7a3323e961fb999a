/**
 * The frame: one layout for everything, from socket to disk to socket.
 *
 * A frame is a msgpack array of 11 items that any msgpack library reads. In its *canonical* form every item is written in
 * one fixed-width msgpack type, so that each field sits at a constant byte offset and can be patched where it lies:
 *
 * ```text
 * offset  bytes            item      meaning
 *      0  9b                         array of 11
 *      1  cc  u8           kind      Kind.*
 *      3  cc  u8           flags     Flag.*
 *      5  cf  u64          convA     conversation: lower user, or 0 for a group
 *     14  cf  u64          convB     conversation: higher user, or the group
 *     23  cf  u64          device    sender's device key                            overwritten by the gateway
 *     32  ce  u32          counter   sender's counter in this conversation: 1, 2, 3 …
 *     37  ce  u32          seq       sequence in the conversation: 1, 2, 3 …         overwritten by the backbone
 *     42  cf  u64          inbox     position in the receiving user's inbox         overwritten by the backbone
 *     51  cf  u64          time      server time, milliseconds since 1970           overwritten by the backbone
 *     60  ce  u32          extra     by kind: time to live in seconds, role, code, ...
 *     65  c6  u32 bytes    payload   by kind: ciphertext, device table, member list, sentence
 *     70                             end of the header
 * ```
 *
 * All integers are big-endian, as msgpack has them. Numbers that are u64 on the wire stay below 2^53.
 */
import { FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX, TABLE_PAYLOAD_BYTES_MAX } from './limits.js';

export const Kind = {
  // sequenced: take a client counter and, when accepted, a sequence; delivered to every member in order
  MESSAGE: 1,
  GROUP_CREATE: 2,
  GROUP_ADD: 3,
  GROUP_REMOVE: 4,
  GROUP_LEAVE: 5,
  GROUP_ROLE: 6,
  // to the conversation stage, not sequenced
  READ: 16,
  TYPING: 17,
  INFO: 18,
  DELIVERED: 19,
  // to the user stage
  HELLO: 32,
  ACK: 33,
  WATCH: 34,
  BLOCK: 35,
  PRESENCE: 36,
  PING: 37,
  PONG: 38,
  DEVICES: 39,
  DEVICE_REMOVE: 40,
  BYE: 41,
  // from the backbone
  SENT: 48,
  REJECT: 49,
  RECEIPT: 50,
  GAP: 51,
  WELCOME: 52,
  CAUGHT_UP: 53,
  GOAWAY: 54,
  READS_TAKEN: 55,
  // between the backbone's own parts: never accepted from, never sent to, a client
  CONNECT: 64,
  DISCONNECT: 65,
  PULL: 66,
  GATEWAY_UP: 67,
  TICK: 68,
  GENERATION: 69,
  PRESENCE_NOTIFY: 70,
  SYNCED: 71,
} as const;

export type KindName = keyof typeof Kind;

export const Flag = {
  /** MESSAGE: the payload is a device table (core/device-table.ts). */
  DEVICE_TABLE: 1,
  /** MESSAGE to a device: the payload is left out: an own message, or a device without a part in the table. */
  ENVELOPE: 2,
  /** SENT: answers a frame whose counter had been taken before. */
  DUPLICATE: 4,
  /** DISCONNECT: the client said goodbye; it is offline at once. */
  CLEAN: 8,
} as const;

/** Byte offsets of the values (after each item's type byte). */
export const At = {
  KIND: 2,
  FLAGS: 4,
  CONV_A: 6,
  CONV_B: 15,
  DEVICE: 24,
  COUNTER: 33,
  SEQ: 38,
  INBOX: 43,
  TIME: 52,
  EXTRA: 61,
  LENGTH: 66,
  PAYLOAD: FRAME_HEADER_BYTES,
} as const;

const TWO_32 = 2 ** 32;
/** Highest high word of an integer below 2^53. */
const HIGH_WORD_MAX = 0x1f_ffff;

/** A frame's fields as a plain object: for edges, tests and slow paths. Hot paths read fields where they lie. */
export interface Frame {
  kind: number;
  flags: number;
  convA: number;
  convB: number;
  device: number;
  counter: number;
  seq: number;
  inbox: number;
  time: number;
  extra: number;
  payload: Uint8Array;
}

const EMPTY = new Uint8Array(0);

export function makeFrame(fields: Partial<Frame> & { kind: number }): Frame {
  return {
    flags: 0,
    convA: 0,
    convB: 0,
    device: 0,
    counter: 0,
    seq: 0,
    inbox: 0,
    time: 0,
    extra: 0,
    payload: EMPTY,
    ...fields,
  };
}

export function isSequenced(kind: number): boolean {
  return kind >= Kind.MESSAGE && kind <= Kind.GROUP_ROLE;
}

/** True for kinds that a client may send. */
export function isClientKind(kind: number): boolean {
  return (
    isSequenced(kind) ||
    (kind >= Kind.READ && kind <= Kind.INFO) ||
    (kind >= Kind.HELLO && kind <= Kind.BLOCK) ||
    kind === Kind.PING ||
    (kind >= Kind.DEVICES && kind <= Kind.BYE)
  );
}

/** True for kinds that are routed by conversation; all others are routed by user or end at the gateway. */
export function isConversationKind(kind: number): boolean {
  return isSequenced(kind) || (kind >= Kind.READ && kind <= Kind.DELIVERED);
}

export function payloadBytesMax(flags: number): number {
  return (flags & Flag.DEVICE_TABLE) !== 0 ? TABLE_PAYLOAD_BYTES_MAX : PAYLOAD_BYTES_MAX;
}

export function readU53(view: DataView, at: number): number {
  return view.getUint32(at) * TWO_32 + view.getUint32(at + 4);
}

export function writeU53(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / TWO_32));
  view.setUint32(at + 4, value >>> 0);
}

/** Length of the canonical frame at `offset`; the caller knows that a whole canonical frame is there. */
export function frameLength(view: DataView, offset: number): number {
  return FRAME_HEADER_BYTES + view.getUint32(offset + At.LENGTH);
}

/** Outcome of looking at untrusted bytes: a positive number is the frame's length in bytes. */
export const Scan = {
  /** Well-formed msgpack may follow, but not in canonical form: take the slow path. */
  NOT_CANONICAL: -1,
  TRUNCATED: -2,
  TOO_LARGE: -3,
} as const;

/**
 * Looks at the untrusted bytes [offset, end): if a canonical frame starts there, its length; otherwise a Scan code.
 * Reads no payload byte. Integers of 2^53 or more are not canonical, and the slow path refuses them.
 */
export function scanFrame(bytes: Uint8Array, view: DataView, offset: number, end: number): number {
  if (offset >= end) return Scan.TRUNCATED;
  if (bytes[offset] !== 0x9b) return Scan.NOT_CANONICAL;
  if (offset + FRAME_HEADER_BYTES > end) return Scan.NOT_CANONICAL;
  if (
    bytes[offset + 1] !== 0xcc ||
    bytes[offset + 3] !== 0xcc ||
    bytes[offset + 5] !== 0xcf ||
    bytes[offset + 14] !== 0xcf ||
    bytes[offset + 23] !== 0xcf ||
    bytes[offset + 32] !== 0xce ||
    bytes[offset + 37] !== 0xce ||
    bytes[offset + 42] !== 0xcf ||
    bytes[offset + 51] !== 0xcf ||
    bytes[offset + 60] !== 0xce ||
    bytes[offset + 65] !== 0xc6
  ) {
    return Scan.NOT_CANONICAL;
  }
  if (
    view.getUint32(offset + At.CONV_A) > HIGH_WORD_MAX ||
    view.getUint32(offset + At.CONV_B) > HIGH_WORD_MAX ||
    view.getUint32(offset + At.DEVICE) > HIGH_WORD_MAX ||
    view.getUint32(offset + At.INBOX) > HIGH_WORD_MAX ||
    view.getUint32(offset + At.TIME) > HIGH_WORD_MAX
  ) {
    return Scan.NOT_CANONICAL;
  }
  const payloadBytes = view.getUint32(offset + At.LENGTH);
  if (payloadBytes > payloadBytesMax(bytes[offset + At.FLAGS]!)) return Scan.TOO_LARGE;
  const length = FRAME_HEADER_BYTES + payloadBytes;
  return offset + length > end ? Scan.TRUNCATED : length;
}

/** Writes the header of a canonical frame with a payload of `payloadBytes`; the payload itself is the caller's. */
export function writeHeader(
  bytes: Uint8Array,
  view: DataView,
  offset: number,
  frame: Frame,
  payloadBytes: number,
): void {
  bytes[offset] = 0x9b;
  bytes[offset + 1] = 0xcc;
  bytes[offset + 2] = frame.kind;
  bytes[offset + 3] = 0xcc;
  bytes[offset + 4] = frame.flags;
  bytes[offset + 5] = 0xcf;
  writeU53(view, offset + At.CONV_A, frame.convA);
  bytes[offset + 14] = 0xcf;
  writeU53(view, offset + At.CONV_B, frame.convB);
  bytes[offset + 23] = 0xcf;
  writeU53(view, offset + At.DEVICE, frame.device);
  bytes[offset + 32] = 0xce;
  view.setUint32(offset + At.COUNTER, frame.counter);
  bytes[offset + 37] = 0xce;
  view.setUint32(offset + At.SEQ, frame.seq);
  bytes[offset + 42] = 0xcf;
  writeU53(view, offset + At.INBOX, frame.inbox);
  bytes[offset + 51] = 0xcf;
  writeU53(view, offset + At.TIME, frame.time);
  bytes[offset + 60] = 0xce;
  view.setUint32(offset + At.EXTRA, frame.extra);
  bytes[offset + 65] = 0xc6;
  view.setUint32(offset + At.LENGTH, payloadBytes);
}

/** Writes a whole canonical frame; returns the offset behind it. The caller has made room. */
export function writeFrame(bytes: Uint8Array, view: DataView, offset: number, frame: Frame): number {
  writeHeader(bytes, view, offset, frame, frame.payload.length);
  bytes.set(frame.payload, offset + FRAME_HEADER_BYTES);
  return offset + FRAME_HEADER_BYTES + frame.payload.length;
}

export function encodeFrame(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + frame.payload.length);
  writeFrame(bytes, viewOf(bytes), 0, frame);
  return bytes;
}

/** Reads the canonical frame at `offset`, which the caller has scanned. The payload is a view, not a copy. */
export function readFrame(bytes: Uint8Array, view: DataView, offset: number): Frame {
  const payloadAt = offset + FRAME_HEADER_BYTES;
  return {
    kind: bytes[offset + At.KIND]!,
    flags: bytes[offset + At.FLAGS]!,
    convA: readU53(view, offset + At.CONV_A),
    convB: readU53(view, offset + At.CONV_B),
    device: readU53(view, offset + At.DEVICE),
    counter: view.getUint32(offset + At.COUNTER),
    seq: view.getUint32(offset + At.SEQ),
    inbox: readU53(view, offset + At.INBOX),
    time: readU53(view, offset + At.TIME),
    extra: view.getUint32(offset + At.EXTRA),
    payload: bytes.subarray(payloadAt, payloadAt + view.getUint32(offset + At.LENGTH)),
  };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads every canonical frame of a trusted buffer. For tests and slow paths. */
export function readFrames(bytes: Uint8Array): Frame[] {
  const view = viewOf(bytes);
  const frames: Frame[] = [];
  for (let offset = 0; offset < bytes.length; offset += frameLength(view, offset)) {
    frames.push(readFrame(bytes, view, offset));
  }
  return frames;
}
