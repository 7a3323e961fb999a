/** `npx just bench-report`: docs/benchmarks.md and a page of charts, made of benchmarks/results/. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { RESULTS_DIRECTORY, readResults } from './harness/files.js';
import { REGISTRY } from './harness/registry.js';
import { replaceResults } from './report/document.js';
import { renderBenchmarks } from './report/page.js';
import { inOrder } from './report/summary.js';

const EXIT = { OK: 0, FAILED: 1, USAGE: 2 } as const;
const DOCUMENT = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const PAGE = fileURLToPath(new URL('../../reports/benchmarks.html', import.meta.url));

const EXAMPLES = `
Examples:
  npx just bench-report                                     docs/benchmarks.md and reports/benchmarks.html
  npx just bench-report --out /srv/www/benchmarks.html      the page elsewhere
  npx just bench-report --results /tmp/r --out /tmp/r.html --no-doc   a page of other results

In docs/benchmarks.md only what stands between its two marks is written; the explanations around it stay.`;

interface Flags {
  readonly results: string;
  readonly out: string;
  /** False: the document stays as it is. */
  readonly doc: boolean;
}

function report({ results: directory, out, doc }: Flags, command: Command): void {
  const results = inOrder(readResults(directory).values(), Object.keys(REGISTRY));
  if (results.length === 0) command.error(`bench-report: ${directory} has no results: run \`npx just bench\` first.`);
  const tiny = results.find(({ isTiny }) => isTiny);
  if (tiny !== undefined) command.error(`bench-report: ${tiny.name} was run with --tiny: its figures mean nothing.`);
  const say = (file: string): void => void process.stdout.write(`${relative(process.cwd(), file)}\n`);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, renderBenchmarks(results));
  say(out);
  if (!doc) return;
  writeFileSync(DOCUMENT, replaceResults(readFileSync(DOCUMENT, 'utf8'), results));
  say(DOCUMENT);
}

const program = new Command('bench-report')
  .description('Make docs/benchmarks.md and a page of charts of the benchmarks’ results.')
  .option('--results <directory>', 'where the results are', RESULTS_DIRECTORY)
  .option('--out <file>', 'the page', PAGE)
  .option('--no-doc', 'leave docs/benchmarks.md as it is')
  .addHelpText('after', EXAMPLES)
  .showHelpAfterError('(see `npx just bench-report --help`)')
  .exitOverride()
  .action(report);

try {
  program.parse();
} catch (error) {
  if (!(error instanceof CommanderError)) console.error(error instanceof Error ? error.message : error);
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? EXIT.OK : EXIT.USAGE) : EXIT.FAILED;
}
