/** The page of one run: its charts over virtual time, its faults, who owned what, and the violation in its place. */
import { drawRow, overTime, span, timeTicks } from '../../reports/chart.js';
import { formatCount, formatMs, formatRate } from '../../reports/format.js';
import { escape, legend, renderPage, section, tile } from '../../reports/page.js';
import { faultBands } from './fault-bands.js';
import { clusterSection } from './run-brokers.js';
import { drawCharts, samplesTable } from './run-charts.js';
import { faultLegend, faultRows, faultTable } from './run-faults.js';
import { gatewayRows, livesTable, partitionRows } from './run-owners.js';
import { from, type RunReport, type Shown } from './run-shown.js';
import { headline, violationSection, wrongRow } from './run-violation.js';
import { SIM_STYLE } from './style.js';
import { tellViolation } from './violation-story.js';

/** What the button shows before and after a violation. */
const AROUND_MS = 2_000;

function phaseRow({ sampler }: Shown): string {
  const { phases, endMs } = sampler;
  const spans = phases.map(({ name, fromMs }, n) => {
    const toMs = phases[n + 1]?.fromMs ?? endMs;
    return span(fromMs / 1_000, toMs / 1_000, { look: 'phase', title: `${name}, ${from(fromMs, toMs)}`, text: name });
  });
  return drawRow('phase', phases.map(({ name }) => name).join(', '), spans.join(''));
}

function tools({ sampler, story }: Shown): string {
  const { phases, endMs } = sampler;
  const s = (ms: number): number => Math.max(0, ms) / 1_000;
  const [, load, heal] = phases;
  const button = (name: string, fromMs: number, toMs: number): string =>
    `<button type="button" data-look="${s(fromMs)} ${s(Math.min(toMs, endMs))}" aria-pressed="${fromMs === 0 && toMs === endMs}">${name}</button>`;
  return `<div class="tools">${button('whole run', 0, endMs)}${load && heal ? button('load and faults', load.fromMs, heal.fromMs) : ''}${story ? button('around the violation', story.atMs - AROUND_MS, story.atMs + AROUND_MS) : ''}<p class="note">Drag over a chart to look closer; a double click or Escape goes back.</p></div>`;
}

function timesSection(shown: Shown): string {
  const { bands, sampler, story } = shown;
  const end = sampler.endMs / 1_000;
  const broken = faultLegend(bands);
  if (story !== undefined) broken.push(['s-wrong', 'the violation']);
  const ownerLegend = legend([
    ['s-rec', 'recovers'],
    ['s-live', 'runs; another colour, another epoch'],
    ['s-paused', 'hangs'],
    ['s-deposed', 'deposed, and does not know it'],
    ['s-died', 'died'],
    ['s-drain', 'drains'],
  ]);
  const html = `${tools(shown)}${phaseRow(shown)}<div class="plot">${timeTicks(end)}</div>${wrongRow(shown)}
<h2>What broke</h2>${legend(broken)}${bands.length === 0 ? '<p class="note">Nothing.</p>' : `${faultRows(bands)}<p class="note">As planned: what a lane or a gateway suffers is over when it dies, and all is over when everything heals.</p>`}
${drawCharts(shown)}${samplesTable(shown)}
<h2>Who owned which partition</h2>${ownerLegend}<div class="owners">${partitionRows(shown)}${gatewayRows(shown)}</div>${clusterSection(shown)}<div class="plot">${timeTicks(end)}</div>${livesTable(shown)}`;
  return `<section class="card wide">${overTime(end, html)}</section>`;
}

function tiles({ outcome, sampler, wallSeconds, plan }: Shown): string {
  const { latencies } = sampler;
  const { messages, deliveries, events, virtualSeconds, violations, marks } = outcome;
  return [
    tile('messages', formatCount(messages), `${formatCount(deliveries)} deliveries`),
    tile('latency p50', formatMs(latencies.quantile(0.5)), `p99 ${formatMs(latencies.quantile(0.99))}`),
    tile('faults', formatCount(plan.faults.length), `${new Set(plan.faults.map(({ fault }) => fault)).size} kinds`),
    tile('marks reached', formatCount(marks.size), 'rare paths walked'),
    tile('virtual time', `${virtualSeconds.toFixed(1)} s`, `${formatCount(events)} events`),
    tile(
      'wall time',
      `${wallSeconds.toFixed(2)} s`,
      `${formatRate(virtualSeconds / Math.max(wallSeconds, 0.001))} times as fast`,
    ),
    tile(
      'lane lives',
      formatCount(sampler.lives.lanes.length),
      `${plan.topology.conversationLanes + plan.topology.userLanes} lanes`,
    ),
    tile(
      'violations',
      formatCount(violations.length),
      violations.length === 0 ? 'all guarantees hold' : 'told below',
      violations.length > 0,
    ),
  ].join('');
}

function verdict({ outcome, first }: Shown): string {
  if (first === undefined) return 'nothing lost, nothing doubled, all in order, and all came to rest';
  const more = outcome.violations.length - 1;
  return more === 0 ? headline(first) : `${headline(first)} (and ${more} more)`;
}

function marksList(marks: ReadonlyMap<string, number>): string {
  const items = [...marks].toSorted(([one], [other]) => (one < other ? -1 : 1));
  return `<ul class="chips">${items.map(([name, count]) => `<li>${escape(name)} <b>× ${formatCount(count)}</b></li>`).join('')}</ul>`;
}

/** One HTML file that needs nothing else. Runs the plan again if it violated something. */
export function renderRunReport(report: RunReport): string {
  const { plan, world, outcome, name, description, command } = report;
  const { sampler } = world;
  if (sampler === undefined) throw new RangeError('a report needs a world that took samples');
  const [first] = outcome.violations;
  const story = first === undefined ? undefined : tellViolation(plan, first);
  const [, load, heal] = sampler.phases;
  const times = {
    startMs: load?.fromMs ?? 0,
    healMs: heal?.fromMs ?? sampler.endMs,
    deviceKeys: world.devices.map(({ key }) => key),
  };
  const shown: Shown = { ...report, sampler, bands: faultBands(plan.faults, times), first, story };
  const lines = description.map((line) => `<p class="facts-line">${escape(line)}</p>`).join('');
  const link = first === undefined ? '' : ' · <a href="#violation">the violation in its place</a>';
  return renderPage({
    title: `dunlin sim: ${name}`,
    kicker: `dunlin sim · ${name}`,
    verdict: verdict(shown),
    isGood: first === undefined,
    head: `${lines}<p class="facts-line">trace <code>${escape(outcome.traceHash)}</code> · again: <code>${escape(command)}</code>${link}</p>`,
    style: SIM_STYLE,
    body: `<div class="tiles">${tiles(shown)}</div><div class="grid2">${timesSection(shown)}${violationSection(shown)}${section('All faults', faultTable(shown.bands))}${section('Marks reached', marksList(outcome.marks))}</div>`,
  });
}
