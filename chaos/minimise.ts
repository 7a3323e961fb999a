/** Fewer steps that still break the same guarantee: halves first, then one by one. */
import { parse, stringify } from 'yaml';
import { DunlinError } from '../core/errors.js';
import type { ChaosScenario } from './scenario.js';
import type { Step } from './steps.js';

/**
 * Runs the scenario, then smaller ones as long as one of the guarantees that fell falls again. `run` names those that did. Throws a
 * DunlinError when none falls to begin with: a failure that does not come again cannot be made smaller.
 */
export async function minimiseScenario(
  scenario: ChaosScenario,
  run: (candidate: ChaosScenario) => Promise<readonly string[]>,
): Promise<ChaosScenario> {
  const wanted = new Set(await run(scenario));
  if (wanted.size === 0) throw new DunlinError(`${scenario.name} breaks no guarantee with this seed.`);
  let best = scenario;
  for (let size = Math.ceil(scenario.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.steps.length; ) {
      const steps = best.steps.filter((_, n) => n < at || n >= at + size);
      const candidate = { ...best, steps };
      const fallen = steps.length === best.steps.length ? [] : await run(candidate);
      if (fallen.some((guarantee) => wanted.has(guarantee))) best = candidate;
      else at += size;
    }
  }
  return best;
}

/** The scenario's file with other steps. */
export function writeSteps(text: string, steps: readonly Step[]): string {
  const scenario = parse(text) as Record<string, unknown>;
  scenario['steps'] = steps.map((step) => ({ [`at ${step.atMs}ms`]: step.text }));
  return stringify(scenario);
}
