import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchmark } from './conversation-stage.js';

test('the kernel is compared with its plain twin, and with the least that any stage does', async () => {
  const { figures, workload } = await benchmark.run({ isTiny: true, runs: 1, progress: () => {} });
  assert.deepEqual(
    figures.map(({ against }) => against?.name.split(',')[0]),
    [
      'plain TypeScript twin',
      'plain TypeScript twin',
      'one look-up and two copies',
      'plain TypeScript twin',
      undefined,
      'plain TypeScript twin',
    ],
  );
  // Messages alone, and with receipts: different work.
  assert.notEqual(figures[1]!.hash, figures[3]!.hash);
  assert.ok(Number(workload['state_bytes']) > 0);
});
