import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatCount, formatMs, formatRate, formatShare, formatSpan } from './format.js';

test('quantities as people read them', () => {
  assert.deepEqual([0.421, 4.21, 42.1, 421, 4_210, 42_100].map(formatMs), [
    '0.42 ms',
    '4.2 ms',
    '42 ms',
    '421 ms',
    '4.2 s',
    '42 s',
  ]);
  assert.equal(formatMs(Number.NaN), '–');
  assert.equal(formatCount(1_234_567), '1,234,567');
  assert.equal(formatShare(0.205), '20.5%');
  assert.deepEqual([59_000, 725_000, 130_200_000].map(formatSpan), ['59 s', '12 min 5 s', '36 h 10 min']);
  assert.deepEqual([950, 12_500, 1_250_000].map(formatRate), ['950', '12.5 k', '1.25 M']);
  assert.deepEqual([0, 512, 1_500, 3_000_000].map(formatBytes), ['0 B', '512 B', '1.5 kB', '3 MB']);
});
