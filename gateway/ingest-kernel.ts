/**
 * The gateway's WebAssembly kernel (kernels/ingest.ts): takes the ordinary frames of a WebSocket message from socket to batch.
 * Open batches of any partition lie in slots of its linear memory, where plain code goes on with them through the same builders;
 * a builder that outgrows its slot, or finds none free, lies elsewhere, and the kernel leaves it alone.
 */
import { BatchBuilder } from '../core/batch.js';
import { BATCH_TARGET_BYTES, FRAME_HEADER_BYTES, MESSAGE_BYTES_MAX, PARTITIONS_MAX } from '../core/limits.js';
import { LinearMemory } from '../core/memory.js';
import { instantiate } from '../core/wasm.js';
import { KERNEL_WASM } from './kernel-wasm.js';

interface Exports {
  configure(places: number, result: number, partitions: number, batchBytes: number): void;
  run(from: number, to: number, deviceHigh: number, deviceLow: number, userPlace: number, framesMax: number): number;
}

/** A place of the kernel's table, in words. */
const PLACE_WORDS = 4;
const Place = { BASE: 0, LENGTH: 1, COUNT: 2 } as const;
const Result = { FRAMES: 0, READS: 1, CHANGED: 2, PLACES: 3 } as const;
/** The kernel reads, and writes, up to this much behind a frame. */
const SLACK_BYTES = 32;
const SLOT_BYTES = BATCH_TARGET_BYTES + FRAME_HEADER_BYTES + SLACK_BYTES;
/** Batches that are open, or wait for their outcome. */
const SLOTS = 64;

/** A builder whose batch begins in a slot. */
class SlotBuilder extends BatchBuilder {
  readonly slot: Uint8Array;
  readonly base: number;

  constructor(memory: LinearMemory, base: number) {
    const slot = memory.u8.subarray(base, base + SLOT_BYTES);
    super(slot);
    this.slot = slot;
    this.base = base;
  }
}

export class IngestKernel {
  readonly #exports: Exports;
  readonly #memory: LinearMemory;
  readonly #u32: Uint32Array;
  readonly #input: number;
  readonly #places: number;
  readonly #result: number;
  readonly #partitions: number;
  readonly #free: SlotBuilder[] = [];
  /** By place: the builder that is open there. */
  readonly #open: (BatchBuilder | undefined)[] = [];
  /** Places whose builders were touched by others since the kernel looked last. */
  readonly #stale: number[] = [];

  private constructor(exports: Exports, memory: LinearMemory, partitions: number) {
    this.#exports = exports;
    this.#memory = memory;
    this.#partitions = partitions;
    this.#input = memory.alloc(MESSAGE_BYTES_MAX + SLACK_BYTES);
    this.#places = memory.alloc(2 * PARTITIONS_MAX * PLACE_WORDS * 4);
    this.#result = memory.alloc((Result.PLACES + 2 * PARTITIONS_MAX) * 4);
    const slots = Array.from({ length: SLOTS }, () => memory.alloc(SLOT_BYTES));
    // From here on the memory stays where it is.
    this.#u32 = memory.u32;
    for (const base of slots) this.#free.push(new SlotBuilder(memory, base));
    exports.configure(this.#places, this.#result, partitions, BATCH_TARGET_BYTES);
  }

  /** Undefined where the engine cannot run it. */
  static create(conversationPartitions: number): IngestKernel | undefined {
    const memory = new LinearMemory();
    const exports = instantiate<Exports>(KERNEL_WASM, memory);
    return exports === undefined ? undefined : new IngestKernel(exports, memory, conversationPartitions);
  }

  /** A builder that the kernel can go on with; undefined: no slot is free. */
  takeBuilder(): BatchBuilder | undefined {
    return this.#free.pop();
  }

  /** Takes back what `takeBuilder` gave. False: it is another's. */
  giveBack(builder: BatchBuilder): boolean {
    if (!(builder instanceof SlotBuilder)) return false;
    // One that had outgrown its slot begins anew in it.
    this.#free.push(builder.bytes === builder.slot ? builder : new SlotBuilder(this.#memory, builder.base));
    return true;
  }

  /** The open batch of a partition is another, or is about to be added to. `topic` is Topic.*. */
  touched(topic: number, partition: number, builder: BatchBuilder | undefined): void {
    const place = topic * this.#partitions + partition;
    this.#open[place] = builder;
    this.#stale.push(place);
  }

  /** Takes a WebSocket message, whose frames `run` then goes through. */
  begin(message: Uint8Array): void {
    this.#memory.u8.set(message, this.#input);
  }

  /**
   * Goes through the message of `length` bytes from `from` on, over ordinary frames of a device, at most `framesMax`. Returns
   * where it stopped: at the end, at a frame that is not ordinary, or at one for which no batch is open.
   */
  run(from: number, length: number, device: number, userPartition: number, framesMax: number): number {
    if (this.#stale.length > 0) this.#refresh();
    const input = this.#input;
    const high = Math.floor(device / 2 ** 32);
    const userPlace = this.#partitions + userPartition;
    const end = this.#exports.run(input + from, input + length, high, device >>> 0, userPlace, framesMax);
    const u32 = this.#u32;
    const result = this.#result >>> 2;
    const changed = u32[result + Result.CHANGED]!;
    for (let n = 0; n < changed; n++) {
      const place = u32[result + Result.PLACES + n]!;
      const word = (this.#places >>> 2) + place * PLACE_WORDS;
      const builder = this.#open[place]!;
      builder.at = u32[word + Place.LENGTH]!;
      builder.count = u32[word + Place.COUNT]!;
    }
    return end - input;
  }

  /** Frames, and READs among them, of the last run. */
  get frames(): number {
    return this.#u32[(this.#result >>> 2) + Result.FRAMES]!;
  }

  get reads(): number {
    return this.#u32[(this.#result >>> 2) + Result.READS]!;
  }

  #refresh(): void {
    for (const place of this.#stale) {
      const builder = this.#open[place];
      const isIn = builder instanceof SlotBuilder && builder.bytes === builder.slot;
      const word = (this.#places >>> 2) + place * PLACE_WORDS;
      this.#u32[word + Place.BASE] = isIn ? builder.base : 0;
      if (!isIn) continue;
      this.#u32[word + Place.LENGTH] = builder.at;
      this.#u32[word + Place.COUNT] = builder.count;
    }
    this.#stale.length = 0;
  }
}
