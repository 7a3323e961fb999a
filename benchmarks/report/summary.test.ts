import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFigure } from '../harness/result.js';
import { sampleResult } from '../harness/sample.fixture.js';
import {
  barsOf,
  describeAxis,
  describeBar,
  describeHost,
  describeRun,
  describeRuns,
  describeWorkload,
  formatCell,
  formatShort,
  inOrder,
  verdictOf,
} from './summary.js';

test('how far a bar is says the same of what must be high and of what must be low', () => {
  const bars = barsOf([sampleResult()]);
  assert.deepEqual(
    bars.map(({ share, figure }) => [share.toFixed(3), figure.reach?.isReached]),
    [
      ['1.200', true],
      ['0.813', false],
    ],
  );
  assert.deepEqual(bars.map(describeBar), ['ratio 0.84 of at least 0.7', '6,150 of at most 5,000 ms']);
  const base = { name: 'a', unit: 'M/s', better: 'higher', hash: 'f', reach: { of: 'figure', bound: 10 } } as const;
  const figures = [makeFigure({ ...base, runs: [4] })];
  const [bar] = barsOf([sampleResult({ figures })]);
  assert.equal(bar!.share, 0.4);
  assert.equal(describeBar(bar!), '4 of at least 10 M/s');
});

test('the verdict names what is not reached, each benchmark once', () => {
  assert.equal(verdictOf([]), 'No bar is measured yet.');
  assert.equal(verdictOf(barsOf([sampleResult()])), '1 of 2 bars are reached; 1 is not: log.');
  const both = barsOf([sampleResult(), sampleResult({ name: 'start' }), sampleResult({ name: 'start' })]);
  assert.equal(verdictOf(both), '3 of 6 bars are reached; 3 are not: log, start.');
  assert.equal(verdictOf(both.filter(({ share }) => share > 1)), '3 of 3 bars are reached.');
});

test('results come in the order of the registry, unknown ones last', () => {
  const results = ['zebra', 'start', 'apple', 'log'].map((name) => sampleResult({ name }));
  assert.deepEqual(
    inOrder(results, ['log', 'start']).map(({ name }) => name),
    ['log', 'start', 'apple', 'zebra'],
  );
});

test('what was run, on what, and how its runs lay apart', () => {
  const result = sampleResult({ workload: { share_to_groups: 0.2, messagesPerRun: 12_000, log: 'in memory' } });
  assert.equal(describeHost(result), '2 × AMD EPYC, 23.5 GiB, Node v20.20.2, linux-x64');
  assert.equal(
    describeRun(result),
    'Measured 2026-01-02 03:04 UTC in 61.2 s on 2 × AMD EPYC, 23.5 GiB, Node v20.20.2, linux-x64.',
  );
  assert.equal(describeWorkload(result), 'share to groups 0.2, messages per run 12,000, log in memory');
  assert.equal(describeRuns(result), '5 runs, 198 – 220');
  assert.equal(describeRuns({ runs: [3] }), '1 run');
  assert.equal(describeAxis({ name: 'rate', unit: 'MB/s' }), 'rate (MB/s)');
  assert.equal(describeAxis({ name: 'members', unit: '' }), 'members');
  assert.deepEqual([0, 12.345, 9_999, 12_500, 1_250_000].map(formatShort), ['0', '12.3', '9,999', '12.5 k', '1.25 M']);
  assert.deepEqual([null, 'a', 0.5].map(formatCell), ['–', 'a', '0.5']);
});
