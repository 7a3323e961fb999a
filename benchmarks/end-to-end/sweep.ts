/**
 * Throughput as something grows: a server for each size, all ready, loaded in turn with as much as goes through, run after run,
 * so that what else the machine does meets all sizes. Load is closed here: so many messages are outstanding at a time, and the
 * next is sent when one has its outcome. So it says what goes through, and nothing of latency.
 */

import { formatCount } from '../../reports/format.js';
import { type Curve, type Figure, makeFigure, median, type Table } from '../harness/result.js';
import { readWorkload } from '../load/defaults.js';
import type { Workload } from '../load/workload.js';
import { generatorNote, hashOf, World, type WorldStep } from './world.js';

/** Beyond what any machine takes. */
const RATE = 500_000;
const OUTSTANDING_MAX = 8_000;
/** At the large end, so much of the small end's throughput must be left. */
const SHARE_MIN = 0.7;

export interface SweepPoint {
  readonly size: number;
  readonly workload?: Partial<Workload>;
  /** Of `dunlin up`. */
  readonly flags?: readonly string[];
}

export interface SweepOptions {
  /** What grows, as in "100 → 18,000 connections". */
  readonly name: string;
  readonly unit: string;
  readonly counts: 'messages' | 'deliveries';
  readonly points: readonly SweepPoint[];
  /** What the large end is to be read with. */
  readonly note?: string;
  readonly isTiny: boolean;
  readonly runs: number;
  readonly progress: (sentence: string) => void;
}

export interface Sweep {
  readonly figures: readonly Figure[];
  readonly curves: readonly Curve[];
  readonly tables: readonly Table[];
}

/** Everybody sends as much as the others, so that no connection is at its own limit. */
const BASE: Partial<Workload> = {
  devicesPerUser: 1,
  ratePerSecond: RATE,
  outstandingMax: OUTSTANDING_MAX,
  activityZipf: 0,
  userRateMax: 1_000_000,
  reconnectsPerMinute: 0,
  drainMs: 120_000,
};

async function openAll({ points, isTiny, progress, name }: SweepOptions): Promise<World[]> {
  const open = async ({ workload, flags = [] }: SweepPoint): Promise<World> => {
    const small = isTiny ? { readDelayMs: 50, outstandingMax: 20 } : {};
    const world = await World.open({
      workload: await readWorkload('default', { ...BASE, ...workload, ...small }),
      flags,
      isTiny,
    });
    // The compilers of both sides are done then, more or less.
    await world.step({ rate: RATE, warmUpMs: 0, measureMs: isTiny ? 50 : 3_000 });
    await world.settle();
    return world;
  };
  if (isTiny) return Promise.all(points.map(open));
  const worlds: World[] = [];
  for (const point of points) {
    worlds.push(await open(point));
    progress(`${name}: ${point.size} is ready`);
  }
  return worlds;
}

export async function sweep(options: SweepOptions): Promise<Sweep> {
  const { isTiny, runs, progress, name, points } = options;
  const worlds = await openAll(options);
  const steps: WorldStep[][] = points.map(() => []);
  const times = { warmUpMs: isTiny ? 20 : 500, measureMs: isTiny ? 150 : 2_000 };
  for (let run = 0; run < runs; run++) {
    for (const [n, world] of worlds.entries()) {
      steps[n]!.push(await world.step({ rate: RATE, ...times }));
      await world.settle();
    }
    progress(
      `${name}: run ${run + 1} of ${runs}: ${steps.map((of) => rateOf(options, of.at(-1)!)).join(', ')} ${options.counts} a second`,
    );
  }
  const results = await Promise.all(worlds.map((world) => world.close()));
  return summarise(options, steps, hashOf(results));
}

function rateOf({ counts }: Pick<SweepOptions, 'counts'>, step: WorldStep): number {
  return counts === 'messages' ? step.acked_per_s : step.delivered_per_s;
}

/** Processor time of the server for one, in microseconds. */
function costOf(options: SweepOptions, step: WorldStep): number {
  return (step.server_cpu * 1e6) / rateOf(options, step);
}

function summarise(options: SweepOptions, steps: readonly WorldStep[][], hash: string): Sweep {
  const { name, unit, counts, points } = options;
  const one = counts === 'messages' ? 'message' : 'delivery';
  const [small, large] = [points[0]!, points.at(-1)!];
  const note = [options.note ?? [], generatorNote(steps.flat())].flat().join('; ');
  const rates = (of: readonly WorldStep[]): number[] => of.map((step) => rateOf(options, step));
  const costs = (of: readonly WorldStep[]): number[] => of.map((step) => costOf(options, step));
  const against = `at ${formatCount(small.size)} ${unit}`;
  return {
    figures: [
      makeFigure({
        name: `${name}: throughput at ${formatCount(large.size)} ${unit}`,
        unit: `${counts} a second`,
        better: 'higher',
        runs: rates(steps.at(-1)!),
        against: { name: against, runs: rates(steps[0]!) },
        reach: { of: 'ratio', bound: SHARE_MIN },
        hash,
        note,
      }),
      makeFigure({
        name: `${name}: the server’s processor time at ${formatCount(large.size)} ${unit}`,
        unit: `µs a ${one}`,
        better: 'lower',
        runs: costs(steps.at(-1)!),
        against: { name: against, runs: costs(steps[0]!) },
        reach: { of: 'ratio', bound: SHARE_MIN },
        hash,
        note,
      }),
    ],
    curves: [
      {
        name,
        x: { name: unit, unit, isLogarithmic: true },
        y: { name: 'throughput', unit: `${counts} a second` },
        series: [
          { name: 'end to end, durable', points: points.map(({ size }, n) => [size, median(rates(steps[n]!))]) },
        ],
      },
    ],
    tables: [
      {
        name: `${name}, medians of the runs`,
        columns: [
          unit,
          'messages a second',
          'deliveries a second',
          `server µs a ${one}`,
          `socket writes a ${one}`,
          'server cores',
          'generator cores',
        ],
        rows: points.map(({ size }, n) => {
          const of = steps[n]!;
          return [
            size,
            median(of.map((step) => step.acked_per_s)),
            median(of.map((step) => step.delivered_per_s)),
            Number(median(costs(of)).toFixed(2)),
            Number(median(of.map((step) => step.server_writes_per_s / rateOf(options, step))).toFixed(2)),
            Number(median(of.map((step) => step.server_cpu)).toFixed(2)),
            Number(median(of.map((step) => step.generator_cpu_of_all)).toFixed(2)),
          ];
        }),
      },
    ],
  };
}
