import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ErrorCodes } from '../../core/errors.js';
import { Kind } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { TYPING_INTERVAL_MS, TYPING_MEMBERS_MAX } from '../../core/limits.js';
import { encodeMembers, readMemberRows } from '../../core/members.js';
import { ofKind, receivers, Sender, TestLane } from './testing.js';

describe('INFO', () => {
  it('says who is there, how far everybody is, and the device’s own counter', () => {
    const lane = new TestLane();
    const one = new Sender(1, 1, 2);
    lane.step(one.next({ kind: Kind.MESSAGE }), one.next({ kind: Kind.MESSAGE }));
    lane.step({ kind: Kind.READ, convA: 1, convB: 2, device: deviceKey(2, 1), seq: 1 });
    const ask = (device: number) => lane.step({ kind: Kind.INFO, convA: 1, convB: 2, device });
    const entries = ask(one.device);
    assert.deepEqual(receivers(entries, Kind.INFO), [1]);
    const [info] = ofKind(entries, Kind.INFO);
    assert.deepEqual([info!.counter, info!.seq, info!.inbox, info!.device], [2, 2, 0, one.device]);
    assert.deepEqual(readMemberRows(info!.payload), [
      { user: 1, role: 0, joinedSeq: 1, delivered: 2, read: 2 },
      { user: 2, role: 0, joinedSeq: 1, delivered: 1, read: 1 },
    ]);
    assert.equal(ofKind(ask(deviceKey(2, 3)), Kind.INFO)[0]!.counter, 0);
  });

  it('counts refused frames, since they take their counter', () => {
    const lane = new TestLane();
    const one = new Sender(1, 1, 2);
    lane.step(one.next({ kind: Kind.MESSAGE, extra: 2 ** 32 - 1 }));
    const [info] = ofKind(lane.step(one.frame({ kind: Kind.INFO })), Kind.INFO);
    assert.deepEqual([info!.counter, info!.seq], [1, 0]);
  });

  it('about a direct conversation in which nobody wrote is answered to its two users, and makes nothing', () => {
    const lane = new TestLane();
    const ask = (user: number) => lane.step({ kind: Kind.INFO, convA: 1, convB: 2, device: deviceKey(user, 1) });
    for (const user of [1, 2]) {
      const [info] = ofKind(ask(user), Kind.INFO);
      assert.deepEqual([info!.counter, info!.seq], [0, 0]);
      assert.deepEqual(
        readMemberRows(info!.payload),
        [1, 2].map((each) => ({ user: each, role: 0, joinedSeq: 1, delivered: 0, read: 0 })),
      );
    }
    assert.equal(ofKind(ask(3), Kind.REJECT)[0]!.extra, ErrorCodes.NOT_MEMBER.code);
    assert.equal(lane.stage.conversations, 0);
  });

  it('tells no outsider anything, and says when there is no group', () => {
    const lane = new TestLane();
    const outsider = new Sender(9, 0, 5);
    const code = () => ofKind(lane.step(outsider.frame({ kind: Kind.INFO })), Kind.REJECT)[0]!.extra;
    assert.equal(code(), ErrorCodes.NO_GROUP.code);
    // A row for its counter is no group either.
    lane.step(outsider.next({ kind: Kind.MESSAGE }));
    assert.equal(code(), ErrorCodes.NO_GROUP.code);
    lane.step(new Sender(1, 0, 5).next({ kind: Kind.GROUP_CREATE, payload: encodeMembers([2]) }));
    assert.equal(code(), ErrorCodes.NOT_MEMBER.code);
    const [reject] = ofKind(lane.step({ kind: Kind.INFO, convA: 2, convB: 1, device: 129 }), Kind.REJECT);
    assert.equal(reject!.extra, ErrorCodes.BAD_CONVERSATION.code);
  });
});

describe('TYPING', () => {
  function typing(lane: TestLane, isTyping: boolean, user = 1): number[] {
    const entries = lane.step(new Sender(user, 1, 2).frame({ kind: Kind.TYPING, extra: isTyping ? 1 : 0 }));
    return ofKind(entries, Kind.TYPING).map(({ extra }) => extra);
  }

  it('is passed on when it changes, or when it goes on for a while', () => {
    const lane = new TestLane();
    lane.step(new Sender(1, 1, 2).next({ kind: Kind.MESSAGE }));
    assert.deepEqual(typing(lane, false), [], 'it did not type before');
    assert.deepEqual(typing(lane, true), [1]);
    assert.deepEqual(typing(lane, true, 2), [1], 'each sender for itself');
    lane.nowMs += TYPING_INTERVAL_MS - 2;
    assert.deepEqual(typing(lane, true), []);
    lane.nowMs += 2;
    assert.deepEqual(typing(lane, true), [1]);
    lane.nowMs += TYPING_INTERVAL_MS - 2;
    assert.deepEqual(typing(lane, true), [], 'the time runs from what was passed on');
    assert.deepEqual(typing(lane, false), [0]);
    assert.deepEqual(typing(lane, false), []);
    assert.deepEqual(typing(lane, true), [1]);
  });

  it('is throttled across the wrap of its clock', () => {
    const lane = new TestLane();
    lane.nowMs = 400 * 2 ** 32 - 4;
    lane.step(new Sender(1, 1, 2).next({ kind: Kind.MESSAGE }));
    assert.deepEqual(typing(lane, true), [1]);
    lane.nowMs += 8;
    assert.deepEqual(typing(lane, true), []);
    lane.nowMs += TYPING_INTERVAL_MS;
    assert.deepEqual(typing(lane, true), [1]);
  });

  it('goes to the others only, is nobody else’s, and is nothing where nobody wrote', () => {
    const lane = new TestLane();
    assert.deepEqual(typing(lane, true), []);
    assert.equal(lane.stage.conversations, 0);
    lane.step(new Sender(1, 0, 5).next({ kind: Kind.GROUP_CREATE, payload: encodeMembers([2, 3]) }));
    const inGroup = (user: number) => lane.step(new Sender(user, 0, 5).frame({ kind: Kind.TYPING, extra: 9 }));
    const entries = inGroup(2);
    assert.deepEqual(receivers(entries, Kind.TYPING), [1, 3]);
    assert.deepEqual(
      ofKind(entries, Kind.TYPING).map(({ extra }) => extra),
      entries.map(() => 1),
    );
    assert.deepEqual(inGroup(4), []);
  });

  it(`is not passed on in groups of more than ${TYPING_MEMBERS_MAX}`, () => {
    for (const [members, expected] of [
      [TYPING_MEMBERS_MAX, TYPING_MEMBERS_MAX - 1],
      [TYPING_MEMBERS_MAX + 1, 0],
    ] as const) {
      const lane = new TestLane();
      const users = Array.from({ length: members - 1 }, (_, n) => n + 2);
      const creator = new Sender(1, 0, 5);
      lane.step(creator.next({ kind: Kind.GROUP_CREATE, payload: encodeMembers(users) }));
      const entries = lane.step(creator.frame({ kind: Kind.TYPING, extra: 1 }));
      assert.equal(receivers(entries, Kind.TYPING).length, expected);
    }
  });
});
