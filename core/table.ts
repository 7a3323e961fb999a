/**
 * A hash table of fixed-width rows in linear memory. A row is `rowWords` 32-bit words; its first `keyWords` words are its
 * key. Row numbers are stable until the row is removed, so rows can point at each other. Rows lie in chunks that never
 * move; the index is a separate array of row numbers with linear probing and doubling.
 *
 * The index of a large table can be *tagged*: a slot's high byte is made of the key's hash, so that a row is looked at only if it
 * is most likely the right one. With half of the slots used, that spares one look in three, each a line of memory far away.
 *
 * Where the index and the chunks lie is written in linear memory too (`descriptor`), so that a kernel finds rows by the same
 * path.
 *
 * Iteration is by row number, which depends only on the order of inserts and removals: deterministic.
 */
import { hashWords } from './ids.js';
import type { LinearMemory } from './memory.js';

const CHUNK_SHIFT = 10;
const CHUNK_ROWS = 1 << CHUNK_SHIFT;
/** Chunks that the first directory has room for. */
const DIRECTORY_CHUNKS = 16;
const EMPTY = 0;
const DELETED = 0xffff_ffff;
/** Of a tagged index: bits of the tag, what makes one of a hash, and how many rows there can be. */
const TAG_MASK = 0xff00_0000;
const TAG_FACTOR = 0x9e37_79b1;
const TAGGED_ROWS_MAX = 2 ** 24 - 2;

/** Words of a table's descriptor: byte offset of the index, its slots, byte offset of the directory. */
const Descriptor = { INDEX: 0, SLOTS: 1, DIRECTORY: 2, WORDS: 3 } as const;

export class Table {
  readonly #memory: LinearMemory;
  readonly #rowWords: number;
  readonly #keyWords: 2 | 3 | 4;
  /** Bits of a slot that hold a tag; 0: none. */
  readonly #tagMask: number;
  readonly #descriptor: number;
  /** Word index of the directory: the word index of each chunk. */
  #directory: number;
  #directoryRoom = DIRECTORY_CHUNKS;
  #chunks = 0;
  #index: number;
  #slots: number;
  #used = 0;
  #count = 0;
  #rows = 0;
  /** Removed rows, to be used again, last in first out. */
  readonly #freeRows: number[] = [];
  readonly #live: Uint8Array[] = [];

  constructor(memory: LinearMemory, rowWords: number, keyWords: 2 | 3 | 4, initialSlots = 1_024, isTagged = false) {
    this.#memory = memory;
    this.#rowWords = rowWords;
    this.#keyWords = keyWords;
    this.#slots = initialSlots;
    this.#tagMask = isTagged ? TAG_MASK : 0;
    this.#descriptor = memory.alloc(Descriptor.WORDS * 4) >>> 2;
    this.#index = memory.alloc(initialSlots * 4) >>> 2;
    this.#directory = memory.alloc(DIRECTORY_CHUNKS * 4) >>> 2;
    this.#describe();
  }

  /** Byte offset of three words: of the index, how many slots it has, and the byte offset of the directory of chunks. */
  get descriptor(): number {
    return this.#descriptor * 4;
  }

  #describe(): void {
    const { u32 } = this.#memory;
    u32[this.#descriptor + Descriptor.INDEX] = this.#index * 4;
    u32[this.#descriptor + Descriptor.SLOTS] = this.#slots;
    u32[this.#descriptor + Descriptor.DIRECTORY] = this.#directory * 4;
  }

  /** Number of live rows. */
  get size(): number {
    return this.#count;
  }

  /** One above the highest row number ever used: iterate `row` from 0 and skip those that are not `isLive`. */
  get rowLimit(): number {
    return this.#rows;
  }

  isLive(row: number): boolean {
    return row < this.#rows && this.#live[row >>> CHUNK_SHIFT]![row & (CHUNK_ROWS - 1)] === 1;
  }

  /** Word index of a row's first word, in `memory.u32`. Stays valid while the row lives. */
  at(row: number): number {
    return this.#memory.u32[this.#directory + (row >>> CHUNK_SHIFT)]! + (row & (CHUNK_ROWS - 1)) * this.#rowWords;
  }

  #matches(row: number, k0: number, k1: number, k2: number, k3: number): boolean {
    const u32 = this.#memory.u32;
    const at = this.at(row);
    if (u32[at] !== k0 || u32[at + 1] !== k1) return false;
    if (this.#keyWords === 2) return true;
    if (u32[at + 2] !== k2) return false;
    return this.#keyWords === 3 || u32[at + 3] === k3;
  }

  /** The row with this key, or −1. Words are unsigned. Unused key words are 0. */
  find(k0: number, k1: number, k2 = 0, k3 = 0): number {
    const mask = this.#slots - 1;
    const hash = hashWords(k0, k1, k2, k3);
    const tag = Math.imul(hash, TAG_FACTOR);
    let slot = hash & mask;
    for (;;) {
      const entry = this.#memory.u32[this.#index + slot]!;
      if (entry === EMPTY) return -1;
      if (entry !== DELETED && ((entry ^ tag) & this.#tagMask) === 0) {
        const row = ((entry & ~this.#tagMask) >>> 0) - 1;
        if (this.#matches(row, k0, k1, k2, k3)) return row;
      }
      slot = (slot + 1) & mask;
    }
  }

  /** What the index holds for a row. */
  #entryOf(row: number, hash: number): number {
    return ((row + 1) | (Math.imul(hash, TAG_FACTOR) & this.#tagMask)) >>> 0;
  }

  /** Adds a zeroed row with this key, which must not be there, and returns its number. May allocate. */
  insert(k0: number, k1: number, k2 = 0, k3 = 0): number {
    if ((this.#used + 1) * 4 > this.#slots * 3) this.#rehash();
    const row = this.#freeRows.pop() ?? this.#addRow();
    const mask = this.#slots - 1;
    const hash = hashWords(k0, k1, k2, k3);
    let slot = hash & mask;
    let entry = this.#memory.u32[this.#index + slot]!;
    while (entry !== EMPTY && entry !== DELETED) {
      slot = (slot + 1) & mask;
      entry = this.#memory.u32[this.#index + slot]!;
    }
    if (entry === EMPTY) this.#used++;
    const u32 = this.#memory.u32;
    u32[this.#index + slot] = this.#entryOf(row, hash);
    const at = this.at(row);
    u32.fill(0, at, at + this.#rowWords);
    u32[at] = k0;
    u32[at + 1] = k1;
    if (this.#keyWords > 2) u32[at + 2] = k2;
    if (this.#keyWords > 3) u32[at + 3] = k3;
    this.#live[row >>> CHUNK_SHIFT]![row & (CHUNK_ROWS - 1)] = 1;
    this.#count++;
    return row;
  }

  /** Removes a live row; its number may be used again. */
  remove(row: number): void {
    const u32 = this.#memory.u32;
    const at = this.at(row);
    const mask = this.#slots - 1;
    const k2 = this.#keyWords > 2 ? u32[at + 2]! : 0;
    const k3 = this.#keyWords > 3 ? u32[at + 3]! : 0;
    const hash = hashWords(u32[at]!, u32[at + 1]!, k2, k3);
    const entry = this.#entryOf(row, hash);
    let slot = hash & mask;
    while (u32[this.#index + slot] !== entry) slot = (slot + 1) & mask;
    u32[this.#index + slot] = DELETED;
    this.#live[row >>> CHUNK_SHIFT]![row & (CHUNK_ROWS - 1)] = 0;
    this.#freeRows.push(row);
    this.#count--;
  }

  #addRow(): number {
    if (this.#tagMask !== 0 && this.#rows >= TAGGED_ROWS_MAX)
      throw new RangeError(`a table holds at most ${TAGGED_ROWS_MAX} rows; use more partitions`);
    const row = this.#rows++;
    if (row >>> CHUNK_SHIFT === this.#chunks) this.#addChunk();
    return row;
  }

  #addChunk(): void {
    if (this.#chunks === this.#directoryRoom) this.#growDirectory();
    const chunk = this.#memory.alloc(CHUNK_ROWS * this.#rowWords * 4) >>> 2;
    this.#memory.u32[this.#directory + this.#chunks++] = chunk;
    this.#live.push(new Uint8Array(CHUNK_ROWS));
  }

  #growDirectory(): void {
    const old = this.#directory;
    const room = this.#directoryRoom;
    this.#directory = this.#memory.alloc(room * 2 * 4) >>> 2;
    this.#memory.u32.copyWithin(this.#directory, old, old + room);
    this.#memory.free(old * 4, room * 4);
    this.#directoryRoom = room * 2;
    this.#describe();
  }

  #rehash(): void {
    const oldIndex = this.#index;
    const oldSlots = this.#slots;
    // Doubles only when live rows need it; otherwise it just sweeps deleted slots away.
    const slots = (this.#count + 1) * 2 > oldSlots ? oldSlots * 2 : oldSlots;
    const index = this.#memory.alloc(slots * 4) >>> 2;
    const u32 = this.#memory.u32;
    const mask = slots - 1;
    for (let row = 0; row < this.#rows; row++) {
      if (!this.isLive(row)) continue;
      const at = this.at(row);
      const k2 = this.#keyWords > 2 ? u32[at + 2]! : 0;
      const k3 = this.#keyWords > 3 ? u32[at + 3]! : 0;
      const hash = hashWords(u32[at]!, u32[at + 1]!, k2, k3);
      let slot = hash & mask;
      while (u32[index + slot] !== EMPTY) slot = (slot + 1) & mask;
      u32[index + slot] = this.#entryOf(row, hash);
    }
    this.#memory.free(oldIndex * 4, oldSlots * 4);
    this.#index = index;
    this.#slots = slots;
    this.#used = this.#count;
    this.#describe();
  }
}
