import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GENERATOR_LIMITED, judgeStep, RateSearch, type StepMeasurement } from './find-max.js';

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

test('a step holds or fails for one reason, and says when the generator may be to blame', () => {
  const good: StepMeasurement = {
    rate: 1_000,
    sentPerSecond: 990,
    ackedPerSecond: 985,
    p99Ms: 80,
    boundMs: 100,
    violations: 0,
    generatorBusyShare: 0.9,
  };
  assert.equal(judgeStep(good), 'ok', 'a late generator only makes it look worse');
  assert.equal(judgeStep({ ...good, p99Ms: 101 }), `p99 is above 100 ms; ${GENERATOR_LIMITED}`);
  assert.equal(judgeStep({ ...good, p99Ms: 101, generatorBusyShare: 0.1 }), 'p99 is above 100 ms');
  assert.equal(judgeStep({ ...good, p99Ms: Number.POSITIVE_INFINITY, generatorBusyShare: 0 }), 'p99 is above 100 ms');
  assert.match(judgeStep({ ...good, sentPerSecond: 800 }), /^the clients could not send as much/);
  assert.match(judgeStep({ ...good, ackedPerSecond: 900 }), /^the server did not keep up/);
  assert.equal(judgeStep({ ...good, violations: 1 }), 'a guarantee was violated');
});
