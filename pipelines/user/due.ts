/**
 * When things are due, in coarse steps of logged time, so that one tick serves many. What is done, and when, depends on
 * these times alone; see alarms.ts.
 */
import { BlobAt, ChunkAt, EntryAt, getPair } from './rows.js';
import type { UserState } from './state.js';

const SPILL_STEP_MS = 1_000;
const GRACE_STEP_MS = 100;
const WATCH_STEP_MS = 10_000;
const CHUNK_STEP_MS = 60_000;
const IDLE_STEP_MS = 3_600_000;

function roundUp(timeMs: number, stepMs: number): number {
  return Math.ceil(timeMs / stepMs) * stepMs;
}

/** When an entry at the front of the inbox is written behind. */
export function spillAtMs(state: UserState, entry: number): number {
  const u32 = state.memory.u32;
  const arrivedMs = getPair(u32, u32[entry + EntryAt.BLOB]! + BlobAt.ARRIVED);
  return spillAtOf(state, arrivedMs);
}

/** When what arrived then is written behind. */
export function spillAtOf(state: UserState, arrivedMs: number): number {
  return roundUp(arrivedMs + state.limits.spillAgeMs, SPILL_STEP_MS);
}

export function graceAtMs(endsMs: number): number {
  return roundUp(endsMs, GRACE_STEP_MS);
}

/** When a device that was seen last at `seenMs` is unregistered. */
export function idleAtMs(state: UserState, seenMs: number): number {
  return roundUp(seenMs + state.limits.deviceIdleMs, IDLE_STEP_MS);
}

/** When a watch, or what a watcher knows, is forgotten. */
export function forgetAtMs(expiresMs: number): number {
  return roundUp(expiresMs, WATCH_STEP_MS);
}

/** When everything in a chunk has expired; Infinity: never. */
export function chunkAtMs(state: UserState, chunk: number): number {
  const deadlineMs = getPair(state.memory.u32, chunk + ChunkAt.DEADLINE);
  return deadlineMs === 0 ? Infinity : roundUp(deadlineMs, CHUNK_STEP_MS);
}
