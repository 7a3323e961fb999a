/** Parsers of flag values, each with a sentence that names the flag's unit and range. */
import { InvalidArgumentError } from 'commander';
import { parseDurationMs } from '../benchmarks/load/units.js';

export function wholeNumber(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < low || value > high) {
      throw new InvalidArgumentError(`expected a whole number from ${low} to ${high}, got '${text}'.`);
    }
    return value;
  };
}

export const port = wholeNumber(0, 65_535);

/** `500ms`, `30s`, `5m`, `1h`. In milliseconds. */
export function durationMs(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new InvalidArgumentError(`expected a time such as 500ms, 60s or 5m, got '${text}'.`);
  return ms;
}

const UNITS_BYTES: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** `64k`, `256m`, `2g`, or a bare number of bytes. */
export function byteSize(text: string): number {
  const match = /^(\d+)([kmg]?)i?b?$/i.exec(text);
  if (match === null) throw new InvalidArgumentError(`expected a size such as 64k, 256m or 2g, got '${text}'.`);
  return Number(match[1]) * UNITS_BYTES[match[2]!.toLowerCase()]!;
}
