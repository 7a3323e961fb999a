/**
 * Delivery latency, embedded and durable, from when a message should have been sent until a receiving device has it: at half of
 * the highest rate that keeps p99 within the product's 100 ms, and over the rate. The search is that of `dunlin load --find-max`.
 *
 * Rates come in turn, so that each run meets the same machine. Server and load generator share its cores.
 */

import { formatCount } from '../reports/format.js';
import { hashOf, VARIES, World, type WorldStep } from './end-to-end/world.js';
import { type Benchmark, type BenchmarkOptions, type Measured, makeFigure, median } from './harness/result.js';
import { readWorkload } from './load/defaults.js';
import { highestRate, limitOf } from './load/find-max.js';

/** The product's requirement for a delivery. */
const P99_MS = 100;
const P50_MS_MAX = 8;
const P99_MS_MAX = 25;
const SHARES = [0.125, 0.25, 0.5, 0.75, 1] as const;
const HALF = SHARES.indexOf(0.5);

interface Maximum {
  /** Messages a second. */
  readonly rate: number;
  /** Why it is not more. */
  readonly limit: string;
}

/** The highest rate that the server holds. Ends settled. */
async function findMaximum(world: World, { isTiny, progress }: BenchmarkOptions): Promise<Maximum> {
  const startRate = isTiny ? 100 : 6_000;
  // First a while without judging, so that it is not the compilers' work that ends the search.
  await world.step({ rate: startRate / 2, warmUpMs: 0, measureMs: isTiny ? 200 : 4_000 });
  const steps = await world.search({
    startRate,
    p99Ms: P99_MS,
    warmUpMs: isTiny ? 50 : 1_000,
    stepMs: isTiny ? 200 : 2_500,
    ...(isTiny ? { stepsMax: 2 } : {}),
  });
  await world.settle();
  // In small a step is too short to be judged.
  const rate = isTiny ? startRate : highestRate(steps);
  if (rate === 0) throw new Error(`no rate held: ${limitOf(steps)}`);
  const limit = limitOf(steps) ?? 'nothing ended the search';
  progress(`highest rate with p99 within ${P99_MS} ms: ${formatCount(rate)} messages a second (above: ${limit})`);
  return { rate, limit };
}

async function measure(options: BenchmarkOptions): Promise<Measured> {
  const { isTiny, runs, progress } = options;
  const workload = await readWorkload(
    'default',
    isTiny ? { users: 40, readDelayMs: 50 } : { users: 1_000, drainMs: 60_000 },
  );
  const world = await World.open({ workload, isTiny });
  const { rate: highest, limit } = await findMaximum(world, options);
  const byShare: WorldStep[][] = SHARES.map(() => []);
  for (let run = 0; run < runs; run++) {
    for (const [n, share] of SHARES.entries()) {
      const rate = Math.max(1, Math.round(highest * share));
      byShare[n]!.push(await world.step({ rate, warmUpMs: isTiny ? 50 : 500, measureMs: isTiny ? 200 : 2_000 }));
      // What the highest rate leaves behind is not the next one's.
      if (share === 1) await world.settle();
    }
    progress(`run ${run + 1} of ${runs}: at half, p99 ${byShare[HALF]!.at(-1)!.p99_ms} ms`);
  }
  const note = `half is ${Math.round(highest / 2)} messages a second; above the highest rate: ${limit}; ${world.generatorNote}`;
  const hash = hashOf([await world.close()]);
  const of = (steps: readonly WorldStep[], field: 'p50_ms' | 'p95_ms' | 'p99_ms' | 'accepted_p99_ms'): number[] =>
    steps.map((step) => step[field] ?? Number.NaN);
  const half = byShare[HALF]!;
  const figure = (name: string, field: Parameters<typeof of>[1], bound?: number): ReturnType<typeof makeFigure> =>
    makeFigure({
      name,
      unit: 'ms',
      better: 'lower',
      runs: of(half, field),
      against: { name: 'the product’s requirement for a delivery', runs: half.map(() => P99_MS) },
      ...(bound === undefined ? {} : { reach: { of: 'figure', bound } }),
      hash,
      note,
    });
  const series = (['p50_ms', 'p95_ms', 'p99_ms'] as const).map((field) => ({
    name: field.slice(0, 3),
    points: byShare.map((steps) => [median(steps.map(({ rate }) => rate)), median(of(steps, field))] as const),
  }));
  return {
    figures: [
      figure('p99 of a delivery at half of the highest rate', 'p99_ms', P99_MS_MAX),
      figure('p50 of a delivery at half of the highest rate', 'p50_ms', P50_MS_MAX),
      figure('of it, p99 from the log’s time to the receiving device', 'accepted_p99_ms'),
    ],
    curves: [
      {
        name: 'Latency over rate',
        x: { name: 'rate', unit: 'messages a second', isLogarithmic: false },
        y: { name: 'latency of a delivery', unit: 'ms' },
        series,
      },
    ],
    tables: [
      {
        name: 'Latency over rate, medians of the runs',
        columns: [
          'messages a second',
          'deliveries a second',
          'p50 ms',
          'p95 ms',
          'p99 ms',
          'server cores',
          'generator cores',
        ],
        rows: byShare.map((steps) => [
          steps[0]!.rate,
          median(steps.map((step) => step.delivered_per_s)),
          median(of(steps, 'p50_ms')),
          median(of(steps, 'p95_ms')),
          median(of(steps, 'p99_ms')),
          median(steps.map((step) => step.server_cpu)),
          median(steps.map((step) => step.generator_cpu_of_all)),
        ]),
      },
    ],
    workload: { users: workload.users, group_share: workload.groupShare, highest_rate_per_s: highest },
  };
}

export const benchmark: Benchmark = {
  name: 'latency',
  about: 'delivery latency at half of the highest rate, and over the rate: embedded, durable, every message verified',
  varies: VARIES,
  run: measure,
};
