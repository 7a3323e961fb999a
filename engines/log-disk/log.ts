/** The embedded log: recovers the journals, starts a writing thread for each, and makes the handles that other threads use. */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DunlinError } from '../../core/errors.js';
import { DISK_RESERVE_BYTES, RETAIN_BYTES, RING_BYTES, SEGMENT_BYTES } from '../../core/limits.js';
import { createDoorbell } from '../doorbell.js';
import { createRing } from '../ring.js';
import { realFiles } from './files.js';
import type { LogHandle, ProducerHandle } from './handles.js';
import { Control, ControlCell, createControl } from './layout.js';
import type { LogWorkerData } from './log-writer.js';
import { recoverJournal } from './recover.js';

const OUTCOME_RING_BYTES = 256 * 1024;

export interface TopicOptions {
  readonly name: string;
  readonly partitions: number;
  readonly durability: number;
  /** Guarded producers are refused here when the disk is nearly full. */
  readonly guarded: boolean;
  /** Doorbells of the threads that read the topic. */
  readonly readers: readonly SharedArrayBuffer[];
}

export interface ProducerOptions {
  /** Refused when the disk is nearly full, on topics that say so. */
  readonly guarded: boolean;
  /** Rung when outcomes arrive. */
  readonly doorbell: SharedArrayBuffer;
}

export interface LogOptions {
  readonly directory: string;
  /** By topic number. */
  readonly topics: readonly TopicOptions[];
  readonly producers: readonly ProducerOptions[];
  readonly segmentBytes?: number;
  readonly retainBytes?: number;
  readonly diskReserveBytes?: number;
  /** Something was found at the start, e.g. a torn tail. */
  readonly warn: (sentence: string) => void;
  /** A journal can write no more. */
  readonly fatal: (error: Error) => void;
}

export interface EmbeddedLog {
  readonly handle: LogHandle;
  /** In the order of the options. */
  readonly producers: readonly ProducerHandle[];
  /** True while new sends are refused for want of disk space. */
  isRefusing(): boolean;
  appendedBytes(topic: number): number;
  /** Writes and syncs everything accepted, tells its outcomes, and ends. Producers must have stopped. On a full disk, what cannot
   * be written is refused. */
  close(): Promise<void>;
}

interface Writer {
  readonly stop: () => void;
  readonly ended: Promise<void>;
}

export async function createLog(options: LogOptions): Promise<EmbeddedLog> {
  const controls = options.topics.map((topic) => createControl(topic.partitions));
  const rings = options.topics.map(() =>
    options.producers.map(() => ({ ring: createRing(RING_BYTES), outcomes: createRing(OUTCOME_RING_BYTES) })),
  );
  const doorbells = options.topics.map(() => createDoorbell());
  const directories = options.topics.map((topic) => join(options.directory, topic.name));
  const starts = options.topics.map((topic, number) => {
    mkdirSync(directories[number]!, { recursive: true });
    return recoverJournal(realFiles, directories[number]!, number, topic.partitions);
  });
  realFiles.syncDirectory(options.directory);
  realFiles.syncDirectory(dirname(options.directory));
  for (const { reports } of starts) for (const report of reports) options.warn(report);
  const writers: Writer[] = [];
  const stopWriters = async (): Promise<void> => {
    for (const writer of writers) writer.stop();
    await Promise.all(writers.map(({ ended }) => ended));
  };
  for (const [number, topic] of options.topics.entries()) {
    const data: LogWorkerData = {
      directory: directories[number]!,
      topic: number,
      partitions: topic.partitions,
      durability: topic.durability,
      start: starts[number]!,
      control: controls[number]!,
      doorbell: doorbells[number]!,
      producers: options.producers.map((producer, i) => ({
        ...rings[number]![i]!,
        doorbell: producer.doorbell,
        guarded: producer.guarded && topic.guarded,
      })),
      readers: topic.readers,
      segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
      retainBytes: options.retainBytes ?? RETAIN_BYTES,
      diskReserveBytes: options.diskReserveBytes ?? DISK_RESERVE_BYTES,
    };
    try {
      writers.push(await startWriter(topic.name, data, options.fatal));
    } catch (error) {
      await stopWriters();
      throw error;
    }
  }
  return {
    handle: options.topics.map((topic, number) => ({
      directory: directories[number]!,
      control: controls[number]!,
      partitions: topic.partitions,
    })),
    producers: options.producers.map((_, i) =>
      options.topics.map((_topic, number) => ({ ...rings[number]![i]!, doorbell: doorbells[number]! })),
    ),
    isRefusing: () => controls.some((control) => new Control(control).get(ControlCell.REFUSING) === 1),
    appendedBytes: (topic) => new Control(controls[topic]!).get(ControlCell.APPENDED),
    close: stopWriters,
  };
}

async function startWriter(name: string, data: LogWorkerData, fatal: (error: Error) => void): Promise<Writer> {
  const worker = new Worker(new URL('./log-worker.js', import.meta.url), { workerData: data, name: `log-${name}` });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    worker.on('error', (error) => {
      reject(error);
      fatal(new DunlinError(`the ${name} log failed: ${error.message}`));
    });
    worker.on('message', (message: { ready?: boolean; fatal?: string }) => {
      if (message.ready === true) resolve();
      if (message.fatal !== undefined) fatal(new DunlinError(`the ${name} log failed: ${message.fatal}`));
    });
  });
  return { stop: () => worker.postMessage('stop', []), ended };
}
