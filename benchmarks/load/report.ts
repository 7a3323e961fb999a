/** The report of a load: its numbers, its charts, its first violation. */

import { type Chart, drawBars, drawChart, everyNth, overTime, thin } from '../../reports/chart.js';
import { formatCount, formatMs, formatRate, formatShare, formatSpan } from '../../reports/format.js';
import { escape, renderPage, table, tile } from '../../reports/page.js';
import type { LoadResult, Series, ShownViolation } from './result.js';

const mean = (numbers: number[]): number => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const worst = (numbers: number[]): number => Math.max(...numbers);

function charts(result: LoadResult): string {
  const series: Series = result.series;
  const every = everyNth(series.seconds.length);
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
  const end = seconds.at(-1) ?? 1;
  return all.map((chart) => `<figure class="card">${drawChart(chart, seconds, end)}</figure>`).join('\n');
}

function distribution(result: LoadResult): string {
  const bars = result.distribution.map(({ fromMs, toMs, count }) => ({ from: fromMs, to: toMs, count }));
  if (bars.length === 0) return '';
  const note = 'Every delivery of the run, on a logarithmic axis.';
  return `<figure class="card wide">${drawBars('How the latency is distributed', note, bars, formatMs, formatCount)}</figure>`;
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
  const end = result.series.seconds.at(-1) ?? 1;
  return renderPage({
    title: `dunlin load: ${result.ok ? 'clean' : 'violation'}`,
    kicker: 'dunlin load',
    verdict: result.verdict,
    isGood: result.ok,
    body: `${bottleneck}
<div class="tiles">${tiles(result)}</div>
<div class="grid2">${violationSection(result.first_violation)}${findMaxSection(result)}</div>
${overTime(end, `<div class="grid2">${charts(result)}</div>`)}
<div class="grid2">${distribution(result)}
<section class="card wide"><h2>Latency</h2><div class="scroll"><table class="numbers"><thead><tr><th></th><td>p50</td><td>p95</td><td>p99</td><td>p99.9</td><td>max</td><td>count</td></tr></thead><tbody>${latencyRows(result)}</tbody></table></div></section>
<section class="card"><h2>The run</h2>${table(facts(result))}</section>
<section class="card"><h2>The workload</h2>${table(workload)}</section></div>`,
  });
}
