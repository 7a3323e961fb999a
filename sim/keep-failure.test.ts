import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkHistory } from '../core/checks/index.js';
import { keepFailure } from './keep-failure.js';
import { drawPlan } from './plan.js';
import { parseScenario } from './scenario-read.js';

const SEED = 12;

test('what is kept can be run again, and judged by another tool', () => {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-kept-'));
  try {
    keepFailure(directory, SEED);
    const read = (ending: string): string => readFileSync(join(directory, `${SEED}.${ending}`), 'utf8');
    assert.deepEqual(parseScenario(read('yaml'), 'a.yaml').plan, drawPlan(SEED));
    // This seed is sound: no violation is named, and its history has none.
    assert.equal(read('txt'), '');
    const lines = read('ndjson').split('\n');
    assert.ok(lines.length > 100);
    assert.deepEqual(checkHistory(lines, { isQuiescent: false }).violations.kept, []);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
