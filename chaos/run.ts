/**
 * One run: a real server, real clients under load, a proxy between them, faults at their times. It comes to a verdict on every
 * guarantee that the load can see, on each fault's recovery, and on whether there was anything to see at all.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LoadRun } from '../benchmarks/load/coordinator.js';
import { DEFAULT_WORKLOAD_FILE } from '../benchmarks/load/defaults.js';
import type { Interval } from '../benchmarks/load/live.js';
import { RUN_MAX } from '../benchmarks/load/population.js';
import { forkGenerator } from '../benchmarks/load/processes.js';
import { type LoadResult, printViolation } from '../benchmarks/load/result.js';
import { openIssuer } from '../benchmarks/load/tokens.js';
import { mergeWorkload, parseWorkload, type Workload } from '../benchmarks/load/workload.js';
import { Prng } from '../core/prng.js';
import { Attack } from './attack.js';
import { makeFault, needsPreload, type Place } from './faults.js';
import { historyFiles } from './history-lines.js';
import { Preload } from './preload.js';
import { Proxy, type Silence } from './proxy.js';
import type { ChaosScenario } from './scenario.js';
import { type SecondOpinion, secondOpinion } from './second-opinion.js';
import { EmbeddedServer } from './server.js';
import type { Step } from './steps.js';
import { type ChaosResult, type FaultSeen, judgeRun } from './verdict.js';

/** What runs without being told otherwise: enough to see anything, and little enough for any machine. */
const LOAD: Partial<Workload> = {
  users: 200,
  ratePerSecond: 500,
  durationMs: 30_000,
  drainMs: 60_000,
  warmUpMs: 2_000,
};
const CONNECTS_PER_SECOND = 1_500;

export interface ChaosOptions {
  readonly scenario: ChaosScenario;
  readonly seed: number;
  /** Sends for so long instead of what the scenario says, ms. */
  readonly durationMs?: number;
  readonly onInterval?: (interval: Interval, now: readonly string[]) => void;
  readonly say?: (line: string) => void;
  readonly signal?: AbortSignal;
  /** All that devices did and saw is written here. */
  readonly historyDirectory?: string;
}

export function workloadOf(scenario: ChaosScenario, durationMs?: number): Workload {
  const defaults = parseWorkload(readFileSync(DEFAULT_WORKLOAD_FILE, 'utf8'), 'default.yaml');
  return mergeWorkload(defaults, LOAD, scenario.load, durationMs === undefined ? {} : { durationMs });
}

/** Throws a DunlinError when the scenario cannot be carried out here. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-chaos-'));
  try {
    return await new Run(options, directory).run();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

class Run {
  readonly #options: ChaosOptions;
  readonly #workload: Workload;
  readonly #random: Prng;
  readonly #preload: Preload | undefined;
  readonly #server: EmbeddedServer;
  readonly #faults: FaultSeen[] = [];
  /** Texts of the faults that are on. */
  readonly #now = new Set<string>();

  constructor(options: ChaosOptions, directory: string) {
    const { scenario, seed, durationMs } = options;
    this.#options = options;
    this.#workload = workloadOf(scenario, durationMs);
    this.#random = new Prng(seed);
    this.#preload = needsPreload(scenario.steps.map(({ deed }) => deed)) ? new Preload(directory) : undefined;
    this.#server = new EmbeddedServer(directory, scenario.server, this.#preload);
  }

  async run(): Promise<ChaosResult> {
    const { scenario, seed } = this.#options;
    const started = new Date();
    let proxy: Proxy | undefined;
    try {
      await this.#server.open();
      proxy = new Proxy(this.#server.port, this.#random.fork('proxy'));
      const port = await proxy.listen();
      const place: Place = { server: this.#server, proxy, preload: this.#preload, attack: await this.#attackers(port) };
      const { load, startMs } = await this.#underLoad(place, port);
      const ending = await this.#server.end('SIGTERM');
      return judgeRun({
        scenario,
        seed,
        load,
        faults: this.#faults,
        silences: proxy.silences.map((silence) => since(silence, startMs)),
        secondOpinion: await this.#secondOpinion(),
        server: { starts: this.#server.starts, deaths: this.#server.deaths, ending, lines: this.#server.lines },
        started: started.toISOString(),
      });
    } finally {
      await proxy?.close();
      await this.#server.close();
      this.#preload?.close();
    }
  }

  async #secondOpinion(): Promise<SecondOpinion | null> {
    const { historyDirectory } = this.#options;
    if (historyDirectory === undefined) return null;
    return (await secondOpinion(historyFiles(historyDirectory))) ?? null;
  }

  async #attackers(port: number): Promise<Place['attack']> {
    const issuer = await openIssuer({ data: this.#server.data });
    let calls = 0;
    return (connections) => new Attack(port, issuer, connections, this.#random.fork(`attack ${calls++}`));
  }

  /** The load from beginning to end, with the steps at their times after sending began. */
  async #underLoad(place: Place, port: number): Promise<{ load: LoadResult; startMs: number }> {
    const { seed, historyDirectory } = this.#options;
    let begin: (ms: number) => void = () => {};
    const sending = new Promise<number>((resolve) => {
      begin = resolve;
    });
    const run = new LoadRun({
      plan: {
        url: `ws://127.0.0.1:${port}/socket`,
        workload: this.#workload,
        seed,
        run: randomInt(1, RUN_MAX),
        trace: null,
        key: { data: this.#server.data },
        caBundle: null,
        connectsPerSecond: CONNECTS_PER_SECOND,
        processes: 1,
        historyDirectory: historyDirectory ?? null,
      },
      findMax: null,
      makePort: forkGenerator,
      onInterval: (interval) => {
        if (interval.phase === 'sending') begin(performance.now());
        this.#options.onInterval?.(interval, [...this.#now]);
      },
      ...(this.#options.say === undefined ? {} : { say: this.#options.say }),
      onViolation: (violation) => this.#options.say?.(printViolation(violation)),
    });
    const stop = (): void => run.stop();
    this.#options.signal?.addEventListener('abort', stop, { once: true });
    const loading = run.run().finally(() => this.#options.signal?.removeEventListener('abort', stop));
    const startMs = await Promise.race([sending, loading.then(() => performance.now())]);
    const over = new AbortController();
    const { signal } = this.#options;
    const steps = this.#steps(
      place,
      startMs,
      signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]),
    );
    try {
      const [load] = await Promise.all([loading, steps]);
      return { load, startMs };
    } finally {
      // A load that failed leaves no step behind that would start a server again when everything has ended.
      over.abort();
      await steps;
    }
  }

  async #steps(place: Place, startMs: number, signal: AbortSignal): Promise<void> {
    await Promise.all(
      this.#options.scenario.steps.map(async (step) => {
        await until(startMs + step.atMs, signal);
        if (!signal.aborted) await this.#step(place, step, startMs);
      }),
    );
  }

  async #step(place: Place, { text, deed }: Step, startMs: number): Promise<void> {
    const fromMs = performance.now() - startMs;
    this.#now.add(text);
    this.#options.say?.(`${seconds(fromMs)}  ${text}`);
    let proof: string | undefined;
    let trouble: string | undefined;
    try {
      proof = await makeFault(place, deed);
    } catch (error) {
      trouble = error instanceof Error ? error.message : String(error);
    }
    const toMs = performance.now() - startMs;
    this.#now.delete(text);
    this.#faults.push({ text, fromMs, toMs, proof: proof ?? null, trouble: trouble ?? null });
    this.#options.say?.(`${seconds(toMs)}  ${trouble ?? proof ?? `NOT SEEN TO HAPPEN: ${text}`}`);
  }
}

function since({ fromMs, toMs }: Silence, startMs: number): Silence {
  return { fromMs: fromMs - startMs, toMs: toMs - startMs };
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`.padStart(8);
}

/** Waits until then, or until the run is given up. */
async function until(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, Math.max(0, ms - performance.now()));
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}
