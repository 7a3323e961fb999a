/** What all parts of a run's page look at, and how they say times. */
import { mark } from '../../reports/chart.js';
import type { Plan } from '../plan.js';
import type { Sampler } from '../samples.js';
import type { Finding, Outcome, World } from '../world.js';
import type { FaultBand } from './fault-bands.js';
import type { Story } from './violation-story.js';

export interface RunReport {
  /** `seed 4711`, or a scenario's title. */
  readonly name: string;
  /** What the world is, in a few lines. */
  readonly description: readonly string[];
  /** Runs it again. */
  readonly command: string;
  readonly plan: Plan;
  /** Run with samples. */
  readonly world: World;
  readonly outcome: Outcome;
  readonly wallSeconds: number;
}

/** What all parts of the page look at. */
export interface Shown extends RunReport {
  readonly sampler: Sampler;
  readonly bands: readonly FaultBand[];
  readonly first: Finding | undefined;
  readonly story: Story | undefined;
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(3)} s`;
}

export function from(fromMs: number, toMs: number): string {
  return `${seconds(fromMs)} to ${seconds(toMs)}`;
}

export function laneName(world: World, number: number): string {
  const { conversationLanes } = world.plan.topology;
  return number < conversationLanes ? `conversation lane ${number}` : `user lane ${number - conversationLanes}`;
}

export function wrongMark({ first, story }: Shown, look = ''): string {
  if (first === undefined || story === undefined) return '';
  const title = `${first.guarantee}, ${seconds(story.atMs)}: ${story.reason}`;
  return mark(story.atMs / 1_000, { look: `wrong ${look}`, title });
}
