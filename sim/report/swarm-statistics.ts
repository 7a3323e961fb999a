/** What a swarm's page tells of all its seeds. Bounded, however many they are. */
import { Buckets } from '../buckets.js';
import { LogBins } from '../log-bins.js';
import type { SeedReport } from '../swarm.js';

const BUCKET_MS = 1_000;
const BUCKETS_MAX = 400;

/** One bucket of wall time. */
export interface SwarmRate {
  readonly seeds: number;
  readonly messages: number;
  readonly virtualSeconds: number;
  readonly violated: number;
  /** How many marks had ever been reached by then. */
  readonly marks: number;
}

/** How many worlds had a kind of fault, and how many faults of it there were. */
interface KindCount {
  seeds: number;
  faults: number;
}

const NOTHING: SwarmRate = { seeds: 0, messages: 0, virtualSeconds: 0, violated: 0, marks: 0 };

function add(one: SwarmRate, other: SwarmRate): SwarmRate {
  return {
    seeds: one.seeds + other.seeds,
    messages: one.messages + other.messages,
    virtualSeconds: one.virtualSeconds + other.virtualSeconds,
    violated: one.violated + other.violated,
    marks: Math.max(one.marks, other.marks),
  };
}

export class SwarmStatistics {
  /** By seed. */
  readonly events = new LogBins({ low: 100, decades: 7, perDecade: 8 });
  readonly messages = new LogBins({ low: 1, decades: 7, perDecade: 8 });
  readonly virtualSeconds = new LogBins({ low: 1, decades: 4, perDecade: 16 });
  readonly wallMs = new LogBins({ low: 1, decades: 6, perDecade: 8 });
  readonly kinds = new Map<string, KindCount>();
  readonly #marks = new Set<string>();
  readonly #rates = new Buckets<SwarmRate>(BUCKET_MS, BUCKETS_MAX, add);
  #current = NOTHING;
  #endMs = 0;

  /** `atMs`: wall time since the start. */
  add(report: SeedReport, atMs: number): void {
    const { events, messages, virtualSeconds, wallMs, faults, failure } = report;
    while (atMs >= this.#rates.end) this.#close();
    for (const mark of report.marks) this.#marks.add(mark);
    const violated = failure === undefined ? 0 : 1;
    this.#current = add(this.#current, { seeds: 1, messages, virtualSeconds, violated, marks: this.#marks.size });
    this.events.add(events);
    this.messages.add(messages);
    this.virtualSeconds.add(virtualSeconds);
    this.wallMs.add(wallMs);
    for (const [kind, count] of faults) {
      const counted = this.kinds.get(kind) ?? { seeds: 0, faults: 0 };
      counted.seeds++;
      counted.faults += count;
      this.kinds.set(kind, counted);
    }
  }

  #close(): void {
    this.#rates.push(this.#current);
    this.#current = { ...NOTHING, marks: this.#marks.size };
  }

  finish(atMs: number): void {
    while (atMs >= this.#rates.end) this.#close();
    if (this.#current.seeds > 0) this.#close();
    this.#endMs = atMs;
  }

  /** Wall time of it all. */
  get endMs(): number {
    return this.#endMs;
  }

  get bucketMs(): number {
    return this.#rates.width;
  }

  get rates(): readonly SwarmRate[] {
    return this.#rates.values;
  }
}
