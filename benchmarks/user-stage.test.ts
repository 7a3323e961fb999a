import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

interface Result {
  readonly figure: number;
  readonly unit: string;
  readonly against: { readonly figure: number };
  readonly ratio: number;
  readonly runs: readonly number[];
  readonly spread: number;
  readonly deliveriesPerMessage: number;
  readonly entriesLeft: number;
  readonly hash: string;
  readonly stateHash: string;
}

function run(): Result {
  const script = fileURLToPath(new URL('./user-stage.js', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--tiny'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Result;
}

test('prints what it measured, and two runs of it do the same work', () => {
  const one = run();
  assert.equal(one.unit, 'ns a message');
  assert.equal(one.runs.length, 2);
  assert.ok(one.figure > 0 && one.against.figure > 0 && one.ratio > 0 && one.spread >= 0);
  assert.ok(one.deliveriesPerMessage > 2 && one.deliveriesPerMessage < 4);
  assert.equal(one.entriesLeft, 0);
  const other = run();
  assert.deepEqual([other.hash, other.stateHash], [one.hash, one.stateHash]);
});
