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

/** The table as the documentation draws it. "." stays and does nothing; "X" goes to X; "X/Y" goes to X and does Y. */
const EXPECTED = `
            HELLO             WELCOME   MORE                          CAUGHT_UP  OVERFULL           DRAINED              DRAIN              CLOSE
HELLO       RESUMING/CONNECT  .         .                             .          .                  .                    DRAINING/GOODBYE   CLOSED
RESUMING    RESUMING/REFUSE   CATCH_UP  .                             .          .                  .                    DRAINING/GOODBYE   CLOSED/DISCONNECT
CATCH_UP    CATCH_UP/REFUSE   .         CATCH_UP/PULL_WHEN_DRAINED    LIVE       .                  CATCH_UP/PULL        DRAINING/GOODBYE   CLOSED/DISCONNECT
LIVE        LIVE/REFUSE       .         .                             .          WAITING/NEW_TOKEN  .                    DRAINING/GOODBYE   CLOSED/DISCONNECT
WAITING     WAITING/REFUSE    .         .                             .          .                  CATCH_UP/PULL_AGAIN  DRAINING/GOODBYE   CLOSED/DISCONNECT
DRAINING    .                 .         .                             .          .                  .                    .                  CLOSED/DISCONNECT
CLOSED      .                 .         .                             .          .                  .                    .                  .
`;

function nameOf(values: Readonly<Record<string, number>>, value: number): string {
  return Object.entries(values).find(([, known]) => known === value)![0];
}

function describe(state: SessionState, event: SessionEvent): string {
  const { next, action } = transition(state, event);
  const name = nameOf(SessionState, next);
  if (action !== Action.NONE) return `${name}/${nameOf(Action, action)}`;
  return next === state ? '.' : name;
}

test('every cell of the table', () => {
  const [head, ...rows] = EXPECTED.trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  assert.deepEqual(head, Object.keys(SessionEvent), 'every event has a column');
  assert.deepEqual(
    rows.map(([state]) => state),
    Object.keys(SessionState),
    'every state has a row',
  );
  for (const [stateName, ...cells] of rows) {
    const state = SessionState[stateName as keyof typeof SessionState];
    assert.equal(SESSION_TABLE[state]!.length, head!.length, stateName);
    cells.forEach((cell, event) =>
      assert.equal(describe(state, event as SessionEvent), cell, `${stateName} × ${head![event]}`),
    );
  }
});

const events = fc.array(fc.constantFrom(...Object.values(SessionEvent)), { maxLength: 60 });

test('whatever comes, CONNECT is said at most once, and DISCONNECT once for it', () => {
  fc.assert(
    fc.property(events, (history) => {
      let state: SessionState = SessionState.HELLO;
      const actions: Action[] = [];
      for (const event of [...history, SessionEvent.CLOSE]) {
        const { next, action } = transition(state, event);
        actions.push(action);
        state = next;
      }
      assert.equal(state, SessionState.CLOSED);
      const connects = actions.filter((action) => action === Action.CONNECT).length;
      const disconnects = actions.filter((action) => action === Action.DISCONNECT).length;
      assert.ok(connects <= 1);
      assert.ok(disconnects <= 1);
      if (connects === 1) assert.equal(disconnects, 1);
    }),
  );
});

test('after a new token nothing is sent until the inbox was asked for again', () => {
  fc.assert(
    fc.property(events, (history) => {
      let state: SessionState = SessionState.HELLO;
      let mustAsk = false;
      for (const event of history) {
        const { next, action } = transition(state, event);
        if (action === Action.NEW_TOKEN) mustAsk = true;
        if (action === Action.PULL_AGAIN) mustAsk = false;
        const isEnding = next === SessionState.DRAINING || next === SessionState.CLOSED;
        if (mustAsk && !isEnding) assert.equal(sends(next), false, nameOf(SessionState, next));
        state = next;
      }
    }),
  );
});

test('frames are taken from the first hello on', () => {
  assert.equal(takes(SessionState.HELLO), false);
  assert.equal(takes(SessionState.CLOSED), false);
  for (const state of Object.values(SessionState)) {
    if (state !== SessionState.HELLO && state !== SessionState.CLOSED) assert.equal(takes(state), true);
  }
});

test('a bucket never gives more than its burst and its rate allow, and gives that', () => {
  const steps = fc.array(fc.tuple(fc.nat({ max: 3_000 }), fc.integer({ min: 1, max: 40 })), { maxLength: 80 });
  fc.assert(
    fc.property(steps, (history) => {
      const perSecond = 10;
      const burst = 20;
      const bucket: Bucket = { left: burst, atMs: 0 };
      let now = 0;
      let given = 0;
      let level = burst;
      for (const [passed, amount] of history) {
        now += passed;
        level = Math.min(burst, level + (passed * perSecond) / 1_000);
        const isGiven = take(bucket, amount, perSecond, burst, now);
        if (Math.abs(level - amount) > 1e-6) assert.equal(isGiven, level >= amount);
        if (isGiven) {
          level -= amount;
          given += amount;
        }
        assert.ok(given <= burst + (now * perSecond) / 1_000 + 1e-6);
      }
    }),
  );
});

test('a bucket is not filled by a clock that goes back', () => {
  const bucket: Bucket = { left: 0, atMs: 1_000 };
  assert.equal(take(bucket, 1, 1_000, 10, 500), false);
});
