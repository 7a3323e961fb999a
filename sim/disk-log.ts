/**
 * The embedded log's own journal, recovery and reader (engines/log-disk) over a virtual disk: a power failure leaves any of
 * what was not synced, sector by sector, and bits rot. Only the threads and rings around the journal are not the real ones.
 */
import { DunlinError } from '../core/errors.js';
import { type Log, type LogConsumer, type LogPosition, type LogProducer, Topic } from '../core/ports.js';
import type { Prng } from '../core/prng.js';
import { AppendQueues, type InjectedAppend } from '../engines/append-queues.js';
import { FragileDisk } from '../engines/log-disk/fragile-disk.js';
import { Journal } from '../engines/log-disk/journal.js';
import {
  byteOf,
  Control,
  createControl,
  SEGMENT_HEADER_BYTES,
  segmentName,
  segmentOf,
} from '../engines/log-disk/layout.js';
import { JournalReader } from '../engines/log-disk/reader.js';
import { type JournalStart, recoverJournal } from '../engines/log-disk/recover.js';

/** What a world needs of its log, besides the port. */
export interface WorldLog extends Log {
  producer(): LogProducer;
  inject(...appends: readonly InjectedAppend[]): void;
  /** Takes what waits in the producers' queues. */
  write(): void;
  /** Makes what is written durable, on one topic or all. */
  sync(topic?: number): void;
  /** The log as it is when the power is back. This one must not be used any more. */
  powerFailure(): WorldLog;
}

export interface DiskLogOptions {
  /** By topic number. */
  readonly topics: readonly { readonly partitions: number; readonly durability: number }[];
  readonly nowMs: () => number;
  /** What survives a power failure, and which bits rot. */
  readonly random: Prng;
  /** Something was found at a start: a torn tail, damage. */
  readonly report: (what: 'torn tail cut' | 'damage refused at start', sentence: string) => void;
  /** Damage in what had been acknowledged was taken for the truth. */
  readonly missed: (sentence: string) => void;
}

/** Small, so that a world of some hundred messages has many. */
const SEGMENT_BYTES = 64 * 1024;

interface Flip {
  readonly topic: number;
  readonly segment: number;
  readonly path: string;
  readonly at: number;
  readonly bit: number;
}

function directoryOf(topic: number): string {
  return topic === Topic.CONVERSATION ? '/conversation' : '/user';
}

export class DiskLog implements WorldLog {
  readonly #options: DiskLogOptions;
  readonly #disk: FragileDisk;
  readonly #journals: Journal[];
  readonly #controls: Control[];
  readonly #queues: AppendQueues;
  /** By topic: batches ever written and ever synced. */
  readonly #written: number[];
  readonly #synced: number[];
  /** By topic: up to where the last batch says that the journal is synced, and the last one that is synced itself. */
  readonly #marked: number[];
  readonly #proven: number[];
  #flips: readonly Flip[];

  constructor(options: DiskLogOptions, disk = new FragileDisk(), flips: readonly Flip[] = []) {
    this.#options = options;
    this.#disk = disk;
    this.#flips = flips;
    disk.isHeld = true;
    const starts = this.#recover();
    const shared = options.topics.map(({ partitions }) => createControl(partitions));
    this.#controls = shared.map((control) => new Control(control));
    this.#journals = options.topics.map(
      (topic, number) =>
        new Journal({
          ...topic,
          topic: number,
          files: disk,
          directory: directoryOf(number),
          start: starts[number]!,
          control: shared[number]!,
          segmentBytes: SEGMENT_BYTES,
          retainBytes: Number.MAX_SAFE_INTEGER,
          nowMs: options.nowMs,
        }),
    );
    this.#written = options.topics.map(() => 0);
    this.#synced = options.topics.map(() => 0);
    this.#marked = options.topics.map(() => 0);
    this.#proven = options.topics.map(() => 0);
    this.#queues = new AppendQueues({
      topics: options.topics.length,
      partitions: (topic) => this.partitions(topic),
      store: (topic, partition, batch) => this.#store(topic, partition, batch),
      written: (topic) => this.#written[topic]!,
      synced: (topic) => this.#synced[topic]!,
    });
  }

  /** Opens what is there. What rotted is brought back from a copy when the log refuses to open. */
  #recover(): JournalStart[] {
    try {
      return this.#open();
    } catch (error) {
      if (!(error instanceof DunlinError) || this.#flips.length === 0) throw error;
      this.#options.report('damage refused at start', error.message);
      this.restore();
      return this.#open();
    }
  }

  #open(): JournalStart[] {
    return this.#options.topics.map(({ partitions }, topic) => {
      const start = recoverJournal(this.#disk, directoryOf(topic), topic, partitions);
      for (const report of start.reports) this.#options.report('torn tail cut', report);
      const last = start.segments.at(-1)?.number;
      for (const flip of this.#flips) {
        if (flip.topic !== topic || flip.segment !== last) continue;
        this.#options.missed(`bit ${flip.bit} of byte ${flip.at} in ${flip.path} was flipped, and the log opened`);
      }
      return start;
    });
  }

  partitions(topic: number): number {
    return this.#options.topics[topic]!.partitions;
  }

  consumer(topic: number, positions: readonly LogPosition[]): LogConsumer {
    return new JournalReader(directoryOf(topic), this.#controls[topic]!, positions, this.#disk);
  }

  producer(): LogProducer {
    return this.#queues.producer();
  }

  inject(...appends: readonly InjectedAppend[]): void {
    this.#queues.inject(...appends);
  }

  #store(topic: number, partition: number, batch: Uint8Array): number {
    const journal = this.#journals[topic]!;
    if (!journal.canAdd(batch.length)) {
      if (journal.groupBytes > 0) journal.writeGroup();
      if (journal.mustRoll(batch.length)) {
        journal.roll();
        this.#synced[topic] = this.#written[topic]!;
      }
    }
    const offset = journal.add(partition, batch);
    this.#marked[topic] = journal.syncedPosition;
    this.#written[topic]!++;
    return offset;
  }

  write(): void {
    this.#queues.write();
    for (const journal of this.#journals) if (journal.groupBytes > 0) journal.writeGroup();
  }

  sync(topic?: number): void {
    this.#journals.forEach((journal, number) => {
      if ((topic !== undefined && topic !== number) || journal.unsyncedBytes === 0) return;
      const written = this.#written[number]!;
      journal.beginSync(() => {
        this.#synced[number] = written;
        this.#proven[number] = this.#marked[number]!;
      });
      this.#disk.completeSync();
    });
  }

  powerFailure(): DiskLog {
    return new DiskLog(this.#options, this.#disk.powerFailure(this.#options.random), this.#flips);
  }

  /** Turns a bit over in what a later batch, itself synced, says to have been synced. False: there is nothing yet. */
  flip(topic: number): boolean {
    const { random } = this.#options;
    const proven = this.#proven[topic]!;
    if (proven === 0) return false;
    const segment = random.between(1, segmentOf(proven));
    const path = `${directoryOf(topic)}/${segmentName(segment)}`;
    const bytes = segment === segmentOf(proven) ? byteOf(proven) : this.#disk.contentOf(path).length;
    // A header is as long as some dozen batches, and less is to be found out about it.
    const isHeader = bytes <= SEGMENT_HEADER_BYTES || random.chance(1, 8);
    const at = isHeader ? random.below(SEGMENT_HEADER_BYTES) : random.between(SEGMENT_HEADER_BYTES, bytes - 1);
    const flip = { topic, segment, path, at, bit: random.below(8) };
    this.#disk.flip(path, flip.at, flip.bit);
    this.#flips = [...this.#flips, flip];
    return true;
  }

  /** The operator brings damaged files back from a copy. */
  restore(): void {
    for (const { path, at, bit } of this.#flips) this.#disk.flip(path, at, bit);
    this.#flips = [];
  }
}
