/**
 * A pool of fixed-width rows without an index: for rows that are only ever reached from another row. A row is named by its
 * *reference*, the index of its first word in `memory.u32`, which stays valid until the row is freed. 0 means "none".
 */
import type { LinearMemory } from '../../core/memory.js';

const CHUNK_ROWS = 1_024;

export class Pool {
  readonly #memory: LinearMemory;
  readonly #rowWords: number;
  /** First free row; each free row's word 0 names the next. */
  #free = 0;
  #next = 0;
  #end = 0;
  #size = 0;

  constructor(memory: LinearMemory, rowWords: number) {
    this.#memory = memory;
    this.#rowWords = rowWords;
  }

  /** Number of rows in use. */
  get size(): number {
    return this.#size;
  }

  /** A zeroed row. May grow the memory. */
  alloc(): number {
    this.#size++;
    const free = this.#free;
    if (free !== 0) {
      const u32 = this.#memory.u32;
      this.#free = u32[free]!;
      u32.fill(0, free, free + this.#rowWords);
      return free;
    }
    if (this.#next === this.#end) {
      this.#next = this.#memory.alloc(CHUNK_ROWS * this.#rowWords * 4) >>> 2;
      this.#end = this.#next + CHUNK_ROWS * this.#rowWords;
    }
    const row = this.#next;
    this.#next += this.#rowWords;
    return row;
  }

  free(row: number): void {
    this.#memory.u32[row] = this.#free;
    this.#free = row;
    this.#size--;
  }
}
