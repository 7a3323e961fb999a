/** Group changes: sequenced like messages, and seen by everybody they concern: the removed see them last, the added first. */

import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { Kind } from '../../core/frame.js';
import { highWord, lowWord } from '../../core/ids.js';
import { GROUP_MEMBERS_MAX, PAYLOAD_BYTES_MAX } from '../../core/limits.js';
import { Role, readMembers } from '../../core/members.js';
import { Mark, reached } from '../../core/probe.js';
import type { StepContext } from './context.js';
import { ensureAdmin, join, leave } from './conversations.js';
import type { Recipients } from './fanout.js';
import { Conv, ConversationFlag, Part, ParticipantFlag } from './rows.js';

/**
 * Applies the change that the context's frame asks for, as sequence `seq`, and puts all who must see it into `recipients`. On an
 * error nothing was changed.
 */
export function applyGroupChange(
  context: StepContext,
  conversation: number,
  seq: number,
  recipients: Recipients,
): ErrorCode | undefined {
  if (context.isDirect) return ErrorCodes.BAD_CONVERSATION;
  const { rows, kind } = context;
  const at = rows.conversations.at(conversation);
  const exists = (rows.u32[at + Conv.FLAGS]! & ConversationFlag.CREATED) !== 0;
  if (kind === Kind.GROUP_CREATE)
    return exists ? ErrorCodes.GROUP_EXISTS : create(context, conversation, seq, recipients);
  if (!exists) return ErrorCodes.NO_GROUP;
  const sender = rows.participants.find(conversation, context.userLow, context.userHigh);
  if (sender < 0) return ErrorCodes.NOT_MEMBER;
  if (kind === Kind.GROUP_LEAVE) {
    if (context.end > context.payloadAt) return ErrorCodes.BAD_VALUE;
    recipients.addMembers(context, at);
    leave(context, conversation, [sender]);
    return undefined;
  }
  if (!rows.isAdmin(sender)) {
    reached(Mark.GROUP_CHANGE_BY_NO_ADMIN);
    return ErrorCodes.NOT_ADMIN;
  }
  if (kind === Kind.GROUP_ADD) return add(context, conversation, seq, recipients);
  const users = readMembers(context.bytes, context.payloadAt, context.end, GROUP_MEMBERS_MAX);
  if (users === undefined) return ErrorCodes.BAD_MEMBERS;
  if (kind === Kind.GROUP_REMOVE) return remove(context, conversation, users, recipients);
  return changeRole(context, conversation, users, recipients);
}

function noChange(): ErrorCode {
  reached(Mark.GROUP_CHANGE_OF_NOTHING);
  return ErrorCodes.NO_CHANGE;
}

/** Users to be made members. More than a group can have is not malformed: the caller answers it with GROUP_FULL. */
function readNewMembers(context: StepContext): number[] | undefined {
  return readMembers(context.bytes, context.payloadAt, context.end, PAYLOAD_BYTES_MAX);
}

/** The creator may be among those named, and counts once. */
function create(
  context: StepContext,
  conversation: number,
  seq: number,
  recipients: Recipients,
): ErrorCode | undefined {
  const { rows } = context;
  const users = readNewMembers(context);
  if (users === undefined) return ErrorCodes.BAD_MEMBERS;
  const others = users.filter((user) => lowWord(user) !== context.userLow || highWord(user) !== context.userHigh);
  if (others.length + 1 > GROUP_MEMBERS_MAX) return ErrorCodes.GROUP_FULL;
  const at = rows.conversations.at(conversation);
  rows.u32[at + Conv.FLAGS]! |= ConversationFlag.CREATED;
  join(context, conversation, context.userLow, context.userHigh, seq, true);
  for (const user of others) join(context, conversation, lowWord(user), highWord(user), seq, false);
  recipients.addMembers(context, at);
  return undefined;
}

function add(context: StepContext, conversation: number, seq: number, recipients: Recipients): ErrorCode | undefined {
  const { rows } = context;
  const users = readNewMembers(context);
  if (users === undefined) return ErrorCodes.BAD_MEMBERS;
  const at = rows.conversations.at(conversation);
  const fresh = users.filter((user) => rows.participants.find(conversation, lowWord(user), highWord(user)) < 0);
  if (fresh.length === 0) return noChange();
  if (rows.u32[at + Conv.MEMBERS]! + fresh.length > GROUP_MEMBERS_MAX) return ErrorCodes.GROUP_FULL;
  for (const user of fresh) join(context, conversation, lowWord(user), highWord(user), seq, false);
  recipients.addMembers(context, at);
  return undefined;
}

/** The participant rows of those users who are members. */
function membersAmong(context: StepContext, conversation: number, users: readonly number[]): number[] {
  const { rows } = context;
  return users
    .map((user) => rows.participants.find(conversation, lowWord(user), highWord(user)))
    .filter((participant) => participant >= 0);
}

function remove(
  context: StepContext,
  conversation: number,
  users: readonly number[],
  recipients: Recipients,
): ErrorCode | undefined {
  const members = membersAmong(context, conversation, users);
  if (members.length === 0) return noChange();
  recipients.addMembers(context, context.rows.conversations.at(conversation));
  leave(context, conversation, members);
  return undefined;
}

function changeRole(
  context: StepContext,
  conversation: number,
  users: readonly number[],
  recipients: Recipients,
): ErrorCode | undefined {
  const { rows } = context;
  const role = context.extra;
  if (role !== Role.MEMBER && role !== Role.ADMIN) return ErrorCodes.BAD_VALUE;
  const members = membersAmong(context, conversation, users).filter(
    (row) => rows.isAdmin(row) !== (role === Role.ADMIN),
  );
  if (members.length === 0) return noChange();
  const at = rows.conversations.at(conversation);
  for (const participant of members) {
    rows.u32[rows.participants.at(participant) + Part.FLAGS]! ^= ParticipantFlag.ADMIN;
    rows.u32[at + Conv.ADMINS]! += role === Role.ADMIN ? 1 : -1;
  }
  ensureAdmin(context, conversation);
  recipients.addMembers(context, at);
  return undefined;
}
