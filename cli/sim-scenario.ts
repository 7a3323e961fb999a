/** `dunlin sim scenarios`, `plan`, `format`: worlds as files. */
import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { DunlinError } from '../core/errors.js';
import { drawDeepPlan } from '../sim/deep.js';
import { drawPlan, type Plan } from '../sim/plan.js';
import type { RunReport } from '../sim/report/run-shown.js';
import { SEED_MAX } from '../sim/scenario-fields.js';
import { readScenario, scenarioNames } from '../sim/scenario-files.js';
import { describeFormat } from '../sim/scenario-format.js';
import type { Scenario } from '../sim/scenario-read.js';
import { scenarioSchema } from '../sim/scenario-schema.js';
import { type WritableScenario, writeScenario } from '../sim/scenario-write.js';
import type { Outcome } from '../sim/world.js';

/** What is written without being asked where to; git knows nothing of it. */
export const REPORTS_DIRECTORY = 'reports/sim';

export function seedNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= SEED_MAX) return value;
  throw new InvalidArgumentError(`a seed is a whole number from 0 to ${SEED_MAX}, not '${text}'.`);
}

export interface WorldFlags {
  readonly seed?: number;
  readonly messages?: number;
  readonly scenario?: string;
}

/** The world that the flags name. */
export function worldOf({ seed, messages, scenario }: WorldFlags): Scenario {
  if ((seed === undefined) === (scenario === undefined)) {
    throw new DunlinError('give either a seed (--seed 4711) or a scenario (--scenario world.yaml).');
  }
  if (scenario !== undefined && messages !== undefined) {
    throw new DunlinError('--messages draws a world from a seed; a scenario says itself what is sent.');
  }
  if (scenario !== undefined) return readScenario(scenario);
  const plan = messages === undefined ? drawPlan(seed!) : drawDeepPlan(seed!, messages);
  return { plan, number: undefined, title: undefined, story: undefined, reaches: [], violated: [] };
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
    .action(writePlan);
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

async function writePlan(seed: number, { save }: { readonly save?: string }): Promise<void> {
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

export function describePlan({ topology, people, conversations, deeds, faults, loadMs }: Plan): string[] {
  const groups = conversations.filter((conversation) => 'members' in conversation).length;
  const devices = people.reduce((sum, count) => sum + count, 0);
  const kinds = new Map<string, number>();
  for (const { fault } of faults) kinds.set(fault, (kinds.get(fault) ?? 0) + 1);
  const broken = [...kinds].map(([kind, count]) => `${kind} × ${count}`).join(', ');
  return [
    `${topology.gateways} gateways; ${topology.conversationLanes} conversation lanes over ${topology.conversationPartitions} partitions, ${topology.userLanes} user lanes over ${topology.userPartitions}`,
    `${people.length} people with ${devices} devices; ${conversations.length - groups} direct conversations, ${groups} groups; ${deeds.length} deeds in ${loadMs / 1_000} s`,
    `faults: ${broken === '' ? 'none' : broken}`,
  ];
}

/** What a report's page says of its world. */
export function reported(
  flags: WorldFlags,
  { plan, title }: Scenario,
): Pick<RunReport, 'name' | 'description' | 'command' | 'plan'> {
  return { plan, name: title ?? `seed ${plan.seed}`, description: describePlan(plan), command: replayOf(flags) };
}

export function replayOf({ seed, messages, scenario }: WorldFlags): string {
  const many = messages === undefined ? '' : ` --messages ${messages}`;
  return `dunlin sim replay ${scenario === undefined ? `${seed}${many}` : `--scenario ${scenario}`}`;
}
