/** WebSocket messages as clients send them: the same bytes for the gateway and for what it is compared with. */
import { encodeFrame, Kind, makeFrame } from '../../core/frame.js';
import { mix32 } from '../../core/ids.js';
import { Prng } from '../../core/prng.js';

/** Of frames, in one WebSocket message. */
export const FRAMES_A_MESSAGE = 16;
/** Ciphertexts as most chats have them. */
export const PAYLOAD_BYTES = 120;
export const MASK_BYTES = 4;
const CONVERSATIONS = 4_096;
const GROUP_PERCENT = 20;

export interface Chunk {
  /** Masked WebSocket messages, one behind the other. */
  readonly bytes: Buffer;
  readonly messages: number;
  readonly frames: number;
  /** Bytes of frames. */
  readonly frameBytes: number;
  /** Sum of `foldFrame` over the frames. */
  readonly hash: number;
}

/** What a frame adds to the hash of a run: what is routed, and how long it is. The order does not matter. */
export function foldFrame(conversationLow: number, counter: number, length: number): number {
  return mix32(conversationLow ^ Math.imul(counter, 0x9e37_79b1) ^ (length << 16));
}

/** A masked binary message (RFC 6455, section 5.2). */
export function maskedMessage(payload: Uint8Array, mask: number): Buffer {
  const length = payload.length;
  const lengthBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = 2 + lengthBytes + MASK_BYTES;
  const bytes = Buffer.alloc(head + length);
  bytes[0] = 0x82;
  bytes[1] = 0x80 | (lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) bytes.writeUInt16BE(length, 2);
  if (lengthBytes === 8) bytes.writeUInt32BE(length, 6);
  bytes.writeUInt32BE(mask, head - MASK_BYTES);
  for (let at = 0; at < length; at++) bytes[head + at] = payload[at]! ^ bytes[head - MASK_BYTES + (at & 3)]!;
  return bytes;
}

/** One in five frames goes to a group; conversations are drawn from many, so that frames of one message go to all partitions. */
export function makeChunk(messages: number, seed: number, payloadBytes = PAYLOAD_BYTES): Chunk {
  const random = new Prng(seed);
  const parts: Buffer[] = [];
  let frameBytes = 0;
  let hash = 0;
  for (let message = 0; message < messages; message++) {
    const frames: Uint8Array[] = [];
    for (let n = 0; n < FRAMES_A_MESSAGE; n++) {
      const isGroup = random.below(100) < GROUP_PERCENT;
      const convB = random.between(CONVERSATIONS, 2 * CONVERSATIONS - 1);
      const counter = message * FRAMES_A_MESSAGE + n + 1;
      const payload = new Uint8Array(payloadBytes).fill(random.below(256));
      const convA = isGroup ? 0 : random.between(1, CONVERSATIONS - 1);
      const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, convA, convB, counter, payload }));
      frames.push(frame);
      hash = (hash + foldFrame(convB, counter, frame.length)) >>> 0;
    }
    const payload = Buffer.concat(frames);
    frameBytes += payload.length;
    parts.push(maskedMessage(payload, random.below(2 ** 32)));
  }
  return { bytes: Buffer.concat(parts), messages, frames: messages * FRAMES_A_MESSAGE, frameBytes, hash };
}
