/** Values over time in buckets of equal width. When there are too many, each two become one: memory is bounded, however long it takes. */
export class Buckets<Value> {
  readonly values: Value[] = [];
  readonly #countMax: number;
  readonly #merge: (earlier: Value, later: Value) => Value;
  #width: number;

  /** `countMax` is even. */
  constructor(width: number, countMax: number, merge: (earlier: Value, later: Value) => Value) {
    this.#width = width;
    this.#countMax = countMax;
    this.#merge = merge;
  }

  get width(): number {
    return this.#width;
  }

  /** Where the bucket ends that is filled now. */
  get end(): number {
    return (this.values.length + 1) * this.#width;
  }

  /** The bucket is full: the next one begins at its end. */
  push(value: Value): void {
    const { values } = this;
    values.push(value);
    if (values.length < this.#countMax) return;
    for (let at = 0; at < values.length >> 1; at++) values[at] = this.#merge(values[2 * at]!, values[2 * at + 1]!);
    values.length >>= 1;
    this.#width *= 2;
  }
}
