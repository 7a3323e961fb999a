import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  Action,
  type Bucket,
  SESSION_TABLE,
  SessionEvent,
  SessionState,
  sends,
  take,
  takes,
  transition,
} from './session.js';

type StateName = keyof typeof SessionState;
type EventName = keyof typeof SessionEvent;
type ActionName = keyof typeof Action;

const STATES = Object.keys(SessionState) as StateName[];
const EVENTS = Object.keys(SessionEvent) as EventName[];

/** What the protocol asks for: "NEXT" or "NEXT action". A dot stands for "stays, nothing to do". */
const EXPECTED: Readonly<Record<StateName, Readonly<Record<EventName, string>>>> = {
  HELLO: {
    HELLO: 'RESUMING CONNECT',
    WELCOME: '.',
    MORE: '.',
    CAUGHT_UP: '.',
    OVERFULL: '.',
    DRAINED: '.',
    DRAIN: 'DRAINING GOODBYE',
    // The user stage was told nothing yet.
    CLOSE: 'CLOSED NONE',
  },
  RESUMING: {
    HELLO: 'RESUMING REFUSE',
    WELCOME: 'CATCH_UP NONE',
    MORE: '.',
    CAUGHT_UP: '.',
    OVERFULL: '.',
    DRAINED: '.',
    DRAIN: 'DRAINING GOODBYE',
    CLOSE: 'CLOSED DISCONNECT',
  },
  CATCH_UP: {
    HELLO: 'CATCH_UP REFUSE',
    WELCOME: '.',
    MORE: 'CATCH_UP PULL_WHEN_DRAINED',
    CAUGHT_UP: 'LIVE NONE',
    // A piece is bounded: the next one waits for DRAINED.
    OVERFULL: '.',
    DRAINED: 'CATCH_UP PULL',
    DRAIN: 'DRAINING GOODBYE',
    CLOSE: 'CLOSED DISCONNECT',
  },
  LIVE: {
    HELLO: 'LIVE REFUSE',
    WELCOME: '.',
    // Of the time before, emitted again by a lane that started again.
    MORE: '.',
    CAUGHT_UP: '.',
    OVERFULL: 'WAITING NEW_TOKEN',
    DRAINED: '.',
    DRAIN: 'DRAINING GOODBYE',
    CLOSE: 'CLOSED DISCONNECT',
  },
  WAITING: {
    HELLO: 'WAITING REFUSE',
    WELCOME: '.',
    MORE: '.',
    CAUGHT_UP: '.',
    OVERFULL: '.',
    DRAINED: 'CATCH_UP PULL_AGAIN',
    DRAIN: 'DRAINING GOODBYE',
    CLOSE: 'CLOSED DISCONNECT',
  },
  DRAINING: {
    HELLO: '.',
    WELCOME: '.',
    MORE: '.',
    CAUGHT_UP: '.',
    OVERFULL: '.',
    DRAINED: '.',
    DRAIN: '.',
    CLOSE: 'CLOSED DISCONNECT',
  },
  CLOSED: {
    HELLO: '.',
    WELCOME: '.',
    MORE: '.',
    CAUGHT_UP: '.',
    OVERFULL: '.',
    DRAINED: '.',
    DRAIN: '.',
    CLOSE: '.',
  },
};

function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  return Object.entries(names).find(([, known]) => known === value)![0];
}

test('every state takes every event as stated', () => {
  assert.equal(SESSION_TABLE.length, STATES.length);
  for (const state of STATES) {
    assert.equal(SESSION_TABLE[SessionState[state]]!.length, EVENTS.length, state);
    for (const event of EVENTS) {
      const { next, action } = transition(SessionState[state], SessionEvent[event]);
      const stated = EXPECTED[state][event] === '.' ? `${state} NONE` : EXPECTED[state][event];
      assert.equal(`${nameOf(SessionState, next)} ${nameOf(Action, action)}`, stated, `${state} × ${event}`);
    }
  }
});

test('every state is reached from HELLO, CLOSED from every state, and nothing leaves CLOSED', () => {
  const reachedFrom = (start: number): Set<number> => {
    const seen = new Set([start]);
    for (const state of seen) for (const { next } of SESSION_TABLE[state]!) seen.add(next);
    return seen;
  };
  assert.equal(reachedFrom(SessionState.HELLO).size, STATES.length);
  for (const state of STATES) assert.ok(reachedFrom(SessionState[state]).has(SessionState.CLOSED), state);
  assert.deepEqual([...reachedFrom(SessionState.CLOSED)], [SessionState.CLOSED]);
});

test('every action is asked for somewhere', () => {
  const asked = new Set(SESSION_TABLE.flatMap((row) => row.map(({ action }) => action)));
  for (const name of Object.keys(Action) as ActionName[]) assert.ok(asked.has(Action[name]), name);
});

function walk(start: StateName, events: readonly EventName[]): string[] {
  let state: SessionState = SessionState[start];
  return events.map((event) => {
    const { next, action } = transition(state, SessionEvent[event]);
    state = next;
    return `${nameOf(SessionState, next)} ${nameOf(Action, action)}`;
  });
}

test('a session catches up in pieces, goes live, turns over a full socket, and comes back', () => {
  assert.deepEqual(walk('HELLO', ['HELLO', 'WELCOME', 'MORE', 'DRAINED', 'MORE', 'DRAINED', 'CAUGHT_UP']), [
    'RESUMING CONNECT',
    'CATCH_UP NONE',
    'CATCH_UP PULL_WHEN_DRAINED',
    'CATCH_UP PULL',
    'CATCH_UP PULL_WHEN_DRAINED',
    'CATCH_UP PULL',
    'LIVE NONE',
  ]);
  const round = ['OVERFULL', 'MORE', 'CAUGHT_UP', 'DRAINED', 'CAUGHT_UP'] as const;
  const expected = ['WAITING NEW_TOKEN', 'WAITING NONE', 'WAITING NONE', 'CATCH_UP PULL_AGAIN', 'LIVE NONE'];
  assert.deepEqual(walk('LIVE', [...round, ...round]), [...expected, ...expected]);
});

test('however a session got on, whoever said hello is disconnected exactly once', () => {
  const events = fc.array(fc.constantFrom(...EVENTS), { maxLength: 30 });
  fc.assert(
    fc.property(events, (list) => {
      const steps = walk('HELLO', [...list, 'CLOSE', 'CLOSE']);
      const connects = steps.filter((step) => step.endsWith(' CONNECT')).length;
      const disconnects = steps.filter((step) => step.endsWith(' DISCONNECT')).length;
      assert.ok(connects <= 1 && disconnects <= 1);
      assert.ok(disconnects >= connects, 'a CONNECT without its DISCONNECT');
    }),
  );
});

test('after a new token nothing is sent until the inbox was asked for again', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 60 }), (list) => {
      let mustAsk = false;
      for (const step of walk('HELLO', list)) {
        const [state, action] = step.split(' ') as [StateName, ActionName];
        if (action === 'NEW_TOKEN') mustAsk = true;
        if (action === 'PULL_AGAIN') mustAsk = false;
        if (mustAsk && state !== 'DRAINING') assert.ok(!sends(SessionState[state]), state);
      }
    }),
  );
});

test('frames go out once the user stage may send, and come in once hello was said', () => {
  const sending = STATES.filter((state) => sends(SessionState[state]));
  assert.deepEqual(sending, ['RESUMING', 'CATCH_UP', 'LIVE', 'DRAINING']);
  assert.deepEqual(
    STATES.filter((state) => !takes(SessionState[state])),
    ['HELLO', 'CLOSED'],
  );
});

test('a bucket never gives more than its burst and what flowed in', () => {
  const steps = fc.array(fc.record({ waitMs: fc.nat(3_000), amount: fc.nat(500) }), { maxLength: 200 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 1_000 }), (list, rate, burst) => {
      const bucket: Bucket = { left: burst, atMs: 0 };
      const grants: { atMs: number; amount: number }[] = [];
      let nowMs = 0;
      for (const { waitMs, amount } of list) {
        nowMs += waitMs;
        if (take(bucket, amount, rate, burst, nowMs)) grants.push({ atMs: nowMs, amount });
        assert.ok(bucket.left >= 0 && bucket.left <= burst);
      }
      // Over every window, not only from the start: nothing is saved up beyond the burst.
      for (let from = 0; from < grants.length; from++) {
        let given = 0;
        for (let to = from; to < grants.length; to++) {
          given += grants[to]!.amount;
          const most = burst + ((grants[to]!.atMs - grants[from]!.atMs) * rate) / 1_000;
          assert.ok(given <= most + 1e-6, `${given} of ${most}`);
        }
      }
    }),
  );
});

test('a bucket fills at its rate: who keeps to it is never refused', () => {
  const bucket: Bucket = { left: 0, atMs: 0 };
  for (let nowMs = 10; nowMs <= 10_000; nowMs += 10) assert.ok(take(bucket, 1, 100, 5, nowMs), `${nowMs} ms`);
  assert.ok(!take(bucket, 1, 100, 5, 10_000));
});

test('what a bucket refuses costs nothing, and a clock that steps back fills nothing', () => {
  const bucket: Bucket = { left: 3, atMs: 1_000 };
  assert.ok(!take(bucket, 4, 0, 10, 1_000));
  assert.ok(!take(bucket, 4, 1_000, 10, 0));
  assert.ok(take(bucket, 3, 0, 10, 0));
});
