/**
 * What a client knows of one conversation: where it stands in the sequence, and its outbox there.
 *
 * The outbox is a go-back-N sender over the dense counters 1, 2, 3 …: entries from `firstCounter` to `lastCounter` wait for
 * their outcome, those from `nextCounter` on are not on the wire (of this connection). A counter belongs to one entry for
 * ever, so sending again is always safe; the exception is `renumber`, which is only for counters that the server says
 * belong to somebody else.
 *
 * The window starts at 1 on every connection and after every retryable rejection, and doubles with every outcome: the first
 * entry finds out whether counters and server agree before others could be taken out of order.
 */

import { CLIENT_RETRY_BASE_MS, CLIENT_RETRY_MAX_MS, CLIENT_WINDOW } from '../core/limits.js';
import type { Prng } from '../core/prng.js';
import { Mark, reached } from '../core/probe.js';

export interface Entry {
  readonly kind: number;
  readonly flags: number;
  /** Time to live in seconds, or the role of GROUP_ROLE. */
  readonly extra: number;
  readonly payload: Uint8Array;
  /** The application's own number for it, handed back with the outcome. */
  readonly tag: number;
  counter: number;
  /** How often this entry may have been sent under this counter; from a saved state at most once. */
  transmissions: number;
  settled: boolean;
}

/** Removed entries stay in the array until this many have gathered. */
const COMPACT_AT = 64;

/** Watermarks that the server told. */
interface Marks {
  readonly user: number;
  delivered: number;
  read: number;
  /** Nothing was told yet. */
  isNew: boolean;
}

export class Conversation {
  readonly a: number;
  readonly b: number;

  /** Highest sequence handed to the application, or known never to come; 0: none yet, the first may be any. */
  lastSeq = 0;
  /** The same, as far as the application has acknowledged. */
  acknowledgedSeq = 0;
  /** How often the sequence behind `lastSeq` was missing on arrival. */
  holes = 0;

  /** Highest counter given to an entry, or known to be used. */
  lastCounter = 0;
  /** An outcome or INFO has shown where the counters stand. If not, the device may have used some in an earlier life. */
  countersKnown = false;
  /** INFO was refused, so that nothing is known, but a try may help. */
  countsBlindly = false;
  /** The counter to put on the wire next. */
  nextCounter = 1;
  window = 1;
  /** Waits until then before it sends again; 0: does not wait. */
  retryAtMs = 0;
  /** Retryable rejections without an outcome in between. */
  attempts = 0;
  /** When the oldest entry on the wire was sent, or the last outcome came. */
  progressAtMs = 0;
  /** Sends nothing until INFO has told the last counter that was taken. */
  resyncing = false;
  /** The counter that may be somebody else's, while resyncing; 0: none. */
  doubted = 0;

  /** In the client's list of conversations with something to send. */
  queued = false;
  /** A READ of it waits until reads may go again. */
  readWaits = false;
  /** The application's read watermark; what was sent of it; what the server confirmed. */
  readWanted = 0;
  readSent = 0;
  readConfirmed = 0;
  /** Typing to tell: −1 nothing, else 0 or 1. */
  typing = -1;
  infoWanted = false;
  infoSent = false;

  readonly #marks: Marks[] = [];
  /** In ascending order of their counters, which may have holes: counters that the server says are used have no entry. */
  readonly #entries: (Entry | undefined)[] = [];
  #head = 0;

  constructor(a: number, b: number) {
    this.a = a;
    this.b = b;
  }

  /** What is known of a user's watermarks, or of the group's (user 0): in a list, for there are two, this user's and one more. */
  marksOf(user: number): Marks {
    for (const marks of this.#marks) if (marks.user === user) return marks;
    const added = { user, delivered: 0, read: 0, isNew: true };
    this.#marks.push(added);
    return added;
  }

  get mayCount(): boolean {
    return this.countersKnown || this.countsBlindly;
  }

  /** Entries from the first one without an outcome on. */
  get pending(): number {
    return this.#entries.length - this.#head;
  }

  /** Counter of the first entry without an outcome, or of the next new entry. */
  get firstCounter(): number {
    return this.#entries[this.#head]?.counter ?? this.lastCounter + 1;
  }

  entry(counter: number): Entry | undefined {
    const entry = this.#entries[this.#indexOf(counter)];
    return entry?.counter === counter ? entry : undefined;
  }

  /** Where the first entry with this counter or a higher one lies, or would lie. */
  #indexOf(counter: number): number {
    // Without holes it lies as far behind the first as its counter.
    const guess = this.#head + counter - this.firstCounter;
    if (guess <= this.#head) return this.#head;
    if (this.#entries[guess]?.counter === counter) return guess;
    let low = this.#head;
    let high = Math.min(guess, this.#entries.length);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.counter < counter) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The entries without an outcome, in order. */
  unsettled(): Entry[] {
    const entries: Entry[] = [];
    for (let i = this.#head; i < this.#entries.length; i++) {
      const entry = this.#entries[i]!;
      if (!entry.settled) entries.push(entry);
    }
    return entries;
  }

  add(kind: number, flags: number, extra: number, payload: Uint8Array, tag: number): Entry {
    const counter = ++this.lastCounter;
    const entry: Entry = { kind, flags, extra, payload, tag, counter, transmissions: 0, settled: false };
    this.#entries.push(entry);
    return entry;
  }

  /** The next entry that may go on the wire now, or undefined. */
  nextToSend(): Entry | undefined {
    if (this.retryAtMs !== 0 || this.resyncing) return undefined;
    const first = this.firstCounter;
    if (this.nextCounter < first) this.nextCounter = first;
    for (let i = this.#indexOf(this.nextCounter); i < this.#entries.length; i++) {
      const entry = this.#entries[i]!;
      if (entry.counter - first >= this.window) {
        reached(Mark.CLIENT_WINDOW_FULL);
        return undefined;
      }
      if (!entry.settled) return entry;
      this.nextCounter = entry.counter + 1;
    }
    return undefined;
  }

  get onWire(): boolean {
    return this.nextCounter > this.firstCounter && this.pending > 0;
  }

  transmitted(entry: Entry, nowMs: number): void {
    if (!this.onWire) this.progressAtMs = nowMs;
    entry.transmissions++;
    this.nextCounter = entry.counter + 1;
  }

  /** The entry has its outcome. */
  settle(entry: Entry, nowMs: number): void {
    entry.settled = true;
    this.progressAtMs = nowMs;
    this.attempts = 0;
    this.window = Math.min(this.window * 2, CLIENT_WINDOW);
    while (this.#head < this.#entries.length && this.#entries[this.#head]!.settled) {
      this.#entries[this.#head++] = undefined;
    }
    if (this.#head === this.#entries.length) {
      this.#entries.length = 0;
      this.#head = 0;
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#entries.length) {
      this.#entries.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /**
   * Sends again from `counter` on, after a pause. Everything behind a rejected entry is rejected as well; those rejections
   * arrive within the pause, and later ones meet a window of 1, so they cannot cause a storm.
   */
  goBack(counter: number, nowMs: number, random: Prng): void {
    this.nextCounter = Math.max(Math.min(this.nextCounter, counter), this.firstCounter);
    this.window = 1;
    if (this.retryAtMs !== 0) return;
    const pauseMs = Math.min(CLIENT_RETRY_BASE_MS * 2 ** this.attempts, CLIENT_RETRY_MAX_MS);
    this.attempts++;
    this.retryAtMs = nowMs + random.between(pauseMs / 2, pauseMs);
  }

  /** A new connection: what was on the wire may be lost. */
  restart(): void {
    this.nextCounter = this.firstCounter;
    this.window = 1;
    this.retryAtMs = 0;
    this.attempts = 0;
    this.infoSent = false;
    this.typing = -1;
    this.readSent = this.readConfirmed;
  }

  /**
   * Somebody used the counters up to `lastTaken`: gives the entries without an outcome, from `start` on, the counters behind
   * it, in their order. Without `start` only the next new entry is affected. Changes are reported in an order in which no
   * entry gets a counter that another one has yet.
   */
  renumber(start: Entry | undefined, lastTaken: number, renumbered: (entry: Entry, from: number) => void): void {
    const keptUntil = start === undefined ? this.#entries.length : this.#entries.indexOf(start, this.#head);
    const moved = this.#entries.splice(keptUntil).filter((entry) => !entry!.settled);
    const movedFrom = start?.counter ?? this.lastCounter + 1;
    this.lastCounter = movedFrom - 1;
    this.#skipTo(lastTaken);
    const up: [entry: Entry, from: number][] = [];
    for (const entry of moved as Entry[]) {
      const from = entry.counter;
      entry.counter = ++this.lastCounter;
      entry.transmissions = 0;
      this.#entries.push(entry);
      if (entry.counter > from) up.push([entry, from]);
      else if (entry.counter < from) renumbered(entry, from);
    }
    for (const [entry, from] of up.toReversed()) renumbered(entry, from);
    this.nextCounter = Math.min(this.nextCounter, movedFrom, lastTaken + 1);
    this.window = 1;
  }

  /** Makes `counter` the last one given out. The counters between have no entry, however many they are. */
  #skipTo(counter: number): void {
    if (this.pending === 0 || this.lastCounter < counter) this.lastCounter = counter;
  }

  /** Puts a saved conversation back: its entries in ascending order, and the last counter that was given out. */
  restore(entries: readonly Entry[], lastCounter: number): void {
    for (const entry of entries) {
      this.#skipTo(entry.counter - 1);
      this.lastCounter = entry.counter;
      this.#entries.push(entry);
    }
    this.#skipTo(lastCounter);
    this.nextCounter = this.firstCounter;
  }
}
