import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HistoryEvent } from '../core/checks/index.js';
import { conversationMoments } from './conversation-lines.js';
import { TOPOLOGY_DEFAULTS } from './scenario-fields.js';
import { World } from './world.js';

const A = 1_001;
const B = 1_002;

function world(): World {
  const plan = {
    seed: 1,
    topology: TOPOLOGY_DEFAULTS,
    people: [1, 1, 1],
    conversations: [{ users: [0, 1] as const }, { users: [0, 2] as const }],
    deeds: [
      { do: 'send', at: 2_000, device: 0, in: 0, bytes: 20 } as const,
      { do: 'send', at: 2_000, device: 2, in: 1, bytes: 20 } as const,
      { do: 'block', at: 3_000, device: 1, user: 0, on: true } as const,
    ],
    faults: [{ fault: 'cut', at: 2_500, device: 1 } as const],
    loadMs: 4_000,
  };
  const made = new World(plan, { keepsHistory: true });
  made.run();
  return made;
}

test('who sent what, its place, and who saw it; with faults between, and nothing of other conversations', () => {
  const lines = conversationMoments(world(), A, B).map(({ text }) => text.trim());
  const places = [
    '1001/1 sends its message 1',
    'sequencer: 1 is message 1 of 1001/1',
    '1002/1 sees 1, which is message 1 of 1001/1',
    'FAULT {"fault":"cut","at":2500,"device":1}',
    '1002/1 is told: 1001 is blocked',
  ].map((line) => lines.indexOf(line));
  assert.ok(
    places.every((place) => place >= 0),
    lines.join('\n'),
  );
  assert.deepEqual(
    places,
    places.toSorted((one, other) => one - other),
  );
  assert.ok(!lines.some((line) => line.includes('1003/1')));
});

test('what is missing, or comes again, is marked', () => {
  const made = world();
  const deliver = (seq: number): { atMs: number; event: HistoryEvent } => ({
    atMs: 99_000,
    event: {
      op: 'deliver',
      device: B * 128 + 1,
      a: A,
      b: B,
      seq,
      sender: A * 128 + 1,
      counter: seq,
      content: 1,
      time: 0,
      ttl: 0,
      at: 0,
    },
  });
  made.observer.history.push(deliver(4), deliver(4), deliver(5));
  const marks = conversationMoments(made, A, B)
    .filter(({ atMs }) => atMs === 99_000)
    .map(({ text }) => text.split('<== ')[1]);
  assert.deepEqual(marks, ['GAP: 2 to 3 are missing', 'AGAIN: it had come to 4', undefined]);
});
