import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TargetFlag } from '../../core/batch.js';
import { encodeDeviceTable } from '../../core/device-table.js';
import { CloseCodes, ErrorCodes } from '../../core/errors.js';
import { Flag, type Frame, Kind, makeFrame } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { PRESENCE_WINDOW_MS, SPILL_AGE_MS } from '../../core/limits.js';
import { MsgpackReader } from '../../core/msgpack.js';
import { GapReason } from './deliver.js';
import { type Egress, fanOutBatch, type LaneOptions, type StepResult, TestLane } from './testing.js';

const ADA = 7;
const BO = 9;
const GATEWAY = 3;
const INCARNATION = 5;
const CONNECTION_BASE = GATEWAY * 2 ** 32 + INCARNATION;

/** A lane with one conversation partition's numbering and a few shorthands. */
class Bench extends TestLane {
  #seq = 0;

  fanOut(recipients: readonly number[], frame: Partial<Frame> & { kind: number }, except = 0): void {
    const full = makeFrame({ time: this.nowMs, ...frame });
    this.append(fanOutBatch([{ frame: full, recipients, except }], 0, this.#seq++));
  }

  message(seq: number, more: Partial<Frame> = {}, recipients: readonly number[] = [ADA, BO]): void {
    const payload = Buffer.from(`text ${seq}`);
    const counter = seq;
    this.fanOut(recipients, {
      kind: Kind.MESSAGE,
      convA: ADA,
      convB: BO,
      device: deviceKey(ADA, 1),
      seq,
      counter,
      payload,
      ...more,
    });
  }

  connect(user: number, number: number, connection: number, more: Partial<Frame> = {}): void {
    this.frames({
      kind: Kind.CONNECT,
      device: deviceKey(user, number),
      convA: CONNECTION_BASE,
      convB: connection,
      extra: 1,
      ...more,
    });
  }

  device(kind: number, user: number, number: number, connection: number, more: Partial<Frame> = {}): void {
    this.frames({ kind, device: deviceKey(user, number), convA: CONNECTION_BASE, convB: connection, ...more });
  }

  ack(user: number, number: number, inbox: number): void {
    this.frames({ kind: Kind.ACK, device: deviceKey(user, number), inbox });
  }

  wait(ms: number): StepResult {
    this.nowMs += ms;
    this.tick();
    return this.run();
  }
}

function bench(options: LaneOptions = {}): Bench {
  const lane = new Bench(options);
  // In its own window no presence is told.
  lane.nowMs -= PRESENCE_WINDOW_MS;
  lane.frames({ kind: Kind.GENERATION, extra: 1 });
  lane.run();
  lane.nowMs += PRESENCE_WINDOW_MS;
  return lane;
}

function kinds(result: StepResult, connection?: number): number[] {
  return to(result, connection).map((entry) => entry.frame.kind);
}

function to(result: StepResult, connection?: number): Egress[] {
  return result.egress.filter(
    (entry) => connection === undefined || entry.targets.some((t) => t.connection === connection),
  );
}

const position = (n: number): number => 2 ** 32 + n;

describe('sessions', () => {
  it('welcomes a device, gives it what was kept, and makes it live', () => {
    const lane = bench();
    lane.message(1);
    lane.connect(BO, 1, 41);
    const result = lane.run();
    assert.deepEqual(kinds(result), [Kind.WELCOME, Kind.MESSAGE, Kind.CAUGHT_UP]);
    const [welcome, message, caughtUp] = result.egress;
    assert.equal(welcome!.gateway, GATEWAY);
    assert.equal(welcome!.frame.device, deviceKey(BO, 1));
    assert.equal(welcome!.frame.inbox, position(1));
    assert.equal(Buffer.from(message!.frame.payload).toString(), 'text 1');
    assert.deepEqual(message!.targets, [
      { connection: 41, incarnation: INCARNATION, token: 1, position: position(1), flags: 0 },
    ]);
    assert.equal(caughtUp!.frame.inbox, position(1));
    lane.message(2);
    assert.deepEqual(
      lane.run().egress.map((entry) => entry.targets[0]!.position),
      [position(2)],
    );
  });

  it('begins a further device at the present end, and a known one at its cursor', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.message(1);
    lane.message(2);
    lane.connect(BO, 2, 42);
    assert.deepEqual(kinds(lane.run(), 42), [Kind.WELCOME, Kind.CAUGHT_UP]);
    lane.ack(BO, 1, position(1));
    lane.connect(BO, 1, 43);
    assert.deepEqual(
      to(lane.run(), 43).map((entry) => entry.targets[0]!.position),
      [0, position(2), 0],
    );
  });

  it('takes a cursor in CONNECT as an ack only between the cursor it knows and the last position', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.message(1);
    lane.message(2);
    lane.message(3);
    lane.ack(BO, 1, position(1));
    lane.run();
    const resumed = (inbox: number, connection: number): number[] => {
      lane.connect(BO, 1, connection, { inbox });
      return to(lane.run(), connection).flatMap((entry) => (entry.frame.seq > 0 ? [entry.frame.seq] : []));
    };
    assert.deepEqual(resumed(0, 42), [2, 3], 'older than the cursor');
    assert.deepEqual(resumed(position(99), 43), [2, 3], 'beyond the last position');
    assert.deepEqual(resumed(position(2), 44), [3]);
    assert.deepEqual(resumed(position(3), 45), []);
  });

  it('replaces an older connection of the device, and ignores a repeated CONNECT', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.run();
    lane.connect(BO, 1, 41);
    assert.deepEqual(lane.run().egress, []);
    lane.connect(BO, 1, 42);
    const goAway = to(lane.run(), 41);
    assert.deepEqual(
      goAway.map((entry) => [entry.frame.kind, entry.frame.extra]),
      [[Kind.GOAWAY, CloseCodes.REPLACED.code]],
    );
    // The replaced connection's end is not the device's.
    lane.device(Kind.DISCONNECT, BO, 1, 41, { flags: Flag.CLEAN });
    lane.message(1);
    assert.deepEqual(kinds(lane.run(), 42), [Kind.MESSAGE]);
  });

  it('refuses one device too many, and lets go of a removed one', () => {
    const lane = bench({ limits: { devicesPerUser: 2 } });
    lane.connect(BO, 1, 41);
    lane.connect(BO, 2, 42);
    lane.connect(BO, 3, 43);
    const refused = to(lane.run(), 43);
    assert.deepEqual(
      refused.map((entry) => [entry.frame.kind, entry.frame.extra]),
      [[Kind.GOAWAY, CloseCodes.DEVICE_REMOVED.code]],
    );
    lane.message(1);
    lane.ack(BO, 1, position(1));
    lane.run();
    assert.equal(lane.stage.sizes.entries, 2, 'device 2 and Ada, who never came, have not acknowledged');
    lane.device(Kind.DEVICE_REMOVE, BO, 1, 41, { extra: 2 });
    const result = lane.run();
    assert.deepEqual(kinds(result, 42), [Kind.GOAWAY]);
    assert.deepEqual(kinds(result, 41), [Kind.DEVICES]);
    assert.equal(lane.stage.sizes.entries, 1, "only Ada's entry is left");
  });

  it('lists devices', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.connect(BO, 2, 42);
    lane.device(Kind.DISCONNECT, BO, 2, 42, { flags: Flag.CLEAN });
    lane.run();
    const seenMs = lane.nowMs;
    lane.nowMs += 500;
    lane.device(Kind.DEVICES, BO, 1, 41);
    const [entry] = lane.run().egress;
    assert.equal(entry!.targets[0]!.flags, TargetFlag.TRANSIENT);
    const reader = new MsgpackReader(entry!.frame.payload, 0, entry!.frame.payload.length);
    const read = (): number => reader.integer(Number.MAX_SAFE_INTEGER);
    assert.equal(reader.arrayLength(), 2);
    assert.deepEqual([reader.arrayLength(), read(), read(), read()], [3, 1, 1, lane.nowMs]);
    assert.deepEqual([reader.arrayLength(), read(), read(), read()], [3, 2, 0, seenMs]);
    assert.equal(reader.failed, false);
  });

  it('keeps the session of a lost connection for a while', () => {
    const lane = bench({ limits: { sessionGraceMs: 30_000 } });
    lane.frames({ kind: Kind.WATCH, device: deviceKey(ADA, 1), convB: BO, extra: 1 });
    lane.connect(BO, 1, 41);
    assert.deepEqual(
      lane.run().frames.map((frame) => frame.extra),
      [0, 1],
    );
    lane.device(Kind.DISCONNECT, BO, 1, 41);
    const lostMs = lane.nowMs;
    assert.deepEqual(lane.run().frames, []);
    assert.deepEqual(lane.wait(29_999).frames, []);
    const [offline] = lane.wait(101).frames;
    assert.deepEqual([offline!.extra, offline!.time], [0, lostMs]);
  });

  it('takes the sessions of an older incarnation of a gateway for lost', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.run();
    lane.frames({ kind: Kind.GATEWAY_UP, convA: CONNECTION_BASE });
    lane.message(1);
    assert.deepEqual(kinds(lane.run(), 41), [Kind.MESSAGE], 'its own incarnation stays');
    lane.frames({ kind: Kind.GATEWAY_UP, convA: CONNECTION_BASE + 1 });
    lane.message(2);
    assert.deepEqual(lane.run().egress, []);
  });

  it('unregisters a device that was away for too long', () => {
    const lane = bench({ limits: { deviceIdleMs: 3_600_000, queueTtlMs: 1e12 } });
    lane.connect(BO, 1, 41);
    lane.connect(BO, 2, 42);
    lane.device(Kind.DISCONNECT, BO, 2, 42, { flags: Flag.CLEAN });
    lane.message(1, {}, [BO]);
    lane.ack(BO, 1, position(1));
    lane.run();
    assert.equal(lane.stage.sizes.devices, 2);
    lane.wait(7_200_000);
    assert.equal(lane.stage.sizes.devices, 1);
    assert.equal(lane.stage.sizes.entries + lane.stage.sizes.chunks, 0);
  });
});

describe('delivery', () => {
  it('writes a frame once a gateway, with SENT for the sending device', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.connect(ADA, 2, 32);
    lane.connect(BO, 1, 41, { convA: (GATEWAY + 1) * 2 ** 32 + 1 });
    lane.run();
    lane.message(1);
    const [here, there, ...rest] = lane.run().egress;
    assert.deepEqual(rest, []);
    assert.deepEqual(
      here!.targets.map((target) => [target.connection, target.flags]),
      [
        [31, TargetFlag.SENT],
        [32, 0],
      ],
    );
    assert.equal(Buffer.from(here!.frame.payload).toString(), 'text 1');
    assert.deepEqual([there!.gateway, there!.targets[0]!.connection], [GATEWAY + 1, 41]);
  });

  it('sends the sender alone no payload', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.run();
    lane.message(1);
    const [entry] = lane.run().egress;
    assert.equal(entry!.frame.payload.length, 0);
    assert.equal(entry!.targets[0]!.flags, TargetFlag.SENT);
  });

  const table = encodeDeviceTable([
    { device: deviceKey(ADA, 2), bytes: Buffer.from('for ada 2') },
    { device: deviceKey(BO, 1), bytes: Buffer.from('for bo 1') },
  ]);

  function parts(entries: readonly Egress[]): unknown[] {
    return entries
      .filter((entry) => entry.frame.kind === Kind.MESSAGE)
      .flatMap((entry) =>
        entry.targets.map((target) => [
          target.connection,
          target.flags,
          entry.frame.flags & Flag.DEVICE_TABLE,
          Buffer.from(entry.frame.payload).toString(),
        ]),
      )
      .toSorted((one, other) => Number(one[0]) - Number(other[0]));
  }

  const expected = [
    [31, TargetFlag.SENT, 0, ''],
    [32, 0, 0, 'for ada 2'],
    [41, 0, 0, 'for bo 1'],
    [42, TargetFlag.ENVELOPE, 0, ''],
  ];

  it('gives each device its part of a device table, live', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.connect(ADA, 2, 32);
    lane.connect(BO, 1, 41);
    lane.connect(BO, 2, 42);
    lane.run();
    lane.message(1, { flags: Flag.DEVICE_TABLE, payload: table });
    assert.deepEqual(parts(lane.run().egress), expected);
  });

  it('gives each device its part of a device table, in catch-up', () => {
    const lane = bench();
    for (const [user, number, connection] of [
      [ADA, 1, 1],
      [ADA, 2, 2],
      [BO, 1, 3],
      [BO, 2, 4],
    ] as const) {
      lane.connect(user, number, connection);
      lane.device(Kind.DISCONNECT, user, number, connection);
    }
    lane.message(1, { flags: Flag.DEVICE_TABLE, payload: table });
    lane.run();
    lane.connect(ADA, 1, 31);
    lane.connect(ADA, 2, 32);
    lane.connect(BO, 1, 41);
    lane.connect(BO, 2, 42);
    assert.deepEqual(parts(lane.run().egress), expected);
  });

  it('takes a FANOUT batch once', () => {
    const lane = bench();
    const entry = { frame: makeFrame({ kind: Kind.MESSAGE, convA: ADA, convB: BO, seq: 1 }), recipients: [BO] };
    for (const [seq, index] of [
      [4, 0],
      [4, 1],
      [4, 0],
      [4, 1],
      [3, 7],
      [5, 0],
    ] as const) {
      lane.append(fanOutBatch([entry], 1, seq, index));
    }
    lane.run();
    assert.equal(lane.stage.counters.entries, 3);
    assert.equal(lane.stage.counters.repeatedBatches, 3);
  });

  it('keeps a REJECT for the device that it answers only', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.connect(ADA, 2, 32);
    lane.run();
    lane.fanOut([ADA], { kind: Kind.REJECT, convA: ADA, convB: BO, device: deviceKey(ADA, 2), counter: 4, extra: 37 });
    const result = lane.run();
    assert.deepEqual(
      result.egress.map((entry) => [entry.frame.kind, entry.targets[0]!.connection]),
      [[Kind.REJECT, 32]],
    );
    lane.connect(ADA, 1, 33);
    lane.connect(ADA, 2, 34);
    const again = lane.run();
    assert.deepEqual(kinds(again, 33), [Kind.WELCOME, Kind.CAUGHT_UP]);
    assert.deepEqual(kinds(again, 34), [Kind.WELCOME, Kind.REJECT, Kind.CAUGHT_UP]);
  });

  it('keeps only the latest RECEIPT of a conversation and user', () => {
    const lane = bench();
    const receipt = (whose: number, seq: number, convB = BO): void =>
      lane.fanOut([ADA], { kind: Kind.RECEIPT, convA: ADA, convB, device: deviceKey(whose, 0), seq });
    receipt(BO, 1);
    receipt(ADA, 1);
    receipt(BO, 1, 11);
    receipt(BO, 2);
    receipt(BO, 3);
    lane.connect(ADA, 1, 31);
    const read = to(lane.run(), 31).filter((entry) => entry.frame.kind === Kind.RECEIPT);
    assert.deepEqual(
      read.map(({ frame }) => [frame.device / 128, frame.convB, frame.seq]),
      [
        [ADA, BO, 1],
        [BO, 11, 1],
        [BO, BO, 3],
      ],
    );
  });

  it('keeps no RECEIPT for a user whose only device need not get it', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.run();
    const own = { kind: Kind.RECEIPT, convA: ADA, convB: BO, device: deviceKey(ADA, 0) };
    const heard = (): number[][] => {
      const result = lane.run();
      return [31, 32].flatMap((connection) => to(result, connection).map(({ frame }) => [frame.seq, connection]));
    };
    lane.fanOut([ADA], { ...own, seq: 1 }, 1);
    assert.deepEqual(heard(), []);
    lane.fanOut([ADA], { ...own, seq: 2 }, 2);
    assert.deepEqual(heard(), [[2, 31]], 'another device read, which is gone since');
    lane.connect(ADA, 2, 32);
    lane.run();
    lane.fanOut([ADA], { ...own, seq: 3 }, 1);
    assert.deepEqual(heard(), [
      [3, 31],
      [3, 32],
    ]);
  });

  it('passes answers that are not kept to the connected device', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.connect(ADA, 2, 32);
    lane.run();
    lane.fanOut([ADA], { kind: Kind.INFO, device: deviceKey(ADA, 1), payload: Buffer.from([0x90]) });
    lane.fanOut([ADA], { kind: Kind.SENT, flags: Flag.DUPLICATE, device: deviceKey(ADA, 2), seq: 4 });
    lane.fanOut([ADA], { kind: Kind.INFO, device: deviceKey(ADA, 3) });
    assert.deepEqual(
      lane
        .run()
        .egress.map(({ frame, targets: [target] }) => [
          frame.kind,
          target!.connection,
          target!.position,
          target!.flags,
        ]),
      [
        [Kind.INFO, 31, 0, TargetFlag.TRANSIENT],
        [Kind.SENT, 32, 0, TargetFlag.TRANSIENT],
      ],
    );
    assert.equal(lane.stage.sizes.entries, 0);
  });

  it('answers nothing about counters while outcomes wait in the inbox', () => {
    const lane = bench({ limits: { catchUpEntries: 1 } });
    for (let seq = 1; seq <= 2; seq++) lane.message(seq);
    lane.connect(BO, 1, 41);
    assert.deepEqual(kinds(lane.run(), 41), [Kind.WELCOME, Kind.MESSAGE, Kind.PULL]);
    const ask = (): number[] => {
      const device = deviceKey(BO, 1);
      lane.fanOut([BO], { kind: Kind.SENT, flags: Flag.DUPLICATE, device, seq: 4 });
      lane.fanOut([BO], { kind: Kind.INFO, device, payload: Buffer.from([0x90]) });
      lane.frames({ kind: Kind.REJECT, device });
      return kinds(lane.run(), 41);
    };
    assert.deepEqual(ask(), [Kind.REJECT]);
    lane.device(Kind.PULL, BO, 1, 41, { inbox: position(1), extra: 1 });
    assert.deepEqual(kinds(lane.run(), 41), [Kind.MESSAGE, Kind.CAUGHT_UP]);
    assert.deepEqual(ask(), [Kind.SENT, Kind.INFO, Kind.REJECT]);
  });

  it('ignores and counts what it does not know', () => {
    const lane = bench();
    lane.frames({ kind: 200 }, { kind: Kind.MESSAGE }, { kind: Kind.CONNECT, device: 0 }, { kind: Kind.WATCH });
    lane.frames({ kind: Kind.PULL, device: 5 }, { kind: Kind.ACK, device: 2 ** 52, inbox: 2 ** 52 });
    lane.fanOut([ADA], { kind: 201 });
    lane.run();
    assert.equal(lane.stage.counters.ignoredFrames, 5);
  });
});

describe('positions', () => {
  it('grow, and are above those of earlier generations', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.message(1);
    lane.frames({ kind: Kind.GENERATION, extra: 4 });
    lane.message(2);
    lane.frames({ kind: Kind.GENERATION, extra: 2 });
    lane.message(3);
    const positions = to(lane.run(), 41).flatMap(({ targets: [target] }) =>
      target!.position > 0 ? [target!.position] : [],
    );
    assert.deepEqual(positions, [2 ** 32 + 1, 4 * 2 ** 32 + 1, 4 * 2 ** 32 + 2]);
  });
});

describe('acks', () => {
  it('report each conversation newly covered once, and free what all devices have', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.connect(BO, 2, 42);
    lane.message(1, {}, [BO]);
    lane.message(2, {}, [BO]);
    lane.message(1, { convA: 0, convB: 77 }, [BO]);
    lane.message(3, {}, [BO]);
    lane.run();
    const delivered = (): number[][] =>
      lane.run().delivered.map(({ convA, convB, seq, device }) => [convA, convB, seq, device]);
    lane.ack(BO, 1, position(3));
    assert.deepEqual(delivered(), [
      [ADA, BO, 2, BO * 128],
      [0, 77, 1, BO * 128],
    ]);
    lane.ack(BO, 1, position(3));
    lane.ack(BO, 1, position(2));
    lane.ack(BO, 1, position(9));
    lane.ack(BO, 2, position(2));
    assert.deepEqual(delivered(), []);
    assert.equal(lane.stage.sizes.entries, 2);
    lane.ack(BO, 2, position(4));
    assert.deepEqual(delivered(), [[ADA, BO, 3, BO * 128]]);
    lane.ack(BO, 1, position(4));
    lane.run();
    assert.equal(lane.stage.sizes.entries, 0);
  });

  it('of a device that began in the middle do not report what it never got', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.message(1, { convB: 50 }, [BO]);
    lane.connect(BO, 2, 42);
    lane.message(1, {}, [BO]);
    lane.ack(BO, 2, position(2));
    assert.deepEqual(
      lane.run().delivered.map((frame) => frame.convB),
      [BO],
    );
    lane.ack(BO, 1, position(1));
    assert.deepEqual(
      lane.run().delivered.map((frame) => frame.convB),
      [50],
    );
  });

  it('report nothing in a direct conversation with a blocked peer', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.message(1);
    lane.frames({ kind: Kind.BLOCK, device: deviceKey(BO, 1), convB: ADA, extra: 1 });
    lane.ack(BO, 1, position(2));
    assert.deepEqual(lane.run().delivered, []);
  });
});

describe('catch-up', () => {
  it('goes in pieces, each asked for, with nothing live in between', () => {
    const lane = bench({ limits: { catchUpEntries: 2 } });
    for (let seq = 1; seq <= 3; seq++) lane.message(seq, {}, [BO]);
    lane.connect(BO, 1, 41);
    const seqs = (result: StepResult): number[] =>
      to(result, 41).map(({ frame }) => (frame.seq > 0 ? frame.seq : -frame.kind));
    assert.deepEqual(seqs(lane.run()), [-Kind.WELCOME, 1, 2, -Kind.PULL]);
    lane.message(4, {}, [BO]);
    assert.deepEqual(seqs(lane.run()), []);
    const pull = (inbox: number, token = 1): number[] => {
      lane.device(Kind.PULL, BO, 1, 41, { inbox, extra: token });
      return seqs(lane.run());
    };
    assert.deepEqual(pull(position(1)), [], 'a repeated PULL');
    assert.deepEqual(pull(position(2)), [3, 4, -Kind.CAUGHT_UP]);
    assert.deepEqual(pull(position(4)), [], 'live already');
    lane.message(5, {}, [BO]);
    assert.deepEqual(seqs(lane.run()), [5]);
    assert.deepEqual(pull(position(3), 2), [4, 5, -Kind.CAUGHT_UP], 'the gateway threw 4 and 5 away');
    assert.deepEqual(pull(position(3), 1), [], 'an old token');
    lane.message(6, {}, [BO]);
    assert.deepEqual(
      to(lane.run(), 41).map(({ targets: [target] }) => target!.token),
      [2],
    );
  });

  it('is bounded by bytes too, and always gets on', () => {
    const lane = bench({ limits: { catchUpBytes: 200 } });
    for (let seq = 1; seq <= 3; seq++) lane.message(seq, { payload: new Uint8Array(500) }, [BO]);
    lane.connect(BO, 1, 41);
    assert.deepEqual(kinds(lane.run(), 41), [Kind.WELCOME, Kind.MESSAGE, Kind.PULL]);
    lane.device(Kind.PULL, BO, 1, 41, { inbox: position(1), extra: 1 });
    assert.deepEqual(kinds(lane.run(), 41), [Kind.MESSAGE, Kind.PULL]);
  });

  it('gets past entries that are for another device', () => {
    const lane = bench({ limits: { catchUpEntries: 1 } });
    lane.connect(ADA, 1, 31);
    lane.device(Kind.DISCONNECT, ADA, 1, 31);
    const reject = { kind: Kind.REJECT, convA: ADA, convB: BO, device: deviceKey(ADA, 2) };
    lane.message(1, { device: deviceKey(BO, 1) });
    lane.fanOut([ADA], reject);
    lane.fanOut([ADA], reject);
    lane.message(2, { device: deviceKey(BO, 1) });
    lane.run();
    lane.connect(ADA, 1, 32);
    assert.deepEqual(kinds(lane.run(), 32), [Kind.WELCOME, Kind.MESSAGE, Kind.PULL]);
    lane.device(Kind.PULL, ADA, 1, 32, { inbox: position(1), extra: 1 });
    assert.deepEqual(kinds(lane.run(), 32), [Kind.MESSAGE, Kind.CAUGHT_UP]);
  });

  it('starts again at the cursor when the gateway names a position that was never handed out', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.message(1, {}, [BO]);
    lane.run();
    lane.device(Kind.PULL, BO, 1, 41, { inbox: position(77), extra: 2 });
    assert.deepEqual(kinds(lane.run(), 41), [Kind.MESSAGE, Kind.CAUGHT_UP]);
  });
});

describe('blocks', () => {
  const blockAda = (lane: Bench, extra = 1): StepResult => {
    lane.frames({ kind: Kind.BLOCK, device: deviceKey(BO, 1), convB: ADA, extra });
    return lane.run();
  };

  it('put a GAP in the place of what a blocked user sent, before and after', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.device(Kind.DISCONNECT, BO, 1, 41);
    lane.message(1);
    blockAda(lane);
    lane.message(2);
    lane.message(3);
    lane.message(4, { device: deviceKey(BO, 2) });
    lane.run();
    lane.connect(BO, 1, 42);
    const read = to(lane.run(), 42).map(({ frame }) => [frame.kind, frame.seq, frame.extra]);
    assert.deepEqual(read.slice(1, -1), [
      [Kind.GAP, 1, GapReason.BLOCKED],
      [Kind.BLOCK, 0, 1],
      [Kind.GAP, 3, GapReason.BLOCKED],
      [Kind.MESSAGE, 4, 0],
    ]);
    assert.deepEqual(kinds(blockAda(lane, 0), 42), [Kind.BLOCK]);
    lane.message(5);
    assert.deepEqual(kinds(lane.run(), 42), [Kind.MESSAGE]);
  });

  it('hold for receipts and typing', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    blockAda(lane);
    lane.run();
    lane.fanOut([BO], { kind: Kind.RECEIPT, convA: ADA, convB: BO, device: deviceKey(ADA, 0), seq: 1 });
    lane.fanOut([BO], { kind: Kind.TYPING, convA: ADA, convB: BO, device: deviceKey(ADA, 1), extra: 1 });
    assert.deepEqual(lane.run().egress, []);
  });

  it('end where they ended: what came behind is not handed over before, whatever is blocked later', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    blockAda(lane);
    lane.run();
    lane.device(Kind.DISCONNECT, BO, 1, 41);
    blockAda(lane, 0);
    lane.message(1);
    blockAda(lane);
    blockAda(lane, 0);
    lane.run();
    lane.connect(BO, 1, 42);
    const read = to(lane.run(), 42).map(({ frame }) => [frame.kind, frame.extra]);
    assert.deepEqual(read.slice(1, -1), [
      [Kind.BLOCK, 0],
      [Kind.MESSAGE, 0],
      [Kind.BLOCK, 0],
    ]);
  });

  it('are bounded, and keep an answer for a user only if it ends a block or is the latest', () => {
    const lane = bench({ limits: { blocksPerUser: 1 } });
    lane.connect(BO, 1, 41);
    blockAda(lane);
    blockAda(lane, 0);
    blockAda(lane);
    lane.frames({ kind: Kind.BLOCK, device: deviceKey(BO, 1), convB: 55, extra: 1 });
    lane.frames({ kind: Kind.BLOCK, device: deviceKey(BO, 1), convB: BO, extra: 1 });
    lane.run();
    lane.connect(BO, 1, 42);
    assert.deepEqual(
      to(lane.run(), 42)
        .map(({ frame }) => [frame.kind, frame.convB, frame.extra])
        .slice(1, -1),
      [
        [Kind.BLOCK, ADA, 0],
        [Kind.BLOCK, ADA, 1],
        [Kind.REJECT, 55, ErrorCodes.TOO_MANY_BLOCKS.code],
        [Kind.REJECT, BO, ErrorCodes.BAD_VALUE.code],
      ],
    );
  });
});

describe('expiry', () => {
  it('puts a GAP in the place of what is past its deadline', () => {
    const lane = bench();
    lane.message(1, { extra: 2 }, [BO]);
    lane.message(2, { extra: 60 }, [BO]);
    lane.run();
    lane.wait(2_000);
    lane.connect(BO, 1, 41);
    const read = to(lane.run(), 41).map(({ frame }) => [frame.kind, frame.seq]);
    assert.deepEqual(read.slice(1, -1), [
      [Kind.GAP, 1],
      [Kind.MESSAGE, 2],
    ]);
  });

  it('looks at the deadline when a message comes, too', () => {
    const lane = bench();
    lane.connect(BO, 1, 41);
    lane.run();
    lane.message(1, { extra: 2, time: lane.nowMs - 2_000 }, [BO]);
    assert.deepEqual(kinds(lane.run()), [Kind.GAP]);
  });

  it('keeps the last BLOCK of each user for a device that comes back later than the queue keeps messages', () => {
    const lane = bench({ limits: { queueTtlMs: 120_000, spillAgeMs: 1_000, deviceIdleMs: 1e12 } });
    lane.connect(BO, 2, 42);
    lane.run();
    lane.device(Kind.DISCONNECT, BO, 2, 42, { flags: Flag.CLEAN });
    for (const [other, extra] of [
      [ADA, 1],
      [77, 1],
      [ADA, 0],
    ] as const) {
      lane.frames({ kind: Kind.BLOCK, device: deviceKey(BO, 2), convB: other, extra });
      lane.run();
    }
    lane.message(1, {}, [BO]);
    lane.wait(3_000);
    lane.commit();
    assert.deepEqual([lane.stage.sizes.entries, lane.stage.sizes.chunks], [0, 1]);
    lane.wait(180_000);
    lane.commit();
    lane.connect(BO, 2, 43);
    const read = to(lane.run(), 43).map(({ frame }) => [
      frame.kind,
      frame.convB,
      frame.kind === Kind.GAP ? 0 : frame.extra,
    ]);
    assert.deepEqual(read.slice(1, -1), [
      [Kind.BLOCK, 77, 1],
      [Kind.BLOCK, ADA, 0],
      [Kind.GAP, BO, 0],
    ]);
  });

  it('leaves one GAP a conversation of cold entries, and drops all else', () => {
    const lane = bench({ limits: { queueTtlMs: 120_000, spillAgeMs: 1_000, deviceIdleMs: 1e12 } });
    for (let seq = 1; seq <= 5; seq++) {
      lane.message(seq, {}, [BO]);
      lane.message(seq, { convA: 0, convB: 77 }, [BO]);
      lane.fanOut([BO], { kind: Kind.RECEIPT, convA: ADA, convB: BO, device: deviceKey(ADA, 0), seq });
    }
    lane.wait(3_000);
    assert.deepEqual([lane.stage.sizes.entries, lane.stage.sizes.chunks], [0, 1]);
    lane.commit();
    lane.wait(180_000);
    lane.commit();
    assert.equal(lane.store.size, 1);
    lane.connect(BO, 1, 41);
    const read = to(lane.run(), 41).map(({ frame }) => [frame.kind, frame.convB, frame.seq]);
    assert.deepEqual(read.slice(1, -1), [
      [Kind.GAP, BO, 5],
      [Kind.GAP, 77, 5],
    ]);
    lane.ack(BO, 1, position(99));
    lane.ack(BO, 1, position(14));
    lane.run();
    lane.commit();
    assert.deepEqual([lane.stage.sizes.chunks, lane.store.size], [0, 0]);
    assert.equal(lane.stage.wakeAtMs === Infinity || lane.stage.wakeAtMs > lane.nowMs, true);
  });
});

describe('the cold inbox', () => {
  const limits = { spillAgeMs: 1_000, spillBytes: 2_000, chunkBytes: 1_000, chunksPerMerge: 3, catchUpBytes: 1_500 };

  it('takes what is old or too much, and gives it back in order', () => {
    const lane = bench({ limits });
    for (let seq = 1; seq <= 40; seq++) lane.message(seq, {}, [BO]);
    lane.run();
    lane.run();
    assert.ok(lane.stage.sizes.chunks > 0, 'too many bytes');
    lane.commit();
    lane.wait(2_000);
    assert.equal(lane.stage.sizes.entries, 0, 'too old');
    lane.message(41, {}, [BO]);
    lane.connect(BO, 1, 41);
    const seqs: number[] = [];
    let token = 0;
    for (;;) {
      const entries = to(lane.run(), 41);
      seqs.push(...entries.flatMap(({ frame }) => (frame.kind === Kind.MESSAGE ? [frame.seq] : [])));
      const { frame } = entries.at(-1)!;
      if (frame.kind === Kind.CAUGHT_UP) break;
      assert.equal(frame.kind, Kind.PULL);
      lane.device(Kind.PULL, BO, 1, 41, { inbox: frame.inbox, extra: 1 });
      token++;
    }
    assert.ok(token > 1);
    assert.deepEqual(
      seqs,
      Array.from({ length: 41 }, (_, i) => i + 1),
    );
    lane.ack(BO, 1, position(20));
    assert.equal(lane.run().delivered.at(-1)!.seq, 20);
    lane.ack(BO, 1, position(41));
    assert.equal(lane.run().delivered.at(-1)!.seq, 41);
    lane.commit();
    assert.deepEqual([lane.stage.sizes.entries, lane.stage.sizes.chunks, lane.store.size], [0, 0, 0]);
  });

  it('keeps frames larger than a chunk in several values', () => {
    const lane = bench({ limits });
    const payload = Buffer.alloc(3_500, 'x');
    lane.message(1, { payload }, [BO]);
    lane.run();
    lane.tick();
    lane.run();
    lane.commit();
    assert.deepEqual([lane.stage.sizes.entries, lane.store.size], [0, 4]);
    assert.ok([...lane.store.values()].every((value) => value.length <= 1_000));
    lane.connect(BO, 1, 41);
    assert.deepEqual(Buffer.from(to(lane.run(), 41)[1]!.frame.payload), payload);
  });

  it('rewrites small chunks as one', () => {
    const lane = bench({ limits: { ...limits, chunksPerMerge: 4 } });
    for (let seq = 1; seq <= 12; seq++) {
      lane.message(seq, {}, [BO]);
      lane.wait(3_000);
      lane.wait(1);
      lane.commit();
    }
    assert.ok(lane.stage.sizes.chunks <= 4, `${lane.stage.sizes.chunks} chunks`);
    assert.equal(lane.store.size, lane.stage.sizes.chunks);
  });

  it('takes an ack over many chunks in several steps', () => {
    const lane = bench({ limits: { ...limits, chunksPerAck: 1, catchUpBytes: 1e6 } });
    for (let seq = 1; seq <= 40; seq++) lane.message(seq, {}, [BO]);
    lane.wait(3_000);
    lane.connect(BO, 1, 41);
    lane.run();
    assert.ok(lane.stage.sizes.chunks > 3);
    lane.ack(BO, 1, position(40));
    const { delivered } = lane.run();
    assert.ok(delivered.length > 3);
    assert.equal(delivered.at(-1)!.seq, 40);
    assert.equal(lane.stage.sizes.chunks, 0);
  });

  it('loses nothing else when the store has lost a chunk: it asks again, then waits', () => {
    const lane = bench({ limits: { ...limits, chunksPerMerge: 99 } });
    for (let seq = 1; seq <= 20; seq++) lane.message(seq, {}, [BO]);
    lane.wait(3_000);
    lane.commit();
    const kept = new Map(lane.store);
    lane.store.clear();
    lane.connect(BO, 1, 41);
    assert.deepEqual(kinds(lane.run(), 41), [Kind.WELCOME, Kind.PULL]);
    for (let n = 0; n < 20; n++) lane.device(Kind.PULL, BO, 1, 41, { extra: 1 });
    assert.equal(lane.run().egress.length, 7, 'not for ever');
    lane.ack(BO, 1, position(20));
    assert.deepEqual(lane.run().delivered, []);
    assert.ok(lane.stage.counters.chunksMissing > 8);
    for (const [key, value] of kept) lane.store.set(key, value);
    lane.connect(BO, 1, 42);
    assert.equal(to(lane.run(), 42)[1]!.frame.seq, 1);
  });

  it('writes no more in a step than it may', () => {
    const lane = bench({ limits: { ...limits, spillStepBytes: 1_000 } });
    for (let seq = 1; seq <= 60; seq++) lane.message(seq, {}, [BO]);
    lane.run();
    lane.nowMs += 5_000;
    let written = lane.stage.counters.chunksWritten;
    while (lane.stage.wakeAtMs <= lane.nowMs) {
      lane.tick();
      lane.run();
      assert.ok(lane.stage.counters.chunksWritten - written <= 4);
      written = lane.stage.counters.chunksWritten;
    }
    assert.equal(lane.stage.sizes.entries, 0);
  });
});

describe('presence', () => {
  const watch = (lane: Bench, extra = 1, number = 1): void =>
    lane.frames({ kind: Kind.WATCH, device: deviceKey(ADA, number), convB: BO, extra });

  function states(result: StepResult): number[][] {
    return result.egress
      .filter(({ frame }) => frame.kind === Kind.PRESENCE)
      .map(({ frame, targets }) => [frame.extra, targets[0]!.connection]);
  }

  it('is told when the watch begins and on change, to every live device', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.run();
    watch(lane);
    assert.deepEqual(states(lane.run()), [[0, 31]]);
    lane.connect(BO, 1, 41);
    assert.deepEqual(states(lane.run()), [[1, 31]]);
    lane.connect(BO, 2, 42);
    lane.device(Kind.DISCONNECT, BO, 1, 41, { flags: Flag.CLEAN });
    assert.deepEqual(states(lane.run()), [], 'still online');
    lane.device(Kind.DISCONNECT, BO, 2, 42, { flags: Flag.CLEAN });
    assert.deepEqual(states(lane.run()), [[0, 31]]);
  });

  it('is told again to a connection that becomes live', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    watch(lane);
    lane.connect(BO, 1, 41);
    lane.run();
    lane.connect(ADA, 2, 32);
    assert.deepEqual(states(lane.run()), [
      [1, 31],
      [1, 32],
    ]);
  });

  it('ends with the watch', () => {
    const lane = bench({ limits: { watchTtlMs: 60_000 } });
    lane.connect(ADA, 1, 31);
    lane.run();
    watch(lane);
    watch(lane, 0);
    lane.connect(BO, 1, 41);
    assert.deepEqual(states(lane.run()), [[0, 31]]);
    watch(lane);
    lane.run();
    lane.wait(70_001);
    lane.device(Kind.DISCONNECT, BO, 1, 41, { flags: Flag.CLEAN });
    assert.deepEqual(states(lane.run()), []);
  });

  it('goes on for a user while one of its devices watches', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    watch(lane);
    watch(lane, 1, 2);
    watch(lane, 0);
    lane.run();
    lane.connect(BO, 1, 41);
    assert.deepEqual(states(lane.run()), [[1, 31]]);
  });

  it('has a bounded number of watchers', () => {
    const lane = bench({ limits: { watchersPerUser: 1 } });
    lane.connect(ADA, 1, 31);
    watch(lane, 1, 2);
    watch(lane);
    const rejected = lane.run().egress.filter(({ frame }) => frame.kind === Kind.REJECT);
    assert.deepEqual(
      rejected.map(({ frame, targets: [target] }) => [frame.extra, frame.convB, target!.connection, target!.flags]),
      [[ErrorCodes.TOO_MANY_WATCHERS.code, BO, 31, TargetFlag.TRANSIENT]],
    );
  });

  it('is thinned out to so many updates in a window, and the last state follows', () => {
    const lane = bench({ limits: { presenceUpdatesPerWindow: 3, presenceWindowMs: 1_000 } });
    lane.connect(ADA, 1, 31);
    watch(lane);
    lane.run();
    for (let n = 0; n < 10; n++) {
      lane.connect(BO, 1, 50 + n);
      if (n < 9) lane.device(Kind.DISCONNECT, BO, 1, 50 + n, { flags: Flag.CLEAN });
    }
    const update = (result: StepResult): number[][] =>
      to(result, 31)
        .filter(({ frame }) => frame.kind === Kind.PRESENCE || frame.kind === Kind.TYPING)
        .map(({ frame }) => [frame.kind, frame.extra]);
    assert.equal(update(lane.run()).length, 2);
    lane.fanOut([ADA], { kind: Kind.TYPING, convA: ADA, convB: BO, device: deviceKey(BO, 1), extra: 1 });
    lane.fanOut([ADA], { kind: Kind.TYPING, convA: ADA, convB: BO, device: deviceKey(BO, 1), extra: 0 });
    assert.deepEqual(update(lane.run()), []);
    assert.equal(lane.stage.wakeAtMs % 1_000, 0);
    assert.deepEqual(update(lane.wait(1_000)), [
      [Kind.PRESENCE, 1],
      [Kind.TYPING, 0],
    ]);
  });

  it('waits for the next window when a new owner begins, who may have forgotten what was sent in this one', () => {
    const lane = bench({ limits: { presenceUpdatesPerWindow: 1, presenceWindowMs: 1_000 } });
    const notify = (extra: number): void =>
      lane.frames({ kind: Kind.PRESENCE_NOTIFY, device: deviceKey(ADA, 0), convB: BO, extra, inbox: lane.nowMs });
    const told = ({ egress }: StepResult): number[] =>
      egress.filter(({ frame }) => frame.kind === Kind.PRESENCE).map(({ frame }) => frame.extra);
    lane.connect(ADA, 1, 31);
    lane.run();
    notify(1);
    assert.deepEqual(told(lane.run()), [1]);
    lane.loseTail(lane.log.length - 1);
    lane.crash();
    lane.frames({ kind: Kind.GENERATION, extra: 2 });
    notify(0);
    assert.deepEqual(told(lane.run()), []);
    lane.checkRestore();
    lane.crash();
    assert.deepEqual(told(lane.wait(999)), [], 'whoever starts from a checkpoint knows it, too');
    assert.equal(lane.stage.wakeAtMs, lane.nowMs + 1);
    assert.deepEqual(told(lane.wait(1)), [0]);
  });

  it('tells everybody’s state in the end, though a connection comes again in every window', () => {
    const lane = bench({ limits: { presenceUpdatesPerWindow: 2, presenceWindowMs: 1_000 } });
    lane.nowMs = 1_000_000;
    lane.connect(ADA, 1, 31);
    lane.run();
    for (const convB of [51, 52, 53]) {
      lane.frames({ kind: Kind.PRESENCE_NOTIFY, device: deviceKey(ADA, 0), convB, extra: 1, inbox: 10 });
    }
    const told = new Set<number>();
    for (let window = 0; window < 4; window++) {
      for (const { frame } of lane.run().egress) if (frame.kind === Kind.PRESENCE) told.add(frame.convB);
      lane.nowMs += 1_000;
      lane.connect(ADA, 1, 32 + window);
    }
    assert.deepEqual([...told].toSorted(), [51, 52, 53]);
  });

  it('drops a repetition of an older notice', () => {
    const lane = bench();
    lane.connect(ADA, 1, 31);
    lane.run();
    const notify = (extra: number, inbox: number): void =>
      lane.frames({ kind: Kind.PRESENCE_NOTIFY, device: deviceKey(ADA, 0), convB: BO, extra, inbox });
    notify(1, 10);
    notify(0, 20);
    notify(1, 10);
    assert.deepEqual(states(lane.run()), [
      [1, 31],
      [0, 31],
    ]);
  });
});

describe('wake', () => {
  it('is never when nothing waits for time', () => {
    const lane = bench();
    assert.equal(lane.stage.wakeAtMs, Infinity);
    lane.connect(BO, 1, 41);
    lane.message(1, {}, [BO]);
    lane.run();
    assert.ok(lane.stage.wakeAtMs > lane.nowMs && lane.stage.wakeAtMs <= lane.nowMs + SPILL_AGE_MS + 1_000);
    lane.ack(BO, 1, position(1));
    lane.run();
    lane.wait(SPILL_AGE_MS * 2);
    assert.equal(lane.stage.wakeAtMs, Infinity);
  });
});

describe('export', () => {
  it('writes little when little changed, and nothing when nothing did', () => {
    const lane = bench();
    for (let seq = 1; seq <= 100; seq++) lane.message(seq, { payload: new Uint8Array(500) }, [BO]);
    lane.run();
    const size = (): number => lane.exportDirty().reduce((bytes, chunk) => bytes + chunk.length, 0);
    const expected = lane.stage.dirtyBytes;
    const all = size();
    assert.ok(Math.abs(expected - all) < all / 5, `dirtyBytes said ${expected}, the export has ${all}`);
    assert.equal(size(), 0);
    assert.equal(lane.stage.dirtyBytes, 0);
    lane.message(101, {}, [BO]);
    lane.run();
    assert.ok(size() < 500);
  });

  it('writes a frame once for all its recipients, however large, in chunks within the limit', () => {
    const lane = bench();
    const recipients = Array.from({ length: 300 }, (_, i) => 1_000 + i);
    lane.message(1, { convA: 0, convB: 5, payload: Buffer.alloc(120_000, 'y') }, recipients);
    lane.run();
    let bytes = 0;
    let largest = 0;
    const copy = new TestLane();
    for (const chunk of lane.exportDirty()) {
      bytes += chunk.length;
      largest = Math.max(largest, chunk.length);
      copy.stage.importChunk(chunk);
    }
    copy.stage.importDone();
    assert.ok(bytes < 120_000 + 300 * 150);
    assert.ok(largest <= 48 * 1_024);
    assert.equal(copy.stage.stateHash(), lane.stage.stateHash());
    assert.ok(copy.stage.sizes.liveBytes < 2 * lane.stage.sizes.liveBytes, 'still shared');
  });
});
