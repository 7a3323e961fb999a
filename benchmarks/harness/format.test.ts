import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBound, formatFigure, formatRatio, formatReach, formatValue } from './format.js';

test('values have three significant digits or all whole ones', () => {
  assert.deepEqual([0, 0.012345, 4.567, 99.96, 123.4, 1_234_567].map(formatValue), [
    '0',
    '0.0123',
    '4.57',
    '100',
    '123',
    '1,234,567',
  ]);
});

test('a figure, its ratio and its bar', () => {
  assert.equal(formatFigure({ figure: 217.3, unit: 'ns a message' }), '217 ns a message');
  assert.equal(formatRatio({ ratio: null }), '');
  assert.equal(formatRatio({ ratio: 7.912 }), ', ratio 7.91');
  const lower = { better: 'lower', unit: 'ms' } as const;
  assert.equal(formatReach({ ...lower, reach: null }), '');
  assert.equal(formatBound({ ...lower, reach: null }), '');
  const reach = { of: 'figure', bound: 5_000, isReached: false } as const;
  assert.equal(formatReach({ ...lower, reach }), '; NOT REACHED: at most 5,000 ms');
  assert.equal(formatBound({ ...lower, better: 'higher', reach }), 'at least 5,000 ms');
  const ratio = { of: 'ratio', bound: 0.7, isReached: true } as const;
  assert.equal(formatReach({ ...lower, reach: ratio }), '; reached: a ratio of at least 0.7');
});
