/**
 * The store in memory: the twin of the real ones for tests and the simulator. Same limits and same answers; in addition it
 * can be told to answer as a store may on a bad day. `MemoryContents` is what would be on the disk: it outlives the
 * `MemoryStore` that a lane has in its hands, and can be serialised.
 */

import { viewOf } from '../core/frame.js';
import { compareKeys } from '../core/keys.js';
import type { CommitOutcome, KeyRange, Put, Store, StoreCompletion, StoreTransaction } from '../core/ports.js';
import { violatedByRange, violatedLimit } from './store-limits.js';

/** Keys as strings of one character a byte: they compare as the bytes do. */
function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}

export class MemoryContents {
  readonly #values = new Map<string, Uint8Array>();
  /** All keys in order; undefined after a key came or went. */
  #sorted: string[] | undefined = [];

  get size(): number {
    return this.#values.size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(textOf(key));
  }

  /** Number of the first key that is not below `key`. */
  #lowerBound(keys: readonly string[], key: string): number {
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #keysOf(range: KeyRange): string[] {
    this.#sorted ??= [...this.#values.keys()].toSorted();
    const from = this.#lowerBound(this.#sorted, textOf(range.begin));
    return this.#sorted.slice(from, this.#lowerBound(this.#sorted, textOf(range.end)));
  }

  /** Applies a transaction whole, or, if an expectation fails, not at all. */
  apply({ expect, clear, puts }: StoreTransaction): 'committed' | 'conflict' {
    for (const { key, value } of expect) {
      const found = this.get(key);
      const same = found === undefined || value === undefined ? found === value : compareKeys(found, value) === 0;
      if (!same) return 'conflict';
    }
    for (const range of clear) {
      const keys = this.#keysOf(range);
      for (const key of keys) this.#values.delete(key);
      if (keys.length > 0) this.#sorted = undefined;
    }
    for (const { key, value } of puts) {
      const text = textOf(key);
      if (!this.#values.has(text)) this.#sorted = undefined;
      this.#values.set(text, value.slice());
    }
    return 'committed';
  }

  range(range: KeyRange, bytesMax: number): { pairs: Put[]; more: boolean } {
    const pairs: Put[] = [];
    let bytes = 0;
    for (const text of this.#keysOf(range)) {
      const value = this.#values.get(text)!;
      bytes += text.length + value.length;
      if (pairs.length > 0 && bytes > bytesMax) return { pairs, more: true };
      pairs.push({ key: bytesOf(text), value: value.slice() });
    }
    return { pairs, more: false };
  }

  /** Every pair in key order: u32 key length, u32 value length, key, value. */
  serialise(): Uint8Array {
    const { pairs } = this.range({ begin: new Uint8Array(0), end: new Uint8Array(65_536).fill(0xff) }, Infinity);
    let length = 0;
    for (const { key, value } of pairs) length += 8 + key.length + value.length;
    const bytes = new Uint8Array(length);
    const view = viewOf(bytes);
    let at = 0;
    for (const { key, value } of pairs) {
      view.setUint32(at, key.length);
      view.setUint32(at + 4, value.length);
      bytes.set(key, at + 8);
      bytes.set(value, at + 8 + key.length);
      at += 8 + key.length + value.length;
    }
    return bytes;
  }

  static deserialise(bytes: Uint8Array): MemoryContents {
    const contents = new MemoryContents();
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; ) {
      const valueAt = at + 8 + view.getUint32(at);
      const end = valueAt + view.getUint32(at + 4);
      contents.#values.set(textOf(bytes.subarray(at + 8, valueAt)), bytes.slice(valueAt, end));
      at = end;
    }
    contents.#sorted = undefined;
    return contents;
  }
}

/**
 * How one commit goes:
 * - pass: as it would.
 * - conflict, too_old, refused: answered so; nothing is changed.
 * - unknown_done, unknown_not_done: answered 'unknown'; it did, or did not, happen.
 * - unknown_late: answered 'unknown'; it happens when `land` is called, if its expectations hold then.
 */
export type Injected =
  | 'pass'
  | 'conflict'
  | 'too_old'
  | 'refused'
  | 'unknown_done'
  | 'unknown_not_done'
  | 'unknown_late';

export class MemoryStore implements Store {
  readonly contents: MemoryContents;
  readonly #completions: StoreCompletion[] = [];
  readonly #injected: Injected[] = [];
  readonly #late: StoreTransaction[] = [];
  #failingReads = 0;
  #held = false;
  #releasable = 0;

  constructor(contents = new MemoryContents()) {
    this.contents = contents;
  }

  // --- the bad day ---------------------------------------------------------------------------------------------------------

  /** Says how the next commits go, in order; those after them pass. */
  inject(...outcomes: readonly Injected[]): void {
    this.#injected.push(...outcomes);
  }

  /** The next `count` reads fail. */
  failReads(count: number): void {
    this.#failingReads = count;
  }

  /** From now on completions wait for `release`. */
  hold(): void {
    this.#held = true;
    this.#releasable = 0;
  }

  /** Lets `count` held completions out, in order; without a count all, and those to come. */
  release(count = Infinity): void {
    this.#releasable += count;
    if (count === Infinity) this.#held = false;
  }

  /** Completions that are not fetched yet, held or not. */
  get pending(): number {
    return this.#completions.length;
  }

  /** Lets the late commits happen; returns their outcomes. */
  land(): CommitOutcome[] {
    return this.#late.splice(0).map((transaction) => this.contents.apply(transaction));
  }

  // --- the port --------------------------------------------------------------------------------------------------------------

  commit(tag: number, transaction: StoreTransaction): void {
    this.#completions.push({ tag, commit: this.#commit(transaction) });
  }

  #commit(transaction: StoreTransaction): { outcome: CommitOutcome; reason?: string } {
    const reason = violatedLimit(transaction);
    if (reason !== undefined) return { outcome: 'refused', reason };
    const injected = this.#injected.shift() ?? 'pass';
    switch (injected) {
      case 'pass':
        return { outcome: this.contents.apply(transaction) };
      case 'unknown_done':
        this.contents.apply(transaction);
        return { outcome: 'unknown' };
      case 'unknown_not_done':
        return { outcome: 'unknown' };
      case 'unknown_late':
        this.#late.push(copyOf(transaction));
        return { outcome: 'unknown' };
      case 'refused':
        return { outcome: 'refused', reason: 'the disk is full' };
      default:
        return { outcome: injected };
    }
  }

  #failsRead(tag: number): boolean {
    if (this.#failingReads === 0) return false;
    this.#failingReads--;
    this.#completions.push({ tag, failed: 'the read was told to fail' });
    return true;
  }

  read(tag: number, keys: readonly Uint8Array[]): void {
    if (this.#failsRead(tag)) return;
    this.#completions.push({ tag, values: keys.map((key) => this.contents.get(key)?.slice()) });
  }

  readRange(tag: number, range: KeyRange, bytesMax: number): void {
    if (this.#failsRead(tag)) return;
    const broken = violatedByRange(range);
    this.#completions.push(
      broken === undefined ? { tag, range: this.contents.range(range, bytesMax) } : { tag, failed: broken },
    );
  }

  completion(): StoreCompletion | undefined {
    if (this.#held && this.#releasable === 0) return undefined;
    const completion = this.#completions.shift();
    if (this.#held && completion !== undefined) this.#releasable--;
    return completion;
  }
}

function copyOf({ expect, clear, puts }: StoreTransaction): StoreTransaction {
  return {
    expect: expect.map(({ key, value }) => ({ key: key.slice(), value: value?.slice() })),
    clear: clear.map(({ begin, end }) => ({ begin: begin.slice(), end: end.slice() })),
    puts: puts.map(({ key, value }) => ({ key: key.slice(), value: value.slice() })),
  };
}
