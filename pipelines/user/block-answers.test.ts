import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kind } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { type StepResult, TestLane } from './testing.js';

const BO = 2;
const ADA = 1;
const DEVICE = deviceKey(BO, 1);

class Bench extends TestLane {
  constructor() {
    super({ syncs: false });
    this.frames({ kind: Kind.GENERATION, extra: 1 });
    this.frames({ kind: Kind.CONNECT, device: DEVICE, convA: 2 ** 32, convB: 41, extra: 1 });
    this.run();
    this.tellSynced();
    this.run();
  }

  block(other = ADA, extra = 1): StepResult {
    this.frames({ kind: Kind.BLOCK, device: DEVICE, convB: other, extra });
    return this.run();
  }
}

/** What BO is told of blocks: 1 for one that begins, 0 for one that ends. */
function answers({ egress }: StepResult): number[] {
  return egress.filter(({ frame }) => frame.kind === Kind.BLOCK).map(({ frame }) => frame.extra);
}

test('a block is answered when the disk has it, also by a lane that began anew meanwhile', () => {
  const lane = new Bench();
  const asked = lane.log.length;
  assert.deepEqual(answers(lane.block()), []);
  assert.deepEqual(answers(lane.block()), []);
  assert.equal(lane.stage.syncWantedAt, asked, 'who asks again waits for the first time');
  lane.tellSynced(asked);
  assert.deepEqual(answers(lane.run()), []);
  lane.checkRestore();
  lane.crash();
  lane.tellSynced(asked + 1);
  assert.deepEqual(answers(lane.run()), [1]);
  assert.equal(lane.stage.syncWantedAt, Number.POSITIVE_INFINITY);
  lane.checkRestore();
});

test('a block that ends before it was answered is answered first', () => {
  const lane = new Bench();
  lane.block();
  assert.deepEqual(answers(lane.block(ADA, 0)), [1, 0]);
  assert.equal(lane.stage.syncWantedAt, Number.POSITIVE_INFINITY);
});

test('a step answers so many', () => {
  const lane = new Bench();
  for (let other = 100; other < 400; other++) lane.frames({ kind: Kind.BLOCK, device: DEVICE, convB: other, extra: 1 });
  lane.run();
  lane.checkRestore();
  lane.tellSynced();
  const steps: number[] = [];
  lane.run((result) => steps.push(answers(result).length));
  assert.deepEqual(steps, [256, 44]);
});
