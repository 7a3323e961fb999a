/**
 * A hash over everything that happens, in order: equal hashes mean equal runs. Its value is kept at every CHECKPOINT events, so
 * that two runs which differ are compared by bisection, and only the part that differs is run again with its events shown.
 */
import { mix32 } from '../core/ids.js';

export const CHECKPOINT_EVENTS = 4_096;

export class TraceHash {
  #a = 0x6c07_8965;
  #b = 0x9e37_79b9;
  #events = 0;
  /** The hash after every CHECKPOINT_EVENTS events. */
  readonly checkpoints: string[] = [];
  /** Called for every event, before it is in the hash: what is behind the event before, bytes included, is in it then. */
  watch: ((event: number, kind: number, a: number, b: number, c: number) => void) | undefined;

  get events(): number {
    return this.#events;
  }

  /** Whole numbers below 2^53; `kind` names what happened. */
  add(kind: number, a: number, b = 0, c = 0): void {
    this.watch?.(this.#events, kind, a, b, c);
    this.#word(kind);
    this.#number(a);
    this.#number(b);
    this.#number(c);
    if (++this.#events % CHECKPOINT_EVENTS === 0) this.checkpoints.push(this.toString());
  }

  /** By words if the bytes begin at a multiple of four: the result depends on that, and on a little-endian machine. */
  addBytes(bytes: Uint8Array): void {
    const { length } = bytes;
    const whole = bytes.byteOffset % 4 === 0 ? length >>> 2 : 0;
    const words = new Int32Array(bytes.buffer, whole === 0 ? 0 : bytes.byteOffset, whole);
    let h = length;
    for (let i = 0; i < whole; i++) {
      h = Math.imul(h ^ words[i]!, 0x9e37_79b1);
      h ^= h >>> 15;
    }
    for (let i = whole * 4; i < length; i++) h = Math.imul(h ^ bytes[i]!, 0x9e37_79b1);
    this.#word(h);
  }

  #number(value: number): void {
    this.#word(value | 0);
    if (value >= 2 ** 32) this.#word(Math.floor(value / 2 ** 32));
  }

  #word(value: number): void {
    this.#a = mix32(this.#a ^ value) | 0;
    this.#b = (Math.imul(this.#b ^ value, 0x01000193) + 0x5bd1_e995) | 0;
  }

  toString(): string {
    const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');
    return hex(this.#a) + hex(this.#b);
  }
}
