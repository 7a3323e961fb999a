import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DunlinError } from '../core/errors.js';
import { readScenario, scenarioNames } from './scenario-files.js';
import { runPlan } from './world.js';

for (const name of scenarioNames()) {
  test(`scenario ${name}: all holds, and it comes by what it is about`, () => {
    const { plan, title, number, story, reaches, violated } = readScenario(name);
    assert.ok(title !== undefined && story !== undefined, 'title and story');
    const start = number === undefined ? 'found-' : `${String(number).padStart(2, '0')}-`;
    assert.ok(name.startsWith(start), `the file's name begins with ${start}`);
    assert.ok(reaches.length > 0, 'it says what must be reached');
    assert.deepEqual(violated, []);
    const { violations, marks } = runPlan(plan);
    assert.deepEqual(violations, []);
    assert.deepEqual(
      reaches.filter((mark) => !marks.has(mark)),
      [],
    );
  });
}

test('a file that is not there is one sentence', () => {
  assert.throws(
    () => readScenario('nowhere.yaml'),
    (error) => error instanceof DunlinError && error.message.includes('nowhere.yaml cannot be read'),
  );
});
