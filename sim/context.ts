/** What all parts of a world share: time, chance, the hash of what happens, and where they tell what is wrong. */
import { Prng } from '../core/prng.js';
import { Probes } from '../core/probe.js';
import { EventQueue } from './queue.js';
import { TraceHash } from './trace-hash.js';

/** Kinds of events in the trace hash. */
export const Happening = {
  LANE_TURN: 1,
  LANE_DIED: 2,
  APPEND: 3,
  COMMIT: 4,
  TO_CLIENT: 5,
  TO_SERVER: 6,
  GATEWAY: 7,
  FAULT: 8,
  DEED: 9,
  LINK: 10,
  SEEN: 11,
} as const;

/** Server time at the start. */
const EPOCH_MS = 1_700_000_000_000;

/** What a flaw is about; 0: nothing of this sort. */
export interface Place {
  readonly device: number;
  readonly convA: number;
  readonly convB: number;
  readonly seq: number;
}

/** Something that must not be, besides what the checkers of core/checks find. */
export interface Flaw {
  readonly atMs: number;
  /** A guarantee, or 'crash': production code threw something that is no DunlinError. */
  readonly guarantee: string;
  readonly sentence: string;
  readonly place: Partial<Place>;
}

export class Context {
  readonly queue = new EventQueue();
  readonly hash = new TraceHash();
  readonly flaws: Flaw[] = [];
  /** Named places that were reached, and how often. */
  readonly marks = new Map<string, number>();
  readonly delays: Prng;
  /** What production code in this world reached, and where it takes the rarer way. */
  readonly probes: Probes;
  /** Small faults that no plan names, where sites are on: reads fail while a lane recovers, a connection hangs before it is said hello on. */
  readonly trouble: Prng | undefined;
  /** What the server's wall clock is off by. */
  clockOffMs = 0;
  /** What happened to threads and links, in words; only if it is kept. */
  readonly journal: { readonly atMs: number; readonly text: string }[] | undefined;
  /** Grows with everything that moves a message: when it stands still, all is quiet. */
  activity = 0;
  /** No fault happens any more. */
  isHealing = false;
  /** Whether lanes use the WebAssembly kernels: in half of the worlds. Nothing else depends on it. */
  readonly usesKernel: boolean;

  constructor(
    seed: number,
    buggify: boolean,
    keepsJournal = false,
    usesKernel = new Prng(seed).fork('kernel').chance(1, 2),
  ) {
    this.journal = keepsJournal ? [] : undefined;
    this.trouble = buggify ? new Prng(seed).fork('trouble') : undefined;
    this.probes = new Probes(buggify ? new Prng(seed).fork('buggify') : undefined);
    this.delays = new Prng(seed).fork('delays');
    this.usesKernel = usesKernel;
  }

  get nowMs(): number {
    return this.queue.nowUs / 1_000;
  }

  /** Whole milliseconds since 1970, by the server's clock. */
  get wallMs(): number {
    return EPOCH_MS + Math.floor(this.nowMs) + this.clockOffMs;
  }

  /** The same as if the clock had never been set. */
  get steadyMs(): number {
    return EPOCH_MS + Math.floor(this.nowMs);
  }

  /** One of the small faults happens now, in one of so many cases. */
  isTroubled(oneIn: number): boolean {
    return !this.isHealing && this.trouble?.chance(1, oneIn) === true;
  }

  note(text: string): void {
    this.journal?.push({ atMs: this.nowMs, text });
  }

  mark(name: string): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + 1);
  }

  flaw(guarantee: string, sentence: string, place: Partial<Place> = {}): void {
    this.flaws.push({ atMs: this.nowMs, guarantee, sentence, place });
    this.note(`WRONG ${guarantee}: ${sentence}`);
  }

  /** Microseconds, mostly near the low end. */
  delayUs(low: number, high: number): number {
    const { delays } = this;
    return delays.chance(1, 8) ? delays.between(low, high) : delays.between(low, low + ((high - low) >>> 3));
  }
}
