import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprintOf, PeakChecks } from './checks.js';
import { Population } from './population.js';

const SENDER = 0;
const OTHER = 1;

/** A world in which conversation 0 had three messages of its first member, and both devices have them. */
function world(): PeakChecks {
  const checks = new PeakChecks(new Population({ directs: 64, groups: 2, seed: 1 }));
  for (let n = 1; n <= 3; n++) say(checks, n);
  return checks;
}

function say(checks: PeakChecks, seq: number, counter = checks.send(SENDER)): void {
  const fingerprint = fingerprintOf(SENDER, counter, 77);
  checks.sequence(0, seq, SENDER, counter, fingerprint);
  checks.deliver(0, SENDER, seq, 0);
  checks.deliver(0, OTHER, seq, fingerprint);
}

function guarantees(checks: PeakChecks): string[] {
  checks.finish();
  return [...new Set(checks.violations.map(({ guarantee }) => guarantee))].toSorted();
}

test('a clean run has nothing to say', () => {
  const checks = world();
  checks.receipt(0, OTHER, 2, 1);
  checks.receipt(0, OTHER, 3, 3);
  assert.deepEqual(guarantees(checks), []);
  assert.deepEqual([checks.sent, checks.sequenced, checks.delivered, checks.receipts], [3, 3, 6, 2]);
});

const BREAKS: readonly (readonly [what: string, guarantee: string, act: (checks: PeakChecks) => void])[] = [
  ['the sequencer leaves one out', 'G1', (checks) => say(checks, 5)],
  [
    'a device misses one',
    'G1',
    (checks) => {
      for (const seq of [4, 5]) {
        const counter = checks.send(SENDER);
        checks.sequence(0, seq, SENDER, counter, fingerprintOf(SENDER, counter, 1));
        checks.deliver(0, SENDER, seq, 0);
      }
      checks.deliver(0, OTHER, 5, fingerprintOf(SENDER, 5, 1));
    },
  ],
  ['a device is handed one twice', 'G6', (checks) => checks.deliver(0, OTHER, 3, fingerprintOf(SENDER, 3, 77))],
  ['a sequence is given out twice', 'G2', (checks) => checks.sequence(0, 3, SENDER, 4, fingerprintOf(SENDER, 4, 1))],
  [
    'a device is handed something else',
    'G2',
    (checks) => {
      const counter = checks.send(SENDER);
      checks.sequence(0, 4, SENDER, counter, fingerprintOf(SENDER, counter, 1));
      checks.deliver(0, SENDER, 4, 0);
      checks.deliver(0, OTHER, 4, fingerprintOf(SENDER, counter, 2));
    },
  ],
  ['a counter is sequenced twice', 'G6', (checks) => say(checks, 4, 3)],
  [
    'counters change their order',
    'G3',
    (checks) => {
      checks.send(SENDER);
      say(checks, 4, checks.send(SENDER));
    },
  ],
  ['something is never sequenced', 'G4', (checks) => checks.send(SENDER)],
  [
    'something is never delivered',
    'G4',
    (checks) => {
      const counter = checks.send(SENDER);
      checks.sequence(0, 4, SENDER, counter, fingerprintOf(SENDER, counter, 1));
    },
  ],
  ['something is invented', 'G5', (checks) => say(checks, 4, 4)],
  ['a device hears of it before it is sequenced', 'G5', (checks) => checks.deliver(0, OTHER, 4, 0)],
  [
    'a receipt goes back',
    'G7',
    (checks) => {
      checks.receipt(0, OTHER, 3, 3);
      checks.receipt(0, OTHER, 2, 2);
    },
  ],
  ['a receipt is beyond the head', 'G7', (checks) => checks.receipt(0, OTHER, 4, 3)],
];

for (const [what, guarantee, act] of BREAKS) {
  test(`${guarantee}: ${what}`, () => {
    const checks = world();
    act(checks);
    assert.ok(guarantees(checks).includes(guarantee), JSON.stringify(checks.violations));
  });
}
