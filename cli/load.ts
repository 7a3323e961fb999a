/** `dunlin load`: put load on a backbone, measure it from the intended time on, and verify every message. */

import { randomInt } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { Command, Option } from 'commander';
import { LoadRun, type RunOptions } from '../benchmarks/load/coordinator.js';
import { PROFILES, type Profile, readProfile } from '../benchmarks/load/defaults.js';
import { GENERATOR_LIMITED, limitOf } from '../benchmarks/load/find-max.js';
import { LiveTable } from '../benchmarks/load/live.js';
import type { KeySource, RunPlan, TraceSource } from '../benchmarks/load/messages.js';
import { RUN_MAX } from '../benchmarks/load/population.js';
import { forkGenerator } from '../benchmarks/load/processes.js';
import { renderReport } from '../benchmarks/load/report.js';
import { type LoadResult, printViolation } from '../benchmarks/load/result.js';
import { parseTarget } from '../benchmarks/load/socket.js';
import { readTrace } from '../benchmarks/load/trace.js';
import { countPeople, planTrace, type TracePlan } from '../benchmarks/load/trace-plan.js';
import { parseDurationMs, parseNumber } from '../benchmarks/load/units.js';
import { mergeWorkload, parseWorkload, readField, type Workload, warmUpOf } from '../benchmarks/load/workload.js';
import { DunlinError } from '../core/errors.js';
import { formatCount, formatMs, formatSpan } from '../reports/format.js';
import { DEFAULT_URL, defaultDataDirectory } from './defaults.js';
import { mustBeWritable, writeText } from './files.js';

/** Sockets of one process: descriptors are often capped at 20,000. */
const CONNECTIONS_PER_PROCESS_MAX = 15_000;
/** Messages a second of one process, with room for what they come to at the receivers. */
const RATE_PER_PROCESS = 10_000;
/** Below what a gateway admits by default, so that the ramp is not what is measured. */
const CONNECTS_PER_SECOND = 1_500;
/** Users in the replay of a trace, unless told otherwise: its people are spread over them. */
const TRACE_USERS = 2_000;
/** In a search nobody sends more than this many times the mean, whatever the rate becomes. */
const FIND_MAX_ACTIVITY = 4;

interface LoadFlags {
  url: string;
  profile?: Profile;
  workload?: string;
  users?: string;
  devices?: string;
  online?: string;
  groups?: string;
  rate?: string;
  duration?: string;
  warmUp?: string;
  drain?: string;
  bytes?: string;
  reads?: string;
  reconnects?: string;
  arrivals?: string;
  seed?: string;
  processes?: string;
  data: string;
  key?: string;
  ca?: string;
  findMax?: boolean;
  p99: string;
  step: string;
  trace?: string;
  speed: string;
  limit?: string;
  json?: string | true;
  report?: string;
  history?: string;
}

const EXAMPLES = `
Examples:
  dunlin load                                             1,000 users, 1,000 messages a second, one minute
  dunlin load --users 2000 --rate 20000 --groups 20% --report load.html
  dunlin load --find-max --p99 100ms --users 2000         the highest rate that keeps p99 within 100 ms
  dunlin load --trace chats.csv.gz --speed 2000           real traffic, 2,000 times as fast
  dunlin load --workload office.yaml --json result.json   every key of the workload: benchmarks/workloads/default.yaml
  dunlin load --profile storm --report storm.html         every connection is cut at once: how all of them come back
  dunlin load --online 50% --reconnects 20%               half come online at the end; a fifth of the connections is cut a minute

Exit code: 0 nothing was violated, 1 a guarantee was violated (the first violation is printed in full), 2 it could not run.
Ctrl-C once: stop sending, drain, come to a verdict. Twice: stop at once.`;

export function loadCommand(): Command {
  return new Command('load')
    .description('Put load on a backbone: open loop, measured from the intended time, every message verified (G1–G8).')
    .option('--url <address>', 'socket of the backbone', DEFAULT_URL)
    .addOption(new Option('--profile <name>', 'a workload of a kind in place of the default').choices(PROFILES))
    .option('--workload <file>', 'YAML file that is merged over the default workload')
    .option('--users <number>', 'users')
    .option('--devices <number>', 'mean devices a user')
    .option('--online <share>', 'users that are connected while the run lasts; the others come at its end')
    .option('--groups <share>', 'share of the messages that go to groups')
    .option('--rate <number>', 'messages a second, all users together; with --find-max where the search begins')
    .option('--duration <time>', 'how long to send; with --trace, replay no more than this')
    .option('--warm-up <time>', 'latencies of this first time, at most a tenth of the duration, are counted apart')
    .option('--drain <time>', 'after sending, wait at most this long until everything has arrived')
    .option('--bytes <p50[,p95[,max]]>', 'size of the messages: one size, or a distribution')
    .option('--reads <share>', 'share of the delivered messages that are read')
    .option('--reconnects <share>', 'share of the connections that is cut, each minute, and resumed')
    .option('--arrivals <process>', 'poisson or constant')
    .option('--seed <number>', 'repeats a load: users, groups, arrivals, sizes')
    .option('--processes <number>', 'generator processes (by default as many as connections and rate need)')
    .option('--data <directory>', 'data directory of the backbone, for its development key', defaultDataDirectory())
    .option(
      '--key <file>',
      'private key that signs the tokens (PEM or JWK, Ed25519 or RSA), in place of the development key',
    )
    .option('--ca <file>', 'certificate authority for wss://, PEM')
    .option('--find-max', 'search for the highest rate that keeps p99 within --p99')
    .option('--p99 <time>', 'the bound of --find-max', '100ms')
    .option('--step <time>', 'how long a step of --find-max is measured, at least 10s', '10s')
    .option('--trace <file>', 'replay real traffic: CSV at_ms,conversation,sender,kind,bytes, gzip or not')
    .option('--speed <number>', 'how many times as fast a trace is replayed', '1')
    .option('--limit <number>', 'replay only the first messages of a trace')
    .addOption(new Option('--json [file]', 'write the result as JSON, to standard output if no file is given'))
    .option('--report <file>', 'write a report with charts, one HTML file')
    .option('--history <directory>', 'write all that devices did and saw, for `dunlin chaos check`')
    .addHelpText('after', EXAMPLES)
    .action(load);
}

function wholeFlag(text: string, flag: string, min: number, max: number): number {
  const value = parseNumber(text);
  if (value === undefined || !Number.isInteger(value) || value < min || value > max) {
    throw new DunlinError(`--${flag}: '${text}' is not allowed; give a whole number from ${min} to ${max}.`);
  }
  return value;
}

function durationFlag(text: string, flag: string, minMs: number): number {
  const ms = parseDurationMs(text);
  if (ms === undefined || ms < minMs) {
    throw new DunlinError(
      `--${flag}: '${text}' is not allowed; give a duration such as 500ms or 60s, at least ${formatMs(minMs)}.`,
    );
  }
  return ms;
}

/** `120`: all of this size. `43,167` or `43,167,469`: p50, p95 and the largest. */
function readBytesFlag(text: string): Partial<Workload> {
  const parts = text.split(',');
  const [p50, p95 = p50, max] = parts;
  if (parts.length > 3 || p50 === undefined || p95 === undefined) {
    throw new DunlinError(`--bytes: '${text}' is not allowed; give one size, or p50,p95, or p50,p95,max.`);
  }
  const values = { ...readField('bytes.p50', p50, '--bytes'), ...readField('bytes.p95', p95, '--bytes') };
  const largest = max ?? String(Math.max(28, Math.ceil(parts.length === 1 ? values.bytesP95! : values.bytesP95! * 4)));
  return { ...values, ...readField('bytes.max', largest, '--bytes') };
}

const WORKLOAD_FLAGS: readonly (readonly [keyof LoadFlags, string])[] = [
  ['users', 'users'],
  ['devices', 'devices'],
  ['online', 'online'],
  ['groups', 'groups.share'],
  ['rate', 'rate'],
  ['duration', 'duration'],
  ['warmUp', 'warm_up'],
  ['drain', 'drain'],
  ['reads', 'reads.share'],
  ['reconnects', 'reconnects.per_minute'],
  ['arrivals', 'arrivals'],
];

async function readText(file: string, flag: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new DunlinError(
      `--${flag} ${file}: cannot be read: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
}

async function readWorkload(flags: LoadFlags): Promise<Workload> {
  const layers: Partial<Workload>[] = [await readProfile('default')];
  if (flags.profile !== undefined) layers.push(await readProfile(flags.profile));
  if (flags.trace !== undefined) layers.push({ users: TRACE_USERS, devicesPerUser: 1, onlineShare: 1 });
  if (flags.workload !== undefined) {
    layers.push(parseWorkload(await readText(flags.workload, 'workload'), flags.workload));
  }
  for (const [flag, path] of WORKLOAD_FLAGS) {
    const text = flags[flag];
    if (typeof text === 'string') layers.push(readField(path, text, `--${flag}`));
  }
  if (flags.bytes !== undefined) layers.push(readBytesFlag(flags.bytes));
  return mergeWorkload(...layers);
}

interface Trace {
  readonly source: TraceSource;
  readonly plan: TracePlan;
  readonly replayMs: number;
}

async function openTrace(flags: LoadFlags, workload: Workload, say: (line: string) => void): Promise<Trace | null> {
  if (flags.trace === undefined) return null;
  if (flags.findMax === true)
    throw new DunlinError('--trace and --find-max do not go together: a trace has its own rate.');
  if (workload.devicesPerUser !== 1 || workload.onlineShare !== 1) {
    throw new DunlinError('--trace: everybody has one device and is online; leave out --devices and --online.');
  }
  const speed = parseNumber(flags.speed);
  if (speed === undefined || speed <= 0) throw new DunlinError(`--speed: '${flags.speed}' is not a number above 0.`);
  const limit = flags.limit === undefined ? Number.MAX_SAFE_INTEGER : wholeFlag(flags.limit, 'limit', 1, 2 ** 32);
  const columns = await readTrace(flags.trace);
  const people = countPeople(columns);
  const plan = planTrace(columns, { users: workload.users, limit });
  const replayMs = plan.spanMs / speed;
  say(
    `${basename(flags.trace)}: ${formatCount(plan.messages)} messages, ${formatCount(plan.joins)} joins and ${formatCount(plan.leaves)} leaves in ${formatCount(plan.groups.start.length - 1)} groups of up to ${formatCount(plan.membersMax)}; ${formatCount(people.all)} people as ${formatCount(workload.users)} users.`,
  );
  say(
    `It spans ${formatSpan(plan.spanMs)}; ${formatCount(speed)} times as fast that is ${formatSpan(replayMs)}, ${formatCount((plan.messages * 1_000) / Math.max(1, replayMs))} messages a second.`,
  );
  if (plan.lonely > 0) say(`${formatCount(plan.lonely)} conversations with one sender only are left out.`);
  return { source: { file: flags.trace, speed, limit }, plan, replayMs };
}

function countProcesses(flags: LoadFlags, workload: Workload, isTrace: boolean): number {
  if (flags.processes !== undefined) return wholeFlag(flags.processes, 'processes', 1, 64);
  const devices = workload.users * workload.devicesPerUser;
  // Nobody knows where a search ends, or what goes through when no rate is given.
  const isOpen = flags.findMax === true || workload.outstandingMax > 0;
  const wanted = isOpen ? Number.POSITIVE_INFINITY : Math.ceil(workload.ratePerSecond / RATE_PER_PROCESS);
  const forRate = isTrace ? 1 : Math.min(availableParallelism(), wanted);
  return Math.max(1, Math.ceil(devices / CONNECTIONS_PER_PROCESS_MAX), forRate);
}

async function makePlan(flags: LoadFlags, workload: Workload, trace: Trace | null): Promise<RunPlan> {
  if (parseTarget(flags.url) === undefined) {
    throw new DunlinError(`--url '${flags.url}' is not a WebSocket address such as ${DEFAULT_URL}.`);
  }
  if (flags.ca !== undefined) await readText(flags.ca, 'ca');
  const key: KeySource = flags.key === undefined ? { data: flags.data } : { file: flags.key };
  return {
    url: flags.url,
    workload,
    seed: flags.seed === undefined ? randomInt(2 ** 31) : wholeFlag(flags.seed, 'seed', 0, 2 ** 32 - 1),
    run: randomInt(1, RUN_MAX),
    trace: trace === null ? null : trace.source,
    key,
    caBundle: flags.ca ?? null,
    historyDirectory: flags.history ?? null,
    connectsPerSecond: CONNECTS_PER_SECOND,
    processes: countProcesses(flags, workload, trace !== null),
  };
}

/** A trace sends until it is through, unless --duration says less; a search bends nobody's activity. */
function adjust(workload: Workload, flags: LoadFlags, trace: Trace | null): Workload {
  if (trace !== null) {
    // Waits for the last joins; sending ends as soon as the trace is through.
    const durationMs = flags.duration === undefined ? trace.replayMs + 60_000 : workload.durationMs;
    return { ...workload, durationMs };
  }
  if (flags.findMax !== true) return workload;
  const userRateMax = (FIND_MAX_ACTIVITY * workload.ratePerSecond) / workload.users;
  return { ...workload, userRateMax: Math.min(workload.userRateMax, userRateMax) };
}

function describePlan(plan: RunPlan, seedGiven: boolean): string {
  const { workload } = plan;
  const rate =
    plan.trace === null
      ? `${formatCount(workload.ratePerSecond)} messages a second`
      : `trace at ${formatCount(plan.trace.speed)} times its speed`;
  const seed = seedGiven ? `seed ${plan.seed}` : `--seed ${plan.seed} repeats it`;
  return `${plan.url}: ${formatCount(workload.users)} users, ${rate}, ${plan.processes} generator ${plan.processes === 1 ? 'process' : 'processes'}; ${seed}`;
}

function describeTrace(trace: Trace | null, result: LoadResult): LoadResult['trace'] {
  if (trace === null) return null;
  const { plan, source } = trace;
  return {
    file: basename(source.file),
    speed: source.speed,
    messages: plan.messages,
    joins: plan.joins,
    leaves: plan.leaves,
    ignored_lines: plan.ignored,
    span_s: Math.round(plan.spanMs / 1_000),
    replay_s: result.duration_s,
  };
}

/** Stops at the first Ctrl-C, and ends everything at the second. Returns what takes the handlers away. */
function handleInterrupts(run: LoadRun, say: (line: string) => void): () => void {
  let count = 0;
  const interrupt = (): void => {
    count++;
    if (count > 1) process.exit(130);
    say('Stopping: no more is sent; waiting for what is under way. Ctrl-C again ends at once.');
    run.stop();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return () => {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  };
}

function summaryLines(result: LoadResult): string[] {
  const lines: string[] = [];
  const cut = result.cut_off_ms;
  if (cut !== null) {
    lines.push(
      `Cut off by the server: ${formatCount(cut.cuts)} connections, median ${formatMs(cut.median)}, longest ${formatMs(cut.max)}; without the outages p99 was ${result.latency_steady_ms === null ? '–' : formatMs(result.latency_steady_ms.p99)}.`,
    );
  }
  const warmUp = result.latency_warm_up_ms;
  if (warmUp !== null) {
    lines.push(
      `In the warm-up of ${formatMs(warmUpOf(result.workload))}, which is not in these figures, p99 was ${formatMs(warmUp.p99)}.`,
    );
  }
  const rejected = Object.entries(result.rejected);
  if (rejected.length > 0) {
    lines.push(`Rejected: ${rejected.map(([name, count]) => `${name} ${formatCount(count)}`).join(', ')}.`);
  }
  if (result.unsent > 0)
    lines.push(`${formatCount(result.unsent)} messages were due and could not be sent before the end.`);
  if (result.trace !== null) {
    lines.push(
      `The trace's ${formatSpan(result.trace.span_s * 1_000)} took ${formatSpan(result.duration_s * 1_000)}: ${formatCount(result.rates.sent)} messages and ${formatCount(result.rates.delivered)} deliveries a second.`,
    );
  }
  if (result.find_max !== null) {
    const { rate, p99_ms: bound, steps } = result.find_max;
    const isGenerators = limitOf(steps)?.endsWith(GENERATOR_LIMITED) ?? false;
    lines.push(
      rate === 0
        ? `No rate kept p99 within ${formatMs(bound)}.`
        : `Highest rate with p99 within ${formatMs(bound)}: ${formatCount(rate)} messages a second.`,
    );
    if (isGenerators) lines.push('The search ended at the generator, not at the server, which may hold more.');
  }
  lines.push(result.generator.sentence);
  return lines;
}

async function load(flags: LoadFlags): Promise<void> {
  const screen = process.stderr;
  if (typeof flags.json === 'string') await mustBeWritable(flags.json, 'json');
  if (flags.report !== undefined) await mustBeWritable(flags.report, 'report');
  if (flags.history !== undefined) await mkdir(flags.history, { recursive: true });
  const workloadAsked = await readWorkload(flags);
  const trace = await openTrace(flags, workloadAsked, (line) => screen.write(`${line}\n`));
  const plan = await makePlan(flags, adjust(workloadAsked, flags, trace), trace);
  const findMax: RunOptions['findMax'] =
    flags.findMax === true
      ? { p99Ms: durationFlag(flags.p99, 'p99', 1), stepMs: durationFlag(flags.step, 'step', 10_000) }
      : null;
  const table = new LiveTable(screen, describePlan(plan, flags.seed !== undefined));
  const run = new LoadRun({
    plan,
    findMax,
    makePort: forkGenerator,
    onInterval: (interval) => table.show(interval),
    say: (line) => table.say(line),
    onViolation: (violation) => table.say(printViolation(violation)),
  });
  const restore = handleInterrupts(run, (line) => table.say(line));
  const result = await run.run().finally(restore);
  result.trace = describeTrace(trace, result);
  const json = `${JSON.stringify(result, null, 2)}\n`;
  if (typeof flags.json === 'string') await writeText(flags.json, json, 'json');
  if (flags.report !== undefined) await writeText(flags.report, renderReport(result), 'report');
  for (const line of summaryLines(result)) screen.write(`${line}\n`);
  if (flags.json === true) process.stdout.write(json);
  else process.stdout.write(`${result.verdict}\n`);
  process.exitCode = result.ok ? 0 : 1;
}
