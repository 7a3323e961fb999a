/** What every log engine must do, as one suite: `logContract(name, open)` registers its tests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchAt, BatchKind, checkBatch } from '../core/batch.js';
import { DunlinError } from '../core/errors.js';
import { BATCH_BYTES_MAX } from '../core/limits.js';
import {
  AppendOutcome,
  type Log,
  type LogConsumer,
  type LogPosition,
  type LogProducer,
  Refusal,
} from '../core/ports.js';
import { Prng } from '../core/prng.js';
import { nameOf, testBatch, testBatchOf } from './log.fixture.js';

export const CONTRACT_PARTITIONS = 3;
/** Topics of the log under test. */
export const ContractTopic = { BEFORE_READ: 0, LAZY: 1 } as const;

export interface ContractOptions {
  readonly segmentBytes?: number;
  readonly retainBytes?: number;
}

/** A log with two topics and two producers. */
export interface OpenedLog {
  readonly log: Log;
  readonly producers: readonly LogProducer[];
  /** Waits until the condition holds, which something that the log does must bring about. */
  until(condition: () => boolean): Promise<void>;
  /** Closes it and opens it again with the same contents. */
  reopen(): Promise<OpenedLog>;
  close(): Promise<void>;
}

export type OpenLog = (options?: ContractOptions) => Promise<OpenedLog>;

interface Told {
  readonly tag: number;
  readonly outcome: number;
  readonly offset: number;
  readonly refusal: number;
}

function takeOutcomes(producer: LogProducer, into: Told[]): void {
  const before = into.length;
  const count = producer.outcomes((tag, outcome, offset, refusal) => into.push({ tag, outcome, offset, refusal }));
  assert.equal(into.length, before + count);
}

/** Waits for the outcomes of so many appends. */
async function outcomes(opened: OpenedLog, producer: LogProducer, count: number): Promise<Told[]> {
  const told: Told[] = [];
  await opened.until(() => {
    takeOutcomes(producer, told);
    return told.length >= count;
  });
  assert.equal(told.length, count);
  return told;
}

interface ToAppend {
  readonly partition: number;
  readonly batch: Uint8Array;
}

/** Appends one after the other and waits for all outcomes; tags count from 0. */
async function appendAll(opened: OpenedLog, topic: number, batches: readonly ToAppend[]): Promise<Told[]> {
  const producer = opened.producers[0]!;
  const told: Told[] = [];
  for (const [i, { partition, batch }] of batches.entries()) {
    await opened.until(() => {
      takeOutcomes(producer, told);
      return producer.append(topic, partition, batch, i);
    });
  }
  await opened.until(() => {
    takeOutcomes(producer, told);
    return told.length >= batches.length;
  });
  return told;
}

function append(opened: OpenedLog, topic: number, partition: number, ...batches: Uint8Array[]): Promise<Told[]> {
  return appendAll(
    opened,
    topic,
    batches.map((batch) => ({ partition, batch })),
  );
}

interface Seen {
  readonly name: string;
  readonly partition: number;
  readonly offset: number;
  readonly time: number;
  readonly bytes: number;
}

/** 0 as long as it is not known. */
function readableEnd(consumer: LogConsumer, partition: number): number {
  return consumer.readableEnd(partition) ?? 0;
}

/** Everything that can be polled now. Each batch is whole, of the topic, and next in its partition. */
function drain(consumer: LogConsumer, topic: number, positions: readonly LogPosition[]): Seen[] {
  const seen: Seen[] = [];
  const next = new Map(positions.map(({ partition, offset }) => [partition, offset]));
  for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) {
    const { partition, offset, time } = batch.header;
    assert.equal(batch.header.topic, topic);
    assert.equal(checkBatch(batch.bytes), undefined);
    assert.equal(offset, next.get(partition), `partition ${partition}`);
    next.set(partition, offset + 1);
    assert.ok(offset < readableEnd(consumer, partition));
    if (topic === ContractTopic.BEFORE_READ) assert.ok(offset < consumer.durableEnd(partition));
    seen.push({ name: nameOf(batch), partition, offset, time, bytes: batch.bytes.length });
  }
  return seen;
}

function from(...offsets: number[]): LogPosition[] {
  return offsets.map((offset, partition) => ({ partition, offset }));
}

function read(log: Log, topic: number, positions: readonly LogPosition[]): Seen[] {
  const consumer = log.consumer(topic, positions);
  try {
    const seen = drain(consumer, topic, positions);
    assert.equal(consumer.lagBytes(), 0);
    return seen;
  } finally {
    consumer.close();
  }
}

function topicTest(name: string, open: OpenLog, run: (opened: OpenedLog, topic: number) => Promise<void>): void {
  for (const [durability, topic] of Object.entries(ContractTopic)) {
    test(`${name} (${durability})`, async () => {
      const opened = await open();
      try {
        await run(opened, topic);
      } finally {
        await opened.close();
      }
    });
  }
}

const SMALL = { segmentBytes: 32 * 1024, retainBytes: 0 };
const SMALL_BATCH_BYTES = 4 * 1024;

/** Appends and releases until the first offsets are gone; returns offsets below which nothing will be read. */
async function appendAndRelease(
  opened: OpenedLog,
  topic: number,
  released: readonly number[],
  rounds: number,
): Promise<void> {
  const consumer = opened.log.consumer(topic, []);
  for (const [partition, offset] of released.entries()) consumer.release(partition, offset);
  const batches = Array.from({ length: rounds * CONTRACT_PARTITIONS }, (_, n) => ({
    partition: n % CONTRACT_PARTITIONS,
    batch: testBatchOf(SMALL_BATCH_BYTES, 9, n),
  }));
  await appendAll(opened, topic, batches);
  consumer.close();
}

export function logContract(engine: string, open: OpenLog): void {
  topicTest(`${engine}: offsets are dense and outcomes come in order with their tags`, open, async (opened, topic) => {
    const producer = opened.producers[0]!;
    for (let n = 0; n < 60; n++) assert.ok(producer.append(topic, n % 3, testBatch(1, n, n), 1_000 + n));
    const told = await outcomes(opened, producer, 60);
    told.forEach((outcome, n) => {
      assert.deepEqual(outcome, {
        tag: 1_000 + n,
        outcome: AppendOutcome.DURABLE,
        offset: Math.floor(n / 3),
        refusal: 0,
      });
    });
    const seen = read(opened.log, topic, from(0, 0, 0));
    assert.deepEqual(
      seen.map(({ name }) => name),
      Array.from({ length: 60 }, (_, n) => `1/${n}`),
    );
    assert.deepEqual(
      seen.map(({ bytes }) => bytes),
      Array.from({ length: 60 }, (_, n) => testBatch(1, n, n).length),
    );
  });

  topicTest(
    `${engine}: durable means below the durable end, which is never above the readable end`,
    open,
    async (opened, topic) => {
      const consumer = opened.log.consumer(topic, from(0, 0, 0));
      assert.equal(consumer.poll(), undefined);
      assert.equal(consumer.readableEnd(1), 0);
      assert.equal(consumer.durableEnd(1), 0);
      for (let n = 0; n < 10; n++) {
        assert.ok(opened.producers[0]!.append(topic, 1, testBatch(0, n), n));
        await opened.until(() => readableEnd(consumer, 1) > n);
        assert.ok(consumer.durableEnd(1) <= readableEnd(consumer, 1));
        const batch = consumer.poll();
        assert.equal(batch?.header.offset, n);
        if (topic === ContractTopic.BEFORE_READ) assert.ok(consumer.durableEnd(1) > n);
        await outcomes(opened, opened.producers[0]!, 1);
        assert.ok(consumer.durableEnd(1) > n);
      }
      consumer.close();
    },
  );

  topicTest(`${engine}: two producers keep each its order, and get each its outcomes`, open, async (opened, topic) => {
    for (let n = 0; n < 40; n++) {
      opened.producers.forEach((producer, i) => assert.ok(producer.append(topic, n % 2, testBatch(i, n), i * 100 + n)));
    }
    for (const [i, producer] of opened.producers.entries()) {
      const told = await outcomes(opened, producer, 40);
      assert.deepEqual(
        told.map(({ tag }) => tag),
        Array.from({ length: 40 }, (_, n) => i * 100 + n),
      );
    }
    const seen = read(opened.log, topic, from(0, 0));
    assert.equal(seen.length, 80);
    for (const i of [0, 1]) {
      const own = seen.filter(({ name }) => name.startsWith(`${i}/`));
      for (const partition of [0, 1]) {
        const numbers = own.filter((one) => one.partition === partition).map(({ name }) => Number(name.slice(2)));
        assert.deepEqual(
          numbers,
          Array.from({ length: 20 }, (_, n) => 2 * n + partition),
        );
      }
    }
  });

  topicTest(`${engine}: any offset can be read from, again and again`, open, async (opened, topic) => {
    await appendAll(
      opened,
      topic,
      Array.from({ length: 10 }, (_, n) => ({ partition: n % 3, batch: testBatch(0, n) })),
    );
    const all = read(opened.log, topic, from(0, 0, 0));
    for (const positions of [from(0, 0, 0), from(1, 0, 3), from(4, 3, 3), from(2), [{ partition: 2, offset: 1 }], []]) {
      const wanted = all.filter((one) => {
        const position = positions.find(({ partition }) => partition === one.partition);
        return position !== undefined && one.offset >= position.offset;
      });
      assert.deepEqual(read(opened.log, topic, positions), wanted);
    }
    const late = opened.log.consumer(topic, from(4, 3, 3));
    assert.equal(late.poll(), undefined);
    await append(opened, topic, 2, testBatch(0, 10));
    assert.deepEqual(
      drain(late, topic, from(4, 3, 3)).map(({ name }) => name),
      ['0/10'],
    );
    late.close();
    assert.throws(() => opened.log.consumer(topic, from(0, 4)), DunlinError);
    assert.throws(() => opened.log.consumer(topic, from(5)), DunlinError);
  });

  topicTest(
    `${engine}: a batch of the largest length passes, a longer one is refused in its turn`,
    open,
    async (opened, topic) => {
      const batches = [testBatch(0, 1), testBatchOf(BATCH_BYTES_MAX, 0, 2), testBatchOf(BATCH_BYTES_MAX + 200, 0, 3)];
      const told = await append(opened, topic, 0, ...batches, testBatch(0, 4));
      assert.deepEqual(told, [
        { tag: 0, outcome: AppendOutcome.DURABLE, offset: 0, refusal: Refusal.NONE },
        { tag: 1, outcome: AppendOutcome.DURABLE, offset: 1, refusal: Refusal.NONE },
        { tag: 2, outcome: AppendOutcome.REFUSED, offset: 0, refusal: Refusal.TOO_LARGE },
        { tag: 3, outcome: AppendOutcome.DURABLE, offset: 2, refusal: Refusal.NONE },
      ]);
      const seen = read(opened.log, topic, from(0));
      assert.deepEqual(
        seen.map(({ bytes }) => bytes),
        [batches[0]!.length, BATCH_BYTES_MAX, testBatch(0, 4).length],
      );
    },
  );

  topicTest(`${engine}: what is no batch, or for no partition, is refused`, open, async (opened, topic) => {
    const cut = testBatch(0, 1).subarray(0, 100);
    const egress = testBatch(0, 1);
    egress[BatchAt.KIND] = BatchKind.EGRESS;
    const told = await appendAll(opened, topic, [
      ...[new Uint8Array(10), new Uint8Array(100), cut, egress].map((batch) => ({ partition: 0, batch })),
      { partition: CONTRACT_PARTITIONS, batch: testBatch(0, 1) },
    ]);
    assert.deepEqual(
      told.map(({ outcome, refusal }) => [outcome, refusal]),
      told.map(() => [AppendOutcome.REFUSED, Refusal.FAILED]),
    );
    assert.equal(told.length, 5);
    assert.deepEqual(read(opened.log, topic, from(0, 0, 0)), []);
  });

  topicTest(`${engine}: a full queue takes nothing, and says so`, open, async (opened, topic) => {
    const producer = opened.producers[0]!;
    const batch = testBatchOf(BATCH_BYTES_MAX);
    let taken = 0;
    while (producer.append(topic, 0, batch, taken)) {
      taken++;
      assert.ok(taken < 200, 'the queue never fills');
    }
    assert.ok(taken >= 2);
    const told = await outcomes(opened, producer, taken);
    assert.deepEqual(
      told.map(({ tag, offset }) => [tag, offset]),
      told.map((_, n) => [n, n]),
    );
    assert.deepEqual((await append(opened, topic, 0, testBatch(0, 1)))[0]?.offset, taken);
    assert.equal(read(opened.log, topic, from(0)).length, taken + 1);
  });

  topicTest(`${engine}: the lag is what was not polled`, open, async (opened, topic) => {
    const consumer = opened.log.consumer(topic, from(0, 0, 0));
    assert.equal(consumer.lagBytes(), 0);
    const batches = [testBatch(0, 1, 10), testBatch(0, 2, 1_000), testBatch(0, 3, 100)];
    await append(opened, topic, 0, ...batches);
    let left = batches.reduce((sum, { length }) => sum + length, 0);
    for (const { length } of batches) {
      assert.equal(consumer.lagBytes(), left);
      assert.notEqual(consumer.poll(), undefined);
      left -= length;
    }
    assert.equal(consumer.lagBytes(), 0);
    consumer.close();
  });

  topicTest(`${engine}: opened again, everything durable is there and goes on`, open, async (first, topic) => {
    let opened = first;
    let before: Seen[] = [];
    for (let round = 0; round < 4; round++) {
      const batches = Array.from({ length: 6 }, (_, n) => ({ partition: n % 2, batch: testBatch(round, n) }));
      await appendAll(opened, topic, batches);
      opened = await opened.reopen();
      const seen = read(opened.log, topic, from(0, 0, 0));
      assert.equal(seen.length, 6 * (round + 1));
      assert.deepEqual(seen.slice(0, before.length), before);
      before = seen;
    }
    for (const partition of [0, 1]) {
      const times = before.filter((one) => one.partition === partition).map(({ time }) => time);
      assert.deepEqual(
        times,
        times.toSorted((one, other) => one - other),
      );
    }
    await opened.close();
  });

  for (const topic of Object.values(ContractTopic)) {
    test(`${engine}: segments are deleted whole when all partitions are released, topic ${topic}`, async () => {
      const opened = await open(SMALL);
      const first = opened.log.consumer(topic, from(0, 0, 0));
      assert.notEqual((await append(opened, topic, 0, testBatch(0, 0)))[0], undefined);
      assert.equal(first.poll()?.header.offset, 0);
      await appendAndRelease(opened, topic, [40, 40, 39], 40);
      // Nothing was released when all this began: the first offsets of the last partition pin what follows them.
      assert.throws(() => opened.log.consumer(topic, from(0)), /no longer in the log/);
      assert.throws(
        () => opened.log.consumer(topic, from(40, 40, 0)),
        (error) => error instanceof DunlinError,
      );
      assert.equal(read(opened.log, topic, from(41, 40, 39)).length, 1);
      first.close();
      const again = await opened.reopen();
      assert.throws(() => again.log.consumer(topic, from(0)), DunlinError);
      assert.equal(read(again.log, topic, from(41, 40, 39)).length, 1);
      await again.close();
    });

    test(`${engine}: what one partition still needs is kept, and so is what retention says, topic ${topic}`, async () => {
      for (const [options, released] of [
        [SMALL, [40, 40]],
        [{ ...SMALL, retainBytes: 100 * 1024 * 1024 }, [40, 40, 40]],
      ] as const) {
        const opened = await open(options);
        await appendAndRelease(opened, topic, released, 40);
        assert.equal(read(opened.log, topic, from(0, 0, 0)).length, 120);
        await opened.close();
      }
    });
  }

  test(`${engine}: random appends of two producers are read back as the outcomes say`, async (t) => {
    const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
    t.diagnostic(`DUNLIN_SEED=${seed}`);
    const random = new Prng(seed);
    const opened = await open({ segmentBytes: 64 * 1024 });
    const expected = new Map<string, string>();
    const appended: string[][] = [[], []];
    const told: Told[][] = [[], []];
    // Consumers that read while segments are begun: each sees everything once, in order (`drain` checks that).
    const positions = from(0, 0, 0).flatMap((one) => [0, 1].map((topic) => ({ topic, one })));
    const live = positions.map(({ topic, one }) => ({
      topic,
      one,
      consumer: opened.log.consumer(topic, [one]),
      seen: 0,
    }));
    const readOn = (): void => {
      for (const each of live) {
        const at = { partition: each.one.partition, offset: each.seen };
        each.seen += drain(each.consumer, each.topic, [at]).length;
      }
    };
    for (let n = 0; n < 600; n++) {
      const which = random.below(2);
      const producer = opened.producers[which]!;
      const topic = random.below(2);
      const partition = random.below(CONTRACT_PARTITIONS);
      const bytes = random.below(8) === 0 ? random.below(20_000) : random.below(200);
      await opened.until(() => producer.append(topic, partition, testBatch(which, n, bytes), n));
      appended[which]!.push(`${topic}/${partition}/${which}/${n}`);
      takeOutcomes(producer, told[which]!);
      if (random.below(10) === 0) readOn();
    }
    await opened.until(() => {
      opened.producers.forEach((producer, which) => takeOutcomes(producer, told[which]!));
      return told[0]!.length + told[1]!.length === 600;
    });
    for (const which of [0, 1]) {
      for (const { tag, outcome, offset } of told[which]!) {
        assert.equal(outcome, AppendOutcome.DURABLE);
        const name = appended[which]!.find((one) => one.endsWith(`/${tag}`))!;
        const [topic, partition] = name.split('/');
        expected.set(`${topic}/${partition}/${offset}`, `${which}/${tag}`);
      }
    }
    assert.equal(expected.size, 600);
    await opened.until(() => {
      readOn();
      return live.reduce((sum, { seen }) => sum + seen, 0) === 600;
    });
    for (const topic of [0, 1]) {
      for (const { name, partition, offset } of read(opened.log, topic, from(0, 0, 0))) {
        assert.equal(name, expected.get(`${topic}/${partition}/${offset}`));
        expected.delete(`${topic}/${partition}/${offset}`);
      }
    }
    assert.equal(expected.size, 0);
    for (const { consumer } of live) consumer.close();
    await opened.close();
  });
}
