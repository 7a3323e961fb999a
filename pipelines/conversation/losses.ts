/**
 * After a loss that was accepted: the log had records that are gone, and whatever was sequenced out of them may have reached
 * devices. How many sequences that were nobody knows, but it was less than `LOST_SEQUENCES_MAX` in a conversation. So each begins
 * that much higher, those of which the state knows nothing too, and members are told that nothing comes in between.
 */
import { Kind, makeFrame } from '../../core/frame.js';
import { fromWords } from '../../core/ids.js';
import { LOST_SEQUENCES_MAX, SEQUENCE_MAX } from '../../core/limits.js';
import type { StepContext } from './context.js';
import type { Recipients } from './fanout.js';
import { Conv, type Rows } from './rows.js';

/** GAP's `extra`: the messages are lost. */
const GAP_LOST = 0;

/** The head of a conversation that is new after so many losses. */
export function headAfter(losses: number): number {
  return Math.min(SEQUENCE_MAX, losses * LOST_SEQUENCES_MAX);
}

function liveRows(rows: Rows): number[] {
  const { conversations } = rows;
  const live: number[] = [];
  for (let row = 0; row < conversations.rowLimit; row++) if (conversations.isLive(row)) live.push(row);
  return live;
}

/** Raises every head. */
export function skipLost(rows: Rows): void {
  for (const row of liveRows(rows)) {
    const at = rows.conversations.at(row) + Conv.HEAD;
    rows.u32[at] = Math.min(SEQUENCE_MAX, rows.u32[at]! + LOST_SEQUENCES_MAX);
    rows.touch(row);
  }
}

/** Tells all members of all conversations, in the order of their ids: rows may lie in another after a restart. */
export function tellLost(context: StepContext, recipients: Recipients): void {
  const { rows } = context;
  const { u32, conversations } = rows;
  const ids = liveRows(rows).map((row) => {
    const at = conversations.at(row);
    return { at, a: fromWords(u32[at]!, u32[at + 1]!), b: fromWords(u32[at + 2]!, u32[at + 3]!) };
  });
  for (const { at, a: convA, b: convB } of ids.toSorted((one, other) => one.a - other.a || one.b - other.b)) {
    recipients.clear();
    recipients.addMembers(context, at);
    const seq = u32[at + Conv.HEAD]!;
    recipients.sendFrame(
      context,
      makeFrame({ kind: Kind.GAP, convA, convB, seq, time: context.timeMs, extra: GAP_LOST }),
    );
  }
}
