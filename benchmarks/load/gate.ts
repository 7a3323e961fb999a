/**
 * What must have happened before an arrival of a trace may be sent, though the plan says that its time has come: who was
 * added must have been told so before speaking, and who left must be gone before being added again. Waiting arrivals keep
 * their intended time, so the wait counts as latency.
 */
import { type Arrival, ArrivalKind, emptyArrival } from './arrivals.js';
import { Fifo } from './fifo.js';
import { listOf, type Population } from './population.js';

const COLUMNS = 7;

function pushArrival(fifo: Fifo, a: Arrival): void {
  fifo.push(a.atMs, a.kind, a.user, a.device, a.conversation, a.bytes, a.subject);
}

function shiftArrival(fifo: Fifo, arrival: Arrival): void {
  arrival.atMs = fifo.first(0);
  arrival.kind = fifo.first(1);
  arrival.user = fifo.first(2);
  arrival.device = fifo.first(3);
  arrival.conversation = fifo.first(4);
  arrival.bytes = fifo.first(5);
  arrival.subject = fifo.first(6);
  fifo.shift();
}

/** Arrivals in a row, first in, first out. */
export class ArrivalQueue {
  readonly #fifo = new Fifo(COLUMNS);
  readonly #arrival = emptyArrival();

  get length(): number {
    return this.#fifo.length;
  }

  push(arrival: Arrival): void {
    pushArrival(this.#fifo, arrival);
  }

  /** The first, taken out. Valid until the next call. */
  shift(): Arrival {
    shiftArrival(this.#fifo, this.#arrival);
    return this.#arrival;
  }
}

export class MemberGate {
  readonly #population: Population;
  /** (user, group) pairs of which the user's own device knows that it is in. */
  readonly #inside = new Set<number>();
  /** (user, group) pairs that the group's creator takes for members. */
  readonly #listed = new Set<number>();
  /** Arrivals that wait, by (who must change, group). */
  readonly #asMember = new Map<number, ArrivalQueue>();
  readonly #asSubject = new Map<number, ArrivalQueue>();
  #waiting = 0;

  constructor(population: Population) {
    this.#population = population;
    for (let group = 0; group < population.groupCount; group++) {
      for (const user of listOf(population.groups, group)) {
        this.#inside.add(this.#key(user, group));
        this.#listed.add(this.#key(user, group));
      }
    }
  }

  get waiting(): number {
    return this.#waiting;
  }

  #key(user: number, group: number): number {
    return group * this.#population.users + user;
  }

  /** Whether the user's own device takes the user for a member. */
  isInside(user: number, group: number): boolean {
    return this.#inside.has(this.#key(user, group));
  }

  /** True: send it now. False: it is kept, and will come out of `told`. */
  admit(arrival: Arrival): boolean {
    const isAdd = arrival.kind === ArrivalKind.ADD;
    const key = this.#key(isAdd ? arrival.subject : arrival.user, arrival.conversation);
    const queues = isAdd ? this.#asSubject : this.#asMember;
    const queue = queues.get(key);
    if (queue !== undefined || this.#mustWait(arrival, key)) {
      const waiting = queue ?? new ArrivalQueue();
      queues.set(key, waiting);
      waiting.push(arrival);
      this.#waiting++;
      return false;
    }
    this.#sending(arrival, key);
    return true;
  }

  #mustWait(arrival: Arrival, key: number): boolean {
    return arrival.kind === ArrivalKind.ADD ? this.#listed.has(key) : !this.#inside.has(key);
  }

  #sending(arrival: Arrival, key: number): void {
    if (arrival.kind === ArrivalKind.ADD) this.#listed.add(key);
    else if (arrival.kind === ArrivalKind.LEAVE) this.#inside.delete(key);
  }

  /** A user's own device was told that the user was added; `send` gets what waited for it. */
  told(user: number, group: number, send: (arrival: Arrival) => void): void {
    const key = this.#key(user, group);
    this.#inside.add(key);
    this.#release(this.#asMember, key, send);
  }

  /** The creator's device was told that a user left. */
  gone(user: number, group: number, send: (arrival: Arrival) => void): void {
    const key = this.#key(user, group);
    this.#listed.delete(key);
    this.#release(this.#asSubject, key, send);
  }

  #release(queues: Map<number, ArrivalQueue>, key: number, send: (arrival: Arrival) => void): void {
    const queue = queues.get(key);
    if (queue === undefined) return;
    queues.delete(key);
    this.#waiting -= queue.length;
    while (queue.length > 0) {
      // What must wait again, and everything behind it, goes into a new queue.
      const arrival = queue.shift();
      if (this.admit(arrival)) send(arrival);
    }
  }
}
