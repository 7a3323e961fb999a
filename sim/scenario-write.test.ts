import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawPlan } from './plan.js';
import { parseScenario } from './scenario-read.js';
import { writeScenario } from './scenario-write.js';
import { runPlan } from './world.js';

const SEEDS = 60;
const RUN_SEEDS = 3;

test(`${SEEDS} seeds: a plan that is written and read back is the same plan`, () => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const plan = drawPlan(seed);
    for (const { fault } of plan.faults) kinds.add(fault);
    assert.deepEqual(parseScenario(writeScenario({ plan }), `seed ${seed}`).plan, plan);
  }
  assert.ok(kinds.size >= 19);
});

test('the plan that is read back runs to the same trace', () => {
  for (let seed = 1; seed <= RUN_SEEDS; seed++) {
    const plan = drawPlan(seed);
    const { plan: again } = parseScenario(writeScenario({ plan }), 'a.yaml');
    assert.equal(runPlan(again).traceHash, runPlan(plan).traceHash);
  }
});

test('title, story, marks and expectation come back, whatever they are', () => {
  const texts = { title: "it's: #1, a 'title'", number: 25, story: 'two\nlines: - {x}, and 100 % "more"' };
  const more = {
    reaches: ['fault cut', 'lane died: partition N has another owner now: this lane stops'],
    violated: ['G4'],
  };
  const plan = { ...drawPlan(1), deeds: [], faults: [], loadMs: 0 };
  assert.deepEqual(parseScenario(writeScenario({ plan, ...texts, ...more }), 'a.yaml'), { plan, ...texts, ...more });
});
