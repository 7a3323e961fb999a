/**
 * Presence, on the side of the user who is watched: online while there is a session, and who is told. Watchers hear through
 * their own partition (updates.ts), by PRESENCE_NOTIFY:
 *
 * `device` watcher's user × 128 · `convB` subject · `extra` 1 online, 0 offline · `time` last seen · `inbox` logged time of
 * saying so · `counter` Notice.*
 */
import type { Batch } from '../../core/batch.js';
import { ErrorCodes } from '../../core/errors.js';
import { At, Kind, readU53, writeFrame } from '../../core/frame.js';
import { highWord, isUserId, lowWord, partitionOfUser, userOfDevice } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR, FRAME_HEADER_BYTES } from '../../core/limits.js';
import { resetFrame } from './deliver.js';
import { forgetAtMs } from './due.js';
import { getPair, setPair, UserAt, UserFlag, WatcherAt } from './rows.js';
import type { UserState } from './state.js';

export const Notice = {
  /** The state changed. */
  CHANGE: 0,
  /** The answer to a WATCH: the watch lasts from now. */
  ANSWER: 1,
  /** The watch is over. */
  END: 2,
} as const;

/** Notes whether the user has a session, and tells the watchers if that changed. */
export function setOnline(state: UserState, user: number, online: boolean): void {
  const u32 = state.memory.u32;
  if (((u32[user + UserAt.FLAGS]! & UserFlag.ONLINE) !== 0) === online) return;
  u32[user + UserAt.FLAGS]! ^= UserFlag.ONLINE;
  state.touch(user);
  let told = 0;
  for (let watcher = u32[user + UserAt.FIRST_WATCHER]!; watcher !== 0; watcher = u32[watcher + WatcherAt.NEXT]!) {
    if (forgetAtMs(getPair(u32, watcher + WatcherAt.EXPIRES)) <= state.nowMs) continue;
    // Rows are in order of device key, so one user's devices are neighbours: each user is told once.
    const watcherUser = userOfDevice(getPair(u32, watcher + WatcherAt.DEVICE));
    if (watcherUser !== told) notify(state, user, watcherUser, Notice.CHANGE);
    told = watcherUser;
  }
}

function notify(state: UserState, user: number, watcherUser: number, notice: number): void {
  const u32 = state.memory.u32;
  const online = (u32[user + UserAt.FLAGS]! & UserFlag.ONLINE) !== 0;
  const frame = resetFrame(state.scratch, Kind.PRESENCE_NOTIFY);
  frame.device = watcherUser * DEVICE_KEY_FACTOR;
  frame.convB = state.idOf(user);
  frame.counter = notice;
  frame.inbox = state.nowMs;
  frame.time = online ? state.nowMs : getPair(u32, user + UserAt.LAST_SEEN);
  frame.extra = online ? 1 : 0;
  sendToUser(state, watcherUser);
}

/** Sends the scratch frame to the partition of a user. */
function sendToUser(state: UserState, to: number): void {
  const length = FRAME_HEADER_BYTES + state.scratch.payload.length;
  const builder = state.out.userFrames(partitionOfUser(to, state.userPartitions), length);
  const at = builder.open(length);
  writeFrame(builder.bytes, builder.view, at, state.scratch);
}

/** WATCH: `device` the watcher, `convB` a user of this partition, `extra` 1 watch, 0 stop. */
export function watch(state: UserState, batch: Batch, at: number): void {
  const { view } = batch;
  const device = readU53(view, at + At.DEVICE);
  const subject = readU53(view, at + At.CONV_B);
  if (!isUserId(subject) || !isUserId(userOfDevice(device))) {
    state.counters.ignoredFrames++;
    return;
  }
  if (view.getUint32(at + At.EXTRA) === 0) {
    const known = state.findUser(subject);
    if (known !== 0) unwatch(state, known, device);
    return;
  }
  const user = state.ensureUser(lowWord(subject), highWord(subject));
  forgetWatchers(state, user);
  if (!addWatcher(state, user, device, state.nowMs + state.limits.watchTtlMs)) {
    refuseWatch(state, device, subject);
    return;
  }
  notify(state, user, userOfDevice(device), Notice.ANSWER);
}

function refuseWatch(state: UserState, device: number, subject: number): void {
  const error = ErrorCodes.TOO_MANY_WATCHERS;
  const frame = resetFrame(state.scratch, Kind.REJECT);
  frame.device = device;
  frame.convB = subject;
  frame.time = state.nowMs;
  frame.extra = error.code;
  frame.payload = new TextEncoder().encode(error.sentence);
  sendToUser(state, userOfDevice(device));
}

function watches(state: UserState, user: number, watcherUser: number): boolean {
  const u32 = state.memory.u32;
  for (let watcher = u32[user + UserAt.FIRST_WATCHER]!; watcher !== 0; watcher = u32[watcher + WatcherAt.NEXT]!) {
    if (userOfDevice(getPair(u32, watcher + WatcherAt.DEVICE)) === watcherUser) return true;
  }
  return false;
}

/** Adds or renews a watch; false if there are too many. */
export function addWatcher(state: UserState, user: number, device: number, expiresMs: number): boolean {
  let u32 = state.memory.u32;
  let before = 0;
  let after = u32[user + UserAt.FIRST_WATCHER]!;
  while (after !== 0 && getPair(u32, after + WatcherAt.DEVICE) < device) {
    before = after;
    after = u32[after + WatcherAt.NEXT]!;
  }
  let watcher = after;
  if (watcher === 0 || getPair(u32, watcher + WatcherAt.DEVICE) !== device) {
    if (u32[user + UserAt.WATCHERS]! >= state.limits.watchersPerUser) return false;
    watcher = state.watchers.alloc();
    u32 = state.memory.u32;
    u32[watcher + WatcherAt.NEXT] = after;
    if (before === 0) u32[user + UserAt.FIRST_WATCHER] = watcher;
    else u32[before + WatcherAt.NEXT] = watcher;
    setPair(u32, watcher + WatcherAt.DEVICE, device);
    u32[user + UserAt.WATCHERS]!++;
  }
  setPair(u32, watcher + WatcherAt.EXPIRES, expiresMs);
  state.touch(user, UserFlag.DIRTY_WATCHERS);
  state.setAlarm(user, forgetAtMs(expiresMs));
  return true;
}

function unwatch(state: UserState, user: number, device: number): void {
  removeWatchers(state, user, (watcher) => getPair(state.memory.u32, watcher + WatcherAt.DEVICE) === device);
  if (!watches(state, user, userOfDevice(device))) notify(state, user, userOfDevice(device), Notice.END);
}

/** Forgets watches that were not renewed. */
export function forgetWatchers(state: UserState, user: number): void {
  const u32 = state.memory.u32;
  removeWatchers(state, user, (watcher) => forgetAtMs(getPair(u32, watcher + WatcherAt.EXPIRES)) <= state.nowMs);
}

export function removeWatchers(state: UserState, user: number, which: (watcher: number) => boolean): void {
  const u32 = state.memory.u32;
  let before = 0;
  let next = 0;
  for (let watcher = u32[user + UserAt.FIRST_WATCHER]!; watcher !== 0; watcher = next) {
    next = u32[watcher + WatcherAt.NEXT]!;
    if (!which(watcher)) {
      before = watcher;
      continue;
    }
    if (before === 0) u32[user + UserAt.FIRST_WATCHER] = next;
    else u32[before + WatcherAt.NEXT] = next;
    u32[user + UserAt.WATCHERS]!--;
    state.watchers.free(watcher);
    state.touch(user, UserFlag.DIRTY_WATCHERS);
  }
}
