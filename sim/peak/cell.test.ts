import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CellOptions, type CellResult, PeakCell } from './cell.js';

const OPTIONS: CellOptions = {
  seed: 3,
  rate: 20_000,
  seconds: 0.2,
  directs: 300,
  groups: 100,
  groupPercent: 20,
  payloadBytes: 60,
  withUserStage: true,
  kernel: true,
};

function judged(result: CellResult): Omit<CellResult, 'wallSeconds' | 'setUpSeconds' | 'parts'> {
  const { wallSeconds: _wall, setUpSeconds: _setUp, parts: _parts, ...rest } = result;
  return rest;
}

test('both stages: everything is delivered in order, and the same seed is the same run', () => {
  const one = judged(new PeakCell(OPTIONS).run());
  assert.deepEqual(one.violations, []);
  assert.equal(one.messages, 4_000);
  assert.ok(one.deliveries > 2 * one.messages && one.acks > 0 && one.receipts > 0, JSON.stringify(one));
  assert.deepEqual(judged(new PeakCell(OPTIONS).run()), one);
  assert.notEqual(judged(new PeakCell({ ...OPTIONS, seed: 4 }).run()).hash, one.hash);
});

test('the kernels change nothing but the time', () => {
  const options = { ...OPTIONS, rate: 5_000 };
  assert.deepEqual(judged(new PeakCell({ ...options, kernel: false }).run()), judged(new PeakCell(options).run()));
});

test('without the user stage devices see the same messages', () => {
  const both = new PeakCell(OPTIONS).run();
  const alone = new PeakCell({ ...OPTIONS, withUserStage: false }).run();
  assert.deepEqual(alone.violations, []);
  assert.equal(alone.deliveries, both.deliveries);
  assert.equal(alone.acks, 0);
});
