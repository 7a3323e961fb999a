/** `dunlin sim shrink`: a world that fails, made small enough to be read. */
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import type { Plan } from '../sim/plan.js';
import type { Scenario } from '../sim/scenario-read.js';
import { countEvents, shrink } from '../sim/shrink.js';
import { type Finding, runPlan } from '../sim/world.js';
import { wholeNumber } from './flags.js';
import { REPORTS_DIRECTORY, saveScenario, seedNumber, type WorldFlags, worldOf } from './sim-scenario.js';

interface ShrinkFlags extends WorldFlags {
  readonly guarantee?: string;
  readonly save?: string;
  readonly minutes: number;
}

const SAY_MS = 1_000;

export function addShrinkCommand(command: Command): void {
  command
    .command('shrink')
    .description('Make a world that fails smaller while the same guarantee fails, and write it as a scenario file.')
    .argument('[seed]', 'the seed', seedNumber)
    .option('--scenario <file>', 'a world written by hand instead')
    .option('--guarantee <name>', 'which one must fail, e.g. G4 (default: the first that does)')
    .option('--save <file>', `where it goes (default: ${REPORTS_DIRECTORY}/shrunk-SEED.yaml)`)
    .option('--minutes <number>', 'be content with what there is after this', wholeNumber(1, 10_000), 10)
    .action(shrinkWorld);
}

/** What is wrong in a world; what it throws is wrong, too. */
function findingsOf(plan: Plan): readonly Pick<Finding, 'guarantee' | 'sentence'>[] {
  try {
    return runPlan(plan).violations;
  } catch (error) {
    return [{ guarantee: 'crash', sentence: String(error) }];
  }
}

async function shrinkWorld(seed: number | undefined, flags: ShrinkFlags): Promise<void> {
  const scenario = worldOf({ ...flags, ...(seed === undefined ? {} : { seed }) });
  const first = findingsOf(scenario.plan).find(({ guarantee }) => guarantee === (flags.guarantee ?? guarantee));
  if (first === undefined) {
    const what = flags.guarantee ?? 'nothing';
    console.log(what === 'nothing' ? 'nothing is violated: there is nothing to shrink' : `${what} is not violated`);
    return;
  }
  const { guarantee } = first;
  console.error(`${guarantee}: ${first.sentence}`);
  const plan = shrinkWith(scenario.plan, guarantee, flags.minutes);
  const name = seed === undefined ? basename(flags.scenario!).replace(/\.yaml$/, '') : String(seed);
  const file = flags.save ?? join(REPORTS_DIRECTORY, `shrunk-${name}.yaml`);
  await mkdir(dirname(file), { recursive: true });
  await saveScenario(file, describe(scenario, plan, name, guarantee));
  console.log(`${guarantee} fails with ${countEvents(plan)} events, of ${countEvents(scenario.plan)}: ${file}`);
  console.log(`dunlin sim replay --scenario ${file}`);
  process.exitCode = 1;
}

function describe(scenario: Scenario, plan: Plan, name: string, guarantee: string): Parameters<typeof saveScenario>[1] {
  const { sentence } = findingsOf(plan).find((finding) => finding.guarantee === guarantee)!;
  const title = scenario.title === undefined ? `Seed ${name}` : scenario.title;
  return { plan, title: `${title}, shrunk`, story: sentence.split('\n')[0]!, violated: [guarantee] };
}

function shrinkWith(plan: Plan, guarantee: string, minutes: number): Plan {
  const startMs = Date.now();
  let saidMs = 0;
  const say = ({ deeds, faults, people }: Plan, runs: number): void => {
    const seconds = ((Date.now() - startMs) / 1_000).toFixed(0);
    const what = `${faults.length} faults, ${deeds.length} deeds, ${people.length} people`;
    console.error(`${seconds.padStart(4)} s  ${what}; ${runs} runs`);
    saidMs = Date.now();
  };
  let runs = 0;
  const small = shrink(plan, {
    fails: (candidate) => findingsOf(candidate).some((finding) => finding.guarantee === guarantee),
    onSmaller: (smaller, count) => {
      runs = count;
      if (Date.now() - saidMs >= SAY_MS) say(smaller, count);
    },
    isOver: () => Date.now() - startMs > minutes * 60_000,
  });
  say(small, runs);
  return small;
}
