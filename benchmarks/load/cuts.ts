/**
 * When each device was without its connection, as every process knows it: so that a latency can be told apart by what the
 * generator did (planned cuts), what happened to the server (outages), and the steady state.
 */
import type { Cut } from './messages.js';

export const CutKind = { NONE: 0, PLANNED: 1, OUTAGE: 2 } as const;

export class CutTable {
  /** The last cut of each device; `to` is infinite while it lasts. */
  readonly #from: Float64Array;
  readonly #to: Float64Array;
  readonly #planned: Uint8Array;
  #any = false;

  constructor(devices: number) {
    this.#from = new Float64Array(devices).fill(Number.POSITIVE_INFINITY);
    this.#to = new Float64Array(devices).fill(Number.NEGATIVE_INFINITY);
    this.#planned = new Uint8Array(devices);
  }

  record(cut: Cut): void {
    this.#any = true;
    this.#from[cut.device] = cut.fromMs;
    this.#to[cut.device] = cut.toMs;
    this.#planned[cut.device] = cut.planned ? 1 : 0;
  }

  /** What touched a message between its intended time and its reception, at its sender or at its receiver. */
  touched(sender: number, receiver: number, intendedMs: number, receivedMs: number): number {
    if (!this.#any) return CutKind.NONE;
    const atSender = this.#touches(sender, intendedMs, receivedMs);
    const atReceiver = this.#touches(receiver, intendedMs, receivedMs);
    if (atSender === CutKind.PLANNED || atReceiver === CutKind.PLANNED) return CutKind.PLANNED;
    return Math.max(atSender, atReceiver);
  }

  #touches(device: number, fromMs: number, toMs: number): number {
    if (this.#to[device]! < fromMs || this.#from[device]! > toMs) return CutKind.NONE;
    return this.#planned[device] === 1 ? CutKind.PLANNED : CutKind.OUTAGE;
  }
}
