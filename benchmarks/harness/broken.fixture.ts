/** The process of a benchmark that goes wrong, for the tests of `run.ts`. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Registry } from './registry.js';
import { type Benchmark, type Measured, makeFigure } from './result.js';
import { serve } from './serve.js';

function measured(runs: readonly number[]): Measured {
  return { figures: [makeFigure({ name: 'a', unit: 's', better: 'lower', runs, hash: 'f' })], workload: {} };
}

const broken = (name: string, run: Benchmark['run']): Registry[string] => {
  return () => Promise.resolve({ benchmark: { name, about: 'A broken one.', run } });
};

serve({
  throws: broken('throws', () => {
    throw new Error('the disk is full');
  }),
  exits: broken('exits', () => process.exit(7)),
  'not-a-number': broken('not-a-number', () => measured([Number.NaN])),
  nothing: broken('nothing', () => ({ figures: [], workload: {} })),
  // Leaves a process and a file behind.
  leaves: broken('leaves', ({ progress }) => {
    const { pid } = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    writeFileSync(join(tmpdir(), 'left'), '');
    progress(`${pid} ${tmpdir()}`);
    return measured([1]);
  }),
  // Never ends, nor does what it started.
  hangs: broken('hangs', ({ progress }) => {
    const { pid } = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    progress(`${pid} ${tmpdir()}`);
    return new Promise(() => setInterval(() => {}, 1_000));
  }),
});
