/**
 * What is owed to a device that is new to a user who has others: what comes after its first HELLO (docs/protocol.md). Where that
 * is in each conversation nobody tells; but whatever was sequenced after WELCOME is owed for sure. So it begins with what it sees
 * first, and at the latest behind what had been fanned out when it was welcomed.
 */
import type { HistoryEvent } from '../core/checks/index.js';
import { userOfDevice } from '../core/ids.js';

interface Head {
  readonly a: number;
  readonly b: number;
  seq: number;
}

function nameOf(a: number, b: number): string {
  return `${a},${b}`;
}

export class Beginnings {
  /** By conversation: the highest sequence that was fanned out. */
  readonly #heads = new Map<string, Head>();
  /** By new device: the latest sequence to begin with, in conversations that it has not seen yet; undefined: not welcomed yet. */
  readonly #begins = new Map<number, Map<string, Head> | undefined>();

  get isEmpty(): boolean {
    return this.#begins.size === 0;
  }

  /** The device will be new. Before anything is fanned out. */
  expect(device: number): void {
    this.#begins.set(device, undefined);
  }

  fannedOut(a: number, b: number, seq: number): void {
    const head = this.#heads.get(nameOf(a, b));
    if (head === undefined) this.#heads.set(nameOf(a, b), { a, b, seq });
    else if (seq > head.seq) head.seq = seq;
  }

  /** What is to be told before the event. */
  before(event: HistoryEvent): HistoryEvent | undefined {
    if (!('device' in event) || !this.#begins.has(event.device)) return undefined;
    const { device } = event;
    if (event.op === 'resume') {
      if (this.#begins.get(device) === undefined) this.#begins.set(device, this.#afterHeads(device));
      return undefined;
    }
    if (event.op === 'gap') return this.#begin(device, event.a, event.b, event.through);
    if (event.op !== 'deliver' && event.op !== 'ok') return undefined;
    return this.#begin(device, event.a, event.b, event.seq);
  }

  #afterHeads(device: number): Map<string, Head> {
    const user = userOfDevice(device);
    const begins = new Map<string, Head>();
    for (const [name, { a, b, seq }] of this.#heads) {
      if (a === 0 || a === user || b === user) begins.set(name, { a, b, seq: seq + 1 });
    }
    return begins;
  }

  /** The sequence that the device begins with if it sees `seen` now; 1 if it has begun, or is not new. */
  firstOf(device: number, a: number, b: number, seen: number): number {
    const latest = this.#begins.get(device)?.get(nameOf(a, b));
    return latest === undefined ? 1 : Math.min(seen, latest.seq);
  }

  #begin(device: number, a: number, b: number, seen: number): HistoryEvent | undefined {
    const seq = this.firstOf(device, a, b, seen);
    return this.#begins.get(device)?.delete(nameOf(a, b)) === true ? { op: 'start', device, a, b, seq } : undefined;
  }

  /** At the end: where devices begin in conversations of which they have seen nothing. */
  *rest(): Generator<HistoryEvent> {
    for (const [device, begins] of this.#begins) {
      for (const { a, b, seq } of begins?.values() ?? []) yield { op: 'start', device, a, b, seq };
    }
  }
}
