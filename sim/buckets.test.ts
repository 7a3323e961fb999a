import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Buckets } from './buckets.js';

test('there are never more buckets than may be, and nothing of what was pushed is missing', () => {
  const buckets = new Buckets<number>(10, 8, (one, other) => one + other);
  for (let pushed = 1; pushed <= 1_000; pushed++) {
    const { end, width } = buckets;
    assert.equal(end, (buckets.values.length + 1) * width);
    // As long as the bucket that is filled: the width may have doubled since.
    buckets.push(width / 10);
    assert.ok(buckets.values.length < 8);
    assert.ok(buckets.values.every((value) => value === buckets.width / 10));
    assert.equal(buckets.values.length * buckets.width, end);
  }
});
