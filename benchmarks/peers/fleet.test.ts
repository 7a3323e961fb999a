import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fleet } from './fleet.js';
import type { PeerEvents, PeerServer } from './peer.js';

/** What a server does to a message: how often it arrives; −1 keeps it back until the next one of its sender has gone. */
type Fate = (n: number) => number;

/** A server in this process; `fate` is asked with the number of the message. */
function fakeServer(fate: Fate, ackEach = 1): PeerServer {
  const users = new Map<number, PeerEvents>();
  const groups = new Map<number, readonly number[]>();
  let n = 0;
  return {
    version: '1',
    configuration: '',
    pids: [],
    connect: async (user, events) => {
      users.set(user, events);
      const held: Uint8Array[] = [];
      const hand = (receivers: readonly number[], bodies: readonly Uint8Array[]): void => {
        for (const body of bodies) {
          const times = fate(++n);
          if (times < 0) held.push(body);
          const all = times < 0 ? [] : [...Array.from({ length: times }, () => body), ...held.splice(0)];
          for (const one of all) for (const receiver of receivers) users.get(receiver)!.delivered(one);
        }
        events.acked(bodies.length * ackEach);
      };
      return {
        send: (to, bodies) => hand([to], bodies),
        sendToGroup: (group, bodies) => hand(groups.get(group)!, bodies),
        close: () => {},
      };
    },
    makeGroup: async (group, members) => {
      groups.set(group, members);
    },
    stop: async () => {},
  };
}

const NONE = { lost: 0, doubled: 0, misordered: 0, damaged: 0, unacked: 0 };

test('nothing is found at a server that does what it should', async () => {
  const fleet = await Fleet.open(
    fakeServer(() => 1),
    4,
  );
  const hash = await fleet.exchange(10);
  const { messages } = await fleet.saturate(3, 0.01, 0.02);
  assert.ok(messages > 0);
  const { p50Ms, p99Ms } = await fleet.openLoop(10_000, 0.05, 5);
  assert.ok(p50Ms >= 0 && p99Ms >= p50Ms);
  assert.deepEqual(fleet.faults(), NONE);
  const other = await Fleet.open(
    fakeServer(() => 1),
    4,
  );
  assert.equal(await other.exchange(10), hash);
});

test('what a server does wrong is found', async () => {
  const cases: [Fate, Partial<typeof NONE>][] = [
    [(n) => (n === 7 ? 2 : 1), { doubled: 1 }],
    [(n) => (n === 7 ? -1 : 1), { misordered: 1, doubled: 1, lost: 1 }],
  ];
  for (const [fate, found] of cases) {
    const fleet = await Fleet.open(fakeServer(fate), 4);
    await fleet.exchange(10);
    assert.deepEqual(fleet.faults(), { ...NONE, ...found });
  }
});

test('a message to a group is owed to all members but the sender', async () => {
  const fleet = await Fleet.open(
    fakeServer(() => 1),
    4,
  );
  const messages = [
    { atMs: 0, group: 0, sender: 1, bytes: 50 },
    { atMs: 1, group: 1, sender: 4, bytes: 60 },
    { atMs: 2, group: 0, sender: 1, bytes: 70 },
  ];
  await fleet.replay({
    groups: [
      [1, 2, 3],
      [1, 4],
    ],
    messages,
    deliveries: 5,
    speed: 1,
  });
  assert.deepEqual(fleet.faults(), NONE);
});
