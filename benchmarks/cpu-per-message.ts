/**
 * What a message costs in CPU time, by thread: `dunlin up` under `dunlin load`, read from outside in /proc. Prints one JSON object,
 * and a table to standard error.
 *
 *   node dist/benchmarks/cpu-per-message.js [--tiny] [--runs N] [--rate N] [--duration S] [--skip S] [--users N] [--seed N]
 *                                           [--than DIR]
 *
 * Latency says little on a machine that is shared or full; CPU time says what would have to become less. --than DIR measures a
 * second checkout, which is built, in turn with this one (A B A B …), so that what else the machine does meets both. What
 * happens in the first --skip seconds of sending is left out: connections, compilers. The figures are medians over the runs.
 *
 * CPU time of the same work differs by a factor of two as well, by what else runs on the cores and beside them on the host. So a
 * fixed piece of work is done again and again meanwhile, and figures are scaled to a machine that does it in its usual time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { mix32 } from '../core/ids.js';

const HERE = fileURLToPath(new URL('../..', import.meta.url));
/** Workers of a server with one lane of each stage and one gateway, in the order in which they start. */
const WORKERS = ['log writer CONVERSATION', 'log writer USER', 'store', 'user lane', 'conversation lane', 'gateway'];
/** Of /proc/…/stat, unless the kernel was built in an unusual way. */
const TICKS_PER_SECOND = 100;
const LIVE_LINE = /^\s*(\d+) s sending\s+sent ([\d,]+) .*?delivered ([\d,]+) /;
const COUNTED = ['messages_in', 'frames_in', 'writes_out', 'frames_out', 'egress_batches', 'batches_out'] as const;

/** The fixed piece of work: hashes and dependent look-ups in a table that a second cache holds; and what it takes here undisturbed. */
const REFERENCE_WORDS = 2 ** 14;
const REFERENCE_STEPS = 100_000;
const REFERENCE_US = 680;
const REFERENCE_PAUSE_MS = 50;

const isTiny = process.argv.includes('--tiny');

function flag(name: string, otherwise: string): string {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : (process.argv[at + 1] ?? '');
}

function count(name: string, otherwise: number): number {
  const value = Number(flag(name, String(otherwise)));
  if (!(value > 0)) throw new Error(`--${name} takes a number above 0`);
  return value;
}

const settings = {
  runs: count('runs', isTiny ? 1 : 3),
  rate: count('rate', isTiny ? 200 : 5_000),
  durationS: count('duration', isTiny ? 4 : 20),
  skipS: count('skip', isTiny ? 1 : 6),
  users: count('users', isTiny ? 20 : 2_000),
  seed: count('seed', 7),
};

const table = Uint32Array.from({ length: REFERENCE_WORDS }, (_, n) => mix32(n));

/** CPU time of the piece of work, in microseconds. */
function reference(): number {
  const before = process.cpuUsage();
  let at = 0;
  for (let step = 0; step < REFERENCE_STEPS; step++) at = mix32(at ^ table[at & (REFERENCE_WORDS - 1)]! ^ step) >>> 0;
  table[at & (REFERENCE_WORDS - 1)]! ^= 1;
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

/** Runs the load; a sample is taken at each of its live lines from `skipS` on. */
async function runLoad(checkout: string, server: Server): Promise<Sample[]> {
  const { rate, durationS, users, seed, skipS } = settings;
  const args = [join(checkout, 'cli/bin/dunlin.mjs'), 'load', '--url', server.url, '--data', server.data];
  args.push('--rate', `${rate}`, '--duration', `${durationS}s`, '--users', `${users}`, '--seed', `${seed}`);
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
    if (second === undefined || Number(second) < skipS) continue;
    const number = (text: string | undefined): number => Number(text?.replaceAll(',', ''));
    const threads = readThreads(server, child.pid!);
    const counters = await readCounters(server);
    const referenceUs = references.reduce((sum, us) => sum + us, 0) / Math.max(1, references.length);
    references = [];
    samples.push({ sent: number(sent), delivered: number(delivered), threads, counters, referenceUs });
  }
  clearInterval(timer);
  const [code] = (await exited) as [number | null];
  if (code !== 0) throw new Error(`the load ended with ${code}: ${said.trim()}`);
  if (samples.length < 2) throw new Error('sending was over before two samples were taken: raise --duration');
  return samples;
}

/** Microseconds of CPU, and counts, a message sent. */
interface Figures {
  readonly total: number;
  readonly threads: Readonly<Record<string, Cpu>>;
  readonly counts: Readonly<Record<string, number>>;
  /** What the reference took meanwhile; the figures are scaled already. */
  readonly referenceUs: number;
}

function figuresOf(samples: readonly Sample[]): Figures {
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
  return { total, threads, counts, referenceUs };
}

async function measure(checkout: string): Promise<Figures> {
  const server = await startServer(checkout);
  try {
    return figuresOf(await runLoad(checkout, server));
  } finally {
    await stopServer(server);
  }
}

function median(values: readonly number[]): number {
  const value = values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN;
  return Math.round(value * 100) / 100;
}

function medians(runs: readonly Figures[]): Figures {
  const threads: Record<string, Cpu> = {};
  for (const name of Object.keys(runs[0]!.threads)) {
    const of = (part: keyof Cpu): number => median(runs.map((figures) => figures.threads[name]?.[part] ?? 0));
    threads[name] = { user: of('user'), system: of('system') };
  }
  const counts = Object.fromEntries(
    Object.keys(runs[0]!.counts).map((name) => [name, median(runs.map((figures) => figures.counts[name]!))]),
  );
  const of = (part: 'total' | 'referenceUs'): number => median(runs.map((figures) => figures[part]));
  return { total: of('total'), threads, counts, referenceUs: of('referenceUs') };
}

function show(name: string, { total, threads, counts }: Figures): void {
  const row = (label: string, ...cells: string[]): string =>
    `  ${label.padEnd(52)}${cells.map((cell) => cell.padStart(9)).join('')}`;
  console.error(`${name}\n${row('µs of CPU a message', 'user', 'system')}`);
  for (const [thread, { user, system }] of Object.entries(threads)) {
    console.error(row(thread, user.toFixed(1), system.toFixed(1)));
  }
  console.error(row('all', '', total.toFixed(1)));
  for (const [label, value] of Object.entries(counts)) console.error(row(`${label} a message`, '', value.toFixed(2)));
}

const than = flag('than', '');
const checkouts = than === '' ? [HERE] : [than, HERE];
for (let n = 0; n < 100; n++) reference();
const runs = checkouts.map((): Figures[] => []);
for (let round = 0; round < settings.runs; round++) {
  for (const [n, checkout] of checkouts.entries()) {
    const figures = await measure(checkout);
    runs[n]!.push(figures);
    if (!isTiny)
      console.error(
        `${checkout}: ${figures.total.toFixed(1)} µs a message (reference ${figures.referenceUs.toFixed(0)} µs)`,
      );
  }
}
const results = checkouts.map((checkout, n) => ({
  checkout: checkout === HERE ? 'this' : 'other',
  ...medians(runs[n]!),
  totals: runs[n]!.map(({ total }) => Math.round(total * 100) / 100),
}));
if (!isTiny) for (const result of results) show(result.checkout, result);
const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
console.log(JSON.stringify({ benchmark: 'cpu-per-message', ...settings, results, machine }, undefined, 2));
