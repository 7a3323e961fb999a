/**
 * Chaos: every class of fault once, on the real thing; and planted bugs, which must not pass. `DUNLIN_CHAOS_MUTANTS=all` runs the bugs
 * of all scenarios.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHAOS_MUTANTS } from '../../chaos/mutants.js';
import type { ChaosResult } from '../../chaos/verdict.js';
import { copyOfProgram, dunlin, plantChange, root, temporaryDirectory } from './harness.js';

const SEED = '7';
const TIME_OUT_MS = 600_000;
/** Parts of the compiled program that `dunlin chaos` and what it starts need. */
const PARTS = ['core', 'pipelines', 'gateway', 'client', 'engines', 'sim', 'chaos', 'benchmarks', 'reports', 'cli'];

interface Ran {
  readonly code: number | null;
  readonly result: ChaosResult;
}

function chaos(main: string, scenario: string): Ran {
  const args = ['chaos', 'run', scenario, '--seed', SEED, '--json', '--reports', temporaryDirectory('chaos')];
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: TIME_OUT_MS,
  });
  assert.notEqual(stdout, '', stderr);
  return { code: status, result: JSON.parse(stdout) as ChaosResult };
}

for (const scenario of ['every-fault-once', 'disk-full', '08-second-process']) {
  test(`chaos: ${scenario}`, (context) => {
    const { code, result } = chaos(dunlin, scenario);
    context.diagnostic(result.verdict);
    assert.equal(code, 0, JSON.stringify([result.verdict, result.unmet, result.untested]));
    assert.ok(result.faults.every(({ proof }) => proof !== null));
    assert.equal(result.second_opinion?.isClean, true);
  });
}

const isWhole = process.env['DUNLIN_CHAOS_MUTANTS'] === 'all';
const copy = copyOfProgram('chaos-mutants', PARTS);
// What lies beside the sources and not beside what is compiled.
for (const part of ['benchmarks/workloads', 'chaos/preload.c']) {
  cpSync(join(root, part), join(copy, part), { recursive: true });
}
for (const { scenario, name, file, from, to } of CHAOS_MUTANTS.filter(({ isShort }) => isWhole || isShort === true)) {
  test(`${scenario} does not pass when ${name}`, (context) => {
    const restore = plantChange(join(copy, file), from, to);
    try {
      const shipped = join(root, 'chaos', 'scenarios', `${scenario}.yaml`);
      const { code, result } = chaos(join(copy, 'cli', 'main.js'), shipped);
      context.diagnostic(result.verdict);
      assert.notEqual(code, 0, result.verdict);
    } finally {
      restore();
    }
  });
}
