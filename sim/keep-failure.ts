/** What is kept of a seed that failed: its world as a scenario file, its history, and what was wrong. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeHistoryLine } from '../core/checks/index.js';
import { drawPlan } from './plan.js';
import { writeScenario } from './scenario-write.js';
import { World } from './world.js';

/** Runs the seed once more, and writes SEED.yaml, SEED.ndjson and SEED.txt. */
export function keepFailure(directory: string, seed: number): void {
  const plan = drawPlan(seed);
  const world = new World(plan, { keepsHistory: true });
  let found: readonly { readonly guarantee: string; readonly sentence: string }[];
  try {
    found = world.run().violations;
  } catch (error) {
    found = [{ guarantee: 'crash', sentence: error instanceof Error ? error.stack! : String(error) }];
  }
  const violated = [...new Set(found.map(({ guarantee }) => guarantee))];
  const story = found[0]?.sentence.split('\n')[0] ?? '';
  mkdirSync(directory, { recursive: true });
  const write = (ending: string, text: string): void => writeFileSync(join(directory, `${seed}.${ending}`), text);
  write('yaml', writeScenario({ plan, title: `the world of seed ${seed}`, story, violated }));
  write('ndjson', world.observer.history.map(({ event }) => `${writeHistoryLine(event)}\n`).join(''));
  write('txt', found.map(({ guarantee, sentence }) => `${guarantee}: ${sentence}\n`).join(''));
}
