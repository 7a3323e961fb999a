import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('the benchmark of idle sessions runs, and every session is answered the same', () => {
  const script = fileURLToPath(new URL('./idle-session.js', import.meta.url));
  const { figure, unit, runs, connections, readings, hash } = JSON.parse(
    execFileSync(process.execPath, [script, '--tiny'], { encoding: 'utf8' }),
  ) as Record<string, unknown>;
  assert.equal(unit, 'bytes a session');
  assert.deepEqual(runs, [figure]);
  assert.equal(connections, 40);
  assert.equal((readings as unknown[]).length, 5);
  for (const { anonymousBytes } of readings as { anonymousBytes: number }[]) assert.ok(anonymousBytes > 10_000_000);
  // WELCOME and CAUGHT_UP of users 1 to 40.
  assert.equal(hash, '4639a84a');
});
