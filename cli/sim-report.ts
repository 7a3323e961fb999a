/** Files that `dunlin sim --report` writes. */
import { basename } from 'node:path';
import { drawPlan, type Plan } from '../sim/plan.js';
import { renderRunReport } from '../sim/report/run-report.js';
import type { RunReport } from '../sim/report/run-shown.js';
import { renderSwarmReport } from '../sim/report/swarm-report.js';
import type { SwarmStatistics } from '../sim/report/swarm-statistics.js';
import type { SwarmResult } from '../sim/swarm.js';
import { World } from '../sim/world.js';
import { writeText } from './files.js';

/** Failed seeds that get a page of their own, the first ones. */
const PAGES_MAX = 20;

/** The page of a run that took samples. */
export async function saveRunReport(file: string, report: RunReport): Promise<void> {
  await writeText(file, renderRunReport(report), 'report');
  console.error(`report: ${file}`);
}

/** Runs a seed again, for its page. */
function renderSeed(seed: number, describe: (plan: Plan) => string[]): string {
  const plan = drawPlan(seed);
  const startMs = performance.now();
  const world = new World(plan, { takesSamples: true });
  const outcome = world.run();
  const wallSeconds = (performance.now() - startMs) / 1_000;
  const name = `seed ${seed}`;
  const command = `dunlin sim replay ${seed}`;
  return renderRunReport({ name, description: describe(plan), command, plan, world, outcome, wallSeconds });
}

export interface SwarmToSave {
  readonly result: SwarmResult;
  readonly statistics: SwarmStatistics;
  readonly from: number;
  readonly count: number;
  readonly describe: (plan: Plan) => string[];
}

/** The page of a swarm, and beside it those of the seeds that were violated: `swarm-seed-4711.html` beside `swarm.html`. */
export async function saveSwarmReport(file: string, { describe, ...swarm }: SwarmToSave): Promise<void> {
  const pages = new Map<number, string>();
  const stem = file.replace(/\.html?$/i, '');
  for (const { seed } of swarm.result.failures.slice(0, PAGES_MAX)) {
    const page = `${stem}-seed-${seed}.html`;
    await writeText(page, renderSeed(seed, describe), 'report');
    pages.set(seed, encodeURIComponent(basename(page)));
  }
  const command = `dunlin sim swarm --from ${swarm.from} --seeds ${swarm.count}`;
  await writeText(file, renderSwarmReport({ ...swarm, command, pages }), 'report');
  console.error(`report: ${file}${pages.size === 0 ? '' : `, and the pages of ${pages.size} seeds beside it`}`);
}
