/** What stands where, as the conversation lanes said it before anybody could hear it. */
import { At, Kind, readU53 } from '../core/frame.js';
import { QUEUE_TTL_MS } from '../core/limits.js';

/** One sequenced frame. */
export interface Standing {
  /** The sender's device key, and its counter. */
  readonly device: number;
  readonly counter: number;
  /** Server time from which on it must not be delivered. */
  readonly deadlineMs: number;
}

export class Record {
  readonly #conversations = new Map<number, Map<number, Standing[]>>();

  /** A sequenced frame that is about to be fanned out; it may come again. */
  add(bytes: Uint8Array, view: DataView, at: number): void {
    const standings = this.#of(readU53(view, at + At.CONV_A), readU53(view, at + At.CONV_B));
    const seq = view.getUint32(at + At.SEQ);
    if (standings[seq - 1] !== undefined) return;
    const ttlS = bytes[at + At.KIND] === Kind.MESSAGE ? view.getUint32(at + At.EXTRA) : 0;
    standings[seq - 1] = {
      device: readU53(view, at + At.DEVICE),
      counter: view.getUint32(at + At.COUNTER),
      deadlineMs: readU53(view, at + At.TIME) + (ttlS === 0 ? QUEUE_TTL_MS : Math.min(ttlS * 1_000, QUEUE_TTL_MS)),
    };
  }

  #of(a: number, b: number): Standing[] {
    let byB = this.#conversations.get(a);
    if (byB === undefined) this.#conversations.set(a, (byB = new Map()));
    let standings = byB.get(b);
    if (standings === undefined) byB.set(b, (standings = []));
    return standings;
  }

  /** Whether a device's counter stands anywhere. */
  has(a: number, b: number, device: number, counter: number): boolean {
    return this.#of(a, b).some((standing) => standing?.device === device && standing.counter === counter);
  }

  at(a: number, b: number, seq: number): Standing | undefined {
    return this.#conversations.get(a)?.get(b)?.[seq - 1];
  }
}
