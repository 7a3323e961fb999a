/** Who owned which partition when, and which gateways were up. */
import { drawRow, mark, span } from '../../reports/chart.js';
import { formatMs } from '../../reports/format.js';
import { details, numbersTable } from '../../reports/page.js';
import type { GatewayLife, LaneLife } from '../lives.js';
import { from, laneName, type Shown, seconds, wrongMark } from './run-shown.js';

/** Epochs take turns with the colours. */
const COLOURS = 4;

function ownerTitle(life: LaneLife, epoch: number): string {
  const { lane, incarnation, fromMs, toMs, runningMs, deposedMs, end } = life;
  const parts = [
    `lane ${lane}, incarnation ${incarnation}, epoch ${epoch === 0 ? 'none' : epoch}`,
    from(fromMs, toMs),
    runningMs === undefined ? 'it never had recovered' : `recovered in ${formatMs(runningMs - fromMs)}`,
    ...(deposedMs === undefined ? [] : [`deposed at ${seconds(deposedMs)}`]),
    ...(end === undefined ? [] : [`died: ${end}`]),
  ];
  return parts.join('; ');
}

function ownerSpans(life: LaneLife, partition: number): string {
  const epoch = life.epochs[life.partitions.indexOf(partition)] ?? 0;
  const title = ownerTitle(life, epoch);
  const s = (ms: number): number => ms / 1_000;
  const ownedUntilMs = life.deposedMs ?? life.toMs;
  const readyMs = Math.min(life.runningMs ?? ownedUntilMs, ownedUntilMs);
  const colour = `c${1 + (epoch % COLOURS)}`;
  const recovering = span(s(life.fromMs), s(readyMs), { look: `owner recovering ${colour}`, title });
  const live = span(s(readyMs), s(ownedUntilMs), { look: `owner live ${colour}`, title, text: `epoch ${epoch}` });
  const pauses = life.pauses.map(({ fromMs, toMs }) =>
    span(s(fromMs), s(Math.min(toMs, Math.max(fromMs, ownedUntilMs))), {
      look: 'paused',
      title: `lane ${life.lane} hangs, ${from(fromMs, toMs)}`,
    }),
  );
  const deposed =
    life.deposedMs === undefined
      ? ''
      : span(s(life.deposedMs), s(life.toMs), { look: 'deposed', title: `${title}; it does not know yet` });
  const died = life.end === undefined ? '' : mark(s(life.toMs), { look: 'died', title });
  return `${recovering}${readyMs < ownedUntilMs ? live : ''}${pauses.join('')}${deposed}${died}`;
}

export function partitionRows(shown: Shown): string {
  const { sampler, plan } = shown;
  const { conversationPartitions, userPartitions } = plan.topology;
  const row = (isUser: boolean, partition: number): string => {
    const lives = sampler.lives.lanes.filter((life) => life.isUser === isUser && life.partitions.includes(partition));
    const name = `${isUser ? 'user' : 'conversation'} partition ${partition}`;
    const drawn = lives.map((life) => ownerSpans(life, partition)).join('');
    return drawRow(name, `${name}: ${lives.length} owners, listed in the table`, drawn + wrongMark(shown, 'thin'));
  };
  return [
    ...Array.from({ length: conversationPartitions }, (_, partition) => row(false, partition)),
    ...Array.from({ length: userPartitions }, (_, partition) => row(true, partition)),
  ].join('');
}

function gatewaySpans({ gateway, fromMs, toMs, drainMs }: GatewayLife, endMs: number): string {
  const title = `gateway ${gateway} is up, ${from(fromMs, toMs)}`;
  const upUntilMs = drainMs ?? toMs;
  const up = span(fromMs / 1_000, upUntilMs / 1_000, { look: 'owner live c2', title, text: 'up' });
  const drain = span(upUntilMs / 1_000, toMs / 1_000, { look: 'drain', title: `drains, ${from(upUntilMs, toMs)}` });
  const died =
    toMs < endMs ? mark(toMs / 1_000, { look: 'died', title: `gateway ${gateway} ends at ${seconds(toMs)}` }) : '';
  return `${up}${drainMs === undefined ? '' : drain}${died}`;
}

export function gatewayRows({ sampler, plan }: Shown): string {
  return Array.from({ length: plan.topology.gateways }, (_, number) => {
    const lives = sampler.lives.gateways.filter(({ gateway }) => gateway === number);
    const drawn = lives.map((life) => gatewaySpans(life, sampler.endMs)).join('');
    return drawRow(`gateway ${number}`, `gateway ${number}: up ${lives.length} times, listed in the table`, drawn);
  }).join('');
}

export function livesTable({ sampler, world }: Shown): string {
  const { lanes, gateways, leftOut } = sampler.lives;
  const laneRows = lanes.map((life) => [
    laneName(world, life.lane),
    life.partitions.map((partition, n) => `${partition} (epoch ${life.epochs[n]})`).join(', '),
    seconds(life.fromMs),
    life.runningMs === undefined ? '–' : seconds(life.runningMs),
    life.pauses.map(({ fromMs, toMs }) => from(fromMs, toMs)).join(', '),
    life.deposedMs === undefined ? '' : seconds(life.deposedMs),
    seconds(life.toMs),
    life.end ?? 'lives',
  ]);
  const gatewayLives = gateways.map(({ gateway, fromMs, toMs, drainMs }) => [
    `gateway ${gateway}`,
    '',
    seconds(fromMs),
    seconds(fromMs),
    '',
    drainMs === undefined ? '' : `drains from ${seconds(drainMs)}`,
    seconds(toMs),
    toMs < sampler.endMs ? 'ended' : 'lives',
  ]);
  const head = ['thread', 'partitions', 'starts', 'has recovered', 'hangs', 'deposed', 'until', 'because'];
  const more = leftOut > 0 ? `<p class="note">${leftOut} more lives are not shown.</p>` : '';
  return details('All lives as a table', numbersTable(head, [...laneRows, ...gatewayLives]) + more);
}
