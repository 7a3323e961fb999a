/** The page of the benchmarks: every bar at a glance, then each benchmark with its figures, curves and tables. One HTML file. */
import { CURVE_STYLE, drawCurve } from '../../reports/curve.js';
import { escape, numbersTable, renderPage, section, table, tile } from '../../reports/page.js';
import { formatBound, formatFigure, formatValue } from '../harness/format.js';
import type { BenchmarkResult, Curve, Figure, Table } from '../harness/result.js';
import {
  type Bar,
  barsOf,
  describeAxis,
  describeBar,
  describeHost,
  describeRun,
  describeRuns,
  describeWorkload,
  formatCell,
  formatShort,
  verdictOf,
} from './summary.js';

/** The board ends at so many times what must be reached; more is told in words. */
const SHARE_SHOWN_MAX = 2;
/** A figure that is smaller than this share of the largest of its unit has a scale of its own: it would not be seen. */
const SCALE_SHARE_MIN = 0.02;

const STYLE = `
.board,.figures{display:grid;gap:2px 14px;align-items:center;font-size:13.5px}
.board{grid-template-columns:minmax(160px,30%) minmax(90px,1fr) minmax(150px,31%)}
.track{position:relative;height:14px;background:var(--bg);border-radius:4px}
.track b{position:absolute;left:0;top:0;bottom:0;border-radius:4px;background:var(--k);opacity:.85}
.track b.over{border-radius:4px 0 0 4px;mask-image:linear-gradient(90deg,#000 80%,transparent)}
.need{position:absolute;top:-4px;bottom:-4px;width:2px;margin-left:-1px;background:var(--ink)}
.ok{--k:var(--good)}.no{--k:var(--bad)}.rival{--k:var(--soft)}
.word{font-weight:600;color:var(--k)}
.figures{grid-template-columns:minmax(150px,28%) minmax(120px,1fr) minmax(170px,25%);margin-top:12px;padding-top:10px;border-top:1px solid var(--faint)}
.figures .track{height:18px}.figures .track.small{height:8px}
.figures .soft,.board .soft{color:var(--soft)}.figures h3{grid-column:1/-1;display:flex;flex-wrap:wrap;gap:2px 14px;justify-content:space-between}
.figures .note{grid-column:1/-1}
.run{position:absolute;top:50%;width:7px;height:7px;margin:-3.5px 0 0 -3.5px;border-radius:50%;background:var(--card);border:1.5px solid var(--ink)}
.range{position:absolute;top:50%;height:2px;margin-top:-1px;background:var(--ink)}
.meta{color:var(--soft);font-size:12.5px;overflow-wrap:anywhere}.meta code,h2 code{font:12px ui-monospace,SFMono-Regular,Menlo,monospace}
h2.name{display:flex;flex-wrap:wrap;gap:2px 14px;justify-content:space-between}
.tables{margin-top:14px}.tables .numbers{width:auto;min-width:min(100%,460px)}
@media(max-width:620px){.board,.figures{grid-template-columns:minmax(0,1fr)}.board>.track{margin-bottom:2px}.board>:nth-child(3n){margin-bottom:8px}}
`;

function percent(value: number, of: number): string {
  return `${Number(Math.max(0, Math.min(100, (100 * value) / of)).toFixed(2))}%`;
}

function word({ reach }: Figure): string {
  return reach?.isReached === true ? 'reached' : 'not reached';
}

function look({ reach }: Figure): string {
  return reach === null ? 'c1' : reach.isReached ? 'ok' : 'no';
}

function boardRow(bar: Bar): string {
  const { benchmark, figure, share } = bar;
  const over = share > SHARE_SHOWN_MAX ? ' class="over"' : '';
  return `<span><a href="#${escape(benchmark)}">${escape(benchmark)}</a> <span class="soft">${escape(figure.name)}</span></span>
<div class="track ${look(figure)}" role="img" aria-label="${escape(`${formatValue(share)} times what must be reached`)}"><b${over} style="width:${percent(share, SHARE_SHOWN_MAX)}"></b><i class="need" style="left:${percent(1, SHARE_SHOWN_MAX)}"></i></div>
<span class="${look(figure)}"><span class="word">${word(figure)}</span> <span class="soft">${escape(describeBar(bar))}</span></span>`;
}

function board(bars: readonly Bar[]): string {
  const rows = `<div class="board">${bars.map(boardRow).join('')}</div>`;
  const note =
    '<p class="note">Each bar ends at what was measured; the line in the middle is what must be reached.</p>';
  return section('What must be reached', rows + note);
}

/** What must be measured for the bar to be reached, in the figure's unit; undefined if that cannot be told. */
function needed({ reach, against, unit, better }: Figure): number | undefined {
  if (reach === null) return undefined;
  if (reach.of === 'figure') return reach.bound;
  if (against === null || against.unit !== unit) return undefined;
  return better === 'higher' ? against.figure * reach.bound : against.figure / reach.bound;
}

function largest(figure: Figure): number {
  return Math.max(...figure.runs, figure.against?.figure ?? 0, needed(figure) ?? 0);
}

/** Where the axis of a figure ends: figures of one unit share it, so that they can be compared. */
function scaleOf(figure: Figure, all: readonly Figure[]): number {
  const own = largest(figure);
  const shared = Math.max(...all.filter(({ unit }) => unit === figure.unit).map(largest));
  return (own < SCALE_SHARE_MIN * shared ? own : shared) || 1;
}

function ownTrack(figure: Figure, scale: number): string {
  const low = Math.min(...figure.runs);
  const width = percent(figure.spread, scale);
  const dots = figure.runs
    .map(
      (run, n) => `<i class="run" style="left:${percent(run, scale)}" title="run ${n + 1}: ${formatValue(run)}"></i>`,
    )
    .join('');
  const need = needed(figure);
  const line =
    need === undefined ? '' : `<i class="need" style="left:${percent(need, scale)}" title="must be reached"></i>`;
  return `<div class="track ${look(figure)}" role="img" aria-label="${escape(`${figure.name}: ${formatFigure(figure)}`)}"><b style="width:${percent(figure.figure, scale)}"></b><i class="range" style="left:${percent(low, scale)};width:${width}"></i>${dots}${line}</div>`;
}

function drawFigure(figure: Figure, n: number, all: readonly Figure[]): string {
  const { name, against, ratio, reach, better, hash } = figure;
  // Several figures may have one note: it is read once.
  const note = figure.note === all[n - 1]?.note ? undefined : figure.note;
  const scale = scaleOf(figure, all);
  const bar =
    reach === null
      ? ''
      : `<span class="${look(figure)}"><span class="word">${word(figure)}</span> <span class="soft">${escape(formatBound(figure))}</span></span>`;
  const times = ratio === null ? '' : ` · ratio ${formatValue(ratio)}`;
  const rival =
    against === null
      ? ''
      : `<span class="soft">${escape(against.name)}</span><div class="track small rival" role="img" aria-label="${escape(`${against.name}: ${formatFigure(against)}`)}"><b style="width:${percent(against.figure, scale)}"></b></div><span class="soft">${escape(formatFigure(against))}</span>`;
  return `<div class="figures"><h3><span>${escape(name)}</span>${bar}</h3>
<span class="soft">measured, ${better} is better</span>${ownTrack(figure, scale)}<span><strong>${escape(formatFigure(figure))}</strong>${times}</span>
${rival}<p class="note">${escape(describeRuns(figure))} · hash ${escape(hash)}${note === undefined ? '' : `<br>${escape(note)}`}</p></div>`;
}

function drawTable({ name, columns, rows }: Table): string {
  const cells = rows.map((row) => row.map(formatCell));
  return `<div class="tables"><h3>${escape(name)}</h3>${numbersTable(columns, cells)}</div>`;
}

function curves(all: readonly Curve[]): string {
  const drawn = all.map(({ name, x, y, series }) => {
    const chart = drawCurve({
      title: name,
      x: { name: describeAxis(x), isLogarithmic: x.isLogarithmic },
      y: { name: describeAxis(y) },
      lines: series,
      format: formatShort,
    });
    return `<figure class="card">${chart}</figure>`;
  });
  return drawn.length === 0 ? '' : `<div class="grid2 tables">${drawn.join('')}</div>`;
}

function drawBenchmark(result: BenchmarkResult): string {
  const { name, about, command, figures, tables } = result;
  return `<section class="card wide" id="${escape(name)}" style="margin-bottom:16px"><h2 class="name"><span>${escape(name)}</span><code>${escape(command)}</code></h2>
<p class="meta">${escape(about)}</p>${figures.map(drawFigure).join('')}${tables.map(drawTable).join('')}${curves(result.curves)}
<p class="meta">${escape(describeRun(result))} Workload: ${escape(describeWorkload(result))}.</p></section>`;
}

function machines(results: readonly BenchmarkResult[]): string {
  const hosts = [...new Set(results.map(describeHost))];
  const days = results.map(({ measured }) => measured.slice(0, 10)).toSorted();
  const runs = Math.min(...results.map(({ figures }) => Math.min(...figures.map((figure) => figure.runs.length))));
  return table([
    ['machine', hosts.join('; ')],
    ['measured', days[0] === days.at(-1) ? days[0]! : `${days[0]} to ${days.at(-1)}`],
    ['runs', `at least ${runs} of each figure; what is shown is their median, each dot is one of them`],
    ['comparison', 'in the same run, in turns: the ratio is the median of the runs’ ratios'],
    ['hash', 'of what was done: a change of it is a change of the work'],
  ]);
}

/** Of each benchmark its headline. */
function tiles(results: readonly BenchmarkResult[]): string {
  return `<div class="tiles">${results
    .map((result) =>
      tile(
        result.name,
        formatShort(result.figure),
        `${result.unit}: ${result.figures[0]!.name}`,
        result.reach?.isReached === false,
      ),
    )
    .join('')}</div>`;
}

/** At least one result. */
export function renderBenchmarks(results: readonly BenchmarkResult[]): string {
  const bars = barsOf(results);
  return renderPage({
    title: 'Dunlin benchmarks',
    kicker: 'Dunlin, measured against its limits and its rivals',
    verdict: verdictOf(bars),
    isGood: bars.every(({ figure }) => figure.reach?.isReached === true),
    body: `${tiles(results)}${board(bars)}<div style="height:16px"></div>${results.map(drawBenchmark).join('')}${section('How to read this', machines(results))}`,
    style: CURVE_STYLE + STYLE,
  });
}
