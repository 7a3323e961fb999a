/**
 * The state of a client's connection, without the connection: when to connect, when to ping, when to give up. All times are
 * milliseconds of one clock that never falls.
 */

import { CloseCodes, mayReconnect } from '../core/errors.js';
import { BACKOFF_BASE_MS, BACKOFF_MAX_MS, CLIENT_CONNECT_TIMEOUT_MS } from '../core/limits.js';
import type { Prng } from '../core/prng.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';

export const LinkState = {
  /** Not to be connected: not started, or closed for good. */
  CLOSED: 0,
  /** Waits for `reconnectAtMs`. */
  OFFLINE: 1,
  CONNECTING: 2,
  /** HELLO is on its way, WELCOME is not here yet. */
  HELLO: 3,
  /** The inbox is on its way. */
  CATCHING_UP: 4,
  LIVE: 5,
} as const;

export type LinkStateName = keyof typeof LinkState;

const NAMES: readonly LinkStateName[] = ['CLOSED', 'OFFLINE', 'CONNECTING', 'HELLO', 'CATCHING_UP', 'LIVE'];

export function nameOfLinkState(state: number): LinkStateName {
  return NAMES[state] ?? 'CLOSED';
}

export class Link {
  readonly #random: Prng;
  readonly #idleTimeoutMs: number;
  readonly #renewsToken: boolean;
  #heartbeatMs: number;
  state: number = LinkState.CLOSED;
  /** Connections in a row that did not reach CAUGHT_UP. */
  #failures = 0;
  /** When to connect, while OFFLINE. */
  reconnectAtMs = 0;
  /** What the server said in GOAWAY: the close code to come. */
  #goaway = 0;
  #since = 0;
  #heardAtMs = 0;
  #pingAtMs = 0;

  constructor(random: Prng, heartbeatMs: number, idleTimeoutMs: number, renewsToken: boolean) {
    this.#random = random;
    this.#renewsToken = renewsToken;
    this.#heartbeatMs = heartbeatMs;
    this.#idleTimeoutMs = idleTimeoutMs;
  }

  get isOpen(): boolean {
    return this.state >= LinkState.HELLO;
  }

  /** Connect as soon as possible, whatever the backoff says. */
  start(nowMs: number): void {
    if (this.state > LinkState.OFFLINE) return;
    this.state = LinkState.OFFLINE;
    this.reconnectAtMs = nowMs;
  }

  wantsConnection(nowMs: number): boolean {
    return this.state === LinkState.OFFLINE && nowMs >= this.reconnectAtMs;
  }

  connecting(nowMs: number): void {
    this.state = LinkState.CONNECTING;
    this.#since = nowMs;
    this.#goaway = 0;
  }

  opened(nowMs: number): void {
    this.state = LinkState.HELLO;
    this.#heardAtMs = nowMs;
    // The first ping comes early by up to half, so that clients that came at once do not ping at once.
    this.#pingAtMs = nowMs + this.#random.between(Math.ceil(this.#heartbeatMs / 2), this.#heartbeatMs);
  }

  welcomed(heartbeatMs: number): void {
    this.state = LinkState.CATCHING_UP;
    if (heartbeatMs > 0) this.#heartbeatMs = Math.min(this.#heartbeatMs, heartbeatMs);
  }

  caughtUp(): void {
    this.state = LinkState.LIVE;
    this.#failures = 0;
  }

  heard(nowMs: number): void {
    this.#heardAtMs = nowMs;
  }

  goaway(code: number): void {
    this.#goaway = code;
  }

  /** True, once, when a ping is due. */
  takePing(nowMs: number): boolean {
    if (!this.isOpen || nowMs < this.#pingAtMs) return false;
    this.#pingAtMs = nowMs + this.#heartbeatMs;
    return true;
  }

  /** True if the connection has been silent, or an attempt has lasted, for too long. */
  isDead(nowMs: number): boolean {
    return nowMs >= this.#deadAtMs;
  }

  get #deadAtMs(): number {
    if (this.isOpen) return this.#heardAtMs + this.#idleTimeoutMs;
    return this.state === LinkState.CONNECTING ? this.#since + CLIENT_CONNECT_TIMEOUT_MS : Number.POSITIVE_INFINITY;
  }

  /**
   * The connection, or the attempt, is over. The next attempt comes within 1 s, those after it after 1 s · 2ⁿ, at most
   * 30 s, half of it jitter, so that those who lost one server do not come back together. Not all of it: short waits by
   * chance are failures while a server restarts, and failures make long waits (measured: docs/decisions/0010-backoff.md).
   * Returns the code that counts: GOAWAY's, if there was one.
   */
  closed(code: number, nowMs: number, retryAfterMs: number): number {
    const effective = this.#goaway === 0 ? code : this.#goaway;
    this.#goaway = 0;
    const isRenewable = this.#renewsToken && effective === CloseCodes.TOKEN_EXPIRED.code;
    if (!mayReconnect(effective) && !isRenewable) {
      this.state = LinkState.CLOSED;
      return effective;
    }
    this.state = LinkState.OFFLINE;
    if (effective === CloseCodes.DRAINING.code && this.#failures === 0) {
      reached(Mark.CLIENT_CAME_BACK_AT_ONCE);
      this.#failures = 1;
      this.reconnectAtMs = nowMs;
      return effective;
    }
    const ceilingMs = Math.min(BACKOFF_BASE_MS * 2 ** this.#failures, BACKOFF_MAX_MS);
    const isLater = buggify(Site.CLIENT_RECONNECTS_LATER);
    const floorMs = isLater ? ceilingMs : this.#failures === 0 ? 0 : ceilingMs / 2;
    this.#failures++;
    this.reconnectAtMs = nowMs + retryAfterMs + this.#random.between(floorMs, ceilingMs);
    return effective;
  }

  /** The next moment at which one of the above changes by itself. */
  get wakeAtMs(): number {
    if (this.isOpen) return Math.min(this.#pingAtMs, this.#deadAtMs);
    return this.state === LinkState.OFFLINE ? this.reconnectAtMs : this.#deadAtMs;
  }
}
