/**
 * What the load generator writes into a message, so that the receiver can verify it alone:
 *
 * ```text
 * offset  type
 *      0  u32   run: random for each run
 *      4  f64   intended time, ms of the machine's monotonic clock (clock.ts)
 *     12  u32   sender, as a device index of the run's population
 *     16  u32   conversation index of the run's population
 *     20  u32   serial: 1, 2, 3 … of this sender, over all its conversations
 *     24  u32   checksum over everything else
 *     28        filler
 * ```
 */
import { viewOf } from '../../core/frame.js';
import { mix32 } from '../../core/ids.js';

/** Bytes of the tag: the shortest payload. */
export const TAG_BYTES = 28;

const CHECKSUM_AT = 24;
const FILLER_BYTES = 65_536;

const filler = new Uint8Array(FILLER_BYTES);
for (let i = 0; i < FILLER_BYTES; i++) filler[i] = mix32(i + 1) & 0xff;

export interface Tag {
  run: number;
  intendedMs: number;
  sender: number;
  conversation: number;
  serial: number;
}

/** Of the payload at [start, end). */
function checksum(view: DataView, start: number, end: number): number {
  let h = (end - start) | 0;
  let at = start;
  for (; at < start + CHECKSUM_AT; at += 4) h = Math.imul(h ^ view.getUint32(at), 0x85eb_ca6b) ^ (h >>> 15);
  at = start + TAG_BYTES;
  for (; at + 4 <= end; at += 4) h = Math.imul(h ^ view.getUint32(at), 0x85eb_ca6b) ^ (h >>> 15);
  for (; at < end; at++) h = Math.imul(h ^ view.getUint8(at), 0x85eb_ca6b) ^ (h >>> 15);
  return mix32(h);
}

/** A payload of `length` bytes, at least TAG_BYTES. */
export function makePayload(tag: Tag, length: number): Uint8Array {
  // From Node's pool: every byte is written below.
  const bytes = Buffer.allocUnsafe(Math.max(TAG_BYTES, length));
  const view = viewOf(bytes);
  view.setUint32(0, tag.run);
  view.setFloat64(4, tag.intendedMs);
  view.setUint32(12, tag.sender);
  view.setUint32(16, tag.conversation);
  view.setUint32(20, tag.serial);
  if (bytes.length > TAG_BYTES) bytes.set(filler.subarray(0, bytes.length - TAG_BYTES), TAG_BYTES);
  view.setUint32(CHECKSUM_AT, checksum(view, 0, bytes.length));
  return bytes;
}

/** Reads the payload at [start, end) into `tag`; false if these are not bytes that makePayload made. */
export function readPayload(view: DataView, start: number, end: number, tag: Tag): boolean {
  if (end - start < TAG_BYTES) return false;
  if (view.getUint32(start + CHECKSUM_AT) !== checksum(view, start, end)) return false;
  tag.run = view.getUint32(start);
  tag.intendedMs = view.getFloat64(start + 4);
  tag.sender = view.getUint32(start + 12);
  tag.conversation = view.getUint32(start + 16);
  tag.serial = view.getUint32(start + 20);
  return true;
}
