import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { Flag, Kind } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { GROUP_MEMBERS_MAX } from '../../core/limits.js';
import { encodeMembers, type MemberRow, readMemberRows } from '../../core/members.js';
import { type Entry, ofKind, receivers, Sender, TestLane } from './testing.js';

const GROUP = 5;

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, n) => first + n);
}

/** One group, and a device a user. */
class Group {
  readonly lane = new TestLane();
  readonly #senders = new Map<number, Sender>();

  sender(user: number): Sender {
    const sender = this.#senders.get(user) ?? new Sender(user, 0, GROUP);
    this.#senders.set(user, sender);
    return sender;
  }

  change(user: number, kind: number, users: readonly number[] = [], extra = 0): Entry[] {
    const payload = kind === Kind.GROUP_LEAVE ? new Uint8Array(0) : encodeMembers(users);
    return this.lane.step(this.sender(user).next({ kind, payload, extra }));
  }

  create(user: number, others: readonly number[]): Entry[] {
    return this.change(user, Kind.GROUP_CREATE, others);
  }

  message(user: number): Entry[] {
    return this.lane.step(this.sender(user).next({ kind: Kind.MESSAGE }));
  }

  members(as: number): MemberRow[] {
    const [info] = ofKind(this.lane.step(this.sender(as).frame({ kind: Kind.INFO })), Kind.INFO);
    return readMemberRows(info!.payload)!;
  }

  admins(as: number): number[] {
    return this.members(as)
      .filter(({ role }) => role === 1)
      .map(({ user }) => user);
  }
}

function errorOf(entries: readonly Entry[]): number | undefined {
  return ofKind(entries, Kind.REJECT)[0]?.extra;
}

function assertRejected(entries: readonly Entry[], error: ErrorCode): void {
  assert.equal(errorOf(entries), error.code, error.name);
}

describe('membership', () => {
  it('begins with the frame that names a member and ends with the one that removes it', () => {
    const group = new Group();
    assert.deepEqual(receivers(group.create(1, [2, 3]), Kind.GROUP_CREATE), [1, 2, 3]);
    assert.deepEqual(receivers(group.change(1, Kind.GROUP_ADD, [4]), Kind.GROUP_ADD), [1, 2, 3, 4]);
    assert.deepEqual(receivers(group.change(1, Kind.GROUP_REMOVE, [2, 4]), Kind.GROUP_REMOVE), [1, 2, 3, 4]);
    assert.deepEqual(receivers(group.message(3), Kind.MESSAGE), [1, 3]);
    assert.deepEqual(receivers(group.change(3, Kind.GROUP_LEAVE), Kind.GROUP_LEAVE), [1, 3]);
    assert.deepEqual(receivers(group.message(1), Kind.MESSAGE), [1]);
    assertRejected(group.message(2), ErrorCodes.NOT_MEMBER);
  });

  it('begins anew for who is added again: with nothing of what was before', () => {
    const group = new Group();
    group.create(1, [2]);
    group.change(1, Kind.GROUP_ROLE, [2], 1);
    group.message(2);
    group.change(1, Kind.GROUP_REMOVE, [2]);
    group.message(1);
    group.change(1, Kind.GROUP_ADD, [2]);
    const [, row] = group.members(1);
    assert.deepEqual(row, { user: 2, role: 0, joinedSeq: 6, delivered: 5, read: 5 });
    assert.equal(ofKind(group.message(2), Kind.MESSAGE)[0]!.counter, 2, 'its counter goes on');
  });

  it('of two admins who remove each other, the first in the log stays', () => {
    const group = new Group();
    group.create(1, [2, 3]);
    group.change(1, Kind.GROUP_ROLE, [2], 1);
    const remove = (user: number, other: number) =>
      group.sender(user).next({ kind: Kind.GROUP_REMOVE, payload: encodeMembers([other]) });
    const entries = group.lane.step(remove(2, 1), remove(1, 2));
    assert.deepEqual(receivers(entries, Kind.GROUP_REMOVE), [1, 2, 3]);
    assertRejected(entries, ErrorCodes.NOT_MEMBER);
    assert.deepEqual(group.admins(2), [2]);
  });

  it('costs nothing once it is over, however many came and went', () => {
    const group = new Group();
    group.create(1, [2]);
    const exported = (): number => {
      let bytes = 0;
      group.lane.stage.exportAll(0, 1e9, (chunk) => {
        bytes += chunk.length;
      });
      return bytes;
    };
    const before = exported();
    for (let round = 0; round < 20; round++) {
      const users = range(1_000 + round * 1_000, 1_000);
      group.change(1, Kind.GROUP_ADD, users);
      group.change(1, Kind.GROUP_REMOVE, users);
    }
    assert.equal(exported(), before);
    assert.deepEqual(receivers(group.message(1), Kind.MESSAGE), [1, 2]);
  });
});

describe('a group change', () => {
  it('is an admin’s, except leaving', () => {
    const group = new Group();
    group.create(1, [2, 3]);
    for (const kind of [Kind.GROUP_ADD, Kind.GROUP_REMOVE, Kind.GROUP_ROLE]) {
      assertRejected(group.change(2, kind, [3]), ErrorCodes.NOT_ADMIN);
      assertRejected(group.change(9, kind, [3]), ErrorCodes.NOT_MEMBER);
    }
    assert.equal(errorOf(group.change(2, Kind.GROUP_LEAVE)), undefined);
  });

  it('that changes nothing is refused', () => {
    const group = new Group();
    group.create(1, [2, 3]);
    assertRejected(group.create(1, [4]), ErrorCodes.GROUP_EXISTS);
    assertRejected(group.create(9, [4]), ErrorCodes.GROUP_EXISTS);
    assertRejected(group.change(1, Kind.GROUP_ADD, [2, 3]), ErrorCodes.NO_CHANGE);
    assertRejected(group.change(1, Kind.GROUP_REMOVE, [8, 9]), ErrorCodes.NO_CHANGE);
    assertRejected(group.change(1, Kind.GROUP_ROLE, [2, 9], 0), ErrorCodes.NO_CHANGE);
    assertRejected(group.change(1, Kind.GROUP_ROLE, [1], 1), ErrorCodes.NO_CHANGE);
    assertRejected(group.change(1, Kind.GROUP_ROLE, [1], 2), ErrorCodes.BAD_VALUE);
    assert.deepEqual(receivers(group.message(1), Kind.MESSAGE), [1, 2, 3]);
  });

  it('with a malformed list, or leaving with a payload, is refused', () => {
    const group = new Group();
    const list = Uint8Array.of(0x92, 2, 2);
    assertRejected(
      group.lane.step(group.sender(1).next({ kind: Kind.GROUP_CREATE, payload: list })),
      ErrorCodes.BAD_MEMBERS,
    );
    group.create(1, [2]);
    for (const kind of [Kind.GROUP_ADD, Kind.GROUP_REMOVE, Kind.GROUP_ROLE]) {
      assertRejected(group.lane.step(group.sender(1).next({ kind, payload: list })), ErrorCodes.BAD_MEMBERS);
    }
    const leave = group.sender(2).next({ kind: Kind.GROUP_LEAVE, payload: Uint8Array.of(1) });
    assertRejected(group.lane.step(leave), ErrorCodes.BAD_VALUE);
    assert.equal(group.members(2).length, 2);
  });

  it('in a group that was never made is refused', () => {
    const group = new Group();
    for (const kind of [Kind.GROUP_ADD, Kind.GROUP_REMOVE, Kind.GROUP_ROLE, Kind.GROUP_LEAVE]) {
      assertRejected(group.change(1, kind, [2]), ErrorCodes.NO_GROUP);
    }
    // Its counters went on, so the group can be made by the same device.
    assert.equal(errorOf(group.create(1, [2])), undefined);
  });

  it('carries no flag to those who see it', () => {
    const group = new Group();
    const create = group.sender(1).next({ kind: Kind.GROUP_CREATE, payload: encodeMembers([2]), flags: 255 });
    assert.equal(ofKind(group.lane.step(create), Kind.GROUP_CREATE)[0]!.flags, 0);
    assert.equal(Flag.DEVICE_TABLE, 1);
  });
});

describe(`${GROUP_MEMBERS_MAX} members`, () => {
  it('are the most that a group is made with', () => {
    assertRejected(new Group().create(1, range(2, GROUP_MEMBERS_MAX)), ErrorCodes.GROUP_FULL);
    const group = new Group();
    const entries = group.create(1, range(2, GROUP_MEMBERS_MAX - 1));
    assert.deepEqual(receivers(entries, Kind.GROUP_CREATE), range(1, GROUP_MEMBERS_MAX));
    // The creator counts once, named or not.
    assert.equal(errorOf(new Group().create(1, range(1, GROUP_MEMBERS_MAX))), undefined);
    assertRejected(new Group().create(1, range(1, GROUP_MEMBERS_MAX + 1)), ErrorCodes.GROUP_FULL);
    assertRejected(new Group().create(1, range(2, 5_000)), ErrorCodes.GROUP_FULL);
  });

  it('are the most that it grows to, and all of them can be removed at once', () => {
    const group = new Group();
    group.create(1, range(2, GROUP_MEMBERS_MAX - 2));
    assertRejected(group.change(1, Kind.GROUP_ADD, [5_000, 5_001]), ErrorCodes.GROUP_FULL);
    assertRejected(group.change(1, Kind.GROUP_ADD, range(1, 5_000)), ErrorCodes.GROUP_FULL);
    assertRejected(group.change(1, Kind.GROUP_REMOVE, range(1, 5_000)), ErrorCodes.BAD_MEMBERS);
    const added = group.change(1, Kind.GROUP_ADD, [5_000, 2]);
    assert.equal(receivers(added, Kind.GROUP_ADD).length, GROUP_MEMBERS_MAX);
    assert.equal(receivers(group.message(5_000), Kind.MESSAGE).length, GROUP_MEMBERS_MAX);
    const everybody = [...range(1, GROUP_MEMBERS_MAX - 1), 5_000];
    const removed = group.change(1, Kind.GROUP_REMOVE, everybody);
    assert.equal(receivers(removed, Kind.GROUP_REMOVE).length, GROUP_MEMBERS_MAX);
    assertRejected(group.message(1), ErrorCodes.NOT_MEMBER);
    assertRejected(group.create(1, [2]), ErrorCodes.GROUP_EXISTS);
  });
});

describe('an admin', () => {
  it('is who made the group, and who is made one', () => {
    const group = new Group();
    group.create(3, [2, 1]);
    assert.deepEqual(group.admins(3), [3]);
    group.change(3, Kind.GROUP_ROLE, [1, 2], 1);
    group.change(1, Kind.GROUP_ROLE, [3, 2], 0);
    assert.deepEqual(group.admins(3), [1]);
  });

  it('who is the last is followed by who joined first; of those who joined together, the first named', () => {
    const group = new Group();
    group.create(1, [4, 3]);
    group.change(1, Kind.GROUP_ADD, [2]);
    // User 4 leaves and comes again: it is the last now.
    group.change(4, Kind.GROUP_LEAVE);
    group.change(1, Kind.GROUP_ADD, [9, 4]);
    group.change(1, Kind.GROUP_LEAVE);
    assert.deepEqual(group.admins(2), [3]);
    group.change(3, Kind.GROUP_REMOVE, [3, 2]);
    assert.deepEqual(group.admins(4), [9]);
  });

  it('who is the last and gives it up is followed too, by itself if it joined first', () => {
    const group = new Group();
    group.create(1, [2]);
    group.change(1, Kind.GROUP_ROLE, [1], 0);
    assert.deepEqual(group.admins(1), [1]);
    group.change(1, Kind.GROUP_ROLE, [2], 1);
    group.change(1, Kind.GROUP_ROLE, [1], 0);
    group.change(2, Kind.GROUP_ROLE, [2], 0);
    assert.deepEqual(group.admins(1), [1]);
  });

  it('is restored with the state', () => {
    const group = new Group();
    group.create(1, [2, 3]);
    group.lane.checkRestore();
    group.lane.stage = group.lane.restore();
    group.change(1, Kind.GROUP_LEAVE);
    assert.deepEqual(group.admins(2), [2]);
  });
});

it('a group that all have left can be restored', () => {
  const group = new Group();
  group.create(1, [2]);
  group.message(1);
  group.lane.step({ kind: Kind.DELIVERED, convA: 0, convB: GROUP, device: deviceKey(2, 0), seq: 2 });
  group.change(2, Kind.GROUP_LEAVE);
  group.change(1, Kind.GROUP_LEAVE);
  group.lane.checkRestore();
});
