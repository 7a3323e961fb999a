import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { checkBatch } from '../core/batch.js';
import { encodeDeviceTable } from '../core/device-table.js';
import { ALL_WIDTHS, encodeLoosely, TELLING_BYTES } from '../core/frame.fixture.js';
import { encodeFrame, Flag, type Frame, Kind, makeFrame } from '../core/frame.js';
import { BATCH_TARGET_BYTES, FRAMES_PER_MESSAGE_MAX, GROUP_ID_MAX, USER_ID_MAX } from '../core/limits.js';
import { Prng } from '../core/prng.js';
import { Batching } from './batching.js';
import { connect, FakeProducer } from './fakes.fixture.js';
import { GATEWAY_FIELDS, GatewayMetrics } from './gateway-metrics.js';
import { Inbound } from './inbound.js';
import { IngestKernel } from './ingest-kernel.js';
import { ReadTally } from './read-tally.js';
import { SessionState } from './session.js';

const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now());
const MESSAGES = Number(process.env['DUNLIN_FUZZ'] ?? 20_000);
const PARTITIONS = 5;
const USER = 1_001;
const WALL_MS = 1_700_000_000_000;

/** An inbound with or without the kernel, and everything that can be seen of it. */
class Side {
  readonly producer = new FakeProducer();
  readonly metrics = new GatewayMetrics();
  readonly reads = new ReadTally();
  readonly batching: Batching;
  readonly inbound: Inbound;
  readonly session;
  readonly socket;
  isBusy = false;

  constructor(usesKernel: boolean, framesPerSecond: number) {
    const kernel = usesKernel ? IngestKernel.create(PARTITIONS) : undefined;
    assert.equal(kernel !== undefined, usesKernel);
    const { session, socket } = connect(USER, 3, SessionState.LIVE);
    this.session = session;
    this.socket = socket;
    this.batching = new Batching({
      gatewayNumber: 1,
      incarnation: 2,
      partitions: [PARTITIONS, PARTITIONS],
      producer: this.producer,
      metrics: this.metrics,
      lost: () => {},
      kernel,
    });
    this.inbound = new Inbound({
      batching: this.batching,
      metrics: this.metrics,
      conversationPartitions: PARTITIONS,
      userPartitions: PARTITIONS,
      framesPerSecond,
      isBusy: () => this.isBusy,
      reads: this.reads,
      hello: () => {},
      kernel,
    });
  }

  seen(): unknown {
    const { session, metrics } = this;
    return {
      appended: this.producer.appended.map(({ topic, partition, tag, bytes }) => [
        topic,
        partition,
        tag,
        Buffer.from(bytes).toString('base64'),
      ]),
      writes: this.socket.writes.map((bytes) => Buffer.from(bytes).toString('base64')),
      reads: [session.readsIn, session.isReadLost, session.badFrames, session.isClean],
      buckets: [session.frames.left, session.bytes.left],
      metrics: GATEWAY_FIELDS.map(([name]) => metrics.get(name)),
    };
  }
}

/** Messages of ordinary frames for the most part, with others and broken ones among them. */
class Sender {
  readonly #random: Prng;

  constructor(random: Prng) {
    this.#random = random;
  }

  message(): Uint8Array {
    const random = this.#random;
    const count = random.chance(1, 200) ? FRAMES_PER_MESSAGE_MAX + 1 : random.between(1, 20);
    return Buffer.concat(Array.from({ length: count }, () => this.#bytes(count)));
  }

  #bytes(count: number): Uint8Array {
    const random = this.#random;
    const frame = this.#frame(count);
    if (random.chance(1, 60)) {
      const widths = ALL_WIDTHS[random.below(ALL_WIDTHS.length)]!;
      return encodeLoosely(
        frame,
        Array.from({ length: 11 }, () => widths),
        'bin32',
        'a16',
      );
    }
    const bytes = encodeFrame(frame);
    if (!random.chance(1, 60)) return bytes;
    if (random.chance(1, 4)) return bytes.subarray(0, random.below(bytes.length));
    bytes[random.below(70)] = random.chance(1, 2)
      ? TELLING_BYTES[random.below(TELLING_BYTES.length)]!
      : random.below(256);
    return bytes;
  }

  #frame(count: number): Frame {
    const random = this.#random;
    const kinds = [Kind.MESSAGE, Kind.MESSAGE, Kind.MESSAGE, Kind.READ, Kind.ACK, Kind.TYPING, Kind.PING, Kind.WATCH];
    const kind = random.chance(1, 40) ? random.below(72) : kinds[random.below(kinds.length)]!;
    const isTable = kind === Kind.MESSAGE && random.chance(1, 40);
    const long = random.chance(1, 50) && count < 100 ? random.below(40_000) : random.below(300);
    return makeFrame({
      kind,
      flags: isTable ? Flag.DEVICE_TABLE : random.chance(1, 20) ? random.below(256) : 0,
      ...this.#conversation(),
      device: random.below(2 ** 32),
      counter: random.below(2 ** 32),
      seq: random.below(2 ** 32),
      inbox: random.below(2 ** 32),
      time: random.below(2 ** 32),
      extra: random.below(2 ** 32),
      payload: isTable
        ? encodeDeviceTable([{ device: USER * 128 + 1, bytes: new Uint8Array(20) }])
        : new Uint8Array(long).fill(random.below(256)),
    });
  }

  /** Direct ones and groups, at the ends of what is valid and beyond. */
  #conversation(): { convA: number; convB: number } {
    const random = this.#random;
    const ids = [0, 1, 2, USER_ID_MAX - 1, USER_ID_MAX, USER_ID_MAX + 1, GROUP_ID_MAX, GROUP_ID_MAX + 1];
    const edge = (): number => (random.chance(1, 5) ? ids[random.below(ids.length)]! : random.between(1, 5_000));
    return { convA: random.chance(1, 4) ? 0 : edge(), convB: edge() };
  }
}

test('with the kernel and without it, the same comes of the same messages', (t: TestContext) => {
  t.diagnostic(`DUNLIN_SEED=${SEED} DUNLIN_FUZZ=${MESSAGES}`);
  const random = new Prng(SEED).fork('ingest-kernel');
  const sender = new Sender(random.fork('sender'));
  const sides = [new Side(true, 4_000), new Side(false, 4_000)] as const;
  let nowMs = 0;
  let full = 0;
  for (let n = 0; n < MESSAGES; n++) {
    const label = `DUNLIN_SEED=${SEED}, message ${n}`;
    const message = sender.message();
    nowMs += random.below(5);
    const isBusy = random.chance(1, 50);
    const isFull = random.chance(1, 20);
    const verdicts = sides.map((side) => {
      side.isBusy = isBusy;
      side.producer.isFull = isFull;
      return side.inbound.receive(side.session, message, nowMs, WALL_MS);
    });
    assert.equal(verdicts[0], verdicts[1], label);
    full += sides[0].producer.appended.length;
    if (random.chance(1, 30)) for (const side of sides) side.batching.flush();
    if (!random.chance(1, 10)) continue;
    assert.deepEqual(sides[0].seen(), sides[1].seen(), label);
    for (const side of sides) {
      for (const { bytes } of side.producer.appended) assert.equal(checkBatch(bytes), undefined, label);
      side.producer.answer();
      side.batching.settle();
      side.producer.forget();
      side.socket.writes.length = 0;
      side.session.badFrames = 0;
      side.session.isClean = false;
      side.session.isReadLost = false;
    }
  }
  assert.ok(full > 0);
});

test('batches that are full, and more of them than there are slots, come out the same', () => {
  const sides = [new Side(true, 10_000_000), new Side(false, 10_000_000)] as const;
  const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, convA: 1, convB: 2, payload: new Uint8Array(60_000) }));
  const perBatch = Math.floor(BATCH_TARGET_BYTES / frame.length);
  for (const side of sides) {
    for (let n = 0; n < perBatch * 80; n++) side.inbound.receive(side.session, frame, n * 1_000, WALL_MS);
    side.batching.flush();
  }
  assert.equal(sides[0].producer.appended.length, 80);
  assert.deepEqual(sides[0].seen(), sides[1].seen());
});
