/** A seed is one run: twice under this Node, and under the newest with long-term support; and what is not is found. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { compare, describeDifference, type Side } from '../../sim/compare.js';
import { PARTS } from '../../sim/mutants.js';
import { NEWEST_NODE, newestNode } from '../../sim/other-node.js';
import { drawPlan } from '../../sim/plan.js';
import { World } from '../../sim/world.js';
import { copyOfProgram, plantChange, root } from './harness.js';

const SEEDS = 40;
const FIRST_SEED = 20_001;
/** The planted draw is another one from this event on. */
const PLANTED_EVENT = 4_800;

const here: Side = { name: `Node ${process.versions.node}`, node: process.execPath, build: join(root, 'dist') };
let newest: Side;
before(() => {
  newest = { ...here, name: `Node ${NEWEST_NODE}`, node: newestNode() };
});

async function assertSame(sides: readonly [Side, Side], seeds: number): Promise<void> {
  const { seeds: run, differences } = await compare(sides, FIRST_SEED, seeds);
  assert.equal(run, seeds);
  assert.deepEqual(
    differences.flatMap((difference) => describeDifference(difference, sides)),
    [],
  );
}

test('a seed is the same run twice', () => assertSame([here, here], 10));

test(`${SEEDS} seeds are the same runs under Node ${NEWEST_NODE}`, () => assertSame([here, newest], SEEDS));

/** The first seed whose run is long enough for the planted draw. */
function longSeed(): number {
  for (let seed = FIRST_SEED; ; seed++) {
    const world = new World(drawPlan(seed));
    world.run();
    if (world.context.hash.events > 2 * PLANTED_EVENT) return seed;
  }
}

test('a draw that depends on the version of Node is found, and its first event', async (context) => {
  const build = copyOfProgram('determinism', PARTS);
  const isHere = `process.version === '${process.version}'`;
  plantChange(
    join(build, 'sim', 'context.js'),
    'return delays.chance(1, 8)',
    `if (!(${isHere}) && this.hash.events >= ${PLANTED_EVENT}) delays.u32();\n return delays.chance(1, 8)`,
  );
  const sides = [
    { ...here, build },
    { ...newest, build },
  ] as const;
  const { differences } = await compare(sides, longSeed(), 1);
  const [difference] = differences;
  assert.ok(difference !== undefined, 'it was not found');
  for (const line of describeDifference(difference, sides)) context.diagnostic(line);
  assert.ok(difference.event >= PLANTED_EVENT && difference.event < PLANTED_EVENT + 100, `event ${difference.event}`);
  assert.deepEqual(difference.before.at(-1)?.event, difference.event - 1);
  assert.notDeepEqual(difference.after[0], difference.after[1]);
});
