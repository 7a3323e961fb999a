/**
 * Runs seeds until one is violated, and prints it: `node catch-worker.js FROM COUNT`. A process of its own, so that it can be
 * started from a copy of the compiled program in which a bug was planted (mutants.ts).
 */
import { drawPlan } from './plan.js';
import { runPlan } from './world.js';

export interface Catch {
  readonly seed: number;
  readonly seeds: number;
  readonly guarantees: readonly string[];
  readonly sentence: string;
}

const [from = 1, count = 1] = process.argv.slice(2).map(Number);
let caught: Catch | undefined;
for (let n = 0; n < count && caught === undefined; n++) {
  const seed = from + n;
  const { violations } = runPlan(drawPlan(seed));
  if (violations.length === 0) continue;
  const guarantees = [...new Set(violations.map(({ guarantee }) => guarantee))];
  caught = { seed, seeds: n + 1, guarantees, sentence: violations[0]!.sentence };
}
console.log(JSON.stringify(caught ?? null));
