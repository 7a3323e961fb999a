/**
 * G12: at most k updates in a window reach a device, and after quiescence every live watch shows the truth, so the last
 * state is never suppressed. Windows are aligned: window number = server time ÷ length.
 */
import { PRESENCE_UPDATES_PER_WINDOW, PRESENCE_WINDOW_MS, WATCH_TTL_MS } from '../limits.js';
import { type Violation, Violations } from './violation.js';

export interface PresenceOptions {
  readonly windowMs?: number;
  readonly updatesPerWindow?: number;
  /** A watch lasts this long unless it is repeated. */
  readonly watchTtlMs?: number;
  /** A change younger than this at the end need not have been told. */
  readonly boundMs?: number;
}

interface Watch {
  untilMs: number;
  /** What was told last; undefined: nothing. */
  told: boolean | undefined;
}

interface Watcher {
  window: number;
  updates: number;
  /** By user id. */
  readonly watches: Map<number, Watch>;
}

export class PresenceChecker {
  readonly violations: Violations;
  readonly #options: Required<PresenceOptions>;
  readonly #truth = new Map<number, { isOnline: boolean; sinceMs: number }>();
  readonly #watchers = new Map<number, Watcher>();

  constructor(options: PresenceOptions = {}, violations = new Violations()) {
    this.violations = violations;
    this.#options = {
      windowMs: PRESENCE_WINDOW_MS,
      updatesPerWindow: PRESENCE_UPDATES_PER_WINDOW,
      watchTtlMs: WATCH_TTL_MS,
      boundMs: 2 * PRESENCE_WINDOW_MS,
      ...options,
    };
  }

  /** What is true of a user from now on. Users of whom nothing is said are offline. */
  truth(user: number, isOnline: boolean, atMs: number): void {
    this.#truth.set(user, { isOnline, sinceMs: atMs });
  }

  #watcher(device: number): Watcher {
    const known = this.#watchers.get(device);
    if (known !== undefined) return known;
    const watcher: Watcher = { window: -1, updates: 0, watches: new Map() };
    this.#watchers.set(device, watcher);
    return watcher;
  }

  /** The device watches, or stops watching. */
  watch(device: number, user: number, isOn: boolean, atMs: number): void {
    const { watches } = this.#watcher(device);
    if (!isOn) {
      watches.delete(user);
      return;
    }
    const untilMs = atMs + this.#options.watchTtlMs;
    const watch = watches.get(user);
    if (watch === undefined) watches.set(user, { untilMs, told: undefined });
    else watch.untilMs = untilMs;
  }

  /** The device's connection ended: it watches nobody any more. */
  away(device: number): void {
    this.#watchers.get(device)?.watches.clear();
  }

  /** PRESENCE came to the device, sent at `atMs` of server time; 0: not known, and not counted. */
  told(device: number, user: number, isOnline: boolean, atMs: number): void {
    this.#count(device, user, atMs);
    const watch = this.#watcher(device).watches.get(user);
    if (watch !== undefined) watch.told = isOnline;
  }

  /** TYPING came to the device: it counts like presence. */
  typing(device: number, user: number, atMs: number): void {
    this.#count(device, user, atMs);
  }

  #count(device: number, user: number, atMs: number): void {
    if (atMs === 0) return;
    const watcher = this.#watcher(device);
    const { windowMs, updatesPerWindow } = this.#options;
    const window = Math.floor(atMs / windowMs);
    if (window !== watcher.window) {
      watcher.window = window;
      watcher.updates = 0;
    }
    watcher.updates++;
    if (watcher.updates !== updatesPerWindow + 1) return;
    this.#fail(
      device,
      `more than ${updatesPerWindow} updates came in the ${windowMs} ms from ${window * windowMs} ms on, the last of user ${user}`,
    );
  }

  /** At `atMs` nothing has changed for a while: all that watchers were told must be true. At the end, and whenever things rest. */
  finish(atMs: number): void {
    for (const [device, { watches }] of this.#watchers) {
      for (const [user, watch] of watches) if (watch.untilMs > atMs) this.#judge(device, user, watch, atMs);
    }
  }

  #judge(device: number, user: number, watch: Watch, atMs: number): void {
    const truth = this.#truth.get(user) ?? { isOnline: false, sinceMs: Number.NEGATIVE_INFINITY };
    if (watch.told === truth.isOnline || atMs - truth.sinceMs < this.#options.boundMs) return;
    const state = truth.isOnline ? 'online' : 'offline';
    const since = Number.isFinite(truth.sinceMs) ? ` since ${truth.sinceMs} ms` : '';
    const told = watch.told === undefined ? 'nothing' : watch.told ? 'online' : 'offline';
    this.#fail(
      device,
      `user ${user} is ${state}${since}, but the last that the watcher was told at ${atMs} ms is: ${told}`,
    );
  }

  #fail(device: number, sentence: string): void {
    const violation: Violation = {
      guarantee: 'G12',
      fault: 'presence',
      count: 1,
      sentence,
      device,
      convA: 0,
      convB: 0,
      seq: 0,
      counter: 0,
      context: [],
    };
    this.violations.add(violation);
  }
}
