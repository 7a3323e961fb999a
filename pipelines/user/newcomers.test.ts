import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CloseCodes } from '../../core/errors.js';
import { Flag, type Frame, Kind, makeFrame } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { fanOutBatch, type StepResult, TestLane } from './testing.js';

const ADA = 7;
const GATEWAY = 3;
const INCARNATION = 5;

class Bench extends TestLane {
  #seq = 0;

  constructor() {
    super({ syncs: false });
    this.frames({ kind: Kind.GENERATION, extra: 1 });
  }

  say(kind: number, number: number, connection: number, more: Partial<Frame> = {}): void {
    const convA = GATEWAY * 2 ** 32 + INCARNATION;
    this.frames({ kind, device: deviceKey(ADA, number), convA, convB: connection, ...more });
  }

  connect(number: number, connection: number): StepResult {
    this.say(Kind.CONNECT, number, connection, { extra: 1 });
    return this.run();
  }

  message(seq: number): StepResult {
    const frame = makeFrame({ kind: Kind.MESSAGE, convA: ADA, convB: 9, device: deviceKey(9, 1), seq, counter: seq });
    this.append(fanOutBatch([{ frame, recipients: [ADA] }], 0, this.#seq++));
    return this.run();
  }

  /** All that is in the log survives. */
  sync(): StepResult {
    this.tellSynced();
    return this.run();
  }
}

/** A lane where device 1 is known, and not connected. */
function bench(): Bench {
  const lane = new Bench();
  lane.connect(1, 41);
  lane.sync();
  lane.say(Kind.DISCONNECT, 1, 41, { flags: Flag.CLEAN });
  lane.run();
  return lane;
}

/** What went to whom: kind, or sequence of a message, by connection. */
function told(result: StepResult): [connection: number, what: number][] {
  return result.egress.flatMap(({ frame, targets }) =>
    targets.map(({ connection }): [number, number] => [connection, frame.kind]),
  );
}

describe('a device that is new', () => {
  it('is welcomed when its CONNECT survives a power failure, not before; what came since is there for it', () => {
    const lane = bench();
    lane.message(1);
    const offset = lane.log.length;
    assert.deepEqual(told(lane.connect(2, 42)), []);
    assert.equal(lane.stage.syncWantedAt, offset);
    assert.deepEqual(told(lane.message(2)), []);
    lane.frames({ kind: Kind.SYNCED, inbox: offset });
    assert.deepEqual(told(lane.run()), [], 'the log survives only up to it');
    lane.frames({ kind: Kind.SYNCED, inbox: offset + 1 });
    const { egress } = lane.run();
    assert.deepEqual(
      egress.map(({ frame }) => [frame.kind, frame.seq]),
      [
        [Kind.WELCOME, 0],
        [Kind.MESSAGE, 2],
        [Kind.CAUGHT_UP, 0],
      ],
    );
    assert.equal(lane.stage.syncWantedAt, Infinity);
    assert.deepEqual(told(lane.message(3)), [[42, Kind.MESSAGE]]);
  });

  it('does not make known ones wait', () => {
    const lane = bench();
    lane.connect(2, 42);
    assert.deepEqual(told(lane.connect(1, 43)), [
      [43, Kind.WELCOME],
      [43, Kind.CAUGHT_UP],
    ]);
  });

  it('is welcomed once, however often it is said', () => {
    const lane = bench();
    lane.connect(2, 42);
    assert.equal(lane.sync().egress.length, 2);
    lane.frames({ kind: Kind.SYNCED, inbox: 2 ** 40 });
    lane.say(Kind.CONNECT, 2, 42, { extra: 1 });
    assert.deepEqual(told(lane.run()), []);
  });

  it('gets nothing by asking for more', () => {
    const lane = bench();
    lane.connect(2, 42);
    lane.message(1);
    lane.say(Kind.PULL, 2, 42, { extra: 1 });
    lane.say(Kind.PULL, 2, 42, { extra: 2 });
    assert.deepEqual(told(lane.run()), []);
  });

  for (const flags of [0, Flag.CLEAN]) {
    it(`is a known one when it left before (flags ${flags}), and nobody hears of it`, () => {
      const lane = bench();
      lane.connect(2, 42);
      lane.say(Kind.DISCONNECT, 2, 42, { flags });
      lane.message(1);
      assert.deepEqual(told(lane.sync()), []);
      assert.deepEqual(told(lane.connect(2, 43)), [
        [43, Kind.WELCOME],
        [43, Kind.MESSAGE],
        [43, Kind.CAUGHT_UP],
      ]);
    });
  }

  it('is not welcomed on a connection that its gateway lost', () => {
    const lane = bench();
    lane.connect(2, 42);
    lane.frames({ kind: Kind.GATEWAY_UP, convA: GATEWAY * 2 ** 32 + INCARNATION + 1 });
    lane.run();
    assert.deepEqual(told(lane.sync()), []);
  });

  it('is welcomed on its newest connection', () => {
    const lane = bench();
    lane.connect(2, 42);
    const replaced = lane.connect(2, 43);
    assert.deepEqual(told(replaced), [[42, Kind.GOAWAY]]);
    assert.equal(replaced.egress[0]!.frame.extra, CloseCodes.REPLACED.code);
    assert.deepEqual(told(lane.sync()), [
      [43, Kind.WELCOME],
      [43, Kind.CAUGHT_UP],
    ]);
  });

  it('is forgotten when it is removed before, and waits anew when it comes again', () => {
    const lane = bench();
    lane.connect(2, 42);
    lane.say(Kind.DEVICE_REMOVE, 1, 41, { extra: 2 });
    assert.deepEqual(told(lane.run()), [[42, Kind.GOAWAY]]);
    assert.equal(lane.stage.syncWantedAt, Infinity);
    const end = lane.log.length;
    lane.connect(2, 43);
    lane.frames({ kind: Kind.SYNCED, inbox: end });
    assert.deepEqual(told(lane.run()), [], 'that was about the one before');
    assert.equal(lane.sync().egress.length, 2);
  });

  it('waits in a restored stage as in the one before', () => {
    const lane = bench();
    lane.connect(3, 43);
    lane.connect(2, 42);
    lane.checkRestore();
    const wanted = lane.stage.syncWantedAt;
    lane.crash();
    assert.equal(lane.stage.syncWantedAt, wanted);
    assert.deepEqual(
      told(lane.sync()).map(([connection]) => connection),
      [43, 43, 42, 42],
    );
    lane.checkRestore();
    lane.crash();
    assert.equal(lane.stage.syncWantedAt, Infinity);
  });

  it('begins again when a power failure took its CONNECT back', () => {
    const lane = bench();
    lane.commit();
    const end = lane.log.length;
    lane.connect(2, 42);
    lane.loseTail(end);
    lane.crash();
    lane.message(1);
    assert.deepEqual(told(lane.connect(2, 43)), []);
    assert.deepEqual(told(lane.sync()), [
      [43, Kind.WELCOME],
      [43, Kind.CAUGHT_UP],
    ]);
  });
});

it('many new devices are welcomed in steps of bounded size, in an order that a restored stage keeps', () => {
  const lane = new TestLane({ syncs: false });
  const users = 600;
  const convA = GATEWAY * 2 ** 32 + INCARNATION;
  const connects = Array.from({ length: users }, (_, n) => {
    const user = users - n;
    return { kind: Kind.CONNECT, device: deviceKey(user, 1), convA, convB: user, extra: 1 };
  });
  for (let from = 0; from < users; from += 200) lane.frames(...connects.slice(from, from + 200));
  lane.run();
  lane.checkRestore();
  lane.tellSynced();
  const welcomed: number[] = [];
  let steps = 0;
  const take = (): void => {
    lane.run((result) => {
      steps++;
      for (const [connection, kind] of told(result)) if (kind === Kind.WELCOME) welcomed.push(connection);
    });
  };
  take();
  assert.deepEqual(
    welcomed,
    [400, 200, 0].flatMap((before) => Array.from({ length: 200 }, (_, n) => before + n + 1)),
  );
  assert.equal(steps, 3);
  // The same once more, from the commit before: the lane of this test compares every byte.
  lane.crash();
  take();
  assert.equal(welcomed.length, 2 * users);
});
