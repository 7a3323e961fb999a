/**
 * What a person sees while the run lasts: a table that redraws itself on a terminal, one plain line an interval elsewhere.
 */
import { formatCount, formatMs, formatShare, formatSpan } from '../../reports/format.js';

/** One interval, all processes together. */
export interface Interval {
  readonly phase: string;
  readonly elapsedMs: number;
  /** When sending ends; undefined if that is not known. */
  readonly durationMs: number | undefined;
  readonly sent: number;
  readonly acked: number;
  readonly delivered: number;
  readonly sentPerSecond: number;
  readonly ackedPerSecond: number;
  readonly deliveredPerSecond: number;
  /** NaN if nothing arrived. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly backlog: number;
  readonly connections: number;
  readonly connectionsWanted: number;
  readonly reconnects: number;
  readonly violations: number;
  readonly generatorCpu: number;
  readonly generatorLagMs: number;
}

export interface Screen {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const BAR_WIDTH = 28;

function progressBar(share: number): string {
  const filled = Math.round(BAR_WIDTH * Math.min(1, Math.max(0, share)));
  return `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)}`;
}

function timeOf(interval: Interval): string {
  const elapsed = formatSpan(Math.floor(interval.elapsedMs / 1_000) * 1_000);
  if (interval.durationMs === undefined) return elapsed;
  const bar = progressBar(interval.elapsedMs / interval.durationMs);
  return `${bar}  ${elapsed} of ${formatSpan(interval.durationMs)}`;
}

function row(name: string, total: number, perSecond: number): string {
  return `  ${name.padEnd(12)}${formatCount(total).padStart(14)}${`${formatCount(perSecond)}/s`.padStart(16)}`;
}

/** The rows of the table. */
export function tableRows(title: string, interval: Interval): string[] {
  const latency = [
    ['p50', interval.p50Ms],
    ['p95', interval.p95Ms],
    ['p99', interval.p99Ms],
  ] as const;
  return [
    title,
    `${interval.phase.padEnd(12)}  ${timeOf(interval)}`,
    '',
    row('sent', interval.sent, interval.sentPerSecond),
    row('acked', interval.acked, interval.ackedPerSecond),
    row('delivered', interval.delivered, interval.deliveredPerSecond),
    `  ${'backlog'.padEnd(12)}${formatCount(interval.backlog).padStart(14)}`,
    `  ${'latency'.padEnd(12)}${latency.map(([name, ms]) => `${name} ${formatMs(ms)}`.padStart(14)).join('  ')}`,
    `  ${'connections'.padEnd(12)}${formatCount(interval.connections).padStart(14)} of ${formatCount(interval.connectionsWanted)}, ${formatCount(interval.reconnects)} reconnects`,
    `  ${'generator'.padEnd(12)}${formatShare(interval.generatorCpu).padStart(14)} of a core, ${formatMs(interval.generatorLagMs)} late`,
    interval.violations > 0 ? `  ${'VIOLATIONS'.padEnd(12)}${formatCount(interval.violations).padStart(14)}` : '',
  ];
}

/** One line, for logs. */
export function plainLine(interval: Interval): string {
  const parts = [
    `${(interval.elapsedMs / 1_000).toFixed(0).padStart(4)} s ${interval.phase}`,
    `sent ${formatCount(interval.sent)} (${formatCount(interval.sentPerSecond)}/s)`,
    `delivered ${formatCount(interval.delivered)} (${formatCount(interval.deliveredPerSecond)}/s)`,
    `p50 ${formatMs(interval.p50Ms)} p95 ${formatMs(interval.p95Ms)} p99 ${formatMs(interval.p99Ms)}`,
    `backlog ${formatCount(interval.backlog)}`,
    `connections ${formatCount(interval.connections)}`,
    `generator ${formatShare(interval.generatorCpu)}, ${formatMs(interval.generatorLagMs)} late`,
  ];
  if (interval.violations > 0) parts.push(`VIOLATIONS ${formatCount(interval.violations)}`);
  return parts.join('  ');
}

export class LiveTable {
  readonly #screen: Screen;
  readonly #title: string;
  #drawn = 0;
  #last = '';

  constructor(screen: Screen, title: string) {
    this.#screen = screen;
    this.#title = title;
    if (!screen.isTTY) screen.write(`${title}\n`);
  }

  show(interval: Interval): void {
    if (!this.#screen.isTTY) {
      this.#screen.write(`${plainLine(interval)}\n`);
      return;
    }
    const width = Math.max(20, (this.#screen.columns ?? 100) - 1);
    const rows = tableRows(this.#title, interval).map((line) => `${line.slice(0, width)}\x1b[K`);
    this.#screen.write(`${this.#up()}${rows.join('\n')}\n`);
    this.#drawn = rows.length;
  }

  /** Writes a line that stays: above the table on a terminal. A line is not said twice in a row. */
  say(line: string): void {
    if (line === this.#last) return;
    this.#last = line;
    this.#screen.write(this.#screen.isTTY ? `${this.#up()}\x1b[J${line}\n` : `${line}\n`);
    this.#drawn = 0;
  }

  #up(): string {
    return this.#drawn === 0 ? '' : `\x1b[${this.#drawn}F`;
  }
}
