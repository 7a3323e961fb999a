import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchmark } from './idle-session.js';

test('every session is answered the same: WELCOME and CAUGHT_UP of users 1 to 40', async () => {
  const { figures, tables } = await benchmark.run({ isTiny: true, runs: 1, progress: () => {} });
  assert.deepEqual(
    figures.map(({ unit, hash, against }) => [unit, hash, against]),
    [
      ['bytes', '4639a84a', null],
      ['bytes', '4639a84a', null],
    ],
  );
  for (const [, megabytes] of tables![0]!.rows) assert.ok(Number(megabytes) > 10);
});
