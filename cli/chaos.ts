/** `dunlin chaos`: a real server, real clients, real faults, and a verdict. */

import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Command, Option } from 'commander';
import type { Interval } from '../benchmarks/load/live.js';
import { chaosScenarioNames, readChaosScenario, readChaosText } from '../chaos/files.js';
import { historyFiles, linesOf } from '../chaos/history-lines.js';
import { minimiseScenario, writeSteps } from '../chaos/minimise.js';
import { renderChaosReport } from '../chaos/report.js';
import { runChaos } from '../chaos/run.js';
import { type ChaosScenario, checkTarget, TARGETS, type Target } from '../chaos/scenario.js';
import { secondOpinion, writeParquet } from '../chaos/second-opinion.js';
import { TEMPLATES } from '../chaos/steps.js';
import type { ChaosResult } from '../chaos/verdict.js';
import { checkHistory, describeViolation, type Verdict } from '../core/checks/index.js';
import { DunlinError } from '../core/errors.js';
import { formatCount, formatMs, formatRate, formatSpan } from '../reports/format.js';
import { mustBeWritable, writeText } from './files.js';
import { durationMs, wholeNumber } from './flags.js';

const EXIT = { OK: 0, VIOLATED: 1, UNTESTED: 2 } as const;
/** What is written without being asked where to; git knows nothing of it. */
const REPORTS_DIRECTORY = 'reports/chaos';
const SEED_MAX = 2 ** 32 - 1;
const TIMES_MAX = 1_000;

const EXAMPLES = `
Examples:
  dunlin chaos list                            what there is
  dunlin chaos run 22-everybody-returns        one of them
  dunlin chaos run kill-loop --repeat 3        three times, each with a seed of its own
  dunlin chaos run my.yaml --seed 7            a scenario of your own: dunlin chaos format
  dunlin chaos run --all --json                all of them, and the results as JSON
  dunlin chaos check reports/chaos/kill-loop-7.history
  dunlin chaos history export kill-loop-7 --to /tmp

Exit code: 0 everything held, 1 a guarantee or an expectation did not, 2 nothing was tested: a fault that was not seen to happen, a load
that did not run, a scenario that cannot be carried out here.
Ctrl-C: the run drains and comes to a verdict.`;

interface RunFlags {
  readonly all?: true;
  readonly repeat: number;
  readonly seed?: number;
  readonly minutes?: number;
  readonly duration?: number;
  readonly target: Target;
  readonly reports: string;
  readonly json?: true;
}

export function chaosCommand(): Command {
  const command = new Command('chaos')
    .description('Start the real thing, break it, and say whether any guarantee fell.')
    .addHelpText('after', EXAMPLES);
  command
    .command('list')
    .description('List the shipped scenarios.')
    .option('--json', 'print them as JSON')
    .action(list);
  command
    .command('run')
    .description('Run scenarios, one after the other.')
    .argument('[scenario...]', 'file, name or number of a scenario')
    .option('--all', 'all shipped scenarios for the target')
    .option('--repeat <number>', 'run each so often', wholeNumber(1, TIMES_MAX), 1)
    .option(
      '--seed <number>',
      'repeats load and choices; the next repetition has the next seed',
      wholeNumber(0, SEED_MAX),
    )
    .option('--minutes <number>', 'begin no further run after so long', wholeNumber(1, 100_000))
    .option('--duration <time>', 'send for so long instead of what the scenario says; its steps stay', durationMs)
    .addOption(new Option('--target <name>', 'what is started').choices([...TARGETS]).default('embedded'))
    .option('--reports <directory>', 'where results and reports go', REPORTS_DIRECTORY)
    .option('--json', 'print the results as JSON')
    .action(runAll);
  command
    .command('minimise')
    .description('Run a scenario that fails again and again with fewer steps, while the same guarantee fails.')
    .argument('<scenario>', 'file, name or number of a scenario')
    .option('--seed <number>', 'of the run that failed', wholeNumber(0, SEED_MAX), 0)
    .option('--to <file>', 'where the smaller scenario goes (default: NAME-small.yaml)')
    .action(minimise);
  command
    .command('check')
    .description('Judge a history: of a run, or of anything that writes one (docs/chaos.md).')
    .argument('<history>', 'a file of newline JSON, or the directory of a run')
    .option('--json', 'print the verdict as JSON')
    .action(check);
  const history = command.command('history').description('What devices did and saw.');
  history
    .command('export')
    .description('Copy the history of a run, as newline JSON and as Parquet.')
    .argument('<run>', 'NAME-SEED as in the reports directory, or the directory of a history')
    .option('--to <directory>', 'where to', '.')
    .option('--reports <directory>', 'where results and reports are', REPORTS_DIRECTORY)
    .action(exportHistory);
  command
    .command('format')
    .description('Say what a scenario file may have: every key and every step.')
    .action(() => console.log(describeFormat()));
  return command;
}

function list({ json }: { readonly json?: true }): void {
  const scenarios = chaosScenarioNames().map((name) => readChaosScenario(name));
  if (json === true) {
    const rows = scenarios.map(({ name, number, title, targets, story, source, steps }) => {
      return { name, number: number ?? null, title, targets, story, source, steps: steps.length };
    });
    console.log(JSON.stringify(rows, null, 2));
    return;
  }
  const width = Math.max(...scenarios.map(({ name }) => name.length));
  for (const { name, title, targets } of scenarios)
    console.log(`${name.padEnd(width)}  ${targets.join(', ')}  ${title}`);
}

function chosen(names: readonly string[], flags: RunFlags): ChaosScenario[] {
  if ((flags.all === true) === names.length > 0) throw new DunlinError('name scenarios, or give --all.');
  if (flags.all !== true) {
    const scenarios = names.map(readChaosScenario);
    for (const scenario of scenarios) checkTarget(scenario, flags.target);
    return scenarios;
  }
  return chaosScenarioNames()
    .map(readChaosScenario)
    .filter(({ targets }) => targets.includes(flags.target));
}

async function runAll(names: readonly string[], flags: RunFlags): Promise<void> {
  const scenarios = chosen(names, flags);
  const first = flags.seed ?? randomInt(SEED_MAX);
  const untilMs = performance.now() + (flags.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const results: ChaosResult[] = [];
  const stop = new AbortController();
  const interrupt = (): void => {
    if (stop.signal.aborted) process.exit(130);
    console.error('Stopping: what was sent is waited for. Ctrl-C again ends at once.');
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  await mkdir(flags.reports, { recursive: true });
  for (let turn = 0; turn < flags.repeat; turn++) {
    for (const scenario of scenarios) {
      if (stop.signal.aborted || performance.now() > untilMs) break;
      const result = await runOne(scenario, (first + turn) % 2 ** 32, flags, stop.signal);
      results.push(result);
    }
  }
  process.off('SIGINT', interrupt);
  process.off('SIGTERM', interrupt);
  if (flags.json === true) console.log(JSON.stringify(results.length === 1 ? results[0] : results, null, 2));
  else if (results.length > 1) for (const line of overview(results)) console.log(line);
  process.exitCode = exitCodeOf(results);
}

async function minimise(name: string, { seed, to }: { readonly seed: number; readonly to?: string }): Promise<void> {
  const scenario = readChaosScenario(name);
  const file = to ?? `${scenario.name}-small.yaml`;
  await mustBeWritable(file, 'to');
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const small = await minimiseScenario(scenario, async (candidate) => {
    const { guarantees, tested, unmet } = await runChaos({ scenario: candidate, seed });
    const fallen = guarantees.filter(({ violations }) => violations > 0).map(({ guarantee }) => guarantee);
    say(
      `${candidate.steps.length} steps: ${fallen.join(', ') || (unmet[0] ?? (tested ? 'everything held' : 'nothing was tested'))}`,
    );
    return fallen;
  });
  await writeText(file, writeSteps(readChaosText(name), small.steps), 'to');
  console.log(
    `${small.steps.length} of ${scenario.steps.length} steps are left; again: npx dunlin chaos run ${file} --seed ${seed}`,
  );
}

async function check(path: string, { json }: { readonly json?: true }): Promise<void> {
  const files = historyFiles(path);
  const lines = (function* all(): Generator<string> {
    for (const file of files) yield* linesOf(file);
  })();
  let verdict: Verdict;
  try {
    verdict = checkHistory(lines, { gapsAllowed: false });
  } catch (error) {
    if (error instanceof RangeError) throw new DunlinError(`${path}: ${error.message}`);
    throw error;
  }
  const second = (await secondOpinion(files)) ?? null;
  const agrees = second === null || second.isClean === verdict.isClean;
  if (json === true) {
    const { violations, deliveries, isClean } = verdict;
    console.log(
      JSON.stringify(
        {
          ok: isClean && agrees,
          deliveries,
          violations: Object.fromEntries(violations.tally.guarantees),
          first: violations.kept[0] ?? null,
          second_opinion: second,
          agrees,
        },
        null,
        2,
      ),
    );
  } else {
    const first = verdict.violations.kept[0];
    if (first !== undefined) console.log(describeViolation(first));
    const tally = verdict.violations.tally.guarantees.map(
      ([guarantee, count]) => `${guarantee} × ${formatCount(count)}`,
    );
    console.log(
      `${verdict.isClean ? 'clean' : `VIOLATED: ${tally.join(', ')}`}: ${formatCount(verdict.deliveries)} deliveries`,
    );
    if (second === null) console.log('no second opinion: DuckDB is not installed');
    else
      console.log(
        agrees
          ? 'the checker in SQL agrees'
          : `THE CHECKER IN SQL DOES NOT AGREE: ${JSON.stringify(second.violations)}`,
      );
  }
  process.exitCode = verdict.isClean && agrees ? EXIT.OK : EXIT.VIOLATED;
}

async function exportHistory(
  run: string,
  { to, reports }: { readonly to: string; readonly reports: string },
): Promise<void> {
  const kept = join(reports, `${run}.history`);
  const files = historyFiles(existsSync(kept) ? kept : run);
  await mkdir(to, { recursive: true });
  const name = join(to, basename(run));
  const text = createWriteStream(`${name}.ndjson`);
  for (const file of files) for (const line of linesOf(file)) if (!text.write(`${line}\n`)) await once(text, 'drain');
  text.end();
  await once(text, 'finish');
  await writeParquet(files, `${name}.parquet`);
  console.log(`${name}.ndjson and ${name}.parquet`);
}

function exitCodeOf(results: readonly ChaosResult[]): number {
  if (results.some(({ ok, tested }) => !ok && tested)) return EXIT.VIOLATED;
  return results.length === 0 || results.some(({ tested }) => !tested) ? EXIT.UNTESTED : EXIT.OK;
}

async function runOne(
  scenario: ChaosScenario,
  seed: number,
  flags: RunFlags,
  signal: AbortSignal,
): Promise<ChaosResult> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  say(`${scenario.name}: ${scenario.title}; seed ${seed}`);
  const live = new LiveLine(process.stderr);
  const file = join(flags.reports, `${scenario.name}-${seed}`);
  const historyDirectory = `${file}.history`;
  await mkdir(historyDirectory, { recursive: true });
  const result = await runChaos({
    scenario,
    historyDirectory,
    seed,
    ...(flags.duration === undefined ? {} : { durationMs: flags.duration }),
    onInterval: (interval, now) => live.show(interval, now),
    say: (line) => live.say(line),
    signal,
  });
  live.clear();
  await writeFile(`${file}.json`, `${JSON.stringify(result, null, 2)}\n`);
  await writeFile(`${file}.html`, renderChaosReport(result));
  if (flags.json !== true) for (const line of verdictLines(result, file)) console.log(line);
  return result;
}

function verdictLines(result: ChaosResult, file: string): string[] {
  const held = result.guarantees.map(({ guarantee, violations }) =>
    violations === 0 ? `${guarantee} held` : `${guarantee} VIOLATED ${formatCount(violations)} ×`,
  );
  const faults = result.faults.map(({ text, fromMs, recovery_ms, longest_silence_ms, proof, trouble }) => {
    const recovered = recovery_ms === null ? 'another fault came first' : `recovered after ${formatMs(recovery_ms)}`;
    return `  ${(fromMs / 1_000).toFixed(1).padStart(6)} s  ${text}: ${trouble ?? proof ?? 'NOT SEEN TO HAPPEN'}; ${recovered}, longest silence ${formatMs(longest_silence_ms)}`;
  });
  return [
    ...faults,
    `  ${held.join(', ')}`,
    ...result.unmet.slice(1).map((sentence) => `  not as expected: ${sentence}`),
    ...result.untested.slice(1).map((sentence) => `  not tested: ${sentence}`),
    `${result.name}, seed ${result.seed}: ${result.verdict}`,
    `report: ${file}.html; again: npx dunlin chaos run ${result.name} --seed ${result.seed}`,
  ];
}

function overview(results: readonly ChaosResult[]): string[] {
  const width = Math.max(...results.map(({ name }) => name.length));
  return results.map((result) => {
    const recoveries = result.faults.map(({ recovery_ms }) => recovery_ms ?? 0);
    const worst = formatMs(Math.max(0, ...recoveries));
    const word = result.ok ? 'held' : result.tested ? 'FELL' : 'UNTESTED';
    return `${result.name.padEnd(width)}  ${word.padEnd(8)}  recovery ≤ ${worst.padStart(6)}  silence ≤ ${formatMs(result.longest_silence_ms).padStart(6)}  seed ${result.seed}`;
  });
}

/** What goes on, on one line that redraws itself on a terminal, and a line every five seconds elsewhere. */
class LiveLine {
  readonly #screen: NodeJS.WriteStream;
  #isShown = false;
  #saidMs = 0;

  constructor(screen: NodeJS.WriteStream) {
    this.#screen = screen;
  }

  show(interval: Interval, now: readonly string[]): void {
    const p99 = Number.isNaN(interval.p99Ms) ? '–' : formatMs(interval.p99Ms);
    const line = `${interval.phase} ${formatSpan(interval.elapsedMs)}  ${formatRate(interval.deliveredPerSecond)}/s delivered  backlog ${formatCount(interval.backlog)}  p99 ${p99}  ${interval.connections}/${interval.connectionsWanted} connected${now.length === 0 ? '' : `  NOW: ${now.join('; ')}`}`;
    if (this.#screen.isTTY) {
      this.clear();
      this.#screen.write(line.slice(0, (this.#screen.columns ?? 80) - 1));
      this.#isShown = true;
    } else if (performance.now() - this.#saidMs > 5_000) {
      this.#saidMs = performance.now();
      this.#screen.write(`${line}\n`);
    }
  }

  say(line: string): void {
    this.clear();
    this.#screen.write(`${line}\n`);
  }

  clear(): void {
    if (this.#isShown) this.#screen.write('\r\u001b[K');
    this.#isShown = false;
  }
}

function describeFormat(): string {
  const width = Math.max(...TEMPLATES.map(({ words }) => words.length));
  return [
    'title, story, source: what it is, why, and where it has happened.',
    'number:  of the twenty-five scenarios in docs/guarantees.md, if it is one.',
    `targets: a list of ${TARGETS.join(', ')} (all).`,
    'server:  { gateways: 1, lanes: 1, partitions: 4, disk: 256m } — disk: a filesystem of the run’s own.',
    'load:    keys of a workload file (benchmarks/workloads/default.yaml), e.g. { users: 200, rate: 500, duration: 30s }.',
    'steps:   a list of "- at TIME: WHAT", times after sending began; WHAT may end with ", N times, every TIME".',
    'expect:  { recovery: 10s, p99: 500ms } — from a fault’s end until all is well; of what no outage touched.',
    '',
    ...TEMPLATES.map(({ words, about }) => `  ${words.padEnd(width)}  ${about}`),
  ].join('\n');
}
