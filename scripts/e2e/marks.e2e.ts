/** A swarm that must come by every listed mark, and see nothing wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MARK_NAMES } from '../../core/probe.js';
import { MAY_MISS, MUST_REACH, swarm } from '../../sim/swarm.js';

const SEEDS = 1_000;
const TIME_OUT_MS = 20 * 60_000;

test(`${SEEDS} seeds come by every mark that must be reached`, async (context) => {
  const result = await swarm({ from: 1, count: SEEDS, untilMs: Date.now() + TIME_OUT_MS });
  assert.deepEqual(result.failures, []);
  assert.equal(result.seeds, SEEDS);
  assert.deepEqual(result.neverReached, []);
  const rare = MUST_REACH.map((name) => [result.marks.get(name) ?? 0, name] as const)
    .toSorted(([one], [other]) => one - other)
    .slice(0, 5);
  context.diagnostic(`fewest seeds: ${rare.map(([count, name]) => `${name} ${count}`).join(', ')}`);
});

test('what may be missed is a mark that there is', () => {
  for (const name of MAY_MISS.keys()) assert.ok(MARK_NAMES.includes(name), name);
});
