/**
 * Compares runs of the same seeds by two programs: another Node, or another build. Equal hashes are equal runs; where they differ,
 * the hash's checkpoints are bisected, and only the events between two of them are looked at one by one.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DunlinError } from '../core/errors.js';
import { CHECKPOINT_EVENTS } from './trace-hash.js';
import type { Trace, TraceEvent } from './trace-worker.js';

export interface Side {
  readonly name: string;
  /** The Node binary. */
  readonly node: string;
  /** The compiled program: a `dist`. */
  readonly build: string;
}

export interface Difference {
  readonly seed: number;
  readonly hashes: readonly [string, string];
  /** Number of the first event that differs. */
  readonly event: number;
  /** What was the same before it, the last few. */
  readonly before: readonly TraceEvent[];
  /** What came then, on either side; undefined: the run had ended. */
  readonly after: readonly [TraceEvent | undefined, TraceEvent | undefined];
}

export interface Comparison {
  readonly seeds: number;
  readonly differences: readonly Difference[];
}

const BEFORE_EVENTS = 5;

async function runTrace<Line>({ name, node, build }: Side, args: readonly (string | number)[]): Promise<Line[]> {
  const worker = join(build, 'sim', 'trace-worker.js');
  if (!existsSync(worker))
    throw new DunlinError(`${build} is no compiled program that can be compared: it has no sim/trace-worker.js`);
  return new Promise((resolve, reject) => {
    const child = spawn(node, ['--enable-source-maps', worker, ...args.map(String)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    child.once('error', (error) => reject(new DunlinError(`${node} could not be started: ${error.message}`)));
    child.once('close', (code) => {
      if (code !== 0) reject(new DunlinError(`${name} ended with exit code ${code}: ${errors.trim().slice(0, 2_000)}`));
      else resolve(out.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Line])));
    });
  });
}

/** The first place at which two runs' checkpoints differ: they are hashes of all before, so once different, always different. */
export function firstDifferent(one: readonly string[], other: readonly string[]): number {
  let low = 0;
  let high = Math.min(one.length, other.length);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (one[middle] === other[middle]) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function bisect(sides: readonly [Side, Side], one: Trace, other: Trace): Promise<Difference> {
  const from = firstDifferent(one.checkpoints, other.checkpoints) * CHECKPOINT_EVENTS;
  const range = ['events', one.seed, Math.max(0, from - BEFORE_EVENTS), from + CHECKPOINT_EVENTS];
  const [ones, others] = await Promise.all([
    runTrace<TraceEvent>(sides[0], range),
    runTrace<TraceEvent>(sides[1], range),
  ]);
  let at = 0;
  while (at < ones.length && ones[at]!.hash === others[at]?.hash) at++;
  return {
    seed: one.seed,
    hashes: [one.traceHash, other.traceHash],
    event: (ones[at] ?? others[at])?.event ?? from + CHECKPOINT_EVENTS,
    before: ones.slice(Math.max(0, at - BEFORE_EVENTS), at),
    after: [ones[at], others[at]],
  };
}

/** Runs `count` seeds on both sides, at the same time. */
export async function compare(sides: readonly [Side, Side], from: number, count: number): Promise<Comparison> {
  const args = ['hashes', from, count];
  const [ones, others] = await Promise.all([runTrace<Trace>(sides[0], args), runTrace<Trace>(sides[1], args)]);
  const differences: Difference[] = [];
  for (const [n, one] of ones.entries()) {
    const other = others[n]!;
    if (one.traceHash !== other.traceHash) differences.push(await bisect(sides, one, other));
  }
  return { seeds: ones.length, differences };
}

function lineOf({ event, atMs, what, numbers, hash }: TraceEvent): string {
  return `event ${event}  ${(atMs / 1_000).toFixed(6)} s  ${what} ${numbers.join(' ')}  → ${hash}`;
}

/** A difference as text, a line each. */
export function describeDifference(
  { seed, hashes, event, before, after }: Difference,
  sides: readonly [Side, Side],
): string[] {
  const shown = after.map((found, n) => `  ${sides[n]!.name}: ${found === undefined ? 'nothing more' : lineOf(found)}`);
  const [one, other] = after;
  const isSame =
    one !== undefined &&
    other !== undefined &&
    one.what === other.what &&
    String(one.numbers) === String(other.numbers);
  return [
    `seed ${seed}: ${hashes[0]} and ${hashes[1]}; the first event that differs is ${event}`,
    ...before.map((found) => `  both: ${lineOf(found)}`),
    ...shown,
    ...(isSame ? ['  (the same but for the bytes that it carries)'] : []),
  ];
}
