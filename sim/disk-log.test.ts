import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DunlinError } from '../core/errors.js';
import { AppendOutcome, Durability, type LogConsumer, Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import { testBatchOf } from '../engines/log.fixture.js';
import { DiskLog } from './disk-log.js';

interface Bench {
  log: DiskLog;
  readonly reports: string[];
  readonly missed: string[];
}

function bench(seed: number): Bench {
  const reports: string[] = [];
  const missed: string[] = [];
  const log = new DiskLog({
    topics: [
      { partitions: 1, durability: Durability.BEFORE_READ },
      { partitions: 1, durability: Durability.LAZY },
    ],
    nowMs: () => 1,
    random: new Prng(seed),
    report: (what) => reports.push(what),
    missed: (sentence) => missed.push(sentence),
  });
  return { log, reports, missed };
}

function readAll(consumer: LogConsumer): number[] {
  const found: number[] = [];
  for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) found.push(batch.header.sourceSeq);
  return found;
}

function readTopic(log: DiskLog, topic: number): number[] {
  return readAll(log.consumer(topic, [{ partition: 0, offset: 0 }]));
}

test('after a power failure what was told durable is there, in order, and at times more; tails are torn', () => {
  let torn = 0;
  let more = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const world = bench(seed);
    const producer = world.log.producer();
    const durable: number[] = [];
    for (let n = 0; n < 40; n++) {
      assert.ok(producer.append(Topic.CONVERSATION, 0, testBatchOf(2_000 + 50 * n, 0, n), n));
      world.log.write();
      if (n % 16 === 9) world.log.sync(Topic.CONVERSATION);
      producer.outcomes((tag, outcome) => {
        assert.equal(outcome, AppendOutcome.DURABLE);
        durable.push(tag);
      });
    }
    const left = readTopic(world.log.powerFailure(), Topic.CONVERSATION);
    assert.deepEqual(
      left,
      Array.from({ length: left.length }, (_, n) => n),
      `seed ${seed}`,
    );
    assert.ok(left.length >= durable.length && left.length <= 40, `seed ${seed}: ${left.length} of ${durable.length}`);
    torn += world.reports.length;
    if (left.length > durable.length) more++;
  }
  assert.ok(torn > 5 && more > 5, `${torn} torn, ${more} with more than what was synced`);
});

test('a flipped bit stops who reads it, or the start; brought back from a copy all is there', () => {
  let stopped = 0;
  let refused = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const world = bench(seed);
    const producer = world.log.producer();
    for (let n = 0; n < 60; n++) {
      producer.append(Topic.USER, 0, testBatchOf(2_000, 0, n), n);
      world.log.write();
      world.log.sync();
    }
    assert.ok(world.log.flip(Topic.USER));
    try {
      readTopic(world.log, Topic.USER);
    } catch (error) {
      assert.ok(error instanceof DunlinError, String(error));
      stopped++;
    }
    const after = world.log.powerFailure();
    refused += world.reports.length;
    after.restore();
    assert.equal(readTopic(after, Topic.USER).length, 60, `seed ${seed}`);
    assert.deepEqual(world.missed, []);
  }
  assert.equal(stopped, 60);
  assert.ok(refused > 5, `${refused} starts refused`);
});
