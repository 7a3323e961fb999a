/** `dunlin sim run --trace`: real arrivals in a simulated world. */
import { basename } from 'node:path';
import { readTrace } from '../benchmarks/load/trace.js';
import { DunlinError } from '../core/errors.js';
import { formatCount, formatSpan } from '../reports/format.js';
import type { Scenario } from '../sim/scenario-read.js';
import { planOfTrace } from '../sim/traced-plan.js';
import type { WorldFlags } from './sim-scenario.js';

export interface TraceFlags extends WorldFlags {
  readonly trace?: string;
  readonly speed?: number;
  readonly conversations?: number;
  readonly whole?: true;
}

export const REPLAY_OF_TRACE = 'the same with --save world.yaml, then dunlin sim replay --scenario world.yaml';

/** As much as runs in some seconds. */
const CONVERSATIONS_DEFAULT = 10;
const MESSAGES_DEFAULT = 2_000;

/** The world of a trace; what part of it that is goes to standard error. */
export async function tracedScenario(file: string, flags: TraceFlags): Promise<Scenario> {
  if (flags.scenario !== undefined) throw new DunlinError('give either --trace or --scenario: both say what is sent.');
  const columns = await readTrace(file);
  const isWhole = flags.whole === true;
  const seed = flags.seed ?? 1;
  const traced = planOfTrace(columns, {
    seed,
    speed: flags.speed,
    conversations: flags.conversations ?? (isWhole ? Number.MAX_SAFE_INTEGER : CONVERSATIONS_DEFAULT),
    messages: flags.messages ?? (isWhole ? Number.MAX_SAFE_INTEGER : MESSAGES_DEFAULT),
  });
  const { plan, used, conversations, speed } = traced;
  console.error(
    `${basename(file)}: ${formatCount(used.messages)} messages, ${formatCount(used.joins)} joins and ${formatCount(used.leaves)} leaves of its ${formatCount(columns.rows)} lines, in ${formatCount(conversations)} groups of up to ${formatCount(used.membersMax)}; ${formatSpan(used.spanMs)}, ${formatCount(speed)} times as fast.`,
  );
  const title = `${basename(file)}, faults of seed ${seed}`;
  return { plan, number: undefined, title, story: undefined, reaches: [], violated: [] };
}
