import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SwarmStatistics } from './swarm-statistics.js';

test('what is counted over wall time adds up, and marks only grow; a long swarm has as many buckets as a short one', () => {
  const statistics = new SwarmStatistics();
  for (let seed = 0; seed < 2_000; seed++) {
    statistics.add(
      {
        seed,
        messages: 2,
        deliveries: 4,
        events: 100 + seed,
        virtualSeconds: 10,
        wallMs: 5,
        marks: [`mark ${seed >> 5}`],
        faults: [['cut', 2]],
        failure: seed % 100 === 0 ? { seed, guarantee: 'G1', sentence: '' } : undefined,
      },
      seed * 700,
    );
  }
  statistics.finish(2_000 * 700);
  const { rates, bucketMs, endMs } = statistics;
  assert.ok(rates.length <= 400 && rates.length * bucketMs >= endMs);
  const sum = (of: (rate: (typeof rates)[number]) => number): number => rates.reduce((all, rate) => all + of(rate), 0);
  assert.deepEqual(
    [sum(({ seeds }) => seeds), sum(({ messages }) => messages), sum(({ violated }) => violated)],
    [2_000, 4_000, 20],
  );
  assert.deepEqual(
    rates.map(({ marks }) => marks),
    rates.map(({ marks }) => marks).toSorted((one, other) => one - other),
  );
  assert.equal(rates.at(-1)!.marks, 63);
  assert.deepEqual(statistics.kinds.get('cut'), { seeds: 2_000, faults: 4_000 });
  assert.deepEqual([statistics.events.count, statistics.virtualSeconds.sum], [2_000, 20_000]);
});
