/**
 * What a message costs in CPU time, by thread: `dunlin up` under `dunlin load`, read from outside in /proc.
 *
 * Latency says little on a machine that is shared or full; CPU time says what would have to become less. DUNLIN_THAN=DIRECTORY
 * measures a second checkout, which is built, in turn with this one (A B A B …), so that what else the machine does meets both.
 * What happens in the first seconds of sending is left out: connections, compilers.
 *
 * CPU time of the same work differs by a factor of two as well, by what else runs on the cores and beside them on the host. So a
 * fixed piece of work is done again and again meanwhile, and figures are scaled to a machine that does it in its usual time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { mix32 } from '../core/ids.js';
import {
  type Benchmark,
  type BenchmarkOptions,
  type Figure,
  type Measured,
  makeFigure,
  median,
  type Table,
} from './harness/result.js';
import type { LoadResult } from './load/result.js';

const HERE = fileURLToPath(new URL('../..', import.meta.url));
/** Workers of a server with one lane of each stage and one gateway, in the order in which they start. */
const WORKERS = ['log writer CONVERSATION', 'log writer USER', 'store', 'user lane', 'conversation lane', 'gateway'];
/** Of /proc/…/stat, unless the kernel was built in an unusual way. */
const TICKS_PER_SECOND = 100;
const LIVE_LINE = /^\s*(\d+) s sending\s+sent ([\d,]+) .*?delivered ([\d,]+) /;
const COUNTED = ['messages_in', 'frames_in', 'writes_out', 'frames_out', 'egress_batches', 'batches_out'] as const;

const GENERATOR = /^(?:generators|coordinator)/;
/** Environment variable: the checkout to compare with. */
const THAN = 'DUNLIN_THAN';

/** The fixed piece of work: hashes and dependent look-ups in a table that a second cache holds; and what it takes here undisturbed. */
const REFERENCE_WORDS = 2 ** 14;
const REFERENCE_STEPS = 100_000;
const REFERENCE_US = 680;
const REFERENCE_PAUSE_MS = 50;

interface Sizes {
  /** Messages a second. */
  readonly rate: number;
  readonly duration_s: number;
  /** Of sending, not looked at. */
  readonly skip_s: number;
  readonly users: number;
  readonly seed: number;
}

const FULL: Sizes = { rate: 5_000, duration_s: 14, skip_s: 6, users: 2_000, seed: 7 };
const TINY: Sizes = { rate: 200, duration_s: 3, skip_s: 1, users: 20, seed: 7 };

const referenceTable = Uint32Array.from({ length: REFERENCE_WORDS }, (_, n) => mix32(n));

/** CPU time of the piece of work, in microseconds. */
function reference(): number {
  const before = process.cpuUsage();
  let at = 0;
  for (let step = 0; step < REFERENCE_STEPS; step++)
    at = mix32(at ^ referenceTable[at & (REFERENCE_WORDS - 1)]! ^ step) >>> 0;
  referenceTable[at & (REFERENCE_WORDS - 1)]! ^= 1;
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Seconds of CPU. */
interface Cpu {
  readonly user: number;
  readonly system: number;
}

interface Sample {
  readonly sent: number;
  readonly delivered: number;
  readonly threads: ReadonlyMap<string, Cpu>;
  readonly counters: Readonly<Record<string, number>>;
  /** Mean CPU time of the reference since the sample before. */
  readonly referenceUs: number;
}

function cpuOf(statFile: string): Cpu {
  // Behind the name, which is in brackets and may have any character: state is field 3, utime 14, stime 15.
  const fields = fs
    .readFileSync(statFile, 'latin1')
    .replace(/^.*\) /s, '')
    .split(' ');
  return { user: Number(fields[11]) / TICKS_PER_SECOND, system: Number(fields[12]) / TICKS_PER_SECOND };
}

function add(to: Map<string, Cpu>, name: string, { user, system }: Cpu): void {
  const sum = to.get(name) ?? { user: 0, system: 0 };
  to.set(name, { user: sum.user + user, system: sum.system + system });
}

/** Names of a server's threads by their ids, taken when it has just started: the workers are the last. */
function nameThreads(pid: number): Map<string, string> {
  const ids = fs.readdirSync(`/proc/${pid}/task`).toSorted((one, other) => Number(one) - Number(other));
  const workers = ids.slice(-WORKERS.length);
  return new Map(workers.map((id, n) => [id, WORKERS[n]!]));
}

function readThreads(server: Server, load: number): Map<string, Cpu> {
  const threads = new Map<string, Cpu>();
  for (const id of fs.readdirSync(`/proc/${server.pid}/task`)) {
    const name = server.names.get(id) ?? 'server: main thread, garbage collection, compilers';
    add(threads, name, cpuOf(`/proc/${server.pid}/task/${id}/stat`));
  }
  add(threads, 'coordinator', cpuOf(`/proc/${load}/stat`));
  for (const child of fs.readFileSync(`/proc/${load}/task/${load}/children`, 'latin1').trim().split(' ')) {
    for (const id of fs.readdirSync(`/proc/${child}/task`)) {
      const name = id === child ? 'generators' : 'generators: garbage collection, compilers';
      add(threads, name, cpuOf(`/proc/${child}/task/${id}/stat`));
    }
  }
  return threads;
}

async function readCounters(server: Server): Promise<Record<string, number>> {
  const text = await (await fetch(`${server.admin}/metrics`)).text();
  const sum = (name: string): number =>
    [...text.matchAll(new RegExp(`^dunlin_gateway_${name}_total\\{.*\\} (\\d+)`, 'gm'))].reduce(
      (total, [, value]) => total + Number(value),
      0,
    );
  return Object.fromEntries(COUNTED.map((name) => [name, sum(name)]));
}

interface Server {
  readonly pid: number;
  readonly url: string;
  readonly admin: string;
  readonly data: string;
  readonly names: ReadonlyMap<string, string>;
  readonly child: ChildProcess;
}

async function startServer(checkout: string): Promise<Server> {
  const data = fs.mkdtempSync(join(tmpdir(), 'dunlin-cpu-'));
  const args = [
    join(checkout, 'cli/bin/dunlin.mjs'),
    'up',
    '--json',
    '--data',
    data,
    '--port',
    '0',
    '--admin-port',
    '0',
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url, admin } = JSON.parse(line) as { url: string; admin: string };
  return { pid: child.pid!, url, admin, data, names: nameThreads(child.pid!), child };
}

async function stopServer({ child, data }: Server): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
  fs.rmSync(data, { recursive: true });
}

/** What the load says in the end. */
type Verdict = Pick<LoadResult, 'ok' | 'verdict' | 'sent' | 'delivered'>;

/** Runs the load; a sample is taken at each of its live lines, but for the first seconds. */
async function runLoad(checkout: string, server: Server, sizes: Sizes): Promise<{ samples: Sample[]; hash: number }> {
  const { rate, duration_s, users, seed, skip_s } = sizes;
  const args = [join(checkout, 'cli/bin/dunlin.mjs'), 'load', '--url', server.url, '--data', server.data, '--json'];
  args.push('--rate', `${rate}`, '--duration', `${duration_s}s`, '--users', `${users}`, '--seed', `${seed}`);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const samples: Sample[] = [];
  let references: number[] = [];
  const timer = setInterval(() => references.push(reference()), REFERENCE_PAUSE_MS);
  for await (const line of createInterface({ input: child.stderr })) {
    const [, second, sent, delivered] = LIVE_LINE.exec(line) ?? [];
    if (second === undefined || Number(second) < skip_s) continue;
    const number = (text: string | undefined): number => Number(text?.replaceAll(',', ''));
    const threads = readThreads(server, child.pid!);
    const counters = await readCounters(server);
    const referenceUs = references.reduce((sum, us) => sum + us, 0) / Math.max(1, references.length);
    references = [];
    samples.push({ sent: number(sent), delivered: number(delivered), threads, counters, referenceUs });
  }
  clearInterval(timer);
  await exited;
  const { ok, verdict, sent, delivered } = JSON.parse(said) as Verdict;
  if (!ok) throw new Error(verdict);
  if (samples.length < 2) throw new Error('sending was over before two samples were taken');
  return { samples, hash: mix32(mix32(sent) ^ delivered) };
}

/** Microseconds of CPU, and counts, a message sent. */
interface Figures {
  readonly total: number;
  readonly threads: Readonly<Record<string, Cpu>>;
  readonly counts: Readonly<Record<string, number>>;
  /** Of how much was sent and delivered in the whole run. */
  readonly hash: number;
}

function figuresOf(samples: readonly Sample[], hash: number): Figures {
  const [first, ...others] = samples as [Sample, ...Sample[]];
  const last = others.at(-1)!;
  const messages = last.sent - first.sent;
  const referenceUs = others.reduce((sum, sample) => sum + sample.referenceUs, 0) / others.length;
  const scale = (1e6 * REFERENCE_US) / referenceUs / messages;
  const perMessage = (from: Cpu, to: Cpu): Cpu => ({
    user: (to.user - from.user) * scale,
    system: (to.system - from.system) * scale,
  });
  const threads: Record<string, Cpu> = {};
  for (const [name, cpu] of last.threads) {
    threads[name] = perMessage(first.threads.get(name) ?? { user: 0, system: 0 }, cpu);
  }
  const counts: Record<string, number> = { deliveries: (last.delivered - first.delivered) / messages };
  for (const name of COUNTED) counts[name] = (last.counters[name]! - first.counters[name]!) / messages;
  const total = Object.values(threads).reduce((sum, { user, system }) => sum + user + system, 0);
  return { total, threads, counts, hash };
}

async function measure(checkout: string, sizes: Sizes): Promise<Figures> {
  const server = await startServer(checkout);
  try {
    const { samples, hash } = await runLoad(checkout, server, sizes);
    return figuresOf(samples, hash);
  } finally {
    await stopServer(server);
  }
}

function serverTotal({ threads }: Figures): number {
  return Object.entries(threads)
    .filter(([name]) => !GENERATOR.test(name))
    .reduce((sum, [, { user, system }]) => sum + user + system, 0);
}

/** Runs of this checkout, and of the other one if there is one. */
interface Runs {
  readonly own: readonly Figures[];
  readonly other: readonly Figures[] | undefined;
}

function figure({ own, other }: Runs, name: string, part: (figures: Figures) => number): Figure {
  return makeFigure({
    name,
    unit: 'µs of CPU a message',
    better: 'lower',
    runs: own.map(part),
    ...(other === undefined ? {} : { against: { name: 'the other checkout', runs: other.map(part) } }),
    hash: own[0]!.hash.toString(16),
  });
}

/** A row for each name, with a column of medians for this checkout, and one for the other. */
function tableOf({ own, other }: Runs, name: string, first: string, names: readonly string[], part: Part): Table {
  const of = (runs: readonly Figures[], row: string): number => median(runs.map((figures) => part(figures, row)));
  return {
    name,
    columns: [first, 'this', ...(other === undefined ? [] : ['the other checkout'])],
    rows: names.map((row) => [row, of(own, row), ...(other === undefined ? [] : [of(other, row)])]),
  };
}

type Part = (figures: Figures, row: string) => number;

function tables(runs: Runs): Table[] {
  const threads = Object.keys(runs.own[0]!.threads);
  const counts = Object.keys(runs.own[0]!.counts);
  return [
    tableOf(
      runs,
      'µs of CPU a message by thread, user',
      'thread',
      threads,
      ({ threads: all }, row) => all[row]?.user ?? 0,
    ),
    tableOf(
      runs,
      'µs of CPU a message by thread, system',
      'thread',
      threads,
      ({ threads: all }, row) => all[row]?.system ?? 0,
    ),
    tableOf(runs, 'Counts a message', 'what', counts, (figures, row) => figures.counts[row]!),
  ];
}

async function measureAll({ isTiny, runs: rounds, progress }: BenchmarkOptions): Promise<Measured> {
  const sizes = isTiny ? TINY : FULL;
  const than = process.env[THAN];
  for (let n = 0; n < 100; n++) reference();
  const own: Figures[] = [];
  const other: Figures[] = [];
  for (let round = 0; round < rounds; round++) {
    progress(`run ${round + 1} of ${rounds}`);
    if (than !== undefined) other.push(await measure(than, sizes));
    own.push(await measure(HERE, sizes));
  }
  const runs: Runs = { own, other: than === undefined ? undefined : other };
  return {
    figures: [figure(runs, 'server and generators', ({ total }) => total), figure(runs, 'server', serverTotal)],
    tables: tables(runs),
    workload: { ...sizes },
  };
}

export const benchmark: Benchmark = {
  name: 'cpu-per-message',
  about: `What a message costs in CPU time, by thread, at 5,000 messages a second; ${THAN}=DIRECTORY compares with another checkout.`,
  varies: 'How much is sent before the time is over is a matter of timing.',
  run: measureAll,
};
