import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BenchmarkResult } from './harness/result.js';

function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const script = fileURLToPath(new URL('./bench.js', import.meta.url));
  return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
}

test('what is measured is written, and told as a table or as JSON', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-bench-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const written = bench('log', '--tiny', '--out', directory);
  assert.equal(written.status, 0, written.stderr);
  assert.match(written.stdout, /^log\n {2}log, batches of 256 KiB: [\d.]+ MB\/s durable, .*, ratio [\d.]+; (NOT )?/i);
  assert.match(written.stderr, /^\[1\/1\] log: starts\n[^]*\n1 of 1 measured in [\d.]+ s\n$/);
  const result = JSON.parse(readFileSync(join(directory, 'log.json'), 'utf8')) as BenchmarkResult;
  assert.equal(result.name, 'log');
  assert.equal(result.runs.length, 2);
  const { status, stdout } = bench('log', '--tiny', '--runs', '1', '--json');
  assert.equal(status, 0);
  const [told] = JSON.parse(stdout) as BenchmarkResult[];
  assert.equal(told!.hash, result.hash);
  assert.equal(told!.runs.length, 1);
  const listed = bench('--list', '--out', directory);
  assert.match(listed.stdout, new RegExp(`^log +${Math.round(result.took_s)} s {2}The embedded log`, 'm'));
});

test('wrong arguments are told in one sentence, and nothing runs', () => {
  const unknown = bench('logs');
  assert.equal(unknown.status, 2);
  assert.match(unknown.stderr, /^bench: there is no benchmark 'logs': there are .*log/);
  const runs = bench('log', '--runs', '0');
  assert.equal(runs.status, 2);
  assert.match(runs.stderr, /expected a whole number from 1 to 100, got '0'/);
  assert.equal(bench('--help').status, 0);
});

test('Ctrl-C ends what runs, writes nothing of it, and starts nothing more', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-bench-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const script = fileURLToPath(new URL('./bench.js', import.meta.url));
  const child = spawn(process.execPath, [script, 'log', 'start', '--out', directory], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit');
  let told = '';
  for await (const chunk of child.stderr) {
    if (told === '') child.kill('SIGINT');
    told += String(chunk);
  }
  assert.deepEqual(await exited, [130, null]);
  assert.match(told, /log: failed: interrupted/);
  assert.doesNotMatch(told, /2\/2/);
  assert.deepEqual(readdirSync(directory), []);
});
