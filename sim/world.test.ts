import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CORPUS } from './corpus.js';
import { drawPlan, type Plan } from './plan.js';
import { runPlan, World } from './world.js';

const SEEDS = 60;
const FIRST_SEED = 10_001;

function explain(plan: Plan): string {
  return runPlan(plan)
    .violations.map(({ guarantee, sentence }) => `${guarantee}: ${sentence}`)
    .join('\n');
}

// Determinism first: without it nothing else that is told here can be seen again.
test('a seed is the same run twice, to the bit; another seed is another run', () => {
  const one = runPlan(drawPlan(4_711));
  const again = runPlan(drawPlan(4_711));
  assert.deepEqual({ ...again, marks: [...again.marks] }, { ...one, marks: [...one.marks] });
  assert.notEqual(runPlan(drawPlan(4_712)).traceHash, one.traceHash);
});

test('a world leaves nothing behind in its thread: it is the same alone, after another, and beside another', () => {
  const [one, other] = [drawPlan(2), drawPlan(3)].map((plan) => ({
    ...plan,
    topology: { ...plan.topology, buggify: true },
  })) as [Plan, Plan];
  const alone = runPlan(one);
  const beside = new World(other);
  assert.deepEqual(runPlan(one), alone);
  assert.deepEqual(beside.run(), runPlan(other));
  assert.ok([...alone.marks.keys()].some((name) => name.startsWith('site: ')));
});

test('keeping the history changes nothing', () => {
  const plan = drawPlan(12);
  const world = new World(plan, { keepsHistory: true });
  assert.equal(world.run().traceHash, runPlan(plan).traceHash);
  assert.ok(world.observer.history.length > 100);
});

test('the WebAssembly kernels change nothing: the same seed is the same run with them and without them', () => {
  const faults = new Set<boolean>();
  for (let seed = 101; seed <= 110; seed++) {
    const plan = drawPlan(seed);
    const worlds = [true, false].map((kernel) => new World(plan, { kernel }));
    const [on, off] = worlds.map((world) => world.run());
    assert.equal(on!.traceHash, off!.traceHash, `seed ${seed}`);
    assert.deepEqual([on!.violations, off!.violations], [[], []], `seed ${seed}`);
    faults.add(plan.faults.length > 0);
    const isOn = worlds.map(({ context }) => context.usesKernel);
    assert.deepEqual(isOn, [true, false]);
  }
  assert.ok(faults.has(true));
});

test('a world without faults delivers everything, and comes to rest', () => {
  const outcome = runPlan({ ...drawPlan(7), faults: [] });
  assert.deepEqual(outcome.violations, []);
  assert.ok(outcome.messages > 50 && outcome.deliveries > outcome.messages);
});

for (const { seed, what } of CORPUS) {
  test(`seed ${seed} found: ${what}`, () => assert.equal(explain(drawPlan(seed)), ''));
}

test(`${SEEDS} seeds: all guarantees hold`, () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    assert.equal(explain(drawPlan(seed)), '', `dunlin sim replay ${seed}`);
  }
});
