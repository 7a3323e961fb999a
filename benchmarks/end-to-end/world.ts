/**
 * A server and the load on it, which stand ready while a benchmark makes steps: with one, or with several in turn, so that what
 * else the machine does meets all of them. When it is closed, everything that was sent must have arrived, once and in order.
 */
import { mix32 } from '../../core/ids.js';
import { formatMs } from '../../reports/format.js';
import { LoadRun } from '../load/coordinator.js';
import { GENERATOR_LIMITED, type SearchOptions, searchRate } from '../load/find-max.js';
import type { RunPlan } from '../load/messages.js';
import { forkGenerator } from '../load/processes.js';
import type { FindMaxStep, LoadResult, StepFigures } from '../load/result.js';
import type { StepOptions, Stepper } from '../load/steps.js';
import type { Workload } from '../load/workload.js';
import { type Server, startServer, TICKS_PER_SECOND } from './server.js';

/** The same users, groups and sizes in every run. */
const SEED = 7;
const CONNECTS_PER_SECOND = 1_900;
/** Descriptors of one process are often capped at 20,000. */
const CONNECTIONS_PER_PROCESS_MAX = 15_000;
const PROCESSES = 2;
/** A step in which nothing went through says nothing. */
const ACKED_MIN = 1;
const MEMORY_PAUSE_MS = 250;
/** Share of the seconds above which a step says that its generator was short of processor time. */
const BUSY_SHARE = 0.25;

/** A step, and what the server did meanwhile. */
export interface WorldStep extends StepFigures {
  /** Processor time of the server in the measured part, as a share of a core. */
  readonly server_cpu: number;
  /** WebSocket messages to clients. */
  readonly server_writes_per_s: number;
}

export interface WorldOptions {
  readonly workload: Workload;
  /** Of `dunlin up`. */
  readonly flags?: readonly string[];
  /** One small generator, for the tests. */
  readonly isTiny: boolean;
}

let runs = 0;

export class World {
  readonly #server: Server;
  readonly #stepper: Stepper;
  readonly #end: () => void;
  readonly #result: Promise<LoadResult>;
  readonly #memory: [number, number][] = [];
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  readonly #steps: StepFigures[] = [];

  private constructor(server: Server, stepper: Stepper, result: Promise<LoadResult>, end: () => void) {
    this.#server = server;
    this.#stepper = stepper;
    this.#result = result;
    this.#end = end;
    this.#timer = setInterval(() => this.#sampleMemory(), MEMORY_PAUSE_MS);
    this.#sampleMemory();
  }

  /** Resolves when all devices are connected and all groups founded. */
  static async open({ workload, flags = [], isTiny }: WorldOptions): Promise<World> {
    const server = await startServer(flags);
    try {
      return await World.#load(server, planOf(server, workload, isTiny));
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  static async #load(server: Server, plan: RunPlan): Promise<World> {
    let end = (): void => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    let result: Promise<LoadResult> | undefined;
    const stepper = await new Promise<Stepper>((resolve, reject) => {
      const run = new LoadRun({
        plan,
        findMax: null,
        makePort: forkGenerator,
        drive: async (ready) => {
          resolve(ready);
          await ended;
        },
      });
      result = run.run();
      result.catch(reject);
    });
    return new World(server, stepper, result!, end);
  }

  #sampleMemory(): void {
    this.#memory.push([this.seconds, this.#server.residentBytes() / 2 ** 20]);
  }

  /** Since it was opened. */
  get seconds(): number {
    return Number(((performance.now() - this.#startMs) / 1_000).toFixed(2));
  }

  /** Resident memory of the server: seconds since it was opened, MiB. */
  get memory(): readonly (readonly [number, number])[] {
    return this.#memory;
  }

  async step(options: StepOptions): Promise<WorldStep> {
    let cpu = this.#server.cpuSeconds();
    let fromMs = performance.now();
    let writesBefore: Promise<number> | undefined;
    const figures = await this.#stepper.step({
      ackedMin: ACKED_MIN,
      ...options,
      measures: () => {
        cpu = this.#server.cpuSeconds();
        fromMs = performance.now();
        writesBefore = this.#server.writes();
      },
    });
    // The system counts in ticks.
    const cpuSeconds = Math.max(1 / TICKS_PER_SECOND, this.#server.cpuSeconds() - cpu);
    const seconds = (performance.now() - fromMs) / 1_000;
    const writes = (await this.#server.writes()) - ((await writesBefore) ?? 0);
    this.#steps.push(figures);
    return { ...figures, server_cpu: cpuSeconds / seconds, server_writes_per_s: Math.round(writes / seconds) };
  }

  /** Waits until all that was sent has arrived; throws if it does not. */
  async settle(): Promise<void> {
    if (!(await this.#stepper.settle())) throw new Error('what was sent did not arrive in time');
  }

  async search(options: SearchOptions): Promise<FindMaxStep[]> {
    const steps = await searchRate(this.#stepper, options);
    this.#steps.push(...steps);
    return steps;
  }

  /** Of all its steps so far. */
  get generatorNote(): string {
    return generatorNote(this.#steps);
  }

  /** Ends sending, verifies everything, and stops the server. Throws if a guarantee was violated. */
  async close(): Promise<LoadResult> {
    this.#end();
    try {
      const result = await this.#result;
      if (!result.ok) throw new Error(result.verdict);
      return result;
    } finally {
      clearInterval(this.#timer);
      await this.#server.stop();
    }
  }
}

/** One load on a server that stays: sends for the workload's duration, and verifies everything. Throws at a violation. */
export async function loadOnce(server: Server, workload: Workload, isTiny: boolean): Promise<LoadResult> {
  const plan = planOf(server, workload, isTiny);
  const result = await new LoadRun({ plan, findMax: null, makePort: forkGenerator }).run();
  if (!result.ok) throw new Error(result.verdict);
  return result;
}

/** With users of its own. */
function planOf(server: Server, workload: Workload, isTiny: boolean): RunPlan {
  return {
    url: server.url,
    workload,
    seed: SEED,
    run: ++runs,
    trace: null,
    key: { data: server.data },
    caBundle: null,
    historyDirectory: null,
    connectsPerSecond: CONNECTS_PER_SECOND,
    processes: isTiny ? 1 : processesOf(workload),
  };
}

function processesOf({ users, devicesPerUser }: Workload): number {
  return Math.max(PROCESSES, Math.ceil((users * devicesPerUser) / CONNECTIONS_PER_PROCESS_MAX));
}

/** What the load generator took, and whether it was the bottleneck itself. */
export function generatorNote(steps: readonly StepFigures[]): string {
  const most = (of: (step: StepFigures) => number): number => Math.max(0, ...steps.map(of));
  const facts = `load generator: ${most((step) => step.generator_cpu_of_all).toFixed(2)} cores at most, ${formatMs(most((step) => step.generator_lag_ms))} late at most`;
  const busy = steps.filter((step) => step.generator_busy_share > BUSY_SHARE).length;
  return busy === 0 ? facts : `${facts}; in ${busy} of ${steps.length} steps ${GENERATOR_LIMITED}`;
}

/** Of how much was sent, acknowledged and delivered, and of what was found wrong with it, which is nothing. */
export function hashOf(results: readonly Pick<LoadResult, 'sent' | 'acked' | 'delivered' | 'lost'>[]): string {
  let hash = 0;
  for (const { sent, acked, delivered, lost } of results) {
    for (const count of [sent, acked, delivered, lost]) hash = mix32(hash ^ count) >>> 0;
  }
  return hash.toString(16);
}

/** Why two runs have not the same hash. */
export const VARIES = 'how much is sent and delivered in a given time is what is measured';
