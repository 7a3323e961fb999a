/**
 * When somebody sends what to whom, ahead of time: the open loop. Nothing here looks at how the server is doing.
 *
 * Each process draws the arrivals of its own users; independent Poisson processes add up to one of the whole rate. With
 * constant arrivals each process sends at even gaps.
 */
import type { Prng } from '../../core/prng.js';
import { drawExponential, SizeDraw, WeightedDraw, zipfShares } from './draws.js';
import { TAG_BYTES } from './payload.js';
import { listOf, type Population } from './population.js';
import type { Workload } from './workload.js';

export const ArrivalKind = {
  MESSAGE: 1,
  /** The group's creator adds `subject`. */
  ADD: 2,
  /** The user leaves the group. */
  LEAVE: 3,
} as const;

export interface Arrival {
  /** Milliseconds since the start of the schedule. */
  atMs: number;
  kind: number;
  user: number;
  device: number;
  conversation: number;
  bytes: number;
  subject: number;
}

export function emptyArrival(): Arrival {
  return { atMs: 0, kind: ArrivalKind.MESSAGE, user: 0, device: 0, conversation: 0, bytes: 0, subject: 0 };
}

/** A source of arrivals in time order. */
export interface Schedule {
  /** Fills `arrival` with the next one; false if there is none. */
  next(arrival: Arrival): boolean;
  /** From `fromMs` on, the rate of the whole run is `ratePerSecond`. */
  setRate(ratePerSecond: number, fromMs: number): void;
}

/** Senders of which a schedule draws: those of one process, with their share of the whole. */
export class DrawnArrivals implements Schedule {
  readonly #workload: Workload;
  readonly #population: Population;
  readonly #prng: Prng;
  readonly #senders: Uint32Array;
  readonly #sender: WeightedDraw | undefined;
  readonly #bytes: SizeDraw;
  readonly #contactRanks = new Map<number, WeightedDraw>();
  /** Probability that a message of a user with groups is a group message. */
  readonly #groupChance: number;
  #gapMs = Number.POSITIVE_INFINITY;
  #atMs = 0;

  constructor(workload: Workload, population: Population, users: Uint32Array, prng: Prng) {
    this.#workload = workload;
    this.#population = population;
    this.#prng = prng;
    this.#senders = users.filter((user) => population.activity[user]! > 0);
    this.#sender =
      this.#senders.length === 0
        ? undefined
        : new WeightedDraw(Float64Array.from(this.#senders, (user) => population.activity[user]!));
    this.#bytes = new SizeDraw(workload.bytesP50, workload.bytesP95, TAG_BYTES, workload.bytesMax);
    this.#groupChance = groupChance(workload, population);
    this.setRate(workload.ratePerSecond, 0);
  }

  setRate(ratePerSecond: number, fromMs: number): void {
    const own = (this.#sender?.total ?? 0) * ratePerSecond;
    this.#gapMs = own > 0 ? 1_000 / own : Number.POSITIVE_INFINITY;
    this.#atMs = fromMs;
    // A constant schedule starts at a random phase, so that the processes do not send in step.
    if (this.#workload.arrivals === 'constant' && own > 0) this.#atMs -= this.#prng.unit() * this.#gapMs;
  }

  next(arrival: Arrival): boolean {
    if (!this.#sender) return false;
    this.#atMs += this.#workload.arrivals === 'poisson' ? drawExponential(this.#prng) * this.#gapMs : this.#gapMs;
    if (!Number.isFinite(this.#atMs)) return false;
    const user = this.#senders[this.#sender.draw(this.#prng)]!;
    const first = this.#population.deviceStart[user]!;
    arrival.atMs = this.#atMs;
    arrival.kind = ArrivalKind.MESSAGE;
    arrival.user = user;
    arrival.device = first + this.#prng.below(this.#population.deviceStart[user + 1]! - first);
    arrival.conversation = this.#conversationOf(user);
    arrival.bytes = this.#bytes.draw(this.#prng);
    return true;
  }

  #conversationOf(user: number): number {
    const groups = listOf(this.#population.groupsOfUser, user);
    const directs = listOf(this.#population.directsOfUser, user);
    if (groups.length > 0 && (directs.length === 0 || this.#prng.unit() < this.#groupChance)) {
      return groups[this.#prng.below(groups.length)]!;
    }
    return directs[this.#rankDraw(directs.length).draw(this.#prng)]!;
  }

  #rankDraw(contacts: number): WeightedDraw {
    let draw = this.#contactRanks.get(contacts);
    if (!draw) {
      draw = new WeightedDraw(zipfShares(contacts, this.#workload.contactsZipf));
      this.#contactRanks.set(contacts, draw);
    }
    return draw;
  }
}

/** Users without a group send none, so the others send more: the share of the whole is what the workload says. */
function groupChance(workload: Workload, population: Population): number {
  let inGroups = 0;
  let all = 0;
  for (let user = 0; user < population.users; user++) {
    all += population.activity[user]!;
    if (listOf(population.groupsOfUser, user).length > 0) inGroups += population.activity[user]!;
  }
  return inGroups === 0 ? 0 : Math.min(1, (workload.groupShare * all) / inGroups);
}
