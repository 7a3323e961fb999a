/**
 * Devices and their connections.
 *
 * | mode | CONNECT | PULL | DISCONNECT | DISCONNECT, CLEAN | GATEWAY_UP | time |
 * |---|---|---|---|---|---|---|
 * | OFFLINE | CATCH_UP | | | | | unregistered when idle for long |
 * | GRACE | CATCH_UP | | | | | OFFLINE |
 * | CATCH_UP | the other connection goes away | next piece; LIVE after the last | GRACE | OFFLINE | GRACE | |
 * | LIVE | the other connection goes away | with a higher token: CATCH_UP | GRACE | OFFLINE | GRACE | |
 *
 * Every frame may come twice, or late: a frame that does not name the device's present connection changes nothing. A connection
 * of a device that is new stays in CATCH_UP without being sent anything until SYNCED comes (newcomers.ts).
 */

import { type Batch, TARGET_BYTES, TargetFlag } from '../../core/batch.js';
import { CloseCodes } from '../../core/errors.js';
import { At, Flag, Kind, readU53, writeFrame } from '../../core/frame.js';
import { highWord, isDeviceNumber, isUserId, lowWord, numberOfDevice, userOfDevice } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR, FRAME_HEADER_BYTES, HEARTBEAT_MS } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import { applyAck, freeAcknowledged } from './acks.js';
import { catchUp } from './catch-up.js';
import { resetFrame, sendFrame } from './deliver.js';
import { graceAtMs, idleAtMs } from './due.js';
import { awaitSync, endAwait, isUnsynced } from './newcomers.js';
import { setOnline } from './presence.js';
import { DeviceAt, getPair, Mode, setPair, UserAt } from './rows.js';
import type { UserState } from './state.js';

/** The user's device with this number, or 0. */
export function findDevice(state: UserState, user: number, number: number): number {
  const u32 = state.memory.u32;
  let device = u32[user + UserAt.FIRST_DEVICE]!;
  while (device !== 0 && u32[device + DeviceAt.NUMBER] !== number) device = u32[device + DeviceAt.NEXT]!;
  return device;
}

/** The registered device with this key, if it is connected, or 0. */
export function findConnected(state: UserState, key: number): number {
  const user = state.findUser(userOfDevice(key));
  const device = user === 0 ? 0 : findDevice(state, user, numberOfDevice(key));
  return device !== 0 && isConnected(state, device) ? device : 0;
}

export function isConnected(state: UserState, device: number): boolean {
  return state.memory.u32[device + DeviceAt.MODE]! >= Mode.CATCH_UP;
}

/** Links a new device, in order of number. */
export function addDevice(state: UserState, user: number, number: number): number {
  const device = state.devices.alloc();
  const u32 = state.memory.u32;
  let before = 0;
  let after = u32[user + UserAt.FIRST_DEVICE]!;
  while (after !== 0 && u32[after + DeviceAt.NUMBER]! < number) {
    before = after;
    after = u32[after + DeviceAt.NEXT]!;
  }
  u32[device + DeviceAt.NEXT] = after;
  u32[device + DeviceAt.NUMBER] = number;
  if (before === 0) u32[user + UserAt.FIRST_DEVICE] = device;
  else u32[before + DeviceAt.NEXT] = device;
  u32[user + UserAt.DEVICES]!++;
  return device;
}

/** Unlinks and frees a device. What it alone had not acknowledged is the caller's to free. */
export function freeDevice(state: UserState, user: number, device: number): void {
  endAwait(state, user, device);
  const u32 = state.memory.u32;
  const after = u32[device + DeviceAt.NEXT]!;
  let before = u32[user + UserAt.FIRST_DEVICE]!;
  if (before === device) {
    u32[user + UserAt.FIRST_DEVICE] = after;
  } else {
    while (u32[before + DeviceAt.NEXT] !== device) before = u32[before + DeviceAt.NEXT]!;
    u32[before + DeviceAt.NEXT] = after;
  }
  u32[user + UserAt.DEVICES]!--;
  state.devices.free(device);
}

/** CONNECT: `convA` gateway × 2^32 + incarnation, `convB` connection, `inbox` the client's cursor, `extra` token. */
export function connect(state: UserState, batch: Batch, at: number): void {
  const { view } = batch;
  const key = readU53(view, at + At.DEVICE);
  const userId = userOfDevice(key);
  const number = numberOfDevice(key);
  if (!isUserId(userId) || !isDeviceNumber(number)) {
    state.counters.ignoredFrames++;
    return;
  }
  const user = state.ensureUser(lowWord(userId), highWord(userId));
  let device = findDevice(state, user, number);
  if (device !== 0 && names(state, device, view, at)) return reached(Mark.CONNECT_REPEATED);
  if (device === 0) {
    if (state.memory.u32[user + UserAt.DEVICES]! >= state.limits.devicesPerUser) {
      refuse(state, view, at, CloseCodes.DEVICE_REMOVED.code);
      return;
    }
    device = register(state, user, number);
    awaitSync(state, user, device, state.offset);
  } else if (isUnsynced(state, device)) reached(Mark.NEW_DEVICE_CAME_AGAIN_BEFORE_IT_WAS_SYNCED);
  if (isConnected(state, device)) {
    reached(Mark.CONNECTION_REPLACED);
    goAway(state, device, CloseCodes.REPLACED.code);
  } else if (state.memory.u32[device + DeviceAt.MODE] === Mode.GRACE) reached(Mark.SESSION_RESUMED);
  attach(state, device, view, at);
  setLastSeen(state, user, device);
  setOnline(state, user, true);
  state.touch(user);
  const claimed = readU53(view, at + At.INBOX);
  if (claimed <= getPair(state.memory.u32, user + UserAt.LAST)) applyAck(state, user, device, claimed);
  const u32 = state.memory.u32;
  const cursor = getPair(u32, device + DeviceAt.CURSOR);
  const isKnown = claimed <= getPair(u32, user + UserAt.LAST);
  if (!isKnown) reached(Mark.CURSOR_NEVER_HANDED_OUT);
  setPair(u32, device + DeviceAt.SCANNED, isKnown ? Math.max(claimed, cursor) : cursor);
  if (!isUnsynced(state, device)) welcome(state, user, device);
}

/** The connection hears that its session stands, and what there is for it. */
export function welcome(state: UserState, user: number, device: number): void {
  greet(state, user, device);
  catchUp(state, user, device);
}

/** The first device gets all that was kept so far; a further one begins now. */
function register(state: UserState, user: number, number: number): number {
  const device = addDevice(state, user, number);
  const u32 = state.memory.u32;
  if (u32[user + UserAt.DEVICES]! > 1) setPair(u32, device + DeviceAt.CURSOR, getPair(u32, user + UserAt.LAST));
  return device;
}

function attach(state: UserState, device: number, view: DataView, at: number): void {
  const u32 = state.memory.u32;
  u32[device + DeviceAt.MODE] = Mode.CATCH_UP;
  u32[device + DeviceAt.GATEWAY] = view.getUint32(at + At.CONV_A);
  u32[device + DeviceAt.INCARNATION] = view.getUint32(at + At.CONV_A + 4);
  u32[device + DeviceAt.CONNECTION] = view.getUint32(at + At.CONV_B + 4);
  u32[device + DeviceAt.TOKEN] = view.getUint32(at + At.EXTRA);
  setPair(u32, device + DeviceAt.SENT, 0);
  setPair(u32, device + DeviceAt.GRACE_ENDS, 0);
  u32[device + DeviceAt.MISSES] = 0;
}

function detach(state: UserState, device: number, mode: number): void {
  const u32 = state.memory.u32;
  u32[device + DeviceAt.MODE] = mode;
  for (let word = DeviceAt.GATEWAY; word <= DeviceAt.TOKEN; word++) u32[device + word] = 0;
  setPair(u32, device + DeviceAt.SENT, 0);
  setPair(u32, device + DeviceAt.SCANNED, 0);
  setPair(u32, device + DeviceAt.GRACE_ENDS, 0);
}

/** True if the frame at `at` names the connection that the device has. */
function names(state: UserState, device: number, view: DataView, at: number): boolean {
  const u32 = state.memory.u32;
  return (
    isConnected(state, device) &&
    u32[device + DeviceAt.CONNECTION] === view.getUint32(at + At.CONV_B + 4) &&
    u32[device + DeviceAt.GATEWAY] === view.getUint32(at + At.CONV_A) &&
    u32[device + DeviceAt.INCARNATION] === view.getUint32(at + At.CONV_A + 4)
  );
}

function setLastSeen(state: UserState, user: number, device: number): void {
  const u32 = state.memory.u32;
  setPair(u32, device + DeviceAt.LAST_SEEN, state.nowMs);
  setPair(u32, user + UserAt.LAST_SEEN, state.nowMs);
}

function greet(state: UserState, user: number, device: number): void {
  const frame = resetFrame(state.scratch, Kind.WELCOME);
  frame.device = state.idOf(user) * DEVICE_KEY_FACTOR + state.memory.u32[device + DeviceAt.NUMBER]!;
  frame.inbox = getPair(state.memory.u32, user + UserAt.LAST);
  frame.time = state.nowMs;
  frame.extra = HEARTBEAT_MS;
  sendFrame(state, device, frame, 0, 0);
}

function goAway(state: UserState, device: number, code: number): void {
  const frame = resetFrame(state.scratch, Kind.GOAWAY);
  frame.time = state.nowMs;
  frame.extra = code;
  sendFrame(state, device, frame, 0, 0);
}

/** GOAWAY to a connection that no device has. */
function refuse(state: UserState, view: DataView, at: number, code: number): void {
  const frame = resetFrame(state.scratch, Kind.GOAWAY);
  frame.time = state.nowMs;
  frame.extra = code;
  const builder = state.out.gateway(view.getUint32(at + At.CONV_A), FRAME_HEADER_BYTES + 4 + TARGET_BYTES);
  // First: the builder's bytes are others when it had to grow.
  const to = builder.open(FRAME_HEADER_BYTES);
  writeFrame(builder.bytes, builder.view, to, frame);
  builder.list();
  builder.target(
    view.getUint32(at + At.CONV_B + 4),
    view.getUint32(at + At.CONV_A + 4),
    view.getUint32(at + At.EXTRA),
    0,
    0,
  );
}

/** PULL: the connection has room again; `inbox` is the last position it was given, `extra` its token. */
export function pull(state: UserState, batch: Batch, at: number): void {
  const { view } = batch;
  const key = readU53(view, at + At.DEVICE);
  const user = state.findUser(userOfDevice(key));
  const device = user === 0 ? 0 : findDevice(state, user, numberOfDevice(key));
  if (device === 0 || !names(state, device, view, at) || isUnsynced(state, device)) return;
  const u32 = state.memory.u32;
  const token = view.getUint32(at + At.EXTRA);
  const given = readU53(view, at + At.INBOX);
  if (!mayPull(state, device, token, given)) return reached(Mark.PULL_OF_NO_USE);
  if (token > u32[device + DeviceAt.TOKEN]!) {
    reached(Mark.CATCH_UP_BEGUN_AGAIN);
    u32[device + DeviceAt.TOKEN] = token;
    u32[device + DeviceAt.MODE] = Mode.CATCH_UP;
    setPair(u32, device + DeviceAt.SENT, given);
    setPair(u32, device + DeviceAt.SCANNED, restartFrom(state, user, device, given));
  }
  state.touch(user);
  catchUp(state, user, device);
}

/**
 * Under the present token a PULL answers the end of a piece, so it has everything that was sent; less than that is a
 * repetition of an earlier one. A higher token means that the gateway threw away what was on its way.
 */
function mayPull(state: UserState, device: number, token: number, given: number): boolean {
  const u32 = state.memory.u32;
  const present = u32[device + DeviceAt.TOKEN]!;
  if (token !== present) return token > present;
  return u32[device + DeviceAt.MODE] === Mode.CATCH_UP && given >= getPair(u32, device + DeviceAt.SENT);
}

/** A position that was never handed out (its part of the log was lost) says nothing: the device's cursor counts. */
function restartFrom(state: UserState, user: number, device: number, given: number): number {
  const u32 = state.memory.u32;
  const cursor = getPair(u32, device + DeviceAt.CURSOR);
  return given > getPair(u32, user + UserAt.LAST) ? cursor : Math.max(given, cursor);
}

/** Where `pull` will go on; for naming what it needs. */
export function pullsFrom(state: UserState, user: number, device: number, view: DataView, at: number): number {
  const u32 = state.memory.u32;
  const token = view.getUint32(at + At.EXTRA);
  if (token > u32[device + DeviceAt.TOKEN]!) return restartFrom(state, user, device, readU53(view, at + At.INBOX));
  return getPair(u32, device + DeviceAt.SCANNED);
}

/** DISCONNECT: flag CLEAN: the client said goodbye and is offline at once; otherwise its session lasts a while. */
export function disconnect(state: UserState, batch: Batch, at: number): void {
  const { view } = batch;
  const key = readU53(view, at + At.DEVICE);
  const user = state.findUser(userOfDevice(key));
  const device = user === 0 ? 0 : findDevice(state, user, numberOfDevice(key));
  if (device === 0 || !names(state, device, view, at)) return reached(Mark.DISCONNECT_OF_AN_EARLIER_CONNECTION);
  if ((batch.bytes[at + At.FLAGS]! & Flag.CLEAN) === 0) {
    lose(state, user, device);
    return;
  }
  setLastSeen(state, user, device);
  goOffline(state, user, device);
}

function lose(state: UserState, user: number, device: number): void {
  const endsMs = state.nowMs + state.limits.sessionGraceMs;
  setLastSeen(state, user, device);
  detach(state, device, Mode.GRACE);
  setPair(state.memory.u32, device + DeviceAt.GRACE_ENDS, endsMs);
  state.setAlarm(user, graceAtMs(endsMs));
  state.touch(user);
}

function goOffline(state: UserState, user: number, device: number): void {
  detach(state, device, Mode.OFFLINE);
  state.setAlarm(user, idleAtMs(state, getPair(state.memory.u32, device + DeviceAt.LAST_SEEN)));
  state.touch(user);
  setOnline(state, user, hasSession(state, user));
}

function hasSession(state: UserState, user: number): boolean {
  const u32 = state.memory.u32;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] !== Mode.OFFLINE) return true;
  }
  return false;
}

/** GATEWAY_UP: `convA` as in CONNECT. The gateway started anew: connections of its earlier incarnations are gone. */
export function gatewayUp(state: UserState, batch: Batch, at: number): void {
  const gateway = batch.view.getUint32(at + At.CONV_A);
  const incarnation = batch.view.getUint32(at + At.CONV_A + 4);
  const u32 = state.memory.u32;
  state.forEachUser((user) => {
    for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
      const isGone =
        isConnected(state, device) &&
        u32[device + DeviceAt.GATEWAY] === gateway &&
        u32[device + DeviceAt.INCARNATION]! < incarnation;
      if (!isGone) continue;
      reached(Mark.SESSIONS_LOST_WITH_THEIR_GATEWAY);
      lose(state, user, device);
    }
  });
}

/** Ends sessions whose time is over, and unregisters devices that were away for too long. */
export function endSessions(state: UserState, user: number): void {
  const { nowMs } = state;
  const u32 = state.memory.u32;
  let next = 0;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = next) {
    next = u32[device + DeviceAt.NEXT]!;
    const mode = u32[device + DeviceAt.MODE]!;
    if (mode === Mode.GRACE && graceAtMs(getPair(u32, device + DeviceAt.GRACE_ENDS)) <= nowMs) {
      reached(Mark.SESSION_ENDED);
      goOffline(state, user, device);
    } else if (mode === Mode.OFFLINE && idleAtMs(state, getPair(u32, device + DeviceAt.LAST_SEEN)) <= nowMs) {
      unregister(state, user, device);
    }
  }
}

function unregister(state: UserState, user: number, device: number): void {
  freeDevice(state, user, device);
  state.touch(user);
  freeAcknowledged(state, user);
  setOnline(state, user, hasSession(state, user));
}

/** DEVICES: tells the asking device about all. */
export function listDevices(state: UserState, batch: Batch, at: number): void {
  const key = readU53(batch.view, at + At.DEVICE);
  const device = findConnected(state, key);
  if (device === 0) return;
  const frame = resetFrame(state.scratch, Kind.DEVICES);
  frame.device = key;
  frame.time = state.nowMs;
  frame.payload = describeDevices(state, state.findUser(userOfDevice(key)));
  sendTransientFrame(state, device);
}

/** Msgpack: array16 of [uint8 number, 0 or 1: connected, uint64 last seen in milliseconds]. */
function describeDevices(state: UserState, user: number): Uint8Array {
  const u32 = state.memory.u32;
  const count = u32[user + UserAt.DEVICES]!;
  const bytes = new Uint8Array(3 + count * 13);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0xdc;
  view.setUint16(1, count);
  let at = 3;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    const seenMs = isConnected(state, device) ? state.nowMs : getPair(u32, device + DeviceAt.LAST_SEEN);
    bytes.set([0x93, 0xcc, u32[device + DeviceAt.NUMBER]!, isConnected(state, device) ? 1 : 0, 0xcf], at);
    view.setUint32(at + 5, highWord(seenMs));
    view.setUint32(at + 9, lowWord(seenMs));
    at += 13;
  }
  return bytes;
}

/** Sends the scratch frame outside the inbox. */
function sendTransientFrame(state: UserState, device: number): void {
  sendFrame(state, device, state.scratch, 0, TargetFlag.TRANSIENT);
}

/** DEVICE_REMOVE: `extra` is the number of the device to be forgotten. */
export function removeDevice(state: UserState, batch: Batch, at: number): void {
  const user = state.findUser(userOfDevice(readU53(batch.view, at + At.DEVICE)));
  const device = user === 0 ? 0 : findDevice(state, user, batch.view.getUint32(at + At.EXTRA));
  if (device !== 0) {
    if (isConnected(state, device)) goAway(state, device, CloseCodes.DEVICE_REMOVED.code);
    unregister(state, user, device);
  }
  listDevices(state, batch, at);
}
