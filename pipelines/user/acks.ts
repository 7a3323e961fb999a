/**
 * ACK: a device has processed its inbox up to a position. Its cursor moves; what no device had acknowledged before is
 * reported to the conversations as delivered, once, by the user's fastest device; what all devices have acknowledged is freed.
 */

import type { Batch } from '../../core/batch.js';
import { At, isSequenced, Kind, readU53, writeHeader } from '../../core/frame.js';
import { isDirect, numberOfDevice, partitionOfConversation, userOfDevice } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR, FRAME_HEADER_BYTES } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import type { KeySink } from '../../core/stage.js';
import { frameAt } from './blobs.js';
import { forEachKey, openChunk, Records, removeChunk } from './cold.js';
import { resetFrame } from './deliver.js';
import { freeEntry } from './inbox.js';
import { ChunkAt, DeviceAt, EntryAt, getPair, setPair, UserAt } from './rows.js';
import { findDevice } from './sessions.js';
import type { UserState } from './state.js';

export function acknowledge(state: UserState, batch: Batch, at: number): void {
  const key = readU53(batch.view, at + At.DEVICE);
  const user = state.findUser(userOfDevice(key));
  const device = user === 0 ? 0 : findDevice(state, user, numberOfDevice(key));
  if (device !== 0) applyAck(state, user, device, readU53(batch.view, at + At.INBOX));
}

/**
 * Moves the cursor: never back, never beyond the last position handed out. If the ack covers cold chunks it goes only as far
 * as they could be read: an ack that stops for their number goes on in a later step, one whose chunk is missing stays there.
 */
export function applyAck(state: UserState, user: number, device: number, position: number): void {
  const u32 = state.memory.u32;
  if (position > getPair(u32, user + UserAt.LAST)) reached(Mark.ACK_OF_WHAT_WAS_LOST);
  if (position <= getPair(u32, device + DeviceAt.CURSOR) || position > getPair(u32, user + UserAt.LAST)) return;
  const from = reportsFrom(state, user, device);
  let upTo = position;
  if (position > from) {
    upTo = reportDelivered(state, user, from, position);
    // A device that began in the middle reports what it gets; what came before it is another's to report.
    if (from === getPair(u32, user + UserAt.DELIVERED)) setPair(u32, user + UserAt.DELIVERED, upTo);
  }
  state.touch(user);
  if (upTo <= getPair(u32, device + DeviceAt.CURSOR)) return;
  setPair(u32, device + DeviceAt.CURSOR, upTo);
  if (upTo < position) continueAck(state, user, device, position);
  freeAcknowledged(state, user);
}

/** Up to here nothing is left to report when this device acknowledges. */
function reportsFrom(state: UserState, user: number, device: number): number {
  const u32 = state.memory.u32;
  return Math.max(getPair(u32, user + UserAt.DELIVERED), getPair(u32, device + DeviceAt.CURSOR));
}

/** Says the same ack to this partition once more, for the rest. */
function continueAck(state: UserState, user: number, device: number, position: number): void {
  reached(Mark.ACK_CONTINUED);
  const frame = resetFrame(state.scratch, Kind.ACK);
  frame.device = state.idOf(user) * DEVICE_KEY_FACTOR + state.memory.u32[device + DeviceAt.NUMBER]!;
  frame.inbox = position;
  const builder = state.out.userFrames(state.partition, FRAME_HEADER_BYTES);
  // First: the builder's bytes are others when it had to grow.
  const at = builder.open(FRAME_HEADER_BYTES);
  writeHeader(builder.bytes, builder.view, at, frame, 0);
}

/** The first chunk with something behind `position`, or 0. */
export function chunkBehind(state: UserState, user: number, position: number): number {
  const u32 = state.memory.u32;
  let chunk = u32[user + UserAt.FIRST_CHUNK]!;
  while (chunk !== 0 && getPair(u32, chunk + ChunkAt.LAST) <= position) chunk = u32[chunk + ChunkAt.NEXT]!;
  return chunk;
}

/** Names the chunks that the device's ack of `position` reads, as many as one step takes. */
export function nameAcked(state: UserState, user: number, device: number, position: number, keys: KeySink): void {
  const u32 = state.memory.u32;
  let chunk = chunkBehind(state, user, reportsFrom(state, user, device));
  for (let n = 0; n < state.limits.chunksPerAck; n++) {
    if (chunk === 0 || getPair(u32, chunk + ChunkAt.FIRST) > position) return;
    forEachKey(state, user, chunk, keys);
    chunk = u32[chunk + ChunkAt.NEXT]!;
  }
}

/** Reports what lies in (from, to] as delivered, and returns up to where it could. */
function reportDelivered(state: UserState, user: number, from: number, to: number): number {
  const u32 = state.memory.u32;
  let upTo = from;
  let chunk = chunkBehind(state, user, from);
  for (let n = 0; chunk !== 0 && getPair(u32, chunk + ChunkAt.FIRST) <= to; n++) {
    if (n === state.limits.chunksPerAck || !markChunk(state, user, chunk, from, to)) {
      emitDelivered(state, user);
      return upTo;
    }
    upTo = Math.min(to, getPair(u32, chunk + ChunkAt.LAST));
    chunk = u32[chunk + ChunkAt.NEXT]!;
  }
  markHot(state, user, from, to);
  emitDelivered(state, user);
  return to;
}

function markChunk(state: UserState, user: number, chunk: number, from: number, to: number): boolean {
  const records = new Records();
  if (!openChunk(state, user, chunk, records)) return false;
  while (records.next()) {
    if (records.position > from && records.position <= to) mark(state, records.bytes, records.view, records.frame);
  }
  return true;
}

/**
 * Marks the entries in (from, to]. They lie near the front when the device follows at a distance, near the end when another
 * device is far behind: the search goes from both ends at once, and costs what the nearer one does.
 */
function markHot(state: UserState, user: number, from: number, to: number): void {
  const { u32 } = state.memory;
  let front = u32[user + UserAt.FIRST_ENTRY]!;
  let back = u32[user + UserAt.LAST_ENTRY]!;
  while (front !== 0 && back !== 0) {
    if (getPair(u32, front + EntryAt.POSITION) > from) return markRun(state, front, EntryAt.NEXT, from, to);
    if (getPair(u32, back + EntryAt.POSITION) <= to) return markRun(state, back, EntryAt.PREVIOUS, from, to);
    front = u32[front + EntryAt.NEXT]!;
    back = u32[back + EntryAt.PREVIOUS]!;
  }
}

/** Marks from an entry on, in one direction, while they lie in (from, to]. */
function markRun(state: UserState, first: number, direction: number, from: number, to: number): void {
  const { u32, u8, view } = state.memory;
  for (let entry = first; entry !== 0; entry = u32[entry + direction]!) {
    const position = getPair(u32, entry + EntryAt.POSITION);
    if (position <= from || position > to) return;
    if (isSequenced(u32[entry + EntryAt.INFO]! & 0xff)) mark(state, u8, view, frameAt(u32[entry + EntryAt.BLOB]!));
  }
}

function mark(state: UserState, bytes: Uint8Array, view: DataView, at: number): void {
  if (!isSequenced(bytes[at + At.KIND]!)) return;
  state.marks.raise(readU53(view, at + At.CONV_A), readU53(view, at + At.CONV_B), view.getUint32(at + At.SEQ));
}

/** Sends a DELIVERED for each conversation marked, except direct ones with somebody whom the user blocked. */
function emitDelivered(state: UserState, user: number): void {
  const { marks, out, conversationPartitions } = state;
  const me = state.idOf(user);
  for (let i = 0; i < marks.size; i++) {
    const a = marks.convA(i);
    const b = marks.convB(i);
    if (isDirect(a) && state.isBlocked(user, a === me ? b : a)) continue;
    const frame = resetFrame(state.scratch, Kind.DELIVERED);
    frame.convA = a;
    frame.convB = b;
    frame.device = me * DEVICE_KEY_FACTOR;
    frame.seq = marks.seq(i);
    frame.time = state.nowMs;
    const builder = out.conversation(partitionOfConversation(a, b, conversationPartitions), FRAME_HEADER_BYTES);
    const at = builder.open(FRAME_HEADER_BYTES);
    writeHeader(builder.bytes, builder.view, at, frame, 0);
    state.counters.delivered++;
  }
  marks.clear();
}

/** Frees what every registered device has acknowledged. While there is no device, everything is kept for the first. */
export function freeAcknowledged(state: UserState, user: number): void {
  const u32 = state.memory.u32;
  let device = u32[user + UserAt.FIRST_DEVICE]!;
  if (device === 0) return;
  let lowest = Infinity;
  for (; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    lowest = Math.min(lowest, getPair(u32, device + DeviceAt.CURSOR));
  }
  for (let chunk = u32[user + UserAt.FIRST_CHUNK]!; chunk !== 0; chunk = u32[user + UserAt.FIRST_CHUNK]!) {
    if (getPair(u32, chunk + ChunkAt.LAST) > lowest) break;
    removeChunk(state, user, chunk);
  }
  for (let entry = u32[user + UserAt.FIRST_ENTRY]!; entry !== 0; entry = u32[user + UserAt.FIRST_ENTRY]!) {
    if (getPair(u32, entry + EntryAt.POSITION) > lowest) break;
    freeEntry(state, user, entry);
  }
}
