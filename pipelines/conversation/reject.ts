/** Answers to one device: rejections and repeated outcomes. Rejections are records like any other, and travel the same way. */

import { type ErrorCode, errorOfCode } from '../../core/errors.js';
import { Flag, isSequenced, Kind, makeFrame } from '../../core/frame.js';
import { fromWords } from '../../core/ids.js';
import { Mark, reached } from '../../core/probe.js';
import type { StepContext } from './context.js';
import { sendTo } from './fanout.js';
import { Dev } from './rows.js';

const encoder = new TextEncoder();
const sentences = new Map<number, Uint8Array>();

function sentence(error: ErrorCode): Uint8Array {
  let bytes = sentences.get(error.code);
  if (bytes === undefined) {
    bytes = encoder.encode(error.sentence);
    sentences.set(error.code, bytes);
  }
  return bytes;
}

/** Tells the sending device that its frame was not taken. `seq`: what errors.ts says for the code. */
export function reject(context: StepContext, error: ErrorCode, seq = 0): void {
  const frame = makeFrame({
    kind: Kind.REJECT,
    convA: fromWords(context.aLow, context.aHigh),
    convB: fromWords(context.bLow, context.bHigh),
    device: fromWords(context.deviceLow, context.deviceHigh),
    // Counter 0 says that it is no answer to a sequenced frame.
    counter: isSequenced(context.kind) ? context.counter : 0,
    seq,
    time: context.timeMs,
    extra: error.code,
    payload: sentence(error),
  });
  sendTo(context, context.userLow, context.userHigh, frame);
}

/** Answers a counter that was taken before: as it was answered then if that is still known, otherwise with sequence 0. */
export function answerAgain(context: StepContext, device: number): void {
  const { rows } = context;
  const at = rows.devices.at(device);
  const isLast = rows.u32[at + Dev.COUNTER] === context.counter;
  const code = isLast ? rows.u32[at + Dev.CODE]! : 0;
  const error = code === 0 ? undefined : errorOfCode(code);
  if (error !== undefined) {
    reached(Mark.COUNTER_REJECTED_AGAIN);
    reject(context, error);
    return;
  }
  reached(isLast ? Mark.COUNTER_ANSWERED_AGAIN : Mark.COUNTER_FORGOTTEN);
  const frame = makeFrame({
    kind: Kind.SENT,
    flags: Flag.DUPLICATE,
    convA: fromWords(context.aLow, context.aHigh),
    convB: fromWords(context.bLow, context.bHigh),
    device: fromWords(context.deviceLow, context.deviceHigh),
    counter: context.counter,
    seq: isLast ? rows.u32[at + Dev.SEQ]! : 0,
    time: context.timeMs,
  });
  sendTo(context, context.userLow, context.userHigh, frame);
}
