/**
 * The stage's WebAssembly kernel (kernels/user.ts): does the ordinary entries and frames of a batch over the partition's own linear
 * memory, and hands all others back, one at a time and in order. Its output is collected in one area a destination, and goes to the
 * lane's batches whenever the plain code is about to go on: so they get the same entries in the same order.
 */
import { type Batch, type BatchBuilder, BatchKind, TARGET_BYTES } from '../../core/batch.js';
import { frameLength } from '../../core/frame.js';
import { BATCH_HEADER_BYTES, GROUP_MEMBERS_MAX } from '../../core/limits.js';
import { isProbed, Mark, reached } from '../../core/probe.js';
import { instantiate } from '../../core/wasm.js';
import { spillAtOf } from './due.js';
import { KERNEL_WASM } from './kernel-wasm.js';
import type { UserState } from './state.js';

/** What `run` answers (kernels/user.ts). */
const Answer = { DONE: 0, HAND_OVER: 1, FULL: 2, OPEN: 3, GROW: 4 } as const;
/** What is walked: entries of a FANOUT batch, frames, or frames only to name what they will read. */
const Walk = { FAN_OUT: 0, FRAMES: 1, NAMES: 2 } as const;
/** Destinations from here on are conversation partitions, those before gateways. */
const FIRST_PARTITION = 256;
const AREA_BYTES = 32 * 1024;
/** The kernel reads up to this much behind a frame. */
const SLACK_BYTES = 16;
/** Above this numbers that the kernel adds up as integers are not those that the plain code has as doubles. */
const EXACT_MAX = 2 ** 52;

/** A note to the plain code: word index of a user, what it is about, and a value as a pair. */
const Note = { DIRTY: 0, ALARM: 1, DROPPED: 2, WORDS: 4 } as const;
/** What a run adds up, as f64. */
const Sum = { NOTES: 0, OUTPUTS: 1, ENTRIES: 2, LIVE: 3, DELIVERED: 4, REPLACED: 5, BLOBS: 6, DIRTY_BYTES: 7 } as const;

interface Exports {
  scratchBytes(): number;
  configure(
    users: number,
    entries: number,
    receipts: number,
    scratch: number,
    areaBytes: number,
    conversationPartitions: number,
    queueTtlMs: number,
    spillBytes: number,
  ): void;
  begin(
    walk: number,
    from: number,
    to: number,
    entries: number,
    nowMs: number,
    generation: number,
    spillAtMs: number,
    hasCold: boolean,
  ): void;
  run(skip: number): number;
  handedOver(): number;
  wantedDestination(): number;
  open(destination: number, area: number): void;
  tell(): number;
  notesAt(): number;
  outputsAt(): number;
  activeCount(): number;
  activeAt(place: number): number;
  areaOf(destination: number): number;
  bytesOf(destination: number): number;
  entriesOf(destination: number): number;
  clear(): void;
}

export class Kernel {
  readonly #state: UserState;
  readonly #exports: Exports;
  /** Where batches are copied to. */
  #input = 0;
  #inputBytes = 0;
  /** 1: what was handed over is done. */
  #skip = 0;

  private constructor(exports: Exports, state: UserState) {
    const { memory, users, entries, receipts, limits, conversationPartitions } = state;
    this.#state = state;
    this.#exports = exports;
    exports.configure(
      users.descriptor,
      entries.descriptor,
      receipts.descriptor,
      memory.alloc(exports.scratchBytes()),
      AREA_BYTES,
      conversationPartitions,
      limits.queueTtlMs,
      limits.spillBytes,
    );
  }

  /** Undefined where the engine cannot run it. */
  static create(state: UserState): Kernel | undefined {
    const { queueTtlMs, spillBytes, spillAgeMs } = state.limits;
    if (Math.max(queueTtlMs, spillBytes, spillAgeMs) > EXACT_MAX) return undefined;
    const exports = instantiate<Exports>(KERNEL_WASM, state.memory);
    return exports && new Kernel(exports, state);
  }

  /** Takes a batch, of which the state says the time. */
  begin(batch: Batch): void {
    this.#begin(batch, batch.header.kind === BatchKind.FANOUT ? Walk.FAN_OUT : Walk.FRAMES);
  }

  /** Takes a batch of frames, to find those that may read something of the store. */
  beginNames(batch: Batch): void {
    this.#begin(batch, Walk.NAMES);
  }

  #begin(batch: Batch, walk: number): void {
    const { bytes, header } = batch;
    const state = this.#state;
    const { memory } = state;
    if (bytes.length + SLACK_BYTES > this.#inputBytes) {
      if (this.#inputBytes > 0) memory.free(this.#input, this.#inputBytes);
      this.#inputBytes = bytes.length + SLACK_BYTES;
      this.#input = memory.alloc(this.#inputBytes);
    }
    memory.u8.set(bytes, this.#input);
    this.#exports.begin(
      walk,
      this.#input + Math.min(BATCH_HEADER_BYTES, bytes.length),
      this.#input + bytes.length,
      header.count,
      header.time,
      state.generation,
      spillAtOf(state, header.time),
      state.chunks.size > 0,
    );
    this.#skip = 0;
  }

  /**
   * Goes on until something is not ordinary: its offset in the batch, or −1 at the end. Everything that was done is in the state
   * and in the output then.
   */
  next(): number {
    const exports = this.#exports;
    for (;;) {
      const answer = exports.run(this.#skip);
      this.#skip = 0;
      if (answer === Answer.OPEN) {
        exports.open(exports.wantedDestination(), this.#state.memory.alloc(AREA_BYTES));
        continue;
      }
      if (answer === Answer.GROW) {
        this.#makeRoom();
        continue;
      }
      const told = this.#tell();
      if (answer === Answer.DONE) return -1;
      // What does not fit into an empty area never will.
      if (answer === Answer.FULL && told) continue;
      this.#skip = 1;
      return exports.handedOver() - this.#input;
    }
  }

  /** For all that one entry can need. */
  #makeRoom(): void {
    const { entries, receipts, memory } = this.#state;
    entries.reserve(GROUP_MEMBERS_MAX);
    receipts.reserve(this.#state, GROUP_MEMBERS_MAX);
    memory.reserve(2 * AREA_BYTES);
  }

  /** Hands on what was done; false: nothing was. */
  #tell(): boolean {
    const exports = this.#exports;
    const state = this.#state;
    const { f64 } = state.memory;
    const sums = exports.tell() >>> 3;
    const { counters } = state;
    counters.entries += f64[sums + Sum.ENTRIES]!;
    counters.liveDeliveries += f64[sums + Sum.LIVE]!;
    counters.delivered += f64[sums + Sum.DELIVERED]!;
    state.blobs += f64[sums + Sum.BLOBS]!;
    state.dirtyBytes += f64[sums + Sum.DIRTY_BYTES]!;
    for (let n = f64[sums + Sum.REPLACED]!; n > 0; n--) reached(Mark.INBOX_ENTRY_REPLACED);
    const notes = f64[sums + Sum.NOTES]!;
    const outputs = f64[sums + Sum.OUTPUTS]!;
    this.#takeNotes(notes);
    if (isProbed()) this.#sendInOrder(outputs);
    else for (let n = exports.activeCount() - 1, i = 0; i <= n; i++) this.#sendArea(exports.activeAt(i));
    exports.clear();
    return notes > 0 || outputs > 0;
  }

  #takeNotes(count: number): void {
    const state = this.#state;
    const { u32 } = state.memory;
    const first = this.#exports.notesAt() >>> 2;
    for (let at = first; at < first + count * Note.WORDS; at += Note.WORDS) {
      const user = u32[at]!;
      const about = u32[at + 1];
      if (about === Note.DIRTY) state.dirtyUsers.push(user);
      else {
        const value = u32[at + 3]! * 2 ** 32 + u32[at + 2]!;
        if (about === Note.ALARM) state.alarms.push(value, user);
        else state.droppedEntries.push(state.idOf(user), value);
      }
    }
  }

  #builder(destination: number, bytes: number): BatchBuilder {
    const { out } = this.#state;
    if (destination < FIRST_PARTITION) return out.gateway(destination, bytes);
    return out.conversation(destination - FIRST_PARTITION, bytes);
  }

  #sendArea(destination: number): void {
    const exports = this.#exports;
    const start = exports.areaOf(destination);
    const length = exports.bytesOf(destination);
    if (!this.#builder(destination, 0).wouldOverflow(length)) {
      this.#builder(destination, length).append(this.#state.memory.u8, start, length, exports.entriesOf(destination));
      return;
    }
    // The batch gets full on the way: one by one, so that it ends where the plain code ends it.
    for (let at = start; at < start + length; ) at = this.#sendEntry(destination, at);
  }

  /** Sends the entry at `at`; returns where the next one lies. */
  #sendEntry(destination: number, at: number): number {
    const { u8, view } = this.#state.memory;
    const length = frameLength(view, at);
    const listBytes = destination < FIRST_PARTITION ? 4 + view.getUint32(at + length, true) * TARGET_BYTES : 0;
    this.#builder(destination, length + listBytes).append(u8, at, length + listBytes, 1);
    return at + length + listBytes;
  }

  /** One by one in the order in which they were made: a simulator, which may end any batch, sees what it sees of the plain code. */
  #sendInOrder(outputs: number): void {
    const exports = this.#exports;
    const first = exports.outputsAt() >>> 2;
    const next = new Map<number, number>();
    for (let n = 0; n < outputs; n++) {
      const destination = this.#state.memory.u32[first + n]!;
      next.set(destination, this.#sendEntry(destination, next.get(destination) ?? exports.areaOf(destination)));
    }
  }
}
