import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the benchmark of CPU time a message runs, and finds all threads', { timeout: 60_000 }, () => {
  const script = fileURLToPath(new URL('./cpu-per-message.js', import.meta.url));
  const { results } = JSON.parse(execFileSync(process.execPath, [script, '--tiny'], { encoding: 'utf8' })) as {
    results: { checkout: string; threads: Record<string, unknown>; counts: Record<string, number> }[];
  };
  assert.deepEqual(
    results.map(({ checkout }) => checkout),
    ['this'],
  );
  const { threads, counts } = results[0]!;
  for (const name of ['user lane', 'conversation lane', 'gateway', 'generators']) assert.ok(name in threads, name);
  assert.ok(counts['deliveries']! > 1 && counts['frames_out']! > counts['deliveries']!);
});
