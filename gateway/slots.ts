/**
 * Room for what thousands of sessions hold for a moment, a few hundred bytes each: slots of one size, used again and again. An
 * array for each would be made and collected a few times a message.
 */
const SLOTS_PER_BLOCK = 64;

export class Slots {
  readonly #slotBytes: number;
  readonly #blocks: Uint8Array[] = [];
  readonly #free: number[] = [];

  constructor(slotBytes: number) {
    this.#slotBytes = slotBytes;
  }

  /** Copies the first `length` bytes into a slot of their own; returns its number. */
  put(bytes: Uint8Array, length: number): number {
    if (this.#free.length === 0) this.#grow();
    const slot = this.#free.pop()!;
    this.#blocks[Math.floor(slot / SLOTS_PER_BLOCK)]!.set(bytes.subarray(0, length), this.#offset(slot));
    return slot;
  }

  /** The first `length` bytes of a slot, valid until it is given back and used again. */
  get(slot: number, length: number): Uint8Array {
    const offset = this.#offset(slot);
    return this.#blocks[Math.floor(slot / SLOTS_PER_BLOCK)]!.subarray(offset, offset + length);
  }

  giveBack(slot: number): void {
    this.#free.push(slot);
  }

  /** Slots in use. */
  get used(): number {
    return this.#blocks.length * SLOTS_PER_BLOCK - this.#free.length;
  }

  #offset(slot: number): number {
    return (slot % SLOTS_PER_BLOCK) * this.#slotBytes;
  }

  #grow(): void {
    const first = this.#blocks.length * SLOTS_PER_BLOCK;
    this.#blocks.push(new Uint8Array(SLOTS_PER_BLOCK * this.#slotBytes));
    for (let slot = first + SLOTS_PER_BLOCK - 1; slot >= first; slot--) this.#free.push(slot);
  }
}
