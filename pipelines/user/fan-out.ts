/**
 * What conversation lanes say: each entry is a frame and the users of this partition that it goes to.
 *
 * | kind | what becomes of it |
 * |---|---|
 * | sequenced, GAP, REJECT | an inbox entry for each recipient |
 * | RECEIPT | the same; replaces an older one of the same conversation and user; not if a user's only device need not get it |
 * | SENT (a repeated counter), INFO | to the device named in it, if it is connected; not kept |
 * | TYPING | to live connections, coalesced; not kept |
 * | BLOCK, DEVICE_REMOVE | as if its user had said it here: it came that way to be on the disk first |
 */

import {
  type Batch,
  BatchAt,
  exceptedDevice,
  RECIPIENT_BYTES,
  recipientHigh,
  SourceKind,
  sourceId,
} from '../../core/batch.js';
import { At, Flag, frameLength, isSequenced, Kind, readU53 } from '../../core/frame.js';
import { isUserId, numberOfDevice, userOfDevice } from '../../core/ids.js';
import { Mark, reached } from '../../core/probe.js';
import { copyToBlob, makeBlob, releaseBlob, retainBlob } from './blobs.js';
import { block } from './blocks.js';
import {
  collectLive,
  collectLiveTable,
  frameUser,
  gapFor,
  gapReason,
  keepAlone,
  sendLive,
  sendTransient,
} from './deliver.js';
import { appendEntry, replaceOlder } from './inbox.js';
import type { Kernel } from './kernel.js';
import { DeviceAt, EntryAt, getPair, Mode, UserAt } from './rows.js';
import { findConnected, removeDevice } from './sessions.js';
import type { UserState } from './state.js';
import { offerTyping } from './updates.js';

/** Takes a FANOUT batch, unless it was taken before. */
export function takeFanOut(state: UserState, batch: Batch): void {
  if (!isNew(state, batch)) return;
  let at: number = BatchAt.ENTRIES;
  for (let n = 0; n < batch.header.count; n++) at = takeEntryAt(state, batch, at);
}

/** The same with the kernel, which leaves to this code what is not ordinary. */
export function takeFanOutWith(kernel: Kernel, state: UserState, batch: Batch): void {
  if (!isNew(state, batch)) return;
  kernel.begin(batch);
  for (let at = kernel.next(); at >= 0; at = kernel.next()) {
    state.handedOver++;
    takeEntryAt(state, batch, at);
  }
}

/** Takes the entry at `at`; returns where the next one lies. */
function takeEntryAt(state: UserState, batch: Batch, at: number): number {
  const { view } = batch;
  const length = frameLength(view, at);
  const list = at + length;
  const recipients = view.getUint32(list, true);
  takeEntry(state, batch, at, length, list + 4, recipients);
  return list + 4 + recipients * RECIPIENT_BYTES;
}

/** A conversation lane that starts again says the same once more, in the same batches: one watermark tells. */
function isNew(state: UserState, batch: Batch): boolean {
  const source = batch.header.sourceId - sourceId(SourceKind.CONVERSATION, 0);
  if (source < 0 || source >= state.conversationPartitions) {
    state.counters.ignoredFrames += batch.header.count;
    return false;
  }
  const { sourceSeq, index } = batch.header;
  const seen = state.seenSeq[source]!;
  if (sourceSeq < seen || (sourceSeq === seen && index <= state.seenIndex[source]!)) {
    reached(Mark.FAN_OUT_REPEATED);
    state.counters.repeatedBatches++;
    return false;
  }
  state.seenSeq[source] = sourceSeq;
  state.seenIndex[source] = index;
  state.partitionDirty = true;
  return true;
}

function takeEntry(state: UserState, batch: Batch, at: number, length: number, list: number, recipients: number): void {
  const kind = batch.bytes[at + At.KIND]!;
  if (isSequenced(kind)) takeSequenced(state, batch, at, length, list, recipients);
  else if (kind === Kind.RECEIPT || kind === Kind.REJECT || kind === Kind.GAP)
    takeKept(state, batch, at, length, list, recipients);
  else if (kind === Kind.BLOCK) block(state, batch, at);
  else if (kind === Kind.DEVICE_REMOVE) removeDevice(state, batch, at);
  else if (kind === Kind.SENT || kind === Kind.INFO) answerDevice(state, batch, at, length);
  else if (kind === Kind.TYPING) {
    for (let n = 0; n < recipients; n++) {
      const user = state.findUser(recipientId(batch.view, list, n));
      if (user !== 0) offerTyping(state, user, batch.view, at);
    }
  } else state.counters.ignoredFrames++;
}

function recipientId(view: DataView, list: number, n: number): number {
  const high = recipientHigh(view.getUint32(list + n * RECIPIENT_BYTES + 4, true));
  return high * 2 ** 32 + view.getUint32(list + n * RECIPIENT_BYTES, true);
}

/** Row of a recipient; 0 if the id is none. */
function recipient(state: UserState, view: DataView, list: number, n: number): number {
  if (!isUserId(recipientId(view, list, n))) {
    state.counters.ignoredFrames++;
    return 0;
  }
  const at = list + n * RECIPIENT_BYTES;
  return state.ensureUser(view.getUint32(at, true), recipientHigh(view.getUint32(at + 4, true)));
}

/** True if the only device that the user has is the one that need not get the frame. */
function isNotNeeded(state: UserState, user: number, view: DataView, list: number, n: number): boolean {
  const number = exceptedDevice(view.getUint32(list + n * RECIPIENT_BYTES + 4, true));
  if (number === 0) return false;
  const u32 = state.memory.u32;
  const device = u32[user + UserAt.FIRST_DEVICE]!;
  return device !== 0 && u32[device + DeviceAt.NEXT] === 0 && u32[device + DeviceAt.NUMBER] === number;
}

/** From when on the frame at `at` must not be delivered: a message has its own time to live, all else the queue's. */
function deadlineOf(state: UserState, view: DataView, at: number): number {
  const seconds = view.getUint8(at + At.KIND) === Kind.MESSAGE ? view.getUint32(at + At.EXTRA) : 0;
  const { queueTtlMs } = state.limits;
  const sentMs = readU53(view, at + At.TIME) || state.nowMs;
  return sentMs + (seconds === 0 ? queueTtlMs : Math.min(seconds * 1_000, queueTtlMs));
}

function takeSequenced(
  state: UserState,
  batch: Batch,
  at: number,
  length: number,
  list: number,
  recipients: number,
): void {
  const { bytes, view } = batch;
  const deadlineMs = deadlineOf(state, view, at);
  const device = readU53(view, at + At.DEVICE);
  const senderUser = userOfDevice(device);
  const senderNumber = numberOfDevice(device);
  const hasTable = (bytes[at + At.FLAGS]! & Flag.DEVICE_TABLE) !== 0;
  if (hasTable) state.table.load(view, at);
  const blob = copyToBlob(state, bytes, at, length, deadlineMs);
  retainBlob(state, blob);
  for (let n = 0; n < recipients; n++) {
    const user = recipient(state, view, list, n);
    if (user === 0) continue;
    const reason = gapReason(state, user, view, at, deadlineMs);
    if (reason !== 0) {
      keepAlone(state, user, makeBlob(state, gapFor(state, view, at, reason), 0));
      continue;
    }
    const entry = appendEntry(state, user, blob);
    const position = getPair(state.memory.u32, entry + EntryAt.POSITION);
    const sender = state.idOf(user) === senderUser ? senderNumber : 0;
    if (hasTable) collectLiveTable(state, user, position, sender, bytes, at);
    else collectLive(state, user, position, sender);
  }
  releaseBlob(state, blob);
  state.targets.flush(state.out, bytes, at, length);
}

function takeKept(state: UserState, batch: Batch, at: number, length: number, list: number, recipients: number): void {
  const { bytes, view } = batch;
  const kind = bytes[at + At.KIND]!;
  // A refusal that expired would look like a message that was taken, when its device comes back and sends it again.
  const deadlineMs = kind === Kind.RECEIPT ? deadlineOf(state, view, at) : 0;
  const whose = kind === Kind.RECEIPT ? frameUser(view, at) : 0;
  const blob = copyToBlob(state, bytes, at, length, deadlineMs);
  retainBlob(state, blob);
  for (let n = 0; n < recipients; n++) {
    const user = recipient(state, view, list, n);
    if (user === 0 || state.isBlocked(user, whose) || isNotNeeded(state, user, view, list, n)) continue;
    if (kind !== Kind.REJECT) replaceOlder(state, user, blob);
    const entry = appendEntry(state, user, blob);
    if (kind === Kind.RECEIPT) collectLive(state, user, getPair(state.memory.u32, entry + EntryAt.POSITION), 0);
    else sendLive(state, user, entry);
  }
  releaseBlob(state, blob);
  state.targets.flush(state.out, bytes, at, length);
}

/**
 * Sends an answer that is not kept to the device named in the frame, if it is connected. What tells of counters (SENT, INFO) must
 * not come before outcomes that wait in the inbox: while it catches up the device gets none, and asks again.
 */
export function answerDevice(state: UserState, batch: Batch, at: number, length: number): void {
  const device = findConnected(state, readU53(batch.view, at + At.DEVICE));
  if (device === 0) return;
  const isLive = state.memory.u32[device + DeviceAt.MODE] === Mode.LIVE;
  if (!isLive && batch.bytes[at + At.KIND] !== Kind.REJECT) return reached(Mark.ANSWER_NOT_AHEAD_OF_THE_INBOX);
  sendTransient(state, device, batch.bytes, at, length);
}
