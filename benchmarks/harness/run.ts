/**
 * Runs one benchmark in a process of its own, so that none disturbs the next: neither by what it left in memory nor by
 * processes and files that it left behind.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeMachine } from '../load/result.js';
import { checkResult } from './check.js';
import type { BenchmarkResult, Measured } from './result.js';
import type { Answer, Order } from './serve.js';

/** A benchmark that takes longer hangs. */
const BENCHMARK_MS_MAX = 20 * 60_000;
/** Between the request to end and the end. */
const GRACE_MS = 3_000;

export interface RunOptions extends Order {
  readonly progress: (sentence: string) => void;
  /** Ends the benchmark and all that it started. */
  readonly signal?: AbortSignal;
  /** The process; another one in tests. */
  readonly child?: URL;
}

/** Signals the group that the process leads; it may be gone. */
function signalGroup(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

interface Outcome {
  readonly about: string;
  readonly measured: Measured;
}

function wait(child: ChildProcess, options: RunOptions): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let outcome: Outcome | undefined;
    let reason: string | undefined;
    const timers: NodeJS.Timeout[] = [];
    const end = (why: string): void => {
      reason ??= why;
      signalGroup(child, 'SIGTERM');
      timers.push(setTimeout(() => signalGroup(child, 'SIGKILL'), GRACE_MS));
    };
    const interrupt = (): void => end('interrupted');
    timers.push(setTimeout(() => end(`not done after ${BENCHMARK_MS_MAX / 60_000} minutes`), BENCHMARK_MS_MAX));
    options.signal?.addEventListener('abort', interrupt, { once: true });
    child.on('message', (answer: Answer) => {
      if (answer.kind === 'progress') options.progress(answer.sentence);
      else if (answer.kind === 'measured') outcome = answer;
      else reason ??= answer.reason;
    });
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, signal) => {
      for (const timer of timers) clearTimeout(timer);
      options.signal?.removeEventListener('abort', interrupt);
      // What it started and did not end.
      signalGroup(child, 'SIGKILL');
      if (outcome !== undefined && reason === undefined) resolve(outcome);
      else reject(new Error(reason ?? `its process ended with ${signal ?? `code ${code}`} before it was done`));
    });
    const { name, isTiny, runs } = options;
    child.send({ name, isTiny, runs } satisfies Order);
  });
}

function resultOf(name: string, isTiny: boolean, { about, measured }: Outcome): Omit<BenchmarkResult, 'took_s'> {
  const { figures, workload, curves = [], tables = [] } = measured;
  if (figures[0] === undefined) throw new Error('it measured nothing');
  const { name: _, ...headline } = figures[0];
  return {
    name,
    about,
    ...headline,
    figures,
    curves,
    tables,
    workload,
    command: `npx just bench ${name}`,
    isTiny,
    machine: describeMachine(),
    measured: new Date().toISOString(),
  };
}

/** Rejects with the reason if the benchmark fails, hangs, is interrupted, or measured what is no number. */
export async function runBenchmark(options: RunOptions): Promise<BenchmarkResult> {
  options.signal?.throwIfAborted();
  const startMs = performance.now();
  // Its files are here and end with it, whatever happens to it.
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-bench-'));
  try {
    const child = fork(options.child ?? new URL('./child.js', import.meta.url), {
      detached: true,
      env: { ...process.env, TMPDIR: directory },
      execArgv: ['--enable-source-maps'],
      // What it prints is no result: standard output is for those.
      stdio: ['ignore', 2, 2, 'ipc'],
      serialization: 'advanced',
    });
    const outcome = await wait(child, options);
    const took_s = Number(((performance.now() - startMs) / 1_000).toFixed(1));
    const result = { ...resultOf(options.name, options.isTiny, outcome), took_s };
    const breaches = checkResult(result);
    if (breaches.length > 0) throw new Error(breaches.join('; '));
    return result;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
