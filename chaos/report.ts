/** The page of one run: what was done to it as bands over throughput, latency and backlog, and what became of each. */
import { type Chart, drawChart, drawRow, everyNth, mark, overTime, span, thin, timeTicks } from '../reports/chart.js';
import { formatCount, formatMs, formatRate } from '../reports/format.js';
import { details, escape, numbersTable, renderPage, section, table, tile } from '../reports/page.js';
import { SIM_STYLE } from '../sim/report/style.js';
import type { ChaosResult, FaultJudged } from './verdict.js';

const COLOURS = 4;
/** A fault that was over sooner is drawn as a moment, ms. */
const MOMENT_MS = 250;
/** Silences shorter than this would only be specks, ms. */
const SILENCE_SHOWN_MS = 250;

const mean = (numbers: number[]): number => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const worst = (numbers: number[]): number => Math.max(...numbers);
const s = (ms: number): number => Math.max(0, ms) / 1_000;

function colourOf(faults: readonly FaultJudged[], text: string): number {
  const texts = [...new Set(faults.map((fault) => fault.text))];
  return 1 + (texts.indexOf(text) % COLOURS);
}

function band(fault: FaultJudged, faults: readonly FaultJudged[], look: string): string {
  const colour = `c${colourOf(faults, fault.text)}`;
  const title = `${fault.text}: ${fault.trouble ?? fault.proof ?? 'not seen to happen'}`;
  if (fault.toMs - fault.fromMs < MOMENT_MS) return mark(s(fault.fromMs), { look: `${look} ${colour}`, title });
  return span(s(fault.fromMs), s(fault.toMs), { look: `${look} ${colour}`, title });
}

function rows({ faults, silences }: ChaosResult): string {
  const texts = [...new Set(faults.map(({ text }) => text))];
  const each = texts.map((text) => {
    const own = faults.filter((fault) => fault.text === text);
    return drawRow(text, `${text}, ${own.length} ×`, own.map((fault) => band(fault, faults, 'fault')).join(''));
  });
  const quiet = silences
    .filter(({ fromMs, toMs }) => toMs > 0 && toMs - fromMs >= SILENCE_SHOWN_MS)
    .map(({ fromMs, toMs }) =>
      span(s(fromMs), s(toMs), { look: 'fault c4', title: `nothing came for ${formatMs(toMs - fromMs)}` }),
    );
  return `${each.join('')}${drawRow('silence', 'times in which nothing came to any client', quiet.join(''))}`;
}

function charts({ load, faults }: ChaosResult, end: number): string {
  const { series } = load;
  const every = everyNth(series.seconds.length);
  const seconds = series.seconds.filter((_, i) => i % every === 0);
  const all: Chart[] = [
    {
      title: 'Throughput',
      note: 'Messages sent and deliveries seen, in each second.',
      format: formatRate,
      lines: [
        { name: 'delivered/s', values: thin(series.delivered_per_s, every, mean), colour: 2, filled: true },
        { name: 'sent/s', values: thin(series.sent_per_s, every, mean), colour: 1 },
      ],
    },
    {
      title: 'Delivery latency',
      note: 'From the intended time of sending to each receiving device, of the deliveries seen in each second.',
      format: formatMs,
      logarithmic: true,
      lines: [
        { name: 'p50', values: thin(series.p50_ms, every, worst), colour: 2 },
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
  ];
  const behind = faults.map((fault) => band(fault, faults, 'fault behind')).join('');
  return all.map((chart) => `<figure class="track">${drawChart({ ...chart, behind }, seconds, end)}</figure>`).join('');
}

function faultTable(faults: readonly FaultJudged[]): string {
  const head = ['fault', 'from', 'to', 'seen to happen', 'recovered after', 'longest silence'];
  return numbersTable(
    head,
    faults.map((fault) => [
      fault.text,
      formatMs(fault.fromMs),
      formatMs(fault.toMs),
      fault.trouble ?? fault.proof ?? 'NO',
      recoveryOf(fault),
      formatMs(fault.longest_silence_ms),
    ]),
  );
}

function recoveryOf({ recovery_ms, is_last }: FaultJudged): string {
  if (recovery_ms !== null) return formatMs(recovery_ms);
  return is_last ? 'never' : 'another came first';
}

function tiles(result: ChaosResult): string {
  const { load, faults, longest_silence_ms, server } = result;
  const recoveries = faults.flatMap(({ recovery_ms }) => (recovery_ms === null ? [] : [recovery_ms]));
  const wrong = result.guarantees.filter(({ violations }) => violations > 0);
  return [
    tile('messages', formatCount(load.sent), `${formatCount(load.delivered)} deliveries`),
    tile('faults', formatCount(faults.length), `${faults.filter(({ proof }) => proof !== null).length} seen to happen`),
    tile('slowest recovery', recoveries.length === 0 ? '–' : formatMs(Math.max(...recoveries)), 'until all was well'),
    tile('longest silence', formatMs(longest_silence_ms), 'nothing came to anybody'),
    tile(
      'p99',
      load.latency_steady_ms === null ? '–' : formatMs(load.latency_steady_ms.p99),
      'of what no outage touched',
    ),
    tile('server', `${server.starts} ×`, `started; ended with: ${server.ending}`),
    tile(
      'guarantees',
      wrong.length === 0 ? 'all held' : wrong.map(({ guarantee }) => guarantee).join(', '),
      wrong.length === 0 ? 'G1 – G9' : 'violated',
      wrong.length > 0,
    ),
  ].join('');
}

function violation({ load }: ChaosResult): string {
  const first = load.first_violation;
  if (first === null) return '';
  const frames = first.frames.map(({ label, fields, hex }) => `${label}: ${fields}\n${hex}`).join('\n\n');
  const story = [first.sentence, ...first.context.map((event) => `  ${event}`), '', frames].join('\n');
  return section(`The first violation: ${first.guarantee}`, `<pre class="sentence">${escape(story)}</pre>`);
}

/** One HTML file that needs nothing else. */
export function renderChaosReport(result: ChaosResult): string {
  const { load, name, seed, unmet, untested, faults } = result;
  const end = Math.max(1, load.series.seconds.at(-1) ?? 1, ...faults.map(({ toMs }) => s(toMs)));
  const story = `<div class="plot">${timeTicks(end)}</div><h2>What was done</h2>${rows(result)}${charts(result, end)}`;
  const trouble = [...unmet, ...untested].map((sentence) => `<p class="facts-line">${escape(sentence)}</p>`).join('');
  const held = result.guarantees.map(({ guarantee, violations }): [string, string] => [
    guarantee,
    violations === 0 ? 'held' : `violated ${formatCount(violations)} times`,
  ]);
  return renderPage({
    title: `dunlin chaos: ${name}`,
    kicker: `dunlin chaos · ${name} · ${result.title}`,
    verdict: result.verdict,
    isGood: result.ok,
    head: `${trouble}<p class="facts-line">again: <code>npx dunlin chaos run ${escape(name)} --seed ${seed}</code></p>`,
    style: SIM_STYLE,
    body: `<div class="tiles">${tiles(result)}</div><div class="grid2"><section class="card wide">${overTime(end, story)}</section>${violation(result)}${section('All faults', faultTable(faults))}${section('Guarantees', table(held))}${section('The server’s last words', details('Its last lines', `<pre class="sentence">${escape(result.server.lines.join('\n'))}</pre>`))}</div>`,
  });
}
