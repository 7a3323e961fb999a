import assert from 'node:assert/strict';
import { test } from 'node:test';
import { devicesOf, drawPlan, type Plan } from './plan.js';
import { TOPOLOGY_DEFAULTS } from './scenario-fields.js';
import { countEvents, shrink } from './shrink.js';

/** A seed with all that these tests look for. */
const SEED = 38;

test('only what the failure needs is left: one fault, and a message after it', () => {
  const fails = ({ deeds, faults }: Plan): boolean =>
    faults.some(({ fault, at }) => fault === 'power' && deeds.some((deed) => deed.do === 'send' && deed.at > at));
  const plan = drawPlan(SEED);
  assert.ok(fails(plan));
  const small = shrink(plan, { fails });
  assert.deepEqual(
    small.faults.map(({ fault }) => fault),
    ['power'],
  );
  assert.deepEqual(
    small.deeds.map((deed) => [deed.do, deed.do === 'send' ? deed.bytes : 0]),
    [['send', 12]],
  );
  assert.deepEqual(small.topology, TOPOLOGY_DEFAULTS);
  assert.ok(small.people.length <= 2);
  assert.equal(small.conversations.length, 1);
  assert.equal(small.deeds[0]!.at % 1_000, 0);
});

test('what depends on a number of events keeps that number', () => {
  const fails = ({ deeds }: Plan): boolean => deeds.filter((deed) => deed.do === 'read').length >= 7;
  const small = shrink(drawPlan(SEED), { fails });
  assert.equal(countEvents(small), 7);
});

test('a topology that is needed stays', () => {
  const fails = ({ topology, people }: Plan): boolean =>
    topology.conversationPartitions > 1 && devicesOf(people).length >= 2;
  const plan = { ...drawPlan(SEED), topology: { ...drawPlan(SEED).topology, conversationPartitions: 3 } };
  const small = shrink(plan, { fails });
  assert.deepEqual([small.topology.conversationPartitions, small.topology.conversationLanes], [3, 1]);
  assert.equal(devicesOf(small.people).length, 2);
});

test('what stays must fail at every step, and it ends when it is told to', () => {
  const seen: Plan[] = [];
  const fails = (plan: Plan): boolean => countEvents(plan) >= 30;
  const small = shrink(drawPlan(SEED), { fails, onSmaller: (plan) => seen.push(plan) });
  assert.ok(seen.length > 3 && seen.every(fails));
  assert.equal(countEvents(small), 30);
  const plan = drawPlan(SEED);
  assert.equal(shrink(plan, { fails, isOver: () => true }), plan);
});

test('another seed is tried when the plan’s own does not fail any more', () => {
  const fails = (plan: Plan): boolean =>
    plan.seed === SEED ? countEvents(plan) > 40 : plan.seed === 2 && countEvents(plan) >= 5;
  const small = shrink(drawPlan(SEED), { fails });
  assert.deepEqual([small.seed, countEvents(small)], [2, 5]);
});
