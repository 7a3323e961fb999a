/** What both reports, the document and the page, say of results. */
import { formatCount, formatRate, formatSpan } from '../../reports/format.js';
import { formatValue } from '../harness/format.js';
import type { BenchmarkResult, Figure } from '../harness/result.js';

/** A bar that must be reached, and how far it is. */
export interface Bar {
  readonly benchmark: string;
  readonly figure: Figure;
  /** What was measured as a share of what must be reached: 1 or more is reached. */
  readonly share: number;
}

function shareOf({ reach, figure, ratio, better }: Figure): number {
  if (reach === null) return 0;
  if (reach.of === 'ratio') return (ratio ?? 0) / reach.bound;
  return better === 'higher' ? figure / reach.bound : reach.bound / figure;
}

/** All bars of the results, in order. */
export function barsOf(results: readonly BenchmarkResult[]): Bar[] {
  return results.flatMap(({ name, figures }) =>
    figures
      .filter(({ reach }) => reach !== null)
      .map((figure) => ({ benchmark: name, figure, share: shareOf(figure) })),
  );
}

/** In the order of `names`; what is not among them comes last, by name. */
export function inOrder(results: Iterable<BenchmarkResult>, names: readonly string[]): BenchmarkResult[] {
  const rank = (name: string): number => (names.includes(name) ? names.indexOf(name) : names.length);
  return [...results].toSorted(
    (one, other) => rank(one.name) - rank(other.name) || (one.name < other.name ? -1 : one.name > other.name ? 1 : 0),
  );
}

/** `2 × AMD EPYC, 23.5 GiB, Node v20.20.2, linux-x64`. */
export function describeHost({ machine }: BenchmarkResult): string {
  const { cpu, cores, memory_gib, node, platform } = machine;
  return `${cores} × ${cpu}, ${memory_gib} GiB, Node ${node}, ${platform}`;
}

/** `5 of 7 bars are reached; 2 are not: log, start.` */
export function verdictOf(bars: readonly Bar[]): string {
  if (bars.length === 0) return 'No bar is measured yet.';
  const missed = bars.filter(({ figure }) => figure.reach?.isReached === false);
  const names = [...new Set(missed.map(({ benchmark }) => benchmark))].join(', ');
  const rest = missed.length === 0 ? '' : `; ${missed.length} ${missed.length === 1 ? 'is' : 'are'} not: ${names}`;
  return `${bars.length - missed.length} of ${bars.length} bars are reached${rest}.`;
}

/** What was measured beside what must be reached: `ratio 9.17 of at least 5`, `23.3 of at most 5 s`. */
export function describeBar({ figure }: Bar): string {
  const { reach, ratio, better, unit } = figure;
  if (reach?.of === 'ratio') return `ratio ${formatValue(ratio ?? 0)} of at least ${formatValue(reach.bound)}`;
  const bound = `at ${better === 'higher' ? 'least' : 'most'} ${formatValue(reach?.bound ?? 0)} ${unit}`;
  return `${formatValue(figure.figure)} of ${bound}`;
}

/** `5 runs, 198 – 220`. */
export function describeRuns({ runs }: Pick<Figure, 'runs'>): string {
  const ends = `${formatValue(Math.min(...runs))} – ${formatValue(Math.max(...runs))}`;
  return runs.length === 1 ? '1 run' : `${runs.length} runs, ${ends}`;
}

/** Values on axes and in tables: `12.5 k`, `1.25 M`, `0.012`. */
export function formatShort(value: number): string {
  return Math.abs(value) >= 10_000 ? formatRate(value) : formatValue(value);
}

export function formatCell(cell: string | number | null): string {
  return cell === null ? '–' : typeof cell === 'number' ? formatValue(cell) : cell;
}

/** `partitions 4, bytes a run 512,000,000`. */
export function describeWorkload({ workload }: BenchmarkResult): string {
  return Object.entries(workload)
    .map(([key, value]) => {
      const words = key
        .replaceAll(/([a-z])([A-Z])/g, '$1 $2')
        .replaceAll('_', ' ')
        .toLowerCase();
      return `${words} ${typeof value === 'number' && Number.isInteger(value) ? formatCount(value) : value}`;
    })
    .join(', ');
}

/** When, for how long, and on what. */
export function describeRun(result: BenchmarkResult): string {
  return `Measured ${result.measured.slice(0, 16).replace('T', ' ')} UTC in ${formatSpan(result.took_s * 1_000)} on ${describeHost(result)}.`;
}

/** `throughput (messages/s)`. */
export function describeAxis({ name, unit }: { readonly name: string; readonly unit: string }): string {
  return unit === '' ? name : `${name} (${unit})`;
}
