import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sampleResult } from '../harness/sample.fixture.js';
import { BEGIN, END, renderResults, replaceResults } from './document.js';

const DOCUMENT = `# Benchmarks\n\nBefore.\n\n${BEGIN}\nold\n${END}\n\n## Why\n\nAfter.\n`;

test('only what is between the marks changes, and doing it twice changes nothing', () => {
  const once = replaceResults(DOCUMENT, [sampleResult()]);
  assert.ok(once.startsWith(`# Benchmarks\n\nBefore.\n\n${BEGIN}\n\n1 of 2 bars`));
  assert.ok(once.endsWith(`${END}\n\n## Why\n\nAfter.\n`));
  assert.ok(!once.includes('old'));
  assert.equal(replaceResults(once, [sampleResult()]), once);
  assert.throws(() => replaceResults('# Benchmarks', []), /no place for the results/);
  assert.throws(() => replaceResults(`${END}${BEGIN}`, []), /no place for the results/);
});

test('each figure stands beside what it was compared with, its spread and its hash', () => {
  const text = renderResults([sampleResult()]);
  const rows = text.split('\n');
  assert.ok(
    rows.includes(
      '| log, batches of 256 KiB | 210 MB/s durable | 5 runs, 198 – 220 | one file, one fdatasync: 250 MB/s | 0.84 | reached: a ratio of at least 0.7 | `8459a98d` |',
    ),
  );
  assert.ok(
    rows.includes('| to ready | 6,150 ms | 5 runs, 6,050 – 6,500 | – | – | **not reached**: at most 5,000 ms | `1f` |'),
  );
  assert.ok(rows.includes('| idle | 2,668 bytes | 1 run | – | – | – | `2f` |'));
  assert.ok(rows.includes('- to ready: The store reads <pages> one by one & waits.'));
  assert.ok(rows.includes('| 10 M | 750 k |'), 'curves are tables');
  assert.ok(rows.includes('| socket \\| frame | 160 | – |'), 'a bar in a cell is none of the table');
});

test('a curve of many points is shown by some of them, the ends among them', () => {
  const points = Array.from({ length: 100 }, (_, n) => [n, n * 2] as const);
  const [curve] = sampleResult().curves;
  const text = renderResults([sampleResult({ curves: [{ ...curve!, series: [{ name: 'a', points }] }] })]);
  const rows = text.split('\n').filter((row) => /^\| \d+ \| \d+ \|$/.test(row));
  assert.equal(rows[0], '| 0 | 0 |');
  assert.equal(rows.at(-1), '| 99 | 198 |');
  assert.ok(rows.length > 10 && rows.length < 20);
});

test('a note of several figures is written once', () => {
  const [first, second] = sampleResult().figures;
  const figures = [first!, { ...second!, note: 'The disk.' }, { ...first!, name: 'again', note: 'The disk.' }];
  const lines = renderResults([sampleResult({ figures })]).split('\n');
  assert.deepEqual(
    lines.filter((line) => line.includes('The disk.')),
    ['- to ready; again: The disk.'],
  );
});

test('without results the document says so', () => {
  assert.equal(renderResults([]), 'No bar is measured yet.');
});
