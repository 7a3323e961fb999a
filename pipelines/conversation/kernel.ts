/**
 * The stage's WebAssembly kernel (kernels/conversation.ts): does the ordinary frames of a batch over the partition's own linear
 * memory, and hands all others back, one at a time and in order. Its output is collected in one area a user partition, and goes
 * to the step's batches whenever the plain code is about to write: so they get the same entries in the same order.
 */
import { RECIPIENT_BYTES } from '../../core/batch.js';
import { frameLength } from '../../core/frame.js';
import { BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, GROUP_MEMBERS_MAX, PARTITIONS_MAX } from '../../core/limits.js';
import { instantiate } from '../../core/wasm.js';
import type { StepContext } from './context.js';
import { KERNEL_WASM } from './kernel-wasm.js';
import type { Rows } from './rows.js';

/** What `run` answers (kernels/conversation.ts). */
const Answer = { DONE: 0, HAND_OVER: 1, FULL: 2 } as const;

/** The window of 128 places of 64 bytes and a word, six words a partition, two words a member, and one more. */
const SCRATCH_BYTES = 128 * 68 + PARTITIONS_MAX * 24 + GROUP_MEMBERS_MAX * 8 + 4;
/** All areas together stay in a core's second cache, if partitions are few. */
const AREAS_BYTES = 256 * 1024;
const AREA_BYTES_MIN = 16 * 1024;
const AREA_BYTES_MAX = 64 * 1024;
/** The kernel reads, and writes, up to this much behind a frame. */
const SLACK_BYTES = 32;

interface Exports {
  configure(
    ledger: number,
    scratch: number,
    partitions: number,
    members: number,
    areas: number,
    areaBytes: number,
  ): void;
  begin(from: number, to: number, entries: number, timeHigh: number, timeLow: number): void;
  run(skip: number): number;
  handedOver(): number;
  activeCount(): number;
  activeAt(place: number): number;
  bytesOf(partition: number): number;
  entriesOf(partition: number): number;
  clear(): void;
}

export class Kernel {
  readonly #rows: Rows;
  readonly #exports: Exports;
  readonly #areas: number;
  readonly #areaBytes: number;
  /** Where batches are copied to. */
  #input = 0;
  #inputBytes = 0;
  /** 1: the frame that was handed over is done. */
  #skip = 0;

  private constructor(exports: Exports, rows: Rows, userPartitions: number) {
    const { memory } = rows;
    this.#rows = rows;
    this.#areaBytes = Math.max(AREA_BYTES_MIN, Math.min(AREA_BYTES_MAX, Math.floor(AREAS_BYTES / userPartitions)));
    this.#areas = memory.alloc(this.#areaBytes * userPartitions);
    const scratch = memory.alloc(SCRATCH_BYTES);
    this.#exports = exports;
    exports.configure(rows.ledger, scratch, PARTITIONS_MAX, GROUP_MEMBERS_MAX, this.#areas, this.#areaBytes);
  }

  /** Undefined where the engine cannot run it. */
  static create(rows: Rows, userPartitions: number): Kernel | undefined {
    const exports = instantiate<Exports>(KERNEL_WASM, rows.memory);
    return exports && new Kernel(exports, rows, userPartitions);
  }

  /** Takes the context's batch of `entries` frames. */
  begin(context: StepContext, entries: number): void {
    const { bytes, timeMs } = context;
    const { memory } = this.#rows;
    if (bytes.length + SLACK_BYTES > this.#inputBytes) {
      if (this.#inputBytes > 0) memory.free(this.#input, this.#inputBytes);
      this.#inputBytes = bytes.length + SLACK_BYTES;
      this.#input = memory.alloc(this.#inputBytes);
    }
    // Every entry makes at most one conversation dirty.
    this.#rows.reserveDirty(Math.min(entries, Math.ceil(bytes.length / FRAME_HEADER_BYTES)));
    memory.u8.set(bytes, this.#input);
    const first = Math.min(BATCH_HEADER_BYTES, bytes.length);
    const from = this.#input + first;
    const to = this.#input + bytes.length;
    this.#exports.begin(from, to, entries, Math.floor(timeMs / 2 ** 32), timeMs >>> 0);
    this.#skip = 0;
  }

  /** Goes on until a frame is not ordinary: its offset in the batch, or −1 at the end. All output is in the batches then. */
  next(context: StepContext): number {
    const exports = this.#exports;
    for (;;) {
      const answer = exports.run(this.#skip);
      this.#skip = 0;
      const wrote = this.#flush(context);
      if (answer === Answer.DONE) return -1;
      // What does not fit into an empty area never will.
      if (answer === Answer.FULL && wrote) continue;
      this.#skip = 1;
      return exports.handedOver() - this.#input;
    }
  }

  /** Hands the output on; false: there was none. */
  #flush(context: StepContext): boolean {
    const exports = this.#exports;
    const count = exports.activeCount();
    for (let n = 0; n < count; n++) this.#flushArea(context, exports.activeAt(n));
    exports.clear();
    return count > 0;
  }

  #flushArea(context: StepContext, partition: number): void {
    const { out } = context;
    const { u8 } = this.#rows.memory;
    const start = this.#areas + partition * this.#areaBytes;
    const length = this.#exports.bytesOf(partition);
    if (!out.user(partition, 0).wouldOverflow(length)) {
      out.user(partition, length).append(u8, start, length, this.#exports.entriesOf(partition));
      return;
    }
    // The batch gets full on the way: one by one, so that it ends where the plain code ends it.
    const { view } = this.#rows.memory;
    for (let at = start; at < start + length; ) {
      const listAt = at + frameLength(view, at);
      const end = listAt + 4 + view.getUint32(listAt, true) * RECIPIENT_BYTES;
      out.user(partition, end - at).append(u8, at, end - at, 1);
      at = end;
    }
  }
}
