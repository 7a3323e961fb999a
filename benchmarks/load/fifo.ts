/** Queues of numbers without objects. */

/** Rows of `width` numbers, first in, first out; grows by doubling. */
export class Fifo {
  readonly #width: number;
  #values: Float64Array;
  #mask: number;
  #head = 0;
  #length = 0;

  constructor(width: number, rows = 64) {
    this.#width = width;
    const capacity = 2 ** Math.ceil(Math.log2(rows));
    this.#values = new Float64Array(capacity * width);
    this.#mask = capacity - 1;
  }

  get length(): number {
    return this.#length;
  }

  push(...row: readonly number[]): void {
    if (this.#length > this.#mask) this.#grow();
    const at = ((this.#head + this.#length) & this.#mask) * this.#width;
    for (let i = 0; i < this.#width; i++) this.#values[at + i] = row[i]!;
    this.#length++;
  }

  /** Column `i` of the first row. */
  first(i: number): number {
    return this.#values[this.#head * this.#width + i]!;
  }

  shift(): void {
    this.#head = (this.#head + 1) & this.#mask;
    this.#length--;
  }

  #grow(): void {
    const rows = this.#mask + 1;
    const grown = new Float64Array(rows * 2 * this.#width);
    const split = this.#head * this.#width;
    grown.set(this.#values.subarray(split));
    grown.set(this.#values.subarray(0, split), this.#values.length - split);
    this.#values = grown;
    this.#mask = rows * 2 - 1;
    this.#head = 0;
  }
}

function grow<T extends Float64Array | Int32Array | Uint32Array | Uint8Array>(old: T, grown: T): T {
  grown.set(old);
  return grown;
}

/** What is known of each send without an outcome, by slot: the number that goes through the client's outbox as its tag. */
export class InFlight {
  intendedMs = new Float64Array(1_024);
  conversation = new Int32Array(1_024);
  serial = new Uint32Array(1_024);
  /** Receptions that were expected of it when it was sent. */
  fanout = new Uint32Array(1_024);
  kind = new Uint8Array(1_024);
  readonly #free: number[] = [];
  #top = 0;

  get size(): number {
    return this.#top - this.#free.length;
  }

  take(): number {
    const slot = this.#free.pop() ?? this.#top++;
    if (slot === this.intendedMs.length) this.#grow();
    return slot;
  }

  release(slot: number): void {
    this.#free.push(slot);
  }

  #grow(): void {
    const size = this.intendedMs.length * 2;
    this.intendedMs = grow(this.intendedMs, new Float64Array(size));
    this.conversation = grow(this.conversation, new Int32Array(size));
    this.serial = grow(this.serial, new Uint32Array(size));
    this.fanout = grow(this.fanout, new Uint32Array(size));
    this.kind = grow(this.kind, new Uint8Array(size));
  }
}
