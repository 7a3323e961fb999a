import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Membership } from './membership.js';

type Told = [isJoin: boolean, user: number, seq: number];

/** What is told when changes come in an order; those of one user keep theirs, as in the batches of one partition. */
function toldOf(changes: readonly (readonly [seq: number, user: number, isJoin: boolean])[]): Told[] {
  const told: Told[] = [];
  const membership = new Membership((...change) => told.push(change));
  for (const [seq, user, isJoin] of changes) membership.change(seq, user, isJoin);
  return told.toSorted(([, one, a], [, other, b]) => one - other || a - b);
}

test('what changes nothing is not told, and what was taken is not taken again', () => {
  assert.deepEqual(
    toldOf([
      [1, 7, true],
      [2, 7, true],
      [3, 7, false],
      [4, 7, false],
      [5, 8, false],
    ]),
    [
      [true, 7, 1],
      [false, 7, 3],
    ],
  );
  const membership = new Membership(() => {});
  assert.deepEqual([membership.begin(3), membership.begin(2), membership.begin(3)], [true, true, false]);
});

test('a change that comes behind a later one of somebody else, or of the same user, is told as if it had come in time', () => {
  assert.deepEqual(
    toldOf([
      [1, 7, true],
      [3, 8, true],
      [2, 7, false],
    ]),
    [
      [true, 7, 1],
      [false, 7, 2],
      [true, 8, 3],
    ],
  );
  assert.deepEqual(
    toldOf([
      [1, 7, true],
      [3, 7, true],
      [2, 7, false],
    ]),
    [
      [true, 7, 1],
      [false, 7, 2],
      [true, 7, 3],
    ],
  );
});

test('users do not meet: their changes may come in any order between each other', () => {
  const change = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.boolean());
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), fc.infiniteStream(fc.nat()), (drawn, order) => {
      const inOrder = drawn.map(([user, isJoin], n) => [n + 1, user, isJoin] as const);
      const queues = [1, 2, 3].map((user) => inOrder.filter(([, whose]) => whose === user));
      const mixed: (typeof inOrder)[number][] = [];
      while (mixed.length < inOrder.length) {
        const next = queues[order.next().value % 3]!.shift() ?? queues.find((queue) => queue.length > 0)!.shift()!;
        mixed.push(next);
      }
      assert.deepEqual(toldOf(mixed), toldOf(inOrder));
    }),
  );
});
