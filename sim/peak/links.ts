/** Batches on their way: copied into buffers that are used again, in order on each link, each after a delay in virtual time. */
import type { Prng } from '../../core/prng.js';
import type { EventQueue } from '../queue.js';

const SMALLEST_SHIFT = 12;

/** Buffers by powers of two. */
class BufferPool {
  readonly #free: Uint8Array[][] = Array.from({ length: 32 }, () => []);
  /** Bytes of all buffers there are. */
  bytes = 0;

  take(length: number): Uint8Array {
    const shift = Math.max(SMALLEST_SHIFT, 32 - Math.clz32(length - 1));
    const buffer = this.#free[shift]!.pop();
    if (buffer !== undefined) return buffer;
    this.bytes += 2 ** shift;
    return new Uint8Array(2 ** shift);
  }

  give(buffer: Uint8Array): void {
    this.#free[31 - Math.clz32(buffer.length)]!.push(buffer);
  }
}

export class Links {
  readonly #queue: EventQueue;
  readonly #random: Prng;
  readonly #pool = new BufferPool();
  readonly #arrivals: number[] = [];
  carried = 0;

  constructor(queue: EventQueue, random: Prng) {
    this.#queue = queue;
    this.#random = random;
  }

  get bytes(): number {
    return this.#pool.bytes;
  }

  /** Carries a copy of the batch over a link; `arrive` may use the bytes until it returns. */
  carry(link: number, batch: Uint8Array, lowUs: number, highUs: number, arrive: (batch: Uint8Array) => void): void {
    const buffer = this.#pool.take(batch.length);
    buffer.set(batch);
    const { length } = batch;
    const atUs = Math.max(this.#arrivals[link] ?? 0, this.#queue.nowUs + this.#random.between(lowUs, highUs));
    this.#arrivals[link] = atUs;
    this.carried += length;
    this.#queue.at(atUs, () => {
      arrive(buffer.subarray(0, length));
      this.#pool.give(buffer);
    });
  }
}
