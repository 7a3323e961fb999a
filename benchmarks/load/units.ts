/**
 * Quantities as people write them: shares, durations, counts. Each reader returns undefined for what it does not
 * understand; the caller knows where the text stood and says so. They are written by reports/format.ts.
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
