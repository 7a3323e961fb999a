/** `dunlin sim peak`: the production stages at the world's peak, in virtual time. */
import { availableParallelism } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatCount, formatRate } from '../reports/format.js';
import { type PeakResult, peak } from '../sim/peak/peak.js';
import { wholeNumber } from './flags.js';

const EXAMPLES = `
Examples:
  dunlin sim peak                                   3.5 million messages a second, for ten virtual seconds
  dunlin sim peak --rate 100k --seconds 2 --json    less, for a program
  dunlin sim peak --stages conversation             sequencing and its checks alone

What is simulated is told in virtual seconds, how fast that went in wall seconds.
Exit code: 0 nothing was violated, 1 a guarantee was violated.`;

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1_000, m: 1_000_000 };
const RATE_MAX = 100_000_000;

/** `3.5M`, `200k`, `5000`. */
function rate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kKmM]?)$/.exec(text);
  const value = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2]!.toLowerCase()]!;
  if (!(value >= 1 && value <= RATE_MAX)) {
    throw new InvalidArgumentError(`expected messages a second such as 3.5M, 200k or 5000, got '${text}'.`);
  }
  return value;
}

interface PeakFlags {
  readonly rate: number;
  readonly seconds: number;
  readonly users: number;
  readonly groups: number;
  readonly groupPercent: number;
  readonly bytes: number;
  readonly stages: 'both' | 'conversation';
  readonly kernel: 'on' | 'off';
  readonly seed: number;
  readonly workers: number;
  readonly json?: true;
}

export function addPeakCommand(sim: Command): void {
  sim
    .command('peak')
    .description('Run the stages at the world’s peak in virtual time, with the ordering checks on; no faults.')
    .option('--rate <messages>', 'messages a virtual second', rate, 3_500_000)
    .option('--seconds <number>', 'virtual seconds', wholeNumber(1, 3_600), 10)
    .option('--users <number>', 'users, two a direct conversation', wholeNumber(128, 20_000_000), 400_000)
    .option(
      '--groups <number>',
      'groups; half have at most 4 members, 95 in 100 at most 12',
      wholeNumber(1, 5_000_000),
      50_000,
    )
    .option('--group-percent <number>', 'of a hundred messages so many go to groups', wholeNumber(0, 100), 20)
    .option('--bytes <number>', 'bytes of a payload', wholeNumber(4, 10_000), 120)
    .addOption(
      new Option('--stages <which>', 'conversation: devices see the fan-out itself')
        .choices(['both', 'conversation'])
        .default('both'),
    )
    .addOption(
      new Option('--kernel <on|off>', 'the WebAssembly kernels of the stages').choices(['on', 'off']).default('on'),
    )
    .option('--seed <number>', 'makes the run, and makes it again', wholeNumber(0, 2 ** 32 - 1), 1)
    .option(
      '--workers <number>',
      'threads, each with its share of the world',
      wholeNumber(1, 64),
      availableParallelism(),
    )
    .option('--json', 'print the result as JSON')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(flags: PeakFlags): Promise<void> {
  const { users, groupPercent, bytes, stages, kernel, json, ...rest } = flags;
  const startMs = performance.now();
  const result = await peak({
    ...rest,
    groupPercent,
    directs: Math.ceil(users / 2),
    payloadBytes: bytes,
    withUserStage: stages === 'both',
    kernel: kernel === 'on',
    onProgress: (virtualSeconds) => {
      const wall = ((performance.now() - startMs) / 1_000).toFixed(0).padStart(4);
      console.error(`${wall} s  ${virtualSeconds} of ${flags.seconds} virtual seconds`);
    },
  });
  if (json === true) console.log(JSON.stringify({ ...flags, ...result }));
  else show(flags, result);
  if (result.violated > 0) process.exitCode = 1;
}

function show({ workers, stages }: PeakFlags, result: PeakResult): void {
  const { messages, deliveries, virtualSeconds, wallSeconds, nsPerMessage, violated, violations } = result;
  const times = wallSeconds / virtualSeconds;
  const slower = times > 1 ? `${times.toFixed(1)} times slower than` : `${(1 / times).toFixed(1)} times faster than`;
  const parts = Object.entries(nsPerMessage).filter(([, ns]) => ns > 0);
  console.log(
    `simulated: ${formatCount(messages)} messages, ${formatCount(deliveries)} deliveries in ${virtualSeconds.toFixed(2)} virtual seconds: ${formatRate(result.simulatedPerSecond)} messages/s`,
  );
  console.log(
    `wall:      ${wallSeconds.toFixed(1)} s on ${workers} threads: ${formatRate(result.wallPerSecond)} messages/s, ${slower} the time it simulates; set up in ${result.setUpSeconds.toFixed(1)} s`,
  );
  console.log(
    `a message: ${parts.map(([part, ns]) => `${part} ${formatCount(ns)} ns`).join(', ')}; ${formatCount(result.carriedBytesPerMessage)} bytes copied`,
  );
  console.log(
    `memory:    ${formatCount(Math.round(result.residentBytes / 1e6))} MB, of which the checks ${formatCount(Math.round(result.checkBytes / 1e6))}; hash ${result.hash}`,
  );
  for (const { guarantee, sentence } of violations) console.log(`${guarantee}: ${sentence}`);
  const checked = stages === 'both' ? 'G1–G7' : 'G1–G6';
  console.log(violated === 0 ? `${checked}: nothing lost, nothing doubled, all in order` : `${violated} violations`);
}
