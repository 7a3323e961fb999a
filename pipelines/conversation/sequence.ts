/**
 * Sequenced frames: each takes the next counter of its device and, if it is allowed, the next sequence of its conversation.
 * A rejection that cannot be retried takes the counter too, so that a second copy of the frame can never be accepted later.
 */

import { checkDeviceTable } from '../../core/device-table.js';
import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { Flag, Kind } from '../../core/frame.js';
import { MESSAGE_TTL_S_MAX, PAYLOAD_BYTES_MAX, SEQUENCE_MAX, TABLE_PAYLOAD_BYTES_MAX } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import type { StepContext } from './context.js';
import { create, find, findDevice, findSender, isParty, isValid, noAccess } from './conversations.js';
import type { Recipients } from './fanout.js';
import { applyGroupChange } from './groups.js';
import { afterOwnSend } from './receipts.js';
import { answerAgain, reject } from './reject.js';
import { Conv, Dev } from './rows.js';

export function sequenceFrame(context: StepContext, recipients: Recipients): void {
  if (!context.deviceIsSender) return;
  if (!isValid(context)) return reject(context, ErrorCodes.BAD_CONVERSATION);
  if (context.counter === 0) return reject(context, ErrorCodes.BAD_VALUE);
  // Somebody else's direct conversation must not come to be by being named; nothing can ever make the sender a party to it.
  if (context.isDirect && !isParty(context)) return reject(context, ErrorCodes.NOT_MEMBER);
  const { rows } = context;
  const known = find(context);
  const knownDevice = known < 0 ? -1 : findDevice(context, known);
  const last = knownDevice < 0 ? 0 : rows.u32[rows.devices.at(knownDevice) + Dev.COUNTER]!;
  if (context.counter <= last) return answerAgain(context, knownDevice);
  // Nothing is taken, so nothing is made either.
  if (context.counter > last + 1) {
    reached(Mark.COUNTER_GAP);
    return reject(context, ErrorCodes.COUNTER_GAP, last + 1);
  }
  const conversation = known >= 0 ? known : create(context);
  const device = knownDevice >= 0 ? knownDevice : rows.addDevice(conversation, context.deviceLow, context.deviceHigh);
  const deviceAt = rows.devices.at(device);
  rows.u32[deviceAt + Dev.COUNTER] = context.counter;
  rows.touch(conversation);
  const error = accept(context, conversation, deviceAt, recipients);
  if (error === undefined) return;
  rows.u32[deviceAt + Dev.SEQ] = 0;
  rows.u32[deviceAt + Dev.CODE] = error.code;
  reject(context, error);
}

/** Sequences and fans out, or says why not. */
function accept(
  context: StepContext,
  conversation: number,
  deviceAt: number,
  recipients: Recipients,
): ErrorCode | undefined {
  const { rows } = context;
  const at = rows.conversations.at(conversation);
  const head = rows.u32[at + Conv.HEAD]!;
  if (head >= SEQUENCE_MAX) return ErrorCodes.SEQUENCE_END;
  const isMessage = context.kind === Kind.MESSAGE;
  let sender = isMessage ? findSender(context, conversation) : -1;
  const error = isMessage ? checkMessage(context, conversation, sender) : undefined;
  if (error !== undefined) return error;
  const seq = head + 1;
  recipients.clear();
  if (isMessage) {
    recipients.addMembers(context, at);
  } else {
    const refused = applyGroupChange(context, conversation, seq, recipients);
    if (refused !== undefined) return refused;
    // It may have come or gone just now.
    sender = findSender(context, conversation);
  }
  rows.u32[at + Conv.HEAD] = seq;
  rows.u32[deviceAt + Dev.SEQ] = seq;
  rows.u32[deviceAt + Dev.CODE] = 0;
  recipients.sendSequenced(context, seq);
  afterOwnSend(context, at, sender, seq, recipients);
  return undefined;
}

function checkMessage(context: StepContext, conversation: number, sender: number): ErrorCode | undefined {
  if (sender < 0) return noAccess(context, conversation);
  if (context.extra > MESSAGE_TTL_S_MAX) return ErrorCodes.BAD_VALUE;
  const isTable = (context.flags & Flag.DEVICE_TABLE) !== 0;
  const payloadBytes = context.end - context.payloadAt;
  if (payloadBytes > (isTable ? TABLE_PAYLOAD_BYTES_MAX : PAYLOAD_BYTES_MAX)) return ErrorCodes.TOO_LARGE;
  if (isTable && !checkDeviceTable(context.bytes, context.payloadAt, context.end)) return ErrorCodes.BAD_TABLE;
  return undefined;
}
