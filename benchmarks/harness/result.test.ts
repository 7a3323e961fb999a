import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFigure, median } from './result.js';

const base = { name: 'a', unit: 'MB/s', hash: 'f' } as const;

test('the median of an even number of runs lies between the middle two, and there is none of nothing', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.throws(() => median([]), /median of nothing/);
});

test('a ratio is taken run by run, and more is better both ways', () => {
  const higher = makeFigure({
    ...base,
    better: 'higher',
    runs: [10, 20, 30],
    against: { name: 'disk', runs: [20, 20, 20] },
    reach: { of: 'ratio', bound: 1 },
  });
  assert.equal(higher.ratio, 1);
  assert.equal(higher.spread, 20);
  assert.deepEqual(higher.against, { name: 'disk', figure: 20, unit: 'MB/s' });
  assert.equal(higher.reach?.isReached, true);
  const lower = makeFigure({ ...base, better: 'lower', runs: [10], against: { name: 'twin', runs: [50] } });
  assert.equal(lower.ratio, 5);
  assert.equal(lower.reach, null);
});

test('a bound of the figure is above or below by what is better', () => {
  const reach = { of: 'figure', bound: 5 } as const;
  assert.equal(makeFigure({ ...base, better: 'lower', runs: [6], reach }).reach?.isReached, false);
  assert.equal(makeFigure({ ...base, better: 'higher', runs: [6], reach }).reach?.isReached, true);
});

test('what cannot be compared is refused', () => {
  assert.throws(
    () => makeFigure({ ...base, better: 'lower', runs: [1], against: { name: 'b', runs: [1, 2] } }),
    /1 runs/,
  );
  assert.throws(
    () => makeFigure({ ...base, better: 'lower', runs: [1], reach: { of: 'ratio', bound: 1 } }),
    /nothing to/,
  );
});
