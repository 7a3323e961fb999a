/**
 * Answers to BLOCK that wait for the disk. A block has its effect where it stands in the log. But the USER topic is read before it is
 * on the disk: a power failure may take the place back, and when conversation lanes say it again, messages of the blocked user may come
 * before it. So whoever asked is told only when the place survives. Until then nothing was promised, and its client asks again.
 *
 * That somebody is not blocked any more is told at once: what comes behind it is delivered, and must not come before it.
 */
import { Kind } from '../../core/frame.js';
import { userOfDevice } from '../../core/ids.js';
import { makeBlob } from './blobs.js';
import { keepAlone, resetFrame } from './deliver.js';
import type { UserState } from './state.js';

/** Answers that one step gives; the rest follows in a step of its own. */
const ANSWERS_PER_STEP = 256;

/** A block whose answer waits. */
export interface BlockAnswer {
  /** Key of the device that asked. */
  readonly device: number;
  /** Id of the user who is blocked. */
  readonly other: number;
  /** Of the batch that had it first. */
  readonly offset: number;
}

/** Notes that the device's user blocks somebody; if that is asked again, the first time counts. */
export function awaitAnswer(state: UserState, device: number, other: number): void {
  const { blockAnswers, offset } = state;
  const me = userOfDevice(device);
  if (blockAnswers.some((answer) => answer.other === other && userOfDevice(answer.device) === me)) return;
  blockAnswers.push({ device, other, offset });
  state.partitionDirty = true;
}

/** Tells what is the case, as an entry of the user's inbox. */
export function answerBlock(state: UserState, device: number, other: number, wanted: number): void {
  const frame = resetFrame(state.scratch, Kind.BLOCK);
  frame.convB = other;
  frame.device = device;
  frame.time = state.nowMs;
  frame.extra = wanted;
  const user = state.findUser(userOfDevice(device));
  // It does not expire: a device that comes back after the queue's time, and is still registered, must not go on with an old list.
  keepAlone(state, user, makeBlob(state, frame, 0));
}

/** Answers those that `which` says, in the order in which they were asked. */
function giveAnswers(state: UserState, which: (waiting: BlockAnswer) => boolean): void {
  const due = state.blockAnswers.filter(which);
  if (due.length === 0) return;
  const left = state.blockAnswers.filter((waiting) => !due.includes(waiting));
  state.blockAnswers.length = 0;
  state.blockAnswers.push(...left);
  state.partitionDirty = true;
  for (const { device, other } of due) answerBlock(state, device, other, 1);
}

/** The user ends the block: whoever asked for it hears of it first. */
export function answerBefore(state: UserState, user: number, other: number): void {
  giveAnswers(state, (waiting) => waiting.other === other && userOfDevice(waiting.device) === user);
}

/** Batches below the offset `end` survive a power failure. */
export function answerSynced(state: UserState, end: number): void {
  let left = ANSWERS_PER_STEP;
  giveAnswers(state, ({ offset }) => offset < end && left-- > 0);
}
