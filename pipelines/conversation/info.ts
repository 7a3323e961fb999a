/** What is answered or passed on without touching the sequence: INFO and TYPING. */

import { ErrorCodes } from '../../core/errors.js';
import { Kind, makeFrame } from '../../core/frame.js';
import { fromWords } from '../../core/ids.js';
import { TYPING_INTERVAL_MS, TYPING_MEMBERS_MAX } from '../../core/limits.js';
import { encodeMemberRows, type MemberRow, Role } from '../../core/members.js';
import { Mark, reached } from '../../core/probe.js';
import type { StepContext } from './context.js';
import { find, isParty, isValid, noAccess } from './conversations.js';
import { type Recipients, sendTo } from './fanout.js';
import { reject } from './reject.js';
import { Conv, Dev, Part } from './rows.js';

/** Tells a member who is in the conversation and how far everybody is, and the device its own last counter. */
export function handleInfo(context: StepContext): void {
  const { rows } = context;
  if (!isValid(context)) return reject(context, ErrorCodes.BAD_CONVERSATION);
  const conversation = find(context);
  if (conversation < 0) {
    if (context.isDirect && isParty(context)) return answerInfo(context, emptyDirect(context), 0, 0);
    return reject(context, noAccess(context, conversation));
  }
  if (rows.participants.find(conversation, context.userLow, context.userHigh) < 0) {
    return reject(context, noAccess(context, conversation));
  }
  const device = rows.devices.find(conversation, context.deviceLow, context.deviceHigh);
  const counter = device < 0 ? 0 : rows.u32[rows.devices.at(device) + Dev.COUNTER]!;
  const at = rows.conversations.at(conversation);
  answerInfo(context, memberRows(context, at), rows.u32[at + Conv.HEAD]!, counter);
}

function emptyDirect(context: StepContext): MemberRow[] {
  const row = (low: number, high: number): MemberRow => {
    return { user: fromWords(low, high), role: Role.MEMBER, joinedSeq: 1, delivered: 0, read: 0 };
  };
  return [row(context.aLow, context.aHigh), row(context.bLow, context.bHigh)];
}

function memberRows(context: StepContext, conversationAt: number): MemberRow[] {
  const { rows } = context;
  const members: MemberRow[] = [];
  const count = rows.u32[conversationAt + Conv.MEMBERS]!;
  for (let place = 0; place < count; place++) {
    const participant = rows.participantAt(conversationAt, place);
    const at = rows.participants.at(participant);
    members.push({
      user: rows.userOf(participant),
      role: rows.isAdmin(participant) ? Role.ADMIN : Role.MEMBER,
      joinedSeq: rows.u32[at + Part.JOINED]!,
      delivered: rows.u32[at + Part.DELIVERED]!,
      read: rows.u32[at + Part.READ]!,
    });
  }
  return members;
}

function answerInfo(context: StepContext, members: readonly MemberRow[], head: number, counter: number): void {
  const frame = makeFrame({
    kind: Kind.INFO,
    convA: fromWords(context.aLow, context.aHigh),
    convB: fromWords(context.bLow, context.bHigh),
    device: fromWords(context.deviceLow, context.deviceHigh),
    counter,
    seq: head,
    time: context.timeMs,
    payload: encodeMemberRows(members),
  });
  sendTo(context, context.userLow, context.userHigh, frame);
}

/** Passes typing on to the other members, at most once in a while unless it changes. Never kept, never an error. */
export function handleTyping(context: StepContext, recipients: Recipients): void {
  const { rows } = context;
  const conversation = find(context);
  if (conversation < 0) return;
  const sender = rows.participants.find(conversation, context.userLow, context.userHigh);
  const at = rows.conversations.at(conversation);
  if (sender < 0 || rows.u32[at + Conv.MEMBERS]! > TYPING_MEMBERS_MAX) return;
  const isTyping = context.extra !== 0;
  const senderAt = rows.participants.at(sender);
  // State in the low bit, logged time in units of 2 ms above it: enough to tell two seconds, whatever wraps.
  const before = rows.u32[senderAt + Part.TYPING]!;
  const stamp = Math.floor(context.timeMs / 2) % 2 ** 31;
  const elapsedMs = ((stamp - (before >>> 1) + 2 ** 31) % 2 ** 31) * 2;
  if (((before & 1) === 1) === isTyping && (!isTyping || elapsedMs < TYPING_INTERVAL_MS)) {
    return reached(Mark.TYPING_NOT_PASSED_ON);
  }
  rows.u32[senderAt + Part.TYPING] = ((stamp << 1) | (isTyping ? 1 : 0)) >>> 0;
  rows.touch(conversation);
  recipients.clear();
  const count = rows.u32[at + Conv.MEMBERS]!;
  for (let place = 0; place < count; place++) {
    const participant = rows.participantAt(at, place);
    if (participant !== sender) recipients.add(context, participant);
  }
  recipients.sendFrame(
    context,
    makeFrame({
      kind: Kind.TYPING,
      convA: fromWords(context.aLow, context.aHigh),
      convB: fromWords(context.bLow, context.bHigh),
      device: fromWords(context.deviceLow, context.deviceHigh),
      time: context.timeMs,
      extra: isTyping ? 1 : 0,
    }),
  );
}
