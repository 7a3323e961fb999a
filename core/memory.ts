/**
 * Linear memory for hot tables: one WebAssembly memory, so that a kernel can work on the very same bytes, with an
 * allocator of power-of-two blocks. Views change when the memory grows: read `u32`, `u8` and `view` from here after any
 * call that may allocate, never from a variable kept across one.
 *
 * The allocator's own words lie at the start of the memory, so that a kernel can allocate too: at byte 64 the first free block of
 * each class, 33 words; at 200 and 208, as f64, where what was never handed out begins, and `liveBytes`.
 */

const PAGE_BYTES = 65_536;
const SMALLEST_SHIFT = 4;
/** Word index of the first free block of class 0; there are classes up to 2^32, which is more than there is and fails when the memory grows. */
const FREE = 64 >>> 2;
/** Places in the view of 64-bit numbers. */
const TOP = 200 >>> 3;
const LIVE_BYTES = 208 >>> 3;
/** What comes before is never handed out, so that 0 can mean "none". */
const FIRST_BLOCK = 256;

/** The memory itself, as a kernel imports it. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

declare const WebAssembly: {
  Memory: new (descriptor: { initial: number; maximum: number }) => WasmMemory;
};

/** 4 GiB, what a 32-bit WebAssembly memory can address. */
const PAGES_MAX = 65_536;
/** Blocks of at least a cache line start on one, so that what is 64 bytes long is one line and not two. */
const LINE_BYTES = 64;

function classOf(bytes: number): number {
  return bytes <= 1 << SMALLEST_SHIFT ? SMALLEST_SHIFT : 32 - Math.clz32(bytes - 1);
}

export class LinearMemory {
  readonly #memory: WasmMemory;
  #u32: Uint32Array;
  #u8: Uint8Array;
  #f64: Float64Array;
  #view: DataView;

  constructor(initialBytes = PAGE_BYTES) {
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(initialBytes / PAGE_BYTES), maximum: PAGES_MAX });
    this.#u32 = new Uint32Array(this.#memory.buffer);
    this.#u8 = new Uint8Array(this.#memory.buffer);
    this.#f64 = new Float64Array(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
    this.#f64[TOP] = FIRST_BLOCK;
  }

  get wasm(): WasmMemory {
    return this.#memory;
  }

  get u32(): Uint32Array {
    return this.#u32;
  }

  get u8(): Uint8Array {
    return this.#u8;
  }

  get f64(): Float64Array {
    return this.#f64;
  }

  get view(): DataView {
    return this.#view;
  }

  /** Bytes handed out and not freed, in whole blocks. */
  get liveBytes(): number {
    return this.#f64[LIVE_BYTES]!;
  }

  /** Bytes of the whole memory. */
  get byteLength(): number {
    return this.#u8.length;
  }

  /** A zeroed block of at least `bytes`, aligned to 16 bytes, a large one to 64; returns its byte offset. Throws when 4 GiB are used up. */
  alloc(bytes: number): number {
    const shift = classOf(bytes);
    const size = 2 ** shift;
    this.#f64[LIVE_BYTES]! += size;
    const head = this.#u32[FREE + shift]!;
    if (head !== 0) {
      this.#u32[FREE + shift] = this.#u32[head >>> 2]!;
      this.#u8.fill(0, head, head + size);
      return head;
    }
    const top = this.#f64[TOP]!;
    const at = size < LINE_BYTES ? top : Math.ceil(top / LINE_BYTES) * LINE_BYTES;
    const end = at + size;
    if (end > this.#u8.length) this.#grow(end);
    this.#f64[TOP] = end;
    return at;
  }

  /** Grows as far as a block of at most `bytes` needs it, so that whoever allocates next need not. */
  reserve(bytes: number): void {
    const end = this.#f64[TOP]! + LINE_BYTES + 2 ** classOf(bytes);
    if (end > this.#u8.length) this.#grow(end);
  }

  /** Gives back a block that `alloc(bytes)` returned. */
  free(at: number, bytes: number): void {
    const shift = classOf(bytes);
    this.#u32[at >>> 2] = this.#u32[FREE + shift]!;
    this.#u32[FREE + shift] = at;
    this.#f64[LIVE_BYTES]! -= 2 ** shift;
  }

  #grow(end: number): void {
    const used = this.#u8.length / PAGE_BYTES;
    const wanted = Math.max(Math.ceil(end / PAGE_BYTES), Math.min(used * 2, used + 4_096));
    if (wanted > PAGES_MAX)
      throw new RangeError('linear memory: a partition needs more than 4 GiB; use more partitions');
    this.#memory.grow(wanted - used);
    this.#u32 = new Uint32Array(this.#memory.buffer);
    this.#u8 = new Uint8Array(this.#memory.buffer);
    this.#f64 = new Float64Array(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
  }
}
