import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RateSearch } from './find-max.js';

/** Searches a server that holds up to `capacity`. */
function search(start: number, capacity: number): { best: number; rates: number[] } {
  const rates: number[] = [];
  const finder = new RateSearch(start);
  for (let rate = finder.next(); rate !== undefined; rate = finder.next()) {
    rates.push(rate);
    finder.report(rate, { ok: rate <= capacity, stop: false });
  }
  return { best: finder.best, rates };
}

test('finds the highest rate of any server to within a fifth, in few steps, from below and from above', () => {
  fc.assert(
    fc.property(fc.integer({ min: 5, max: 2_000_000 }), fc.integer({ min: 1, max: 200_000 }), (capacity, start) => {
      const { best, rates } = search(start, capacity);
      assert.ok(best <= capacity);
      assert.ok(best >= capacity / 1.2 - 1, `found ${best} of ${capacity} by ${rates.join(', ')}`);
      assert.ok(rates.length <= 24);
      assert.equal(new Set(rates).size, rates.length, 'no rate is tried twice');
    }),
  );
});

test('a violation ends the search', () => {
  const finder = new RateSearch(1_000);
  finder.report(finder.next()!, { ok: true, stop: false });
  finder.report(finder.next()!, { ok: false, stop: true });
  assert.equal(finder.next(), undefined);
  assert.equal(finder.best, 1_000);
});

test('a server that holds nothing gives 0', () => {
  assert.equal(search(1_000, 0).best, 0);
});
