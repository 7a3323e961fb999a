/**
 * Seeded random integers: xoshiro128** seeded by splitmix32. One generator per purpose, forked by a label, so that taking
 * draws away from one purpose does not shift another's.
 */
import { mix32 } from './ids.js';

export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #d: number;
  /** Both words of the seed, mixed: forks depend on all of it. */
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = (mix32(Math.floor(seed / 2 ** 32)) ^ seed) >>> 0;
    let s: number = this.#seed;
    const next = (): number => {
      s = (s + 0x9e37_79b9) | 0;
      return mix32(s) | 0;
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next() | 1;
  }

  /** Uniform in 0 .. 2^32 − 1. */
  u32(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const t = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= t;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** Uniform in 0 .. n − 1, for 1 ≤ n ≤ 2^32. */
  below(n: number): number {
    return Math.floor((this.u32() / 2 ** 32) * n);
  }

  /** Uniform in low .. high, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True with probability numerator / denominator. */
  chance(numerator: number, denominator: number): boolean {
    return this.below(denominator) < numerator;
  }

  /** Uniform in [0, 1), 32 bits. */
  unit(): number {
    return this.u32() / 2 ** 32;
  }

  /** A generator for one purpose: depends on this one's seed and the label, not on what was drawn. */
  fork(label: string): Prng {
    let h = mix32(this.#seed);
    for (let i = 0; i < label.length; i++) h = mix32(h ^ label.charCodeAt(i));
    return new Prng(h);
  }
}
