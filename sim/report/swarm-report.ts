/** The page of a swarm: what was violated, what was reached, how fast it went, and what its worlds were like. */
import { type Bar, type Chart, drawBars, drawChart, overTime } from '../../reports/chart.js';
import { formatCount, formatMs, formatRate, formatShare, formatSpan } from '../../reports/format.js';
import { escape, renderPage, section, tile } from '../../reports/page.js';
import type { LogBins } from '../log-bins.js';
import { MUST_REACH, type SwarmFailure, type SwarmResult } from '../swarm.js';
import { SIM_STYLE } from './style.js';
import type { SwarmRate, SwarmStatistics } from './swarm-statistics.js';

const FAILURES_SHOWN_MAX = 500;

export interface SwarmReport {
  readonly result: SwarmResult;
  readonly statistics: SwarmStatistics;
  /** The first seed, and how many were asked for. */
  readonly from: number;
  readonly count: number;
  /** Runs it again. */
  readonly command: string;
  /** Pages of failed seeds: file names beside this page. */
  readonly pages: ReadonlyMap<number, string>;
}

function verdict({ result, count }: SwarmReport): string {
  const { seeds, failures, messages } = result;
  const asked = seeds === count ? '' : ` (of ${formatCount(count)} asked for)`;
  const all = `${formatCount(seeds)} seeds${asked}`;
  if (failures.length === 0) return `${all} without a violation: ${formatCount(messages)} messages`;
  const guarantees = new Map<string, number>();
  for (const { guarantee } of failures) guarantees.set(guarantee, (guarantees.get(guarantee) ?? 0) + 1);
  const what = [...guarantees].map(([guarantee, n]) => `${guarantee} × ${n}`).join(', ');
  return `${formatCount(failures.length)} of ${all} violated: ${what}`;
}

function tiles({ result, statistics }: SwarmReport): string {
  const { seeds, messages, deliveries, failures, neverReached, marks } = result;
  const wallSeconds = Math.max(0.001, statistics.endMs / 1_000);
  const virtualSeconds = statistics.virtualSeconds.sum;
  return [
    tile('seeds', formatCount(seeds), `${(seeds / wallSeconds).toFixed(1)} a second`),
    tile('messages', formatRate(messages), `${formatRate(messages / wallSeconds)} a wall second`),
    tile('deliveries', formatRate(deliveries), `${formatRate(deliveries / wallSeconds)} a wall second`),
    tile(
      'events',
      formatRate(statistics.events.sum),
      `${formatRate(statistics.events.sum / wallSeconds)} a wall second`,
    ),
    tile(
      'virtual time',
      formatSpan(virtualSeconds * 1_000),
      `${formatRate(virtualSeconds / wallSeconds)} times as fast`,
    ),
    tile('wall time', formatSpan(statistics.endMs), 'all workers together'),
    tile(
      'marks reached',
      formatCount(marks.size),
      neverReached.length === 0 ? 'all that must be' : `${neverReached.length} never that must be`,
      neverReached.length > 0,
    ),
    tile(
      'violated',
      formatCount(failures.length),
      failures.length === 0 ? 'all guarantees hold' : 'seeds',
      failures.length > 0,
    ),
  ].join('');
}

function failureRow({ seed, guarantee, sentence }: SwarmFailure, page: string | undefined): string {
  const [line = ''] = sentence.split('\n');
  const number = page === undefined ? String(seed) : `<a href="${escape(page)}">${seed}</a>`;
  return `<tr><th scope="row">${number}</th><td>${escape(guarantee)}</td><td>${escape(line)}</td><td><code>dunlin sim replay ${seed}</code></td></tr>`;
}

function failuresSection({ result, pages }: SwarmReport): string {
  const { failures } = result;
  if (failures.length === 0) return '';
  const rows = failures.slice(0, FAILURES_SHOWN_MAX).map((failure) => failureRow(failure, pages.get(failure.seed)));
  const left = failures.length - rows.length;
  const more = left > 0 ? `<p class="note">And ${left} more.</p>` : '';
  const linked = pages.size > 0 ? '<p class="note">A seed’s link is the page of its run.</p>' : '';
  return `<section class="card wide violation"><h2>What was violated</h2><div class="scroll"><table class="failures"><thead><tr><th scope="col">seed</th><th scope="col">guarantee</th><th scope="col">what</th><th scope="col">again</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>${more}${linked}</section>`;
}

function charts({ statistics }: SwarmReport): string {
  const { rates, bucketMs, endMs } = statistics;
  const times = rates.map((_, n) => Math.min(endMs, (n + 0.5) * bucketMs) / 1_000);
  // The last bucket is as long as the run left it; a very short one tells nothing.
  const lengths = rates.map((_, n) => Math.max(bucketMs / 2, Math.min(bucketMs, endMs - n * bucketMs)) / 1_000);
  const rate = (of: (rate: SwarmRate) => number): number[] => rates.map((one, n) => of(one) / lengths[n]!);
  let violated = 0;
  const soFar = rates.map((one) => {
    violated += one.violated;
    return violated;
  });
  const all: Chart[] = [
    {
      title: 'Worlds a second',
      note: 'By the wall clock, when each was done; all workers together.',
      format: (value) => (value < 10 ? String(Number(value.toFixed(1))) : formatRate(value)),
      lines: [{ name: 'seeds', values: rate(({ seeds }) => seeds), colour: 2, filled: true }],
    },
    {
      title: 'Messages a second',
      note: 'By the wall clock, in the worlds that were done then.',
      format: formatRate,
      lines: [{ name: 'messages', values: rate(({ messages }) => messages), colour: 1, filled: true }],
    },
    {
      title: 'Virtual time by wall time',
      note: 'Virtual seconds that were simulated in each wall second.',
      format: formatRate,
      lines: [{ name: 'virtual s', values: rate(({ virtualSeconds }) => virtualSeconds), colour: 3, filled: true }],
    },
    {
      title: 'Marks reached so far',
      note: 'While it climbs, more seeds still walk new paths.',
      format: formatRate,
      lines: [{ name: 'marks', values: rates.map(({ marks }) => marks), colour: 4, filled: true }],
    },
  ];
  const violations: Chart = {
    title: 'Seeds violated so far',
    note: 'A steady climb is one bug that is met again and again.',
    format: formatRate,
    lines: [{ name: 'violated', values: soFar, colour: 4, filled: true }],
  };
  const draw = (chart: Chart, look: string): string =>
    `<figure class="${look}">${drawChart(chart, times, endMs / 1_000)}</figure>`;
  const drawn = all.map((chart) => draw(chart, 'card'));
  if (violated > 0) drawn.push(draw(violations, 'card wide'));
  return overTime(endMs / 1_000, `<div class="grid2">${drawn.join('')}</div>`);
}

function distributions({ statistics }: SwarmReport): string {
  const seconds = (value: number): string => formatMs(value * 1_000);
  const all: [title: string, note: string, bins: LogBins, format: (value: number) => string][] = [
    ['Messages a world', 'How many worlds sent so many.', statistics.messages, formatRate],
    ['Events a world', 'Entries of the queue that were run.', statistics.events, formatRate],
    ['Virtual time a world', 'From the first connection until all came to rest.', statistics.virtualSeconds, seconds],
    ['Wall time a world', 'On one core, which it may have shared.', statistics.wallMs, formatMs],
  ];
  return all
    .map(([title, note, bins, format]) => {
      const bars: Bar[] = bins.bars();
      const middle = bins.count === 0 ? '' : ` Median ${format(bins.quantile(0.5)!)}, most ${format(bins.max)}.`;
      return `<figure class="card">${drawBars(title, `${note}${middle}`, bars, format, formatCount)}</figure>`;
    })
    .join('');
}

function meter(share: number, words: string): string {
  return `<span class="meter" style="--h:${(100 * share).toFixed(2)}" role="img" aria-label="${escape(words)}"></span>`;
}

function countTable(
  name: string,
  rows: readonly { readonly name: string; readonly seeds: number; readonly detail: string; readonly isBad: boolean }[],
  seeds: number,
  detail: string,
): string {
  const drawn = rows.map((row) => {
    const share = row.seeds / Math.max(1, seeds);
    return `<tr${row.isBad ? ' class="bad"' : ''}><th scope="row">${escape(row.name)}</th><td class="meters">${meter(share, formatShare(share))}</td><td>${formatCount(row.seeds)}</td><td>${formatShare(share)}</td><td>${escape(row.detail)}</td></tr>`;
  });
  return `<div class="scroll"><table class="numbers counts"><thead><tr><th scope="col">${name}</th><th></th><th scope="col">seeds</th><th scope="col">share</th><th scope="col">${detail}</th></tr></thead><tbody>${drawn.join('')}</tbody></table></div>`;
}

function marksSection({ result }: SwarmReport): string {
  const { marks, seeds } = result;
  const must = new Set(MUST_REACH);
  const names = [...new Set([...MUST_REACH, ...marks.keys()])];
  const rows = names
    .map((name) => ({
      name,
      seeds: marks.get(name) ?? 0,
      detail: must.has(name) ? 'yes' : '',
      isBad: !marks.has(name),
    }))
    // Rare ones first: they say whether the swarm was large enough.
    .toSorted((one, other) => one.seeds - other.seeds || (one.name < other.name ? -1 : 1));
  return section('Marks: what was reached, the rarest first', countTable('mark', rows, seeds, 'must be'));
}

function faultsSection({ statistics, result }: SwarmReport): string {
  const rows = [...statistics.kinds]
    .map(([name, { seeds, faults }]) => ({ name, seeds, detail: formatCount(faults), isBad: false }))
    .toSorted((one, other) => other.seeds - one.seeds || (one.name < other.name ? -1 : 1));
  if (rows.length === 0) return section('Faults', '<p class="note">None.</p>');
  return section('Faults: how many worlds had each kind', countTable('fault', rows, result.seeds, 'faults'));
}

/** One HTML file that needs nothing else but the pages of failed seeds, which it links. */
export function renderSwarmReport(report: SwarmReport): string {
  const { result, from, command } = report;
  const range = `first seed ${formatCount(from)}; ${formatSpan(report.statistics.endMs)}`;
  return renderPage({
    title: `dunlin sim swarm: ${result.failures.length === 0 ? 'clean' : 'violated'}`,
    kicker: 'dunlin sim swarm',
    verdict: verdict(report),
    isGood: result.failures.length === 0,
    head: `<p class="facts-line">${escape(range)} · again: <code>${escape(command)}</code></p>`,
    style: SIM_STYLE,
    body: `<div class="tiles">${tiles(report)}</div><div class="grid2">${failuresSection(report)}</div>${charts(report)}<div class="grid2">${distributions(report)}${marksSection(report)}${faultsSection(report)}</div>`,
  });
}
