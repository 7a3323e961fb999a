import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertPage } from '../../reports/page.fixture.js';
import { makeFigure } from '../harness/result.js';
import { sampleResult } from '../harness/sample.fixture.js';
import { renderBenchmarks } from './page.js';

test('the page is whole, says what is reached, and draws every run', () => {
  const html = renderBenchmarks([sampleResult(), sampleResult({ name: 'start' })]);
  assertPage(html);
  assert.match(html, /<header class="bad">.*2 of 4 bars are reached; 2 are not: log, start\./s);
  // Five runs and five and one, of each.
  assert.equal(html.match(/class="run"/g)?.length, 22);
  assert.match(html, /aria-label="1.2 times what must be reached"/);
  assert.match(html, /hash 8459a98d/);
});

test('bars are as long as their values, and what must be reached is a line', () => {
  const figures = [
    makeFigure({
      name: 'a',
      unit: 's',
      better: 'lower',
      runs: [1],
      against: { name: 'b', runs: [8] },
      reach: { of: 'ratio', bound: 2 },
      hash: 'f',
    }),
  ];
  const html = renderBenchmarks([sampleResult({ figures })]);
  assert.match(html, /aria-label="a: 1 s"><b style="width:12.5%"><\/b>/);
  assert.match(html, /aria-label="b: 8 s"><b style="width:100%"><\/b>/);
  // A half of the other's 8 s.
  assert.match(html, /class="need" style="left:50%" title="must be reached"/);
  assert.match(html, /<header class="good">/);
  assert.match(html, /<b class="over" style="width:100%">/);
});

test('what is far smaller than others of its unit has a scale of its own', () => {
  const figure = (runs: number[]) => makeFigure({ name: 'a', unit: 's', better: 'lower', runs, hash: 'f' });
  const html = renderBenchmarks([sampleResult({ figures: [figure([1]), figure([40]), figure([4_000])] })]);
  const widths = [...html.matchAll(/aria-label="a: [\d,]+ s"><b style="width:([\d.]+)%">/g)].map(([, width]) => width);
  assert.deepEqual(widths, ['100', '100', '100']);
  const near = renderBenchmarks([sampleResult({ figures: [figure([1_000]), figure([4_000])] })]);
  assert.match(near, /aria-label="a: 1,000 s"><b style="width:25%">/);
});

test('a note that follows itself is read once', () => {
  const figure = makeFigure({ name: 'a', unit: 's', better: 'lower', runs: [1], hash: 'f', note: 'The disk.' });
  const html = renderBenchmarks([
    sampleResult({ figures: [figure, figure, { ...figure, note: 'The core.' }, figure] }),
  ]);
  assert.deepEqual(html.match(/The (disk|core)\./g), ['The disk.', 'The core.', 'The disk.']);
});

test('names and notes are text', () => {
  const hostile = '"><script>alert(1)</script>&';
  const figure = makeFigure({ name: hostile, unit: hostile, better: 'lower', runs: [1], hash: hostile, note: hostile });
  const html = renderBenchmarks([
    sampleResult({
      figures: [figure],
      about: hostile,
      workload: { [hostile]: hostile },
      tables: [{ name: hostile, columns: [hostile], rows: [[hostile]] }],
    }),
  ]);
  assertPage(html);
  assert.ok(!html.includes('<script>alert'));
});
