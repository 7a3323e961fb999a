/**
 * Charts as HTML and SVG. What is drawn is stretched to the width that there is, on a phone too, and words keep their size:
 * they stand beside the SVG. Everything over time lies in a container made by `overTime`, and has its axis.
 */
import { escape } from './page.js';

/** Lines have a point at most every so often: a chart has no more of them. */
const POINTS_MAX = 400;

/** An axis of time has so much closer ticks than one of values: it is longer. */
const TICKS_SHARE = 0.5;

/** Height of one of several that lie side by side in a row. */
const SLOT_PX = 8;

export interface Line {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** Colour slot of the page: 1 .. 4. */
  readonly colour: number;
  readonly filled?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly note: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  readonly logarithmic?: boolean;
  /** A bound to draw across. */
  readonly bound?: { value: number; label: string };
  /** HTML that lies behind the lines and in front of them: `span` and `mark`. */
  readonly behind?: string;
  readonly before?: string;
}

/** 1, 2 or 5 times a power of ten, so that about four steps reach `max`. */
function niceStep(max: number): number {
  const rough = max / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = rough / power;
  return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power;
}

/** Values to per cent of the height, from the top. */
export interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

export function linearScale(max: number): Scale {
  const step = niceStep(max > 0 ? max : 1);
  const top = Math.max(step, Math.ceil(max / step - 1e-9) * step);
  const ticks: number[] = [];
  for (let tick = 0; tick <= top * 1.0001; tick += step) ticks.push(tick);
  return { ticks, at: (value) => 100 * (1 - value / top) };
}

function logScale(min: number, max: number): Scale {
  const low = Math.floor(Math.log10(Math.max(min, 0.01)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(max, 0.02))));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
  const at = (value: number): number => {
    const share = (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    return 100 * (1 - Math.min(1, share));
  };
  return { ticks, at };
}

export function fixed(value: number): string {
  return String(Number(value.toFixed(3)));
}

/** Path through the points; a null lifts the pen, and a point that stands alone is a dot. */
function pathOf(values: readonly (number | null)[], seconds: readonly number[], scale: Scale): string {
  let path = '';
  let isDown = false;
  values.forEach((value, i) => {
    if (value === null) {
      isDown = false;
      return;
    }
    path += `${isDown ? 'L' : 'M'}${fixed(seconds[i]!)} ${fixed(scale.at(value))}`;
    if (!isDown && (values[i + 1] ?? null) === null) path += 'h0';
    isDown = true;
  });
  return path;
}

function drawLine(line: Line, seconds: readonly number[], scale: Scale): string {
  const path = pathOf(line.values, seconds, scale);
  const isWhole = path !== '' && !line.values.includes(null);
  const area =
    line.filled && isWhole
      ? `<path class="fill c${line.colour}" d="${path}L${fixed(seconds.at(-1)!)} 100L${fixed(seconds[0]!)} 100Z"/>`
      : '';
  return `${area}<path class="line c${line.colour}" d="${path}"/>`;
}

/** An axis: its ticks. The page's script writes them anew when somebody looks closer. */
export function timeTicks(seconds: number): string {
  const step = niceStep(Math.max(seconds, 0.001) * TICKS_SHARE);
  let ticks = '';
  for (let at = 0; at <= seconds * 1.0001; at += step) {
    const look = at === 0 ? ' class="first"' : at > seconds * 0.96 ? ' class="last"' : '';
    ticks += `<span${look} style="--a:${fixed(at)}">${fixed(at)} s</span>`;
  }
  return `<div class="xs" aria-hidden="true">${ticks}</div>`;
}

/** All charts and rows in it have one axis, from 0 to `seconds`, and one zoom. */
export function overTime(seconds: number, html: string): string {
  return `<div class="times" style="--from:0;--span:${fixed(Math.max(seconds, 0.001))}" data-seconds="${fixed(Math.max(seconds, 0.001))}">${html}</div>`;
}

/** The chart without a frame; `seconds` are the times of the values, `end` the end of the axis. */
export function drawChart(chart: Chart, seconds: readonly number[], end: number): string {
  const { title, note, lines, format, bound, behind = '', before = '' } = chart;
  const values = lines.flatMap((line) => line.values.filter((value): value is number => value !== null));
  const max = values.reduce((most, value) => Math.max(most, value), bound?.value ?? 0);
  const least = values.reduce((low, value) => (value > 0 ? Math.min(low, value) : low), max);
  const scale = chart.logarithmic ? logScale(least, max) : linearScale(max);
  const width = fixed(Math.max(end, 0.001));
  const labels = scale.ticks
    .map((tick) => `<span style="top:${fixed(scale.at(tick))}%">${escape(format(tick))}</span>`)
    .join('');
  const grid = scale.ticks.map((tick) => `<path class="grid" d="M0 ${fixed(scale.at(tick))}H${width}"/>`).join('');
  const boundLine = bound ? `<path class="bound" d="M0 ${fixed(scale.at(bound.value))}H${width}"/>` : '';
  const boundText = bound
    ? `<span class="boundtext" style="top:${fixed(scale.at(bound.value))}%">${escape(bound.label)}</span>`
    : '';
  const legend = lines.map((line) => `<span class="key c${line.colour}">${escape(line.name)}</span>`).join('');
  const data = JSON.stringify({
    seconds: seconds.map((second) => Number(fixed(second))),
    lines: lines.map((line) => ({
      name: line.name,
      text: line.values.map((value) => (value === null ? '–' : format(value))),
    })),
  }).replaceAll('<', '\\u003c');
  return `<figcaption><h3>${escape(title)}</h3><div class="legend">${legend}</div></figcaption>
<div class="plot"><div class="ys" aria-hidden="true">${labels}</div><div class="area chart" role="img" aria-label="${escape(title)}">${behind}<svg viewBox="0 0 ${width} 100" preserveAspectRatio="none">${grid}${boundLine}${lines.map((line) => drawLine(line, seconds, scale)).join('')}</svg>${boundText}${before}<i class="cross"></i></div>${timeTicks(end)}<script type="application/json">${data}</script></div>
<p class="note">${escape(note)}</p>`;
}

export interface SpanLook {
  /** Classes of the page's style: `c1` .. `c4`, and what sort of thing it is. */
  readonly look: string;
  readonly title: string;
  readonly text?: string;
  /** The row is divided, so that what overlaps lies side by side. */
  readonly slot?: { readonly index: number; readonly count: number };
}

/** Something that lasts, on an axis of time, in seconds. */
export function span(from: number, to: number, { look, title, text = '', slot }: SpanLook): string {
  const named = title === '' ? '' : ` title="${escape(title)}"`;
  const part = slot === undefined ? '' : `;--i:${slot.index};--n:${slot.count}`;
  return `<b class="span ${look}" style="--a:${fixed(from)};--b:${fixed(to)}${part}"${named}>${escape(text)}</b>`;
}

/** A moment. */
export function mark(at: number, { look, title }: Pick<SpanLook, 'look' | 'title'>): string {
  const named = title === '' ? '' : ` title="${escape(title)}"`;
  return `<b class="mark ${look}" style="--a:${fixed(at)}"${named}></b>`;
}

/** A row of spans and marks with its name; `slots`: as many lie side by side in it. */
export function drawRow(name: string, label: string, html: string, slots = 1): string {
  const height = slots > 2 ? ` style="--rowh:${slots * SLOT_PX}px"` : '';
  return `<div class="row"${height}><span class="name">${escape(name)}</span><div class="area" role="img" aria-label="${escape(label)}">${html}<i class="cross"></i></div></div>`;
}

/** Long runs are thinned: each point is the mean, or the worst, of `every` values. */
export function everyNth(points: number): number {
  return Math.max(1, Math.ceil(points / POINTS_MAX));
}

export function thin(
  values: readonly (number | null)[],
  every: number,
  pick: (numbers: number[]) => number,
): (number | null)[] {
  if (every === 1) return [...values];
  const thinned: (number | null)[] = [];
  for (let at = 0; at < values.length; at += every) {
    const numbers = values.slice(at, at + every).filter((value): value is number => value !== null);
    thinned.push(numbers.length === 0 ? null : pick(numbers));
  }
  return thinned;
}

export interface Bar {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** A distribution: bars from the lowest value to the highest, with titles. */
export function drawBars(
  title: string,
  note: string,
  bars: readonly Bar[],
  format: (value: number) => string,
  formatCount: (count: number) => string,
): string {
  if (bars.length === 0) return '';
  const max = Math.max(...bars.map(({ count }) => count));
  const total = bars.reduce((sum, { count }) => sum + count, 0);
  const drawn = bars
    .map(({ from, to, count }) => {
      const share = `${Number(((100 * count) / total).toFixed(1))}%`;
      const words = `${format(from)} – ${format(to)}: ${formatCount(count)} (${share})`;
      return `<i style="--h:${fixed((100 * count) / max)}" title="${escape(words)}"></i>`;
    })
    .join('');
  const every = Math.ceil(bars.length / 8);
  const labels = bars
    .flatMap(({ from }, i) =>
      i % every === 0 ? [`<span style="left:${fixed((100 * i) / bars.length)}%">${escape(format(from))}</span>`] : [],
    )
    .join('');
  return `<figcaption><h3>${escape(title)}</h3></figcaption>
<div class="bars" role="img" aria-label="${escape(title)}">${drawn}</div><div class="barlabels" aria-hidden="true">${labels}</div>
<p class="note">${escape(note)}</p>`;
}
