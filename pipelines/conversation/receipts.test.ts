import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ErrorCodes } from '../../core/errors.js';
import { Kind } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { encodeMembers } from '../../core/members.js';
import { type Entry, ofKind, Sender, TestLane } from './testing.js';

/** Receipts as [recipient, whose, delivered, read], by recipient. */
function receipts(entries: readonly Entry[]): number[][] {
  return entries
    .filter(({ frame }) => frame.kind === Kind.RECEIPT)
    .flatMap(({ frame, recipients }) => recipients.map((to) => [to, frame.device / 128, frame.seq, frame.extra]))
    .toSorted((one, other) => one[0]! - other[0]!);
}

function ofKindEntries(entries: readonly Entry[]): Entry[] {
  return entries.filter(({ frame }) => frame.kind === Kind.RECEIPT);
}

/** Users and what they do in one conversation. */
class Talk {
  readonly lane = new TestLane();
  readonly #a: number;
  readonly #b: number;
  readonly #senders = new Map<number, Sender>();

  constructor(a: number, b: number) {
    this.#a = a;
    this.#b = b;
  }

  send(user: number, kind: number = Kind.MESSAGE, users: readonly number[] = []): Entry[] {
    const sender = this.#senders.get(user) ?? new Sender(user, this.#a, this.#b);
    this.#senders.set(user, sender);
    const payload = users.length > 0 ? encodeMembers(users) : new Uint8Array(0);
    return this.lane.step(sender.next({ kind, payload }));
  }

  delivered(user: number, seq: number): number[][] {
    const device = deviceKey(user, 0);
    return receipts(this.lane.step({ kind: Kind.DELIVERED, convA: this.#a, convB: this.#b, device, seq }));
  }

  read(user: number, seq: number): Entry[] {
    const device = deviceKey(user, 1);
    return this.lane.step({ kind: Kind.READ, convA: this.#a, convB: this.#b, device, seq, counter: 7 });
  }
}

describe('in a direct conversation', () => {
  it('the other party learns what was delivered and read; the reader’s own devices what was read', () => {
    const talk = new Talk(1, 2);
    for (let n = 0; n < 3; n++) talk.send(1);
    assert.deepEqual(talk.delivered(2, 2), [[1, 2, 2, 0]]);
    assert.deepEqual(receipts(talk.read(2, 1)), [
      [1, 2, 2, 1],
      [2, 2, 2, 1],
    ]);
    assert.deepEqual(receipts(talk.read(2, 3)), [
      [1, 2, 3, 3],
      [2, 2, 3, 3],
    ]);
  });

  it('the device that read need not be told, its user’s others are', () => {
    const talk = new Talk(1, 2);
    talk.send(1);
    const told = ofKindEntries(talk.read(2, 1)).map(({ recipients, except }) => [...recipients, except]);
    assert.deepEqual(told.toSorted(), [
      [1, 0],
      [2, 1],
    ]);
  });

  it('a watermark only grows, and never beyond the head', () => {
    const talk = new Talk(1, 2);
    for (let n = 0; n < 3; n++) talk.send(1);
    assert.deepEqual(talk.delivered(2, 99), [[1, 2, 3, 0]]);
    assert.deepEqual(talk.delivered(2, 2), []);
    talk.read(2, 2);
    assert.deepEqual(talk.read(2, 1), []);
    assert.deepEqual(talk.read(2, 2), []);
    const [reject] = ofKind(talk.read(2, 4), Kind.REJECT);
    assert.deepEqual([reject!.extra, reject!.seq], [ErrorCodes.BEYOND_HEAD.code, 3]);
  });

  it('who writes has read what was before only if it said so', () => {
    const talk = new Talk(1, 2);
    talk.send(1);
    talk.send(1);
    talk.send(2);
    assert.deepEqual(talk.delivered(2, 1), [[1, 2, 1, 0]]);
    talk.read(1, 3);
    talk.send(1);
    assert.deepEqual(receipts(talk.read(1, 4)), [], 'read by writing it');
  });

  it('a refused READ is no answer to a counter', () => {
    const talk = new Talk(1, 2);
    talk.send(1);
    const [reject] = ofKind(talk.read(3, 1), Kind.REJECT);
    assert.deepEqual([reject!.extra, reject!.counter], [ErrorCodes.NOT_MEMBER.code, 0]);
  });

  it('nothing can be read before somebody writes', () => {
    const talk = new Talk(1, 2);
    assert.deepEqual(talk.read(1, 0), []);
    const [reject] = ofKind(talk.read(1, 1), Kind.REJECT);
    assert.deepEqual([reject!.extra, reject!.seq], [ErrorCodes.BEYOND_HEAD.code, 0]);
    assert.equal(ofKind(talk.read(3, 0), Kind.REJECT)[0]!.extra, ErrorCodes.NOT_MEMBER.code);
    assert.deepEqual(talk.delivered(1, 1), []);
    assert.equal(talk.lane.stage.conversations, 0);
  });
});

describe('in a group', () => {
  function group(): Talk {
    const talk = new Talk(0, 5);
    talk.send(1, Kind.GROUP_CREATE, [2, 3]);
    return talk;
  }

  it('senders learn the minimum over the members, when it moves over a message of theirs', () => {
    const talk = group();
    talk.send(1);
    assert.deepEqual(talk.delivered(2, 2), []);
    assert.deepEqual(talk.delivered(3, 1), [[1, 0, 1, 0]]);
    talk.send(2);
    assert.deepEqual(talk.delivered(3, 2), [
      [1, 0, 2, 0],
      [2, 0, 2, 0],
    ]);
    // User 1 sent nothing above 2.
    talk.delivered(1, 3);
    assert.deepEqual(talk.delivered(3, 3), [[2, 0, 3, 0]]);
  });

  it('a read moves both minima with one receipt, and is told to the reader’s own devices', () => {
    const talk = group();
    talk.send(1);
    talk.read(2, 2);
    assert.deepEqual(receipts(talk.read(3, 2)), [
      [1, 0, 2, 2],
      [3, 3, 2, 2],
    ]);
  });

  it('who leaves no longer holds the minimum back', () => {
    const talk = group();
    talk.send(1);
    talk.delivered(2, 2);
    assert.deepEqual(receipts(talk.send(3, Kind.GROUP_LEAVE)), [[1, 0, 2, 0]]);
    assert.deepEqual(talk.delivered(3, 3), []);
    assert.equal(ofKind(talk.read(3, 3), Kind.REJECT)[0]!.extra, ErrorCodes.NOT_MEMBER.code);
  });

  it('who joins does not bring the minimum down', () => {
    const talk = group();
    talk.send(1);
    talk.delivered(2, 2);
    talk.delivered(3, 2);
    assert.deepEqual(receipts(talk.send(1, Kind.GROUP_ADD, [4])), []);
    talk.delivered(2, 3);
    talk.delivered(3, 3);
    assert.deepEqual(talk.delivered(4, 3), [[1, 0, 3, 0]]);
  });

  it('that was never made, nothing can be read', () => {
    const talk = new Talk(0, 5);
    assert.equal(ofKind(talk.read(1, 0), Kind.REJECT)[0]!.extra, ErrorCodes.NO_GROUP.code);
    talk.send(1);
    assert.equal(ofKind(talk.read(1, 0), Kind.REJECT)[0]!.extra, ErrorCodes.NO_GROUP.code);
  });

  it('the minimum is right again after a restart', () => {
    const talk = group();
    talk.send(1);
    talk.delivered(2, 2);
    talk.lane.checkRestore();
    talk.lane.stage = talk.lane.restore();
    assert.deepEqual(talk.delivered(3, 2), [[1, 0, 2, 0]]);
  });
});
