/**
 * Numbers of a world over its virtual time, for a report. It reads what the world does and changes nothing: no entry of the
 * queue, no number drawn. Its memory is bounded, however long the run and however many its messages.
 */
import type { HistoryEvent } from '../core/checks/index.js';
import type { Backbone } from './backbone.js';
import { Buckets } from './buckets.js';
import type { Context } from './context.js';
import type { Device } from './device.js';
import { Lives } from './lives.js';
import { LogBins } from './log-bins.js';
import type { Observer } from './observer.js';
import { Terms } from './terms.js';

const BUCKET_MS = 100;
const BUCKETS_MAX = 800;
/** Sends whose time is remembered, until the oldest is forgotten. */
const SENDS_MAX = 100_000;
/** From a tenth of a millisecond to more than a quarter of an hour, each bin 8% wide. */
const LATENCY_BINS = { low: 0.1, decades: 7, perDecade: 30 };

/** What is looked at. */
export interface Watched {
  readonly context: Context;
  readonly observer: Observer;
  readonly backbone: Backbone;
  readonly devices: readonly Device[];
}

/** One bucket. */
export interface Sample {
  readonly sends: number;
  readonly deliveries: number;
  /** Bytes of log that each lane had not read, at most. */
  readonly lagBytes: readonly number[];
  /** Sends of all devices without an answer, at its end. */
  readonly unanswered: number;
  /** Devices whose session stood, at least. */
  readonly connected: number;
  /** Milliseconds from a send to its delivery at each other device, of the deliveries in it. */
  readonly latencies: LogBins;
}

export interface Phase {
  readonly name: string;
  readonly fromMs: number;
}

export function mergeSamples(earlier: Sample, later: Sample): Sample {
  const latencies = new LogBins(LATENCY_BINS);
  latencies.absorb(earlier.latencies);
  latencies.absorb(later.latencies);
  return {
    sends: earlier.sends + later.sends,
    deliveries: earlier.deliveries + later.deliveries,
    lagBytes: earlier.lagBytes.map((bytes, lane) => Math.max(bytes, later.lagBytes[lane] ?? 0)),
    unanswered: Math.max(earlier.unanswered, later.unanswered),
    connected: Math.min(earlier.connected, later.connected),
    latencies,
  };
}

export class Sampler {
  readonly lives = new Lives();
  readonly terms = new Terms();
  readonly phases: Phase[] = [{ name: 'everybody connects', fromMs: 0 }];
  /** Of the whole run. */
  readonly latencies = new LogBins(LATENCY_BINS);
  readonly #watched: Watched;
  /** Widths in microseconds. */
  readonly #buckets = new Buckets<Sample>(BUCKET_MS * 1_000, BUCKETS_MAX, mergeSamples);
  readonly #sentMs = new Map<string, number>();
  readonly #connected = new Set<number>();
  #fewest = 0;
  #lagBytes: number[] = [];
  #latencies = new LogBins(LATENCY_BINS);
  #sends = 0;
  #deliveries = 0;

  constructor(watched: Watched) {
    this.#watched = watched;
    watched.observer.watch = (event) => this.#saw(event);
    this.look();
  }

  get bucketMs(): number {
    return this.#buckets.width / 1_000;
  }

  get samples(): readonly Sample[] {
    return this.#buckets.values;
  }

  get endMs(): number {
    return this.#watched.context.nowMs;
  }

  phase(name: string, fromUs: number): void {
    this.phases.push({ name, fromMs: fromUs / 1_000 });
  }

  /** The clock is about to go to `nextUs`: all that happened before belongs to the buckets that end by then. */
  before(nextUs: number): void {
    while (nextUs >= this.#buckets.end) this.#close();
  }

  /** After a step. */
  look(): void {
    const { backbone, context } = this.#watched;
    this.lives.look(backbone, context.nowMs);
    if (backbone.cluster !== undefined) this.terms.look(backbone.cluster, context.nowMs);
    backbone.lanes.forEach(({ lane }, number) => {
      this.#lagBytes[number] = Math.max(this.#lagBytes[number] ?? 0, lane?.lagBytes() ?? 0);
    });
  }

  /** The run is over. */
  finish(): void {
    this.#close();
    this.lives.finish(this.endMs);
    this.terms.finish(this.endMs);
  }

  #close(): void {
    const { observer, devices, backbone } = this.#watched;
    this.#buckets.push({
      sends: observer.sends - this.#sends,
      deliveries: observer.deliveries - this.#deliveries,
      lagBytes: this.#lagBytes,
      unanswered: devices.reduce((sum, { core }) => sum + core.outboxSize, 0),
      connected: this.#fewest,
      latencies: this.#latencies,
    });
    this.#sends = observer.sends;
    this.#deliveries = observer.deliveries;
    this.#lagBytes = backbone.lanes.map(({ lane }) => lane?.lagBytes() ?? 0);
    this.#fewest = this.#connected.size;
    this.#latencies = new LogBins(LATENCY_BINS);
  }

  #saw(event: HistoryEvent): void {
    if (event.op === 'resume') this.#connected.add(event.device);
    else if (event.op === 'away') {
      this.#connected.delete(event.device);
      this.#fewest = Math.min(this.#fewest, this.#connected.size);
    } else if (event.op === 'send') this.#sent(event);
    else if (event.op === 'deliver' && event.device !== event.sender) this.#delivered(event);
  }

  #sent({ device, a, b, counter }: Extract<HistoryEvent, { readonly op: 'send' }>): void {
    if (this.#sentMs.size >= SENDS_MAX) {
      const [oldest] = this.#sentMs.keys();
      this.#sentMs.delete(oldest!);
    }
    this.#sentMs.set(`${device},${a},${b},${counter}`, this.#watched.context.nowMs);
  }

  #delivered({ sender, a, b, counter }: Extract<HistoryEvent, { readonly op: 'deliver' }>): void {
    const sentMs = this.#sentMs.get(`${sender},${a},${b},${counter}`);
    if (sentMs === undefined) return;
    const ms = this.#watched.context.nowMs - sentMs;
    this.#latencies.add(ms);
    this.latencies.add(ms);
  }
}
