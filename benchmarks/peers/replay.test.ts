import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TraceColumns, TraceKind } from '../load/trace.js';
import { planReplay } from './replay.js';

function trace(
  rows: readonly (readonly [at: number, conversation: number, sender: number, bytes: number])[],
): TraceColumns {
  const columns = new TraceColumns();
  for (const [at, conversation, sender, bytes] of rows)
    columns.push(at, conversation, sender, TraceKind.MESSAGE, bytes);
  return columns;
}

test('the first messages in the order of time; who speaks is a member, who speaks alone is left out', () => {
  const columns = trace([
    [0, 1, 1, 10],
    [2_000, 1, 2, 20],
    [1_000, 2, 1, 30],
    [1_500, 3, 5, 40],
    [4_000, 3, 6, 50],
    [9_000, 1, 3, 60],
  ]);
  columns.push(100, 1, 9, TraceKind.JOIN, 0);
  const plan = planReplay(columns, 5, 100, 2);
  assert.deepEqual(plan.groups, [
    [1, 2],
    [3, 4],
  ]);
  assert.equal(plan.speed, 2);
  assert.equal(plan.deliveries, 4);
  assert.deepEqual(
    plan.messages.map(({ atMs, group, sender, bytes }) => [atMs, group, sender, bytes]),
    [
      [0, 0, 1, 10],
      [750, 1, 3, 40],
      [1_000, 0, 2, 20],
      [2_000, 1, 4, 50],
    ],
  );
});

test('nobody is two people of one chat, however few users there are', () => {
  const plan = planReplay(trace(Array.from({ length: 30 }, (_, n) => [n, n % 3, n % 7, 5])), 30, 5, 1);
  assert.ok(plan.groups.length > 0);
  for (const members of plan.groups) {
    assert.equal(new Set(members).size, members.length);
    assert.ok(members.every((member) => member >= 1 && member <= 5));
  }
});
