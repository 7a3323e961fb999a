import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Columns, contentOf } from './columns.js';
import { Population } from './population.js';

const population = new Population({ users: 6, groups: 3, seed: 1 });
/** The pairs of conversation 0, which is the direct one of users 1 and 2. */
const SENDER = 0;
const OTHER = 1;

/** Three messages of the sender, which both have, and of which it knows. */
function world(): Columns {
  const columns = new Columns(population);
  for (let n = 1; n <= 3; n++) say(columns, n);
  columns.receipt(0, SENDER, 2, 1);
  columns.receipt(0, SENDER, 3, 1);
  return columns;
}

function say(columns: Columns, seq: number, counter = columns.send(SENDER)): void {
  columns.answer(0, SENDER, seq, counter);
  columns.deliver(0, OTHER, seq, SENDER, counter, contentOf(SENDER, counter));
}

function guarantees(columns: Columns): string[] {
  columns.finish();
  return [...new Set(columns.violations.map(({ guarantee }) => guarantee))].toSorted();
}

test('a clean run has nothing to say', () => {
  const columns = world();
  assert.ok(columns.isQuiet);
  assert.deepEqual(guarantees(columns), []);
  assert.deepEqual([columns.sent, columns.answered, columns.delivered, columns.receipts], [3, 3, 3, 2]);
});

const BREAKS: readonly (readonly [what: string, guarantee: string, act: (columns: Columns) => void])[] = [
  ['a device misses one', 'G1', (columns) => columns.deliver(0, OTHER, 5, SENDER, 3, contentOf(SENDER, 3))],
  ['a device is handed one twice', 'G6', (columns) => columns.deliver(0, OTHER, 3, SENDER, 3, contentOf(SENDER, 3))],
  [
    'a device is handed something else',
    'G2',
    (columns) => columns.deliver(0, OTHER, 4, SENDER, columns.send(SENDER), 5),
  ],
  [
    'two devices are handed different messages under one sequence',
    'G2',
    (columns) => {
      const [one, other] = [columns.send(SENDER), columns.send(OTHER)];
      columns.answer(0, SENDER, 4, one);
      columns.answer(0, OTHER, 4, other);
    },
  ],
  [
    'answers change their order',
    'G3',
    (columns) => {
      columns.send(SENDER);
      say(columns, 4, columns.send(SENDER));
    },
  ],
  ['a send is never answered', 'G4', (columns) => columns.send(SENDER)],
  ['one that was answered is never handed over', 'G4', (columns) => columns.answer(0, SENDER, 4, columns.send(SENDER))],
  ['something is invented', 'G5', (columns) => columns.deliver(0, OTHER, 4, SENDER, 4, contentOf(SENDER, 4))],
  ['something that was not sent is answered', 'G5', (columns) => columns.answer(0, SENDER, 4, 4)],
  ['a counter is answered twice', 'G6', (columns) => columns.answer(0, SENDER, 4, 3)],
  ['a receipt goes back', 'G7', (columns) => columns.receipt(0, SENDER, 2, 2)],
  ['a receipt is beyond the head', 'G7', (columns) => columns.receipt(0, SENDER, 4, 3)],
  ['more is read than delivered', 'G7', (columns) => columns.receipt(0, SENDER, 3, 4)],
  ['a sender is never told that its last message was delivered', 'G7', (columns) => say(columns, 4)],
];

for (const [what, guarantee, act] of BREAKS) {
  test(`${guarantee}: ${what}`, () => {
    const columns = world();
    act(columns);
    assert.ok(guarantees(columns).includes(guarantee), JSON.stringify(columns.violations));
  });
}

test('what is owed is not quiet, and the hash follows what was handed over', () => {
  const columns = world();
  const hash = columns.hash();
  const counter = columns.send(SENDER);
  assert.ok(!columns.isQuiet);
  columns.answer(0, SENDER, 4, counter);
  assert.ok(!columns.isQuiet);
  columns.deliver(0, OTHER, 4, SENDER, counter, contentOf(SENDER, counter));
  assert.ok(!columns.isQuiet);
  columns.receipt(0, SENDER, 4, 1);
  assert.ok(columns.isQuiet);
  assert.notEqual(columns.hash(), hash);
  assert.equal(world().hash(), hash);
});
