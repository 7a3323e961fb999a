import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from '../core/crc32c.js';
import { AppendOutcome, Durability, Refusal } from '../core/ports.js';
import { CONTRACT_PARTITIONS, type ContractOptions, logContract, type OpenedLog } from './log.contract.js';
import { nameOf, testBatch } from './log.fixture.js';
import { batchAt } from './log-disk/recover.js';
import { MemoryLog } from './log-memory.js';

const START_MS = 1_700_000_000_000;
const topics = [Durability.BEFORE_READ, Durability.LAZY].map((durability) => ({
  partitions: CONTRACT_PARTITIONS,
  durability,
}));

/** A clock that goes on by a millisecond a call, and back by a minute now and then. */
function restlessClock(): () => number {
  let calls = 0;
  return () => START_MS + ++calls - (calls % 7 === 0 ? 60_000 : 0);
}

function opened(log: MemoryLog): OpenedLog {
  return {
    log,
    producers: [log.producer(), log.producer()],
    until: (condition) => {
      if (condition()) return Promise.resolve();
      log.write();
      log.sync();
      assert.ok(condition(), 'nothing that the log does brings this about');
      return Promise.resolve();
    },
    reopen: () => Promise.resolve(opened(log.reopen())),
    close: () => Promise.resolve(),
  };
}

logContract('memory', (options: ContractOptions = {}) =>
  Promise.resolve(opened(new MemoryLog({ topics, nowMs: restlessClock(), crc32c, ...options }))),
);

test('every step is explicit: written, then readable or not, then durable', () => {
  const log = new MemoryLog({ topics, nowMs: restlessClock() });
  const producer = log.producer();
  const [strict, lazy] = [0, 1].map((topic) => log.consumer(topic, [{ partition: 0, offset: 0 }]));
  const told: number[] = [];
  for (const topic of [0, 1]) assert.ok(producer.append(topic, 0, testBatch(topic, 1), topic));
  assert.equal(lazy!.readableEnd(0), 0);
  log.write();
  assert.equal(strict!.poll(), undefined);
  assert.equal(strict!.readableEnd(0), 0);
  assert.equal(lazy!.readableEnd(0), 1);
  assert.equal(lazy!.durableEnd(0), 0);
  assert.equal(nameOf(lazy!.poll()!), '1/1');
  assert.equal(
    producer.outcomes((tag) => told.push(tag)),
    0,
  );
  log.sync(1);
  assert.equal(
    producer.outcomes((tag) => told.push(tag)),
    1,
  );
  assert.equal(strict!.poll(), undefined);
  log.sync();
  assert.equal(nameOf(strict!.poll()!), '0/1');
  assert.equal(
    producer.outcomes((tag) => told.push(tag)),
    1,
  );
  assert.deepEqual(told, [1, 0]);
});

test('a power failure takes what was not synced, and offsets are given again', () => {
  const log = new MemoryLog({ topics, nowMs: restlessClock(), segmentBytes: 400 });
  const producer = log.producer();
  for (let n = 0; n < 5; n++) producer.append(1, 0, testBatch(0, n), n);
  log.write();
  log.sync();
  const end = log.consumer(1, []).durableEnd(0);
  assert.equal(end, 5);
  producer.append(1, 0, testBatch(0, 5), 5);
  log.write();
  const after = log.powerFailure();
  const names = (one: MemoryLog): string[] => {
    const consumer = one.consumer(1, [{ partition: 0, offset: 0 }]);
    const seen: string[] = [];
    for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) seen.push(nameOf(batch));
    return seen;
  };
  const kept = after.consumer(1, []).durableEnd(0);
  assert.ok(kept >= 5);
  assert.equal(names(after).length, kept);
  const again = after.producer();
  again.append(1, 0, testBatch(7, 7), 0);
  after.write();
  assert.deepEqual(names(after), ['0/0', '0/1', '0/2', '0/3', '0/4', ...(kept === 6 ? ['0/5'] : []), '7/7']);
});

test('injected outcomes come in their turn, and are true', () => {
  const log = new MemoryLog({ topics, nowMs: restlessClock(), automatic: true });
  const producer = log.producer();
  log.inject('pass', 'refused_full', 'queue_full', 'unknown_done', 'unknown_not_done', 'refused_failed');
  const taken = Array.from({ length: 7 }, (_, n) => producer.append(0, 0, testBatch(0, n), n));
  assert.deepEqual(taken, [true, true, false, true, true, true, true]);
  const told: number[][] = [];
  producer.outcomes((...outcome) => told.push(outcome));
  assert.deepEqual(told, [
    [0, AppendOutcome.DURABLE, 0, Refusal.NONE],
    [1, AppendOutcome.REFUSED, 0, Refusal.DISK_FULL],
    [3, AppendOutcome.UNKNOWN, 0, Refusal.FAILED],
    [4, AppendOutcome.UNKNOWN, 0, Refusal.FAILED],
    [5, AppendOutcome.REFUSED, 0, Refusal.FAILED],
    [6, AppendOutcome.DURABLE, 2, Refusal.NONE],
  ]);
  const consumer = log.consumer(0, [{ partition: 0, offset: 0 }]);
  assert.deepEqual(
    [0, 1, 2].map(() => nameOf(consumer.poll()!)),
    ['0/0', '0/3', '0/6'],
  );
  assert.equal(consumer.poll(), undefined);
});

test('a refusal behind a batch that is not yet durable waits for it', () => {
  const log = new MemoryLog({ topics, nowMs: restlessClock() });
  const producer = log.producer();
  log.inject('pass', 'refused_full');
  for (const tag of [1, 2]) producer.append(0, 0, testBatch(0, tag), tag);
  log.write();
  const told: number[] = [];
  assert.equal(
    producer.outcomes((tag) => told.push(tag)),
    0,
  );
  log.sync();
  producer.outcomes((tag) => told.push(tag));
  assert.deepEqual(told, [1, 2]);
});

test('with a checksum function, batches bear the checksums that they bear on disk', () => {
  const log = new MemoryLog({ topics, nowMs: restlessClock(), automatic: true, crc32c });
  log.producer().append(0, 0, testBatch(0, 1), 1);
  const batch = log.consumer(0, [{ partition: 0, offset: 0 }]).poll()!;
  assert.equal(batchAt(batch.bytes, batch.view, 0), batch.bytes.length);
});
