import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RESULTS_DIRECTORY, readResults } from '../benchmarks/harness/files.js';
import { REGISTRY } from '../benchmarks/harness/registry.js';
import { replaceResults } from '../benchmarks/report/document.js';
import { inOrder } from '../benchmarks/report/summary.js';

const page = readFileSync(join(import.meta.dirname, '../../docs/benchmarks.md'), 'utf8');

test('docs/benchmarks.md is what the committed results say: `npx just bench-report` makes it', () => {
  const results = inOrder(readResults(RESULTS_DIRECTORY).values(), Object.keys(REGISTRY));
  for (const { name, isTiny, figures } of results) {
    assert.ok(name in REGISTRY, `${name} is no benchmark any more`);
    assert.ok(!isTiny, `${name} was run with --tiny`);
    for (const { runs, name: figure } of figures) assert.ok(runs.length >= 5, `${name}, ${figure}: five runs or more`);
  }
  assert.ok(replaceResults(page, results) === page, 'results are newer than the page: run `npx just bench-report`');
});
