import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { encode, readResults, writeResult } from './files.js';
import { sampleResult } from './sample.fixture.js';

test('what is written is read, and a second result takes the place of the first', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-results-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const inside = join(directory, 'results');
  assert.deepEqual(readResults(inside), new Map());
  writeResult(inside, sampleResult({ took_s: 1 }));
  assert.equal(writeResult(inside, sampleResult()), join(inside, 'log.json'));
  assert.deepEqual(readdirSync(inside), ['log.json']);
  assert.deepEqual(readResults(inside), new Map([['log', sampleResult()]]));
  writeFileSync(join(inside, 'start.json'), '{}');
  assert.throws(() => readResults(inside), /start\.json: result\.name is undefined/);
});

test('numbers keep five significant digits, and whole ones all', () => {
  const text = encode(sampleResult({ figure: 0.123456789, ratio: 12_345_678.9, spread: 12_345_678 }));
  assert.match(text, /"figure": 0\.12346,\n/);
  assert.match(text, /"ratio": 12345679,\n/);
  assert.match(text, /"spread": 12345678,\n/);
});
