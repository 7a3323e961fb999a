import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the benchmark of the log runs, and its outcomes are the same every time', () => {
  const script = fileURLToPath(new URL('./log.js', import.meta.url));
  const lines = execFileSync(process.execPath, [script, '--tiny'], { encoding: 'utf8' }).trim().split('\n');
  const figures = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    figures.map(({ unit, runs }) => [unit, runs]),
    [
      ['MB/s durable', 2],
      ['MB/s durable', 2],
    ],
  );
  for (const { figure, ratio } of figures) assert.ok(Number(figure) > 0 && Number(ratio) > 0);
  // 8 batches of 256 KiB and 123 of 16 KiB.
  assert.deepEqual(
    figures.map(({ hash }) => hash),
    ['8459a98d', '72ed612d'],
  );
});
