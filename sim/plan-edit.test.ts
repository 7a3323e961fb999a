import assert from 'node:assert/strict';
import { test } from 'node:test';
import { devicesOf, drawPlan, type Plan } from './plan.js';
import { withoutConversation, withoutDevice, withoutMember, withoutPerson, withTopology } from './plan-edit.js';
import { TOPOLOGY_DEFAULTS } from './scenario-fields.js';
import { parseScenario } from './scenario-read.js';
import { writeScenario } from './scenario-write.js';
import { runPlan } from './world.js';

const SEEDS = 12;

/** Its reader refuses what names something that is not there. */
function assertWhole(plan: Plan): void {
  assert.deepEqual(parseScenario(writeScenario({ plan }), 'edited').plan, plan);
}

function* edits(plan: Plan): Generator<Plan | undefined> {
  for (let n = 0; n < plan.conversations.length; n++) yield withoutConversation(plan, n);
  for (let n = 0; n < plan.people.length; n++) yield withoutPerson(plan, n);
  for (let n = 0; n < devicesOf(plan.people).length; n++) yield withoutDevice(plan, n);
  for (let n = 0; n < plan.conversations.length; n++) yield withoutMember(plan, n, 0);
  yield withTopology(plan, TOPOLOGY_DEFAULTS);
}

test(`${SEEDS} seeds: whatever is taken away, the rest names only what is there`, () => {
  let made = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const drawn = drawPlan(seed);
    const plan = { ...drawn, deeds: drawn.deeds.slice(0, 60) };
    for (const edited of edits(plan)) {
      if (edited === undefined) continue;
      made++;
      assertWhole(edited);
    }
  }
  assert.ok(made > 100);
});

const PLAN: Plan = {
  seed: 1,
  topology: { ...TOPOLOGY_DEFAULTS, conversationPartitions: 2, conversationLanes: 2, gateways: 2 },
  people: [1, 2, 1],
  conversations: [{ users: [0, 1] }, { users: [1, 2] }, { members: [2, 0, 1] }],
  deeds: [
    { do: 'send', at: 2_000, device: 0, in: 0, bytes: 12 },
    { do: 'send', at: 2_000, device: 3, in: 1, bytes: 12 },
    { do: 'add', at: 3_000, device: 3, in: 2, user: 1 },
    { do: 'block', at: 4_000, device: 3, user: 0, on: true },
  ],
  faults: [
    { fault: 'lane-crash', at: 2_000, lane: 1 },
    { fault: 'lane-crash', at: 2_000, lane: 2 },
    { fault: 'gateway-crash', at: 2_000, gateway: 1 },
  ],
  loadMs: 5_000,
};

test('a person takes devices, conversations and deeds along, and those behind move up', () => {
  const { people, conversations, deeds } = withoutPerson(PLAN, 0)!;
  assert.deepEqual(people, [2, 1]);
  assert.deepEqual(conversations, [{ users: [0, 1] }, { members: [1, 0] }]);
  assert.deepEqual(deeds, [
    { do: 'send', at: 2_000, device: 2, in: 0, bytes: 12 },
    { do: 'add', at: 3_000, device: 2, in: 1, user: 0 },
  ]);
});

test('on a smaller topology lanes stay of their stage', () => {
  const { faults } = withTopology(PLAN, TOPOLOGY_DEFAULTS);
  assert.deepEqual(faults, [
    { fault: 'lane-crash', at: 2_000, lane: 0 },
    { fault: 'lane-crash', at: 2_000, lane: 1 },
    { fault: 'gateway-crash', at: 2_000, gateway: 0 },
  ]);
});

test('nobody is taken away who is the last', () => {
  const alone: Plan = { ...PLAN, people: [1], conversations: [{ members: [0] }], deeds: [] };
  assert.equal(withoutPerson(alone, 0), undefined);
  assert.equal(withoutDevice(alone, 0), undefined);
  assert.equal(withoutMember(alone, 0, 0), undefined);
  assert.deepEqual(runPlan(alone).violations, []);
});
