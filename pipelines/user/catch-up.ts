/**
 * Catch-up: a connection gets its inbox in bounded pieces, cold chunks first, then what is in memory. While it catches up,
 * what comes new waits in the inbox like the rest; the step that sends the last entry makes the connection live, so nothing
 * can come between. A piece that is not the last ends with PULL, and the gateway asks for the next one with PULL.
 */

import { Kind } from '../../core/frame.js';
import { Mark, reached } from '../../core/probe.js';
import type { KeySink } from '../../core/stage.js';
import { chunkBehind } from './acks.js';
import { frameAt } from './blobs.js';
import { forEachKey, openChunk, Records } from './cold.js';
import { resetFrame, sendEntry, sendFrame } from './deliver.js';
import { BlobAt, ChunkAt, DeviceAt, EntryAt, getPair, Mode, setPair, UserAt } from './rows.js';
import type { UserState } from './state.js';
import { refreshUpdates } from './updates.js';

/** A chunk that the store does not have is asked for so often, in case it was only not named in time. */
const MISSES_MAX = 8;

/** A piece in the making. */
interface Piece {
  scanned: number;
  sent: number;
  bytes: number;
  entries: number;
}

const End = { COMPLETE: 0, FULL: 1, MISSING: 2 } as const;
type End = (typeof End)[keyof typeof End];

/** Sends the next piece to a device in mode CATCH_UP. */
export function catchUp(state: UserState, user: number, device: number): void {
  const u32 = state.memory.u32;
  const scanned = getPair(u32, device + DeviceAt.SCANNED);
  const piece: Piece = { scanned, sent: getPair(u32, device + DeviceAt.SENT), bytes: 0, entries: 0 };
  let end = sendCold(state, user, device, piece);
  if (end === End.COMPLETE) end = sendHot(state, user, device, piece);
  setPair(u32, device + DeviceAt.SCANNED, piece.scanned);
  setPair(u32, device + DeviceAt.SENT, piece.sent);
  if (end === End.COMPLETE) {
    becomeLive(state, user, device);
    return;
  }
  const isStuck = end === End.MISSING && piece.scanned === scanned;
  u32[device + DeviceAt.MISSES] = isStuck ? u32[device + DeviceAt.MISSES]! + 1 : 0;
  reached(Mark.CATCH_UP_IN_PIECES);
  if (u32[device + DeviceAt.MISSES]! > MISSES_MAX) return;
  const frame = resetFrame(state.scratch, Kind.PULL);
  frame.inbox = piece.sent;
  sendFrame(state, device, frame, 0, 0);
}

function sendCold(state: UserState, user: number, device: number, piece: Piece): End {
  const u32 = state.memory.u32;
  const records = new Records();
  let chunk = chunkBehind(state, user, piece.scanned);
  for (; chunk !== 0; chunk = u32[chunk + ChunkAt.NEXT]!) {
    if (isFull(state, piece, 0)) return End.FULL;
    if (!openChunk(state, user, chunk, records)) return End.MISSING;
    while (records.next()) {
      if (records.position <= piece.scanned) continue;
      const { bytes, view, frame, length, position, deadlineMs } = records;
      if (isFull(state, piece, length)) return End.FULL;
      note(state, piece, position, sendEntry(state, user, device, bytes, view, frame, position, deadlineMs));
    }
    piece.scanned = getPair(u32, chunk + ChunkAt.LAST);
  }
  return End.COMPLETE;
}

function sendHot(state: UserState, user: number, device: number, piece: Piece): End {
  const { u32, u8, view } = state.memory;
  for (let entry = u32[user + UserAt.FIRST_ENTRY]!; entry !== 0; entry = u32[entry + EntryAt.NEXT]!) {
    const position = getPair(u32, entry + EntryAt.POSITION);
    if (position <= piece.scanned) continue;
    const blob = u32[entry + EntryAt.BLOB]!;
    if (isFull(state, piece, u32[blob + BlobAt.LENGTH]!)) return End.FULL;
    const deadlineMs = getPair(u32, blob + BlobAt.DEADLINE);
    note(state, piece, position, sendEntry(state, user, device, u8, view, frameAt(blob), position, deadlineMs));
  }
  return End.COMPLETE;
}

/** True if a piece has no room for `more` bytes. One entry always fits. */
function isFull(state: UserState, piece: Piece, more: number): boolean {
  const { catchUpEntries, catchUpBytes } = state.limits;
  return piece.entries > 0 && (piece.entries >= catchUpEntries || piece.bytes + more > catchUpBytes);
}

function note(state: UserState, piece: Piece, position: number, sentBytes: number): void {
  piece.scanned = position;
  if (sentBytes === 0) return;
  piece.sent = position;
  piece.bytes += sentBytes;
  piece.entries++;
  state.counters.catchUpDeliveries++;
}

function becomeLive(state: UserState, user: number, device: number): void {
  const u32 = state.memory.u32;
  reached(Mark.CATCH_UP_WENT_LIVE);
  u32[device + DeviceAt.MODE] = Mode.LIVE;
  u32[device + DeviceAt.MISSES] = 0;
  const frame = resetFrame(state.scratch, Kind.CAUGHT_UP);
  frame.inbox = getPair(u32, user + UserAt.LAST);
  frame.time = state.nowMs;
  sendFrame(state, device, frame, 0, 0);
  refreshUpdates(state, user);
}

/** Names the chunks that a piece from `scanned` on reads. */
export function namePiece(state: UserState, user: number, scanned: number, keys: KeySink): void {
  const u32 = state.memory.u32;
  let bytes = 0;
  for (let chunk = chunkBehind(state, user, scanned); chunk !== 0; chunk = u32[chunk + ChunkAt.NEXT]!) {
    if (bytes > state.limits.catchUpBytes) return;
    forEachKey(state, user, chunk, keys);
    bytes += u32[chunk + ChunkAt.BYTES]!;
  }
}
