/** What a thread needs to use the log: plain objects that cross threads, and the ports made of them. */

import { readU53LE } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import type { AppendSink, Log, LogConsumer, LogPosition, LogProducer } from '../../core/ports.js';
import { type Bells, Doorbell } from '../doorbell.js';
import { RingReader, RingWriter } from '../ring.js';
import { Control } from './layout.js';
import { JournalReader } from './reader.js';

/** One topic as a producer sees it. */
export interface ProducerTopicHandle {
  readonly ring: SharedArrayBuffer;
  readonly outcomes: SharedArrayBuffer;
  /** Doorbell of the thread that writes the topic. */
  readonly doorbell: SharedArrayBuffer;
}

/** By topic. */
export type ProducerHandle = readonly ProducerTopicHandle[];

export interface LogTopicHandle {
  readonly directory: string;
  readonly control: SharedArrayBuffer;
  readonly partitions: number;
}

/** By topic. */
export type LogHandle = readonly LogTopicHandle[];

/** Outcome record: meta0 = tag, meta1 = outcome + 256 × refusal, bytes = u64 offset. */
export const OUTCOME_BYTES = 8;

class RingProducer implements LogProducer {
  readonly #writers: RingWriter[];
  readonly #outcomes: RingReader[];

  constructor(handle: ProducerHandle, bells: Bells | undefined) {
    this.#writers = handle.map(
      ({ ring, doorbell }) => new RingWriter(ring, bells?.held(doorbell) ?? new Doorbell(doorbell)),
    );
    this.#outcomes = handle.map((topic) => new RingReader(topic.outcomes));
  }

  append(topic: number, partition: number, batch: Uint8Array, tag: number): boolean {
    return this.#writers[topic]!.offer(partition, tag, batch);
  }

  outcomes(sink: AppendSink): number {
    let count = 0;
    for (const reader of this.#outcomes) {
      for (let record = reader.peek(); record !== undefined; record = reader.peek()) {
        const { meta0, meta1, bytes } = record;
        const offset = readU53LE(viewOf(bytes), 0);
        reader.consume();
        sink(meta0, meta1 & 0xff, offset, meta1 >>> 8);
        count++;
      }
    }
    return count;
  }
}

/** With `bells` the writing threads are woken when those are rung. */
export function openProducer(handle: ProducerHandle, bells?: Bells): LogProducer {
  return new RingProducer(handle, bells);
}

export function openLog(handle: LogHandle): Log {
  return {
    consumer: (topic: number, positions: readonly LogPosition[]): LogConsumer => {
      const { directory, control } = handle[topic]!;
      return new JournalReader(directory, new Control(control), positions);
    },
    partitions: (topic: number): number => handle[topic]!.partitions,
  };
}
