/** The first violation: its sentence, its place, and what happened around it. */
import { drawRow, mark } from '../../reports/chart.js';
import { escape, table } from '../../reports/page.js';
import type { Moment } from '../timeline.js';
import type { Finding } from '../world.js';
import { type Shown, seconds } from './run-shown.js';
import type { Story } from './violation-story.js';

const VIOLATIONS_SHOWN_MAX = 20;

export function wrongRow({ outcome, story, first }: Shown): string {
  if (first === undefined || story === undefined) return '';
  const others = outcome.violations.slice(1, VIOLATIONS_SHOWN_MAX).filter(({ atMs }) => atMs !== null);
  const marks = others.map(({ guarantee, atMs }) =>
    mark(atMs! / 1_000, { look: 'wrong', title: `${guarantee}, ${seconds(atMs!)}` }),
  );
  const title = `${first.guarantee}, ${seconds(story.atMs)}: ${story.reason}`;
  marks.unshift(mark(story.atMs / 1_000, { look: 'wrong', title }));
  return drawRow('violated', `${outcome.violations.length} violations, told below`, marks.join(''));
}

function isOf({ text }: Moment, { device }: Finding): boolean {
  return new RegExp(`"device":${device}[,}]|^device ${device} `).test(text);
}

/** The moment that showed it: the device's with this sequence, or else the last one until then. */
function markedOf({ moments, atMs }: Story, finding: Finding): number {
  const shows = (moment: Moment): boolean =>
    moment.atMs === atMs && isOf(moment, finding) && moment.text.includes(`"seq":${finding.seq},`);
  const shown = moments.findLastIndex(shows);
  return shown >= 0 ? shown : moments.findLastIndex((moment) => moment.atMs <= atMs);
}

/** What this device did and saw stands out, and so does what broke. */
function lookOf(moment: Moment, finding: Finding): string {
  if (moment.text.startsWith('FAULT')) return 'broke';
  return isOf(moment, finding) ? 'own' : 'other';
}

function momentCells({ atMs, text }: Moment): string {
  return `<time>${(atMs / 1_000).toFixed(4)} s</time><span>${escape(text)}</span>`;
}

export function headline({ guarantee, sentence }: Finding): string {
  const [line = ''] = sentence.split('\n');
  return line.startsWith(guarantee) ? line : `${guarantee} violated: ${line}`;
}

export function violationSection(shown: Shown): string {
  const { first, story, outcome, command } = shown;
  if (first === undefined || story === undefined) return '';
  const facts: [string, string][] = [['guarantee', first.guarantee]];
  if (first.device !== 0) facts.push(['device', String(first.device)]);
  if (first.convB !== 0) facts.push(['conversation', `(${first.convA}, ${first.convB})`]);
  if (first.seq !== 0) facts.push(['sequence', String(first.seq)]);
  facts.push(['place', `${seconds(story.atMs)} of virtual time: ${story.reason}`], ['replay', command]);
  const here = markedOf(story, first);
  const lines = story.moments.map(
    (moment, n) => `<li class="${lookOf(moment, first)}${n === here ? ' here' : ''}">${momentCells(moment)}</li>`,
  );
  const others = outcome.violations.slice(1, VIOLATIONS_SHOWN_MAX);
  const listed = others.map(
    (finding) =>
      `<details><summary>${escape(headline(finding))}</summary><p class="sentence">${escape(finding.sentence)}</p></details>`,
  );
  const left = outcome.violations.length - 1 - others.length;
  const more = left > 0 ? `<p class="note">And ${left} more.</p>` : '';
  const rest = others.length === 0 ? '' : `<h4>Also violated</h4>${listed.join('')}${more}`;
  return `<section class="card wide violation" id="violation"><h2>The violation</h2><p class="sentence">${escape(first.sentence)}</p>${table(facts)}<h4>What happened around it, with faults and threads; the marked line is where it shows</h4><ol class="moments">${lines.join('')}</ol>${rest}</section>`;
}
