import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchmark } from './user-stage.js';

test('everything is delivered, acknowledged and freed, with receipts and without', async () => {
  const { figures, workload } = await benchmark.run({ isTiny: true, runs: 1, progress: () => {} });
  assert.equal(workload['entries_left'], 0);
  const deliveries = Number(workload['deliveries_per_message']);
  assert.ok(deliveries > 2 && deliveries < 4);
  assert.ok(figures.every(({ against }) => against!.figure > 0));
  assert.notEqual(figures[0]!.hash, figures[2]!.hash);
});
