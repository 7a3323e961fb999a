import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawDeepPlan } from './deep.js';
import { runPlan } from './world.js';

const MESSAGES = 10_000;

function sentOf(seed: number, messages: number): number {
  let sent = 0;
  for (const deed of drawDeepPlan(seed, messages).deeds) if (deed.do === 'send') sent += deed.count ?? 1;
  return sent;
}

test('a plan has as many messages as asked for, and is a function of seed and number', () => {
  for (const seed of [1, 2, 3]) assert.equal(sentOf(seed, MESSAGES), MESSAGES);
  assert.deepEqual(drawDeepPlan(9, 1_000), drawDeepPlan(9, 1_000));
  assert.notDeepEqual(drawDeepPlan(9, 1_000), drawDeepPlan(8, 1_000));
});

test('deep worlds with all their faults: all guarantees hold', () => {
  for (const seed of [11, 12, 13]) {
    const { violations, messages, faults } = runPlan(drawDeepPlan(seed, MESSAGES));
    assert.deepEqual(violations, [], `dunlin sim run --seed ${seed} --messages ${MESSAGES}`);
    assert.ok(messages > MESSAGES / 2 && faults > 0, `${messages} messages, ${faults} faults`);
  }
});
