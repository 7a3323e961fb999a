/**
 * What one broker holds of one partition: batches with the epoch of the leader that took each, how much of them is on its disk,
 * and what its producers wrote last, which is read off the batches and tells a retry from something new.
 */
import type { Batch } from '../core/batch.js';

/** Retries of this many batches of a producer are recognised. */
const DEDUPE_WINDOW = 5;

/** A batch in a partition: never changed, and shared by all replicas that have it. */
export interface Entry {
  readonly batch: Batch;
  readonly leaderEpoch: number;
  readonly producer: number;
  readonly producerEpoch: number;
  readonly sequence: number;
}

interface ProducerState {
  epoch: number;
  last: number;
  /** The last of its batches: sequence and offset. */
  readonly recent: { readonly sequence: number; readonly offset: number }[];
}

/**
 * What a leader makes of a batch.
 * - append: it is the next one, or the producer is not known (any more); then `offset` tells whether it is there already.
 * - repeated: it is there, at `offset`.
 * - gap: one before it is missing.
 * - too_old: it was taken once, so long ago that nobody knows where.
 * - fenced: the producer has begun anew since.
 */
export interface Verdict {
  readonly is: 'append' | 'repeated' | 'gap' | 'too_old' | 'fenced';
  /** −1: nowhere. */
  readonly offset: number;
}

export class Replica {
  readonly entries: Entry[] = [];
  /** Entries that survive the loss of power. */
  flushed = 0;
  /** Entries that readers may have. */
  highWatermark = 0;
  readonly #producers = new Map<number, ProducerState>();
  /** What lies before says nothing about producers any more. */
  #forgottenBelow = 0;

  get end(): number {
    return this.entries.length;
  }

  /** Epoch of the entry before `offset`; −1: there is none. */
  epochBefore(offset: number): number {
    return offset === 0 ? -1 : this.entries[offset - 1]!.leaderEpoch;
  }

  /** The highest epoch here that is no higher than `epoch`, and where it ends. */
  endOfEpoch(epoch: number): { readonly epoch: number; readonly end: number } {
    let { end } = this;
    while (end > 0 && this.entries[end - 1]!.leaderEpoch > epoch) end--;
    return { epoch: this.epochBefore(end), end };
  }

  append(entry: Entry): void {
    this.entries.push(entry);
    this.#note(entry, this.end - 1);
  }

  truncate(to: number): void {
    const end = Math.min(this.end, to);
    this.entries.length = end;
    this.flushed = Math.min(this.flushed, end);
    this.highWatermark = Math.min(this.highWatermark, end);
    this.#producers.clear();
    for (let offset = Math.min(this.#forgottenBelow, end); offset < end; offset++) {
      this.#note(this.entries[offset]!, offset);
    }
  }

  #note({ producer, producerEpoch, sequence }: Entry, offset: number): void {
    let state = this.#producers.get(producer);
    if (state === undefined || state.epoch !== producerEpoch) {
      state = { epoch: producerEpoch, last: sequence, recent: [] };
      this.#producers.set(producer, state);
    }
    state.last = sequence;
    state.recent.push({ sequence, offset });
    if (state.recent.length > DEDUPE_WINDOW) state.recent.shift();
  }

  judge(producer: number, producerEpoch: number, sequence: number): Verdict {
    const state = this.#producers.get(producer);
    if (state === undefined || producerEpoch > state.epoch) {
      // Whoever is not known may begin anywhere.
      if (state === undefined) return { is: 'append', offset: this.#placeOf(producer, producerEpoch, sequence) };
      return { is: sequence === 0 ? 'append' : 'gap', offset: -1 };
    }
    if (producerEpoch < state.epoch) return { is: 'fenced', offset: -1 };
    if (sequence === state.last + 1) return { is: 'append', offset: -1 };
    if (sequence > state.last) return { is: 'gap', offset: -1 };
    const known = state.recent.find((recent) => recent.sequence === sequence);
    return known === undefined ? { is: 'too_old', offset: -1 } : { is: 'repeated', offset: known.offset };
  }

  /** Producers that did not write for long are forgotten. */
  forgetProducers(): void {
    this.#producers.clear();
    this.#forgottenBelow = this.end;
  }

  /** Offset of this very batch, though nobody remembers its producer; −1: it is not here. */
  #placeOf(producer: number, producerEpoch: number, sequence: number): number {
    if (sequence === 0) return -1;
    return this.entries.findIndex(
      (entry) => entry.producer === producer && entry.producerEpoch === producerEpoch && entry.sequence === sequence,
    );
  }
}
