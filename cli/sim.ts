/** `dunlin sim`: worlds from seeds, one or many, and what happened in them. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { DunlinError } from '../core/errors.js';
import { compare, describeDifference, type Side } from '../sim/compare.js';
import { NEWEST_NODE, newestNode } from '../sim/other-node.js';
import { SwarmStatistics } from '../sim/report/swarm-statistics.js';
import type { Scenario } from '../sim/scenario-read.js';
import { MUST_REACH, type SwarmResult, swarm } from '../sim/swarm.js';
import { type Outcome, World } from '../sim/world.js';
import { mustBeWritable, writeText } from './files.js';
import { wholeNumber } from './flags.js';
import { addPeakCommand } from './sim-peak.js';
import { addReplayCommand } from './sim-replay.js';
import { saveRunReport, saveSwarmReport } from './sim-report.js';
import {
  addScenarioCommands,
  describePlan,
  describeScenario,
  notReached,
  REPORTS_DIRECTORY,
  replayOf,
  reported,
  saveScenario,
  seedNumber,
  worldOf,
} from './sim-scenario.js';
import { addShrinkCommand } from './sim-shrink.js';
import { REPLAY_OF_TRACE, type TraceFlags, tracedScenario } from './sim-trace.js';

const EXAMPLES = `
Examples:
  dunlin sim run --seed 4711                     one world: what it was, what broke, the verdict
  dunlin sim run --seed 4711 --json              the same for a program
  dunlin sim run --seed 4711 --report run.html   a page: charts with the faults in them, who owned what, the violation
  dunlin sim run --scenario world.yaml           a world written by hand (dunlin sim format says how)
  dunlin sim run --trace chats.csv.gz --seed 7   real arrivals, with the faults of a seed
  dunlin sim scenarios                           the shipped ones
  dunlin sim plan 4711 --save world.yaml         the world of a seed as such a file
  dunlin sim run --seed 4711 --messages 100000   a deep one: dozens of people, bursts, the same kinds of faults
  dunlin sim peak                                the world's peak in virtual time
  dunlin sim swarm --seeds 1000                  a thousand worlds on all cores
  dunlin sim swarm --seeds 100000 --minutes 30   as many as fit into half an hour
  dunlin sim swarm --seeds 1000 --report s.html  a page: what was reached and violated, rates, what the worlds were like
  dunlin sim replay 4711                         every event of a world, in order
  dunlin sim replay 4711 --only 128257 --until 20s
  dunlin sim shrink 4711                         a world that fails, with as few events as still fail
  dunlin sim compare 4711 --seeds 20 --node newest   the same worlds under the newest Node with long-term support
  dunlin sim compare 4711 --against ../other/dist    the same world by another build

Exit code: 0 nothing was violated, 1 a guarantee was violated, 2 it could not run, or a scenario did not reach what it is about.`;

export function simCommand(): Command {
  const command = new Command('sim')
    .description(
      'Run the backbone in simulated worlds: one seed makes topology, load and faults, and repeats them to the bit.',
    )
    .addHelpText('after', EXAMPLES);
  command
    .command('run')
    .description('Run one world and judge it.')
    .option('--seed <number>', 'makes the world, and makes it again', seedNumber)
    .option('--scenario <file>', 'a world written by hand: a YAML file, or the name of a shipped one')
    .option(
      '--trace <file>',
      'real arrivals: CSV at_ms,conversation,sender,kind,bytes, gzip or not; faults come from --seed',
    )
    .option('--speed <number>', 'how many times as fast the trace is (default: all in 20 s)', wholeNumber(1, 1e9))
    .option(
      '--conversations <number>',
      'the first so many conversations of the trace (default: 10)',
      wholeNumber(1, 1e6),
    )
    .option('--whole', 'all of the trace, not only its first messages and conversations')
    .option('--save <file>', 'write the world as a scenario file')
    .option('--checkpoints', 'print the trace hash after every 4,096 events, too')
    .option(
      '--messages <number>',
      'draw a deep world with so many messages; of a trace the first so many (default: 2,000)',
      wholeNumber(1, 10_000_000),
    )
    .option('--report <file>', 'write a page with charts: faults, throughput, owners, the violation in its place')
    .option('--json', 'print the result as JSON')
    .action(run);
  addPeakCommand(command);
  command
    .command('swarm')
    .description('Run many worlds on all cores. Exits 1 if anything is violated.')
    .option('--seeds <number>', 'how many', wholeNumber(1, 2 ** 31 - 1), 1_000)
    .option('--from <number>', 'the first seed', seedNumber, 1)
    .option('--minutes <number>', 'begin no seed after this', wholeNumber(1, 10_000), 60)
    .option('--workers <number>', 'threads (default: one a core)', wholeNumber(1, 1_024))
    .option('--failures <directory>', 'where worlds and histories of violated seeds are kept', REPORTS_DIRECTORY)
    .option('--report <file>', 'write a page with charts, and pages of violated seeds beside it')
    .addOption(new Option('--json [file]', 'write the result as JSON, to standard output if no file is given'))
    .action(runSwarm);
  addReplayCommand(command);
  command
    .command('compare')
    .description('Run the same worlds by two programs, and find the first event in which they differ.')
    .argument('<seed>', 'the first seed', seedNumber)
    .option('--seeds <number>', 'how many', wholeNumber(1, 1_000_000), 1)
    .option('--node <path>', `another Node; newest: Node ${NEWEST_NODE}, fetched from the npm registry`)
    .option('--against <directory>', 'another build: its dist')
    .option('--json', 'print the result as JSON')
    .action(runCompare);
  addScenarioCommands(command);
  addShrinkCommand(command);
  return command;
}

interface RunFlags extends TraceFlags {
  readonly save?: string;
  readonly checkpoints?: true;
  readonly report?: string;
  readonly json?: true;
}

async function run(flags: RunFlags): Promise<void> {
  const scenario = flags.trace === undefined ? worldOf(flags) : await tracedScenario(flags.trace, flags);
  if (flags.save !== undefined) await saveScenario(flags.save, scenario);
  if (flags.report !== undefined) await mustBeWritable(flags.report, 'report');
  const startMs = performance.now();
  const world = new World(scenario.plan, { takesSamples: flags.report !== undefined });
  const outcome = world.run();
  const wallSeconds = (performance.now() - startMs) / 1_000;
  if (flags.report !== undefined) {
    await saveRunReport(flags.report, { ...reported(flags, scenario), world, outcome, wallSeconds });
  }
  const hashes = flags.checkpoints === true ? { checkpoints: world.context.hash.checkpoints } : {};
  if (flags.json === true) console.log(JSON.stringify({ ...toJson(scenario, outcome, wallSeconds), ...hashes }));
  else {
    show(flags, scenario, outcome, wallSeconds);
    hashes.checkpoints?.forEach((hash, n) => console.log(`checkpoint ${n + 1}: ${hash}`));
  }
  if (outcome.violations.length > 0) process.exitCode = 1;
  else if (notReached(scenario, outcome).length > 0) process.exitCode = 2;
}

function toJson(scenario: Scenario, outcome: Outcome, wallSeconds: number): object {
  const marks = Object.fromEntries(outcome.marks);
  return { ...outcome, wallSeconds, marks, notReached: notReached(scenario, outcome) };
}

function show(flags: TraceFlags, scenario: Scenario, outcome: Outcome, wallSeconds: number): void {
  const { plan, title } = scenario;
  const { messages, deliveries, virtualSeconds, traceHash, events, marks, violations } = outcome;
  console.log(title === undefined ? `seed ${plan.seed}` : `${title} (seed ${plan.seed})`);
  for (const line of describePlan(plan)) console.log(`  ${line}`);
  console.log(`  reached: ${[...marks.keys()].toSorted().join(', ')}`);
  console.log(
    `${messages} messages, ${deliveries} deliveries, ${events} events in ${virtualSeconds.toFixed(1)} virtual and ${wallSeconds.toFixed(2)} wall seconds; trace ${traceHash}`,
  );
  for (const { guarantee, sentence } of violations) console.log(`${guarantee}: ${sentence}`);
  for (const line of describeScenario(scenario, outcome)) console.log(line);
  if (violations.length === 0) console.log('nothing lost, nothing doubled, all in order, and all came to rest');
  else console.log(`To see it happen: ${flags.trace === undefined ? replayOf(flags) : REPLAY_OF_TRACE}`);
}

interface SwarmFlags {
  readonly seeds: number;
  readonly from: number;
  readonly minutes: number;
  readonly workers?: number;
  readonly failures: string;
  readonly report?: string;
  readonly json?: string | true;
}

async function runSwarm(flags: SwarmFlags): Promise<void> {
  const { seeds: count, from, minutes, workers, json } = flags;
  if (flags.report !== undefined) await mustBeWritable(flags.report, 'report');
  if (typeof json === 'string') await mustBeWritable(json, 'json');
  const startMs = Date.now();
  let done = 0;
  let messages = 0;
  let violated = 0;
  const missing = new Set(MUST_REACH);
  const interrupt = onInterrupt();
  const statistics = new SwarmStatistics();
  const say = (): void => {
    const seconds = Math.max(0.001, (Date.now() - startMs) / 1_000);
    const rate = `${(done / seconds).toFixed(1)} seeds/s, ${Math.round(messages / seconds)} messages/s`;
    console.error(
      `${seconds.toFixed(0).padStart(4)} s  ${done} of ${count} seeds (${rate}), ${violated} violated, ${missing.size} marks not reached`,
    );
  };
  const ticker = setInterval(say, 5_000);
  const result = await swarm({
    from,
    count,
    untilMs: startMs + minutes * 60_000,
    ...(workers === undefined ? {} : { workers }),
    failures: flags.failures,
    signal: interrupt.signal,
    onSeed: (report) => {
      done++;
      for (const mark of report.marks) missing.delete(mark);
      messages += report.messages;
      statistics.add(report, Date.now() - startMs);
      if (report.failure === undefined) return;
      violated++;
      console.error(`seed ${report.seed}: ${report.failure.guarantee}: ${report.failure.sentence}`);
    },
  });
  clearInterval(ticker);
  interrupt.end();
  say();
  statistics.finish(Date.now() - startMs);
  await tell(result, (Date.now() - startMs) / 1_000, flags);
  if (flags.report !== undefined) {
    await saveSwarmReport(flags.report, { result, statistics, from, count, describe: describePlan });
  }
  if (result.failures.length > 0) process.exitCode = 1;
}

/** Ctrl-C once: no further seed is begun, and what there is is told. Twice: the end. */
function onInterrupt(): { readonly signal: AbortSignal; readonly end: () => void } {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    console.error('stopping: the seeds that run come to their end');
    controller.abort();
  };
  process.on('SIGINT', stop);
  return { signal: controller.signal, end: () => process.off('SIGINT', stop) };
}

async function tell(result: SwarmResult, wallSeconds: number, { json, failures: kept }: SwarmFlags): Promise<void> {
  if (json !== undefined) {
    const text = JSON.stringify({ ...result, wallSeconds, marks: Object.fromEntries(result.marks) });
    if (json === true) console.log(text);
    else await writeText(json, `${text}\n`, 'json');
  }
  if (json === true) return;
  const { seeds, messages, deliveries, failures, neverReached } = result;
  console.log(`${seeds} seeds, ${messages} messages, ${deliveries} deliveries; ${failures.length} seeds violated`);
  if (neverReached.length > 0) console.log(`never reached: ${neverReached.join(', ')}`);
  for (const { seed, guarantee } of failures) console.log(`  ${guarantee}: dunlin sim replay ${seed}`);
  if (failures.length > 0)
    console.log(`kept: ${kept}/SEED.yaml (the world), SEED.ndjson (its history), SEED.txt (what is wrong)`);
}

interface CompareFlags {
  readonly seeds: number;
  readonly node?: string;
  readonly against?: string;
  readonly json?: true;
}

async function runCompare(seed: number, { seeds, node, against, json }: CompareFlags): Promise<void> {
  if (node === undefined && against === undefined) {
    throw new DunlinError(
      'there is nothing to compare with: name another Node by --node, or another build by --against',
    );
  }
  const build = fileURLToPath(new URL('..', import.meta.url));
  const here: Side = { name: `Node ${process.versions.node}, this build`, node: process.execPath, build };
  const otherNode = node === 'newest' ? newestNode() : (node ?? process.execPath);
  const otherBuild = against === undefined ? build : resolve(against);
  const nodeName =
    node === undefined ? `Node ${process.versions.node}` : node === 'newest' ? `Node ${NEWEST_NODE}` : node;
  const there: Side = { name: `${nodeName}, ${against ?? 'this build'}`, node: otherNode, build: otherBuild };
  const result = await compare([here, there], seed, seeds);
  if (json === true) console.log(JSON.stringify({ sides: [here.name, there.name], ...result }));
  else {
    const lines = result.differences.flatMap((difference) => describeDifference(difference, [here, there]));
    for (const line of lines) console.log(line);
    console.log(
      `${result.seeds} seeds, ${result.differences.length} of them not the same run (${here.name}; ${there.name})`,
    );
  }
  if (result.differences.length > 0) process.exitCode = 1;
}
