/**
 * Draws from the distributions that the workload names, on top of core/prng: exponential gaps, log-normal sizes given by
 * two of their percentiles, Zipf weights, and sampling by weight in constant time.
 */
import type { Prng } from '../../core/prng.js';

/** z of the 95th percentile of the standard normal distribution. */
const Z_95 = 1.644_853_627;

/** Exponentially distributed with mean 1: the gap between arrivals of a Poisson process of rate 1. */
export function drawExponential(prng: Prng): number {
  return -Math.log(1 - prng.unit());
}

/** Standard normal (Box–Muller). */
function drawNormal(prng: Prng): number {
  return Math.sqrt(2 * drawExponential(prng)) * Math.cos(2 * Math.PI * prng.unit());
}

/** Log-normal through its 50th and 95th percentile, rounded, and kept in min .. max. */
export class SizeDraw {
  readonly #median: number;
  readonly #sigma: number;
  readonly #min: number;
  readonly #max: number;

  constructor(p50: number, p95: number, min: number, max: number) {
    this.#median = p50;
    this.#sigma = Math.log(p95 / p50) / Z_95;
    this.#min = min;
    this.#max = max;
  }

  draw(prng: Prng): number {
    const value = this.#sigma === 0 ? this.#median : this.#median * Math.exp(this.#sigma * drawNormal(prng));
    return Math.min(this.#max, Math.max(this.#min, Math.round(value)));
  }
}

/** Shares of n ranks that fall as 1 / rank^exponent; they sum to 1. */
export function zipfShares(n: number, exponent: number): Float64Array {
  const shares = new Float64Array(n);
  let sum = 0;
  for (let rank = 0; rank < n; rank++) sum += shares[rank] = (rank + 1) ** -exponent;
  for (let rank = 0; rank < n; rank++) shares[rank]! /= sum;
  return shares;
}

/**
 * Cuts every share at `max` and gives what was cut to the others in proportion, until nothing is above it. Shares that are
 * zero stay zero. If all would be above, they end up equal.
 */
export function capShares(shares: Float64Array, max: number): void {
  let live = 0;
  for (const share of shares) if (share > 0) live++;
  const cap = Math.max(max, 1 / Math.max(1, live));
  const capped = new Uint8Array(shares.length);
  for (;;) {
    let excess = 0;
    let rest = 0;
    for (let i = 0; i < shares.length; i++) {
      if (capped[i] === 0 && shares[i]! > cap) {
        excess += shares[i]! - cap;
        shares[i] = cap;
        capped[i] = 1;
      } else if (capped[i] === 0) rest += shares[i]!;
    }
    if (excess === 0 || rest === 0) return;
    const factor = (rest + excess) / rest;
    for (let i = 0; i < shares.length; i++) if (capped[i] === 0) shares[i]! *= factor;
  }
}

/** Draws an index with probability proportional to its weight, in constant time (Walker's alias method). */
export class WeightedDraw {
  readonly #threshold: Float64Array;
  readonly #alias: Uint32Array;
  /** Sum of the weights. */
  readonly total: number;

  constructor(weights: Float64Array) {
    const n = weights.length;
    this.#threshold = new Float64Array(n);
    this.#alias = new Uint32Array(n);
    this.total = weights.reduce((sum, weight) => sum + weight, 0);
    const scaled = weights.map((weight) => (weight / this.total) * n);
    const small: number[] = [];
    const large: number[] = [];
    for (let i = 0; i < n; i++) (scaled[i]! < 1 ? small : large).push(i);
    while (small.length > 0 && large.length > 0) {
      const less = small.pop()!;
      const more = large.pop()!;
      this.#threshold[less] = scaled[less]!;
      this.#alias[less] = more;
      scaled[more] = scaled[more]! + scaled[less]! - 1;
      (scaled[more]! < 1 ? small : large).push(more);
    }
    for (const i of [...small, ...large]) this.#threshold[i] = 1;
  }

  draw(prng: Prng): number {
    const slot = prng.below(this.#threshold.length);
    return prng.unit() < this.#threshold[slot]! ? slot : this.#alias[slot]!;
  }
}

/** Fisher–Yates. */
export function shuffle(values: Uint32Array, prng: Prng): void {
  for (let i = values.length - 1; i > 0; i--) {
    const j = prng.below(i + 1);
    const kept = values[i]!;
    values[i] = values[j]!;
    values[j] = kept;
  }
}
