import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './fakes.fixture.js';
import type { Session } from './hub.js';
import { ReadTally } from './read-tally.js';

function sessionOf(connection: number): Session {
  return connect(1_000 + connection, connection).session;
}

test('a READ is safe once the log has answered for all batches of its time', () => {
  const tally = new ReadTally();
  const session = sessionOf(1);
  tally.came(session);
  tally.came(session);
  tally.advance(3, 0, false);
  tally.advance(5, 5, false);
  assert.equal(session.readsSafe, 0, 'it may be in an open batch still');
  tally.advance(6, 5, true);
  tally.came(session);
  tally.advance(7, 5, true);
  assert.equal(session.readsSafe, 0);
  tally.advance(7, 6, true);
  assert.equal(session.readsSafe, 2, 'the third came later');
  tally.advance(7, 7, true);
  assert.equal(session.readsSafe, 3);
});

test('a READ that goes to the log once more is not safe before the next mark', () => {
  const tally = new ReadTally();
  const [one, two] = [sessionOf(1), sessionOf(2)];
  tally.came(one);
  tally.came(two);
  tally.advance(1, 0, true);
  tally.goesAgain();
  tally.advance(1, 1, false);
  assert.deepEqual([one.readsSafe, two.readsSafe], [0, 0]);
  tally.advance(2, 1, true);
  tally.advance(2, 2, true);
  assert.deepEqual([one.readsSafe, two.readsSafe], [1, 1]);
});

test('after a READ that was dropped nothing more is said of its connection', () => {
  const tally = new ReadTally();
  const [one, two] = [sessionOf(1), sessionOf(2)];
  tally.came(one);
  tally.came(two);
  one.isReadLost = true;
  tally.advance(1, 0, true);
  tally.advance(1, 1, true);
  assert.deepEqual([one.readsSafe, two.readsSafe], [0, 1]);
});
