import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchAt, BatchBuilder, BatchFlag, BatchKind } from '../../core/batch.js';
import { encodeFrame, Kind, makeFrame, readFrames } from '../../core/frame.js';
import { AppendOutcome, type LogConsumer, Topic } from '../../core/ports.js';
import { createDoorbell, Doorbell } from '../doorbell.js';
import { openRingLog } from './consumer.js';
import { createRingLog, type RingLog } from './handles.js';
import { openRingProducer } from './producer.js';

const PARTITIONS = 3;
const LANES = 2;
const RING_BYTES = 8_192;
/** With it a batch is 1 KiB long, and a ring of 8 KiB holds seven. */
const PAYLOAD = new Uint8Array(1_024 - 70 - BatchAt.ENTRIES);

interface Bells {
  readonly lanes: readonly SharedArrayBuffer[];
  readonly gateway: SharedArrayBuffer;
  readonly lane: SharedArrayBuffer;
}

/** Producer 0 is bounded, as a gateway's; producer 1 is not, as a lane's. */
function create(): { log: RingLog; bells: Bells } {
  const bells = {
    lanes: Array.from({ length: LANES }, () => createDoorbell()),
    gateway: createDoorbell(),
    lane: createDoorbell(),
  };
  const topic = { partitions: PARTITIONS, lanes: bells.lanes };
  const log = createRingLog({
    topics: [topic, topic],
    producers: [
      { isBounded: true, doorbell: bells.gateway },
      { isBounded: false, doorbell: bells.lane },
    ],
    ringBytes: RING_BYTES,
  });
  return { log, bells };
}

function batch(extra: number): Uint8Array {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FRAMES, 1, extra, 1);
  const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, extra, payload: PAYLOAD }));
  builder.frame(frame, 0, frame.length);
  builder.bytes[BatchAt.FLAGS] = BatchFlag.SENDS;
  return builder.finish();
}

function consumerOf(log: RingLog, topic: number, partitions: readonly number[]): LogConsumer {
  const positions = partitions.map((partition) => ({ partition, offset: 0 }));
  return openRingLog(log.handle).consumer(topic, positions);
}

/** Partition, offset and content of all that can be polled. */
function pollAll(consumer: LogConsumer): [number, number, number][] {
  const all: [number, number, number][] = [];
  for (let got = consumer.poll(); got !== undefined; got = consumer.poll()) {
    const { partition, offset } = got.header;
    all.push([partition, offset, readFrames(got.bytes.subarray(BatchAt.ENTRIES))[0]!.extra]);
  }
  return all;
}

test('a batch goes to the lane of its partition, is stamped there, and is read where it lies', () => {
  const { log } = create();
  const producer = openRingProducer(log.producers[0]!);
  for (const [partition, extra] of [
    [0, 10],
    [1, 11],
    [2, 12],
    [0, 13],
  ] as const) {
    assert.ok(producer.append(Topic.USER, partition, batch(extra), extra));
  }
  const even = consumerOf(log, Topic.USER, [0, 2]);
  const beganMs = Date.now();
  const first = even.poll()!;
  const { header, view, bytes } = first;
  assert.deepEqual([header.topic, header.partition, header.offset, header.count], [Topic.USER, 0, 0, 1]);
  assert.ok(Math.abs(header.time - beganMs) < 5_000);
  assert.equal(view.getUint16(BatchAt.TOPIC, true), Topic.USER);
  assert.equal(bytes[BatchAt.FLAGS], 0);
  assert.ok(bytes.buffer === log.producers[0]!.channels[Topic.USER]![0]!.ring);
  assert.deepEqual(pollAll(even), [
    [2, 0, 12],
    [0, 1, 13],
  ]);
  assert.deepEqual([even.durableEnd(0), even.readableEnd(2), even.lagBytes()], [2, 1, 0]);
  assert.deepEqual(pollAll(consumerOf(log, Topic.USER, [1])), [[1, 0, 11]]);
  assert.deepEqual(pollAll(consumerOf(log, Topic.CONVERSATION, [0, 2])), []);
  const told: number[][] = [];
  assert.equal(
    producer.outcomes((tag, outcome) => told.push([tag, outcome])),
    4,
  );
  assert.deepEqual(
    told,
    [10, 11, 12, 13].map((tag) => [tag, AppendOutcome.DURABLE]),
  );
  assert.equal(
    producer.outcomes(() => {}),
    0,
  );
});

test('producers are read in turn, each in its own order', () => {
  const { log } = create();
  const [one, other] = log.producers.map((handle) => openRingProducer(handle));
  for (const extra of [1, 2, 3]) assert.ok(one!.append(Topic.USER, 0, batch(extra), 0));
  for (const extra of [11, 12]) assert.ok(other!.append(Topic.USER, 0, batch(extra), 0));
  const extras = pollAll(consumerOf(log, Topic.USER, [0, 2])).map(([, , extra]) => extra);
  assert.deepEqual(extras, [1, 11, 2, 12, 3]);
});

test('a bounded producer is refused when there is no room, and rung when there is', () => {
  const { log, bells } = create();
  const producer = openRingProducer(log.producers[0]!);
  let taken = 0;
  while (producer.append(Topic.CONVERSATION, 0, batch(taken), taken)) taken++;
  assert.ok(taken >= 6 && taken <= 8, String(taken));
  const bell = new Doorbell(bells.gateway);
  const before = bell.read();
  const consumer = consumerOf(log, Topic.CONVERSATION, [0, 2]);
  assert.ok(consumer.lagBytes() > taken * 1_024);
  consumer.poll();
  assert.equal(bell.read(), before);
  consumer.poll();
  assert.equal(bell.read(), before + 1);
  assert.ok(producer.append(Topic.CONVERSATION, 0, batch(taken), taken));
  assert.equal(pollAll(consumer).at(-1)![2], taken);
});

test('a lane is never refused: what finds no room waits with it, in order, and counts as backlog', () => {
  const { log, bells } = create();
  const producer = openRingProducer(log.producers[1]!);
  const bell = new Doorbell(bells.lane);
  for (let extra = 0; extra < 20; extra++) assert.ok(producer.append(Topic.USER, 0, batch(extra), extra));
  const consumer = consumerOf(log, Topic.USER, [0, 2]);
  assert.ok(consumer.lagBytes() >= 20 * 1_024);
  const got: number[] = [];
  for (let rounds = 0; got.length < 20 && rounds < 20; rounds++) {
    const before = bell.read();
    got.push(...pollAll(consumer).map(([, , extra]) => extra));
    assert.equal(bell.read() > before, got.length < 20);
    producer.outcomes(() => {});
  }
  assert.deepEqual(
    got,
    Array.from({ length: 20 }, (_, extra) => extra),
  );
  assert.equal(consumer.lagBytes(), 0);
});

test('there is nothing to come back to', () => {
  const { log } = create();
  assert.throws(() => openRingLog(log.handle).consumer(Topic.USER, [{ partition: 1, offset: 3 }]), /partition 1/);
});
