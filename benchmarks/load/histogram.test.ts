import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Histogram, summarise } from './histogram.js';

/** The exact quantile, by sorting. */
function exact(values: readonly number[], quantile: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil(quantile * sorted.length)) - 1]!;
}

const latencies = fc.array(
  fc.oneof(
    fc.integer({ min: 0, max: 400 }),
    fc.integer({ min: 0, max: 5_000_000 }),
    fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  ),
  { minLength: 1, maxLength: 300 },
);

test('a quantile is within 0.8% and half a microsecond of the exact one', () => {
  fc.assert(
    fc.property(latencies, fc.constantFrom(0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1), (us, quantile) => {
      const histogram = new Histogram();
      for (const value of us) histogram.recordMs(value / 1_000);
      const wanted = exact(us, quantile) / 1_000;
      const got = histogram.quantileMs(quantile);
      assert.ok(Math.abs(got - wanted) <= wanted * 0.008 + 0.000_51, `${got} for ${wanted}`);
    }),
  );
});

test('merging equals recording everything in one', () => {
  fc.assert(
    fc.property(latencies, latencies, (one, other) => {
      const all = new Histogram();
      const a = new Histogram();
      const b = new Histogram();
      for (const value of one) a.recordMs(value / 1_000);
      for (const value of other) b.recordMs(value / 1_000);
      for (const value of [...one, ...other]) all.recordMs(value / 1_000);
      a.addState(structuredClone(b.state()));
      assert.equal(a.count, all.count);
      assert.equal(a.maxMs, all.maxMs);
      for (const quantile of [0.5, 0.95, 0.99]) assert.equal(a.quantileMs(quantile), all.quantileMs(quantile));
    }),
  );
});

test('the highest value is exact, and nothing is above it', () => {
  const histogram = new Histogram();
  for (const ms of [1, 2, 1_234.567]) histogram.recordMs(ms);
  assert.equal(histogram.maxMs, 1_234.567);
  assert.ok(histogram.quantileMs(1) <= 1_234.567);
});

test('what lies outside its range is kept at the ends', () => {
  const histogram = new Histogram();
  histogram.recordMs(-5);
  histogram.recordMs(1e12);
  assert.equal(histogram.count, 2);
  assert.ok(histogram.quantileMs(0) < 0.001);
  assert.equal(histogram.maxMs, (2 ** 32 - 1) / 1_000);
});

test('an empty histogram has no summary', () => {
  assert.equal(summarise(new Histogram()), null);
  assert.ok(Number.isNaN(new Histogram().quantileMs(0.5)));
});

test('reset forgets', () => {
  const histogram = new Histogram();
  histogram.recordMs(3);
  histogram.reset();
  assert.equal(histogram.count, 0);
  assert.equal(histogram.maxMs, 0);
});

test('bars hold every value', () => {
  const histogram = new Histogram();
  for (let ms = 1; ms <= 1_000; ms++) histogram.recordMs(ms);
  const bars = histogram.bars(10);
  assert.equal(
    bars.reduce((sum, bar) => sum + bar.count, 0),
    1_000,
  );
  for (let i = 1; i < bars.length; i++) assert.ok(Math.abs(bars[i]!.fromMs - bars[i - 1]!.toMs) < 1e-9);
});
