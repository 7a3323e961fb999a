import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchmark } from './log.js';

test('every batch is told durable, in order: 8 of 256 KiB and 123 of 16 KiB', async () => {
  const { figures } = await benchmark.run({ isTiny: true, runs: 1, progress: () => {} });
  assert.deepEqual(
    figures.map(({ hash }) => hash),
    ['8459a98d', '72ed612d'],
  );
});
