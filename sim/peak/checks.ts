/**
 * The ordering checks at the peak, in constant time and a few bytes a pair each. They say what core/checks says of G1–G7, but
 * keep no history: what a conversation held is remembered for its last RING sequences.
 *
 * | | |
 * |---|---|
 * | G1 | the sequencer's, and each device's, next sequence is the last one plus one |
 * | G2 | what a device is handed as a sequence is what the sequencer said of it |
 * | G3, G6 | a device's counters are sequenced 1, 2, 3 …, each once |
 * | G4 | at the end every member's device has everything up to the head, and everything sent was sequenced |
 * | G5 | what is sequenced was sent |
 * | G7 | watermarks only grow, and are not beyond the head |
 */
import { mix32 } from '../../core/ids.js';
import type { Population } from './population.js';

const RING = 64;
const KEPT_MAX = 20;

export interface PeakViolation {
  readonly guarantee: string;
  readonly sentence: string;
}

/** Who sent it, under which counter, with what in it. Never 0. */
export function fingerprintOf(pair: number, counter: number, content: number): number {
  return mix32(mix32(pair ^ Math.imul(counter, 0x9e37_79b1)) ^ content) || 1;
}

export class PeakChecks {
  readonly violations: PeakViolation[] = [];
  /** All of them, also those that are not kept. */
  violated = 0;
  sent = 0;
  sequenced = 0;
  delivered = 0;
  receipts = 0;
  readonly #population: Population;
  /** By pair: counters used, and sequenced; last sequence that its device has; watermarks that others were told of it. */
  readonly #counters: Uint32Array;
  readonly #sequencedCounters: Uint32Array;
  readonly #last: Uint32Array;
  readonly #told: Uint32Array;
  /** By conversation: last sequence, and what its last sequences hold. */
  readonly #heads: Uint32Array;
  readonly #ring: Uint32Array;

  constructor(population: Population) {
    this.#population = population;
    const { pairs, conversations } = population;
    this.#counters = new Uint32Array(pairs);
    this.#sequencedCounters = new Uint32Array(pairs);
    this.#last = new Uint32Array(pairs);
    this.#told = new Uint32Array(pairs);
    this.#heads = new Uint32Array(conversations);
    this.#ring = new Uint32Array(conversations * RING);
  }

  get bytes(): number {
    return 4 * (4 * this.#population.pairs + (1 + RING) * this.#population.conversations);
  }

  #fail(guarantee: string, sentence: string): void {
    this.violated++;
    if (this.violations.length < KEPT_MAX) this.violations.push({ guarantee, sentence });
  }

  /** The pair sends once more; returns the counter. */
  send(pair: number): number {
    this.sent++;
    return ++this.#counters[pair]!;
  }

  /** The sequencer gave `seq` to the sender's `counter`: told as often as the fan-out says it, to several partitions, too. */
  sequence(conversation: number, seq: number, sender: number, counter: number, fingerprint: number): void {
    const head = this.#heads[conversation]!;
    const place = conversation * RING + (seq % RING);
    if (seq <= head) {
      if (seq > head - RING && this.#ring[place] === fingerprint) return;
      return this.#fail('G2', `conversation ${conversation} has sequence ${seq} twice, with different messages`);
    }
    if (seq !== head + 1) this.#fail('G1', `conversation ${conversation}: sequence ${seq} was given out after ${head}`);
    const before = this.#sequencedCounters[sender]!;
    if (counter <= before) this.#fail('G6', `pair ${sender}: counter ${counter} was sequenced again, as ${seq}`);
    else if (counter !== before + 1)
      this.#fail('G3', `pair ${sender}: counter ${counter} was sequenced after ${before}`);
    if (counter > this.#counters[sender]!) this.#fail('G5', `pair ${sender}: counter ${counter} was never sent`);
    this.sequenced++;
    this.#heads[conversation] = seq;
    this.#sequencedCounters[sender] = counter;
    this.#ring[place] = fingerprint;
  }

  /** A device is handed a message, or is told that its own one stands there. `fingerprint` 0: the payload did not come with it. */
  deliver(conversation: number, pair: number, seq: number, fingerprint: number): void {
    const last = this.#last[pair]!;
    if (seq !== last + 1) {
      this.#fail(seq <= last ? 'G6' : 'G1', `pair ${pair} was handed sequence ${seq} after ${last}`);
      if (seq <= last) return;
    }
    this.#last[pair] = seq;
    this.delivered++;
    const head = this.#heads[conversation]!;
    if (seq > head) return this.#fail('G5', `pair ${pair} was handed sequence ${seq}, the head is ${head}`);
    if (seq <= head - RING) return this.#fail('G2', `pair ${pair} is too late at sequence ${seq} to be compared`);
    if (fingerprint !== 0 && this.#ring[conversation * RING + (seq % RING)] !== fingerprint) {
      this.#fail('G2', `pair ${pair} was handed something else as sequence ${seq}`);
    }
  }

  /** Somebody was told that a member has everything up to `delivered`. */
  receipt(conversation: number, whose: number, delivered: number, read: number): void {
    this.receipts++;
    if (read > delivered || delivered > this.#heads[conversation]!) {
      this.#fail('G7', `a receipt says delivered ${delivered}, read ${read}; the head is ${this.#heads[conversation]}`);
    }
    if (delivered < this.#told[whose]!) this.#fail('G7', `the receipt of pair ${whose} went back to ${delivered}`);
    else this.#told[whose] = delivered;
  }

  unexpected(what: string): void {
    this.#fail('G5', what);
  }

  /** Everything has come to rest. */
  finish(): void {
    const { conversations, firstPair } = this.#population;
    for (let c = 0; c < conversations; c++) {
      const head = this.#heads[c]!;
      for (let pair = firstPair[c]!; pair < firstPair[c + 1]!; pair++) {
        if (this.#last[pair] !== head) {
          this.#fail('G4', `pair ${pair} has messages up to ${this.#last[pair]} of ${head} in conversation ${c}`);
        }
        if (this.#sequencedCounters[pair] !== this.#counters[pair]) {
          this.#fail(
            'G4',
            `pair ${pair} sent ${this.#counters[pair]}, of which ${this.#sequencedCounters[pair]} stand`,
          );
        }
      }
    }
  }

  /** Hash of what all devices have: equal runs have equal hashes. */
  hash(): number {
    let hash = 0;
    for (const seq of this.#last) hash = mix32(hash ^ seq);
    for (const fingerprint of this.#ring) hash = mix32(hash ^ fingerprint);
    return hash >>> 0;
  }
}
