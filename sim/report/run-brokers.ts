/** Which broker led which partition of the log when, and which brokers were up. */
import { drawRow, mark, span } from '../../reports/chart.js';
import { details, numbersTable } from '../../reports/page.js';
import type { BrokerLife, Term } from '../terms.js';
import { from, type Shown, seconds, wrongMark } from './run-shown.js';

const COLOURS = 4;

function colour(broker: number): string {
  return `c${1 + (broker % COLOURS)}`;
}

function termSpan({ leader, epoch, fromMs, toMs }: Term): string {
  if (leader < 0) return '';
  const title = `broker ${leader} leads in epoch ${epoch}, ${from(fromMs, toMs)}`;
  return span(fromMs / 1_000, toMs / 1_000, {
    look: `owner live ${colour(leader)}`,
    title,
    text: `broker ${leader}, epoch ${epoch}`,
  });
}

function lifeSpans({ broker, fromMs, toMs, pauses }: BrokerLife, endMs: number): string {
  const title = `broker ${broker} is up, ${from(fromMs, toMs)}`;
  const up = span(fromMs / 1_000, toMs / 1_000, { look: `owner live ${colour(broker)}`, title, text: 'up' });
  const hangs = pauses.map((pause) =>
    span(pause.fromMs / 1_000, pause.toMs / 1_000, {
      look: 'paused',
      title: `broker ${broker} hangs, ${from(pause.fromMs, pause.toMs)}`,
    }),
  );
  const died =
    toMs < endMs ? mark(toMs / 1_000, { look: 'died', title: `broker ${broker} dies at ${seconds(toMs)}` }) : '';
  return `${up}${hangs.join('')}${died}`;
}

/** Nothing where the log is an embedded one. */
export function clusterSection(shown: Shown): string {
  const { cluster } = shown.world.backbone;
  if (cluster === undefined) return '';
  const { terms, lives, leftOut } = shown.sampler.terms;
  const nameOf = (index: number): string => {
    const { topic, partition } = cluster.placeOf(index);
    return `${topic === 0 ? 'conversation' : 'user'} log ${partition}`;
  };
  const indexes = [...new Set(terms.map(({ index }) => index))].toSorted((one, other) => one - other);
  const leaders = indexes.map((index) => {
    const own = terms.filter((term) => term.index === index);
    const label = `${nameOf(index)}: ${own.length} terms, listed in the table`;
    return drawRow(nameOf(index), label, own.map(termSpan).join('') + wrongMark(shown, 'thin'));
  });
  const brokers = cluster.brokers.map(({ id }) => {
    const own = lives.filter(({ broker }) => broker === id);
    const drawn = own.map((life) => lifeSpans(life, shown.sampler.endMs)).join('');
    return drawRow(`broker ${id}`, `broker ${id}: up ${own.length} times`, drawn);
  });
  const rows = terms.map(({ index, leader, epoch, fromMs, toMs }) => [
    nameOf(index),
    leader < 0 ? 'nobody' : `broker ${leader}`,
    String(epoch),
    seconds(fromMs),
    seconds(toMs),
  ]);
  const more = leftOut > 0 ? `<p class="note">${leftOut} more are not shown.</p>` : '';
  const table = details('All terms as a table', numbersTable(['log', 'leader', 'epoch', 'from', 'until'], rows));
  return `<h2>Who led which partition of the log</h2><div class="owners">${leaders.join('')}${brokers.join('')}</div>${table}${more}`;
}
