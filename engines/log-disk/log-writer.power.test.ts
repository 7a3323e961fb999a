/** The power fails at any moment of a running log: what had been told DURABLE is there, and nothing that was never appended. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readBatchHeader } from '../../core/batch.js';
import { viewOf } from '../../core/frame.js';
import { AppendOutcome } from '../../core/ports.js';
import { Prng } from '../../core/prng.js';
import { createDoorbell } from '../doorbell.js';
import { testBatchOf } from '../log.fixture.js';
import { createRing } from '../ring.js';
import { FragileDisk } from './fragile-disk.js';
import { openProducer } from './handles.js';
import { createControl, decodeSegmentHeader, SEGMENT_HEADER_BYTES, segmentName } from './layout.js';
import { LogWriter } from './log-writer.js';
import { batchAt, type JournalStart, recoverJournal } from './recover.js';

const PARTITIONS = 3;
const DIRECTORY = '/log';
const SEGMENT_BYTES = 96 * 1024;

/** By `partition/offset`: number of the batch that was told to be there. */
type Acknowledged = Map<string, number>;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Every batch that the recovered journal holds, in order of segments. */
function readBack(disk: FragileDisk, start: JournalStart): Map<string, number> {
  const found = new Map<string, number>();
  for (const { number } of start.segments) {
    const bytes = disk.contentOf(`${DIRECTORY}/${segmentName(number)}`);
    const view = viewOf(bytes);
    assert.notEqual(typeof decodeSegmentHeader(bytes), 'string');
    for (let at = SEGMENT_HEADER_BYTES; at < bytes.length; ) {
      const length = batchAt(bytes, view, at);
      assert.equal(typeof length, 'number', `segment ${number} byte ${at}: ${length}`);
      const { partition, offset, sourceSeq } = readBatchHeader(view, at);
      const key = `${partition}/${offset}`;
      assert.ok(!found.has(key), `${key} is there twice`);
      found.set(key, sourceSeq);
      at += length as number;
    }
  }
  return found;
}

interface Life {
  disk: FragileDisk;
  readonly acknowledged: Acknowledged;
  /** Numbers of all batches ever appended, by partition, in order. */
  readonly appended: number[][];
  next: number;
}

/** Runs a log over the disk for some turns, and then takes the power away. */
async function live(life: Life, start: JournalStart, random: Prng, durability: number): Promise<FragileDisk> {
  const { disk, acknowledged, appended } = life;
  const bell = createDoorbell();
  const handle = { ring: createRing(1 << 20), outcomes: createRing(65_536), doorbell: bell };
  const producer = openProducer([handle]);
  const writer = new LogWriter(
    {
      directory: DIRECTORY,
      topic: 0,
      partitions: PARTITIONS,
      durability,
      start,
      control: createControl(PARTITIONS),
      doorbell: bell,
      producers: [{ ...handle, doorbell: createDoorbell(), guarded: true }],
      readers: [],
      segmentBytes: SEGMENT_BYTES,
      retainBytes: 1e12,
      diskReserveBytes: 0,
    },
    disk,
    (error) => assert.fail(error),
  );
  disk.isHeld = random.chance(1, 2);
  const running = writer.run();
  const partitionOf = new Map<number, number>();
  const listen = (): void => {
    producer.outcomes((tag, outcome, offset) => {
      assert.equal(outcome, AppendOutcome.DURABLE);
      acknowledged.set(`${partitionOf.get(tag)}/${offset}`, tag);
    });
  };
  for (let turns = random.between(1, 30); turns > 0; turns--) {
    for (let n = random.below(5); n > 0; n--) {
      const partition = random.below(PARTITIONS);
      const number = life.next++;
      partitionOf.set(number, partition);
      const bytes = random.chance(1, 6) ? random.between(20_000, 60_000) : random.between(140, 3_000);
      assert.ok(producer.append(0, partition, testBatchOf(bytes, 0, number), number));
      appended[partition]!.push(number);
    }
    await nextTurn();
    if (random.chance(1, 2)) disk.completeSync();
    listen();
  }
  const failed = disk.powerFailure(random);
  // What is told after that moment is not known to the world.
  writer.stop();
  disk.isHeld = false;
  while (disk.completeSync());
  await running;
  return failed;
}

function open(disk: FragileDisk, where: string): JournalStart {
  try {
    return recoverJournal(disk, DIRECTORY, 0, PARTITIONS);
  } catch (error) {
    assert.fail(`${where}: it does not open: ${(error as Error).message}`);
  }
}

/** In each partition offsets are dense, and the batches are appended ones in their order. */
function check(found: ReadonlyMap<string, number>, life: Life, start: JournalStart): void {
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const numbers = Array.from({ length: start.offsets[partition]! }, (_, offset) =>
      found.get(`${partition}/${offset}`),
    );
    const order = life.appended[partition]!;
    let at = -1;
    for (const number of numbers) {
      assert.notEqual(number, undefined, `partition ${partition} has a hole`);
      const next = order.indexOf(number!, at + 1);
      assert.ok(next > at, `${number} in partition ${partition} was not appended there, or earlier`);
      at = next;
    }
    // What was lost was never acknowledged; it does not come back.
    life.appended[partition] = numbers as number[];
  }
  assert.equal(
    found.size,
    start.offsets.reduce((sum, offset) => sum + offset, 0),
  );
  for (const [key, number] of life.acknowledged) assert.equal(found.get(key), number, `${key} was acknowledged`);
}

test('after any power failure all that was acknowledged is there, in order, and the log goes on', async (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
  const worlds = Number(process.env['DUNLIN_WORLDS'] ?? 150);
  t.diagnostic(`DUNLIN_SEED=${seed}`);
  let cuts = 0;
  for (let world = 0; world < worlds; world++) {
    const random = new Prng(seed).fork(`world ${world}`);
    const life: Life = {
      disk: new FragileDisk(),
      acknowledged: new Map(),
      appended: Array.from({ length: PARTITIONS }, () => []),
      next: 1,
    };
    for (let boot = random.between(2, 5); boot > 0; boot--) {
      const start = open(life.disk, `seed ${seed}, world ${world}`);
      cuts += start.reports.length;
      check(readBack(life.disk, start), life, start);
      life.disk = await live(life, start, random, random.below(2));
    }
  }
  t.diagnostic(`${cuts} cuts`);
  assert.ok(cuts > 0, 'nothing was ever torn');
});
