/**
 * Presence and typing, on the side of the user who is told. At most `presenceUpdatesPerWindow` updates are sent in a window;
 * the rest waits, each subject with its latest state only, in order, for the next one. So bursts are thinned out and the last
 * state always follows. In the window in which a new owner begins none is sent: what the one before sent in it may be forgotten,
 * since a power failure takes the end of the USER log.
 *
 * Of a watched user the latest state stays known while the watch lasts: a connection that becomes live is told it again,
 * since updates are not kept and may have been lost on the way.
 */

import { type Batch, TargetFlag } from '../../core/batch.js';
import { ErrorCodes } from '../../core/errors.js';
import { At, Kind, readU53 } from '../../core/frame.js';
import { Mark, reached } from '../../core/probe.js';
import { frameUser, resetFrame, sendFrame } from './deliver.js';
import { forgetAtMs } from './due.js';
import { Notice } from './presence.js';
import { DeviceAt, getPair, Mode, setPair, UpdateAt, UserAt, UserFlag } from './rows.js';
import type { UserState } from './state.js';

/** TYPING from a conversation lane. */
export function offerTyping(state: UserState, user: number, view: DataView, at: number): void {
  if (!isAnyLive(state, user) || state.isBlocked(user, frameUser(view, at))) return;
  const convA = readU53(view, at + At.CONV_A);
  const convB = readU53(view, at + At.CONV_B);
  const device = readU53(view, at + At.DEVICE);
  let update = findUpdate(state, user, Kind.TYPING, convA, convB, device);
  if (update === 0) {
    update = addUpdate(state, user, Kind.TYPING, convA, convB, device);
    if (update === 0) {
      state.counters.droppedUpdates++;
      return;
    }
    setPair(state.memory.u32, update + UpdateAt.EXPIRES, state.nowMs + state.limits.watchTtlMs);
  }
  setPair(state.memory.u32, update + UpdateAt.TIME, state.nowMs);
  state.memory.u32[update + UpdateAt.STATE] = view.getUint32(at + At.EXTRA);
  wait(state, user, update);
  flushUpdates(state, user);
}

/** PRESENCE_NOTIFY from the partition of the subject; see presence.ts. */
export function takePresence(state: UserState, batch: Batch, at: number): void {
  const { view } = batch;
  const user = state.findUser(frameUser(view, at));
  if (user === 0) return;
  const subject = readU53(view, at + At.CONV_B);
  const stamp = readU53(view, at + At.INBOX);
  const notice = view.getUint32(at + At.COUNTER);
  let update = findUpdate(state, user, Kind.PRESENCE, 0, subject, 0);
  if (update !== 0 && stamp < getPair(state.memory.u32, update + UpdateAt.STAMP)) return reached(Mark.PRESENCE_STALE);
  if (notice === Notice.END) {
    if (update !== 0) freeUpdate(state, user, update);
    return;
  }
  if (update === 0) {
    forgetUpdates(state, user);
    update = addUpdate(state, user, Kind.PRESENCE, 0, subject, 0);
    if (update === 0) {
      tellTooMany(state, user, subject);
      return;
    }
    setPair(state.memory.u32, update + UpdateAt.EXPIRES, state.nowMs + state.limits.watchTtlMs);
  }
  const u32 = state.memory.u32;
  if (notice === Notice.ANSWER) setPair(u32, update + UpdateAt.EXPIRES, state.nowMs + state.limits.watchTtlMs);
  setPair(u32, update + UpdateAt.STAMP, stamp);
  setPair(u32, update + UpdateAt.TIME, readU53(view, at + At.TIME));
  u32[update + UpdateAt.STATE] = view.getUint32(at + At.EXTRA);
  state.setAlarm(user, forgetAtMs(getPair(u32, update + UpdateAt.EXPIRES)));
  wait(state, user, update);
  flushUpdates(state, user);
}

function tellTooMany(state: UserState, user: number, subject: number): void {
  const error = ErrorCodes.TOO_MANY_WATCHERS;
  const u32 = state.memory.u32;
  state.counters.droppedUpdates++;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] !== Mode.LIVE) continue;
    const frame = resetFrame(state.scratch, Kind.REJECT);
    frame.convB = subject;
    frame.time = state.nowMs;
    frame.extra = error.code;
    frame.payload = new TextEncoder().encode(error.sentence);
    sendFrame(state, device, frame, 0, TargetFlag.TRANSIENT);
  }
}

function isAnyLive(state: UserState, user: number): boolean {
  const u32 = state.memory.u32;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] === Mode.LIVE) return true;
  }
  return false;
}

function findUpdate(
  state: UserState,
  user: number,
  kind: number,
  convA: number,
  convB: number,
  device: number,
): number {
  const u32 = state.memory.u32;
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = u32[update + UpdateAt.NEXT]!) {
    const isIt =
      u32[update + UpdateAt.KIND] === kind &&
      getPair(u32, update + UpdateAt.CONV_B) === convB &&
      getPair(u32, update + UpdateAt.CONV_A) === convA &&
      getPair(u32, update + UpdateAt.DEVICE) === device;
    if (isIt) return update;
  }
  return 0;
}

/** A new row at the end, or 0 if the user has too many. */
export function addUpdate(
  state: UserState,
  user: number,
  kind: number,
  convA: number,
  convB: number,
  device: number,
): number {
  if (state.memory.u32[user + UserAt.UPDATES]! >= state.limits.watchedPerUser) return 0;
  const update = state.updates.alloc();
  const u32 = state.memory.u32;
  u32[update + UpdateAt.KIND] = kind;
  setPair(u32, update + UpdateAt.CONV_A, convA);
  setPair(u32, update + UpdateAt.CONV_B, convB);
  setPair(u32, update + UpdateAt.DEVICE, device);
  u32[user + UserAt.UPDATES]!++;
  linkLast(u32, user, update);
  state.touch(user, UserFlag.DIRTY_UPDATES);
  return update;
}

function linkLast(u32: Uint32Array, user: number, update: number): void {
  const last = u32[user + UserAt.LAST_UPDATE]!;
  u32[update + UpdateAt.NEXT] = 0;
  u32[update + UpdateAt.PREVIOUS] = last;
  if (last === 0) u32[user + UserAt.FIRST_UPDATE] = update;
  else u32[last + UpdateAt.NEXT] = update;
  u32[user + UserAt.LAST_UPDATE] = update;
}

function unlink(u32: Uint32Array, user: number, update: number): void {
  const next = u32[update + UpdateAt.NEXT]!;
  const previous = u32[update + UpdateAt.PREVIOUS]!;
  if (previous === 0) u32[user + UserAt.FIRST_UPDATE] = next;
  else u32[previous + UpdateAt.NEXT] = next;
  if (next === 0) u32[user + UserAt.LAST_UPDATE] = previous;
  else u32[next + UpdateAt.PREVIOUS] = previous;
}

export function freeUpdate(state: UserState, user: number, update: number): void {
  const u32 = state.memory.u32;
  if (u32[update + UpdateAt.PENDING] === 1) u32[user + UserAt.PENDING]!--;
  unlink(u32, user, update);
  u32[user + UserAt.UPDATES]!--;
  state.updates.free(update);
  state.touch(user, UserFlag.DIRTY_UPDATES);
}

/** Puts a row that does not wait yet at the end of those that do. */
function wait(state: UserState, user: number, update: number): void {
  const u32 = state.memory.u32;
  state.touch(user, UserFlag.DIRTY_UPDATES);
  if (u32[update + UpdateAt.PENDING] === 1) return reached(Mark.UPDATE_COALESCED);
  u32[update + UpdateAt.PENDING] = 1;
  u32[user + UserAt.PENDING]!++;
  unlink(u32, user, update);
  linkLast(u32, user, update);
}

/** When waiting updates may be sent; Infinity: nothing waits, or nobody is there. */
export function flushAtMs(state: UserState, user: number): number {
  const u32 = state.memory.u32;
  if (u32[user + UserAt.PENDING] === 0 || !isAnyLive(state, user)) return Infinity;
  const { presenceWindowMs, presenceUpdatesPerWindow } = state.limits;
  const beginsMs = (state.generationWindow + 1) * presenceWindowMs;
  if (u32[user + UserAt.WINDOW_UPDATES]! < presenceUpdatesPerWindow) return Math.max(state.nowMs, beginsMs);
  return Math.max((u32[user + UserAt.WINDOW]! + 1) * presenceWindowMs, beginsMs);
}

/** Sends what waits, as far as the window has room. */
export function flushUpdates(state: UserState, user: number): void {
  const { limits, nowMs } = state;
  const u32 = state.memory.u32;
  if (u32[user + UserAt.PENDING] === 0 || !isAnyLive(state, user)) return;
  const window = Math.floor(nowMs / limits.presenceWindowMs);
  if (u32[user + UserAt.WINDOW] !== window) {
    u32[user + UserAt.WINDOW] = window;
    u32[user + UserAt.WINDOW_UPDATES] = 0;
  }
  let next = 0;
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = next) {
    if (
      window <= state.generationWindow ||
      u32[user + UserAt.WINDOW_UPDATES]! >= limits.presenceUpdatesPerWindow ||
      u32[user + UserAt.PENDING] === 0
    )
      break;
    next = u32[update + UpdateAt.NEXT]!;
    if (u32[update + UpdateAt.PENDING] === 0) continue;
    sendUpdate(state, user, update);
    u32[user + UserAt.WINDOW_UPDATES]!++;
    u32[update + UpdateAt.PENDING] = 0;
    u32[user + UserAt.PENDING]!--;
    if (u32[update + UpdateAt.KIND] === Kind.TYPING) freeUpdate(state, user, update);
  }
  state.touch(user, UserFlag.DIRTY_UPDATES);
  if (u32[user + UserAt.PENDING] === 0) return;
  reached(Mark.UPDATES_THROTTLED);
  state.setAlarm(user, flushAtMs(state, user));
}

function sendUpdate(state: UserState, user: number, update: number): void {
  const u32 = state.memory.u32;
  const frame = resetFrame(state.scratch, u32[update + UpdateAt.KIND]!);
  frame.convA = getPair(u32, update + UpdateAt.CONV_A);
  frame.convB = getPair(u32, update + UpdateAt.CONV_B);
  frame.device = getPair(u32, update + UpdateAt.DEVICE);
  frame.time = getPair(u32, update + UpdateAt.TIME);
  frame.extra = u32[update + UpdateAt.STATE]!;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    if (u32[device + DeviceAt.MODE] === Mode.LIVE) sendFrame(state, device, frame, 0, TargetFlag.TRANSIENT);
  }
}

/** A connection became live: it is told every state that is known. */
export function refreshUpdates(state: UserState, user: number): void {
  const u32 = state.memory.u32;
  if (u32[user + UserAt.UPDATES] === 0) return;
  reached(Mark.PRESENCE_TOLD_AGAIN);
  let next = 0;
  // Behind those that wait already: a connection that comes again and again must not keep them waiting for ever.
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = next) {
    next = u32[update + UpdateAt.NEXT]!;
    wait(state, user, update);
  }
  flushUpdates(state, user);
}

/** Forgets what belongs to watches that ended. */
export function forgetUpdates(state: UserState, user: number): void {
  const u32 = state.memory.u32;
  let next = 0;
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = next) {
    next = u32[update + UpdateAt.NEXT]!;
    if (forgetAtMs(getPair(u32, update + UpdateAt.EXPIRES)) <= state.nowMs) freeUpdate(state, user, update);
  }
}
