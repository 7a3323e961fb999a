import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { BenchmarkResult } from './result.js';
import { runBenchmark } from './run.js';

const quietly = (): void => {};
const child = new URL('./broken.fixture.js', import.meta.url);

function run(name: string, progress: (sentence: string) => void, signal?: AbortSignal): Promise<BenchmarkResult> {
  const options = { name, isTiny: true, runs: 1, progress, child };
  return runBenchmark(signal === undefined ? options : { ...options, signal });
}

/** A process that is dead and waits to be reaped is gone. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** A killed process is gone as soon as the kernel got to it. */
async function waitForEnd(pid: number): Promise<void> {
  while (isAlive(pid)) await new Promise((resolve) => setImmediate(resolve));
}

test('what goes wrong in a benchmark is the reason why it has no result', async () => {
  await assert.rejects(run('throws', quietly), /the disk is full/);
  await assert.rejects(run('exits', quietly), /ended with code 7 before it was done/);
  await assert.rejects(run('not-a-number', quietly), /result\.figure is NaN: a number is right/);
  await assert.rejects(run('nothing', quietly), /it measured nothing/);
  await assert.rejects(run('another', quietly), /no benchmark 'another'/);
});

test('what a benchmark leaves behind ends with it', async () => {
  const told: string[] = [];
  const result = await run('leaves', (sentence) => told.push(sentence));
  assert.equal(result.figure, 1);
  const [pid, directory] = told[0]!.split(' ');
  assert.ok(!existsSync(directory!), 'its directory is removed');
  await waitForEnd(Number(pid));
});

test('an interrupted benchmark ends, and so does what it started', async () => {
  const controller = new AbortController();
  let pid = 0;
  const progress = (sentence: string): void => {
    pid = Number(sentence.split(' ')[0]);
    controller.abort();
  };
  await assert.rejects(run('hangs', progress, controller.signal), /interrupted/);
  assert.ok(pid > 0);
  await waitForEnd(pid);
  await assert.rejects(run('leaves', progress, controller.signal), /abort/i);
});
