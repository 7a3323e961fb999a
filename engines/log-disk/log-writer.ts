/**
 * Writes one topic: takes batches from the producers' rings in turn, writes what is there as one group, and
 * syncs it while the next group is gathered. Rings the readers when there is something to read, and the producers when there
 * are outcomes.
 */
import { BATCH_MAGIC, BatchAt, BatchFlag, writeU53LE } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES } from '../../core/limits.js';
import { AppendOutcome, Durability, Refusal } from '../../core/ports.js';
import { Doorbell } from '../doorbell.js';
import { RingReader, type RingRecord, RingWriter } from '../ring.js';
import type { Files } from './files.js';
import { OUTCOME_BYTES } from './handles.js';
import { Journal } from './journal.js';
import { ControlCell } from './layout.js';
import { isLoggable, type JournalStart } from './recover.js';

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

/** What one append of a round becomes, in the order in which they were taken. */
interface Member {
  readonly producer: Producer;
  readonly partition: number;
  readonly tag: number;
  /** Of the open group; −1 for one that is refused. */
  readonly offset: number;
  readonly refusal: number;
  /** For producers that may not be refused: taken again if the group cannot be written. */
  readonly copy: Uint8Array | undefined;
}

/** The log trusts batches from other threads no further than what would make a segment unreadable. */
/** New sends are refused in time; what finishes older ones (receipts) goes on into the reserve. */
function hasSends(bytes: Uint8Array): boolean {
  return (bytes[BatchAt.FLAGS]! & BatchFlag.SENDS) !== 0;
}

function isBatch(bytes: Uint8Array): boolean {
  if (bytes.length < BATCH_HEADER_BYTES || bytes.length > BATCH_BYTES_MAX) return false;
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== BATCH_MAGIC || !isLoggable(view, 0)) return false;
  return view.getUint32(BatchAt.LENGTH, true) === bytes.length;
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
  /** Appends of unguarded producers that met a full disk; they go first when there is room. */
  #retry: Member[] = [];
  /** Length of a batch that did not fit into the open group. */
  #blockedBytes = 0;
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

  /** Runs until `stop`, and then until everything accepted is on the disk and told, or cannot be. */
  async run(): Promise<void> {
    let listens = false;
    while (!this.#failed) {
      const seen = this.#doorbell.read();
      const worked = this.#turn();
      if (this.#failed || (this.#stopping && !worked && this.#isDone())) break;
      if (worked) {
        // Lets a finished sync be told between two groups.
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      if (!listens) {
        listens = true;
        void this.#doorbell.waitAsync(seen).then(() => {
          listens = false;
          this.#wakeUp?.();
        });
      }
      await this.#sleep();
    }
    this.#journal.close();
  }

  /** Outcomes for which a producer that stopped left no room are not waited for. */
  #isDone(): boolean {
    if (this.#journal.unsyncedBytes > 0 || this.#journal.isSyncing || this.#retry.length > 0) return false;
    return this.#producers.every(({ reader }) => reader.usedBytes === 0);
  }

  #wakeUp: (() => void) | undefined;

  /** Until the bell rings, a sync is done, or a time comes. */
  async #sleep(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wakeUp = resolve;
      const ms = this.#napMs();
      if (ms !== Infinity) timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.#wakeUp = undefined;
  }

  #napMs(): number {
    if (this.#stopping) return 10;
    if (this.#retry.length > 0) return Math.max(1, this.#retryAtMs - performance.now());
    if (this.#journal.isSyncing) return Infinity;
    if (this.#refusing) return DISK_CHECK_MS;
    if (this.#journal.unsyncedBytes > 0) return Math.max(1, this.#lastSyncMs + LAZY_SYNC_MS - performance.now());
    // Outcomes that did not fit into a producer's ring.
    return this.#producers.some((producer) => producer.pending.length > 0) ? 10 : Infinity;
  }

  /** One round: gather, write, start a sync, tell outcomes. True if anything was taken, written or told. */
  #turn(): boolean {
    this.#checkDisk();
    const taken = this.#gather();
    if (this.#group.length > 0) this.#write();
    this.#startSync();
    const rolled = this.#rollIfNeeded();
    return this.#tell() > 0 || rolled || taken > 0;
  }

  #checkDisk(): void {
    const now = performance.now();
    if (now - this.#diskCheckedAtMs < DISK_CHECK_MS) return;
    this.#diskCheckedAtMs = now;
    const full = this.#retry.length > 0 || now < this.#retryAtMs;
    this.#setRefusing(full || this.#files.freeBytes(this.#data.directory) < this.#data.diskReserveBytes);
  }

  #setRefusing(refusing: boolean): void {
    this.#refusing = refusing;
    this.#journal.control.set(ControlCell.REFUSING, refusing ? 1 : 0);
  }

  /** Takes batches from the rings, a ring after the other, into the group. */
  #gather(): number {
    this.#blockedBytes = 0;
    if (this.#journal.unsyncedBytes > UNSYNCED_BYTES_MAX) return 0;
    let taken = this.#retry.length > 0 ? this.#gatherRetries() : 0;
    const waits = this.#retry.length > 0 || performance.now() < this.#retryAtMs;
    for (let idle = 0; idle < this.#producers.length; ) {
      const producer = this.#producers[this.#nextProducer]!;
      const record = producer.reader.peek();
      // What met a full disk goes first; only refusals are told meanwhile.
      if (record === undefined || (waits && !producer.guarded)) {
        idle++;
      } else if (this.#take(producer, record)) {
        idle = 0;
        taken++;
      } else {
        this.#blockedBytes = record.bytes.length;
        // The next round begins with this one: large batches are not passed over for ever.
        if (!waits) return taken;
        idle++;
      }
      this.#nextProducer = (this.#nextProducer + 1) % this.#producers.length;
    }
    return taken;
  }

  /** False: it does not fit into the group now. */
  #take(producer: Producer, record: RingRecord): boolean {
    const { meta0: partition, meta1: tag, bytes } = record;
    let refusal: number = Refusal.NONE;
    if (bytes.length > BATCH_BYTES_MAX) refusal = Refusal.TOO_LARGE;
    else if (partition >= this.#data.partitions || !isBatch(bytes)) refusal = Refusal.FAILED;
    else if (producer.guarded && this.#refusing && hasSends(bytes)) refusal = Refusal.DISK_FULL;
    if (refusal === Refusal.NONE && !this.#journal.canAdd(bytes.length)) return false;
    const copy = producer.guarded || refusal !== Refusal.NONE ? undefined : bytes.slice();
    const offset = refusal === Refusal.NONE ? this.#journal.add(partition, bytes) : -1;
    this.#group.push({ producer, partition, tag, offset, refusal, copy });
    producer.reader.consume();
    return true;
  }

  #gatherRetries(): number {
    if (performance.now() < this.#retryAtMs && !this.#stopping) return 0;
    let taken = 0;
    for (const member of this.#retry) {
      const { copy } = member;
      if (copy !== undefined && !this.#journal.canAdd(copy.length)) {
        this.#blockedBytes = copy.length;
        break;
      }
      const offset = copy === undefined ? -1 : this.#journal.add(member.partition, copy);
      this.#group.push({ ...member, offset });
      taken++;
    }
    this.#retry.splice(0, taken);
    return taken;
  }

  #write(): void {
    const group = this.#group;
    this.#group = [];
    let written: boolean;
    try {
      written = this.#journal.groupBytes === 0 || this.#journal.writeGroup();
    } catch (error) {
      this.#fail(error as Error, group);
      return;
    }
    if (!written) {
      this.#noSpace(group);
      return;
    }
    for (const member of group) this.#settle(member);
    if (this.#data.durability === Durability.LAZY) this.#ringReaders();
  }

  /** Notes the outcome of a member of a written group, to be told after all before it. */
  #settle({ producer, tag, offset, refusal }: Member): void {
    if (refusal === Refusal.NONE) {
      const position = this.#journal.writtenPosition;
      producer.pending.push({ tag, outcome: AppendOutcome.DURABLE, refusal, offset, position });
    } else {
      const position = producer.pending.at(-1)?.position ?? 0;
      producer.pending.push({ tag, outcome: AppendOutcome.REFUSED, refusal, offset: 0, position });
    }
  }

  #noSpace(group: readonly Member[]): void {
    this.#retryAtMs = performance.now() + NO_SPACE_RETRY_MS;
    this.#setRefusing(true);
    const again: Member[] = [];
    for (const member of group) {
      // A producer's later refusals wait for its batches, so that outcomes keep their order.
      if (member.producer.guarded) this.#settle({ ...member, refusal: member.refusal || Refusal.DISK_FULL });
      else again.push(member);
    }
    this.#retry = [...again, ...this.#retry];
    if (this.#stopping) this.#giveUp();
  }

  /** At the end nothing waits for a disk that is full: what is not written is refused. */
  #giveUp(): void {
    for (const member of this.#retry) this.#settle({ ...member, refusal: member.refusal || Refusal.DISK_FULL });
    this.#retry = [];
    this.#refuseRings(Refusal.DISK_FULL);
  }

  #refuseRings(refusal: number): void {
    for (const producer of this.#producers) {
      for (let record = producer.reader.peek(); record !== undefined; record = producer.reader.peek()) {
        this.#settle({ producer, partition: 0, tag: record.meta1, offset: -1, refusal, copy: undefined });
        producer.reader.consume();
      }
    }
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
      else this.#ringReaders();
      this.#tell();
      this.#wakeUp?.();
    });
  }

  #rollIfNeeded(): boolean {
    const journal = this.#journal;
    const next = this.#blockedBytes;
    if (next === 0 || this.#failed || !journal.mustRoll(next) || journal.isSyncing || journal.groupBytes > 0)
      return false;
    if (performance.now() < this.#retryAtMs && !this.#stopping) return false;
    try {
      if (!journal.roll()) this.#noSpace([]);
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
        if (pending.position > synced && !this.#failed) break;
        writeU53LE(this.#outcomeView, 0, pending.offset);
        if (!producer.outcomes.offer(pending.tag, pending.outcome + pending.refusal * 256, this.#outcome)) break;
        count++;
      }
      if (count > 0) producer.pending.splice(0, count);
      told += count;
    }
    return told;
  }

  /** Beyond repair: nobody knows what of the unsynced data is on the disk. What was not yet written is refused. */
  #fail(error: Error, group: readonly Member[]): void {
    if (this.#failed) return;
    this.#tell();
    this.#failed = true;
    this.#journal.control.set(ControlCell.FAILED, 1);
    const unknown = { outcome: AppendOutcome.UNKNOWN, refusal: Refusal.FAILED, offset: 0 };
    for (const { pending } of this.#producers) {
      pending.forEach((told, i) => {
        if (told.outcome === AppendOutcome.DURABLE && told.position > this.#journal.syncedPosition) {
          pending[i] = { ...told, ...unknown };
        }
      });
    }
    for (const member of group) {
      if (member.refusal !== Refusal.NONE) this.#settle(member);
      else member.producer.pending.push({ tag: member.tag, ...unknown, position: 0 });
    }
    for (const member of this.#retry) this.#settle({ ...member, refusal: member.refusal || Refusal.FAILED });
    this.#retry = [];
    this.#refuseRings(Refusal.FAILED);
    this.#tell();
    this.#fatal(error);
    this.#wakeUp?.();
  }
}
