/** Result files: `DIRECTORY/NAME.json`. */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkResult } from './check.js';
import type { BenchmarkResult } from './result.js';

/** Where the results are that docs/benchmarks.md shows. */
export const RESULTS_DIRECTORY = fileURLToPath(new URL('../../../benchmarks/results', import.meta.url));

const SIGNIFICANT_DIGITS = 5;

/** Digits beyond what any clock here tells are left out. */
function shorten(_key: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isInteger(value)) return value;
  return Math.abs(value) >= 10 ** SIGNIFICANT_DIGITS
    ? Math.round(value)
    : Number(value.toPrecision(SIGNIFICANT_DIGITS));
}

export function encode(value: BenchmarkResult | readonly BenchmarkResult[]): string {
  return `${JSON.stringify(value, shorten, 2)}\n`;
}

/** The old result stays until the new one is there. Returns the file. */
export function writeResult(directory: string, result: BenchmarkResult): string {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${result.name}.json`);
  writeFileSync(`${file}.new`, encode(result));
  renameSync(`${file}.new`, file);
  return file;
}

/** All results of a directory by name; none if it is not there. Throws with the file and what is wrong in it. */
export function readResults(directory: string): Map<string, BenchmarkResult> {
  const results = new Map<string, BenchmarkResult>();
  let files: string[] = [];
  try {
    files = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  for (const file of files.filter((each) => each.endsWith('.json')).toSorted()) {
    const value: unknown = JSON.parse(readFileSync(join(directory, file), 'utf8'));
    const breaches = checkResult(value);
    if (breaches.length > 0) throw new Error(`${join(directory, file)}: ${breaches[0]}`);
    const result = value as BenchmarkResult;
    results.set(result.name, result);
  }
  return results;
}
