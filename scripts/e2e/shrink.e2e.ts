/** Worlds that a planted bug makes fail are shrunk by the command, in a copy of the compiled program that has the bug. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Catch } from '../../sim/catch-worker.js';
import { MUTANTS, PARTS, SEEDS_MAX } from '../../sim/mutants.js';
import { parseScenario } from '../../sim/scenario-read.js';
import { countEvents } from '../../sim/shrink.js';
import { copyOfProgram, plantChange, root, temporaryDirectory } from './harness.js';

const EVENTS_MAX = 19;
const BUGS = [
  'a repeated counter is sequenced again',
  'a removed member keeps getting messages',
  'dedupe of fan-out is forgotten at a restart',
];

const copy = copyOfProgram('shrink', [...PARTS, 'cli', 'benchmarks', 'reports']);
const reports = temporaryDirectory('shrunk');

function node(directory: string, script: string, args: readonly string[]): { code: number | null; text: string } {
  const { status, stdout, error } = spawnSync(process.execPath, [join(directory, script), ...args], {
    encoding: 'utf8',
  });
  assert.equal(error, undefined, String(error));
  return { code: status, text: stdout };
}

function guaranteesOf(directory: string, file: string): { code: number | null; guarantees: string[] } {
  const { code, text } = node(directory, 'cli/main.js', ['sim', 'run', '--scenario', file, '--json']);
  const { violations } = JSON.parse(text) as { violations: { guarantee: string }[] };
  return { code, guarantees: violations.map(({ guarantee }) => guarantee) };
}

for (const name of BUGS) {
  test(`shrunk: ${name}`, (context) => {
    const bug = MUTANTS.find((mutant) => mutant.name === name)!;
    const restore = plantChange(join(copy, bug.file), bug.from, bug.to);
    try {
      const caught = JSON.parse(node(copy, 'sim/catch-worker.js', ['1', String(SEEDS_MAX)]).text) as Catch;
      const file = join(reports, `${caught.seed}.yaml`);
      const shrunk = node(copy, 'cli/main.js', ['sim', 'shrink', String(caught.seed), '--save', file]);
      assert.equal(shrunk.code, 1, shrunk.text);
      assert.ok(shrunk.text.endsWith(`dunlin sim replay --scenario ${file}\n`), shrunk.text);
      const { plan, violated } = parseScenario(readFileSync(file, 'utf8'), file);
      context.diagnostic(`seed ${caught.seed}: ${shrunk.text.split('\n')[0]!}`);
      assert.ok(countEvents(plan) <= EVENTS_MAX, `${countEvents(plan)} events are left`);
      const again = guaranteesOf(copy, file);
      assert.equal(again.code, 1);
      assert.ok(caught.guarantees.includes(violated[0]!) && again.guarantees.includes(violated[0]!));
      assert.deepEqual(guaranteesOf(join(root, 'dist'), file), { code: 0, guarantees: [] });
    } finally {
      restore();
    }
  });
}
