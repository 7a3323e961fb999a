import assert from 'node:assert/strict';
import { test } from 'node:test';
import { minimiseScenario, writeSteps } from './minimise.js';
import { parseChaosScenario } from './scenario.js';

const TEXT =
  'title: t\nstory: s\nsource: x\nload: { rate: 10, duration: 60s }\nsteps:\n  - at 1s: reset all of clients, 6 times, every 2s\n  - at 20s: kill server\n  - at 30s: pause server for 1s\n';
const scenario = parseChaosScenario(TEXT, 'f.yaml', 'f');

test('what is not needed for the guarantee to fall is left out', async () => {
  let runs = 0;
  const small = await minimiseScenario(scenario, ({ steps }) => {
    runs++;
    const kinds = new Set(steps.map(({ deed }) => deed.do));
    return Promise.resolve(kinds.has('kill') && kinds.has('reset') ? ['G4'] : kinds.has('pause') ? ['G1'] : []);
  });
  assert.deepEqual(
    small.steps.map(({ text }) => text),
    ['reset all of clients', 'kill server'],
  );
  assert.ok(runs < 25, `${runs} runs`);
  const written = parseChaosScenario(writeSteps(TEXT, small.steps), 'g.yaml', 'g');
  assert.deepEqual(written.steps, small.steps);
  assert.equal(written.load.ratePerSecond, 10);
});

test('what does not fail cannot be made smaller', async () => {
  await assert.rejects(
    minimiseScenario(scenario, () => Promise.resolve([])),
    /breaks no guarantee/,
  );
});
