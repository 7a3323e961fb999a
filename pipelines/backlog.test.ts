import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BACKLOG_BYTES_MAX, BACKLOG_BYTES_MIN, BACKLOG_MS_MAX } from '../core/limits.js';
import { Backlog } from './backlog.js';

test('a lane that keeps up is not behind', () => {
  const backlog = new Backlog();
  for (let n = 1; n <= 1_000; n++) backlog.note(n * 100, n * 1e6, 0);
  assert.equal(backlog.ageMs, 0);
  assert.ok(!backlog.isTooFar);
});

test('the age is that of the oldest byte that is not read, within one look', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.nat({ max: 1_000 }), { minLength: 30, maxLength: 60 }),
      (delay, arrivals) => {
        // Each byte is read `delay` looks after it came.
        const backlog = new Backlog();
        const came: number[] = [];
        let total = 0;
        for (const [look, bytes] of arrivals.entries()) {
          total += bytes;
          came.push(total);
          const read = came[look - delay] ?? 0;
          backlog.note(look * 100, read, total - read);
          const oldest = came.findIndex((bytesThen) => bytesThen > read);
          assert.equal(backlog.ageMs, oldest < 0 ? 0 : (look - oldest) * 100);
        }
      },
    ),
  );
});

test('sends are refused when a lane is too far behind in bytes, or has been behind with much for too long', () => {
  const after = (lagBytes: number, ms: number): Backlog => {
    const backlog = new Backlog();
    backlog.note(0, 1_000, lagBytes);
    backlog.note(ms, 1_000, lagBytes);
    return backlog;
  };
  assert.ok(after(BACKLOG_BYTES_MAX + 1, 0).isTooFar);
  assert.ok(!after(BACKLOG_BYTES_MAX, BACKLOG_MS_MAX).isTooFar);
  assert.ok(after(BACKLOG_BYTES_MIN + 1, BACKLOG_MS_MAX + 1).isTooFar);
  assert.ok(!after(BACKLOG_BYTES_MIN, 60 * BACKLOG_MS_MAX).isTooFar, 'little is no backlog');
});

test('a lane that starts again is looked at anew, and one that stands still for long grows no memory', () => {
  const backlog = new Backlog();
  backlog.note(0, 5e6, 2e6);
  backlog.note(2_000, 5e6, 2e6);
  assert.ok(backlog.isTooFar);
  backlog.note(2_100, 0, 1e6);
  assert.equal(backlog.ageMs, 0);
  for (let n = 1; n <= 10_000; n++) backlog.note(2_100 + n * 100, 0, 1e6 + n);
  assert.equal(backlog.ageMs, 1_000_000);
  backlog.note(2_000_000, 1e6 + 10_000, 0);
  assert.equal(backlog.ageMs, 0);
});
