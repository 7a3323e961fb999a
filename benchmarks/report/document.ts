/** The generated part of docs/benchmarks.md: what stands between its two marks. The rest is written by hand and stays. */
import { valuesOfX } from '../../reports/curve.js';
import { formatBound, formatFigure, formatValue } from '../harness/format.js';
import type { BenchmarkResult, Curve, Figure, Table } from '../harness/result.js';
import {
  barsOf,
  describeAxis,
  describeRun,
  describeRuns,
  describeWorkload,
  formatCell,
  formatShort,
  verdictOf,
} from './summary.js';

export const BEGIN = '<!-- Begin of what `npx just bench-report` writes. -->';
export const END = '<!-- End of what `npx just bench-report` writes. -->';

/** Rows of a curve's table; of more points every second, third … is shown, and the last. */
const CURVE_ROWS_MAX = 16;

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), `|${' --- |'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

/** `reached`, `**not reached**`, or a dash where there is no bar. */
function reached(figure: Figure): string {
  if (figure.reach === null) return '–';
  return `${figure.reach.isReached ? 'reached' : '**not reached**'}: ${formatBound(figure)}`;
}

function against({ against: other }: Figure): string {
  return other === null ? '–' : `${other.name}: ${formatFigure(other)}`;
}

function ratio(figure: Figure): string {
  return figure.ratio === null ? '–' : formatValue(figure.ratio);
}

function figureRow(figure: Figure): string[] {
  const { name, hash } = figure;
  return [
    name,
    formatFigure(figure),
    describeRuns(figure),
    against(figure),
    ratio(figure),
    reached(figure),
    `\`${hash}\``,
  ];
}

function headRow(result: BenchmarkResult): string[] {
  const figure = result.figures[0]!;
  const link = `[${result.name}](#${result.name})`;
  return [link, figure.name, `**${formatFigure(figure)}**`, against(figure), ratio(figure), reached(figure)];
}

function curveTable({ name, x, y, series }: Curve): string {
  const values = valuesOfX(series);
  const every = Math.ceil(values.length / CURVE_ROWS_MAX);
  const shown = values.filter((_, n) => n % every === 0 || n === values.length - 1);
  const rows = shown.map((value) => [
    formatShort(value),
    ...series.map(({ points }) => {
      const point = points.find(([at]) => at === value);
      return point === undefined ? '–' : formatShort(point[1]);
    }),
  ]);
  const head = [describeAxis(x), ...series.map((one) => one.name)];
  return `**${name}**: ${describeAxis(y)}\n\n${table(head, rows)}`;
}

function plainTable({ name, columns, rows }: Table): string {
  return `**${name}**\n\n${table(
    columns,
    rows.map((row) => row.map(formatCell)),
  )}`;
}

/** Each note once, behind the names of its figures. */
function notesOf(figures: readonly Figure[]): string[] {
  const notes = [...new Set(figures.flatMap(({ note }) => note ?? []))];
  return notes.map((note) => {
    const names = figures.filter((figure) => figure.note === note).map(({ name }) => name);
    return `- ${names.join('; ')}: ${note}`;
  });
}

function section(result: BenchmarkResult): string {
  const head = ['figure', 'median', 'runs', 'against, same run', 'ratio', 'bar', 'hash'];
  const notes = notesOf(result.figures);
  return [
    `### ${result.name}`,
    `${result.about} \`${result.command}\``,
    table(head, result.figures.map(figureRow)),
    ...(notes.length === 0 ? [] : [notes.join('\n')]),
    ...result.tables.map(plainTable),
    ...result.curves.map(curveTable),
    `${describeRun(result)} Workload: ${describeWorkload(result)}.`,
  ].join('\n\n');
}

/** Markdown of all results, in their order. */
export function renderResults(results: readonly BenchmarkResult[]): string {
  const head = ['benchmark', 'what', 'median', 'against, same run', 'ratio', 'bar'];
  return [
    verdictOf(barsOf(results)),
    ...(results.length === 0 ? [] : [table(head, results.map(headRow))]),
    ...results.map(section),
  ].join('\n\n');
}

/** The document with its generated part made anew. */
export function replaceResults(document: string, results: readonly BenchmarkResult[]): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`the document has no place for the results: ${BEGIN} … ${END}`);
  return `${document.slice(0, begin + BEGIN.length)}\n\n${renderResults(results)}\n\n${document.slice(end)}`;
}
