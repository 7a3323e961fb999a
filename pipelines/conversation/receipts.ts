/**
 * Receipts are watermarks: "delivered up to", "read up to". Merging is a maximum, so repeats and reordering do no harm.
 *
 * A group's aggregate is the minimum over its current members. How many members stand at the minimum is kept beside it, so
 * that it is computed again, over all members, only when the last of them moves on: once a message, not once a receipt.
 */

import { ErrorCodes } from '../../core/errors.js';
import { At, Kind, makeFrame } from '../../core/frame.js';
import { fromWords } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import type { StepContext } from './context.js';
import { find, isParty, isValid, noAccess } from './conversations.js';
import { type Recipients, sendTo } from './fanout.js';
import { reject } from './reject.js';
import { Conv, ConversationFlag, Part } from './rows.js';

interface Watermark {
  readonly part: number;
  readonly aggregate: number;
  readonly atMinimum: number;
}

const DELIVERED: Watermark = { part: Part.DELIVERED, aggregate: Conv.DELIVERED, atMinimum: Conv.AT_DELIVERED };
const READ: Watermark = { part: Part.READ, aggregate: Conv.READ, atMinimum: Conv.AT_READ };

/** A member read up to the frame's sequence. */
export function handleRead(context: StepContext, recipients: Recipients): void {
  const { rows } = context;
  if (!isValid(context)) return reject(context, ErrorCodes.BAD_CONVERSATION);
  const seq = context.view.getUint32(context.at + At.SEQ);
  const conversation = find(context);
  if (conversation < 0 && context.isDirect && isParty(context)) {
    // It exists as soon as somebody writes; until then there is nothing to read.
    return seq === 0 ? undefined : reject(context, ErrorCodes.BEYOND_HEAD);
  }
  const member = conversation < 0 ? -1 : rows.participants.find(conversation, context.userLow, context.userHigh);
  if (member < 0) return reject(context, noAccess(context, conversation));
  const head = rows.u32[rows.conversations.at(conversation) + Conv.HEAD]!;
  if (seq > head) return reject(context, ErrorCodes.BEYOND_HEAD, head);
  const at = rows.participants.at(member);
  if (seq <= rows.u32[at + Part.READ]!) return reached(Mark.READ_OF_WHAT_WAS_READ);
  advance(context, conversation, member, Math.max(seq, rows.u32[at + Part.DELIVERED]!), seq, recipients);
  // The device itself knows already.
  sendWatermarks(context, member, context.userLow, context.userHigh, context.deviceLow & 127);
}

/** The user stage says that a user's device has everything up to the frame's sequence. */
export function handleDelivered(context: StepContext, recipients: Recipients): void {
  const { rows } = context;
  const conversation = find(context);
  if (conversation < 0) return;
  const member = rows.participants.find(conversation, context.userLow, context.userHigh);
  if (member < 0) return;
  const head = rows.u32[rows.conversations.at(conversation) + Conv.HEAD]!;
  const seq = Math.min(head, context.view.getUint32(context.at + At.SEQ));
  const at = rows.participants.at(member);
  if (seq <= rows.u32[at + Part.DELIVERED]!) return reached(Mark.DELIVERED_OF_WHAT_WAS_DELIVERED);
  advance(context, conversation, member, seq, rows.u32[at + Part.READ]!, recipients);
}

/** Moves a member's watermarks, and tells those whom it concerns. */
function advance(
  context: StepContext,
  conversation: number,
  member: number,
  delivered: number,
  read: number,
  recipients: Recipients,
): void {
  const { rows } = context;
  rows.touch(conversation);
  const conversationAt = rows.conversations.at(conversation);
  const isGroup = (rows.u32[conversationAt + Conv.FLAGS]! & ConversationFlag.GROUP) !== 0;
  if (!isGroup) {
    set(context, member, delivered, read);
    tellOther(context, conversationAt, member);
    return;
  }
  const before = { delivered: rows.u32[conversationAt + Conv.DELIVERED]!, read: rows.u32[conversationAt + Conv.READ]! };
  const old = rows.participants.at(member);
  const oldDelivered = rows.u32[old + Part.DELIVERED]!;
  const oldRead = rows.u32[old + Part.READ]!;
  set(context, member, delivered, read);
  movedOn(context, conversationAt, DELIVERED, oldDelivered, delivered);
  movedOn(context, conversationAt, READ, oldRead, read);
  tellSenders(context, conversationAt, before.delivered, before.read, recipients);
}

function set(context: StepContext, member: number, delivered: number, read: number): void {
  const { rows } = context;
  const at = rows.participants.at(member);
  rows.u32[at + Part.DELIVERED] = delivered;
  rows.u32[at + Part.READ] = read;
}

/** One member's watermark went from `old` to `value`. */
function movedOn(context: StepContext, conversationAt: number, mark: Watermark, old: number, value: number): void {
  const { rows } = context;
  if (value === old || old !== rows.u32[conversationAt + mark.aggregate]) return;
  const left = rows.u32[conversationAt + mark.atMinimum]! - 1;
  if (left > 0) rows.u32[conversationAt + mark.atMinimum] = left;
  else {
    reached(Mark.AGGREGATE_COMPUTED);
    computeAggregate(context, conversationAt, mark);
  }
}

function computeAggregate(context: StepContext, conversationAt: number, mark: Watermark): void {
  const { rows } = context;
  // A group that all have left has no minimum; it says 0, as it does when it is made from an export.
  let minimum = 0;
  let atMinimum = 0;
  const count = rows.u32[conversationAt + Conv.MEMBERS]!;
  for (let place = 0; place < count; place++) {
    const at = rows.participants.at(rows.participantAt(conversationAt, place));
    const value = rows.u32[at + mark.part]!;
    if (atMinimum === 0 || value < minimum) {
      minimum = value;
      atMinimum = 0;
    }
    if (value === minimum) atMinimum++;
  }
  rows.u32[conversationAt + mark.aggregate] = minimum;
  rows.u32[conversationAt + mark.atMinimum] = atMinimum;
}

/** Direct: the other party learns both watermarks. */
function tellOther(context: StepContext, conversationAt: number, member: number): void {
  const { rows } = context;
  const first = rows.participantAt(conversationAt, 0);
  const other = rows.participants.at(first === member ? rows.participantAt(conversationAt, 1) : first);
  sendWatermarks(context, member, rows.u32[other + Part.USER_LOW]!, rows.u32[other + Part.USER_HIGH]!, 0);
}

/** Sends a member's watermarks to a user. `except`: number of a device that need not get them, or 0. */
function sendWatermarks(context: StepContext, member: number, userLow: number, userHigh: number, except: number): void {
  const { rows } = context;
  const at = rows.participants.at(member);
  const frame = receipt(
    context,
    rows.userOf(member) * DEVICE_KEY_FACTOR,
    rows.u32[at + Part.DELIVERED]!,
    rows.u32[at + Part.READ]!,
  );
  sendTo(context, userLow, userHigh, frame, except);
}

function receipt(context: StepContext, device: number, delivered: number, read: number): ReturnType<typeof makeFrame> {
  return makeFrame({
    kind: Kind.RECEIPT,
    convA: fromWords(context.aLow, context.aHigh),
    convB: fromWords(context.bLow, context.bHigh),
    device,
    seq: delivered,
    extra: read,
    time: context.timeMs,
  });
}

/** Group: the aggregate goes to the members with a message that it may newly cover. */
function tellSenders(
  context: StepContext,
  conversationAt: number,
  oldDelivered: number,
  oldRead: number,
  recipients: Recipients,
): void {
  const { rows } = context;
  const delivered = rows.u32[conversationAt + Conv.DELIVERED]!;
  const read = rows.u32[conversationAt + Conv.READ]!;
  if (delivered === oldDelivered && read === oldRead) return;
  recipients.clear();
  const count = rows.u32[conversationAt + Conv.MEMBERS]!;
  for (let place = 0; place < count; place++) {
    const participant = rows.participantAt(conversationAt, place);
    const at = rows.participants.at(participant);
    const lastSent = rows.u32[at + Part.LAST_SENT]!;
    if ((delivered > oldDelivered && lastSent > oldDelivered) || (read > oldRead && lastSent > oldRead)) {
      recipients.add(context, participant);
    }
  }
  if (recipients.size > 0) recipients.sendFrame(context, receipt(context, 0, delivered, read));
}

/**
 * After a sequenced frame: its sender has it, and has read it if everything before was read. After a group change the
 * aggregates are computed anew, since who counts has changed. `sender`: its participant row, −1 if it has left.
 */
export function afterOwnSend(
  context: StepContext,
  conversationAt: number,
  sender: number,
  seq: number,
  recipients: Recipients,
): void {
  const { rows } = context;
  const aggregateDelivered = rows.u32[conversationAt + Conv.DELIVERED]!;
  const aggregateRead = rows.u32[conversationAt + Conv.READ]!;
  if (sender >= 0) {
    const at = rows.participants.at(sender);
    const oldDelivered = rows.u32[at + Part.DELIVERED]!;
    const oldRead = rows.u32[at + Part.READ]!;
    rows.u32[at + Part.LAST_SENT] = seq;
    const delivered = oldDelivered === seq - 1 ? seq : oldDelivered;
    const read = oldRead === seq - 1 ? seq : oldRead;
    set(context, sender, delivered, read);
    if (context.isDirect) return;
    movedOn(context, conversationAt, DELIVERED, oldDelivered, delivered);
    movedOn(context, conversationAt, READ, oldRead, read);
  }
  if (context.kind !== Kind.MESSAGE) {
    computeAggregate(context, conversationAt, DELIVERED);
    computeAggregate(context, conversationAt, READ);
  }
  tellSenders(context, conversationAt, aggregateDelivered, aggregateRead, recipients);
}

/** For imports: both aggregates from the members' watermarks. */
export function deriveAggregates(context: StepContext, conversation: number): void {
  const conversationAt = context.rows.conversations.at(conversation);
  computeAggregate(context, conversationAt, DELIVERED);
  computeAggregate(context, conversationAt, READ);
}
