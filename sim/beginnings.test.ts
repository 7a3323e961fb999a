import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HistoryEvent } from '../core/checks/index.js';
import { deviceKey } from '../core/ids.js';
import { Beginnings } from './beginnings.js';

const DEVICE = deviceKey(1_001, 2);
const OTHER = deviceKey(1_001, 1);
const A = 1_001;
const B = 1_002;

function deliver(device: number, a: number, b: number, seq: number): HistoryEvent {
  return { op: 'deliver', device, a, b, seq, sender: deviceKey(B, 1), counter: 1, content: 1, time: 0, ttl: 0, at: 0 };
}

function welcomed(): Beginnings {
  const beginnings = new Beginnings();
  beginnings.expect(DEVICE);
  beginnings.fannedOut(A, B, 7);
  beginnings.fannedOut(0, 5_001, 3);
  // Said again, and a conversation of others.
  beginnings.fannedOut(A, B, 6);
  beginnings.fannedOut(B, 1_003, 9);
  beginnings.before({ op: 'resume', device: DEVICE });
  return beginnings;
}

test('a new device begins with what it sees first, once', () => {
  const beginnings = welcomed();
  beginnings.fannedOut(A, B, 8);
  const start = beginnings.before(deliver(DEVICE, A, B, 5));
  assert.deepEqual(start, { op: 'start', device: DEVICE, a: A, b: B, seq: 5 });
  assert.equal(beginnings.before(deliver(DEVICE, A, B, 6)), undefined);
  assert.equal(beginnings.firstOf(DEVICE, A, B, 6), 1);
});

test('it begins behind what had been fanned out at its first WELCOME at the latest', () => {
  const beginnings = welcomed();
  beginnings.fannedOut(A, B, 20);
  beginnings.before({ op: 'resume', device: DEVICE });
  assert.equal(beginnings.firstOf(DEVICE, A, B, 12), 8);
  const start = beginnings.before({ op: 'ok', device: DEVICE, a: A, b: B, counter: 1, seq: 12 });
  assert.deepEqual(start, { op: 'start', device: DEVICE, a: A, b: B, seq: 8 });
  const gap = beginnings.before({ op: 'gap', device: DEVICE, a: 0, b: 5_001, through: 2, reason: 1 });
  assert.deepEqual(gap, { op: 'start', device: DEVICE, a: 0, b: 5_001, seq: 2 });
  assert.deepEqual([...beginnings.rest()], []);
});

test('what it never saw of its own conversations is told at the end; a device that was never welcomed is owed nothing', () => {
  const beginnings = welcomed();
  assert.deepEqual(
    [...beginnings.rest()],
    [
      { op: 'start', device: DEVICE, a: A, b: B, seq: 8 },
      { op: 'start', device: DEVICE, a: 0, b: 5_001, seq: 4 },
    ],
  );
  const before = new Beginnings();
  before.expect(DEVICE);
  before.fannedOut(A, B, 7);
  assert.deepEqual([...before.rest()], []);
});

test('other devices, and events that are no step in a conversation, are left alone', () => {
  const beginnings = welcomed();
  assert.equal(beginnings.before(deliver(OTHER, A, B, 5)), undefined);
  assert.equal(beginnings.before({ op: 'read', device: DEVICE, a: A, b: B, seq: 5, sure: 1 }), undefined);
  assert.equal(beginnings.before({ op: 'join', a: 0, b: 5_001, user: A, seq: 1 }), undefined);
});
