/** Figures as people read them. */
import { formatCount } from '../../reports/format.js';
import type { Figure } from './result.js';

/** Three significant digits or more: `0.0123`, `4.56`, `217`, `12,345`. */
export function formatValue(value: number): string {
  return Math.abs(value) >= 100 ? formatCount(value) : String(Number(value.toPrecision(3)));
}

/** `217 ns a message`. */
export function formatFigure({ figure, unit }: { readonly figure: number; readonly unit: string }): string {
  return `${formatValue(figure)} ${unit}`;
}

/** `, ratio 7.9`, or nothing without one. */
export function formatRatio({ ratio }: Pick<Figure, 'ratio'>): string {
  return ratio === null ? '' : `, ratio ${formatValue(ratio)}`;
}

/** What had to be reached: `a ratio of at least 0.7`, `at most 5,000 ms`. */
export function formatBound({ reach, better, unit }: Pick<Figure, 'reach' | 'better' | 'unit'>): string {
  if (reach === null) return '';
  if (reach.of === 'ratio') return `a ratio of at least ${formatValue(reach.bound)}`;
  return `at ${better === 'higher' ? 'least' : 'most'} ${formatValue(reach.bound)} ${unit}`;
}

/** `; reached: at most 5,000 ms`, or nothing if there is no bar. */
export function formatReach(figure: Pick<Figure, 'reach' | 'better' | 'unit'>): string {
  if (figure.reach === null) return '';
  return `; ${figure.reach.isReached ? 'reached' : 'NOT REACHED'}: ${formatBound(figure)}`;
}
