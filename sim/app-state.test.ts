import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeSnapshot } from '../client/snapshot.js';
import type { HistoryEvent } from '../core/checks/index.js';
import { AppState } from './app-state.js';

const DEVICE = 128_130;

/** A client's state in which everything up to a position is processed. */
function state(position: number): Uint8Array {
  return encodeSnapshot({ device: DEVICE, isFresh: false, position, conversations: [], blocks: [] });
}

function bench(): { app: AppState; told: string[] } {
  const told: string[] = [];
  const feed = (event: HistoryEvent): void => {
    if (event.op === 'block') told.push(`${event.user} ${event.on === 1 ? 'blocked' : 'not'}`);
  };
  return { app: new AppState(DEVICE, feed, () => false, false), told };
}

test('an application that dies knows of the blocks that its saved state had processed, and is told of the others again', () => {
  const { app, told } = bench();
  app.block(7, true, 1);
  app.block(8, true, 2);
  app.block(7, false, 3);
  app.saved(app.saving(state(2)));
  told.length = 0;
  app.died(0);
  assert.deepEqual(told, ['7 blocked']);
  app.block(7, false, 3);
  app.saved(app.saving(state(3)));
  told.length = 0;
  app.died(0);
  assert.deepEqual(told, []);
});

test('a backup does not know who is not blocked any more, and is not told again', () => {
  const { app, told } = bench();
  app.block(7, true, 1);
  app.block(8, true, 2);
  app.saved(app.saving(state(2)));
  app.block(7, false, 3);
  app.saved(app.saving(state(3)));
  told.length = 0;
  app.died(1);
  assert.deepEqual(told, []);
  app.reset();
  assert.deepEqual(told, ['8 not']);
});

test('what a backup lacks of a group is not missed when its user is added to it anew', () => {
  const rewound: number[] = [];
  const app = new AppState(
    DEVICE,
    (event) => event.op === 'rewound' && rewound.push(event.seq),
    () => false,
    false,
  );
  app.handed(0, 5_001, 1);
  app.handed(0, 5_001, 12);
  app.died(1);
  rewound.length = 0;
  app.rejoins(0, 5_001, 9);
  assert.deepEqual(rewound, [], 'what was seen before comes again');
  app.rejoins(0, 5_001, 26);
  assert.deepEqual(rewound, [12]);
  assert.equal(app.seen(0, 5_001), 12);
});
