/**
 * What a client asks of the user stage: whom it watches, whom it blocks, its devices. Watching is said again before it ends, on
 * every connection; a change of the block list and a question for the devices until they are answered.
 */
import { DunlinError } from '../core/errors.js';
import { Kind } from '../core/frame.js';
import { WATCH_TTL_MS, WATCHED_PER_USER_MAX } from '../core/limits.js';

const NEVER = Number.POSITIVE_INFINITY;

/** A frame to send; all other fields are zero. */
export interface ControlFrame {
  readonly kind: number;
  readonly convB: number;
  readonly extra: number;
}

export class Requests {
  /** To send, in this order. */
  #frames: ControlFrame[] = [];
  /** When each watched user is to be watched anew. */
  readonly #watches = new Map<number, number>();
  /** Changes that the server has not confirmed. */
  readonly #blocks: Map<number, boolean>;
  #devicesWanted = false;
  /** When the next watch is to be said again. */
  watchAtMs = NEVER;

  constructor(blocks: readonly (readonly [user: number, blocked: boolean])[]) {
    this.#blocks = new Map(blocks);
  }

  get isEmpty(): boolean {
    return this.#frames.length === 0;
  }

  shift(): ControlFrame {
    return this.#frames.shift()!;
  }

  /** Changes of the block list that the server has not confirmed. */
  get blocks(): [user: number, blocked: boolean][] {
    return [...this.#blocks];
  }

  /** True if something was asked that has no answer. */
  get isOpen(): boolean {
    return this.#blocks.size > 0 || this.#devicesWanted;
  }

  /** A new connection: nothing of it was said there. */
  restart(): void {
    this.#frames = [];
    this.watchAtMs = NEVER;
  }

  /** The connection is live: says everything. */
  live(nowMs: number): void {
    for (const user of this.#watches.keys()) this.#watches.set(user, 0);
    this.renewWatches(nowMs);
    this.askAgain();
  }

  watch(user: number): void {
    if (this.#watches.size >= WATCHED_PER_USER_MAX && !this.#watches.has(user)) {
      throw new DunlinError(`More than ${WATCHED_PER_USER_MAX} users are watched already.`);
    }
    this.#watches.set(user, 0);
    this.watchAtMs = 0;
  }

  unwatch(user: number, isLive: boolean): void {
    if (this.#watches.delete(user) && isLive) this.#frames.push({ kind: Kind.WATCH, convB: user, extra: 0 });
  }

  /** Watches anew whom it is time for. */
  renewWatches(nowMs: number): void {
    this.watchAtMs = NEVER;
    for (const [user, dueAtMs] of this.#watches) {
      let nextMs = dueAtMs;
      if (nowMs >= dueAtMs) {
        this.#frames.push({ kind: Kind.WATCH, convB: user, extra: 1 });
        nextMs = nowMs + WATCH_TTL_MS / 2;
        this.#watches.set(user, nextMs);
      }
      if (nextMs < this.watchAtMs) this.watchAtMs = nextMs;
    }
  }

  block(user: number, blocked: boolean, isLive: boolean): void {
    this.#blocks.set(user, blocked);
    if (isLive) this.#sayBlock(user, blocked);
  }

  #sayBlock(user: number, blocked: boolean): void {
    this.#frames.push({ kind: Kind.BLOCK, convB: user, extra: blocked ? 1 : 0 });
  }

  /** The server says that the user is blocked, or not. */
  blockConfirmed(user: number, blocked: boolean): void {
    if (this.#blocks.get(user) === blocked) this.#blocks.delete(user);
  }

  /** The server refused the block for good. False: none was asked for. */
  blockRefused(user: number): boolean {
    return this.#blocks.delete(user);
  }

  devices(isLive: boolean): void {
    this.#devicesWanted = true;
    if (isLive) this.#sayDevices();
  }

  #sayDevices(): void {
    this.#frames.push({ kind: Kind.DEVICES, convB: 0, extra: 0 });
  }

  devicesTold(): void {
    this.#devicesWanted = false;
  }

  removeDevice(number: number): void {
    this.#frames.push({ kind: Kind.DEVICE_REMOVE, convB: 0, extra: number });
  }

  /** Says once more what has no answer. */
  askAgain(): void {
    for (const [user, blocked] of this.#blocks) this.#sayBlock(user, blocked);
    if (this.#devicesWanted) this.#sayDevices();
  }
}
