/**
 * When to look at a user again: a binary heap of (logged time, user). An alarm may ring too early, never too late; what is
 * due is decided by the user's rows alone, so that a stage restored from a checkpoint, whose alarms are exact, does the same
 * as one whose alarms are stale.
 */
export class Alarms {
  #times = new Float64Array(256);
  #users = new Uint32Array(256);
  #size = 0;

  /** Time of the earliest alarm; Infinity: none. */
  get earliest(): number {
    return this.#size === 0 ? Infinity : this.#times[0]!;
  }

  /** The user of the earliest alarm. */
  get top(): number {
    return this.#users[0]!;
  }

  push(time: number, user: number): void {
    if (this.#size === this.#times.length) this.#grow();
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (this.#times[parent]! <= time) break;
      this.#times[at] = this.#times[parent]!;
      this.#users[at] = this.#users[parent]!;
      at = parent;
    }
    this.#times[at] = time;
    this.#users[at] = user;
  }

  pop(): void {
    const size = --this.#size;
    const time = this.#times[size]!;
    const user = this.#users[size]!;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#times[child + 1]! < this.#times[child]!) child++;
      if (this.#times[child]! >= time) break;
      this.#times[at] = this.#times[child]!;
      this.#users[at] = this.#users[child]!;
      at = child;
    }
    this.#times[at] = time;
    this.#users[at] = user;
  }

  /** Calls `visit` with each alarm at or before `time`, in no particular order, and changes nothing. */
  forEachDue(time: number, visit: (time: number, user: number) => void): void {
    const stack = [0];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (at >= this.#size || this.#times[at]! > time) continue;
      visit(this.#times[at]!, this.#users[at]!);
      stack.push(at * 2 + 1, at * 2 + 2);
    }
  }

  clear(): void {
    this.#size = 0;
  }

  #grow(): void {
    const times = new Float64Array(this.#times.length * 2);
    const users = new Uint32Array(this.#users.length * 2);
    times.set(this.#times);
    users.set(this.#users);
    this.#times = times;
    this.#users = users;
  }
}
