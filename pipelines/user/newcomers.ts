/**
 * New devices, until it is known that the log will not forget them. A device is registered where its CONNECT stands in the log,
 * and what comes behind that is kept for it from then on. But the USER topic is read before it is on the disk: a power failure may
 * take the CONNECT back, and the device, registered again later, would miss what came in between. So it is not welcomed, and sent
 * nothing, before SYNCED tells that its CONNECT survives. Until then nothing was promised to it, and its client connects again.
 */
import type { Batch } from '../../core/batch.js';
import { At, Kind, readU53, writeHeader } from '../../core/frame.js';
import { numberOfDevice, userOfDevice } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR, FRAME_HEADER_BYTES } from '../../core/limits.js';
import { Mark, reached } from '../../core/probe.js';
import type { KeySink } from '../../core/stage.js';
import { answerSynced } from './block-answers.js';
import { namePiece } from './catch-up.js';
import { resetFrame } from './deliver.js';
import { DeviceAt, getPair, setPair } from './rows.js';
import { findDevice, isConnected, welcome } from './sessions.js';
import type { UserState } from './state.js';

/** Devices that one step takes; the rest follows in a step of its own. */
const NEWCOMERS_PER_STEP = 256;

function keyOf(state: UserState, user: number, device: number): number {
  return state.idOf(user) * DEVICE_KEY_FACTOR + state.memory.u32[device + DeviceAt.NUMBER]!;
}

/** Notes that the batch at `offset` registers the device. */
export function awaitSync(state: UserState, user: number, device: number, offset: number): void {
  setPair(state.memory.u32, device + DeviceAt.UNSYNCED, offset + 1);
  state.newcomers.set(keyOf(state, user, device), offset);
}

export function isUnsynced(state: UserState, device: number): boolean {
  return getPair(state.memory.u32, device + DeviceAt.UNSYNCED) !== 0;
}

/** The device is known for good, or is no more. */
export function endAwait(state: UserState, user: number, device: number): void {
  if (!isUnsynced(state, device)) return;
  setPair(state.memory.u32, device + DeviceAt.UNSYNCED, 0);
  state.newcomers.delete(keyOf(state, user, device));
}

type Newcomer = readonly [key: number, offset: number];

function inOrder(newcomers: Iterable<Newcomer>): Newcomer[] {
  return [...newcomers].toSorted(([key, offset], [other, its]) => offset - its || key - other);
}

/** Puts what an import brought in the order in which it came. */
export function sortNewcomers(state: UserState): void {
  const sorted = inOrder(state.newcomers);
  state.newcomers.clear();
  for (const [key, offset] of sorted) state.newcomers.set(key, offset);
}

/**
 * The devices that a step takes if the log up to `end` survives: the first ones by offset and key. Those of one batch are in no
 * order that a restored stage would know, so all of the last batch are looked at.
 */
function due(state: UserState, end: number): Newcomer[] {
  const first: Newcomer[] = [];
  for (const newcomer of state.newcomers) {
    const offset = newcomer[1];
    if (offset >= end || (first.length >= NEWCOMERS_PER_STEP && offset !== first.at(-1)![1])) break;
    first.push(newcomer);
  }
  return inOrder(first).slice(0, NEWCOMERS_PER_STEP);
}

/** SYNCED: batches of this partition below the offset `inbox` survive a power failure. */
export function takeSynced(state: UserState, batch: Batch, at: number): void {
  const end = readU53(batch.view, at + At.INBOX);
  for (const [key] of due(state, end)) {
    const user = state.findUser(userOfDevice(key));
    const device = findDevice(state, user, numberOfDevice(key));
    endAwait(state, user, device);
    state.touch(user);
    if (isConnected(state, device)) {
      reached(Mark.NEW_DEVICE_WAITED_FOR_THE_DISK);
      welcome(state, user, device);
    } else reached(Mark.NEW_DEVICE_LEFT_BEFORE_IT_WAS_SYNCED);
  }
  answerSynced(state, end);
  if (state.syncWantedAt < end) sayAgain(state, end);
}

/** Says the same to this partition once more, for the rest. */
function sayAgain(state: UserState, end: number): void {
  const frame = resetFrame(state.scratch, Kind.SYNCED);
  frame.inbox = end;
  const builder = state.out.userFrames(state.partition, FRAME_HEADER_BYTES);
  writeHeader(builder.bytes, builder.view, builder.open(FRAME_HEADER_BYTES), frame, 0);
}

/** Names what `takeSynced` reads. */
export function nameSynced(state: UserState, end: number, keys: KeySink): void {
  for (const [key] of due(state, end)) {
    const user = state.findUser(userOfDevice(key));
    const device = findDevice(state, user, numberOfDevice(key));
    if (!isConnected(state, device)) continue;
    namePiece(state, user, getPair(state.memory.u32, device + DeviceAt.SCANNED), keys);
  }
}
