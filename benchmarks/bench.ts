/** `npx just bench`: run benchmarks one after the other, each in a process of its own, and keep what they come to. */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { formatSpan } from '../reports/format.js';
import { encode, RESULTS_DIRECTORY, readResults, writeResult } from './harness/files.js';
import { formatFigure, formatRatio, formatReach } from './harness/format.js';
import { REGISTRY } from './harness/registry.js';
import type { BenchmarkResult } from './harness/result.js';
import { runBenchmark } from './harness/run.js';

const EXIT = { OK: 0, FAILED: 1, USAGE: 2, INTERRUPTED: 130 } as const;
const RUNS_DEFAULT = 5;
const RUNS_TINY = 2;
const RUNS_MAX = 100;

const EXAMPLES = `
Examples:
  npx just bench                             all, into benchmarks/results/
  npx just bench log start                   two of them
  npx just bench --list                      what there is, and how long each took
  npx just bench log --runs 15 --out /tmp/r  more runs, results elsewhere
  npx just bench --tiny                      all in small, only to see that they run; nothing is written
  TMPDIR=/mnt/disk npx just bench log        on another disk

Then \`npx just bench-report\` makes docs/benchmarks.md and a page of charts of the results. Figures of a busy machine are worth
little: run nothing else meanwhile. A bar that is not reached is a result, and no failure.

Exit code: 0 all were measured, 1 one failed (the others ran all the same), 2 wrong arguments, 130 Ctrl-C.`;

interface Flags {
  readonly tiny?: true;
  readonly runs?: number;
  readonly out?: string;
  readonly json?: true;
  readonly list?: true;
}

function runsFlag(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > RUNS_MAX) {
    throw new InvalidArgumentError(`expected a whole number from 1 to ${RUNS_MAX}, got '${text}'.`);
  }
  return value;
}

/** The named ones in the order of the registry; all if none is named. */
function pick(names: readonly string[], command: Command): readonly string[] {
  const known = Object.keys(REGISTRY);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    command.error(`bench: there is no benchmark '${unknown}': there are ${known.join(', ')}.`);
  }
  return names.length === 0 ? known : known.filter((name) => names.includes(name));
}

async function list(directory: string): Promise<void> {
  const results = readResults(directory);
  const width = Math.max(...Object.keys(REGISTRY).map((name) => name.length));
  for (const [name, load] of Object.entries(REGISTRY)) {
    const took = results.get(name)?.took_s;
    const time = took === undefined ? '–' : `${Math.round(took)} s`;
    process.stdout.write(`${name.padEnd(width)}  ${time.padStart(5)}  ${(await load()).benchmark.about}\n`);
  }
}

/** A line a figure. */
function describe(result: BenchmarkResult): string {
  return result.figures
    .map((figure) => {
      const against = figure.against === null ? '' : `, ${figure.against.name}: ${formatFigure(figure.against)}`;
      return `  ${figure.name}: ${formatFigure(figure)}${against}${formatRatio(figure)}${formatReach(figure)}\n`;
    })
    .join('');
}

/** The first Ctrl-C ends what runs and starts nothing more. */
function interruptible(): AbortSignal {
  const controller = new AbortController();
  const interrupt = (): void => controller.abort();
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  return controller.signal;
}

async function bench(names: readonly string[], flags: Flags, command: Command): Promise<void> {
  const wanted = pick(names, command);
  if (flags.list === true) return list(flags.out ?? RESULTS_DIRECTORY);
  const isTiny = flags.tiny === true;
  const runs = flags.runs ?? (isTiny ? RUNS_TINY : RUNS_DEFAULT);
  const directory = flags.out ?? (isTiny ? undefined : RESULTS_DIRECTORY);
  const signal = interruptible();
  const results: BenchmarkResult[] = [];
  const startMs = performance.now();
  for (const [n, name] of wanted.entries()) {
    const say = (sentence: string): void =>
      void process.stderr.write(`[${n + 1}/${wanted.length}] ${name}: ${sentence}\n`);
    say('starts');
    try {
      const result = await runBenchmark({ name, isTiny, runs, signal, progress: say });
      const file = directory === undefined ? '' : `: ${writeResult(directory, result)}`;
      say(`done after ${Math.round(result.took_s)} s${file}`);
      results.push(result);
      if (flags.json !== true) process.stdout.write(`${name}\n${describe(result)}`);
    } catch (error) {
      say(`failed: ${error instanceof Error ? error.message : String(error)}`);
      process.exitCode = EXIT.FAILED;
    }
    if (signal.aborted) {
      process.exitCode = EXIT.INTERRUPTED;
      return;
    }
  }
  const time = formatSpan(performance.now() - startMs);
  process.stderr.write(`${results.length} of ${wanted.length} measured in ${time}\n`);
  if (flags.json === true) process.stdout.write(encode(results));
}

const program = new Command('bench')
  .description('Measure Dunlin against its limits and its rivals, each in the same run.')
  .argument('[name...]', `which ones: ${Object.keys(REGISTRY).join(', ')} (all)`)
  .option('--tiny', 'as small as it can be: shows that it runs, its figures mean nothing')
  .option('--runs <number>', `how often each figure is measured (${RUNS_DEFAULT})`, runsFlag)
  .option('--out <directory>', 'where the results go (benchmarks/results)')
  .option('--json', 'the results on standard output, as one JSON list')
  .option('--list', 'say what there is, and run nothing')
  .addHelpText('after', EXAMPLES)
  .showHelpAfterError('(see `npx just bench --help`)')
  .exitOverride()
  .action(bench);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) console.error(error);
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? EXIT.OK : EXIT.USAGE) : EXIT.FAILED;
}
