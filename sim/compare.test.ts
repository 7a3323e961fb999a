import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { describeDifference, firstDifferent, type Side } from './compare.js';

test('the first checkpoint that differs is found, whatever is behind it', () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(50), fc.nat(50), (same, mine, yours) => {
      const common = Array.from({ length: same }, (_, n) => `both ${n}`);
      const one = [...common, ...Array.from({ length: mine }, (_, n) => `one ${n}`)];
      const other = [...common, ...Array.from({ length: yours }, (_, n) => `other ${n}`)];
      assert.equal(firstDifferent(one, other), same);
    }),
  );
});

test('a difference is told with what came before it, from both sides', () => {
  const sides: [Side, Side] = [
    { name: 'here', node: '', build: '' },
    { name: 'there', node: '', build: '' },
  ];
  const event = (number: number, hash: string): Parameters<typeof describeDifference>[0]['before'][number] => {
    return { event: number, atMs: 1_500, what: 'APPEND', numbers: [1, 0, 77], hash };
  };
  const difference = { seed: 7, hashes: ['aa', 'bb'] as const, event: 9, before: [event(8, 'cc')] };
  assert.deepEqual(describeDifference({ ...difference, after: [event(9, 'dd'), undefined] }, sides), [
    'seed 7: aa and bb; the first event that differs is 9',
    '  both: event 8  1.500000 s  APPEND 1 0 77  → cc',
    '  here: event 9  1.500000 s  APPEND 1 0 77  → dd',
    '  there: nothing more',
  ]);
  const lines = describeDifference({ ...difference, after: [event(9, 'dd'), event(9, 'ee')] }, sides);
  assert.match(lines.at(-1)!, /the bytes/);
});
