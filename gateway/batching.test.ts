import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchKind, checkBatch, openBatch, SourceKind, sourceId } from '../core/batch.js';
import { encodeFrame, type Frame, Kind, makeFrame, readFrame } from '../core/frame.js';
import { BATCH_TARGET_BYTES, FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TABLE_PAYLOAD_BYTES_MAX } from '../core/limits.js';
import { AppendOutcome, Refusal, Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import { Batching } from './batching.js';
import { FakeProducer } from './fakes.fixture.js';
import { GatewayMetrics } from './gateway-metrics.js';

const PARTITIONS = 4;
const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now());

interface Lost {
  readonly counter: number;
  readonly topic: number;
  readonly partition: number;
  readonly refusal: number;
}

class Bench {
  readonly producer = new FakeProducer();
  readonly metrics = new GatewayMetrics();
  readonly lost: Lost[] = [];
  readonly batching: Batching;

  constructor(incarnation = 7) {
    this.batching = new Batching({
      gatewayNumber: 3,
      incarnation,
      partitions: [PARTITIONS, PARTITIONS],
      producer: this.producer,
      metrics: this.metrics,
      lost: ({ bytes, view, at, topic, partition, refusal }) => {
        this.lost.push({ counter: readFrame(bytes, view, at).counter, topic, partition, refusal });
      },
    });
  }

  /** False: there was no room. */
  add(topic: number, partition: number, counter: number, payloadBytes = 0): boolean {
    const bytes = encodeFrame(makeFrame({ kind: Kind.MESSAGE, counter, payload: new Uint8Array(payloadBytes) }));
    const builder = this.batching.builder(topic, partition, bytes.length);
    builder?.frame(bytes, 0, bytes.length);
    return builder !== undefined;
  }

  counters(topic: number, partition: number): number[] {
    return this.producer.frames(topic, partition).map((frame: Frame) => frame.counter);
  }
}

test('a batch says who made it, and holds its partition’s frames', () => {
  const bench = new Bench();
  bench.add(Topic.USER, 2, 1);
  bench.add(Topic.USER, 2, 2);
  assert.ok(!bench.batching.isFlushed);
  assert.ok(bench.batching.flush());
  const [appended] = bench.producer.appended;
  assert.equal(checkBatch(appended!.bytes), undefined);
  assert.deepEqual([appended!.topic, appended!.partition], [Topic.USER, 2]);
  const { header } = openBatch(appended!.bytes);
  assert.deepEqual(
    [header.kind, header.sourceId, header.sourceEpoch, header.count],
    [BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 3), 7, 2],
  );
});

test('nothing is settled before the outcome is known', () => {
  const bench = new Bench();
  bench.add(Topic.CONVERSATION, 0, 1);
  bench.batching.flush();
  assert.ok(bench.batching.isFlushed && !bench.batching.isSettled);
  assert.equal(bench.batching.settle(), 0);
  bench.producer.answer();
  assert.equal(bench.batching.settle(), 1);
  assert.ok(bench.batching.isSettled);
  assert.deepEqual(bench.lost, []);
});

test('whatever the log takes and when, each partition’s frames keep their order and none is lost or doubled', () => {
  const random = new Prng(SEED).fork('batching');
  const bench = new Bench();
  const expected = Array.from({ length: 2 * PARTITIONS }, (): number[] => []);
  for (let counter = 1; counter <= 20_000; counter++) {
    const topic = random.below(2);
    const partition = random.below(PARTITIONS);
    if (random.chance(1, 50)) bench.producer.isFull = !bench.producer.isFull;
    const bytes = random.chance(1, 20) ? random.below(TABLE_PAYLOAD_BYTES_MAX) : random.below(2_000);
    if (bench.add(topic, partition, counter, bytes)) expected[topic * PARTITIONS + partition]!.push(counter);
    if (random.chance(1, 30)) bench.batching.flush();
    if (random.chance(1, 30)) bench.producer.answer(AppendOutcome.DURABLE, Refusal.NONE, random.below(5));
    if (random.chance(1, 30)) bench.batching.settle();
  }
  bench.producer.isFull = false;
  assert.ok(bench.batching.flush());
  bench.producer.answer();
  bench.batching.settle();
  assert.ok(bench.batching.isSettled, `DUNLIN_SEED=${SEED}`);
  for (const [place, counters] of expected.entries()) {
    assert.ok(counters.length > 0);
    const got = bench.counters(Math.floor(place / PARTITIONS), place % PARTITIONS);
    assert.deepEqual(got, counters, `DUNLIN_SEED=${SEED}, place ${place}`);
  }
  const tags = bench.producer.appended.map(({ tag }) => tag);
  assert.equal(new Set(tags).size, tags.length, 'every batch has a tag of its own');
});

test('a batch is closed at its target size; only a frame that is larger alone goes beyond', () => {
  const bench = new Bench();
  for (let counter = 1; counter <= 40; counter++) bench.add(Topic.CONVERSATION, 1, counter, PAYLOAD_BYTES_MAX / 3);
  bench.add(Topic.CONVERSATION, 1, 41, TABLE_PAYLOAD_BYTES_MAX);
  bench.batching.flush();
  const sizes = bench.producer.appended.map(({ bytes }) => bytes.length);
  assert.ok(sizes.length >= 4);
  for (const size of sizes.slice(0, -1)) assert.ok(size <= BATCH_TARGET_BYTES, `${size} bytes`);
  assert.equal(openBatch(bench.producer.appended.at(-1)!.bytes).header.count, 1);
  assert.equal(bench.counters(Topic.CONVERSATION, 1).length, 41);
});

test('when the log takes nothing, what is kept has a bound, and frames are refused beyond it', () => {
  const bench = new Bench();
  bench.producer.isFull = true;
  let kept = 0;
  for (let counter = 1; counter <= 1_000; counter++) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      if (bench.add(Topic.CONVERSATION, partition, counter, 10_000)) kept += 10_000;
    }
  }
  assert.ok(kept > 0 && kept <= PARTITIONS * (BATCH_TARGET_BYTES + FRAME_BYTES_MAX), `${kept} bytes`);
  assert.ok(!bench.batching.flush());
  assert.ok(!bench.batching.isFlushed);
  bench.producer.isFull = false;
  assert.ok(bench.batching.flush());
  assert.ok(bench.add(Topic.CONVERSATION, 0, 1_001, 10_000));
});

test('one full partition does not keep the others from being handed over', () => {
  const bench = new Bench();
  bench.add(Topic.CONVERSATION, 0, 1);
  bench.add(Topic.CONVERSATION, 1, 2);
  bench.producer.append = (topic, partition, batch, tag) =>
    partition !== 0 && FakeProducer.prototype.append.call(bench.producer, topic, partition, batch, tag);
  assert.ok(!bench.batching.flush());
  assert.deepEqual(bench.counters(Topic.CONVERSATION, 1), [2]);
});

test('each frame of a batch that was not taken is told of, with the reason', () => {
  const reasons = [
    [AppendOutcome.REFUSED, Refusal.DISK_FULL, Refusal.DISK_FULL],
    [AppendOutcome.REFUSED, Refusal.TOO_LARGE, Refusal.TOO_LARGE],
    [AppendOutcome.UNKNOWN, Refusal.NONE, Refusal.FAILED],
  ] as const;
  for (const [outcome, refusal, told] of reasons) {
    const bench = new Bench();
    for (let counter = 1; counter <= 3; counter++) bench.add(Topic.CONVERSATION, 3, counter, counter * 10);
    bench.batching.flush();
    bench.producer.answer(outcome, refusal);
    bench.batching.settle();
    const place = { topic: Topic.CONVERSATION, partition: 3, refusal: told };
    assert.deepEqual(
      bench.lost,
      [1, 2, 3].map((counter) => ({ counter, ...place })),
    );
    const isRefused = outcome === AppendOutcome.REFUSED;
    assert.equal(bench.metrics.get('append_refused_total'), isRefused ? 1 : 0);
    assert.equal(bench.metrics.get('append_unknown_total'), isRefused ? 0 : 1);
    assert.ok(bench.batching.isSettled);
  }
});

test('late outcomes find their batch: each topic’s come in order, the topics’ in any', () => {
  const bench = new Bench();
  for (let counter = 1; counter <= 6; counter++) {
    bench.add(counter % 2, 0, counter);
    bench.batching.flush();
  }
  const tagOf = (counter: number): number => bench.producer.appended[counter - 1]!.tag;
  for (const counter of [2, 4, 1, 6]) bench.producer.answerTag(tagOf(counter), AppendOutcome.DURABLE);
  bench.producer.answerTag(tagOf(3), AppendOutcome.REFUSED, Refusal.DISK_FULL);
  bench.batching.settle();
  bench.producer.answerTag(tagOf(5), AppendOutcome.UNKNOWN);
  bench.batching.settle();
  assert.deepEqual(
    bench.lost.map(({ counter, topic }) => [counter, topic]),
    [
      [3, Topic.USER],
      [5, Topic.USER],
    ],
  );
  assert.ok(bench.batching.isSettled);
});

test('outcomes of an earlier incarnation of this gateway are nobody’s', () => {
  const before = new Bench(7);
  before.add(Topic.USER, 0, 1);
  before.batching.flush();
  const after = new Bench(8);
  after.add(Topic.USER, 0, 2);
  after.batching.flush();
  after.producer.answerTag(before.producer.appended[0]!.tag, AppendOutcome.REFUSED, Refusal.DISK_FULL);
  after.batching.settle();
  assert.deepEqual(after.lost, []);
  assert.ok(!after.batching.isSettled, 'its own batch is still under way');
});

test('a frame that is handed on while its batch is being told of arrives once', () => {
  const bench = new Bench();
  const batching: Batching = new Batching({
    gatewayNumber: 3,
    incarnation: 7,
    partitions: [PARTITIONS, PARTITIONS],
    producer: bench.producer,
    metrics: bench.metrics,
    lost: ({ bytes, view, at, topic, partition }) => {
      const { counter } = readFrame(bytes, view, at);
      // Large enough that the open batch must be handed over while the outcomes are being read.
      const large = encodeFrame(makeFrame({ kind: Kind.READ, counter, payload: new Uint8Array(PAYLOAD_BYTES_MAX) }));
      batching.builder(topic, partition, large.length)!.frame(large, 0, large.length);
    },
  });
  for (let counter = 1; counter <= 9; counter++) {
    const bytes = encodeFrame(makeFrame({ kind: Kind.READ, counter }));
    batching.builder(Topic.CONVERSATION, 0, bytes.length)!.frame(bytes, 0, bytes.length);
  }
  batching.flush();
  bench.producer.answer(AppendOutcome.REFUSED, Refusal.DISK_FULL);
  bench.producer.appended.length = 0;
  batching.settle();
  batching.flush();
  assert.deepEqual(bench.counters(Topic.CONVERSATION, 0), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
});
