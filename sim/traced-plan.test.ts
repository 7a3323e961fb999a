import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TraceColumns, TraceKind } from '../benchmarks/load/trace.js';
import { planOfTrace } from './traced-plan.js';
import { runPlan } from './world.js';

const OPTIONS = { seed: 3, speed: undefined, conversations: 1_000, messages: 1_000 };

/** Two chats of three people each; somebody joins the first in the middle, somebody leaves it, and comes back by speaking. */
function columns(): TraceColumns {
  const trace = new TraceColumns();
  for (const chat of [1, 2]) {
    for (let n = 0; n < 60; n++) trace.push(n * 10_000, chat, 1 + (n % 3), TraceKind.MESSAGE, 20 + n);
  }
  trace.push(205_000, 1, 4, TraceKind.JOIN, 0);
  trace.push(215_000, 1, 4, TraceKind.MESSAGE, 50);
  trace.push(301_000, 1, 2, TraceKind.LEAVE, 0);
  return trace;
}

test('conversations, people, joins and leaves come from the trace; the rest from the seed', () => {
  const { plan, used, conversations, speed } = planOfTrace(columns(), OPTIONS);
  assert.deepEqual([conversations, used.messages, used.leaves], [2, 121, 1]);
  assert.equal(plan.people.length, 7);
  assert.ok(plan.conversations.every((conversation) => 'members' in conversation && conversation.members.length === 3));
  assert.equal(Math.round(590_000 / speed), 20_000);
  const kinds = new Set(plan.deeds.map((deed) => deed.do));
  assert.ok(kinds.has('add') && kinds.has('leave') && kinds.has('read'));
  assert.ok(plan.deeds.every(({ at }, index) => index === 0 || plan.deeds[index - 1]!.at <= at));
  assert.deepEqual(planOfTrace(columns(), OPTIONS).plan, plan);
  assert.notDeepEqual(planOfTrace(columns(), { ...OPTIONS, seed: 4 }).plan.faults, plan.faults);
});

test('a part is what comes first: conversations in the file, messages in time', () => {
  const { plan, used, conversations } = planOfTrace(columns(), {
    ...OPTIONS,
    conversations: 1,
    messages: 10,
    speed: 10,
  });
  assert.deepEqual([conversations, used.messages, plan.people.length], [1, 10, 3]);
  const last = plan.deeds.findLast((deed) => deed.do === 'send')!;
  assert.equal(last.at - plan.deeds.find((deed) => deed.do === 'send')!.at, 9_000);
});

test('it runs, and all holds', () => {
  const { violations, messages } = runPlan(planOfTrace(columns(), OPTIONS).plan);
  assert.deepEqual(violations, []);
  assert.ok(messages > 121);
});
