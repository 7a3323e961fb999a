import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REGISTRY } from './registry.js';
import { runBenchmark } from './run.js';

const RUNS = 2;

for (const [name, load] of Object.entries(REGISTRY)) {
  test(`${name} runs in small, and does the same work each time`, async () => {
    const { benchmark } = await load();
    assert.equal(benchmark.name, name);
    const progress = (): void => {};
    const one = await runBenchmark({ name, isTiny: true, runs: RUNS, progress });
    for (const { name: figure, runs } of one.figures) assert.ok(runs.length >= RUNS, figure);
    if (benchmark.varies !== undefined) return;
    const other = await runBenchmark({ name, isTiny: true, runs: RUNS, progress });
    assert.deepEqual(
      other.figures.map(({ hash }) => hash),
      one.figures.map(({ hash }) => hash),
    );
  });
}
