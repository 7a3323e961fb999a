/** Frames in memory that inbox entries share, counted. */
import { At, type Frame, writeHeader } from '../../core/frame.js';
import { FRAME_HEADER_BYTES } from '../../core/limits.js';
import { BLOB_HEADER_BYTES, BlobAt, setPair } from './rows.js';
import type { UserState } from './state.js';

/** Beside the frame's bytes, what an exported blob takes. */
const BLOB_EXPORT_BYTES = 40;

/** Room for a frame of `length` bytes, not referenced yet. The caller fills it. */
export function allocBlob(state: UserState, length: number, arrivedMs: number, deadlineMs: number): number {
  const blob = state.memory.alloc(BLOB_HEADER_BYTES + length) >>> 2;
  const u32 = state.memory.u32;
  u32[blob + BlobAt.LENGTH] = length;
  setPair(u32, blob + BlobAt.DEADLINE, deadlineMs);
  setPair(u32, blob + BlobAt.ARRIVED, arrivedMs);
  state.blobs++;
  state.dirtyBytes += length + BLOB_EXPORT_BYTES;
  return blob;
}

/** A blob with a copy of the canonical frame at `at`, arrived now. */
export function copyToBlob(
  state: UserState,
  bytes: Uint8Array,
  at: number,
  length: number,
  deadlineMs: number,
): number {
  const blob = allocBlob(state, length, state.nowMs, deadlineMs);
  state.memory.u8.set(bytes.subarray(at, at + length), frameAt(blob));
  return blob;
}

/** A blob with the frame given, arrived now. */
export function makeBlob(state: UserState, frame: Frame, deadlineMs: number): number {
  const blob = allocBlob(state, FRAME_HEADER_BYTES + frame.payload.length, state.nowMs, deadlineMs);
  const at = frameAt(blob);
  writeHeader(state.memory.u8, state.memory.view, at, frame, frame.payload.length);
  state.memory.u8.set(frame.payload, at + FRAME_HEADER_BYTES);
  return blob;
}

/** Byte offset of the blob's frame in the memory. */
export function frameAt(blob: number): number {
  return (blob + BlobAt.FRAME) * 4;
}

export function retainBlob(state: UserState, blob: number): void {
  state.memory.u32[blob + BlobAt.REFERENCES]!++;
}

export function releaseBlob(state: UserState, blob: number): void {
  const u32 = state.memory.u32;
  const references = u32[blob + BlobAt.REFERENCES]! - 1;
  u32[blob + BlobAt.REFERENCES] = references;
  if (references > 0) return;
  const length = u32[blob + BlobAt.LENGTH]!;
  if (u32[blob + BlobAt.EXPORT_RUN] === 0) state.dirtyBytes -= length + BLOB_EXPORT_BYTES;
  state.blobs--;
  state.memory.free(blob * 4, BLOB_HEADER_BYTES + length);
}

/** True if two frames at byte offsets of one view are of the same conversation. */
export function sameConversation(view: DataView, one: number, other: number): boolean {
  return (
    view.getUint32(one + At.CONV_B + 4) === view.getUint32(other + At.CONV_B + 4) &&
    view.getUint32(one + At.CONV_B) === view.getUint32(other + At.CONV_B) &&
    view.getUint32(one + At.CONV_A + 4) === view.getUint32(other + At.CONV_A + 4) &&
    view.getUint32(one + At.CONV_A) === view.getUint32(other + At.CONV_A)
  );
}

export function sameDevice(view: DataView, one: number, other: number): boolean {
  return (
    view.getUint32(one + At.DEVICE + 4) === view.getUint32(other + At.DEVICE + 4) &&
    view.getUint32(one + At.DEVICE) === view.getUint32(other + At.DEVICE)
  );
}
