/**
 * The last events of all devices in one ring, written in order, so that noting an event touches one cache line. Only a
 * violation searches it, backwards, for the events of its own (device, conversation).
 */

export const Event = {
  SEND: 1,
  SENT: 2,
  ANSWERED: 3,
  REJECTED: 4,
  DELIVERED: 5,
  GAP: 6,
  RECEIPT: 7,
  READ: 8,
  RESUMED: 9,
  REWOUND: 10,
  FORGOTTEN: 11,
} as const;

const WORDS = 4;
const CAPACITY = 1 << 15;
const SHOWN = 8;
/** A pair number that no pair has: the event is the whole device's, whose number stands in the next word. */
const DEVICE_EVENT = 0xffff_ffff;

export class Trail {
  readonly #words = new Uint32Array(CAPACITY * WORDS);
  #next = 0;

  /** Number of events, modulo 2^32. */
  get length(): number {
    return this.#next >>> 0;
  }

  add(event: number, pair: number, one: number, other: number): void {
    const at = (this.#next++ & (CAPACITY - 1)) * WORDS;
    const words = this.#words;
    words[at] = event;
    words[at + 1] = pair;
    words[at + 2] = one;
    words[at + 3] = other;
  }

  addDeviceEvent(event: number, device: number): void {
    this.add(event, DEVICE_EVENT, device, 0);
  }

  /** All of it, for `Trail.restore`: the number of events, then the ring as far as it is filled. */
  export(): Uint32Array {
    const words = Math.min(this.#next, CAPACITY) * WORDS;
    const all = new Uint32Array(1 + words);
    all[0] = this.#next < CAPACITY ? this.#next : CAPACITY + (this.#next & (CAPACITY - 1));
    all.set(this.#words.subarray(0, words), 1);
    return all;
  }

  static restore(all: Uint32Array): Trail {
    const trail = new Trail();
    trail.#next = all[0]!;
    trail.#words.set(all.subarray(1));
    return trail;
  }

  /** The last events of a pair, oldest first; `device` is the pair's device. */
  of(pair: number, device: number): string[] {
    const found: string[] = [];
    const oldest = Math.max(0, this.#next - CAPACITY);
    for (let i = this.#next - 1; i >= oldest && found.length < SHOWN; i--) {
      const at = (i & (CAPACITY - 1)) * WORDS;
      const owner = this.#words[at + 1]!;
      if (owner === pair || (owner === DEVICE_EVENT && this.#words[at + 2] === device)) found.push(this.#sentence(at));
    }
    return found.toReversed();
  }

  #sentence(at: number): string {
    const one = this.#words[at + 2]!;
    const other = this.#words[at + 3]!;
    switch (this.#words[at]) {
      case Event.SEND:
        return `sent counter ${one}`;
      case Event.SENT:
        return `SENT: counter ${one} stands at sequence ${other}`;
      case Event.ANSWERED:
        return `SENT again: counter ${one} had been taken as sequence ${other}`;
      case Event.REJECTED:
        return `REJECT: counter ${one} was refused for good`;
      case Event.DELIVERED:
        return `was handed sequence ${one} (the sender's counter ${other})`;
      case Event.GAP:
        return `GAP: nothing up to sequence ${one} (reason ${other})`;
      case Event.RECEIPT:
        return `RECEIPT: delivered ${one}, read ${other}`;
      case Event.READ:
        return `read up to ${one}`;
      case Event.REWOUND:
        return `lost its state, and stands at sequence ${one}`;
      case Event.FORGOTTEN:
        return `lost its state, and with it counter ${one}, which had never left`;
      default:
        return 'connected again';
    }
  }
}
