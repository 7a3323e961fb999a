import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chaosScenarioNames, readChaosScenario } from './files.js';
import { CHAOS_MUTANTS } from './mutants.js';
import { checkTarget, parseChaosScenario } from './scenario.js';

const HEAD = 'title: t\nstory: s\nsource: x\n';

function parse(rest: string): ReturnType<typeof parseChaosScenario> {
  return parseChaosScenario(HEAD + rest, 'f.yaml', 'f');
}

test('the shipped scenarios can be read, and those with a number carry it in their name', () => {
  const names = chaosScenarioNames();
  assert.ok(names.length >= 15);
  for (const name of names) {
    const { number, steps, story } = readChaosScenario(name);
    assert.ok(steps.length > 0 && story.length > 80, name);
    assert.equal(/^(\d\d)-/.exec(name)?.[1], number === undefined ? undefined : String(number).padStart(2, '0'), name);
  }
});

test('planted bugs belong to shipped scenarios', () => {
  for (const { scenario } of CHAOS_MUTANTS) assert.ok(chaosScenarioNames().includes(scenario), scenario);
});

test('a scenario is found by its number, too', () => {
  assert.equal(readChaosScenario('22').name, '22-everybody-returns');
});

test('steps are in order of time, and what is left out has its default', () => {
  const scenario = parse('steps:\n  - at 9s: kill server\n  - at 2s: fill disk for 1s\nserver: { disk: 256m }\n');
  assert.deepEqual(
    scenario.steps.map(({ atMs }) => atMs),
    [2_000, 9_000],
  );
  assert.deepEqual(scenario.server, { gateways: 1, lanes: 1, partitions: 4, diskBytes: 2 ** 28 });
  assert.equal(scenario.expect.p99Ms, Number.POSITIVE_INFINITY);
  checkTarget(scenario, 'embedded');
});

for (const [rest, expected] of [
  ['', /'steps' is a list/],
  ['steps: [kill server]\n', /f\.yaml:4: a step is 'at TIME: WHAT'/],
  ['steps:\n  - at 5: kill server\n', /f\.yaml:5: a step is/],
  ['steps:\n  - at 5s: kil server\n', /f\.yaml:5: 'kil server' is no step/],
  ['steps:\n  - at 5s: kill server\nsurprise: 1\n', /f\.yaml:6: unknown key 'surprise'/],
  ['steps:\n  - at 5s: fill disk for 2s\n', /needs a disk of the run's own/],
  ['steps:\n  - at 59s: pause server for 2s\n', /is not over when sending ends, after 60 s/],
  ['steps: []\ntargets: [moon]\n', /f\.yaml:5: 'moon' is no target/],
  ['steps: []\nserver: { lanes: 0 }\n', /'lanes' is a whole number from 1 to 16/],
  ['steps: []\nserver: { disk: 1m }\n', /'disk' is a size from 128m/],
  ['steps: []\nexpect: { recovery: soon }\n', /'recovery' is a time/],
  ['steps: []\nload: { rats: 5 }\n', /unknown key 'rats'/],
  ['steps: []\nload: 7\n', /'load' is a map/],
  ['steps: []\nnumber: 26\n', /'number' is a whole number from 1 to 25/],
] as const) {
  test(`refused: ${JSON.stringify(rest)}`, () => assert.throws(() => parse(rest), { message: expected }));
}

test('refused: no title', () => {
  assert.throws(() => parseChaosScenario('steps: []\n', 'f.yaml', 'f'), { message: /'title' is missing/ });
});
