/** What broke, as rows of bands and as a table. */
import { drawRow, mark, type SpanLook, span } from '../../reports/chart.js';
import { formatMs } from '../../reports/format.js';
import { escape } from '../../reports/page.js';
import { FAULT_TARGETS, type FaultBand, type FaultTarget } from './fault-bands.js';
import { from, seconds } from './run-shown.js';

const FAULTS_SHOWN_MAX = 1_000;

/** Bands that lie side by side in a row; more lie on each other. */
const SLOTS_MAX = 8;

const COLOURS: Readonly<Record<FaultTarget, number>> = { device: 1, gateway: 2, lane: 3, broker: 4, everything: 4 };

const TARGET_WORDS: Readonly<Record<FaultTarget, string>> = {
  device: 'a device’s connection',
  gateway: 'a gateway',
  lane: 'a lane',
  broker: 'a broker',
  everything: 'the log, the disk, all threads',
};

function bandTitle({ kind, what, fromMs, toMs }: FaultBand): string {
  const when = toMs === undefined ? `at ${seconds(fromMs)}` : `${from(fromMs, toMs)} (${formatMs(toMs - fromMs)})`;
  return `${kind}${what === '' ? '' : `: ${what}`}, ${when}`;
}

export function drawBand(band: FaultBand, look: string, title: string, slot?: SpanLook['slot']): string {
  const { fromMs, toMs, target } = band;
  const looks = `${look} c${COLOURS[target]}`;
  if (toMs === undefined) return mark(fromMs / 1_000, { look: looks, title });
  return span(fromMs / 1_000, toMs / 1_000, { look: looks, title, ...(slot === undefined ? {} : { slot }) });
}

/** What overlaps lies side by side. */
function slotsOf(bands: readonly FaultBand[]): number[] {
  const freeMs: number[] = [];
  return bands.map(({ fromMs, toMs }) => {
    if (toMs === undefined) return 0;
    const free = freeMs.findIndex((untilMs) => untilMs <= fromMs);
    const slot = free >= 0 ? free : freeMs.length % SLOTS_MAX;
    freeMs[slot] = Math.max(freeMs[slot] ?? 0, toMs);
    return slot;
  });
}

/** A row a kind. */
export function faultRows(bands: readonly FaultBand[]): string {
  const kinds = new Map<string, FaultBand[]>();
  for (const band of bands) kinds.set(band.kind, [...(kinds.get(band.kind) ?? []), band]);
  const order = (band: FaultBand): number => COLOURS[band.target];
  return [...kinds]
    .toSorted(([, [one]], [, [other]]) => order(one!) - order(other!))
    .map(([kind, all]) => {
      const shown = all.slice(0, FAULTS_SHOWN_MAX);
      const slots = slotsOf(shown);
      const count = 1 + Math.max(...slots);
      const drawn = shown.map((band, n) => drawBand(band, 'fault', bandTitle(band), { index: slots[n]!, count }));
      const label = `${kind}: ${all.length}, listed in the table of faults`;
      return drawRow(`${kind} × ${all.length}`, label, drawn.join(''), count);
    })
    .join('');
}

export function faultTable(bands: readonly FaultBand[]): string {
  if (bands.length === 0) return '<p class="note">None.</p>';
  const rows = bands.slice(0, FAULTS_SHOWN_MAX).map(({ kind, what, fromMs, toMs }) => {
    const length = toMs === undefined ? '' : formatMs(toMs - fromMs);
    return `<tr><td>${seconds(fromMs)}</td><th scope="row">${escape(kind)}</th><td>${escape(what)}</td><td>${length}</td></tr>`;
  });
  const more =
    bands.length > FAULTS_SHOWN_MAX ? `<p class="note">And ${bands.length - FAULTS_SHOWN_MAX} more.</p>` : '';
  return `<div class="scroll"><table><thead><tr><th scope="col">at</th><th scope="col">fault</th><th scope="col">on whom, and how</th><th scope="col">for</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>${more}`;
}

/** Colours and names of those that were hit; who share a colour share a line. */
export function faultLegend(bands: readonly FaultBand[]): [look: string, name: string][] {
  const names = new Map<string, string[]>();
  for (const target of [...FAULT_TARGETS, 'everything' as const]) {
    if (!bands.some((band) => band.target === target)) continue;
    const look = `c${COLOURS[target]}`;
    names.set(look, [...(names.get(look) ?? []), TARGET_WORDS[target]]);
  }
  return [...names].map(([look, all]) => [look, all.join('; ')]);
}
