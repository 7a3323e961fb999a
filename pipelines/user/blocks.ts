/** The block list: whom a user does not want to hear from. What it means for deliveries is in deliver.ts. */
import type { Batch } from '../../core/batch.js';
import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { At, Kind, readU53 } from '../../core/frame.js';
import { highWord, isUserId, lowWord, numberOfDevice, userOfDevice } from '../../core/ids.js';
import { makeBlob } from './blobs.js';
import { answerBefore, answerBlock, awaitAnswer } from './block-answers.js';
import { resetFrame, sendLive } from './deliver.js';
import { appendEntry } from './inbox.js';
import { BlockAt, UserAt, UserFlag } from './rows.js';
import { findDevice } from './sessions.js';
import type { UserState } from './state.js';

/** BLOCK: `convB` a user, `extra` 1 block, 0 unblock. Answered with BLOCK (block-answers.ts), or REJECT to the asking device, in the inbox. */
export function block(state: UserState, batch: Batch, at: number): void {
  const { view } = batch;
  const device = readU53(view, at + At.DEVICE);
  const me = userOfDevice(device);
  const user = state.findUser(me);
  if (user === 0 || findDevice(state, user, numberOfDevice(device)) === 0) {
    state.counters.ignoredFrames++;
    return;
  }
  const other = readU53(view, at + At.CONV_B);
  const wanted = view.getUint32(at + At.EXTRA);
  if (!isUserId(other) || other === me || wanted > 1) {
    reject(state, user, batch, at, ErrorCodes.BAD_VALUE);
    return;
  }
  if (wanted === 1 && !addBlock(state, user, other)) {
    reject(state, user, batch, at, ErrorCodes.TOO_MANY_BLOCKS);
    return;
  }
  if (wanted === 1) return awaitAnswer(state, device, other);
  answerBefore(state, me, other);
  removeBlock(state, user, other);
  answerBlock(state, device, other, wanted);
}

function reject(state: UserState, user: number, batch: Batch, at: number, error: ErrorCode): void {
  const frame = resetFrame(state.scratch, Kind.REJECT);
  frame.convB = readU53(batch.view, at + At.CONV_B);
  frame.device = readU53(batch.view, at + At.DEVICE);
  frame.counter = batch.view.getUint32(at + At.COUNTER);
  frame.time = state.nowMs;
  frame.extra = error.code;
  frame.payload = new TextEncoder().encode(error.sentence);
  const blob = makeBlob(state, frame, state.nowMs + state.limits.queueTtlMs);
  sendLive(state, user, appendEntry(state, user, blob));
}

/** False if the list is full. */
export function addBlock(state: UserState, user: number, other: number): boolean {
  if (state.isBlocked(user, other)) return true;
  if (state.memory.u32[user + UserAt.BLOCKS]! >= state.limits.blocksPerUser) return false;
  const { u32: before } = state.memory;
  const row = state.blocks.insert(before[user]!, before[user + 1]!, lowWord(other), highWord(other));
  const entry = state.blocks.at(row);
  const u32 = state.memory.u32;
  const first = u32[user + UserAt.FIRST_BLOCK]!;
  u32[entry + BlockAt.NEXT] = first;
  if (first !== 0) u32[first + BlockAt.PREVIOUS] = entry;
  u32[user + UserAt.FIRST_BLOCK] = entry;
  u32[user + UserAt.BLOCKS]!++;
  state.touch(user, UserFlag.DIRTY_BLOCKS);
  return true;
}

export function removeBlock(state: UserState, user: number, other: number): void {
  const u32 = state.memory.u32;
  const row = state.blocks.find(u32[user]!, u32[user + 1]!, lowWord(other), highWord(other));
  if (row < 0) return;
  const entry = state.blocks.at(row);
  const next = u32[entry + BlockAt.NEXT]!;
  const previous = u32[entry + BlockAt.PREVIOUS]!;
  if (previous === 0) u32[user + UserAt.FIRST_BLOCK] = next;
  else u32[previous + BlockAt.NEXT] = next;
  if (next !== 0) u32[next + BlockAt.PREVIOUS] = previous;
  u32[user + UserAt.BLOCKS]!--;
  state.blocks.remove(row);
  state.touch(user, UserFlag.DIRTY_BLOCKS);
}
