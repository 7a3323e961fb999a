import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from './prng.js';

function draws(random: Prng, count: number): number[] {
  return Array.from({ length: count }, () => random.u32());
}

test('a seed gives the same draws on every machine and in every version', () => {
  assert.deepEqual(draws(new Prng(1), 4), [0x9190_299e, 0xc101_7b27, 0xe3af_522f, 0x7d71_fb05]);
  assert.deepEqual(draws(new Prng(0), 4), [0xe308_dc58, 0x4392_d0e4, 0x0331_8f97, 0xac59_3a63]);
  assert.deepEqual(draws(new Prng(2 ** 52 + 3), 4), [0x9c6e_0b94, 0x36ff_27c7, 0xce6f_06bf, 0xead4_c167]);
  assert.deepEqual(draws(new Prng(1).fork('faults'), 4), [0xc0d4_33f6, 0xeeda_8d7a, 0x5476_334e, 0xd980_41ac]);
});

test('all bits of a seed count, for its draws and for its forks', () => {
  const seen = new Set<number>();
  const forked = new Set<number>();
  for (let bit = 0; bit < 53; bit++) {
    seen.add(new Prng(2 ** bit).u32());
    forked.add(new Prng(2 ** bit).fork('x').u32());
  }
  assert.equal(seen.size, 53);
  assert.equal(forked.size, 53);
});

test('a fork depends on the seed and the label, not on what was drawn', () => {
  const fresh = new Prng(7);
  const used = new Prng(7);
  draws(used, 1_000);
  used.fork('another');
  assert.deepEqual(draws(fresh.fork('links'), 10), draws(used.fork('links'), 10));
  assert.notDeepEqual(draws(fresh.fork('links'), 10), draws(fresh.fork('link'), 10));
  assert.notDeepEqual(draws(fresh.fork('ab'), 10), draws(fresh.fork('ba'), 10));
  assert.notDeepEqual(draws(fresh.fork('a'), 10), draws(new Prng(7), 10));
  assert.notDeepEqual(draws(fresh.fork('a').fork('b'), 10), draws(fresh.fork('b').fork('a'), 10));
});

test('draws stay within their bounds', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: 2 ** 32 }), (seed, n) => {
      const random = new Prng(seed);
      for (let i = 0; i < 20; i++) {
        const value = random.below(n);
        assert.ok(Number.isInteger(value) && value >= 0 && value < n);
        const between = random.between(-5, 5);
        assert.ok(Number.isInteger(between) && between >= -5 && between <= 5);
        const unit = random.unit();
        assert.ok(unit >= 0 && unit < 1);
      }
      assert.equal(random.chance(0, 10), false);
      assert.equal(random.chance(10, 10), true);
    }),
  );
  assert.equal(new Prng(1).below(1), 0);
});

test('draws are uniform, and each bit is one half of the time', () => {
  const random = new Prng(42);
  const bins = Array.from({ length: 10 }, () => 0);
  const bits = Array.from({ length: 32 }, () => 0);
  const count = 100_000;
  let hits = 0;
  for (let i = 0; i < count; i++) {
    bins[random.below(10)]!++;
    const word = random.u32();
    for (let bit = 0; bit < 32; bit++) bits[bit]! += (word >>> bit) & 1;
    if (random.chance(1, 4)) hits++;
  }
  // Standard deviation of a bin of one tenth is 95, of a half 158, of a quarter 137: bounds are five of them.
  for (const bin of bins) assert.ok(Math.abs(bin - count / 10) < 475, `bins: ${bins}`);
  for (const bit of bits) assert.ok(Math.abs(bit - count / 2) < 790, `bits: ${bits}`);
  assert.ok(Math.abs(hits - count / 4) < 685, `${hits}`);
});
