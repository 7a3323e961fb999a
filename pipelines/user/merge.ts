/**
 * Rewriting cold chunks: what has expired becomes one GAP for each conversation, a BLOCK goes when a later one follows it (but
 * for one that ends a block: see inbox.ts), and small neighbours become one chunk. So a user who is away for long, and gets a
 * message now and then, does not own a chunk for each.
 */

import { At, isSequenced, Kind, readU53 } from '../../core/frame.js';
import { Mark, reached } from '../../core/probe.js';
import type { KeySink } from '../../core/stage.js';
import { ChunkWriter, forEachKey, openChunk, Records, removeChunk } from './cold.js';
import { chunkAtMs } from './due.js';
import { CHUNK_BROKEN, CHUNK_WRITTEN, ChunkAt, UserAt, UserFlag } from './rows.js';
import type { UserState } from './state.js';

/** Neighbouring chunks to rewrite, oldest first; empty: none. */
export function findRun(state: UserState, user: number, nowMs: number): number[] {
  const { chunksPerMerge, chunkBytes } = state.limits;
  const u32 = state.memory.u32;
  const isSmall = (chunk: number): boolean => u32[chunk + ChunkAt.BYTES]! < chunkBytes / 2;
  const run: number[] = [];
  let hasExpired = false;
  for (let chunk = u32[user + UserAt.FIRST_CHUNK]!; chunk !== 0; chunk = u32[chunk + ChunkAt.NEXT]!) {
    const isBroken = (u32[chunk + ChunkAt.FLAGS]! & CHUNK_BROKEN) !== 0;
    const isExpired = chunkAtMs(state, chunk) <= nowMs;
    if (isBroken || (!isExpired && !isSmall(chunk))) {
      if (hasExpired) return run;
      run.length = 0;
      continue;
    }
    run.push(chunk);
    hasExpired ||= isExpired;
    if (run.length === chunksPerMerge) return run;
  }
  return hasExpired ? run : [];
}

/** Names the values that `merge` needs. */
export function nameRun(state: UserState, user: number, nowMs: number, keys: KeySink): void {
  for (const chunk of findRun(state, user, nowMs)) forEachKey(state, user, chunk, keys);
}

/** A record of the run that is kept; `null` when a later one took its place. */
interface Kept {
  readonly records: Records;
  readonly frame: number;
  readonly length: number;
  readonly position: number;
  readonly deadlineMs: number;
}

/**
 * Rewrites a run, if there is one. It comes before the frames of the step, so that the run is the one that was named and
 * fetched: what a step reads must depend on the state alone, not on how it came about.
 */
export function merge(state: UserState, user: number): void {
  if (state.spillLeft <= 0) return;
  const run = findRun(state, user, state.nowMs);
  if (run.length === 0) return;
  const kept: (Kept | null)[] = [];
  const lastGap = new Map<string, number>();
  const lastBlock = new Map<number, number>();
  for (const chunk of run) {
    const records = new Records();
    if (!openChunk(state, user, chunk, records)) {
      const flags = chunk + ChunkAt.FLAGS;
      // Not CHUNK_EXPORTED any more: the next export of changes has it again.
      state.memory.u32[flags] = (state.memory.u32[flags]! & CHUNK_WRITTEN) | CHUNK_BROKEN;
      state.touch(user, UserFlag.DIRTY_CHUNKS);
      return;
    }
    while (records.next()) keep(state, records, kept, lastGap, lastBlock);
  }
  reached(Mark.INBOX_CHUNKS_MERGED);
  const after = state.memory.u32[run[0]! + ChunkAt.PREVIOUS]!;
  for (const chunk of run) removeChunk(state, user, chunk);
  const writer = new ChunkWriter(state, user, after);
  for (const record of kept) {
    if (record === null) continue;
    const { bytes, view } = record.records;
    writer.add(bytes, view, record.frame, record.length, record.position, record.deadlineMs);
  }
  writer.finish();
}

/** Keeps a record, and drops the GAP of its conversation, or the BLOCK of its user, that it makes superfluous. */
function keep(
  state: UserState,
  records: Records,
  kept: (Kept | null)[],
  lastGap: Map<string, number>,
  lastBlock: Map<number, number>,
): void {
  const { view, frame, length, position, deadlineMs } = records;
  const kind = records.bytes[frame + At.KIND]!;
  const isExpired = deadlineMs !== 0 && deadlineMs <= state.nowMs;
  if (isSequenced(kind) || kind === Kind.GAP) {
    const conversation = `${readU53(view, frame + At.CONV_A)}:${readU53(view, frame + At.CONV_B)}`;
    const earlier = lastGap.get(conversation);
    const isGap = kind === Kind.GAP || isExpired;
    if (isGap && earlier !== undefined) kept[earlier] = null;
    if (isGap) lastGap.set(conversation, kept.length);
    else lastGap.delete(conversation);
  } else if (kind === Kind.BLOCK) {
    const other = readU53(view, frame + At.CONV_B);
    const earlier = lastBlock.get(other);
    if (earlier !== undefined) kept[earlier] = null;
    if (view.getUint32(frame + At.EXTRA) === 0) lastBlock.delete(other);
    else lastBlock.set(other, kept.length);
  }
  kept.push({ records, frame, length, position, deadlineMs });
}
