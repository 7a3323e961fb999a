/** Charts of one quantity over another that is no time. Words stand beside the SVG, as in chart.ts; values are shown as a table, too. */
import { fixed, linearScale } from './chart.js';
import { details, escape, numbersTable } from './page.js';

/** Two ticks of the x axis are at least so far apart, as a share of it. */
const TICK_SHARE_MIN = 0.1;
/** More points than this are a line without dots. */
const DOTS_MAX = 40;
/** Room beside the first and the last point of a logarithmic axis, as a share of it. */
const MARGIN = 0.03;
const COLOURS = 4;

export interface CurveLine {
  readonly name: string;
  /** In the order of x. */
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface CurveChart {
  readonly title: string;
  readonly x: { readonly name: string; readonly isLogarithmic: boolean };
  readonly y: { readonly name: string };
  readonly lines: readonly CurveLine[];
  readonly format: (value: number) => string;
}

/** The distinct values of x, rising. */
export function valuesOfX(lines: readonly CurveLine[]): number[] {
  const values = new Set(lines.flatMap(({ points }) => points.map(([x]) => x)));
  return [...values].toSorted((one, other) => one - other);
}

/** From a value to 0 .. 1. What has no logarithm stands at the left. */
function axis(values: readonly number[], isLogarithmic: boolean): (x: number) => number {
  const last = values.at(-1) ?? 1;
  const first = values.find((value) => value > 0) ?? 1;
  if (!isLogarithmic || first === last) {
    const from = Math.min(0, values[0] ?? 0);
    return (x) => (x - from) / (last - from || 1);
  }
  const [low, high] = [Math.log10(first), Math.log10(last)];
  return (x) => MARGIN + (1 - 2 * MARGIN) * ((Math.log10(Math.max(x, first)) - low) / (high - low));
}

/** The first and the last value, and between them what has room. */
function ticks(values: readonly number[], place: (x: number) => number, format: (value: number) => string): string {
  const last = place(values.at(-1) ?? 0);
  let before = Number.NEGATIVE_INFINITY;
  const shown = values.filter((value) => {
    const at = place(value);
    if (at < last && (at - before < TICK_SHARE_MIN || last - at < TICK_SHARE_MIN)) return false;
    before = at;
    return true;
  });
  return shown.map((value) => `<span style="--a:${fixed(place(value))}">${escape(format(value))}</span>`).join('');
}

/** Every line with its values of x: a row an x. */
function tableOf({ x, lines, format }: CurveChart): string {
  const rows = valuesOfX(lines).map((value) => [
    format(value),
    ...lines.map(({ points }) => {
      const point = points.find(([at]) => at === value);
      return point === undefined ? '–' : format(point[1]);
    }),
  ]);
  return numbersTable([x.name, ...lines.map(({ name }) => name)], rows);
}

export function drawCurve(chart: CurveChart): string {
  const { title, x, y, lines, format } = chart;
  const values = valuesOfX(lines);
  const place = axis(values, x.isLogarithmic);
  const highest = Math.max(0, ...lines.flatMap(({ points }) => points.map(([, value]) => value)));
  const scale = linearScale(highest);
  const look = (n: number): string => `c${(n % COLOURS) + 1}${n >= COLOURS ? ' dashed' : ''}`;
  const legend = lines.map(({ name }, n) => `<span class="key ${look(n)}">${escape(name)}</span>`).join('');
  const labels = scale.ticks
    .map((tick) => `<span style="top:${fixed(scale.at(tick))}%">${escape(format(tick))}</span>`)
    .join('');
  const grid = scale.ticks.map((tick) => `<path class="grid" d="M0 ${fixed(scale.at(tick))}H100"/>`).join('');
  const drawn = lines.map(({ points }, n) => {
    const path = points.map(([at, value]) => `${fixed(100 * place(at))} ${fixed(scale.at(value))}`).join('L');
    return points.length > 1 ? `<path class="line ${look(n)}" d="M${path}"/>` : '';
  });
  const dots = lines.flatMap(({ name, points }, n) => {
    if (points.length > DOTS_MAX) return [];
    return points.map(([at, value]) => {
      const words = `${name}: ${format(value)} at ${format(at)}`;
      return `<i class="dot ${look(n)}" style="left:${fixed(100 * place(at))}%;top:${fixed(scale.at(value))}%" title="${escape(words)}"></i>`;
    });
  });
  return `<figcaption><h3>${escape(title)}</h3><div class="legend">${legend}</div></figcaption>
<div class="plot curve"><div class="ys" aria-hidden="true">${labels}</div><div class="area chart" role="img" aria-label="${escape(title)}"><svg viewBox="0 0 100 100" preserveAspectRatio="none">${grid}${drawn.join('')}</svg>${dots.join('')}</div><div class="xs" aria-hidden="true">${ticks(values, place, format)}</div></div>
<p class="note">${escape(y.name)}, by ${escape(x.name)}${x.isLogarithmic ? ' (logarithmic)' : ''}.</p>
${details('as numbers', tableOf(chart))}`;
}

/** Belongs to a page that has curves. */
export const CURVE_STYLE = `
.curve{--from:0;--span:1;--gutter:58px}.plot.curve .area,.plot.curve .xs{overflow:visible}.plot.curve .area{cursor:default}
.dot{position:absolute;width:9px;height:9px;margin:-4.5px 0 0 -4.5px;border-radius:50%;background:var(--k);border:1.5px solid var(--card)}
.line.dashed{stroke-dasharray:6 4}
`;
