import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeResult } from './harness/files.js';
import { sampleResult } from './harness/sample.fixture.js';

function report(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const script = fileURLToPath(new URL('./bench-report.js', import.meta.url));
  return spawnSync(process.execPath, [script, '--no-doc', ...args], { encoding: 'utf8' });
}

test('a page is made of results, and of nothing else', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-report-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const results = join(directory, 'results');
  const out = join(directory, 'deep', 'page.html');
  const none = report('--results', results, '--out', out);
  assert.equal(none.status, 2);
  assert.match(none.stderr, /^bench-report: .*results has no results: run `npx just bench` first/);
  writeResult(results, sampleResult());
  const made = report('--results', results, '--out', out);
  assert.equal(made.status, 0, made.stderr);
  assert.match(readFileSync(out, 'utf8'), /1 of 2 bars are reached/);
  writeResult(results, sampleResult({ isTiny: true }));
  const tiny = report('--results', results, '--out', out);
  assert.equal(tiny.status, 2);
  assert.match(tiny.stderr, /log was run with --tiny/);
});
