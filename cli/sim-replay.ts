/** `dunlin sim replay`: the same run to the bit, and what happened in it. */
import { type Command, InvalidArgumentError } from 'commander';
import { DunlinError } from '../core/errors.js';
import { conversationMoments } from '../sim/conversation-lines.js';
import { type Moment, moments, timeline } from '../sim/timeline.js';
import { TRACE_KINDS, type TraceKind, Tracer } from '../sim/trace-lines.js';
import { type Finding, type Outcome, World } from '../sim/world.js';
import { durationMs, wholeNumber } from './flags.js';
import { saveRunReport } from './sim-report.js';
import { describePlan, reported, seedNumber, type WorldFlags, worldOf } from './sim-scenario.js';

/** Shown around a failure, if nobody says what. */
const BEFORE_MS = 5_000;
const AFTER_MS = 1_000;
/** A timeline that is no longer than this is shown whole. */
const SHORT_LINES = 150;

interface ReplayFlags extends WorldFlags {
  readonly report?: string;
  readonly from?: number;
  readonly until?: number;
  readonly only?: string;
  readonly conversation?: readonly [number, number];
  readonly trace?: readonly TraceKind[];
  readonly all?: true;
}

export function addReplayCommand(command: Command): void {
  command
    .command('replay')
    .description(
      'Run a world again and print what happened: around the first violation if there is one, else all of it.',
    )
    .argument('[seed]', 'the seed', seedNumber)
    .option('--messages <number>', 'the deep world of the seed', wholeNumber(1, 10_000_000))
    .option('--scenario <file>', 'a world written by hand instead')
    .option('--from <time>', 'virtual time of the first event shown', durationMs)
    .option('--until <time>', 'virtual time of the last event shown', durationMs)
    .option('--all', 'show everything, also when something is violated')
    .option(
      '--conversation <a,b>',
      'one conversation as a timeline: who sent what, its place, who saw it',
      conversationOf,
    )
    .option('--trace <kinds>', `only these kinds of events: ${TRACE_KINDS.join(', ')}`, kindsOf)
    .option('--only <text>', 'of what devices saw only lines with this text: a device key, a conversation')
    .option('--report <file>', 'write the page with charts, too')
    .action(replay);
}

function conversationOf(text: string): readonly [number, number] {
  const match = /^(\d{1,16}),(\d{1,16})$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError(`expected two users, or 0 and a group: 1001,1002 or 0,5001, not '${text}'.`);
  return [Number(match[1]), Number(match[2])];
}

function kindsOf(text: string): readonly TraceKind[] {
  return text.split(',').map((name) => {
    const kind = TRACE_KINDS.find((known) => known === name.trim());
    if (kind === undefined)
      throw new InvalidArgumentError(`there is no kind '${name}'; known are ${TRACE_KINDS.join(', ')}.`);
    return kind;
  });
}

async function replay(seed: number | undefined, flags: ReplayFlags): Promise<void> {
  const { messages, scenario: file, report } = flags;
  const named: WorldFlags = {
    ...(seed === undefined ? {} : { seed }),
    ...(messages === undefined ? {} : { messages }),
    ...(file === undefined ? {} : { scenario: file }),
  };
  const scenario = worldOf(named);
  const startMs = performance.now();
  const world = new World(scenario.plan, { keepsHistory: true, takesSamples: report !== undefined });
  const tracer = flags.trace === undefined ? undefined : new Tracer(world, new Set(flags.trace));
  const outcome = world.run();
  const wallSeconds = (performance.now() - startMs) / 1_000;
  if (report !== undefined) await saveRunReport(report, { ...reported(named, scenario), world, outcome, wallSeconds });
  console.log(`seed ${scenario.plan.seed}`);
  for (const line of describePlan(scenario.plan)) console.log(`  ${line}`);
  show(world, outcome, flags, tracer);
  for (const { guarantee, sentence } of outcome.violations) console.log(`${guarantee}: ${sentence}`);
  console.log(`trace ${outcome.traceHash}`);
  if (outcome.violations.length > 0) process.exitCode = 1;
}

/** What is looked at: the flags, or what the first violation is about. */
function show(world: World, { violations }: Outcome, flags: ReplayFlags, tracer: Tracer | undefined): void {
  const isOpen = flags.from === undefined && flags.until === undefined && flags.all !== true;
  const focus = isOpen ? violations[0] : undefined;
  const isAboutOne = tracer === undefined && flags.only === undefined;
  const conversation = flags.conversation ?? (isAboutOne ? placeOf(focus) : undefined);
  const all: readonly Moment[] =
    conversation === undefined
      ? (tracer?.moments(flags.only) ?? moments(world, flags.only))
      : conversationMoments(world, ...conversation);
  const [fromMs, untilMs] = windowOf(flags, all.length > SHORT_LINES ? focus : undefined);
  if (fromMs > untilMs) throw new DunlinError('--from lies after --until.');
  if (conversation !== undefined) console.log(`conversation (${conversation.join(', ')}):`);
  const lines = [...timeline(all, fromMs, untilMs)];
  if (lines.length < all.length) console.log(`${lines.length} of ${all.length} lines (--all shows everything):`);
  for (const line of lines) console.log(line);
}

function placeOf(finding: Finding | undefined): readonly [number, number] | undefined {
  return finding === undefined || finding.convB === 0 ? undefined : [finding.convA, finding.convB];
}

function windowOf({ from, until }: ReplayFlags, focus: Finding | undefined): readonly [number, number] {
  const atMs = focus?.atMs ?? null;
  if (atMs === null) return [from ?? 0, until ?? Infinity];
  return [atMs - BEFORE_MS, atMs + AFTER_MS];
}
