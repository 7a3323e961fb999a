/** Numbers over virtual time. */
import { type Chart, drawChart } from '../../reports/chart.js';
import { formatBytes, formatCount, formatMs, formatRate } from '../../reports/format.js';
import { details, numbersTable } from '../../reports/page.js';
import { mergeSamples, type Sample } from '../samples.js';
import { drawBand } from './run-faults.js';
import { laneName, type Shown, seconds, wrongMark } from './run-shown.js';

const TABLE_ROWS_MAX = 150;

/** Faults drawn behind each chart: more would be a wall. */
const BEHIND_MAX = 120;

/** Lanes with a line of their own: there are so many colours. */
const LANE_LINES_MAX = 4;

function lagLines({ sampler, world }: Shown): Chart['lines'] {
  const { samples } = sampler;
  const numbers = world.backbone.lanes.map((_, number) => number);
  const lag = (number: number): number[] => samples.map(({ lagBytes }) => lagBytes[number] ?? 0);
  if (numbers.length <= LANE_LINES_MAX) {
    return numbers.map((number) => ({ name: laneName(world, number), values: lag(number), colour: number + 1 }));
  }
  const { conversationLanes } = world.plan.topology;
  const sum = (of: (number: number) => boolean): number[] =>
    samples.map(({ lagBytes }) => lagBytes.reduce((total, bytes, number) => total + (of(number) ? bytes : 0), 0));
  return [
    { name: 'conversation lanes', values: sum((number) => number < conversationLanes), colour: 1 },
    { name: 'user lanes', values: sum((number) => number >= conversationLanes), colour: 2 },
  ];
}

function chartsOf(shown: Shown): Chart[] {
  const { samples, bucketMs } = shown.sampler;
  const rate = (count: number): number => (count * 1_000) / bucketMs;
  const values = (of: (sample: Sample) => number | null): (number | null)[] => samples.map(of);
  const each = `in each ${formatMs(bucketMs)} of virtual time`;
  return [
    {
      title: 'Throughput, a virtual second',
      note: `Messages sent by clients, and handed to the applications of devices, ${each}.`,
      format: formatRate,
      lines: [
        { name: 'deliveries', values: values(({ deliveries }) => rate(deliveries)), colour: 2, filled: true },
        { name: 'sends', values: values(({ sends }) => rate(sends)), colour: 1 },
      ],
    },
    {
      title: 'Latency: from the send to the delivery',
      note: `To each other device, of the deliveries ${each}. A device that was away counts from the send, too: what it catches up with is old.`,
      format: formatMs,
      logarithmic: true,
      lines: [
        { name: 'p50', values: values(({ latencies }) => latencies.quantile(0.5)), colour: 2 },
        { name: 'p99', values: values(({ latencies }) => latencies.quantile(0.99)), colour: 4 },
      ],
    },
    {
      title: 'Backlog: log that a lane has not read',
      note: `The most ${each}. A lane that is down knows of none.`,
      format: formatBytes,
      lines: lagLines(shown),
    },
    {
      title: 'Unanswered sends',
      note: 'What clients keep until the server has answered, of all devices together.',
      format: formatRate,
      lines: [{ name: 'sends', values: values(({ unanswered }) => unanswered), colour: 3, filled: true }],
    },
    {
      title: 'Connected devices',
      note: `Of ${shown.world.devices.length}: the fewest ${each}.`,
      format: formatRate,
      lines: [{ name: 'devices', values: values(({ connected }) => connected), colour: 1, filled: true }],
    },
  ];
}

export function drawCharts(shown: Shown): string {
  const { sampler, bands } = shown;
  const { samples, bucketMs, endMs } = sampler;
  const times = samples.map((_, n) => Math.min(endMs, (n + 0.5) * bucketMs) / 1_000);
  // What befalls one device, or one thread for long, is in its row: it would paint all charts and explain none.
  const behind = bands
    .filter(({ target, toMs }) => target === 'everything' || (target !== 'device' && toMs === undefined))
    .slice(0, BEHIND_MAX)
    .map((band) => drawBand(band, 'behind', ''))
    .join('');
  const before = wrongMark(shown);
  return chartsOf(shown)
    .map((chart) => `<figure class="track">${drawChart({ ...chart, behind, before }, times, endMs / 1_000)}</figure>`)
    .join('');
}

/** The charts' numbers for who cannot see them. */
export function samplesTable({ sampler, world }: Shown): string {
  const { samples, bucketMs } = sampler;
  const every = Math.max(1, Math.ceil(samples.length / TABLE_ROWS_MAX));
  const rows: string[][] = [];
  for (let at = 0; at < samples.length; at += every) {
    const sample = samples.slice(at, at + every).reduce(mergeSamples);
    const { latencies, lagBytes } = sample;
    rows.push([
      seconds(at * bucketMs),
      formatCount(sample.sends),
      formatCount(sample.deliveries),
      formatMs(latencies.quantile(0.5)),
      formatMs(latencies.quantile(0.99)),
      ...world.backbone.lanes.map((_, number) => formatBytes(lagBytes[number] ?? 0)),
      formatCount(sample.unanswered),
      formatCount(sample.connected),
    ]);
  }
  const lanes = world.backbone.lanes.map((_, number) => `behind: ${laneName(world, number)}`);
  const head = ['from', 'sends', 'deliveries', 'p50', 'p99', ...lanes, 'unanswered', 'connected'];
  return details(`The numbers as a table, ${formatMs(every * bucketMs)} a row`, numbersTable(head, rows));
}
