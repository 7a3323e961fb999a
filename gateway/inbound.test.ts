import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { BatchAt, BatchFlag, checkBatch } from '../core/batch.js';
import { encodeDeviceTable } from '../core/device-table.js';
import { CloseCodes, ErrorCodes } from '../core/errors.js';
import {
  ALL_WIDTHS,
  type ArrayWidth,
  type BinWidth,
  encodeAll,
  encodeLoosely,
  TELLING_BYTES,
  type Width,
} from '../core/frame.fixture.js';
import {
  At,
  encodeFrame,
  Flag,
  type Frame,
  isClientKind,
  isSequenced,
  Kind,
  makeFrame,
  readFrames,
  viewOf,
} from '../core/frame.js';
import { deviceKey, partitionOfConversation, partitionOfUser } from '../core/ids.js';
import {
  BAD_FRAMES_PER_CONNECTION_MAX,
  CONNECTION_BYTES_BURST,
  CONNECTION_FRAMES_PER_SECOND,
  FRAMES_PER_MESSAGE_MAX,
  PAYLOAD_BYTES_MAX,
  TABLE_PAYLOAD_BYTES_MAX,
} from '../core/limits.js';
import { Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import { Batching } from './batching.js';
import { connect, FakeProducer, type FakeSocket } from './fakes.fixture.js';
import { GatewayMetrics } from './gateway-metrics.js';
import type { Session } from './hub.js';
import { Inbound, PROTOCOL_VERSION, type Verdict } from './inbound.js';
import { ReadTally } from './read-tally.js';
import { SessionState } from './session.js';

const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now());
const INPUTS = Number(process.env['DUNLIN_FUZZ'] ?? 300_000);
const WALL_MS = 1_700_000_000_000;
const USER = 1001;
const PARTITIONS = 16;

/** An inbound with everything around it, and one session. */
class Bench {
  readonly producer = new FakeProducer();
  readonly metrics = new GatewayMetrics();
  readonly session: Session;
  readonly socket: FakeSocket;
  readonly hellos: number[] = [];
  isBusy = false;
  nowMs = 0;
  readonly batching: Batching;
  readonly inbound: Inbound;

  constructor(state: SessionState = SessionState.LIVE, framesPerSecond = CONNECTION_FRAMES_PER_SECOND) {
    const { session, socket } = connect(USER, 1, state);
    this.session = session;
    this.socket = socket;
    this.batching = new Batching({
      gatewayNumber: 3,
      incarnation: 7,
      partitions: [PARTITIONS, PARTITIONS],
      producer: this.producer,
      metrics: this.metrics,
      lost: () => assert.fail('nothing is lost here'),
    });
    this.inbound = new Inbound({
      batching: this.batching,
      metrics: this.metrics,
      conversationPartitions: PARTITIONS,
      userPartitions: PARTITIONS,
      framesPerSecond,
      isBusy: () => this.isBusy,
      reads: new ReadTally(),
      hello: (greeting, cursor) => {
        this.hellos.push(cursor);
        greeting.state = SessionState.RESUMING;
      },
    });
  }

  receive(bytes: Uint8Array): Verdict {
    return this.inbound.receive(this.session, bytes, this.nowMs, WALL_MS);
  }

  /** Receives frames and returns what the log got, and where. */
  taken(...frames: readonly Frame[]): { topic: number; partition: number; frame: Frame }[] {
    assert.equal(this.receive(encodeAll(frames)), undefined);
    return this.handedOver();
  }

  handedOver(): { topic: number; partition: number; frame: Frame }[] {
    this.producer.appended.length = 0;
    this.batching.flush();
    return this.producer.appended.flatMap(({ topic, partition, bytes }) =>
      readFrames(bytes.subarray(BatchAt.ENTRIES)).map((frame) => ({ topic, partition, frame })),
    );
  }

  /** Codes of the rejections since the last call. */
  rejections(): number[] {
    return this.socket.taken().map(({ kind, extra }) => {
      assert.equal(kind, Kind.REJECT);
      return extra;
    });
  }
}

const message = makeFrame({
  kind: Kind.MESSAGE,
  convA: USER,
  convB: 2002,
  counter: 1,
  payload: Uint8Array.of(1, 2, 3),
});

test('what a client may not claim is written over, and the rest stays as it was', () => {
  const claimed = { device: 77, seq: 78, inbox: 79, time: 80 };
  const bench = new Bench();
  const [sent] = bench.taken({ ...message, ...claimed, extra: 60 });
  assert.deepEqual(sent!.frame, { ...message, device: deviceKey(USER, 1), extra: 60 });
  const [read] = bench.taken(makeFrame({ kind: Kind.READ, convA: USER, convB: 2002, ...claimed }));
  assert.equal(read!.frame.seq, 78, 'a READ says up to where');
  assert.equal(read!.frame.inbox, 0);
  const [ack] = bench.taken(makeFrame({ kind: Kind.ACK, ...claimed }));
  assert.equal(ack!.frame.inbox, 79, 'an ACK says up to where');
  assert.equal(ack!.frame.seq, 0);
  for (const { frame } of [read!, ack!]) assert.deepEqual([frame.device, frame.time], [deviceKey(USER, 1), 0]);
});

test('every kind that a client may send goes where the stages look for it', () => {
  const ended = new Set<number>([Kind.HELLO, Kind.PING, Kind.BYE]);
  const random = new Prng(SEED);
  let kinds = 0;
  for (let kind = 0; kind < 256; kind++) {
    if (!isClientKind(kind) || ended.has(kind)) continue;
    kinds++;
    const bench = new Bench();
    for (let n = 0; n < 40; n++) {
      const convA = n % 2 === 0 ? 0 : 1 + random.below(1_000);
      const convB = 1_001 + random.u32();
      const [taken] = bench.taken(makeFrame({ kind, convA, convB }));
      const isOfConversation = kind <= Kind.INFO;
      // What a user changes for good must be on the disk before it takes effect.
      const isForGood = kind === Kind.BLOCK || kind === Kind.DEVICE_REMOVE;
      const owner = kind === Kind.WATCH ? convB : USER;
      const partition = isOfConversation
        ? partitionOfConversation(convA, convB, PARTITIONS)
        : partitionOfUser(owner, PARTITIONS);
      assert.equal(taken!.topic, isOfConversation || isForGood ? Topic.CONVERSATION : Topic.USER, `kind ${kind}`);
      assert.equal(taken!.partition, partition, `kind ${kind}, seed ${SEED}`);
    }
  }
  assert.equal(kinds, 14);
});

test('batches with sends are marked, since a nearly full disk refuses those only', () => {
  const flagsAfter = (frame: Frame): number => {
    const bench = new Bench();
    bench.taken(frame);
    return bench.producer.appended[0]!.bytes[BatchAt.FLAGS]!;
  };
  assert.equal(flagsAfter(message), BatchFlag.SENDS);
  assert.equal(flagsAfter({ ...message, kind: Kind.GROUP_CREATE }), BatchFlag.SENDS);
  assert.equal(flagsAfter({ ...message, kind: Kind.READ }), 0);
  assert.equal(flagsAfter(makeFrame({ kind: Kind.ACK })), 0);
});

test('before HELLO nothing is taken; HELLO opens the way for the frames behind it', () => {
  const bench = new Bench(SessionState.HELLO);
  const hello = makeFrame({ kind: Kind.HELLO, inbox: 4_711, extra: PROTOCOL_VERSION });
  assert.equal(bench.receive(encodeAll([message, hello, { ...message, counter: 2 }])), undefined);
  assert.deepEqual(bench.rejections(), [ErrorCodes.NOT_READY.code]);
  assert.deepEqual(bench.hellos, [4_711]);
  assert.deepEqual(
    bench.handedOver().map(({ frame }) => frame.counter),
    [2],
  );
});

test('a second HELLO is refused, a HELLO of another version ends the connection', () => {
  const bench = new Bench(SessionState.HELLO);
  const hello = makeFrame({ kind: Kind.HELLO, extra: PROTOCOL_VERSION });
  bench.receive(encodeAll([hello, hello]));
  assert.deepEqual(bench.rejections(), [ErrorCodes.BAD_VALUE.code]);
  assert.equal(bench.hellos.length, 1);
  const other = new Bench(SessionState.HELLO);
  assert.equal(other.receive(encodeAll([{ ...hello, extra: 2 }, hello])), CloseCodes.VERSION);
  assert.deepEqual(other.hellos, []);
});

test('kinds that no client may send are refused, the frames beside them taken', () => {
  for (let kind = 0; kind < 256; kind++) {
    if (isClientKind(kind)) continue;
    const bench = new Bench();
    const taken = bench.taken(message, makeFrame({ kind, convA: USER, convB: 2002 }), { ...message, counter: 2 });
    assert.deepEqual(
      taken.map(({ frame }) => frame.counter),
      [1, 2],
      `kind ${kind}`,
    );
    assert.deepEqual(bench.rejections(), [ErrorCodes.UNKNOWN_KIND.code]);
  }
});

test('a rejection names the conversation and the counter that it is about', () => {
  const bench = new Bench();
  bench.receive(encodeFrame({ ...message, convA: 2002, convB: USER, counter: 9 }));
  const [rejected] = bench.socket.taken();
  const { code, sentence } = ErrorCodes.BAD_CONVERSATION;
  const payload = new TextEncoder().encode(sentence);
  const place = { convA: 2002, convB: USER, device: deviceKey(USER, 1), counter: 9 };
  assert.deepEqual(rejected, makeFrame({ kind: Kind.REJECT, ...place, time: WALL_MS, extra: code, payload }));
});

test('only two different users in order, or a group, are a conversation', () => {
  const pairs = [
    [2002, USER],
    [USER, USER],
    [0, 0],
    [USER, 2 ** 45],
    [0, 2 ** 52],
  ] as const;
  const bench = new Bench();
  for (const [convA, convB] of pairs) assert.deepEqual(bench.taken({ ...message, convA, convB }), []);
  assert.deepEqual(
    bench.rejections(),
    pairs.map(() => ErrorCodes.BAD_CONVERSATION.code),
  );
  for (const kind of [Kind.WATCH, Kind.BLOCK]) {
    assert.deepEqual(bench.taken(makeFrame({ kind, convB: 0 }), makeFrame({ kind, convB: 2 ** 45 })), []);
    assert.deepEqual(bench.rejections(), [ErrorCodes.BAD_VALUE.code, ErrorCodes.BAD_VALUE.code]);
  }
});

test('a payload over its limit is refused; the frame behind it is found', () => {
  const bench = new Bench();
  const large = { ...message, payload: new Uint8Array(PAYLOAD_BYTES_MAX + 1) };
  const largeTable = { ...message, flags: Flag.DEVICE_TABLE, payload: new Uint8Array(TABLE_PAYLOAD_BYTES_MAX + 1) };
  const largest = { ...message, payload: new Uint8Array(PAYLOAD_BYTES_MAX), counter: 2 };
  const taken = bench.taken(large, largeTable, largest);
  assert.deepEqual(
    taken.map(({ frame }) => [frame.counter, frame.payload.length]),
    [[2, PAYLOAD_BYTES_MAX]],
  );
  assert.deepEqual(bench.rejections(), [ErrorCodes.TOO_LARGE.code, ErrorCodes.TOO_LARGE.code]);
});

test('while the backbone is too far behind sends are refused, and nothing else is', () => {
  const bench = new Bench();
  bench.isBusy = true;
  const read = { ...message, kind: Kind.READ };
  const taken = bench.taken(message, read, makeFrame({ kind: Kind.ACK, inbox: 5 }), {
    ...message,
    kind: Kind.GROUP_LEAVE,
  });
  assert.deepEqual(taken.map(({ frame }) => frame.kind).toSorted(), [Kind.READ, Kind.ACK]);
  assert.deepEqual(bench.rejections(), [ErrorCodes.BUSY.code, ErrorCodes.BUSY.code]);
});

test('when the log takes nothing, whoever waits for an outcome is told', () => {
  const bench = new Bench();
  bench.producer.isFull = true;
  const filler = { ...message, payload: new Uint8Array(PAYLOAD_BYTES_MAX) };
  const blockFiller = makeFrame({ kind: Kind.BLOCK, convB: 5, payload: new Uint8Array(PAYLOAD_BYTES_MAX) });
  const devicesFiller = { ...blockFiller, kind: Kind.DEVICES };
  for (const frame of [filler, blockFiller, devicesFiller])
    for (let n = 0; n < 4; n++) bench.receive(encodeFrame(frame));
  bench.socket.taken();
  for (const kind of [Kind.MESSAGE, Kind.READ, Kind.INFO, Kind.BLOCK, Kind.DEVICES, Kind.DEVICE_REMOVE]) {
    bench.receive(encodeFrame({ ...filler, kind }));
    assert.deepEqual(bench.rejections(), [ErrorCodes.BUSY.code], `kind ${kind}`);
  }
  for (const kind of [Kind.TYPING, Kind.ACK]) bench.receive(encodeFrame({ ...filler, kind }));
  assert.deepEqual(bench.socket.taken(), [], 'another of the kind comes anyway');
});

test('above its rate of frames a connection is refused; a second later it may go on', () => {
  const bench = new Bench(SessionState.LIVE, 10);
  const frames = Array.from({ length: 25 }, (_, n) => ({ ...message, counter: n + 1 }));
  assert.equal(bench.taken(...frames).length, 20);
  assert.deepEqual(
    bench.rejections(),
    Array.from({ length: 5 }, () => ErrorCodes.RATE_LIMITED.code),
  );
  assert.deepEqual(bench.taken(makeFrame({ kind: Kind.ACK })), [], 'other kinds are dropped');
  assert.deepEqual(bench.rejections(), []);
  assert.equal(bench.metrics.get('rate_limited_total'), 6);
  bench.nowMs = 1_000;
  assert.equal(bench.taken(...frames).length, 10);
});

test('who does not say hello cannot get an answer to each frame for ever', () => {
  const bench = new Bench(SessionState.HELLO, 10);
  bench.receive(encodeAll(Array.from({ length: 100 }, () => makeFrame({ kind: Kind.ACK }))));
  assert.equal(bench.rejections().length, 20);
});

test('far above its rate of bytes a connection ends, and nothing of that message is taken', () => {
  const bench = new Bench();
  const large = encodeFrame({ ...message, payload: new Uint8Array(PAYLOAD_BYTES_MAX) });
  const fits = Math.floor(CONNECTION_BYTES_BURST / large.length);
  for (let n = 0; n < fits; n++) assert.equal(bench.receive(large), undefined);
  const before = bench.metrics.get('frames_in_total');
  assert.equal(bench.receive(large), CloseCodes.RATE_LIMITED);
  assert.equal(bench.metrics.get('frames_in_total'), before);
});

test('who keeps sending nonsense is sent away', () => {
  const bench = new Bench();
  const nonsense = encodeFrame(makeFrame({ kind: 200 }));
  for (let n = 0; n < BAD_FRAMES_PER_CONNECTION_MAX; n++) assert.equal(bench.receive(nonsense), undefined);
  assert.equal(bench.receive(nonsense), CloseCodes.BAD_PROTOCOL);
});

// --- device tables ------------------------------------------------------------------------------------------------------------

const table = encodeDeviceTable([
  { device: deviceKey(2002, 1), bytes: Uint8Array.of(1) },
  { device: deviceKey(2002, 2), bytes: Uint8Array.of(2, 2) },
]);
const withTable = { ...message, flags: Flag.DEVICE_TABLE };

test('a canonical device table goes on as it is, another encoding of it is made canonical', () => {
  const bench = new Bench();
  const [canonical] = bench.taken({ ...withTable, payload: table });
  assert.deepEqual(canonical!.frame.payload, table);
  assert.equal(bench.metrics.get('slow_frames_total'), 0);
  const key = (number: number): number[] => [0xce, 0, 0x03, 0xe9, number];
  const loose = Uint8Array.from([0x92, 0x92, ...key(1), 0xc4, 1, 1, 0x92, ...key(2), 0xc5, 0, 2, 2, 2]);
  const [encoded] = bench.taken({ ...withTable, payload: loose });
  assert.deepEqual(encoded!.frame, { ...withTable, device: deviceKey(USER, 1), payload: table });
  assert.equal(bench.metrics.get('slow_frames_total'), 1);
});

test('a malformed device table goes on as it is: the stage rejects it, since it uses up the counter', () => {
  const bench = new Bench();
  for (const payload of [Uint8Array.of(), Uint8Array.of(0xdd, 0, 0, 0, 9), table.slice(0, -1), Uint8Array.of(0xc0)]) {
    const [taken] = bench.taken({ ...withTable, payload });
    assert.deepEqual(taken!.frame.payload, payload);
  }
  assert.deepEqual(bench.rejections(), []);
});

test('a table that would pass the limit in canonical form goes on as it is', () => {
  const count = 2_048;
  // array16; each part: fixarray, 5 bytes of key, bin8 of 115 bytes: 7 bytes less than the canonical header of 15.
  const parts = Array.from({ length: count }, (_, n) => {
    const device = deviceKey(3_000 + n, 1);
    return [
      0x92,
      0xce,
      device >>> 24,
      (device >>> 16) & 255,
      (device >>> 8) & 255,
      device & 255,
      0xc4,
      115,
      ...new Uint8Array(115),
    ];
  });
  const payload = Uint8Array.from([0xdc, count >> 8, count & 255, ...parts.flat()]);
  assert.ok(payload.length <= TABLE_PAYLOAD_BYTES_MAX);
  const [taken] = new Bench().taken({ ...withTable, payload });
  assert.deepEqual(taken!.frame.payload, payload);
});

// --- encodings and framing ------------------------------------------------------------------------------------------------------

const BINS: readonly BinWidth[] = ['bin8', 'bin16', 'bin32'];
const ARRAYS: readonly ArrayWidth[] = ['fix', 'a16', 'a32'];

/** All items in one width. */
function encodeIn(frame: Frame, width: Width, bin: BinWidth, array: ArrayWidth): Uint8Array {
  return encodeLoosely(
    frame,
    Array.from({ length: 11 }, () => width),
    bin,
    array,
  );
}

test('a frame in any valid encoding arrives in canonical form', () => {
  const frames = [
    message,
    { ...message, convB: 2 ** 40, extra: 300, counter: 70_000 },
    makeFrame({ kind: Kind.ACK, inbox: 2 ** 33 }),
  ];
  for (const frame of frames) {
    const bench = new Bench();
    const expected = { ...frame, device: deviceKey(USER, 1) };
    for (const width of ALL_WIDTHS) {
      for (const bin of BINS) {
        for (const array of ARRAYS) {
          const bytes = encodeIn(frame, width, bin, array);
          // A canonical one behind it is found as well.
          assert.equal(
            bench.receive(Buffer.concat([bytes, encodeFrame(frame)])),
            undefined,
            `${width} ${bin} ${array}`,
          );
          assert.deepEqual(
            bench.handedOver().map((taken) => taken.frame),
            [expected, expected],
            `${width} ${bin} ${array}`,
          );
        }
      }
      bench.nowMs += 60_000;
    }
  }
});

/** The frames before the bad bytes are taken, the connection ends. */
function assertLost(bad: Uint8Array, what: string): void {
  const bench = new Bench();
  assert.equal(bench.receive(Buffer.concat([encodeFrame(message), bad])), CloseCodes.BAD_PROTOCOL, what);
  assert.equal(bench.handedOver().length, 1, what);
  assert.equal(bench.rejections().length, 1, what);
}

test('bytes that are no frame end the connection; the frames before them are taken', () => {
  const whole = encodeFrame(message);
  for (let cut = 1; cut < whole.length; cut++) assertLost(whole.subarray(0, cut), `cut at ${cut}`);
  const lying = (length: number): Uint8Array => {
    const bytes = whole.slice();
    viewOf(bytes).setUint32(At.LENGTH, length);
    return bytes;
  };
  assertLost(lying(whole.length), 'longer than it is');
  assertLost(lying(PAYLOAD_BYTES_MAX), 'longer than the message');
  assertLost(lying(2 ** 32 - 1), 'longest');
  assertLost(
    Uint8Array.from({ length: 1_000 }, () => 0x91),
    'nested a thousand deep',
  );
  assertLost(
    Uint8Array.from({ length: 1_000 }, () => 0x9b),
    'frames within frames',
  );
  assertLost(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff), 'an array of 2^32 − 1 items');
  assertLost(Buffer.from('{"kind":1}'), 'JSON');
  const overlong = whole.slice();
  overlong[At.CONV_A] = 0x80;
  assertLost(overlong, 'an id of 2^63');
});

test('a frame that says to be shorter than it is, is taken as it says; what is left is none', () => {
  const bench = new Bench();
  const bytes = encodeFrame(message);
  viewOf(bytes).setUint32(At.LENGTH, 1);
  assert.equal(bench.receive(bytes), CloseCodes.BAD_PROTOCOL);
  assert.deepEqual(
    bench.handedOver().map(({ frame }) => frame.payload),
    [Uint8Array.of(1)],
  );
});

test('an empty message is no frame', () => {
  const bench = new Bench();
  assert.equal(bench.receive(new Uint8Array(0)), CloseCodes.BAD_PROTOCOL);
  assert.deepEqual(bench.rejections(), [ErrorCodes.BAD_FRAME.code]);
});

test('a message has at most 1,024 frames; of one with 10,000 as many are taken, then the connection ends', () => {
  const frames = Array.from({ length: 10_000 }, (_, n) => ({ ...message, counter: n + 1, payload: new Uint8Array(0) }));
  const bench = new Bench();
  assert.equal(bench.receive(encodeAll(frames)), CloseCodes.BAD_PROTOCOL);
  assert.equal(bench.handedOver().length, FRAMES_PER_MESSAGE_MAX);
  const other = new Bench();
  assert.equal(other.taken(...frames.slice(0, FRAMES_PER_MESSAGE_MAX)).length, FRAMES_PER_MESSAGE_MAX);
});

test('BYE ends the connection cleanly; what follows it is not looked at', () => {
  for (const bytes of [
    encodeAll([message, makeFrame({ kind: Kind.BYE }), message]),
    Buffer.concat([
      encodeFrame(message),
      encodeIn(makeFrame({ kind: Kind.BYE }), 'fix', 'bin8', 'fix'),
      encodeFrame(message),
    ]),
  ]) {
    const bench = new Bench();
    assert.equal(bench.receive(bytes), CloseCodes.NORMAL);
    assert.ok(bench.session.isClean);
    assert.equal(bench.handedOver().length, 1);
  }
});

test('PING is answered by the gateway', () => {
  const bench = new Bench();
  assert.deepEqual(bench.taken(makeFrame({ kind: Kind.PING, extra: 4_711 })), []);
  const [pong] = bench.socket.taken();
  assert.deepEqual([pong!.kind, pong!.extra, pong!.time], [Kind.PONG, 4_711, WALL_MS]);
});

// --- fuzz ---------------------------------------------------------------------------------------------------------------------

/** Messages from honest and bad frames; knows how many honest ones stand before the first bytes that have no length. */
class Attacker {
  readonly #random: Prng;
  readonly #frames: readonly Uint8Array[];

  constructor(random: Prng) {
    this.#random = random;
    const kinds = [1, 2, 3, 4, 5, 6, 16, 17, 18, 33, 34, 35, 37, 39, 40, 41, 19, 48, 64, 255];
    const frames = kinds.map((kind) =>
      makeFrame({ kind, convA: 7, convB: 2002, counter: 1, payload: new Uint8Array(9) }),
    );
    this.#frames = [
      ...frames.map((frame) => encodeFrame(frame)),
      ...frames.map((frame, n) => encodeIn(frame, ALL_WIDTHS[n % ALL_WIDTHS.length]!, BINS[n % 3]!, ARRAYS[n % 3]!)),
      encodeFrame({ ...withTable, payload: table }),
      encodeFrame({ ...withTable, payload: table.slice(0, -1) }),
    ];
  }

  /** One of the frames, with up to three bytes changed, or cut, or random bytes. */
  bad(): Uint8Array {
    const random = this.#random;
    const bytes = this.#frames[random.below(this.#frames.length)]!.slice();
    if (random.chance(1, 8)) return bytes.subarray(0, random.below(bytes.length));
    const changes = random.chance(1, 8) ? bytes.length : random.between(0, 3);
    for (let n = 0; n < changes; n++) {
      const byte = random.chance(1, 2) ? TELLING_BYTES[random.below(TELLING_BYTES.length)]! : random.below(256);
      bytes[random.below(bytes.length)] = byte;
    }
    return bytes;
  }
}

test('no message makes it throw, honest frames before bad bytes arrive, and what is handed over is sound', (t: TestContext) => {
  t.diagnostic(`DUNLIN_SEED=${SEED} DUNLIN_FUZZ=${INPUTS}`);
  const random = new Prng(SEED).fork('inbound');
  const attacker = new Attacker(random);
  const bench = new Bench();
  const device = deviceKey(USER, 1);
  const honest = encodeFrame({ ...message, convB: 2 ** 44 });
  const partition = partitionOfConversation(USER, 2 ** 44, PARTITIONS);
  let ended = 0;
  let inMessages = 0;
  for (let n = 0; n < INPUTS; n++) {
    viewOf(honest).setUint32(At.COUNTER, n + 1);
    bench.nowMs += 60_000;
    bench.session.badFrames = 0;
    bench.session.isClean = false;
    bench.session.closeWith = undefined;
    const parts = [honest, attacker.bad()];
    if (random.chance(1, 4)) parts.push(attacker.bad());
    if (bench.receive(Buffer.concat(parts)) !== undefined) ended++;
    bench.socket.writes.length = 0;
    inMessages++;
    if (inMessages < 100) continue;
    const label = `DUNLIN_SEED=${SEED}, input ${n}`;
    let counter = n + 1 - inMessages;
    // Plain comparisons: checking must not cost more than what is checked.
    for (const { topic, partition: place, frame } of bench.handedOver()) {
      if (frame.convB === 2 ** 44 && frame.convA === USER) {
        if (frame.counter !== ++counter || place !== partition) assert.fail(`${label}: honest ${counter} is missing`);
      }
      const isOverwritten = frame.device === device && frame.time === 0;
      if (!isClientKind(frame.kind) || !isOverwritten) assert.fail(`${label}: kind ${frame.kind}`);
      const isSound = frame.seq === 0 && frame.inbox === 0 && topic === Topic.CONVERSATION;
      if (isSequenced(frame.kind) && !isSound) assert.fail(`${label}: kind ${frame.kind}`);
    }
    assert.equal(counter, n + 1, label);
    for (const { bytes } of bench.producer.appended) assert.equal(checkBatch(bytes), undefined, label);
    bench.producer.answer();
    bench.batching.settle();
    inMessages = 0;
  }
  assert.ok(ended > INPUTS / 10 && ended < INPUTS, 'both kinds of message occur');
});
