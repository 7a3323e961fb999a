/**
 * Which of thousands of devices want to be called, and when: a wheel of slots. Looking at all of them every time would cost more
 * than what is due. Whoever wants to be called later than the wheel reaches is called at its end, and says so again.
 */

export interface Sleeper {
  /** The slot in which it is to be called, counted from the clock's start; Infinity: none. Belongs to the queue. */
  wakeSlot: number;
}

const SLOTS = 128;

export class WakeQueue<S extends Sleeper> {
  readonly #slotMs: number;
  readonly #slots: S[][] = Array.from({ length: SLOTS }, () => []);
  #spare: S[] = [];
  /** The first slot that was not called. */
  #next: number;

  constructor(slotMs: number, nowMs: number) {
    this.#slotMs = slotMs;
    this.#next = Math.floor(nowMs / slotMs);
  }

  /** Calls it at this time, or up to a slot later; earlier if it had asked for that. Infinity: not for this. */
  schedule(sleeper: S, atMs: number): void {
    if (atMs === Infinity) return;
    const slot = Math.min(this.#next + SLOTS - 1, Math.max(this.#next, Math.ceil(atMs / this.#slotMs)));
    if (sleeper.wakeSlot <= slot) return;
    sleeper.wakeSlot = slot;
    this.#slots[slot % SLOTS]!.push(sleeper);
  }

  /** Calls all whose time has come; each must ask again. */
  wake(nowMs: number, call: (sleeper: S) => void): void {
    for (const last = Math.floor(nowMs / this.#slotMs); this.#next <= last; ) {
      const slot = this.#next++;
      const sleepers = this.#slots[slot % SLOTS]!;
      this.#slots[slot % SLOTS] = this.#spare;
      for (const sleeper of sleepers) {
        // It asked for an earlier call meanwhile.
        if (sleeper.wakeSlot !== slot) continue;
        sleeper.wakeSlot = Infinity;
        call(sleeper);
      }
      sleepers.length = 0;
      this.#spare = sleepers;
    }
  }
}
