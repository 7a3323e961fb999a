/** A distribution in bins of equal width on a logarithmic axis, of a fixed size: what is below the lowest bin or above the highest counts there. */

export interface LogBinsOptions {
  /** Lower end of the lowest bin. */
  readonly low: number;
  readonly decades: number;
  readonly perDecade: number;
}

export interface Bar {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

export class LogBins {
  readonly #options: LogBinsOptions;
  readonly #counts: Float64Array;
  #count = 0;
  #sum = 0;
  #max = 0;

  constructor(options: LogBinsOptions) {
    this.#options = options;
    this.#counts = new Float64Array(options.decades * options.perDecade);
  }

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  get max(): number {
    return this.#max;
  }

  add(value: number): void {
    const { low, perDecade } = this.#options;
    const bin = value <= low ? 0 : Math.floor(Math.log10(value / low) * perDecade);
    this.#counts[Math.min(bin, this.#counts.length - 1)]!++;
    this.#count++;
    this.#sum += value;
    this.#max = Math.max(this.#max, value);
  }

  /** Takes over what another counted, of the same options. */
  absorb(other: LogBins): void {
    for (let bin = 0; bin < this.#counts.length; bin++) this.#counts[bin]! += other.#counts[bin]!;
    this.#count += other.#count;
    this.#sum += other.#sum;
    this.#max = Math.max(this.#max, other.#max);
  }

  #edge(bin: number): number {
    const { low, perDecade } = this.#options;
    return low * 10 ** (bin / perDecade);
  }

  /** The value, to the width of a bin, at or below which a share `quantile` (0 .. 1) of all lie; null: there are none. */
  quantile(quantile: number): number | null {
    if (this.#count === 0) return null;
    const rank = Math.max(1, Math.ceil(quantile * this.#count));
    let seen = 0;
    let bin = 0;
    while ((seen += this.#counts[bin]!) < rank) bin++;
    return Math.min(this.#max, Math.sqrt(this.#edge(bin) * this.#edge(bin + 1)));
  }

  /** From the lowest bin that has something to the highest. */
  bars(): Bar[] {
    const first = this.#counts.findIndex((count) => count > 0);
    const last = this.#counts.findLastIndex((count) => count > 0);
    const bars: Bar[] = [];
    for (let bin = first; bin >= 0 && bin <= last; bin++) {
      bars.push({ from: this.#edge(bin), to: this.#edge(bin + 1), count: this.#counts[bin]! });
    }
    return bars;
  }
}
