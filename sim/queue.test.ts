import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EventQueue } from './queue.js';

test('entries run by time, and those of one time in the order in which they were made', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 2_000 }), (times) => {
      const queue = new EventQueue();
      const ran: [number, number][] = [];
      times.forEach((time, n) => queue.at(time, () => ran.push([time, n])));
      while (queue.step());
      const expected = times
        .map((time, n): [number, number] => [time, n])
        .toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
      assert.deepEqual(ran, expected);
    }),
  );
});

test('what is made for the past runs now, and time never falls', () => {
  const queue = new EventQueue();
  const seen: number[] = [];
  queue.at(100, () => {
    queue.at(5, () => seen.push(queue.nowUs));
    queue.after(0.5, () => seen.push(queue.nowUs));
    queue.after(10, () => seen.push(queue.nowUs));
  });
  while (queue.step());
  assert.deepEqual(seen, [100, 100, 110]);
  assert.equal(queue.nextUs, Infinity);
  assert.equal(queue.made, 4);
});
