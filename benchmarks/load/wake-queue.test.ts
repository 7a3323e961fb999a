import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../../core/prng.js';
import { type Sleeper, WakeQueue } from './wake-queue.js';

const SLOT_MS = 10;

interface Named extends Sleeper {
  readonly name: string;
}

function named(name: string): Named {
  return { name, wakeSlot: Infinity };
}

test('each is called once, when its time has come, and at the earliest time that it asked for', () => {
  const queue = new WakeQueue<Named>(SLOT_MS, 1_000);
  const [ada, bo, cy] = [named('ada'), named('bo'), named('cy')];
  queue.schedule(ada, 1_050);
  queue.schedule(ada, 1_030);
  queue.schedule(ada, 1_090);
  queue.schedule(bo, 1_050);
  queue.schedule(cy, Infinity);
  const called: string[] = [];
  const wake = (nowMs: number): string[] => {
    called.length = 0;
    queue.wake(nowMs, ({ name }) => called.push(name));
    return [...called];
  };
  assert.deepEqual(wake(1_029), []);
  assert.deepEqual(wake(1_030), ['ada']);
  assert.deepEqual(wake(1_200), ['bo']);
  queue.schedule(ada, 500);
  assert.deepEqual(wake(1_209), []);
  assert.deepEqual(wake(1_210), ['ada'], 'what is overdue is called in the next slot');
});

test('nobody is called too early or more than a slot too late, also after a long silence', () => {
  const prng = new Prng(5);
  let nowMs = 777;
  const queue = new WakeQueue<Named & { dueMs: number }>(SLOT_MS, nowMs);
  const sleepers = Array.from({ length: 50 }, (_, n) => ({ ...named(`${n}`), dueMs: Infinity }));
  const ask = (sleeper: (typeof sleepers)[number]): void => {
    sleeper.dueMs = nowMs + prng.below(4_000);
    queue.schedule(sleeper, sleeper.dueMs);
  };
  for (const sleeper of sleepers) ask(sleeper);
  for (let round = 0; round < 5_000; round++) {
    nowMs += round % 500 === 0 ? 3_000 : prng.below(25);
    queue.wake(nowMs, (sleeper) => {
      if (sleeper.dueMs <= nowMs) ask(sleeper);
      else queue.schedule(sleeper, sleeper.dueMs);
    });
    for (const { dueMs, name } of sleepers) assert.ok(dueMs > nowMs - SLOT_MS, `${name} was left asleep`);
  }
});
