/**
 * From an inbox entry to connections. One set of rules, whether an entry goes out when it comes (live) or later (catch-up):
 *
 * | entry | the device gets |
 * |---|---|
 * | sequenced, past its deadline | GAP, reason 1 |
 * | sequenced, from a blocked user | GAP, reason 2 |
 * | sequenced, sent by this device | the header, to be made SENT |
 * | sequenced, with a device table | its own part, or the header as an envelope |
 * | REJECT | the frame, if it is the device that is answered; nothing otherwise |
 * | RECEIPT of a blocked user; anything else past its deadline | nothing |
 * | all others | the frame |
 */

import { type BatchBuilder, TARGET_BYTES, TargetFlag } from '../../core/batch.js';
import { At, Flag, type Frame, frameLength, isSequenced, Kind, readU53, writeFrame } from '../../core/frame.js';
import { DEVICE_KEY_FACTOR, FRAME_HEADER_BYTES } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import { frameAt } from './blobs.js';
import { appendEntry, replaceOlder } from './inbox.js';
import { BlobAt, DeviceAt, EntryAt, getPair, Mode, UserAt } from './rows.js';
import type { UserState } from './state.js';

/** Reasons in a GAP's `extra` (docs/protocol.md). */
export const GapReason = { EXPIRED: 1, BLOCKED: 2 } as const;

const ONE_TARGET_BYTES = 4 + TARGET_BYTES;

function addTarget(state: UserState, builder: BatchBuilder, device: number, position: number, flags: number): void {
  const u32 = state.memory.u32;
  builder.list();
  builder.target(
    u32[device + DeviceAt.CONNECTION]!,
    u32[device + DeviceAt.INCARNATION]!,
    u32[device + DeviceAt.TOKEN]!,
    position,
    flags,
  );
}

/** Sends a frame to the device's connection. Position 0: not part of the inbox. */
export function sendFrame(state: UserState, device: number, frame: Frame, position: number, flags: number): void {
  const length = FRAME_HEADER_BYTES + frame.payload.length;
  const gateway = state.memory.u32[device + DeviceAt.GATEWAY]!;
  const builder = state.out.gateway(gateway, length + ONE_TARGET_BYTES);
  const at = builder.open(length);
  writeFrame(builder.bytes, builder.view, at, frame);
  addTarget(state, builder, device, position, flags);
}

/** Sends the canonical frame at `at` to the device's connection. */
function sendBytes(
  state: UserState,
  device: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  position: number,
  flags: number,
): BatchBuilder {
  const gateway = state.memory.u32[device + DeviceAt.GATEWAY]!;
  const builder = state.out.gateway(gateway, length + ONE_TARGET_BYTES);
  builder.frame(bytes, at, length);
  addTarget(state, builder, device, position, flags);
  return builder;
}

/** Sends the header of the frame at `at`, payload left out. */
function sendHeader(
  state: UserState,
  device: number,
  bytes: Uint8Array,
  at: number,
  position: number,
  flags: number,
): void {
  const gateway = state.memory.u32[device + DeviceAt.GATEWAY]!;
  const builder = state.out.gateway(gateway, FRAME_HEADER_BYTES + ONE_TARGET_BYTES);
  const to = builder.frame(bytes, at, FRAME_HEADER_BYTES);
  builder.view.setUint32(to + At.LENGTH, 0);
  builder.bytes[to + At.FLAGS] = (bytes[at + At.FLAGS]! & ~Flag.DEVICE_TABLE) | Flag.ENVELOPE;
  addTarget(state, builder, device, position, flags);
}

/** Sends the part of a loaded device table as a frame of its own. */
function sendPart(
  state: UserState,
  device: number,
  bytes: Uint8Array,
  at: number,
  part: number,
  position: number,
): void {
  const start = state.table.start(part);
  const length = state.table.length(part);
  const gateway = state.memory.u32[device + DeviceAt.GATEWAY]!;
  const builder = state.out.gateway(gateway, FRAME_HEADER_BYTES + length + ONE_TARGET_BYTES);
  const to = builder.open(FRAME_HEADER_BYTES + length);
  builder.bytes.set(bytes.subarray(at, at + FRAME_HEADER_BYTES), to);
  builder.bytes.set(bytes.subarray(start, start + length), to + FRAME_HEADER_BYTES);
  builder.view.setUint32(to + At.LENGTH, length);
  builder.bytes[to + At.FLAGS]! &= ~Flag.DEVICE_TABLE;
  addTarget(state, builder, device, position, 0);
}

/** The GAP frame that stands for the sequenced frame at `at`; valid until the scratch frame is used again. */
export function gapFor(state: UserState, view: DataView, at: number, reason: number): Frame {
  const frame = state.scratch;
  resetFrame(frame, Kind.GAP);
  frame.convA = readU53(view, at + At.CONV_A);
  frame.convB = readU53(view, at + At.CONV_B);
  frame.seq = view.getUint32(at + At.SEQ);
  frame.time = state.nowMs;
  frame.extra = reason;
  return frame;
}

const NO_PAYLOAD = new Uint8Array(0);

export function resetFrame(frame: Frame, kind: number): Frame {
  frame.kind = kind;
  frame.flags = 0;
  frame.convA = 0;
  frame.convB = 0;
  frame.device = 0;
  frame.counter = 0;
  frame.seq = 0;
  frame.inbox = 0;
  frame.time = 0;
  frame.extra = 0;
  frame.payload = NO_PAYLOAD;
  return frame;
}

/** The user of the device named in the frame at `at`. */
export function frameUser(view: DataView, at: number): number {
  return Math.floor(readU53(view, at + At.DEVICE) / DEVICE_KEY_FACTOR);
}

/** Reason for a GAP in place of the sequenced frame at `at`, or 0. */
export function gapReason(state: UserState, user: number, view: DataView, at: number, deadlineMs: number): number {
  if (deadlineMs !== 0 && deadlineMs <= state.nowMs) {
    reached(Mark.GAP_FOR_AN_EXPIRED_MESSAGE);
    return GapReason.EXPIRED;
  }
  if (state.memory.u32[user + UserAt.BLOCKS] === 0) return 0;
  if (!state.isBlocked(user, frameUser(view, at))) return 0;
  reached(Mark.GAP_FOR_A_BLOCKED_SENDER);
  return GapReason.BLOCKED;
}

/**
 * Sends one entry, wherever its bytes lie, to one device by the rules above. Returns the bytes of the frame sent, 0 if the
 * device does not get this entry.
 */
export function sendEntry(
  state: UserState,
  user: number,
  device: number,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  position: number,
  deadlineMs: number,
): number {
  const kind = bytes[at + At.KIND]!;
  const length = frameLength(view, at);
  if (isSequenced(kind)) return sendSequenced(state, user, device, bytes, view, at, position, deadlineMs);
  if (deadlineMs !== 0 && deadlineMs <= state.nowMs) return 0;
  if (kind === Kind.RECEIPT && state.isBlocked(user, frameUser(view, at))) return 0;
  if (kind === Kind.REJECT && readU53(view, at + At.DEVICE) !== deviceKeyOf(state, user, device)) return 0;
  sendBytes(state, device, bytes, at, length, position, 0);
  return length;
}

function deviceKeyOf(state: UserState, user: number, device: number): number {
  return state.idOf(user) * DEVICE_KEY_FACTOR + state.memory.u32[device + DeviceAt.NUMBER]!;
}

function sendSequenced(
  state: UserState,
  user: number,
  device: number,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  position: number,
  deadlineMs: number,
): number {
  const reason = gapReason(state, user, view, at, deadlineMs);
  if (reason !== 0) {
    sendFrame(state, device, gapFor(state, view, at, reason), position, 0);
    return FRAME_HEADER_BYTES;
  }
  const key = deviceKeyOf(state, user, device);
  if (readU53(view, at + At.DEVICE) === key) {
    sendHeader(state, device, bytes, at, position, TargetFlag.SENT);
    return FRAME_HEADER_BYTES;
  }
  if ((bytes[at + At.FLAGS]! & Flag.DEVICE_TABLE) === 0) {
    const length = frameLength(view, at);
    sendBytes(state, device, bytes, at, length, position, 0);
    return length;
  }
  state.table.load(view, at);
  const part = state.table.find(key);
  if (part < 0) {
    sendHeader(state, device, bytes, at, position, TargetFlag.ENVELOPE);
    return FRAME_HEADER_BYTES;
  }
  sendPart(state, device, bytes, at, part, position);
  return FRAME_HEADER_BYTES + state.table.length(part);
}

/**
 * Collects the user's live connections for the sequenced frame that is fanned out. `sender`: number of the sending device
 * if it is one of this user's, else 0.
 */
export function collectLive(state: UserState, user: number, position: number, sender: number): void {
  const u32 = state.memory.u32;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] !== Mode.LIVE) continue;
    state.counters.liveDeliveries++;
    state.targets.add(
      u32[device + DeviceAt.GATEWAY]!,
      u32[device + DeviceAt.CONNECTION]!,
      u32[device + DeviceAt.INCARNATION]!,
      u32[device + DeviceAt.TOKEN]!,
      position,
      u32[device + DeviceAt.NUMBER] === sender ? TargetFlag.SENT : 0,
    );
  }
}

/** The same for a frame with a device table, which `state.table` has loaded: parts go out at once, envelopes are collected. */
export function collectLiveTable(
  state: UserState,
  user: number,
  position: number,
  sender: number,
  bytes: Uint8Array,
  at: number,
): void {
  const u32 = state.memory.u32;
  const firstKey = state.idOf(user) * DEVICE_KEY_FACTOR;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] !== Mode.LIVE) continue;
    state.counters.liveDeliveries++;
    const number = u32[device + DeviceAt.NUMBER]!;
    const part = number === sender ? -1 : state.table.find(firstKey + number);
    if (part >= 0) {
      sendPart(state, device, bytes, at, part, position);
      continue;
    }
    state.targets.add(
      u32[device + DeviceAt.GATEWAY]!,
      u32[device + DeviceAt.CONNECTION]!,
      u32[device + DeviceAt.INCARNATION]!,
      u32[device + DeviceAt.TOKEN]!,
      position,
      number === sender ? TargetFlag.SENT : TargetFlag.ENVELOPE,
    );
  }
}

/** Sends an entry of the user's own (not fanned out to many) to all its live connections. */
export function sendLive(state: UserState, user: number, entry: number): void {
  const { u32, u8, view } = state.memory;
  const blob = u32[entry + EntryAt.BLOB]!;
  const deadlineMs = getPair(u32, blob + BlobAt.DEADLINE);
  const position = getPair(u32, entry + EntryAt.POSITION);
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] !== Mode.LIVE) continue;
    const sent = sendEntry(state, user, device, u8, view, frameAt(blob), position, deadlineMs);
    if (sent > 0) state.counters.liveDeliveries++;
  }
}

/** Sends the frame at `at` to a connected device, outside the inbox. */
export function sendTransient(state: UserState, device: number, bytes: Uint8Array, at: number, length: number): void {
  sendBytes(state, device, bytes, at, length, 0, TargetFlag.TRANSIENT);
}

/** Appends an entry that may replace an older one, and sends it to the user's live connections. */
export function keepAlone(state: UserState, user: number, blob: number): void {
  replaceOlder(state, user, blob);
  sendLive(state, user, appendEntry(state, user, blob));
}
