/**
 * More than the server takes: twice what goes through. How much is accepted meanwhile, how long what is accepted takes, what the
 * server's memory does, and whether refused sends are told so. Clients do as the SDK does: they keep what is refused and send it
 * again, so the load does not become less.
 *
 * The same with everything in one conversation, and with one group of 1,024 with every member online. Then a storm: all
 * connections are cut at once under a moderate load.
 *
 * What goes through is measured with so many messages outstanding at a time that the server is never without work. Then twice
 * that rate is sent, whatever becomes of it; both in turn. Everything sent must have arrived in the end, once and in order.
 */

import { BACKLOG_MS_MAX } from '../core/limits.js';
import { formatCount } from '../reports/format.js';
import { startServer } from './end-to-end/server.js';
import { hashOf, loadOnce, VARIES, World, type WorldStep } from './end-to-end/world.js';
import {
  type Benchmark,
  type BenchmarkOptions,
  type Curve,
  type Figure,
  type Measured,
  makeFigure,
  median,
} from './harness/result.js';
import { type Profile, readWorkload } from './load/defaults.js';
import type { LoadResult, Series } from './load/result.js';
import type { StepOptions } from './load/steps.js';
import type { Workload } from './load/workload.js';

/** Of what goes through, so much must be accepted still. */
const ACCEPTED_MIN = 0.9;
const OVERLOAD = 2;
/** Memory does not grow with the load: at what goes through it is so much of that at twice as much. */
const MEMORY_MIN = 0.8;
/** What is accepted must arrive within this, however much is sent: two stages, neither further behind than it may be. */
const ACCEPTED_P99_MS_MAX = 2 * BACKLOG_MS_MAX;

/** Beyond what any machine takes: how much is outstanding is the bound. */
const BEYOND = 500_000;

interface Kind {
  readonly name: string;
  readonly profile: Profile;
  readonly outstanding: number;
  readonly tiny: Partial<Workload>;
}

const KINDS: readonly Kind[] = [
  { name: 'many conversations', profile: 'overload', outstanding: 8_000, tiny: { users: 40, readDelayMs: 50 } },
  { name: 'one hot conversation', profile: 'hot', outstanding: 500, tiny: { readDelayMs: 50 } },
  {
    name: 'one group of 1,024, all online',
    profile: 'group',
    // Each comes to 1,023 deliveries.
    outstanding: 16,
    tiny: { users: 32, readDelayMs: 50, groupSizeP50: 32, groupSizeP95: 32, groupSizeMax: 32 },
  },
];

interface Overloaded {
  readonly figures: readonly Figure[];
  readonly curves: readonly Curve[];
}

function rateCurve(name: string, series: Series): Curve {
  const points = (values: readonly (number | null)[]): [number, number][] =>
    values.flatMap((value, n): [number, number][] => (value === null ? [] : [[series.seconds[n]!, value]]));
  return {
    name: `${name}: rate over time`,
    x: { name: 'time', unit: 's', isLogarithmic: false },
    y: { name: 'rate', unit: 'a second' },
    series: [
      { name: 'sent', points: points(series.sent_per_s) },
      { name: 'accepted', points: points(series.acked_per_s) },
      { name: 'delivered', points: points(series.delivered_per_s) },
    ],
  };
}

function latencyCurve(name: string, series: Series): Curve {
  const points = (values: readonly (number | null)[]): [number, number][] => [
    [0, 0],
    ...values.flatMap((value, n): [number, number][] => (value === null ? [] : [[series.seconds[n]!, value]])),
  ];
  return {
    name: `${name}: latency over time`,
    x: { name: 'time', unit: 's', isLogarithmic: false },
    y: { name: 'latency of a delivery', unit: 'ms' },
    series: [
      { name: 'p99 from the intended time', points: points(series.p99_ms) },
      { name: 'p99 of what is accepted, from the log’s time', points: points(series.accepted_p99_ms) },
    ],
  };
}

function memoryCurve(name: string, points: readonly (readonly [number, number])[]): Curve {
  return {
    name: `${name}: memory over time`,
    x: { name: 'time', unit: 's', isLogarithmic: false },
    y: { name: 'resident memory of the server', unit: 'MiB' },
    series: [{ name: 'resident', points: [...points] }],
  };
}

/** Highest resident memory, MiB, between two times. */
function memoryBetween(memory: readonly (readonly [number, number])[], fromS: number, toS: number): number {
  return Math.max(...memory.filter(([second]) => second >= fromS && second <= toS).map(([, mib]) => mib));
}

/** As much as goes through, and then twice that rate. */
interface Turn {
  readonly at: WorldStep;
  readonly over: WorldStep;
  /** Most memory of the server, MiB. */
  readonly atMib: number;
  readonly overMib: number;
}

async function turn(world: World, outstandingMax: number, times: Omit<StepOptions, 'rate'>): Promise<Turn> {
  const fromS = world.seconds;
  const at = await world.step({ rate: BEYOND, outstandingMax, ...times });
  const middleS = world.seconds;
  const over = await world.step({ rate: Math.max(1, at.acked_per_s * OVERLOAD), ...times });
  const toS = world.seconds;
  await world.settle();
  const atMib = memoryBetween(world.memory, fromS, middleS);
  return { at, over, atMib, overMib: memoryBetween(world.memory, middleS, toS) };
}

async function overload(kind: Kind, { isTiny, runs, progress }: BenchmarkOptions): Promise<Overloaded> {
  const { name, profile, tiny } = kind;
  const workload = await readWorkload(profile, { drainMs: 120_000, userRateMax: BEYOND, ...(isTiny ? tiny : {}) });
  const world = await World.open({ workload, isTiny });
  const outstanding = isTiny ? 20 : kind.outstanding;
  // The compilers of both sides are done then, more or less.
  await world.step({ rate: BEYOND, outstandingMax: outstanding, warmUpMs: 0, measureMs: isTiny ? 50 : 4_000 });
  await world.settle();
  const times = { warmUpMs: isTiny ? 20 : 500, measureMs: isTiny ? 200 : 2_500 };
  const turns: Turn[] = [];
  for (let run = 0; run < runs; run++) {
    const one = await turn(world, outstanding, times);
    turns.push(one);
    progress(
      `${name}: run ${run + 1} of ${runs}: ${one.over.acked_per_s} accepted of ${one.over.sent_per_s} sent a second, ${one.at.acked_per_s} before`,
    );
  }
  const note = world.generatorNote;
  const result = await world.close();
  return {
    figures: figuresOf(kind, turns, result, note),
    curves: [rateCurve(name, result.series), latencyCurve(name, result.series), memoryCurve(name, world.memory)],
  };
}

function figuresOf({ name }: Kind, turns: readonly Turn[], result: LoadResult, note: string): Figure[] {
  const hash = hashOf([result]);
  const told = Object.entries(result.rejected).map(([code, count]) => `${code} ${formatCount(count)} times`);
  const refusals =
    told.length === 0
      ? 'nothing was refused: the clients’ windows held it back'
      : `senders were told ${told.join(', ')}`;
  return [
    makeFigure({
      name: `${name}: accepted at twice what goes through`,
      unit: 'messages a second',
      better: 'higher',
      runs: turns.map(({ over }) => over.acked_per_s),
      against: { name: 'what goes through', runs: turns.map(({ at }) => at.acked_per_s) },
      reach: { of: 'ratio', bound: ACCEPTED_MIN },
      hash,
      note: `${note}; ${refusals}`,
    }),
    makeFigure({
      name: `${name}: p99 of what is accepted at twice what goes through, from the log’s time to the receiving device`,
      unit: 'ms',
      better: 'lower',
      runs: turns.map(({ over }) => over.accepted_p99_ms ?? Number.NaN),
      against: { name: 'at what goes through', runs: turns.map(({ at }) => at.accepted_p99_ms ?? Number.NaN) },
      reach: { of: 'figure', bound: ACCEPTED_P99_MS_MAX },
      hash,
      note,
    }),
    makeFigure({
      name: `${name}: most memory of the server at twice what goes through`,
      unit: 'MiB resident',
      better: 'lower',
      runs: turns.map(({ overMib }) => overMib),
      against: { name: 'at what goes through', runs: turns.map(({ atMib }) => atMib) },
      reach: { of: 'ratio', bound: MEMORY_MIN },
      hash,
      note,
    }),
  ];
}

// --- the storm ------------------------------------------------------------------------------------------------------------------

function connectionsCurve(series: Series): Curve {
  return {
    name: 'reconnect storm: connections over time',
    x: { name: 'time', unit: 's', isLogarithmic: false },
    y: { name: 'connections', unit: 'connections' },
    series: [{ name: 'live', points: series.connections.map((count, n) => [series.seconds[n]!, count] as const) }],
  };
}

async function storm({ isTiny, runs, progress }: BenchmarkOptions): Promise<Overloaded> {
  const small = { users: 40, readDelayMs: 50, ratePerSecond: 200, durationMs: 1_500, stormMs: 300 };
  const workload = await readWorkload('storm', isTiny ? small : { durationMs: 8_000, stormMs: 1_500, drainMs: 60_000 });
  const results: LoadResult[] = [];
  const server = await startServer();
  try {
    for (let run = 0; run < runs; run++) {
      const result = await loadOnce(server, workload, isTiny);
      results.push(result);
      progress(`reconnect storm: run ${run + 1} of ${runs}: all back after ${result.cut_off_ms?.max} ms`);
    }
  } finally {
    await server.stop();
  }
  const { users, ratePerSecond } = workload;
  const hash = hashOf(results);
  const last = results.at(-1)!;
  const refused = median(results.map(({ reconnects }) => reconnects.refused));
  const note = `${formatCount(users)} clients at ${formatCount(ratePerSecond)} messages a second; admission turned ${formatCount(refused)} attempts away, with a time to come back; nothing was lost; ${last.generator.sentence}`;
  const of = (part: 'median' | 'max'): number[] => results.map(({ cut_off_ms: cut }) => cut?.[part] ?? Number.NaN);
  const parts = { unit: 'ms', better: 'lower', hash, note } as const;
  return {
    figures: [
      makeFigure({ ...parts, name: 'reconnect storm: without a connection, longest of all clients', runs: of('max') }),
      makeFigure({
        ...parts,
        name: 'reconnect storm: without a connection, median of the clients',
        runs: of('median'),
      }),
    ],
    curves: [
      connectionsCurve(last.series),
      rateCurve('reconnect storm', last.series),
      latencyCurve('reconnect storm', last.series),
    ],
  };
}

async function inTurn<T>(tasks: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  for (const task of tasks) results.push(await task());
  return results;
}

async function measure(options: BenchmarkOptions): Promise<Measured> {
  const tasks = [...KINDS.map((kind) => () => overload(kind, options)), () => storm(options)];
  // In small nothing is compared, and waiting for one another takes most of the time.
  const parts = options.isTiny ? await Promise.all(tasks.map((task) => task())) : await inTurn(tasks);
  return {
    figures: parts.flatMap(({ figures }) => figures),
    curves: parts.flatMap(({ curves }) => curves),
    workload: { overload: OVERLOAD },
  };
}

export const benchmark: Benchmark = {
  name: 'overload',
  about:
    'twice what goes through, one hot conversation, one group of 1,024 online, a reconnect storm: accepted, latency, memory',
  varies: VARIES,
  run: measure,
};
