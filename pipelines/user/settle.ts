/**
 * What time brings, for users whose alarm rang, in order of user id. Cold chunks are rewritten before the frames of a step (see
 * merge.ts); all else comes after them, so that who reconnects in the very batch in which a session ends keeps it.
 */
import { Mark, reached } from '../../core/probe.js';
import type { KeySink } from '../../core/stage.js';
import { spill } from './cold.js';
import { chunkAtMs, forgetAtMs, graceAtMs, idleAtMs, spillAtMs } from './due.js';
import { findRun, merge, nameRun } from './merge.js';
import { forgetWatchers } from './presence.js';
import { ChunkAt, DeviceAt, getPair, Mode, setPair, UpdateAt, UserAt, WatcherAt } from './rows.js';
import { endSessions } from './sessions.js';
import { sortByUserId, type UserState } from './state.js';
import { flushAtMs, flushUpdates, forgetUpdates } from './updates.js';

/** Rewrites cold chunks: before the frames of a step. */
export function mergeDue(state: UserState): void {
  if (state.alarms.earliest > state.nowMs) return;
  const due: number[] = [];
  state.alarms.forEachDue(state.nowMs, (time, user) => {
    if (getPair(state.memory.u32, user + UserAt.ALARM) === time) due.push(user);
  });
  const sorted = sortByUserId(state, due);
  // A user may have several alarms set to one time, but has one run fetched.
  for (let i = 0; i < sorted.length; i++) if (sorted[i] !== sorted[i - 1]) merge(state, sorted[i]!);
}

/** Does what else is due, and sets the next alarms: after the frames of a step. */
export function settleDue(state: UserState): void {
  if (state.alarms.earliest > state.nowMs) return;
  const due: number[] = [];
  while (state.alarms.earliest <= state.nowMs) {
    const time = state.alarms.earliest;
    const user = state.alarms.top;
    state.alarms.pop();
    // An alarm that was set to an earlier time meanwhile rings twice; once is enough.
    if (getPair(state.memory.u32, user + UserAt.ALARM) !== time) continue;
    setPair(state.memory.u32, user + UserAt.ALARM, 0);
    due.push(user);
  }
  for (const user of sortByUserId(state, due)) settle(state, user);
}

function settle(state: UserState, user: number): void {
  endSessions(state, user);
  forgetWatchers(state, user);
  forgetUpdates(state, user);
  const waited = state.memory.u32[user + UserAt.PENDING]!;
  flushUpdates(state, user);
  if (state.memory.u32[user + UserAt.PENDING]! < waited) reached(Mark.UPDATES_SENT_IN_A_LATER_WINDOW);
  spill(state, user);
  state.setAlarm(user, nextAlarmMs(state, user));
}

/** Names what `mergeDue` reads at the time given. */
export function nameDue(state: UserState, nowMs: number, keys: KeySink): void {
  if (state.alarms.earliest > nowMs) return;
  state.alarms.forEachDue(nowMs, (time, user) => {
    if (getPair(state.memory.u32, user + UserAt.ALARM) === time) nameRun(state, user, nowMs, keys);
  });
}

/** When the user must be looked at next: never later than anything is due. Infinity: nothing waits for time. */
export function nextAlarmMs(state: UserState, user: number): number {
  const { nowMs, limits } = state;
  const u32 = state.memory.u32;
  let next = Math.min(flushAtMs(state, user), nextOfDevices(state, user), nextOfInbox(state, user));
  for (let watcher = u32[user + UserAt.FIRST_WATCHER]!; watcher !== 0; watcher = u32[watcher + WatcherAt.NEXT]!) {
    next = Math.min(next, forgetAtMs(getPair(u32, watcher + WatcherAt.EXPIRES)));
  }
  for (let update = u32[user + UserAt.FIRST_UPDATE]!; update !== 0; update = u32[update + UpdateAt.NEXT]!) {
    next = Math.min(next, forgetAtMs(getPair(u32, update + UpdateAt.EXPIRES)));
  }
  if (u32[user + UserAt.HOT_BYTES]! > limits.spillBytes) next = nowMs;
  return Math.max(next, nowMs, 1);
}

function nextOfDevices(state: UserState, user: number): number {
  const u32 = state.memory.u32;
  let next = Infinity;
  for (let device = u32[user + UserAt.FIRST_DEVICE]!; device !== 0; device = u32[device + DeviceAt.NEXT]!) {
    const mode = u32[device + DeviceAt.MODE]!;
    if (mode === Mode.GRACE) next = Math.min(next, graceAtMs(getPair(u32, device + DeviceAt.GRACE_ENDS)));
    if (mode === Mode.OFFLINE) next = Math.min(next, idleAtMs(state, getPair(u32, device + DeviceAt.LAST_SEEN)));
  }
  return next;
}

function nextOfInbox(state: UserState, user: number): number {
  const u32 = state.memory.u32;
  if (findRun(state, user, state.nowMs).length > 0) return state.nowMs;
  const first = u32[user + UserAt.FIRST_ENTRY]!;
  let next = first === 0 ? Infinity : spillAtMs(state, first);
  for (let chunk = u32[user + UserAt.FIRST_CHUNK]!; chunk !== 0; chunk = u32[chunk + ChunkAt.NEXT]!) {
    next = Math.min(next, chunkAtMs(state, chunk));
  }
  return next;
}
