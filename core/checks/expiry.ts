/** G11: nothing is delivered after its deadline by server time. */
import { QUEUE_TTL_MS } from '../limits.js';
import { Violations } from './violation.js';

export interface ExpiryOptions {
  /** Time to live of what has none of its own. */
  readonly queueTtlMs?: number;
  /** How far the observer's idea of server time may be behind: 0 in a simulator, the network's delay from outside. */
  readonly toleranceMs?: number;
}

export class ExpiryChecker {
  readonly violations: Violations;
  readonly #queueTtlMs: number;
  readonly #toleranceMs: number;

  constructor(options: ExpiryOptions = {}, violations = new Violations()) {
    this.violations = violations;
    this.#queueTtlMs = options.queueTtlMs ?? QUEUE_TTL_MS;
    this.#toleranceMs = options.toleranceMs ?? 0;
  }

  /** `timeMs`: the message's own server time; `ttlS`: its `extra`, 0 for none; `nowMs`: server time of the delivery. */
  delivered(
    device: number,
    convA: number,
    convB: number,
    seq: number,
    timeMs: number,
    ttlS: number,
    nowMs: number,
  ): void {
    const ttlMs = ttlS === 0 ? this.#queueTtlMs : Math.min(ttlS * 1_000, this.#queueTtlMs);
    const lateMs = nowMs - timeMs - ttlMs - this.#toleranceMs;
    if (lateMs <= 0) return;
    this.violations.add({
      guarantee: 'G11',
      fault: 'expiry',
      count: 1,
      sentence: `a message of ${timeMs} ms with ${ttlMs} ms to live was delivered at ${nowMs} ms, ${lateMs} ms too late`,
      device,
      convA,
      convB,
      seq,
      counter: 0,
      context: [],
    });
  }
}
