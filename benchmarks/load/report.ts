/**
 * The report: one HTML file that needs nothing else. Charts are SVG drawn here; a few lines of script show the values under
 * the pointer. Light and dark follow the reader's system.
 */

import { REPORT_SCRIPT, REPORT_STYLE } from './report-page.js';
import type { LoadResult, Series, ShownViolation } from './result.js';
import { formatCount, formatMs, formatShare, formatSpan } from './units.js';

const WIDTH = 560;
const HEIGHT = 210;
const LEFT = 54;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 26;

interface Line {
  readonly name: string;
  readonly values: readonly (number | null)[];
  /** Colour slot of the page: 1 .. 4. */
  readonly colour: number;
  readonly filled?: boolean;
}

interface Chart {
  readonly title: string;
  readonly note: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  readonly logarithmic?: boolean;
  /** A bound to draw across. */
  readonly bound?: { value: number; label: string };
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** 1, 2 or 5 times a power of ten, so that about four steps reach `max`. */
function niceStep(max: number): number {
  const rough = max / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = rough / power;
  return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power;
}

interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

function linearScale(max: number): Scale {
  const step = niceStep(max > 0 ? max : 1);
  const top = Math.max(step, Math.ceil(max / step - 1e-9) * step);
  const ticks: number[] = [];
  for (let tick = 0; tick <= top * 1.0001; tick += step) ticks.push(tick);
  return { ticks, at: (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top) };
}

function logScale(min: number, max: number): Scale {
  const low = Math.floor(Math.log10(Math.max(min, 0.01)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(max, 0.02))));
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
  const at = (value: number): number => {
    const share = (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(1, share));
  };
  return { ticks, at };
}

/** Path through the points; a null lifts the pen. */
function pathOf(values: readonly (number | null)[], x: (i: number) => number, scale: Scale): string {
  let path = '';
  let down = false;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value === null || value === undefined) {
      down = false;
      continue;
    }
    path += `${down ? 'L' : 'M'}${x(i).toFixed(1)} ${scale.at(value).toFixed(1)}`;
    down = true;
  }
  return path;
}

function drawLine(line: Line, x: (i: number) => number, scale: Scale): string {
  const path = pathOf(line.values, x, scale);
  const base = HEIGHT - BOTTOM;
  const area =
    line.filled && path !== '' && !line.values.includes(null)
      ? `<path class="area c${line.colour}" d="${path}L${x(line.values.length - 1).toFixed(1)} ${base}L${x(0).toFixed(1)} ${base}Z"/>`
      : '';
  const dot =
    line.values.length === 1
      ? `<circle class="dot c${line.colour}" cx="${x(0)}" cy="${scale.at(line.values[0] ?? 0)}" r="3"/>`
      : '';
  return `${area}<path class="line c${line.colour}" d="${path}"/>${dot}`;
}

function timeTicks(seconds: readonly number[]): string {
  const last = seconds.at(-1) ?? 0;
  const step = Math.max(1, niceStep(last * 0.6));
  let marks = '';
  for (let second = 0; second <= last; second += step) {
    const x = LEFT + ((WIDTH - LEFT - RIGHT) * second) / Math.max(1, last);
    marks += `<text class="tick" x="${x.toFixed(1)}" y="${HEIGHT - 8}" text-anchor="middle">${formatSeconds(second)}</text>`;
  }
  return marks;
}

function formatSeconds(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 6) / 10} min`;
}

function drawChart(chart: Chart, seconds: readonly number[]): string {
  const values = chart.lines.flatMap((line) => line.values.filter((value): value is number => value !== null));
  const bound = chart.bound ? [chart.bound.value] : [];
  const max = Math.max(0, ...values, ...bound);
  const positive = values.filter((value) => value > 0);
  const scale = chart.logarithmic ? logScale(Math.min(max, ...positive), max) : linearScale(max);
  const span = Math.max(1, seconds.at(-1) ?? 1);
  const x = (i: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * seconds[i]!) / span;
  const grid = scale.ticks
    .map((tick) => {
      const y = scale.at(tick).toFixed(1);
      return `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}"/><text class="tick" x="${LEFT - 8}" y="${y}" dy="0.32em" text-anchor="end">${escape(chart.format(tick))}</text>`;
    })
    .join('');
  const boundLine = chart.bound
    ? `<line class="bound" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${scale.at(chart.bound.value)}" y2="${scale.at(chart.bound.value)}"/><text class="boundtext" x="${WIDTH - RIGHT}" y="${scale.at(chart.bound.value) - 5}" text-anchor="end">${escape(chart.bound.label)}</text>`
    : '';
  const legend = chart.lines.map((line) => `<span class="key c${line.colour}">${escape(line.name)}</span>`).join('');
  const data = JSON.stringify({
    left: LEFT,
    right: WIDTH - RIGHT,
    width: WIDTH,
    seconds,
    lines: chart.lines.map((line) => ({
      name: line.name,
      colour: line.colour,
      text: line.values.map((value) => (value === null ? '–' : chart.format(value))),
    })),
  }).replaceAll('<', '\\u003c');
  return `<figure class="card"><figcaption><h3>${escape(chart.title)}</h3><div class="legend">${legend}</div></figcaption>
<div class="plot"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(chart.title)}">${grid}${timeTicks(seconds)}${boundLine}${chart.lines.map((line) => drawLine(line, x, scale)).join('')}<line class="cross" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/></svg><div class="tip"></div><script type="application/json">${data}</script></div>
<p class="note">${escape(chart.note)}</p></figure>`;
}

/** Long runs are thinned, so that a chart has at most this many points; each is the mean, or the worst, of its seconds. */
const POINTS_MAX = 400;

function thin(
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

const mean = (numbers: number[]): number => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const worst = (numbers: number[]): number => Math.max(...numbers);

function formatRate(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toFixed(2))} M`;
  if (value >= 10_000) return `${Number((value / 1e3).toFixed(1))} k`;
  return formatCount(value);
}

function charts(result: LoadResult): string {
  const series: Series = result.series;
  const every = Math.max(1, Math.ceil(series.seconds.length / POINTS_MAX));
  const seconds = series.seconds.filter((_, i) => i % every === 0);
  const bound = result.find_max
    ? { value: result.find_max.p99_ms, label: `p99 bound ${formatMs(result.find_max.p99_ms)}` }
    : undefined;
  const all: Chart[] = [
    {
      title: 'Rates',
      note: 'Messages sent and deliveries seen, in each second.',
      format: formatRate,
      lines: [
        { name: 'sent/s', values: thin(series.sent_per_s, every, mean), colour: 1 },
        { name: 'delivered/s', values: thin(series.delivered_per_s, every, mean), colour: 2, filled: true },
      ],
    },
    {
      title: 'Delivery latency',
      note: 'From the intended time of sending to each receiving device, of the deliveries seen in each second.',
      format: formatMs,
      logarithmic: true,
      ...(bound ? { bound } : {}),
      lines: [
        { name: 'p50', values: thin(series.p50_ms, every, worst), colour: 2 },
        { name: 'p95', values: thin(series.p95_ms, every, worst), colour: 3 },
        { name: 'p99', values: thin(series.p99_ms, every, worst), colour: 4 },
      ],
    },
    {
      title: 'Backlog',
      note: 'Deliveries expected and not yet seen, at the end of each second.',
      format: formatRate,
      lines: [{ name: 'deliveries', values: thin(series.backlog, every, worst), colour: 3, filled: true }],
    },
    {
      title: 'Connections',
      note: 'Devices whose session stands.',
      format: formatRate,
      lines: [{ name: 'connected', values: thin(series.connections, every, mean), colour: 1, filled: true }],
    },
    {
      title: 'The generator: schedule lag',
      note: 'How late the generator itself sent, at worst. Above 50 ms it is the bottleneck, not the server.',
      format: formatMs,
      lines: [{ name: 'lag', values: thin(series.generator_lag_ms, every, worst), colour: 4, filled: true }],
    },
    {
      title: 'The generator: processor',
      note: 'Share of one core, of its busiest process. Above 85% it is the bottleneck.',
      format: formatShare,
      lines: [{ name: 'busiest process', values: thin(series.generator_cpu, every, worst), colour: 1, filled: true }],
    },
  ];
  return all.map((chart) => drawChart(chart, seconds)).join('\n');
}

function distribution(result: LoadResult): string {
  const bars = result.distribution;
  if (bars.length === 0) return '';
  const max = Math.max(...bars.map((bar) => bar.count));
  const total = bars.reduce((sum, bar) => sum + bar.count, 0);
  const width = (2 * WIDTH + 28 - LEFT - RIGHT) / bars.length;
  const base = HEIGHT - BOTTOM;
  const drawn = bars
    .map((bar, i) => {
      const height = ((base - TOP) * bar.count) / max;
      const x = LEFT + i * width;
      const title = `${formatMs(bar.fromMs)} – ${formatMs(bar.toMs)}: ${formatCount(bar.count)} (${formatShare(bar.count / total)})`;
      return `<rect class="bar" x="${(x + 0.5).toFixed(1)}" y="${(base - height).toFixed(1)}" width="${Math.max(1, width - 1).toFixed(1)}" height="${height.toFixed(1)}"><title>${escape(title)}</title></rect>`;
    })
    .join('');
  const labels = bars
    .map((bar, i) => ({ bar, i }))
    .filter(({ i }) => i % Math.ceil(bars.length / 12) === 0)
    .map(
      ({ bar, i }) =>
        `<text class="tick" x="${(LEFT + i * width).toFixed(1)}" y="${HEIGHT - 8}">${escape(formatMs(bar.fromMs))}</text>`,
    )
    .join('');
  const full = 2 * WIDTH + 28;
  return `<figure class="card wide"><figcaption><h3>How the latency is distributed</h3></figcaption>
<svg viewBox="0 0 ${full} ${HEIGHT}" role="img" aria-label="latency distribution"><line class="grid" x1="${LEFT}" x2="${full - RIGHT}" y1="${base}" y2="${base}"/>${drawn}${labels}</svg>
<p class="note">Every delivery of the run, on a logarithmic axis.</p></figure>`;
}

function tile(label: string, value: string, detail: string, bad = false): string {
  return `<div class="tile${bad ? ' bad' : ''}"><div class="label">${escape(label)}</div><div class="value">${escape(value)}</div><div class="detail">${escape(detail)}</div></div>`;
}

function tiles(result: LoadResult): string {
  const latency = result.latency_ms;
  const wrong = result.lost + result.duplicated + result.out_of_order + result.gaps + result.invented;
  return [
    tile('sent', formatCount(result.sent), `${formatRate(result.rates.sent)} a second`),
    tile('delivered', formatCount(result.delivered), `${formatRate(result.rates.delivered)} a second`),
    tile('p50', latency ? formatMs(latency.p50) : '–', 'delivery'),
    tile('p99', latency ? formatMs(latency.p99) : '–', latency ? `max ${formatMs(latency.max)}` : 'nothing measured'),
    tile('lost', formatCount(result.lost), 'of what was acknowledged', result.lost > 0),
    tile('doubled', formatCount(result.duplicated), 'seen twice', result.duplicated > 0),
    tile(
      'out of order',
      formatCount(result.out_of_order),
      `gaps: ${formatCount(result.gaps)}`,
      result.out_of_order + result.gaps > 0,
    ),
    tile(
      'verdict',
      result.ok ? 'clean' : 'violated',
      result.ok ? 'G1 – G8, every message' : `${formatCount(wrong)} wrong`,
      !result.ok,
    ),
  ].join('');
}

function latencyRows(result: LoadResult): string {
  const rows: [string, LoadResult['latency_ms']][] = [
    ['delivery', result.latency_ms],
    ['delivery, in the warm-up', result.latency_warm_up_ms],
    ['delivery, without outages', result.latency_steady_ms],
    ['acknowledged (SENT)', result.ack_ms],
    ['caught up after a cut', result.latency_resumed_ms],
  ];
  return rows
    .filter(([, latency]) => latency !== null)
    .map(([name, latency]) => {
      const cells = [latency!.p50, latency!.p95, latency!.p99, latency!.p999, latency!.max].map(
        (ms) => `<td>${formatMs(ms)}</td>`,
      );
      return `<tr><th>${escape(name)}</th>${cells.join('')}<td>${formatCount(latency!.count)}</td></tr>`;
    })
    .join('');
}

function facts(result: LoadResult): [string, string][] {
  const rejected = Object.entries(result.rejected).map(([name, count]) => `${name} ${formatCount(count)}`);
  const cut = result.cut_off_ms;
  const rows: [string, string][] = [
    ['acknowledged', formatCount(result.acked)],
    [
      'to groups',
      `${formatCount(result.group_messages)} messages, ${formatCount(result.group_changes)} changes of members`,
    ],
    ['receipts seen, reads sent', `${formatCount(result.receipts)}, ${formatCount(result.reads)}`],
    ['rejected', rejected.length === 0 ? 'none' : rejected.join(', ')],
    [
      'reconnects',
      `${formatCount(result.reconnects.planned)} planned, ${formatCount(result.reconnects.unplanned)} by the server`,
    ],
    [
      'cut off',
      cut
        ? `${formatCount(cut.cuts)} connections, median ${formatMs(cut.median)}, longest ${formatMs(cut.max)}`
        : 'never',
    ],
    [
      'users, devices',
      `${formatCount(result.connections.users)}, ${formatCount(result.connections.devices)} (${formatCount(result.connections.online_devices)} online)`,
    ],
    [
      'conversations',
      `${formatCount(result.conversations.groups)} groups, ${formatCount(result.conversations.directs)} direct`,
    ],
    [
      'generator',
      `${result.generator.processes} process(es), ${formatShare(result.generator.cpu)} of a core at most, ${formatMs(result.generator.lag_ms)} late at most`,
    ],
    ['time', `${formatSpan(result.duration_s * 1_000)} sending, ${formatSpan(result.drain_s * 1_000)} draining`],
    [
      'machine',
      `${result.machine.cpu}, ${result.machine.cores} cores, ${result.machine.memory_gib} GiB, Node ${result.machine.node}, ${result.machine.platform}`,
    ],
    ['server, seed, run', `${result.url}, ${result.seed}, ${result.run}`],
    ['started', result.started],
  ];
  if (result.trace) {
    const trace = result.trace;
    rows.unshift([
      'trace',
      `${trace.file}: ${formatCount(trace.messages)} messages, ${formatCount(trace.joins)} joins, ${formatCount(trace.leaves)} leaves; ${formatSpan(trace.span_s * 1_000)} replayed in ${formatSpan(trace.replay_s * 1_000)}, ${formatCount(trace.speed)} times as fast`,
    ]);
  }
  return rows;
}

function table(rows: readonly [string, string][]): string {
  return `<table class="facts">${rows.map(([name, value]) => `<tr><th>${escape(name)}</th><td>${escape(value)}</td></tr>`).join('')}</table>`;
}

function violationSection(violation: ShownViolation | null): string {
  if (!violation) return '';
  const where: [string, string][] = [
    ['device', violation.device === 0 ? '' : `${violation.device}`],
    ['conversation', violation.convB === 0 ? '' : `(${violation.convA}, ${violation.convB})`],
    ['sequence', violation.seq === 0 ? '' : `${violation.seq}`],
    ['counter', violation.counter === 0 ? '' : `${violation.counter}`],
  ];
  const before =
    violation.context.length === 0
      ? ''
      : `<h4>What this device saw there before, oldest first</h4><ol>${violation.context.map((event) => `<li>${escape(event)}</li>`).join('')}</ol>`;
  const frames = violation.frames
    .map(
      (frame) =>
        `<h4>${escape(frame.label)}</h4><p class="fields">${escape(frame.fields)}</p><pre>${escape(frame.hex.replaceAll(/(.{2})/g, '$1 '))}</pre>`,
    )
    .join('');
  return `<section class="card wide violation"><h2>The first violation</h2><p><b>${violation.guarantee}</b>: ${escape(violation.sentence)}</p>${table(where.filter(([, value]) => value !== ''))}${before}${frames}</section>`;
}

function findMaxSection(result: LoadResult): string {
  const found = result.find_max;
  if (!found) return '';
  const rows = found.steps
    .map((step) => {
      const cells = [
        formatCount(step.rate),
        formatCount(step.sent_per_s),
        formatCount(step.delivered_per_s),
        formatMs(step.p50_ms),
        formatMs(step.p95_ms),
        formatMs(step.p99_ms),
        formatCount(step.backlog),
        formatShare(step.generator_cpu),
      ];
      return `<tr class="${step.ok ? 'good' : 'bad'}">${cells.map((cell) => `<td>${cell}</td>`).join('')}<th>${escape(step.reason)}</th></tr>`;
    })
    .join('');
  const head = ['rate', 'sent/s', 'delivered/s', 'p50', 'p95', 'p99', 'backlog', 'generator']
    .map((name) => `<td>${name}</td>`)
    .join('');
  return `<section class="card wide"><h2>Highest rate that holds: ${formatCount(found.rate)} messages a second, p99 ≤ ${formatMs(found.p99_ms)}</h2><table class="numbers"><thead><tr>${head}<th></th></tr></thead><tbody>${rows}</tbody></table></section>`;
}

/** The whole page. */
export function renderReport(result: LoadResult): string {
  const bottleneck = result.generator.bottleneck ? `<p class="warning">${escape(result.generator.sentence)}</p>` : '';
  const workload = Object.entries(result.workload).map(([name, value]): [string, string] => [name, String(value)]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<title>dunlin load: ${result.ok ? 'clean' : 'violation'}</title><style>${REPORT_STYLE}</style></head><body><main>
<header class="${result.ok ? 'good' : 'bad'}"><p class="kicker">dunlin load</p><h1>${escape(result.verdict)}</h1></header>
${bottleneck}
<div class="tiles">${tiles(result)}</div>
<div class="grid2">${violationSection(result.first_violation)}${findMaxSection(result)}
${charts(result)}
${distribution(result)}
<section class="card wide"><h2>Latency</h2><table class="numbers"><thead><tr><th></th><td>p50</td><td>p95</td><td>p99</td><td>p99.9</td><td>max</td><td>count</td></tr></thead><tbody>${latencyRows(result)}</tbody></table></section>
<section class="card"><h2>The run</h2>${table(facts(result))}</section>
<section class="card"><h2>The workload</h2>${table(workload)}</section></div>
</main><script>${REPORT_SCRIPT}</script></body></html>
`;
}
