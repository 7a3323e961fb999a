import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeDeviceTable } from '../../core/device-table.js';
import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { Flag, type Frame, Kind, makeFrame } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { MESSAGE_TTL_S_MAX, PAYLOAD_BYTES_MAX, SEQUENCE_MAX, TABLE_PAYLOAD_BYTES_MAX } from '../../core/limits.js';
import { encodeMembers, readMemberRows } from '../../core/members.js';
import { type Entry, type Fields, ofKind, receivers, Sender, TestLane } from './testing.js';

function only(entries: readonly Entry[]): Frame {
  assert.equal(new Set(entries.map(({ frame }) => frame.kind)).size, 1);
  return entries[0]!.frame;
}

function assertRejected(entries: readonly Entry[], error: ErrorCode, seq = 0): void {
  const frame = only(entries);
  assert.equal(frame.kind, Kind.REJECT);
  assert.deepEqual([frame.extra, frame.seq], [error.code, seq]);
  assert.equal(new TextDecoder().decode(frame.payload), error.sentence);
}

describe('a sequenced frame', () => {
  it('takes the next counter and the next sequence, and goes to all members as it came', () => {
    const lane = new TestLane();
    const one = new Sender(1, 1, 2);
    const two = new Sender(2, 1, 2);
    const payload = Uint8Array.of(1, 2, 3);
    const entries = lane.step(
      one.next({ kind: Kind.MESSAGE, payload, extra: 60, seq: 9, inbox: 9, time: 9 }),
      two.next({ kind: Kind.MESSAGE }),
      one.next({ kind: Kind.MESSAGE }),
    );
    assert.deepEqual(receivers(entries, Kind.MESSAGE), [1, 1, 1, 2, 2, 2]);
    const ofOne = entries.filter(({ recipients }) => recipients.includes(1)).map(({ frame }) => frame);
    assert.deepEqual(
      ofOne.map(({ device, counter, seq }) => [device, counter, seq]),
      [
        [one.device, 1, 1],
        [two.device, 1, 2],
        [one.device, 2, 3],
      ],
    );
    const { time, inbox, extra, payload: received } = ofOne[0]!;
    assert.deepEqual([time, inbox, extra, [...received]], [lane.nowMs, 0, 60, [1, 2, 3]]);
  });

  it('is answered, not taken, when its counter was taken before: with its sequence only if it was the last', () => {
    const lane = new TestLane();
    const sender = new Sender(1, 1, 2);
    const first = sender.next({ kind: Kind.MESSAGE });
    const second = sender.next({ kind: Kind.MESSAGE });
    lane.step(first, second);
    for (const [frame, seq] of [
      [second, 2],
      [first, 0],
      [second, 2],
    ] as const) {
      const sent = only(lane.step(frame));
      assert.deepEqual(
        [sent.kind, sent.flags, sent.counter, sent.seq],
        [Kind.SENT, Flag.DUPLICATE, frame.counter!, seq],
      );
    }
    assert.equal(only(lane.step(sender.next({ kind: Kind.MESSAGE }))).seq, 3);
  });

  it('is refused for now when its counter skips, which takes and makes nothing', () => {
    const lane = new TestLane();
    const sender = new Sender(1, 1, 2);
    const empty = lane.newStage().stateHash();
    assertRejected(lane.step(sender.frame({ kind: Kind.MESSAGE, counter: 2 })), ErrorCodes.COUNTER_GAP, 1);
    assert.equal(lane.stage.conversations, 0);
    assert.equal(lane.stage.stateHash(), empty);
    lane.step(sender.next({ kind: Kind.MESSAGE }));
    assertRejected(lane.step(sender.frame({ kind: Kind.MESSAGE, counter: 9 })), ErrorCodes.COUNTER_GAP, 2);
    assert.equal(only(lane.step(sender.next({ kind: Kind.MESSAGE }))).seq, 2);
  });

  it('that was refused for good stays refused, even when it would be allowed later', () => {
    const lane = new TestLane();
    const admin = new Sender(1, 0, 5);
    const guest = new Sender(2, 0, 5);
    const early = guest.next({ kind: Kind.MESSAGE });
    assertRejected(lane.step(early), ErrorCodes.NO_GROUP);
    lane.step(admin.next({ kind: Kind.GROUP_CREATE, payload: encodeMembers([2]) }));
    assertRejected(lane.step(early), ErrorCodes.NO_GROUP);
    assert.equal(only(lane.step(guest.next({ kind: Kind.MESSAGE }))).seq, 2);
    // Once another outcome is the last, what is known is that it was taken.
    const late = lane.step(early);
    assert.deepEqual([only(late).kind, only(late).seq], [Kind.SENT, 0]);
  });

  it('counts for each device and each conversation alone', () => {
    const lane = new TestLane();
    const senders = [new Sender(1, 1, 2, 1), new Sender(1, 1, 2, 2), new Sender(1, 1, 3, 1)];
    const entries = lane.step(...senders.map((sender) => sender.next({ kind: Kind.MESSAGE })));
    assert.equal(ofKind(entries, Kind.REJECT).length, 0);
    assert.equal(lane.stage.conversations, 2);
  });

  it('is its own sender’s, however alike two ids are', () => {
    // Users whose ids have the same low word, and users whose device keys have.
    for (const other of [1 + 2 ** 32, 1 + 2 ** 25]) {
      const lane = new TestLane();
      const one = new Sender(1, 1, other);
      const two = new Sender(other, 1, other);
      lane.step(one.next({ kind: Kind.MESSAGE }));
      assert.equal(only(lane.step(two.next({ kind: Kind.MESSAGE }))).seq, 2);
      assert.equal(only(lane.step(two.next({ kind: Kind.MESSAGE }))).seq, 3);
      assert.equal(only(lane.step(one.next({ kind: Kind.MESSAGE }))).seq, 4);
      const [info] = ofKind(lane.step(one.frame({ kind: Kind.INFO })), Kind.INFO);
      // Each has what it wrote itself, up to the first that it did not.
      assert.deepEqual(
        readMemberRows(info!.payload)!.map(({ user, delivered }) => [user, delivered]),
        [
          [1, 1],
          [other, 0],
        ],
      );
    }
  });

  it('from no device of a user is ignored', () => {
    const lane = new TestLane();
    for (const device of [deviceKey(1, 0), 5, (2 ** 45 + 1) * 128 + 1]) {
      assert.deepEqual(lane.step({ kind: Kind.MESSAGE, convA: 1, convB: 2, device, counter: 1 }), []);
    }
    assert.equal(lane.stage.conversations, 0);
  });
});

describe('a message', () => {
  const refused: [string, Fields, ErrorCode][] = [
    ['to itself', { kind: 1, convA: 1, convB: 1 }, ErrorCodes.BAD_CONVERSATION],
    ['with its users out of order', { kind: 1, convA: 2, convB: 1 }, ErrorCodes.BAD_CONVERSATION],
    ['to group 0', { kind: 1, convA: 0, convB: 0 }, ErrorCodes.BAD_CONVERSATION],
    ['to a group above the highest', { kind: 1, convA: 0, convB: 2 ** 52 }, ErrorCodes.BAD_CONVERSATION],
    ['to a user above the highest', { kind: 1, convA: 1, convB: 2 ** 45 }, ErrorCodes.BAD_CONVERSATION],
    ['into a conversation of others', { kind: 1, convA: 2, convB: 3 }, ErrorCodes.NOT_MEMBER],
    ['without a counter', { kind: 1, convA: 1, convB: 2, counter: 0 }, ErrorCodes.BAD_VALUE],
  ];
  for (const [name, fields, error] of refused) {
    it(`${name} is refused and makes nothing`, () => {
      const lane = new TestLane();
      const frame = { device: deviceKey(1, 1), counter: 1, ...fields };
      assertRejected(lane.step(frame), error);
      assertRejected(lane.step(frame), error);
      assert.equal(lane.stage.conversations, 0);
    });
  }

  const limits: [string, Partial<Frame>, ErrorCode | undefined][] = [
    ['the longest time to live', { extra: MESSAGE_TTL_S_MAX }, undefined],
    ['more than that', { extra: MESSAGE_TTL_S_MAX + 1 }, ErrorCodes.BAD_VALUE],
    ['the largest payload', { payload: new Uint8Array(PAYLOAD_BYTES_MAX) }, undefined],
    ['one byte more', { payload: new Uint8Array(PAYLOAD_BYTES_MAX + 1) }, ErrorCodes.TOO_LARGE],
    ['a device table', { flags: Flag.DEVICE_TABLE, payload: encodeDeviceTable([]) }, undefined],
    [
      'the largest device table',
      {
        flags: Flag.DEVICE_TABLE,
        payload: encodeDeviceTable([{ device: 257, bytes: new Uint8Array(TABLE_PAYLOAD_BYTES_MAX - 20) }]),
      },
      undefined,
    ],
    [
      'a larger one',
      { flags: Flag.DEVICE_TABLE, payload: new Uint8Array(TABLE_PAYLOAD_BYTES_MAX + 1) },
      ErrorCodes.TOO_LARGE,
    ],
    ['no device table', { flags: Flag.DEVICE_TABLE, payload: Uint8Array.of(0xdd, 0, 0, 0, 1) }, ErrorCodes.BAD_TABLE],
  ];
  for (const [name, fields, error] of limits) {
    it(`with ${name} is ${error === undefined ? 'taken' : `refused with ${error.name}, and uses its counter up`}`, () => {
      const lane = new TestLane();
      const sender = new Sender(1, 1, 2);
      const entries = lane.step(sender.next({ kind: Kind.MESSAGE, ...fields }));
      if (error === undefined) assert.equal(only(entries).seq, 1);
      else assertRejected(entries, error);
      assert.equal(only(lane.step(sender.next({ kind: Kind.MESSAGE }))).seq, error === undefined ? 2 : 1);
    });
  }

  it('carries on only the flag that is its own', () => {
    const lane = new TestLane();
    const sender = new Sender(1, 1, 2);
    const payload = encodeDeviceTable([]);
    assert.equal(only(lane.step(sender.next({ kind: Kind.MESSAGE, flags: 255, payload }))).flags, Flag.DEVICE_TABLE);
    assert.equal(only(lane.step(sender.next({ kind: Kind.MESSAGE, flags: 254 }))).flags, 0);
  });

  it('is refused in a conversation that has no sequence left', () => {
    const lane = new TestLane();
    const sender = new Sender(1, 1, 2);
    lane.step(sender.next({ kind: Kind.MESSAGE }));
    const [chunk] = lane.commit();
    // A record: its length, four words of the conversation's key, the head.
    new DataView(chunk!.buffer, chunk!.byteOffset).setUint32(5 * 4, SEQUENCE_MAX - 1, true);
    lane.stage = lane.restore();
    assert.equal(only(lane.step(sender.next({ kind: Kind.MESSAGE }))).seq, SEQUENCE_MAX);
    assertRejected(lane.step(sender.next({ kind: Kind.MESSAGE })), ErrorCodes.SEQUENCE_END);
  });
});

it('a group change in a direct conversation is refused and uses its counter up', () => {
  const lane = new TestLane();
  const sender = new Sender(1, 1, 2);
  for (const kind of [Kind.GROUP_CREATE, Kind.GROUP_ADD, Kind.GROUP_REMOVE, Kind.GROUP_LEAVE, Kind.GROUP_ROLE]) {
    const frame = sender.next({ kind, payload: encodeMembers([3]) });
    assertRejected(lane.step(frame), ErrorCodes.BAD_CONVERSATION);
  }
  assert.equal(only(lane.step(makeFrame(sender.next({ kind: Kind.MESSAGE })))).seq, 1);
});
