/**
 * The search for the highest rate that still holds: upwards by doubling until a step fails, then by halving the interval
 * until it is narrower than a tenth.
 */
import { formatCount, formatMs, formatShare } from '../../reports/format.js';
import type { FindMaxStep, StepFigures } from './result.js';
import type { Stepper } from './steps.js';

export interface StepOutcome {
  /** The step kept its latency bound, without a violation, and the generator was not the bottleneck. */
  readonly ok: boolean;
  /** The search ends here, whatever the bounds: a violation, or the generator itself is at its limit. */
  readonly stop: boolean;
}

/** Below this share of the rate the clients did not make the load that the step is about. */
const SENT_SHARE = 0.9;
/** The server keeps up if it acknowledges at least this share of what is sent. */
const ACKED_SHARE = 0.95;
const BUSY_SHARE = 0.25;

/**
 * Why a step failed, or `ok`. Latency counts from the intended time, so a generator that is late makes a step look worse,
 * never better: a step that holds, holds. One that fails while the generator was short of time says nothing of the server.
 */
export function judgeStep(step: StepFigures, boundMs: number): string {
  if (step.violations > 0) return 'a guarantee was violated';
  let reason: string | undefined;
  if (step.sent_per_s < step.rate * SENT_SHARE) reason = 'the clients could not send as much';
  else if (step.acked_per_s < step.sent_per_s * ACKED_SHARE) reason = 'the server did not keep up';
  else if (step.p99_ms === null || step.p99_ms > boundMs) reason = `p99 is above ${formatMs(boundMs)}`;
  if (reason === undefined) return 'ok';
  return step.generator_busy_share > BUSY_SHARE ? `${reason}; ${GENERATOR_LIMITED}` : reason;
}

/** How a reason ends when it may be the generator's fault. */
export const GENERATOR_LIMITED = 'the generator was the bottleneck';

/** The interval is narrow enough when its upper end is at most this much above its lower. */
const PRECISION = 1.1;
const STEPS_MAX = 24;

export class RateSearch {
  readonly #start: number;
  readonly #precision: number;
  readonly #stepsMax: number;
  /** Highest rate that held; 0 if none did. */
  best = 0;
  /** Lowest rate that failed. */
  #failed = Number.POSITIVE_INFINITY;
  #steps = 0;
  #stopped = false;

  constructor(
    startRate: number,
    { precision = PRECISION, stepsMax = STEPS_MAX }: Pick<SearchOptions, 'precision' | 'stepsMax'> = {},
  ) {
    this.#start = startRate;
    this.#precision = precision;
    this.#stepsMax = stepsMax;
  }

  /** The next rate to try, or undefined when the search is over. */
  next(): number | undefined {
    if (this.#stopped || this.#steps >= this.#stepsMax) return undefined;
    if (this.#steps === 0) return round(this.#start);
    if (this.#failed === Number.POSITIVE_INFINITY) return round(this.best * 2);
    if (this.best === 0) return this.#failed > 1 ? round(this.#failed / 4) : undefined;
    if (this.#failed / this.best <= this.#precision) return undefined;
    const middle = round(Math.sqrt(this.best * this.#failed));
    return middle <= this.best || middle >= this.#failed ? undefined : middle;
  }

  report(rate: number, outcome: StepOutcome): void {
    this.#steps++;
    if (outcome.ok) this.best = Math.max(this.best, rate);
    else this.#failed = Math.min(this.#failed, rate);
    if (outcome.stop) this.#stopped = true;
  }
}

/** Two significant figures, so that the table reads well. */
function round(rate: number): number {
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(rate)) - 1);
  return Math.max(1, Math.round(rate / digits) * digits);
}

export interface SearchOptions {
  readonly startRate: number;
  /** What p99 may be at most. */
  readonly p99Ms: number;
  readonly stepMs: number;
  /** Each step is measured after it has run for this long. */
  readonly warmUpMs?: number;
  /** The search ends when the lowest rate that failed is at most this many times the highest that held. */
  readonly precision?: number;
  readonly stepsMax?: number;
  /** A line for the reader. */
  readonly say?: ((line: string) => void) | undefined;
}

const WARM_UP_MS = 2_000;

/** Makes steps until the highest rate is known; after one that was too much, everything that is under way arrives first. */
export async function searchRate(stepper: Stepper, options: SearchOptions): Promise<FindMaxStep[]> {
  const { startRate, p99Ms, stepMs, warmUpMs = WARM_UP_MS, say } = options;
  const search = new RateSearch(startRate, options);
  const steps: FindMaxStep[] = [];
  say?.(stepHead());
  for (let rate = search.next(); rate !== undefined && !stepper.isStopped; rate = search.next()) {
    const figures = await stepper.step({ rate, warmUpMs, measureMs: stepMs });
    if (stepper.isStopped) break;
    const reason = judgeStep(figures, p99Ms);
    const step = { ...figures, ok: reason === 'ok', reason };
    steps.push(step);
    say?.(stepLine(step));
    search.report(rate, { ok: step.ok, stop: step.violations > 0 });
    if (!step.ok && !(await stepper.settle())) break;
  }
  return steps;
}

/** The highest rate that held; 0 if none did. */
export function highestRate(steps: readonly FindMaxStep[]): number {
  return steps.filter(({ ok }) => ok).reduce((max, { rate }) => Math.max(max, rate), 0);
}

/** Why there is no more: the reason of the lowest rate that failed; undefined if none did. */
export function limitOf(steps: readonly FindMaxStep[]): string | undefined {
  return steps.filter(({ ok }) => !ok).toSorted((one, other) => one.rate - other.rate)[0]?.reason;
}

const STEP_COLUMNS = ['rate', 'sent/s', 'delivered/s', 'p50', 'p95', 'p99', 'backlog', 'generator'];

function stepHead(): string {
  return `${STEP_COLUMNS.map((name) => name.padStart(12)).join('')}   outcome`;
}

function stepLine(step: FindMaxStep): string {
  const cells = [
    formatCount(step.rate),
    formatCount(step.sent_per_s),
    formatCount(step.delivered_per_s),
    formatMs(step.p50_ms),
    formatMs(step.p95_ms),
    formatMs(step.p99_ms),
    formatCount(step.backlog),
    formatShare(step.generator_cpu),
  ];
  return `${cells.map((cell) => cell.padStart(12)).join('')}   ${step.reason}`;
}
