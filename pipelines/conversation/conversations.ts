/** Finding and making conversations, participants and devices. */

import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { hashWords, partitionOfHash } from '../../core/ids.js';
import { Mark, reached } from '../../core/probe.js';
import type { StepContext } from './context.js';
import { Conv, ConversationFlag, Dev, Part, ParticipantFlag } from './rows.js';

/** The conversation of the frame, or −1. */
export function find(context: StepContext): number {
  return context.rows.conversations.find(context.aLow, context.aHigh, context.bLow, context.bHigh);
}

/** The participant row of the frame's sender, or −1. A direct conversation's two are at hand, without a look-up by hash. */
export function findSender(context: StepContext, conversation: number): number {
  const { rows, userLow, userHigh } = context;
  if (!context.isDirect) return rows.participants.find(conversation, userLow, userHigh);
  const isFirst = userLow === context.aLow && userHigh === context.aHigh;
  return isFirst || isParty(context) ? rows.participantAt(rows.conversations.at(conversation), isFirst ? 0 : 1) : -1;
}

/** The row of the frame's device, or −1. The one that came last is looked at first: most often it is the only one. */
export function findDevice(context: StepContext, conversation: number): number {
  const { rows, deviceLow, deviceHigh } = context;
  const newest = rows.u32[rows.conversations.at(conversation) + Conv.DEVICES]! - 1;
  if (newest >= 0) {
    const at = rows.devices.at(newest);
    if (rows.u32[at + Dev.LOW] === deviceLow && rows.u32[at + Dev.HIGH] === deviceHigh) return newest;
  }
  return rows.devices.find(conversation, deviceLow, deviceHigh);
}

/** True if the two ids are two different users in order, or a group. The gateway checks this; a log may hold anything. */
export function isValid(context: StepContext): boolean {
  const { aLow, aHigh, bLow, bHigh } = context;
  if (!context.isDirect) return (bLow !== 0 || bHigh !== 0) && bHigh < 2 ** 20;
  return bHigh < 2 ** 13 && (aHigh < bHigh || (aHigh === bHigh && aLow < bLow));
}

/** True if the frame's sender is one of the two users of its direct conversation. */
export function isParty(context: StepContext): boolean {
  const { aLow, aHigh, bLow, bHigh, userLow, userHigh } = context;
  return (userLow === aLow && userHigh === aHigh) || (userLow === bLow && userHigh === bHigh);
}

/** Makes the frame's conversation: a direct one with its two members, a group empty and not yet created. */
export function create(context: StepContext): number {
  const { rows, isDirect } = context;
  const row = rows.conversations.insert(context.aLow, context.aHigh, context.bLow, context.bHigh);
  const at = rows.conversations.at(row);
  rows.u32[at + Conv.HEAD] = context.firstHead;
  rows.u32[at + Conv.FLAGS] = isDirect ? ConversationFlag.CREATED : ConversationFlag.GROUP;
  if (!isDirect) return row;
  join(context, row, context.aLow, context.aHigh, 1, false);
  join(context, row, context.bLow, context.bHigh, 1, false);
  return row;
}

/** Why somebody who is no member is told nothing. `conversation` may be −1. */
export function noAccess(context: StepContext, conversation: number): ErrorCode {
  if (context.isDirect) return ErrorCodes.NOT_MEMBER;
  const { rows } = context;
  if (conversation < 0) return ErrorCodes.NO_GROUP;
  const flags = rows.u32[rows.conversations.at(conversation) + Conv.FLAGS]!;
  return (flags & ConversationFlag.CREATED) === 0 ? ErrorCodes.NO_GROUP : ErrorCodes.NOT_MEMBER;
}

/** Makes a user, who is no member now, a member from sequence `joinedSeq` on. */
export function join(
  context: StepContext,
  conversation: number,
  userLow: number,
  userHigh: number,
  joinedSeq: number,
  isAdmin: boolean,
): void {
  const { rows } = context;
  const partition = partitionOfHash(hashWords(userLow, userHigh, 0, 0), context.userPartitions);
  const row = rows.addParticipant(conversation, userLow, userHigh, partition);
  const { u32 } = rows;
  const at = rows.participants.at(row);
  u32[at + Part.FLAGS] = isAdmin ? ParticipantFlag.ADMIN : 0;
  u32[at + Part.JOINED] = joinedSeq;
  u32[at + Part.DELIVERED] = joinedSeq - 1;
  u32[at + Part.READ] = joinedSeq - 1;
  if (isAdmin) u32[rows.conversations.at(conversation) + Conv.ADMINS]!++;
}

/** Takes members out. A group that loses its last admin gets the member who joined first as one. */
export function leave(context: StepContext, conversation: number, participants: readonly number[]): void {
  const { rows } = context;
  const conversationAt = rows.conversations.at(conversation);
  for (const participant of participants) {
    if (rows.isAdmin(participant)) rows.u32[conversationAt + Conv.ADMINS]!--;
  }
  rows.removeParticipants(conversation, new Set(participants));
  ensureAdmin(context, conversation);
}

/** A group without an admin gets its earliest member as one; of those who joined with the same frame, the first named. */
export function ensureAdmin(context: StepContext, conversation: number): void {
  const { rows } = context;
  const at = rows.conversations.at(conversation);
  if (rows.u32[at + Conv.MEMBERS] === 0) reached(Mark.GROUP_LOST_ITS_LAST_MEMBER);
  if (rows.u32[at + Conv.ADMINS]! > 0 || rows.u32[at + Conv.MEMBERS] === 0) return;
  reached(Mark.GROUP_LOST_ITS_LAST_ADMIN);
  rows.u32[rows.participants.at(rows.participantAt(at, 0)) + Part.FLAGS]! |= ParticipantFlag.ADMIN;
  rows.u32[at + Conv.ADMINS] = 1;
}
