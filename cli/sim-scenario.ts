/** `dunlin sim scenarios`, `plan`, `format`: worlds as files. */
import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { DunlinError } from '../core/errors.js';
import { drawPlan } from '../sim/plan.js';
import { SEED_MAX } from '../sim/scenario-fields.js';
import { readScenario, scenarioNames } from '../sim/scenario-files.js';
import { describeFormat } from '../sim/scenario-format.js';
import type { Scenario } from '../sim/scenario-read.js';
import { scenarioSchema } from '../sim/scenario-schema.js';
import { type WritableScenario, writeScenario } from '../sim/scenario-write.js';
import type { Outcome } from '../sim/world.js';

export function seedNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= SEED_MAX) return value;
  throw new InvalidArgumentError(`a seed is a whole number from 0 to ${SEED_MAX}, not '${text}'.`);
}

export function addScenarioCommands(command: Command): void {
  command
    .command('scenarios')
    .description('List the shipped scenarios: `dunlin sim run --scenario NAME` runs one.')
    .option('--json', 'print them as JSON')
    .action(listScenarios);
  command
    .command('plan')
    .description('Write the world of a seed as a scenario file, to be read, changed and run with `--scenario`.')
    .argument('<seed>', 'the seed', seedNumber)
    .option('--save <file>', 'write it here instead of to standard output')
    .action(plan);
  command
    .command('format')
    .description('Say what a scenario file may have: every key, deed and fault with its fields and ranges.')
    .option('--json', 'print the JSON schema')
    .action(({ json }: { readonly json?: true }) => {
      console.log(json === true ? JSON.stringify(scenarioSchema(), null, 2) : describeFormat().join('\n'));
    });
}

function listScenarios({ json }: { readonly json?: true }): void {
  const scenarios = scenarioNames().map((name) => ({ name, ...readScenario(name) }));
  if (json === true) {
    const rows = scenarios.map(({ name, number, title, story, reaches }) => ({ name, number, title, story, reaches }));
    console.log(JSON.stringify(rows));
    return;
  }
  const width = Math.max(...scenarios.map(({ name }) => name.length));
  for (const { name, number, title } of scenarios) {
    console.log(`${String(number ?? '').padStart(3)}  ${name.padEnd(width)}  ${title ?? ''}`);
  }
}

async function plan(seed: number, { save }: { readonly save?: string }): Promise<void> {
  const scenario = { plan: drawPlan(seed), title: `the world of seed ${seed}` };
  if (save === undefined) process.stdout.write(writeScenario(scenario));
  else await saveScenario(save, scenario);
}

export async function saveScenario(file: string, scenario: WritableScenario): Promise<void> {
  try {
    await writeFile(file, writeScenario(scenario));
  } catch (error) {
    throw new DunlinError(`${file} cannot be written: ${(error as Error).message}.`);
  }
}

/** Marks that a scenario wants and a run did not come by. */
export function notReached({ reaches }: Scenario, { marks }: Outcome): string[] {
  return reaches.filter((mark) => !marks.has(mark));
}

/** What a scenario says of itself, and how the run met it. */
export function describeScenario(scenario: Scenario, outcome: Outcome): string[] {
  const { violated } = scenario;
  const missed = notReached(scenario, outcome);
  const found = outcome.violations.some(({ guarantee }) => violated.includes(guarantee));
  return [
    ...(missed.length === 0 ? [] : [`NOT REACHED, so this shows nothing: ${missed.join(', ')}`]),
    ...(violated.length === 0
      ? []
      : [`when this file was written, ${violated.join(', ')} was violated: ${found ? 'it is' : 'it is not any more'}`]),
  ];
}
