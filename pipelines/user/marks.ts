/**
 * The highest sequence of each conversation in what an ack covers: a small hash table that is used again and again, in order
 * of first mention.
 */
import { hashConversation } from '../../core/ids.js';

export class Marks {
  #slots = new Int32Array(128).fill(-1);
  #a = new Float64Array(64);
  #b = new Float64Array(64);
  #seq = new Float64Array(64);
  #slotOf = new Uint32Array(64);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  convA(i: number): number {
    return this.#a[i]!;
  }

  convB(i: number): number {
    return this.#b[i]!;
  }

  seq(i: number): number {
    return this.#seq[i]!;
  }

  raise(a: number, b: number, seq: number): void {
    const mask = this.#slots.length - 1;
    let slot = hashConversation(a, b) & mask;
    for (let i = this.#slots[slot]!; i >= 0; i = this.#slots[slot]!) {
      if (this.#a[i] === a && this.#b[i] === b) {
        if (seq > this.#seq[i]!) this.#seq[i] = seq;
        return;
      }
      slot = (slot + 1) & mask;
    }
    if (this.#size === this.#a.length) {
      this.#grow();
      this.raise(a, b, seq);
      return;
    }
    const i = this.#size++;
    this.#slots[slot] = i;
    this.#slotOf[i] = slot;
    this.#a[i] = a;
    this.#b[i] = b;
    this.#seq[i] = seq;
  }

  clear(): void {
    for (let i = 0; i < this.#size; i++) this.#slots[this.#slotOf[i]!] = -1;
    this.#size = 0;
  }

  #grow(): void {
    const { length } = this.#a;
    const [a, b, seq] = [this.#a, this.#b, this.#seq];
    this.#slots = new Int32Array(length * 4).fill(-1);
    this.#a = new Float64Array(length * 2);
    this.#b = new Float64Array(length * 2);
    this.#seq = new Float64Array(length * 2);
    this.#slotOf = new Uint32Array(length * 2);
    this.#size = 0;
    for (let i = 0; i < length; i++) this.raise(a[i]!, b[i]!, seq[i]!);
  }
}
