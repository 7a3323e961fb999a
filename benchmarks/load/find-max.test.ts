import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GENERATOR_LIMITED, judgeStep, RateSearch } from './find-max.js';
import type { StepFigures } from './result.js';

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

test('a coarser search takes fewer steps', () => {
  const rates = (precision: number): number => {
    const finder = new RateSearch(1_000, { precision });
    let steps = 0;
    for (let rate = finder.next(); rate !== undefined; rate = finder.next(), steps++) {
      finder.report(rate, { ok: rate <= 5_500, stop: false });
    }
    assert.ok(finder.best <= 5_500 && finder.best * precision >= 5_500);
    return steps;
  };
  assert.ok(rates(1.5) < rates(1.05));
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
  const good: StepFigures = {
    rate: 1_000,
    sent_per_s: 990,
    acked_per_s: 985,
    delivered_per_s: 2_000,
    rejected_per_s: 0,
    p50_ms: 5,
    p95_ms: 40,
    p99_ms: 80,
    accepted_p99_ms: 70,
    backlog: 10,
    outstanding: 4,
    violations: 0,
    generator_cpu: 0.9,
    generator_cpu_of_all: 1.7,
    generator_lag_ms: 60,
    generator_busy_share: 0.9,
  };
  const judge = (change: Partial<StepFigures>): string => judgeStep({ ...good, ...change }, 100);
  assert.equal(judge({}), 'ok', 'a late generator only makes it look worse');
  assert.equal(judge({ p99_ms: 101 }), `p99 is above 100 ms; ${GENERATOR_LIMITED}`);
  assert.equal(judge({ p99_ms: 101, generator_busy_share: 0.1 }), 'p99 is above 100 ms');
  assert.equal(judge({ p99_ms: null, generator_busy_share: 0 }), 'p99 is above 100 ms');
  assert.match(judge({ sent_per_s: 800 }), /^the clients could not send as much/);
  assert.match(judge({ acked_per_s: 900 }), /^the server did not keep up/);
  assert.equal(judge({ violations: 1 }), 'a guarantee was violated');
});
