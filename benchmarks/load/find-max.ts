/**
 * The search for the highest rate that still holds: upwards by doubling until a step fails, then by halving the interval
 * until it is narrower than a tenth. Pure: the caller makes the steps.
 */
import { formatMs } from '../../reports/format.js';

export interface StepOutcome {
  /** The step kept its latency bound, without a violation, and the generator was not the bottleneck. */
  readonly ok: boolean;
  /** The search ends here, whatever the bounds: a violation, or the generator itself is at its limit. */
  readonly stop: boolean;
}

export interface StepMeasurement {
  readonly rate: number;
  readonly sentPerSecond: number;
  readonly ackedPerSecond: number;
  /** Infinity if nothing arrived. */
  readonly p99Ms: number;
  readonly boundMs: number;
  readonly violations: number;
  /** Share of the step in which the generator was short of processor time. */
  readonly generatorBusyShare: number;
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
export function judgeStep(step: StepMeasurement): string {
  if (step.violations > 0) return 'a guarantee was violated';
  let reason: string | undefined;
  if (step.sentPerSecond < step.rate * SENT_SHARE) reason = 'the clients could not send as much';
  else if (step.ackedPerSecond < step.sentPerSecond * ACKED_SHARE) reason = 'the server did not keep up';
  else if (step.p99Ms > step.boundMs) reason = `p99 is above ${formatMs(step.boundMs)}`;
  if (reason === undefined) return 'ok';
  return step.generatorBusyShare > BUSY_SHARE ? `${reason}; ${GENERATOR_LIMITED}` : reason;
}

/** How a reason ends when it may be the generator's fault. */
export const GENERATOR_LIMITED = 'the generator was the bottleneck';

/** The interval is narrow enough when its upper end is at most this much above its lower. */
const PRECISION = 1.1;

export class RateSearch {
  readonly #start: number;
  readonly #stepsMax: number;
  /** Highest rate that held; 0 if none did. */
  best = 0;
  /** Lowest rate that failed. */
  #failed = Number.POSITIVE_INFINITY;
  #steps = 0;
  #stopped = false;

  constructor(startRate: number, stepsMax = 24) {
    this.#start = startRate;
    this.#stepsMax = stepsMax;
  }

  /** The next rate to try, or undefined when the search is over. */
  next(): number | undefined {
    if (this.#stopped || this.#steps >= this.#stepsMax) return undefined;
    if (this.#steps === 0) return round(this.#start);
    if (this.#failed === Number.POSITIVE_INFINITY) return round(this.best * 2);
    if (this.best === 0) return this.#failed > 1 ? round(this.#failed / 4) : undefined;
    if (this.#failed / this.best <= PRECISION) return undefined;
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
