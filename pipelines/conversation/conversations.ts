/** Finding and making conversations, participants and devices. */
import { hashWords, partitionOfHash } from '../../core/ids.js';
import type { StepContext } from './context.js';
import { Conv, ConversationFlag, Part, ParticipantFlag } from './rows.js';

/** The conversation of the frame, or −1. */
export function find(context: StepContext): number {
  return context.rows.conversations.find(context.aLow, context.aHigh, context.bLow, context.bHigh);
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

function create(context: StepContext, flags: number): number {
  const { rows } = context;
  const row = rows.conversations.insert(context.aLow, context.aHigh, context.bLow, context.bHigh);
  rows.u32[rows.conversations.at(row) + Conv.FLAGS] = flags;
  return row;
}

/** The frame's conversation; made if it is not there: a direct one with its two members, a group empty and not yet created. */
export function findOrCreate(context: StepContext): number {
  const found = find(context);
  if (found >= 0) return found;
  if (!context.isDirect) return create(context, ConversationFlag.GROUP);
  const row = create(context, ConversationFlag.CREATED);
  join(context, row, context.aLow, context.aHigh, 1, false);
  join(context, row, context.bLow, context.bHigh, 1, false);
  return row;
}

/** Makes a user a member from sequence `joinedSeq` on; it must not be one now. */
export function join(
  context: StepContext,
  conversation: number,
  userLow: number,
  userHigh: number,
  joinedSeq: number,
  isAdmin: boolean,
): number {
  const { rows } = context;
  let row = rows.participants.find(conversation, userLow, userHigh);
  if (row < 0) {
    row = rows.addParticipant(conversation, userLow, userHigh);
    const partition = partitionOfHash(hashWords(userLow, userHigh, 0, 0), context.userPartitions);
    rows.u32[rows.participants.at(row) + Part.PARTITION] = partition;
  }
  const { u32 } = rows;
  const at = rows.participants.at(row);
  const conversationAt = rows.conversations.at(conversation);
  u32[at + Part.FLAGS] = ParticipantFlag.MEMBER | (isAdmin ? ParticipantFlag.ADMIN : 0);
  u32[at + Part.JOINED] = joinedSeq;
  u32[at + Part.DELIVERED] = joinedSeq - 1;
  u32[at + Part.READ] = joinedSeq - 1;
  u32[at + Part.LAST_SENT] = 0;
  u32[at + Part.TYPING] = 0;
  u32[at + Part.ORDER] = joinedSeq;
  u32[conversationAt + Conv.MEMBERS]!++;
  if (isAdmin) u32[conversationAt + Conv.ADMINS]!++;
  return row;
}

export function leave(context: StepContext, conversation: number, participant: number): void {
  const { rows } = context;
  const at = rows.participants.at(participant);
  const conversationAt = rows.conversations.at(conversation);
  if (rows.isAdmin(participant)) rows.u32[conversationAt + Conv.ADMINS]!--;
  rows.u32[at + Part.FLAGS] = 0;
  rows.u32[conversationAt + Conv.MEMBERS]!--;
}

/** A group without an admin gets its earliest member as one; of those who joined with the same frame, the first named. */
export function ensureAdmin(context: StepContext, conversation: number): void {
  const { rows } = context;
  const at = rows.conversations.at(conversation);
  if (rows.u32[at + Conv.ADMINS]! > 0 || rows.u32[at + Conv.MEMBERS] === 0) return;
  let earliest = -1;
  const count = rows.u32[at + Conv.BLOCK_COUNT]!;
  for (let place = 0; place < count; place++) {
    const participant = rows.participantAt(at, place);
    if (!rows.isMember(participant)) continue;
    if (earliest < 0 || orderOf(context, participant) < orderOf(context, earliest)) earliest = participant;
  }
  rows.u32[rows.participants.at(earliest) + Part.FLAGS]! |= ParticipantFlag.ADMIN;
  rows.u32[at + Conv.ADMINS] = 1;
}

function orderOf(context: StepContext, participant: number): number {
  return context.rows.u32[context.rows.participants.at(participant) + Part.ORDER]!;
}
