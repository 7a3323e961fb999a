/**
 * The user stage: owns users. Each has an inbox with one cursor a device, sessions, a block list, and presence. It takes
 * what conversation lanes fan out and what gateways and other users' partitions say, and tells connections.
 *
 * One step does, in this order: cold chunks that are due are rewritten; the frames of the batch, each to its end; then what
 * else is due at the batch's time. Nothing is kept from step to step but rows, and what a step reads of the store depends on
 * rows alone: so a stage restored from an export goes on exactly as the one that wrote it, output by output.
 */

import { type Batch, BatchAt, BatchKind } from '../../core/batch.js';
import { At, frameLength, Kind, readU53 } from '../../core/frame.js';
import { numberOfDevice, userOfDevice } from '../../core/ids.js';
import { Mark, reached } from '../../core/probe.js';
import type { ChunkSink, Fetched, KeySink, Out, Stage } from '../../core/stage.js';
import { acknowledge, nameAcked } from './acks.js';
import { block } from './blocks.js';
import { namePiece } from './catch-up.js';
import { exportDirty, exportPart } from './export.js';
import { answerDevice, takeFanOut, takeFanOutWith } from './fan-out.js';
import { hashState } from './hash.js';
import { Importer } from './import.js';
import { Kernel } from './kernel.js';
import { nameSynced, takeSynced } from './newcomers.js';
import { watch } from './presence.js';
import { DeviceAt, getPair, UserAt } from './rows.js';
import { connect, disconnect, findDevice, gatewayUp, listDevices, pull, pullsFrom, removeDevice } from './sessions.js';
import { mergeDue, nameDue, settleDue } from './settle.js';
import { type UserCounters, UserState, type UserStateOptions } from './state.js';
import { takePresence } from './updates.js';

/** Positions stay below 2^53. */
const GENERATION_MAX = 2 ** 20;

export class UserStage implements Stage {
  readonly #state: UserState;
  readonly #kernel: Kernel | undefined;
  #importer: Importer | undefined;

  constructor(options: UserStateOptions) {
    this.#state = new UserState(options);
    this.#kernel = options.kernel === true ? Kernel.create(this.#state) : undefined;
  }

  get hasKernel(): boolean {
    return this.#kernel !== undefined;
  }

  /** Entries and frames that the kernel left to the plain code. */
  get handedOver(): number {
    return this.#state.handedOver;
  }

  needs(batch: Batch, keys: KeySink): void {
    if (batch.header.kind === BatchKind.FRAMES) {
      if (this.#kernel === undefined) nameForFrames(this.#state, batch, keys);
      else nameForFramesWith(this.#kernel, this.#state, batch, keys);
    }
    nameDue(this.#state, batch.header.time, keys);
  }

  step(batch: Batch, out: Out, fetched: Fetched): void {
    const state = this.#state;
    state.nowMs = batch.header.time;
    state.offset = batch.header.offset;
    state.out = out;
    state.fetched = fetched;
    state.spillLeft = state.limits.spillStepBytes;
    state.writtenChunks.clear();
    mergeDue(state);
    const { kind } = batch.header;
    if (kind === BatchKind.FANOUT && this.#kernel !== undefined) takeFanOutWith(this.#kernel, state, batch);
    else if (kind === BatchKind.FANOUT) takeFanOut(state, batch);
    else if (kind === BatchKind.FRAMES && this.#kernel !== undefined) takeFramesWith(this.#kernel, state, batch);
    else if (kind === BatchKind.FRAMES) takeFrames(state, batch);
    else state.counters.ignoredFrames += batch.header.count;
    settleDue(state);
  }

  get wakeAtMs(): number {
    return this.#state.alarms.earliest;
  }

  get syncWantedAt(): number {
    return this.#state.syncWantedAt;
  }

  get dirtyBytes(): number {
    return this.#state.dirtyBytes;
  }

  exportDirty(sink: ChunkSink): void {
    exportDirty(this.#state, sink);
  }

  exportAll(cursor: number, bytes: number, sink: ChunkSink): number {
    return exportPart(this.#state, cursor, bytes, sink);
  }

  importChunk(chunk: Uint8Array): void {
    this.#importer ??= new Importer(this.#state);
    this.#importer.take(chunk);
  }

  importDone(): void {
    (this.#importer ?? new Importer(this.#state)).finish();
    this.#importer = undefined;
  }

  stateHash(): number {
    return hashState(this.#state);
  }

  /** What was done since this process started. */
  get counters(): Readonly<UserCounters> {
    return this.#state.counters;
  }

  /** What is held: for metrics and tests. */
  get sizes(): Readonly<
    Record<'users' | 'devices' | 'entries' | 'frames' | 'chunks' | 'memoryBytes' | 'liveBytes', number>
  > {
    const { users, devices, entries, blobs, chunks, memory } = this.#state;
    return {
      users: users.size,
      devices: devices.size,
      entries: entries.size,
      frames: blobs,
      chunks: chunks.size,
      memoryBytes: memory.byteLength,
      liveBytes: memory.liveBytes,
    };
  }
}

function takeFrames(state: UserState, batch: Batch): void {
  let at: number = BatchAt.ENTRIES;
  for (let n = 0; n < batch.header.count; n++) {
    const length = frameLength(batch.view, at);
    takeFrame(state, batch, at, length);
    at += length;
  }
}

/** The same with the kernel, which leaves to this code what is not ordinary. */
function takeFramesWith(kernel: Kernel, state: UserState, batch: Batch): void {
  kernel.begin(batch);
  for (let at = kernel.next(); at >= 0; at = kernel.next()) {
    state.handedOver++;
    takeFrame(state, batch, at, frameLength(batch.view, at));
  }
}

function takeFrame(state: UserState, batch: Batch, at: number, length: number): void {
  switch (batch.bytes[at + At.KIND]) {
    case Kind.ACK:
      return acknowledge(state, batch, at);
    case Kind.PULL:
      return pull(state, batch, at);
    case Kind.CONNECT:
      return connect(state, batch, at);
    case Kind.DISCONNECT:
      return disconnect(state, batch, at);
    case Kind.GATEWAY_UP:
      return gatewayUp(state, batch, at);
    case Kind.WATCH:
      return watch(state, batch, at);
    case Kind.PRESENCE_NOTIFY:
      return takePresence(state, batch, at);
    case Kind.REJECT:
      return answerDevice(state, batch, at, length);
    case Kind.BLOCK:
      return block(state, batch, at);
    case Kind.DEVICES:
      return listDevices(state, batch, at);
    case Kind.DEVICE_REMOVE:
      return removeDevice(state, batch, at);
    case Kind.GENERATION:
      return beginGeneration(state, batch.view.getUint32(at + At.EXTRA));
    case Kind.SYNCED:
      return takeSynced(state, batch, at);
    case Kind.TICK:
      return;
    default:
      state.counters.ignoredFrames++;
  }
}

/** A new owner: positions from now on are above all that an earlier one may have handed out. */
function beginGeneration(state: UserState, generation: number): void {
  if (generation > GENERATION_MAX) {
    state.counters.ignoredFrames++;
    return;
  }
  reached(Mark.GENERATION_BEGUN);
  state.generation = Math.max(state.generation, generation);
  state.generationWindow = Math.floor(state.nowMs / state.limits.presenceWindowMs);
  state.partitionDirty = true;
}

/** Names the cold chunks that frames of the batch read. */
function nameForFrames(state: UserState, batch: Batch, keys: KeySink): void {
  let at: number = BatchAt.ENTRIES;
  for (let n = 0; n < batch.header.count; n++) {
    nameForFrame(state, batch, at, keys);
    at += frameLength(batch.view, at);
  }
}

/** The same with the kernel, which finds the frames that may read any. */
function nameForFramesWith(kernel: Kernel, state: UserState, batch: Batch, keys: KeySink): void {
  kernel.beginNames(batch);
  for (let at = kernel.next(); at >= 0; at = kernel.next()) nameForFrame(state, batch, at, keys);
}

function nameForFrame(state: UserState, { bytes, view }: Batch, at: number, keys: KeySink): void {
  const kind = bytes[at + At.KIND];
  if (kind === Kind.ACK || kind === Kind.PULL || kind === Kind.CONNECT) nameForDevice(state, view, at, kind, keys);
  else if (kind === Kind.SYNCED) nameSynced(state, readU53(view, at + At.INBOX), keys);
}

function nameForDevice(state: UserState, view: DataView, at: number, kind: number, keys: KeySink): void {
  const key = readU53(view, at + At.DEVICE);
  const user = state.findUser(userOfDevice(key));
  const u32 = state.memory.u32;
  if (user === 0 || u32[user + UserAt.FIRST_CHUNK] === 0) return;
  const device = findDevice(state, user, numberOfDevice(key));
  // A new device is sent nothing yet.
  if (device === 0) return;
  const position = readU53(view, at + At.INBOX);
  if (kind !== Kind.PULL) nameAcked(state, user, device, position, keys);
  if (kind === Kind.PULL) namePiece(state, user, pullsFrom(state, user, device, view, at), keys);
  if (kind !== Kind.CONNECT) return;
  const cursor = getPair(u32, device + DeviceAt.CURSOR);
  const isKnown = position <= getPair(u32, user + UserAt.LAST);
  namePiece(state, user, isKnown ? Math.max(position, cursor) : cursor, keys);
}
