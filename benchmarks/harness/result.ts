/**
 * What a benchmark comes to: `benchmarks/results/NAME.json`, from which docs/benchmarks.md and the page of charts are made.
 *
 * Every figure stands beside what it was compared with in the same run, with how far its runs lay apart and a hash of what was
 * done, so that it cannot get better by doing less.
 */
import type { describeMachine } from '../load/result.js';

/** One measured figure. */
export interface Figure {
  /** What was measured, in words that stand alone in a table. */
  readonly name: string;
  /** Median of the runs, in `unit`. */
  readonly figure: number;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  /** The limit, rival or twin of the same run; null if there is none. */
  readonly against: { readonly name: string; readonly figure: number; readonly unit: string } | null;
  /** Median over the runs of the figure over `against`, turned so that more is better; null without one. */
  readonly ratio: number | null;
  /** The figure of each run, in order; at least five outside the tests. */
  readonly runs: readonly number[];
  /** Highest less lowest run. */
  readonly spread: number;
  /** Of the work done and what came of it. */
  readonly hash: string;
  /** What must be reached: a figure or a ratio; null for what is only shown. */
  readonly reach: { readonly of: 'figure' | 'ratio'; readonly bound: number; readonly isReached: boolean } | null;
  /** Why it is what it is, where that needs words: an obstacle, what a rival does not do. */
  readonly note?: string;
}

/** How something goes as something else grows: one chart. */
export interface Curve {
  readonly name: string;
  readonly x: { readonly name: string; readonly unit: string; readonly isLogarithmic: boolean };
  readonly y: { readonly name: string; readonly unit: string };
  readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number])[] }[];
}

/** A table that stands in the report as it is: costs by stage, rivals by property. */
export interface Table {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | null)[])[];
}

/** The file. Its own fields are the headline figure. */
export interface BenchmarkResult extends Omit<Figure, 'name'> {
  readonly name: string;
  /** The headline figure's name. */
  readonly about: string;
  readonly figures: readonly Figure[];
  readonly curves: readonly Curve[];
  readonly tables: readonly Table[];
  /** Sizes and shares of what was done. */
  readonly workload: Readonly<Record<string, number | string>>;
  readonly command: string;
  readonly isTiny: boolean;
  /** How long the benchmark took altogether. */
  readonly took_s: number;
  readonly machine: ReturnType<typeof describeMachine>;
  /** UTC, ISO 8601. */
  readonly measured: string;
}

export interface BenchmarkOptions {
  /** For the tests: the same path, as small as it can be. */
  readonly isTiny: boolean;
  /** How often each figure is measured. */
  readonly runs: number;
  /** Told what is going on, now and then. */
  readonly progress: (sentence: string) => void;
}

/** What a benchmark gives to the harness, which adds the rest. */
export type Measured = Pick<BenchmarkResult, 'figures' | 'workload'> &
  Partial<Pick<BenchmarkResult, 'curves' | 'tables'>>;

/** A benchmark is a module that exports one as `benchmark`. Its first figure is the headline. */
export interface Benchmark {
  readonly name: string;
  /** One sentence for `--help` and the report. */
  readonly about: string;
  /** Why two runs of it come to different hashes; without it they must be equal, and a test holds it to that. */
  readonly varies?: string;
  run(options: BenchmarkOptions): Measured | Promise<Measured>;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error('the median of nothing');
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A figure from its runs and those of what it is compared with, run by run in the same order. */
export function makeFigure(
  parts: Pick<Figure, 'name' | 'unit' | 'better' | 'runs' | 'hash' | 'note'> & {
    readonly against?: { readonly name: string; readonly unit?: string; readonly runs: readonly number[] };
    readonly reach?: { readonly of: 'figure' | 'ratio'; readonly bound: number };
  },
): Figure {
  const { name, unit, better, runs, hash, note, against, reach } = parts;
  if (against !== undefined && against.runs.length !== runs.length) {
    throw new Error(`${name}: ${runs.length} runs against ${against.runs.length}`);
  }
  const figure = median(runs);
  const isHigher = better === 'higher';
  const ratios = against?.runs.map((other, run) => (isHigher ? runs[run]! / other : other / runs[run]!));
  const ratio = ratios === undefined ? null : median(ratios);
  return {
    name,
    figure,
    unit,
    better,
    against:
      against === undefined ? null : { name: against.name, figure: median(against.runs), unit: against.unit ?? unit },
    ratio,
    runs,
    spread: Math.max(...runs) - Math.min(...runs),
    hash,
    reach: reach === undefined ? null : { ...reach, isReached: reaches(reach, figure, ratio, isHigher) },
    ...(note === undefined ? {} : { note }),
  };
}

function reaches(
  reach: { readonly of: 'figure' | 'ratio'; readonly bound: number },
  figure: number,
  ratio: number | null,
  isHigher: boolean,
): boolean {
  if (reach.of === 'figure') return isHigher ? figure >= reach.bound : figure <= reach.bound;
  if (ratio === null) throw new Error('a ratio must be reached, and there is nothing to compare with');
  return ratio >= reach.bound;
}
