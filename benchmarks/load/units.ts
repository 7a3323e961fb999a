/**
 * Quantities as people write them: shares, durations, counts. Each reader returns undefined for what it does not
 * understand; the caller knows where the text stood and says so.
 */

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const MS_PER_UNIT: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** `500ms`, `60s`, `2m`, `1.5h` → milliseconds. A bare number has no unit and is refused. */
export function parseDurationMs(text: string): number | undefined {
  const match = DURATION.exec(text.trim());
  return match ? finite(Number(match[1]) * MS_PER_UNIT.get(match[2]!)!) : undefined;
}

/** `20%` or `0.2` → 0.2. Undefined outside 0 .. 1. */
export function parseShare(text: string): number | undefined {
  const trimmed = text.trim();
  const percent = trimmed.endsWith('%');
  const number = parseNumber(percent ? trimmed.slice(0, -1) : trimmed);
  if (number === undefined) return undefined;
  const share = percent ? number / 100 : number;
  return share >= 0 && share <= 1 ? share : undefined;
}

/** A plain decimal number, with `_` or `,` between digits allowed: `20_000`, `1.25`. No sign, no exponent. */
export function parseNumber(text: string): number | undefined {
  const digits = text.trim().replaceAll(/(?<=\d)[_,](?=\d)/g, '');
  return /^\d+(?:\.\d+)?$/.test(digits) ? finite(Number(digits)) : undefined;
}

/** Too many digits are no number. */
function finite(value: number): number | undefined {
  return Number.isFinite(value) ? value : undefined;
}

/** `1234567` → `1,234,567`. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Milliseconds with three significant figures: `0.42 ms`, `41 ms`, `3.2 s`. */
export function formatMs(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return '–';
  if (ms === 0) return '0 ms';
  if (ms >= 10_000) return `${(ms / 1_000).toFixed(0)} s`;
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

/** A share as a percentage with at most one decimal: `20%`, `0.5%`. */
export function formatShare(share: number): string {
  return `${Number((share * 100).toFixed(1))}%`;
}

/** A span: `60 s`, `12 min 5 s`, `36 h 10 min`. */
export function formatSpan(ms: number): string {
  const seconds = ms / 1_000;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
