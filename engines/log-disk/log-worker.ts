/**
 * The thread that writes one topic: takes batches from the producers' rings in turn, writes what is there as one group, and
 * syncs it while the next group is gathered. Rings the readers when there is something to read, and the producers when there
 * are outcomes.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { writeU53LE } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import { BATCH_BYTES_MAX } from '../../core/limits.js';
import { AppendOutcome, Refusal } from '../../core/ports.js';
import { Doorbell } from '../doorbell.js';
import { RingReader, RingWriter } from '../ring.js';
import { type Files, realFiles } from './files.js';
import { OUTCOME_BYTES } from './handles.js';
import { Durability, Journal } from './journal.js';
import { ControlCell } from './layout.js';
import type { JournalStart } from './recover.js';

export interface LogProducerData {
  readonly ring: SharedArrayBuffer;
  readonly outcomes: SharedArrayBuffer;
  readonly doorbell: SharedArrayBuffer;
  /** Refused when the disk is nearly full; others go on into the reserve. */
  readonly guarded: boolean;
}

export interface LogWorkerData {
  readonly directory: string;
  readonly topic: number;
  readonly partitions: number;
  readonly durability: number;
  readonly start: JournalStart;
  readonly control: SharedArrayBuffer;
  readonly doorbell: SharedArrayBuffer;
  readonly producers: readonly LogProducerData[];
  readonly readers: readonly SharedArrayBuffer[];
  readonly segmentBytes: number;
  readonly retainBytes: number;
  readonly diskReserveBytes: number;
}

/** How long a lazy topic's data may wait for its sync. */
const LAZY_SYNC_MS = 100;
/** Written and not yet synced; past it the writer waits for the disk. */
const UNSYNCED_BYTES_MAX = 32 * 1024 * 1024;
const DISK_CHECK_MS = 100;
const NO_SPACE_RETRY_MS = 200;

interface Pending {
  readonly tag: number;
  readonly outcome: number;
  readonly refusal: number;
  readonly offset: number;
  /** The outcome may be told when the journal is synced up to here. */
  readonly position: number;
}

interface Producer {
  readonly reader: RingReader;
  readonly outcomes: RingWriter;
  readonly guarded: boolean;
  readonly pending: Pending[];
}

/** A batch of the open group, to be taken again if the group cannot be written. */
interface Member {
  readonly producer: Producer;
  readonly partition: number;
  readonly tag: number;
  readonly offset: number;
  /** A copy for producers that may not be refused. */
  readonly copy: Uint8Array | undefined;
}

export class LogWriter {
  readonly #data: LogWorkerData;
  readonly #journal: Journal;
  readonly #files: Files;
  readonly #producers: Producer[];
  readonly #readers: Doorbell[];
  readonly #doorbell: Doorbell;
  readonly #fatal: (error: Error) => void;
  readonly #outcome = new Uint8Array(OUTCOME_BYTES);
  readonly #outcomeView = viewOf(this.#outcome);
  #group: Member[] = [];
  /** Batches of unguarded producers that met a full disk; they go first when there is room. */
  #retry: Member[] = [];
  #retryAtMs = 0;
  #nextProducer = 0;
  #refusing = false;
  #diskCheckedAtMs = -Infinity;
  #lastSyncMs = 0;
  #stopping = false;
  #failed = false;

  constructor(data: LogWorkerData, files: Files, fatal: (error: Error) => void) {
    this.#data = data;
    this.#files = files;
    this.#fatal = fatal;
    this.#doorbell = new Doorbell(data.doorbell);
    // Logged time goes on from where the log stands, by the monotonic clock: steps of the wall clock do not reach it.
    const base = Math.max(Date.now(), ...data.start.timesMs) - performance.now();
    this.#journal = new Journal({ ...data, files, nowMs: () => Math.floor(base + performance.now()) });
    this.#readers = data.readers.map((shared) => new Doorbell(shared));
    this.#producers = data.producers.map((producer) => ({
      reader: new RingReader(producer.ring),
      outcomes: new RingWriter(producer.outcomes, new Doorbell(producer.doorbell)),
      guarded: producer.guarded,
      pending: [],
    }));
  }

  stop(): void {
    this.#stopping = true;
    this.#doorbell.ring();
  }

  /** Runs until `stop`, and then until everything accepted is on the disk and told. */
  async run(): Promise<void> {
    let bell: Promise<void> | undefined;
    while (!this.#failed) {
      const seen = this.#doorbell.read();
      const worked = this.#turn();
      if (this.#stopping && !worked && this.#isIdle()) break;
      if (worked) {
        // Lets a finished sync be told between two groups.
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      bell ??= this.#doorbell.waitAsync(seen).then(() => {
        bell = undefined;
      });
      await this.#sleep(bell);
    }
    this.#journal.close();
  }

  #isIdle(): boolean {
    if (this.#journal.unsyncedBytes > 0 || this.#journal.isSyncing || this.#retry.length > 0) return false;
    return this.#producers.every((producer) => producer.pending.length === 0 && producer.reader.usedBytes === 0);
  }

  #wakeUp: (() => void) | undefined;

  /** Until the bell rings, a sync is done, or a time comes. */
  async #sleep(bell: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const woken = new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
      const ms = this.#napMs();
      if (ms !== Infinity) timer = setTimeout(resolve, ms);
    });
    await Promise.race([bell, woken]);
    clearTimeout(timer);
    this.#wakeUp = undefined;
  }

  #napMs(): number {
    if (this.#retry.length > 0) return NO_SPACE_RETRY_MS;
    if (this.#stopping) return 10;
    if (this.#journal.isSyncing) return Infinity;
    if (this.#refusing) return DISK_CHECK_MS;
    if (this.#journal.unsyncedBytes > 0) return Math.max(1, this.#lastSyncMs + LAZY_SYNC_MS - performance.now());
    // Outcomes that did not fit into a producer's ring.
    return this.#producers.some((producer) => producer.pending.length > 0) ? 10 : Infinity;
  }

  /** One round: gather, write, start a sync, tell outcomes. True if anything was written or told. */
  #turn(): boolean {
    this.#checkDisk();
    const gathered = this.#gather();
    let worked = gathered > 0;
    if (this.#journal.groupBytes > 0) this.#write();
    this.#startSync();
    if (this.#rollIfNeeded()) worked = true;
    return this.#tell() > 0 || worked;
  }

  #checkDisk(): void {
    const now = performance.now();
    if (now - this.#diskCheckedAtMs < DISK_CHECK_MS) return;
    this.#diskCheckedAtMs = now;
    this.#refusing = this.#files.freeBytes(this.#data.directory) < this.#data.diskReserveBytes;
    this.#journal.control.set(ControlCell.REFUSING, this.#refusing ? 1 : 0);
  }

  /** Takes batches from the rings, a ring after the other, into the group. */
  #gather(): number {
    if (this.#journal.unsyncedBytes > UNSYNCED_BYTES_MAX) return 0;
    if (this.#retry.length > 0) return this.#gatherRetries();
    let taken = 0;
    for (let idle = 0; idle < this.#producers.length; ) {
      const producer = this.#producers[this.#nextProducer]!;
      this.#nextProducer = (this.#nextProducer + 1) % this.#producers.length;
      const record = producer.reader.peek();
      if (record === undefined) {
        idle++;
        continue;
      }
      idle = 0;
      const { meta0: partition, meta1: tag, bytes } = record;
      if (!this.#journal.canAdd(bytes.length)) break;
      taken++;
      if (bytes.length > BATCH_BYTES_MAX || partition >= this.#data.partitions) {
        this.#refuse(producer, tag, Refusal.TOO_LARGE);
      } else if (producer.guarded && this.#refusing) {
        this.#refuse(producer, tag, Refusal.DISK_FULL);
      } else {
        const copy = producer.guarded ? undefined : bytes.slice();
        const offset = this.#journal.add(partition, bytes);
        this.#group.push({ producer, partition, tag, offset, copy });
      }
      producer.reader.consume();
    }
    return taken;
  }

  #gatherRetries(): number {
    if (performance.now() < this.#retryAtMs) return 0;
    let taken = 0;
    for (let member = this.#retry[0]; member !== undefined; member = this.#retry[0]) {
      if (!this.#journal.canAdd(member.copy!.length)) break;
      const offset = this.#journal.add(member.partition, member.copy!);
      this.#group.push({ ...member, offset });
      this.#retry.shift();
      taken++;
    }
    return taken;
  }

  #refuse(producer: Producer, tag: number, refusal: number): void {
    // Told in order: after the outcomes of what this producer appended before, this round's group included.
    const position = producer.pending.at(-1)?.position ?? 0;
    const outcome = { tag, outcome: AppendOutcome.REFUSED, refusal, offset: 0, position };
    if (this.#group.some((member) => member.producer === producer)) this.#refused.push({ producer, pending: outcome });
    else producer.pending.push(outcome);
  }

  /** Refusals that must be told after the open group. */
  #refused: { producer: Producer; pending: Pending }[] = [];

  #write(): void {
    const group = this.#group;
    this.#group = [];
    const refused = this.#refused;
    this.#refused = [];
    let written: boolean;
    try {
      written = this.#journal.writeGroup();
    } catch (error) {
      this.#fail(error as Error, group);
      return;
    }
    const position = this.#journal.writtenPosition;
    const outcome = AppendOutcome.DURABLE;
    if (written) {
      for (const { producer, tag, offset } of group) {
        producer.pending.push({ tag, outcome, refusal: Refusal.NONE, offset, position });
      }
      if (this.#data.durability === Durability.LAZY) this.#ringReaders();
    } else {
      this.#noSpace(group);
    }
    for (const { producer, pending } of refused) producer.pending.push({ ...pending, position });
  }

  #noSpace(group: readonly Member[]): void {
    this.#refusing = true;
    this.#journal.control.set(ControlCell.REFUSING, 1);
    this.#retryAtMs = performance.now() + NO_SPACE_RETRY_MS;
    for (const member of group) {
      if (member.copy === undefined) this.#refuse(member.producer, member.tag, Refusal.DISK_FULL);
    }
    this.#retry = [...group.filter((member) => member.copy !== undefined), ...this.#retry];
  }

  #startSync(): void {
    const journal = this.#journal;
    if (journal.isSyncing || journal.unsyncedBytes === 0 || this.#failed) return;
    const now = performance.now();
    const lazy = this.#data.durability === Durability.LAZY && !this.#stopping;
    if (lazy && now - this.#lastSyncMs < LAZY_SYNC_MS && journal.unsyncedBytes < UNSYNCED_BYTES_MAX) return;
    this.#lastSyncMs = now;
    journal.beginSync((error) => {
      if (error !== null) this.#fail(error, []);
      else if (this.#data.durability === Durability.BEFORE_READ) this.#ringReaders();
      this.#tell();
      this.#wakeUp?.();
    });
  }

  #rollIfNeeded(): boolean {
    const journal = this.#journal;
    const waiting = this.#producers.find((producer) => producer.reader.peek() !== undefined)?.reader.peek();
    const next = this.#retry[0]?.copy?.length ?? waiting?.bytes.length;
    if (next === undefined || !journal.mustRoll(next) || journal.isSyncing || journal.groupBytes > 0) return false;
    try {
      journal.roll();
    } catch (error) {
      this.#fail(error as Error, []);
      return false;
    }
    this.#ringReaders();
    return true;
  }

  #ringReaders(): void {
    for (const reader of this.#readers) reader.ring();
  }

  /** Tells outcomes that are due, in order; returns how many. */
  #tell(): number {
    const synced = this.#journal.syncedPosition;
    let told = 0;
    for (const producer of this.#producers) {
      let count = 0;
      for (const pending of producer.pending) {
        if (pending.position > synced) break;
        writeU53LE(this.#outcomeView, 0, pending.offset);
        if (!producer.outcomes.offer(pending.tag, pending.outcome + pending.refusal * 256, this.#outcome)) break;
        count++;
      }
      if (count > 0) producer.pending.splice(0, count);
      told += count;
    }
    return told;
  }

  /** Beyond repair: nobody knows what of the unsynced data is on the disk. */
  #fail(error: Error, group: readonly Member[]): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#journal.control.set(ControlCell.FAILED, 1);
    for (const { producer, tag } of group) {
      producer.pending.push({ tag, outcome: AppendOutcome.UNKNOWN, refusal: Refusal.FAILED, offset: 0, position: 0 });
    }
    for (const producer of this.#producers) {
      for (const { tag, offset } of producer.pending) {
        writeU53LE(this.#outcomeView, 0, offset);
        producer.outcomes.offer(tag, AppendOutcome.UNKNOWN + Refusal.FAILED * 256, this.#outcome);
      }
      producer.pending.length = 0;
    }
    this.#fatal(error);
    this.#wakeUp?.();
  }
}

export type LogOrder = 'stop';

if (parentPort !== null && (workerData as Partial<LogWorkerData> | null)?.start !== undefined) {
  const data = workerData as LogWorkerData;
  const port = parentPort;
  const writer = new LogWriter(data, realFiles, (error) => port.postMessage({ fatal: error.message }));
  port.on('message', (order: LogOrder) => {
    if (order === 'stop') writer.stop();
  });
  port.postMessage({ ready: true });
  await writer.run();
  port.close();
}
