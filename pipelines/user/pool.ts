/**
 * A pool of fixed-width rows without an index: for rows that are only ever reached from another row. A row is named by its
 * *reference*, the index of its first word in `memory.u32`, which stays valid until the row is freed. 0 means "none".
 *
 * What the pool knows of itself are words in linear memory (`descriptor`), so that a kernel can allocate and free, too.
 */
import type { LinearMemory } from '../../core/memory.js';

const CHUNK_ROWS = 1_024;

/**
 * Words of a pool's descriptor: the first free row, whose word 0 names the next; the row that was never used, and where those
 * end; rows in use, and rows that there are.
 */
const Descriptor = { FREE: 0, NEXT: 1, END: 2, SIZE: 3, ROWS: 4, WORDS: 5 } as const;

export class Pool {
  readonly #memory: LinearMemory;
  readonly #rowWords: number;
  readonly #at: number;

  constructor(memory: LinearMemory, rowWords: number) {
    this.#memory = memory;
    this.#rowWords = rowWords;
    this.#at = memory.alloc(Descriptor.WORDS * 4) >>> 2;
  }

  /** Byte offset of the descriptor. */
  get descriptor(): number {
    return this.#at * 4;
  }

  /** Number of rows in use. */
  get size(): number {
    return this.#memory.u32[this.#at + Descriptor.SIZE]!;
  }

  /** A zeroed row. May grow the memory. */
  alloc(): number {
    const { u32 } = this.#memory;
    const at = this.#at;
    u32[at + Descriptor.SIZE]!++;
    const free = u32[at + Descriptor.FREE]!;
    if (free !== 0) {
      u32[at + Descriptor.FREE] = u32[free]!;
      u32.fill(0, free, free + this.#rowWords);
      return free;
    }
    if (u32[at + Descriptor.NEXT] === u32[at + Descriptor.END]) this.#addChunk();
    const row = this.#memory.u32[at + Descriptor.NEXT]!;
    this.#memory.u32[at + Descriptor.NEXT] = row + this.#rowWords;
    return row;
  }

  #addChunk(): void {
    const chunk = this.#memory.alloc(CHUNK_ROWS * this.#rowWords * 4) >>> 2;
    const { u32 } = this.#memory;
    u32[this.#at + Descriptor.NEXT] = chunk;
    u32[this.#at + Descriptor.END] = chunk + CHUNK_ROWS * this.#rowWords;
    u32[this.#at + Descriptor.ROWS]! += CHUNK_ROWS;
  }

  /** Sees to it that so many rows can be had without growing. */
  reserve(rows: number): void {
    const at = this.#at;
    for (;;) {
      const { u32 } = this.#memory;
      if (u32[at + Descriptor.ROWS]! - u32[at + Descriptor.SIZE]! >= rows) return;
      for (let row = u32[at + Descriptor.NEXT]!; row < u32[at + Descriptor.END]!; row += this.#rowWords) {
        u32[row] = u32[at + Descriptor.FREE]!;
        u32[at + Descriptor.FREE] = row;
      }
      this.#addChunk();
    }
  }

  free(row: number): void {
    const { u32 } = this.#memory;
    u32[row] = u32[this.#at + Descriptor.FREE]!;
    u32[this.#at + Descriptor.FREE] = row;
    u32[this.#at + Descriptor.SIZE]!--;
  }
}
