import assert from 'node:assert/strict';
import { test } from 'node:test';
import { durationOf, readStep, TEMPLATES } from './steps.js';

const SAMPLES: Readonly<Record<string, string>> = {
  time: '4s',
  'signed time': '-1h',
  share: 'half',
  size: '2k',
  number: '20',
  way: 'to server',
};

test('every step that is told of can be read', () => {
  for (const { verb, words } of TEMPLATES) {
    const text = words.replaceAll(/\{([^}]+)\}/g, (_, quantity: string) => SAMPLES[quantity]!);
    const [step] = readStep(text, 0, 'f:1: ');
    assert.equal(step!.deed.do, verb);
    assert.equal(durationOf(step!.deed), words.includes('for {time}') ? 4_000 : 0, words);
  }
});

test('quantities come to what the deed needs', () => {
  assert.deepEqual(readStep('partition 20% of clients from server, both ways, for 15s', 500, '')[0], {
    atMs: 500,
    deed: { do: 'partition', share: 0.2, way: 'both ways', forMs: 15_000 },
    text: 'partition 20% of clients from server, both ways, for 15s',
  });
  assert.deepEqual(readStep('step clock by -30m', 0, '')[0]!.deed, { do: 'step-clock', byMs: -1_800_000 });
  assert.deepEqual(readStep('limit clients to 2k a second for 1s', 0, '')[0]!.deed, {
    do: 'limit',
    bytesPerSecond: 2_048,
    forMs: 1_000,
  });
});

test('a repetition is as many steps', () => {
  const steps = readStep('kill server, 3 times, every 4s', 1_000, '');
  assert.deepEqual(
    steps.map(({ atMs, text }) => [atMs, text]),
    [
      [1_000, 'kill server'],
      [5_000, 'kill server'],
      [9_000, 'kill server'],
    ],
  );
});

for (const [text, expected] of [
  ['kill everybody', /^f:1: 'kill everybody' is no step; did you mean 'kill server'\?$/],
  ['dance', /known are 'kill server'/],
  ['reset 120% of clients', /'120%' in .* is not allowed; give a share/],
  ['pause server for 5', /give a time such as/],
  ['pause server for 25h', /give a time such as/],
  ['attack with 0 connections for 5s', /a whole number from 1 to/],
  ['limit clients to lots a second for 5s', /a size such as/],
  ['kill server, 0 times, every 4s', /a repetition is/],
  ['kill server, 2 times, every 0s', /a repetition is/],
  ['kill server, 9999 times, every 1s', /a repetition is/],
] as const) {
  test(`refused: ${text}`, () => assert.throws(() => readStep(text, 0, 'f:1: '), { message: expected }));
}
