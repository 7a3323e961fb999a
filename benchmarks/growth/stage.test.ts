import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realisticSize, Shape, StageWorld } from './stage.js';

test('no two conversations of a shape are the same, and nobody talks to themselves', () => {
  const shape = new Shape({ conversations: 30_000, groupEvery: 5, sizeOf: realisticSize });
  const seen = new Set<string>();
  for (let n = 0; n < shape.conversations; n++) {
    const [a, b] = [shape.a(n), shape.b(n)];
    seen.add(`${a} ${b}`);
    assert.ok(a < b);
    assert.equal(shape.isGroup(n), a === 0);
    if (a > 0) continue;
    const members = new Set([shape.first(n), ...shape.others(n)]);
    assert.equal(members.size, shape.members(n), 'all members differ');
  }
  assert.equal(seen.size, shape.conversations);
});

test('sizes of groups: half at most 4, 95 in 100 at most 12, none above 64', () => {
  const sizes = Array.from({ length: 20_000 }, (_, n) => realisticSize(n)).toSorted((one, other) => one - other);
  assert.ok(sizes[0]! >= 2 && sizes.at(-1)! <= 64);
  assert.ok(Math.abs(sizes.filter((size) => size <= 4).length / sizes.length - 0.5) < 0.02);
  assert.ok(Math.abs(sizes.filter((size) => size <= 12).length / sizes.length - 0.95) < 0.01);
});

test('the same messages are stepped over the same way, and each has as many recipients as there are members', () => {
  const make = (): StageWorld => new StageWorld(new Shape({ conversations: 200, groupEvery: 1, sizeOf: () => 7 }));
  const [one, other] = [make(), make()];
  const [first, again] = [one.run(500), other.run(500)];
  assert.deepEqual([first.messages, first.deliveries], [500, 3_500]);
  assert.equal(first.hash, again.hash);
  assert.notEqual(one.run(500).hash, first.hash);
});
