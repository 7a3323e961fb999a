/**
 * A doorbell: how other threads wake one. One Int32 counts rings, one says whether that thread may be asleep.
 *
 * The sleeper reads the counter, looks at everything it serves, and sleeps only if the counter has not moved since: no ring is
 * lost between looking and sleeping. Ringing costs one atomic add. Waking costs ten microseconds and more, and a thread with an
 * event loop needs a while until it is awake: so whoever rings first takes the sleeper's mark, and wakes it; the others see that
 * it is taken.
 */

const COUNT = 0;
const ASLEEP = 1;

export function createDoorbell(): SharedArrayBuffer {
  return new SharedArrayBuffer(8);
}

interface AsyncWait {
  readonly async: boolean;
  readonly value: Promise<string> | string;
}

/** In Node 20 but not yet in its types. */
const waitAsync = (Atomics as unknown as { waitAsync(cells: Int32Array, index: number, value: number): AsyncWait })
  .waitAsync;

/** What a ring needs: the bell itself, or one that rings later. */
export interface Bell {
  ring(): void;
}

export class Doorbell implements Bell {
  readonly #cells: Int32Array;

  constructor(shared: SharedArrayBuffer) {
    this.#cells = new Int32Array(shared);
  }

  ring(): void {
    const cells = this.#cells;
    Atomics.add(cells, COUNT, 1);
    if (Atomics.load(cells, ASLEEP) === 0) return;
    if (Atomics.exchange(cells, ASLEEP, 0) !== 0) Atomics.notify(cells, COUNT);
  }

  /** The counter, to be read before looking for work. */
  read(): number {
    return Atomics.load(this.#cells, COUNT);
  }

  /** Sleeps until it rings, or has rung since `seen` was read, or the time is over. For threads without an event loop. */
  waitSync(seen: number, timeoutMs: number): void {
    if (timeoutMs <= 0) return;
    Atomics.store(this.#cells, ASLEEP, 1);
    Atomics.wait(this.#cells, COUNT, seen, timeoutMs);
    Atomics.store(this.#cells, ASLEEP, 0);
  }

  /** The same for threads with an event loop; 24 µs from ring to wake-up. Wait once at a time. */
  async waitAsync(seen: number): Promise<void> {
    Atomics.store(this.#cells, ASLEEP, 1);
    const wait = waitAsync(this.#cells, COUNT, seen);
    if (wait.async) await wait.value;
    else Atomics.store(this.#cells, ASLEEP, 0);
  }
}

/**
 * The bells that a thread rings, held back until it says so: what it does in one pass goes to several threads in many pieces, and
 * each of them is woken once for all. Whoever holds bells back must ring before it sleeps, and before it ends.
 */
export class Bells {
  readonly #waiting: Doorbell[] = [];

  /** A bell that rings with the next `ring` of all. */
  held(shared: SharedArrayBuffer): Bell {
    const doorbell = new Doorbell(shared);
    return {
      ring: () => {
        if (!this.#waiting.includes(doorbell)) this.#waiting.push(doorbell);
      },
    };
  }

  ring(): void {
    for (const doorbell of this.#waiting) doorbell.ring();
    this.#waiting.length = 0;
  }
}
