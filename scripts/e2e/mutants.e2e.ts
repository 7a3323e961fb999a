/** Bugs planted one at a time in copies of the compiled program: the simulator must catch each, by a guarantee that fits. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Catch } from '../../sim/catch-worker.js';
import { CORPUS } from '../../sim/corpus.js';
import { MUTANTS, PARTS, SEEDS_MAX } from '../../sim/mutants.js';
import { copyOfProgram, plantChange } from './harness.js';

/** A planted bug may make an endless loop: that it is not one is no result. */
const TIME_OUT_MS = 300_000;

const copy = copyOfProgram('mutants', PARTS);

function search(firstSeed = 1, seeds = SEEDS_MAX): Catch | null {
  const args = [join(copy, 'sim', 'catch-worker.js'), String(firstSeed), String(seeds)];
  const { stdout, stderr, error } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: TIME_OUT_MS });
  assert.equal(error, undefined, String(error));
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Catch | null;
}

const seedsToCatch: number[] = [];
for (const mutant of MUTANTS) {
  test(`caught: ${mutant.name}`, (context) => {
    const restore = plantChange(join(copy, mutant.file), mutant.from, mutant.to);
    try {
      const caught = search(mutant.firstSeed);
      assert.ok(caught !== null, `${SEEDS_MAX} seeds saw nothing`);
      context.diagnostic(`${caught.seeds} seeds; ${caught.guarantees.join(', ')}: ${caught.sentence.slice(0, 150)}`);
      const fits = caught.guarantees.some((guarantee) => mutant.guarantees.includes(guarantee));
      assert.ok(fits, `seed ${caught.seed} saw ${caught.guarantees.join(', ')}, not ${mutant.guarantees.join(', ')}`);
      seedsToCatch.push(caught.seeds);
    } finally {
      restore();
    }
  });
}

for (const { seed, what, mutant } of CORPUS) {
  test(`seed ${seed} still sees what it found: ${what}`, () => {
    const planted = MUTANTS.find(({ name }) => name === mutant);
    assert.ok(planted !== undefined, `there is no planted bug named ${mutant}`);
    const restore = plantChange(join(copy, planted.file), planted.from, planted.to);
    try {
      assert.ok(search(seed, 1) !== null, `seed ${seed} sees nothing; look for another`);
    } finally {
      restore();
    }
  });
}

test('the canary: without a planted bug the same seeds see nothing', (context) => {
  for (const firstSeed of new Set(MUTANTS.map((mutant) => mutant.firstSeed ?? 1)))
    assert.equal(search(firstSeed), null);
  const sorted = seedsToCatch.toSorted((one, other) => one - other);
  context.diagnostic(
    `${sorted.length} caught; seeds needed: median ${sorted[sorted.length >> 1]}, worst ${sorted.at(-1)}`,
  );
});
