import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BatchAt } from '../../core/batch.js';
import { BATCH_BYTES_MAX } from '../../core/limits.js';
import { AppendOutcome, Durability, type LogProducer, Refusal } from '../../core/ports.js';
import { createDoorbell, Doorbell } from '../doorbell.js';
import { nameOf, testBatch, testBatchOf } from '../log.fixture.js';
import { createRing } from '../ring.js';
import { type Files, realFiles } from './files.js';
import { openProducer } from './handles.js';
import { failure } from './journal.fixture.js';

import { Control, ControlCell, createControl } from './layout.js';
import { LogWriter } from './log-writer.js';
import { JournalReader } from './reader.js';
import { recoverJournal } from './recover.js';

const root = mkdtempSync(join(tmpdir(), 'dunlin-log-writer-'));
after(() => rmSync(root, { recursive: true, force: true }));

interface WriterOptions {
  readonly guarded: readonly boolean[];
  readonly files?: Partial<Files>;
  readonly durability?: number;
  readonly segmentBytes?: number;
  readonly outcomeRingBytes?: number;
  readonly diskReserveBytes?: number;
}

/** A writer in this thread, which begins to run with `run`: what was appended before is one group. */
class Bench {
  readonly directory = mkdtempSync(join(root, 'journal-'));
  readonly control = createControl(2);
  readonly producers: LogProducer[];
  readonly fatal: Error[] = [];
  /** By producer: [tag, outcome, refusal, offset]. */
  readonly told: number[][][];
  readonly #writer: LogWriter;
  readonly #bell: Doorbell;
  #ended: Promise<void> | undefined;

  constructor({ guarded, files = {}, outcomeRingBytes = 4_096, ...options }: WriterOptions) {
    const back = createDoorbell();
    const doorbell = createDoorbell();
    this.#bell = new Doorbell(back);
    const rings = guarded.map((isGuarded) => ({
      ring: createRing(16 << 20),
      outcomes: createRing(outcomeRingBytes),
      doorbell: back,
      guarded: isGuarded,
    }));
    this.producers = rings.map(({ ring, outcomes }) => openProducer([{ ring, outcomes, doorbell }]));
    this.told = guarded.map(() => []);
    const data = {
      directory: this.directory,
      topic: 0,
      partitions: 2,
      durability: Durability.BEFORE_READ,
      start: recoverJournal(realFiles, this.directory, 0, 2),
      control: this.control,
      doorbell,
      producers: rings,
      readers: [back],
      segmentBytes: 64 << 20,
      retainBytes: 0,
      diskReserveBytes: 0,
      ...options,
    };
    this.#writer = new LogWriter(data, { ...realFiles, ...files }, (error) => this.fatal.push(error));
  }

  run(): void {
    this.#ended = this.#writer.run();
  }

  append(producer: number, tag: number, batch = testBatch(producer, tag)): void {
    assert.ok(this.producers[producer]!.append(0, 0, batch, tag));
  }

  #fetch(): void {
    this.producers.forEach((producer, i) =>
      producer.outcomes((tag, outcome, offset, refusal) => this.told[i]!.push([tag, outcome, refusal, offset])),
    );
  }

  /** Until so many outcomes are known, by producer. */
  async untilTold(...counts: number[]): Promise<void> {
    for (;;) {
      const seen = this.#bell.read();
      this.#fetch();
      if (counts.every((count, i) => this.told[i]!.length >= count)) return;
      await this.#bell.waitAsync(seen);
    }
  }

  async stop(): Promise<void> {
    this.#writer.stop();
    await this.#ended;
    this.#fetch();
  }

  /** Waits for an end that comes by itself. */
  async ended(): Promise<void> {
    await this.#ended;
    this.#fetch();
  }

  get isRefusing(): boolean {
    return new Control(this.control).get(ControlCell.REFUSING) === 1;
  }

  /** Names of the batches of partition 0, after a restart. Offsets must be dense. */
  read(): string[] {
    const start = recoverJournal(realFiles, this.directory, 0, 2);
    assert.deepEqual(start.reports, []);
    const reader = new JournalReader(this.directory, new Control(this.control), [{ partition: 0, offset: 0 }]);
    const names: string[] = [];
    for (let batch = reader.poll(); batch !== undefined; batch = reader.poll()) {
      assert.equal(batch.header.offset, names.length);
      names.push(nameOf(batch));
    }
    reader.close();
    assert.equal(start.offsets[0], names.length);
    return names;
  }
}

const DONE = AppendOutcome.DURABLE;
const REFUSED = AppendOutcome.REFUSED;

/** A disk with so much room for writes. */
class SmallDisk {
  room: number;
  writes = 0;

  constructor(room: number) {
    this.room = room;
  }

  readonly files: Partial<Files> = {
    write: (fd, bytes, start, length, at) => {
      this.writes++;
      const fits = Math.min(length, this.room);
      if (fits === 0) throw failure('ENOSPC');
      this.room -= fits;
      return realFiles.write(fd, bytes, start, fits, at);
    },
  };
}

test('a disk that fills within a group: guarded producers are told, the others’ batches are written when there is room', async () => {
  const disk = new SmallDisk(8_192 + 200);
  const bench = new Bench({ guarded: [true, false], files: disk.files });
  for (let tag = 0; tag < 3; tag++) for (const producer of [0, 1]) bench.append(producer, tag);
  bench.append(1, 3, new Uint8Array(10));
  bench.append(1, 4);
  bench.run();
  await bench.untilTold(3, 0);
  assert.deepEqual(
    bench.told[0],
    [0, 1, 2].map((tag) => [tag, REFUSED, Refusal.DISK_FULL, 0]),
  );
  assert.ok(bench.isRefusing);
  // While others wait for room, a guarded producer still gets its answer at once.
  bench.append(0, 3);
  await bench.untilTold(4, 0);
  assert.deepEqual(bench.told[0]![3], [3, REFUSED, Refusal.DISK_FULL, 0]);
  assert.deepEqual(bench.told[1], []);
  bench.append(1, 5);
  disk.room = Infinity;
  await bench.untilTold(4, 6);
  assert.deepEqual(bench.told[1], [
    [0, DONE, 0, 0],
    [1, DONE, 0, 1],
    [2, DONE, 0, 2],
    [3, REFUSED, Refusal.FAILED, 0],
    [4, DONE, 0, 3],
    [5, DONE, 0, 4],
  ]);
  await bench.stop();
  assert.deepEqual(bench.read(), ['1/0', '1/1', '1/2', '1/4', '1/5']);
  assert.deepEqual(bench.fatal, []);
});

test('no room for the next segment is a full disk too, and no failure', async () => {
  const disk = new SmallDisk(8_192 + 1_000 + 100);
  const bench = new Bench({ guarded: [false, true], files: disk.files, segmentBytes: 8_192 + 1_100 });
  bench.append(0, 0, testBatchOf(1_000, 0, 0));
  bench.run();
  await bench.untilTold(1, 0);
  bench.append(0, 1, testBatchOf(1_000, 0, 1));
  bench.append(1, 0, testBatchOf(1_000, 1, 0));
  await bench.untilTold(1, 1);
  assert.deepEqual(bench.told[1], [[0, REFUSED, Refusal.DISK_FULL, 0]]);
  assert.deepEqual(readdirSync(bench.directory), ['0000000001.segment', 'synced']);
  disk.room = Infinity;
  await bench.untilTold(2, 1);
  await bench.stop();
  assert.deepEqual(bench.read(), ['0/0', '0/1']);
  assert.deepEqual(bench.fatal, []);
});

test('a stop on a full disk ends: what is not written is refused', async () => {
  const disk = new SmallDisk(8_192);
  const bench = new Bench({ guarded: [false], files: disk.files });
  bench.append(0, 0);
  bench.append(0, 1);
  bench.run();
  await bench.stop();
  assert.deepEqual(
    bench.told[0],
    [0, 1].map((tag) => [tag, REFUSED, Refusal.DISK_FULL, 0]),
  );
  assert.deepEqual(bench.read(), []);
});

test('a failed sync is final: outcomes are unknown, the failure is told once, and nothing is tried again', async () => {
  for (const durability of Object.values(Durability)) {
    let syncs = 0;
    const later: { bench?: Bench } = {};
    const sync: Files['sync'] = (_fd, done) => {
      syncs++;
      // What comes after the failing sync has begun.
      later.bench?.append(0, 2);
      setImmediate(() => done(failure('EIO')));
    };
    const bench = new Bench({ guarded: [false], files: { sync }, durability });
    later.bench = bench;
    bench.append(0, 0);
    bench.append(0, 1);
    bench.run();
    await bench.ended();
    assert.deepEqual(
      bench.told[0]!.slice(0, 2),
      [0, 1].map((tag) => [tag, AppendOutcome.UNKNOWN, Refusal.FAILED, 0]),
    );
    assert.equal(bench.told[0]![2]![0], 2);
    assert.notEqual(bench.told[0]![2]![1], DONE);
    assert.equal(syncs, 1);
    assert.equal(bench.fatal.length, 1);
    const control = new Control(bench.control);
    assert.equal(control.get(ControlCell.FAILED), 1);
    assert.equal(control.getPartition(0, 1), 0);
  }
});

test('a failed write is final, but what was durable before is told as durable', async () => {
  let broken = false;
  const write: Files['write'] = (...args) => {
    if (broken) throw failure('EIO');
    return realFiles.write(...args);
  };
  const bench = new Bench({ guarded: [false], files: { write } });
  bench.append(0, 0);
  bench.run();
  await bench.untilTold(1);
  broken = true;
  bench.append(0, 1);
  await bench.ended();
  assert.deepEqual(bench.told[0], [
    [0, DONE, 0, 0],
    [1, AppendOutcome.UNKNOWN, Refusal.FAILED, 0],
  ]);
  assert.equal(bench.fatal.length, 1);
  assert.deepEqual(bench.read(), ['0/0']);
});

test('short writes are gone on with', async () => {
  const write: Files['write'] = (fd, bytes, start, length, at) =>
    realFiles.write(fd, bytes, start, Math.min(length, 37), at);
  const bench = new Bench({ guarded: [false], files: { write } });
  for (let tag = 0; tag < 5; tag++) bench.append(0, tag);
  bench.run();
  await bench.stop();
  assert.deepEqual(bench.read(), ['0/0', '0/1', '0/2', '0/3', '0/4']);
});

test('below the reserve guarded producers are refused and others are not, until there is room again', async () => {
  let free = 999;
  const bench = new Bench({ guarded: [true, false], files: { freeBytes: () => free }, diskReserveBytes: 1_000 });
  bench.append(0, 0);
  bench.append(1, 0);
  bench.run();
  await bench.untilTold(1, 1);
  assert.deepEqual(bench.told, [[[0, REFUSED, Refusal.DISK_FULL, 0]], [[0, DONE, 0, 0]]]);
  assert.ok(bench.isRefusing);
  free = 1_000;
  for (let tag = 1; ; tag++) {
    bench.append(0, tag);
    await bench.untilTold(tag + 1, 1);
    const last = bench.told[0]!.at(-1)!;
    if (last[1] === DONE) break;
    assert.deepEqual(last, [tag, REFUSED, Refusal.DISK_FULL, 0]);
  }
  assert.equal(bench.isRefusing, false);
  await bench.stop();
});

test('a full ring of outcomes loses none and keeps their order', async () => {
  const bench = new Bench({ guarded: [false], outcomeRingBytes: 64 });
  for (let tag = 0; tag < 50; tag++) bench.append(0, tag);
  bench.run();
  await bench.untilTold(50);
  await bench.stop();
  assert.deepEqual(
    bench.told[0],
    Array.from({ length: 50 }, (_, tag) => [tag, DONE, 0, tag]),
  );
});

test('a producer of large batches is not passed over for others that fill the group', async () => {
  const bench = new Bench({ guarded: [false, false, false] });
  for (let tag = 0; tag < 3; tag++) {
    for (const producer of [0, 1, 2]) bench.append(producer, tag, testBatchOf(BATCH_BYTES_MAX, producer, tag));
  }
  bench.run();
  await bench.untilTold(3, 3, 3);
  await bench.stop();
  const names = bench.read();
  assert.deepEqual(names.slice(0, 3).toSorted(), ['0/0', '1/0', '2/0']);
  assert.equal(names.length, 9);
});

test('segments that are smaller than a batch, and a batch that waits for a sync before the next segment', async () => {
  const bench = new Bench({ guarded: [false, false], segmentBytes: 10_000, durability: Durability.LAZY });
  for (let tag = 0; tag < 10; tag++) {
    bench.append(0, tag, testBatchOf(tag % 2 === 0 ? 50_000 : 500, 0, tag));
    bench.append(1, tag, testBatchOf(500, 1, tag));
  }
  bench.run();
  await bench.untilTold(10, 10);
  await bench.stop();
  const names = bench.read();
  assert.equal(names.length, 20);
  for (const producer of [0, 1]) {
    const own = names.filter((name) => name.startsWith(`${producer}/`));
    assert.deepEqual(
      own,
      Array.from({ length: 10 }, (_, tag) => `${producer}/${tag}`),
    );
  }
});

test('a guarded producer’s batch without sends is written below the reserve', async () => {
  const bench = new Bench({ guarded: [true], files: { freeBytes: () => 0 }, diskReserveBytes: 1_000 });
  const reads = testBatch(0, 1);
  reads[BatchAt.FLAGS] = 0;
  bench.append(0, 0);
  bench.append(0, 1, reads);
  bench.run();
  await bench.untilTold(2);
  await bench.stop();
  assert.deepEqual(bench.told[0], [
    [0, REFUSED, Refusal.DISK_FULL, 0],
    [1, DONE, 0, 0],
  ]);
});
