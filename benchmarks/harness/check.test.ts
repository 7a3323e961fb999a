import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkResult } from './check.js';
import { sampleResult } from './sample.fixture.js';

test('a whole result has no breach', () => {
  assert.deepEqual(checkResult(sampleResult()), []);
});

test('each field that is missing, too much or no number is named', () => {
  const result = sampleResult();
  const wrong = (change: object): string[] => checkResult({ ...result, ...change });
  assert.deepEqual(wrong({ figure: Number.NaN }), ['result.figure is NaN: a number is right']);
  assert.deepEqual(wrong({ ratio: Number.POSITIVE_INFINITY }), ['result.ratio is Infinity: a number is right']);
  assert.deepEqual(wrong({ unit: '' }), ['result.unit is "": a string is right']);
  assert.deepEqual(wrong({ runs: [] }), ['result.runs is []: a list of at least 1 is right']);
  assert.deepEqual(wrong({ runs: [1, null] }), ['result.runs[1] is null: a number is right']);
  assert.deepEqual(wrong({ better: 'more' }), ['result.better is "more": higher or lower is right']);
  assert.deepEqual(wrong({ rivals: 3 }), ['result.rivals is no field of it']);
  assert.deepEqual(wrong({ machine: { ...result.machine, cores: 0 } }), [
    'result.machine.cores is 0: a count is right',
  ]);
  assert.deepEqual(wrong({ workload: { users: {} } }), ['result.workload.users is {}: a scalar is right']);
  const { hash: _, ...figure } = result.figures[0]!;
  assert.deepEqual(wrong({ figures: [figure] }), ['result.figures[0].hash is undefined: a string is right']);
  assert.deepEqual(checkResult([]), ['result is []: an object is right']);
});

test('points of curves are pairs of numbers', () => {
  const [curve] = sampleResult().curves;
  const curves = [{ ...curve, series: [{ name: 'a', points: [[1]] }] }];
  assert.deepEqual(checkResult({ ...sampleResult(), curves }), [
    'result.curves[0].series[0].points[0] is [1]: a list of at least 2 is right',
  ]);
});
