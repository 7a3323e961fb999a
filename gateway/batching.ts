/**
 * From frames to batches: one batch a topic and partition is open; it is handed to the log when it is old or large enough. What
 * became of a batch is known later: its bytes are kept until then, so that the senders in it can be told if it was not taken.
 *
 * Bounds: an open batch that finds no room in the log's ring grows to BATCH_TARGET_BYTES, and with what must not be lost (acks,
 * the coming and going of connections) to BATCH_BYTES_MAX, and no further: `builder` refuses.
 */

import { BatchAt, BatchBuilder, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { frameLength } from '../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_TARGET_BYTES } from '../core/limits.js';
import { AppendOutcome, type LogProducer, Refusal, TOPICS } from '../core/ports.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import { Copied, Counter, type GatewayMetrics } from './gateway-metrics.js';
import type { IngestKernel } from './ingest-kernel.js';

/** Told about every frame of a batch that the log did not take. */
export type LostFrame = (frame: {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly at: number;
  readonly topic: number;
  readonly partition: number;
  /** Refusal.*: FAILED when the outcome is unknown. */
  readonly refusal: number;
}) => void;

/** Bytes of builders that are kept for the next batch. */
const POOLED_BYTES_MAX = 2 * BATCH_TARGET_BYTES;
const POOLED_BUILDERS_MAX = 64;

export interface BatchingOptions {
  readonly gatewayNumber: number;
  readonly incarnation: number;
  readonly partitions: readonly number[];
  readonly producer: LogProducer;
  readonly metrics: GatewayMetrics;
  readonly lost: LostFrame;
  /** Adds to open batches, too. */
  readonly kernel?: IngestKernel | undefined;
}

interface InFlight {
  readonly tag: number;
  readonly partition: number;
  readonly builder: BatchBuilder;
}

export class Batching {
  readonly #options: BatchingOptions;
  /** By topic and partition; undefined: nothing is open. */
  readonly #open: (BatchBuilder | undefined)[][];
  /** Partitions with an open batch, by topic. */
  readonly #dirty: number[][];
  readonly #inFlight: InFlight[][];
  readonly #pool: BatchBuilder[] = [];
  readonly #source: number;
  /** Batches so far, by topic: handed to the log, and answered by it. */
  readonly handedOver: number[] = Array.from({ length: TOPICS }, () => 0);
  readonly settled: number[] = Array.from({ length: TOPICS }, () => 0);
  #batchNumber = 0;

  constructor(options: BatchingOptions) {
    this.#options = options;
    this.#source = sourceId(SourceKind.GATEWAY, options.gatewayNumber);
    this.#open = options.partitions.map((count) => Array.from({ length: count }, () => undefined));
    this.#dirty = options.partitions.map(() => []);
    this.#inFlight = options.partitions.map(() => []);
  }

  /** True if nothing waits to be handed over. */
  get isFlushed(): boolean {
    return this.#dirty.every((dirty) => dirty.length === 0);
  }

  /** The same of one topic. */
  isHandedOver(topic: number): boolean {
    return this.#dirty[topic]!.length === 0;
  }

  /** True if every batch's outcome is known. */
  get isSettled(): boolean {
    return this.isFlushed && this.#inFlight.every((batches) => batches.length === 0);
  }

  /** The builder that takes `bytes` more for a partition, or undefined if the log is too far behind. */
  builder(topic: number, partition: number, bytes: number, bytesMax = BATCH_TARGET_BYTES): BatchBuilder | undefined {
    let builder = this.#open[topic]![partition];
    const isFull = builder !== undefined && builder.byteLength + bytes > BATCH_TARGET_BYTES;
    if (builder !== undefined && builder.count > 0 && (isFull || buggify(Site.GATEWAY_BATCH_CLOSED_EARLY))) {
      if (this.#handOver(topic, partition, builder)) {
        this.#dirty[topic] = this.#dirty[topic]!.filter((dirty) => dirty !== partition);
        builder = undefined;
      } else if (builder.byteLength + bytes > bytesMax) {
        return undefined;
      }
    }
    const { kernel } = this.#options;
    if (builder !== undefined) {
      kernel?.touched(topic, partition, builder);
      return builder;
    }
    builder = kernel?.takeBuilder() ?? this.#pool.pop() ?? new BatchBuilder(16 * 1024);
    kernel?.touched(topic, partition, builder);
    builder.begin(BatchKind.FRAMES, this.#source, this.#batchNumber++, this.#options.incarnation);
    this.#open[topic]![partition] = builder;
    this.#dirty[topic]!.push(partition);
    return builder;
  }

  /** The same for what must not be lost: it goes on into a reserve. */
  urgent(topic: number, partition: number, bytes: number): BatchBuilder | undefined {
    return this.builder(topic, partition, bytes, BATCH_BYTES_MAX);
  }

  /** Hands everything open to the log. False: some of it found no room; call again. */
  flush(): boolean {
    for (let topic = 0; topic < TOPICS; topic++) {
      const dirty = this.#dirty[topic]!;
      if (dirty.length === 0) continue;
      this.#dirty[topic] = dirty.filter(
        (partition) => !this.#handOver(topic, partition, this.#open[topic]![partition]!),
      );
    }
    return this.isFlushed;
  }

  #handOver(topic: number, partition: number, builder: BatchBuilder): boolean {
    // The number wraps with the ring's 32-bit tag; at most a few thousand batches are in flight.
    const tag = (this.#options.incarnation * 2 ** 20 + (this.#batchNumber % 2 ** 20)) >>> 0;
    const isRefused = buggify(Site.GATEWAY_BATCH_REFUSED);
    if (isRefused || !this.#options.producer.append(topic, partition, builder.finish(), tag)) {
      reached(Mark.BATCH_FOUND_NO_ROOM);
      return false;
    }
    this.#batchNumber++;
    this.#open[topic]![partition] = undefined;
    this.#options.kernel?.touched(topic, partition, undefined);
    this.handedOver[topic]!++;
    this.#inFlight[topic]!.push({ tag, partition, builder });
    const { metrics } = this.#options;
    metrics.add(Counter.batches_out_total);
    metrics.add(Copied.batch_to_ring, builder.byteLength);
    metrics.add(Copied.frame_to_batch, builder.byteLength - BatchAt.ENTRIES);
    return true;
  }

  /** Takes the outcomes that are known by now. */
  settle(): number {
    return this.#options.producer.outcomes((tag, outcome, _offset, refusal) => {
      const topic = this.#inFlight.findIndex((batches) => batches[0]?.tag === tag);
      // Not ours: of the gateway thread before this one.
      if (topic < 0) return reached(Mark.BATCH_OF_AN_EARLIER_GATEWAY);
      const batch = this.#inFlight[topic]!.shift()!;
      this.settled[topic]!++;
      if (outcome !== AppendOutcome.DURABLE) this.#tellLost(batch, topic, outcome, refusal);
      batch.builder.reset();
      if (this.#options.kernel?.giveBack(batch.builder) === true) return;
      const isOfUse = batch.builder.bytes.length <= POOLED_BYTES_MAX && this.#pool.length < POOLED_BUILDERS_MAX;
      if (isOfUse) this.#pool.push(batch.builder);
    });
  }

  #tellLost({ builder, partition }: InFlight, topic: number, outcome: number, reason: number): void {
    const { metrics, lost } = this.#options;
    metrics.add(outcome === AppendOutcome.REFUSED ? Counter.append_refused_total : Counter.append_unknown_total);
    reached(outcome === AppendOutcome.REFUSED ? Mark.BATCH_REFUSED : Mark.BATCH_UNKNOWN);
    const refusal = outcome === AppendOutcome.REFUSED ? reason : Refusal.FAILED;
    const { bytes, view } = builder;
    for (let at: number = BatchAt.ENTRIES; at < builder.byteLength; at += frameLength(view, at)) {
      lost({ bytes, view, at, topic, partition, refusal });
    }
  }
}
