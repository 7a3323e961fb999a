/**
 * Links between named nodes (`gateway-0`, `lane-1`, `broker-2`, `controller`): each has a delay of its own, and may be cut one
 * way or both. What is on its way when a link is cut is lost.
 */
import type { Prng } from '../core/prng.js';
import type { Context } from './context.js';

/** Any node. */
export const ANYBODY = '*';

/** A link is near, in another rack, or far: microseconds that each message takes at least. */
const BASES_US = [40, 150, 600, 2_500] as const;

export class Network {
  readonly context: Context;
  readonly #random: Prng;
  /** By "from>to": until when, in virtual microseconds. */
  readonly #cuts = new Map<string, number>();
  readonly #bases = new Map<string, number>();

  constructor(context: Context, random: Prng) {
    this.context = context;
    this.#random = random;
  }

  cut(from: string, to: string, ms: number): void {
    this.#cuts.set(`${from}>${to}`, this.context.queue.nowUs + ms * 1_000);
  }

  heal(): void {
    this.#cuts.clear();
  }

  isCut(from: string, to: string): boolean {
    if (this.#cuts.size === 0) return false;
    return this.#holds(`${from}>${to}`) || this.#holds(`${from}>${ANYBODY}`) || this.#holds(`${ANYBODY}>${to}`);
  }

  #holds(link: string): boolean {
    return (this.#cuts.get(link) ?? 0) > this.context.queue.nowUs;
  }

  /** How long a message takes now: the link's own delay, and at times a tail. */
  delayUs(from: string, to: string): number {
    const link = `${from}>${to}`;
    let base = this.#bases.get(link);
    if (base === undefined) {
      base = BASES_US[this.#random.below(BASES_US.length)]!;
      this.#bases.set(link, base);
    }
    const tail = this.#random.chance(1, 20) ? this.#random.below(30_000) : this.#random.below(base);
    return base + tail;
  }

  /** One message by itself; it may overtake others. */
  send(from: string, to: string, arrive: () => void): void {
    if (this.isCut(from, to)) return;
    this.context.queue.after(this.delayUs(from, to), () => {
      if (!this.isCut(from, to)) arrive();
    });
  }
}

/** One way of a connection: what is sent arrives in order, and when something is lost nothing comes after it. */
export class Stream {
  readonly #network: Network;
  readonly #from: string;
  readonly #to: string;
  #lastUs = 0;
  isBroken = false;

  constructor(network: Network, from: string, to: string) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
  }

  /** `lateUs`: later than the link alone would make it. */
  send(arrive: () => void, lateUs = 0): void {
    const { queue } = this.#network.context;
    this.#look();
    if (this.isBroken) return;
    this.#lastUs = Math.max(this.#lastUs, queue.nowUs + lateUs + this.#network.delayUs(this.#from, this.#to));
    queue.at(this.#lastUs, () => {
      this.#look();
      if (!this.isBroken) arrive();
    });
  }

  #look(): void {
    if (this.#network.isCut(this.#from, this.#to)) this.isBroken = true;
  }
}
