import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogBins } from './log-bins.js';

const OPTIONS = { low: 1, decades: 4, perDecade: 20 };

test('a quantile is right to the width of a bin, and never above the highest value', () => {
  const bins = new LogBins(OPTIONS);
  assert.equal(bins.quantile(0.5), null);
  for (let value = 1; value <= 1_000; value++) bins.add(value);
  for (const quantile of [0.01, 0.5, 0.9, 0.99]) {
    const found = bins.quantile(quantile)!;
    assert.ok(Math.abs(found / (quantile * 1_000) - 1) < 0.13, `${quantile}: ${found}`);
  }
  assert.ok(bins.quantile(1)! <= 1_000);
  assert.deepEqual([bins.count, bins.sum, bins.max], [1_000, 500_500, 1_000]);
});

test('what lies outside counts in the outermost bins; bars hold everything', () => {
  const bins = new LogBins(OPTIONS);
  for (const value of [0, 0.5, 1e9, -3]) bins.add(value);
  const bars = bins.bars();
  assert.equal(bars.length, 80);
  assert.deepEqual([bars[0]!.count, bars.at(-1)!.count], [3, 1]);
  assert.deepEqual(new LogBins(OPTIONS).bars(), []);
});

test('two together are as if one had counted all', () => {
  const [one, other, both] = [new LogBins(OPTIONS), new LogBins(OPTIONS), new LogBins(OPTIONS)];
  for (let value = 1; value < 500; value += 7) {
    (value % 2 === 0 ? one : other).add(value);
    both.add(value);
  }
  one.absorb(other);
  assert.deepEqual(one.bars(), both.bars());
  assert.equal(one.quantile(0.9), both.quantile(0.9));
});
