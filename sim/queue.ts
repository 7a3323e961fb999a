/**
 * Virtual time: what happens next, in microseconds. A binary heap over typed arrays; entries at the same time run in the
 * order in which they were made, so a run is a function of what was put in.
 */

export class EventQueue {
  #times = new Float64Array(1_024);
  #orders = new Float64Array(1_024);
  #slots = new Int32Array(1_024);
  #length = 0;
  readonly #actions: (() => void)[] = [];
  readonly #free: number[] = [];
  #made = 0;
  #nowUs = 0;

  /** The time of the entry that runs, or ran last. */
  get nowUs(): number {
    return this.#nowUs;
  }

  get length(): number {
    return this.#length;
  }

  /** How many entries were ever made. */
  get made(): number {
    return this.#made;
  }

  /** When the next entry is due; Infinity: there is none. */
  get nextUs(): number {
    return this.#length === 0 ? Infinity : this.#times[0]!;
  }

  /** Runs `action` at `atUs`, or now if that is past. */
  at(atUs: number, action: () => void): void {
    const timeUs = atUs > this.#nowUs ? Math.floor(atUs) : this.#nowUs;
    if (this.#length === this.#times.length) this.#grow();
    const slot = this.#free.pop() ?? this.#actions.length;
    this.#actions[slot] = action;
    this.#up(this.#length++, timeUs, this.#made++, slot);
  }

  after(delayUs: number, action: () => void): void {
    this.at(this.#nowUs + delayUs, action);
  }

  /** Runs the next entry. False: there is none. */
  step(): boolean {
    if (this.#length === 0) return false;
    this.#nowUs = this.#times[0]!;
    const slot = this.#slots[0]!;
    const last = --this.#length;
    if (last > 0) this.#down(this.#times[last]!, this.#orders[last]!, this.#slots[last]!);
    const action = this.#actions[slot]!;
    this.#free.push(slot);
    action();
    return true;
  }

  #grow(): void {
    const size = this.#times.length * 2;
    const times = new Float64Array(size);
    const orders = new Float64Array(size);
    const slots = new Int32Array(size);
    times.set(this.#times);
    orders.set(this.#orders);
    slots.set(this.#slots);
    this.#times = times;
    this.#orders = orders;
    this.#slots = slots;
  }

  #isBefore(timeUs: number, order: number, at: number): boolean {
    const other = this.#times[at]!;
    return timeUs < other || (timeUs === other && order < this.#orders[at]!);
  }

  #put(at: number, timeUs: number, order: number, slot: number): void {
    this.#times[at] = timeUs;
    this.#orders[at] = order;
    this.#slots[at] = slot;
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#times[from]!, this.#orders[from]!, this.#slots[from]!);
  }

  #up(from: number, timeUs: number, order: number, slot: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.#isBefore(timeUs, order, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, timeUs, order, slot);
  }

  /** Puts an entry in place of the first one. */
  #down(timeUs: number, order: number, slot: number): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#length) break;
      if (child + 1 < this.#length && this.#isBefore(this.#times[child + 1]!, this.#orders[child + 1]!, child)) child++;
      if (this.#isBefore(timeUs, order, child)) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, timeUs, order, slot);
  }
}
