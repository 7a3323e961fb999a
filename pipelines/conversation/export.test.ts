import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Kind } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { STORE_CHUNK_BYTES } from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { type Fields, Sender, TestLane } from './testing.js';

/** A group of 1,000 in which each member sent from two devices: about 72 KB. */
function largeGroup(lane: TestLane, id: number): void {
  const users = Array.from({ length: 1_000 }, (_, n) => n + 2);
  lane.step(new Sender(1, 0, id).next({ kind: Kind.GROUP_CREATE, payload: encodeMembers(users) }));
  for (const number of [1, 2]) {
    lane.step(...users.map((user) => new Sender(user, 0, id, number).next({ kind: Kind.MESSAGE })));
  }
}

function directs(lane: TestLane, count: number, first = 2): void {
  const frames: Fields[] = [];
  for (let user = first; user < first + count; user++) {
    frames.push({ kind: Kind.MESSAGE, convA: 1, convB: user, device: deviceKey(1, 1), counter: 1 });
  }
  lane.step(...frames);
}

function bytesOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

describe('an export', () => {
  it('cuts a conversation that is too large for a chunk, and puts it together again', () => {
    const lane = new TestLane();
    largeGroup(lane, 5);
    const expected = lane.stage.dirtyBytes;
    const chunks = lane.commit();
    assert.ok(chunks.length >= 2);
    assert.ok(bytesOf(chunks) > STORE_CHUNK_BYTES);
    assert.ok(Math.abs(expected - bytesOf(chunks)) < 200, `dirtyBytes said ${expected}, it has ${bytesOf(chunks)}`);
    assert.equal(lane.restore().stateHash(), lane.stage.stateHash());
  });

  it('takes members out that a chunk before it had', () => {
    const lane = new TestLane();
    largeGroup(lane, 5);
    lane.commit();
    const admin = new Sender(1, 0, 5);
    admin.counter = 1;
    lane.step(admin.next({ kind: Kind.GROUP_REMOVE, payload: encodeMembers([2, 500, 1_001]) }));
    lane.checkRestore();
    lane.stage = lane.restore();
    lane.step(admin.next({ kind: Kind.GROUP_ADD, payload: encodeMembers([500]) }));
    lane.checkRestore();
  });

  it('packs small conversations into full chunks', () => {
    const lane = new TestLane();
    directs(lane, 5_000);
    const chunks = lane.commit();
    assert.equal(chunks.length, Math.ceil(bytesOf(chunks) / (STORE_CHUNK_BYTES - 200)));
    assert.equal(lane.restore().conversations, 5_000);
    assert.equal(lane.restore().stateHash(), lane.stage.stateHash());
  });

  it('begins a chunk with the record that would pass the end of the one before by a word', () => {
    const lane = new TestLane();
    // 408 records of 30 words, one of 14 (a group of which only a counter is known) and one of 35 (two devices): 12,289.
    directs(lane, 408);
    lane.step(new Sender(1, 0, 5).next({ kind: Kind.MESSAGE }));
    lane.step(new Sender(1, 1, 900).next({ kind: Kind.MESSAGE }), new Sender(900, 1, 900).next({ kind: Kind.MESSAGE }));
    assert.equal(lane.stage.dirtyBytes, STORE_CHUNK_BYTES + 4);
    assert.equal(lane.commit().length, 2);
    assert.equal(lane.restore().stateHash(), lane.stage.stateHash());
  });

  it('has what changed since the last, once, and says before how much that is', () => {
    const lane = new TestLane();
    directs(lane, 100);
    const one = bytesOf(lane.commit()) / 100;
    assert.deepEqual(lane.commit(), []);
    for (let counter = 2; counter < 50; counter++) {
      lane.step({ kind: Kind.MESSAGE, convA: 1, convB: 2, device: deviceKey(1, 1), counter });
    }
    assert.equal(lane.stage.dirtyBytes, one);
    assert.equal(bytesOf(lane.commit()), one);
    // Refused for now, or told twice: nothing changed.
    lane.step({ kind: Kind.MESSAGE, convA: 1, convB: 2, device: deviceKey(1, 1), counter: 99 });
    lane.step({ kind: Kind.INFO, convA: 1, convB: 2, device: deviceKey(1, 1) });
    lane.step({ kind: Kind.DELIVERED, convA: 1, convB: 2, device: deviceKey(1, 0), seq: 1 });
    assert.equal(lane.stage.dirtyBytes, 0);
  });

  it('of the whole goes on where it stopped, however small the pieces are and whatever is stepped between them', () => {
    for (const piece of [1, 500, 20_000, 1e9]) {
      const lane = new TestLane();
      directs(lane, 40);
      largeGroup(lane, 5);
      lane.commit();
      for (let n = 0; n < 200; n++) {
        lane.exportPart(piece);
        if (n % 20 === 0) directs(lane, 1, 1_000 + n);
        if (n % 50 === 0) lane.commit();
      }
      lane.checkRestore();
    }
  });

  it('can be taken from anywhere in memory', () => {
    const lane = new TestLane();
    directs(lane, 5);
    const [chunk] = lane.commit();
    const pool = Buffer.alloc(8_192, 0xff);
    pool.set(chunk!, 41);
    const stage = lane.newStage();
    stage.importChunk(pool.subarray(41, 41 + chunk!.length));
    stage.importDone();
    assert.equal(stage.stateHash(), lane.stage.stateHash());
  });

  it('does not depend on how many user partitions there are', () => {
    const lane = new TestLane(3);
    largeGroup(lane, 5);
    directs(lane, 10);
    const chunks = lane.commit();
    const other = new TestLane(8);
    for (const chunk of chunks) other.stage.importChunk(chunk);
    other.stage.importDone();
    assert.equal(other.stage.stateHash(), lane.stage.stateHash());
    // Recipients are looked for in their new partitions: the lane checks that.
    other.step({ kind: Kind.MESSAGE, convA: 0, convB: 5, device: deviceKey(1, 1), counter: 2 });
  });
});

it('the state’s hash depends on every part of it', () => {
  const hashes = new Set<number>();
  const lane = new TestLane();
  const sender = new Sender(1, 1, 2);
  const steps: Fields[] = [
    sender.next({ kind: Kind.MESSAGE }),
    sender.next({ kind: Kind.MESSAGE }),
    sender.next({ kind: Kind.MESSAGE, extra: 2 ** 32 - 1 }),
    sender.frame({ kind: Kind.TYPING, extra: 1 }),
    { kind: Kind.DELIVERED, convA: 1, convB: 2, device: deviceKey(2, 0), seq: 1 },
    { kind: Kind.READ, convA: 1, convB: 2, device: deviceKey(2, 1), seq: 1 },
    new Sender(2, 1, 2).next({ kind: Kind.MESSAGE }),
    new Sender(2, 0, 2).next({ kind: Kind.MESSAGE }),
    new Sender(1, 0, 2).next({ kind: Kind.GROUP_CREATE, payload: encodeMembers([2]) }),
  ];
  for (const step of steps) {
    lane.step(step);
    hashes.add(lane.stage.stateHash());
  }
  assert.equal(hashes.size, steps.length);
});
