import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkBatch, openBatch, SourceKind, sourceId } from '../core/batch.js';
import { encodeFrame, Kind, makeFrame, readFrame } from '../core/frame.js';
import { BATCH_BYTES_MAX, BATCH_TARGET_BYTES } from '../core/limits.js';
import { AppendOutcome, Refusal, Topic } from '../core/ports.js';
import { Batching } from './batching.js';
import { FakeProducer, framesOf } from './gateway.fixture.js';
import { GatewayMetrics } from './gateway-metrics.js';

interface Lost {
  readonly counter: number;
  readonly topic: number;
  readonly partition: number;
  readonly refusal: number;
}

function setUp(): { producer: FakeProducer; batching: Batching; lost: Lost[]; metrics: GatewayMetrics } {
  const producer = new FakeProducer();
  const metrics = new GatewayMetrics();
  const lost: Lost[] = [];
  const batching = new Batching({
    gatewayNumber: 3,
    incarnation: 7,
    partitions: [2, 3],
    producer,
    metrics,
    lost: ({ bytes, view, at, topic, partition, refusal }) => {
      lost.push({ counter: readFrame(bytes, view, at).counter, topic, partition, refusal });
    },
  });
  return { producer, batching, lost, metrics };
}

function add(batching: Batching, topic: number, partition: number, counter: number, payloadBytes = 10): boolean {
  const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, counter, payload: new Uint8Array(payloadBytes) }));
  const builder = batching.builder(topic, partition, frame.length);
  builder?.frame(frame, 0, frame.length);
  return builder !== undefined;
}

const counters = (batch: Uint8Array): number[] => framesOf(batch).map(({ counter }) => counter);

test('a flush hands over one batch a partition that has frames, with the gateway as its source', () => {
  const { producer, batching } = setUp();
  assert.equal(batching.isFlushed, true);
  for (let counter = 1; counter <= 6; counter++) add(batching, Topic.CONVERSATION, counter % 2, counter);
  add(batching, Topic.USER, 2, 7);
  assert.equal(batching.isFlushed, false);
  assert.equal(batching.flush(), true);
  assert.equal(batching.flush(), true, 'nothing is left');
  assert.deepEqual(
    producer.appended.map(({ topic, partition, bytes }) => [topic, partition, counters(bytes)]),
    [
      [Topic.CONVERSATION, 1, [1, 3, 5]],
      [Topic.CONVERSATION, 0, [2, 4, 6]],
      [Topic.USER, 2, [7]],
    ],
  );
  const numbers = producer.appended.map(({ bytes }) => {
    assert.equal(checkBatch(bytes), undefined);
    const { sourceId: source, sourceEpoch, sourceSeq } = openBatch(bytes).header;
    assert.equal(source, sourceId(SourceKind.GATEWAY, 3));
    assert.equal(sourceEpoch, 7);
    return sourceSeq;
  });
  assert.equal(new Set(numbers).size, numbers.length, 'no two batches have one number');
  assert.equal(batching.isSettled, false);
  producer.settle();
  assert.equal(batching.settle(), 3);
  assert.equal(batching.isSettled, true);
});

test('a batch is handed over before it passes its target size', () => {
  const { producer, batching } = setUp();
  for (let counter = 1; counter <= 100; counter++) assert.ok(add(batching, Topic.CONVERSATION, 0, counter, 10_000));
  batching.flush();
  assert.ok(producer.appended.length > 3);
  for (const { bytes } of producer.appended) assert.ok(bytes.length <= BATCH_TARGET_BYTES);
  assert.deepEqual(producer.appended.flatMap(({ bytes }) => counters(bytes)), Array.from({ length: 100 }, (_, n) => n + 1));
});

test('while the log takes nothing, sends are refused at the target size and what must not be lost goes on', () => {
  const { producer, batching } = setUp();
  producer.isFull = true;
  let taken = 0;
  while (add(batching, Topic.CONVERSATION, 0, taken + 1, 10_000)) taken++;
  assert.ok(taken * 10_000 < BATCH_TARGET_BYTES && (taken + 2) * 10_100 > BATCH_TARGET_BYTES, `${taken} were taken`);
  assert.equal(batching.flush(), false);
  assert.ok(add(batching, Topic.CONVERSATION, 1, 1), 'another partition is not disturbed');
  let urgent = 0;
  while (batching.urgent(Topic.CONVERSATION, 0, 70)?.open(70) !== undefined) urgent++;
  assert.ok(urgent > 50_000, `${urgent} urgent frames`);
  producer.isFull = false;
  assert.equal(batching.flush(), true);
  assert.equal(producer.appended.length, 2);
  for (const { bytes } of producer.appended) assert.ok(bytes.length <= BATCH_BYTES_MAX);
});

test('frames of a refused or unknown batch are told, of a durable one not', () => {
  const { producer, batching, lost, metrics } = setUp();
  for (const [counter, partition] of [[1, 0], [2, 1], [3, 0], [4, 1]] as const) {
    add(batching, Topic.CONVERSATION, partition, counter);
    batching.flush();
  }
  add(batching, Topic.USER, 1, 5);
  batching.flush();
  producer.settle(AppendOutcome.REFUSED, Refusal.DISK_FULL, 1);
  producer.settle(AppendOutcome.DURABLE, Refusal.NONE, 2);
  producer.settle(AppendOutcome.UNKNOWN, Refusal.NONE, 1);
  producer.settle(AppendOutcome.REFUSED, Refusal.FAILED, 1);
  batching.settle();
  assert.deepEqual(lost, [
    { counter: 1, topic: Topic.CONVERSATION, partition: 0, refusal: Refusal.DISK_FULL },
    { counter: 4, topic: Topic.CONVERSATION, partition: 1, refusal: Refusal.FAILED },
    { counter: 5, topic: Topic.USER, partition: 1, refusal: Refusal.FAILED },
  ]);
  assert.equal(metrics.get('append_refused_total'), 2);
  assert.equal(metrics.get('append_unknown_total'), 1);
  assert.equal(batching.isSettled, true);
});

test('outcomes of the gateway before are ignored', () => {
  const { producer, batching, lost } = setUp();
  producer.append(Topic.CONVERSATION, 0, new Uint8Array(64), 12_345);
  add(batching, Topic.CONVERSATION, 0, 1);
  batching.flush();
  producer.settle(AppendOutcome.REFUSED, Refusal.FAILED);
  batching.settle();
  assert.deepEqual(lost.map(({ counter }) => counter), [1]);
});

test('whatever the log does, every frame is durable once or told once, in order within its partition', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ add: fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 1 }), fc.nat({ max: 60_000 })) }) },
    { weight: 2, arbitrary: fc.constant('flush' as const) },
    { weight: 1, arbitrary: fc.constantFrom('full' as const, 'free' as const) },
    { weight: 2, arbitrary: fc.constantFrom('durable' as const, 'refused' as const, 'unknown' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const { producer, batching, lost } = setUp();
      const durable: number[] = [];
      const taken: number[] = [];
      let told = 0;
      let next = 0;
      const settle = (outcome: number): void => {
        const batch = producer.appended[told];
        if (batch === undefined) return;
        told++;
        if (outcome === AppendOutcome.DURABLE) durable.push(...counters(batch.bytes));
        producer.settle(outcome, Refusal.FAILED, 1);
        batching.settle();
      };
      for (const what of steps) {
        if (typeof what === 'object') {
          const [topic, partition, bytes] = what.add;
          next++;
          if (add(batching, topic, partition, next, bytes)) taken.push(next);
        } else if (what === 'flush') batching.flush();
        else if (what === 'full') producer.isFull = true;
        else if (what === 'free') producer.isFull = false;
        else settle({ durable: AppendOutcome.DURABLE, refused: AppendOutcome.REFUSED, unknown: AppendOutcome.UNKNOWN }[what]);
      }
      producer.isFull = false;
      batching.flush();
      while (told < producer.appended.length) settle(AppendOutcome.DURABLE);
      assert.equal(batching.isSettled, true);
      const all = [...durable, ...lost.map(({ counter }) => counter)].toSorted((one, other) => one - other);
      assert.deepEqual(all, taken);
      for (const topic of [0, 1]) {
        for (const partition of [0, 1]) {
          const order = producer.appended
            .filter((batch) => batch.topic === topic && batch.partition === partition)
            .flatMap(({ bytes }) => counters(bytes));
          assert.deepEqual(order, order.toSorted((one, other) => one - other));
        }
      }
    }),
  );
});
