/**
 * G12 in a world: what is true of everybody, and, at the end of some worlds, people who go (with a goodbye, without one, or
 * again and again) while gateways and lanes die. When that has come to rest, all watchers must have been told.
 */
import { PRESENCE_WINDOW_MS, SESSION_GRACE_MS } from '../core/limits.js';
import { Prng } from '../core/prng.js';
import type { Backbone } from './backbone.js';
import type { Context } from './context.js';
import type { Device } from './device.js';
import type { Observer } from './observer.js';
import type { FaultEvent } from './plan.js';

/** People go within this. */
const GOING_MS = 6_000;
/** All who want to be online are again by then. */
const BACK_MS = 180_000;
/** A change is told within two windows; a lost connection is noticed, and its session ends, some time before. */
const TOLD_MS = SESSION_GRACE_MS + 2 * PRESENCE_WINDOW_MS + 8_000;
/** What is true is true for so long at least, when watchers are asked. */
const SINCE_MS = 5_000;

export interface Stage {
  readonly context: Context;
  readonly observer: Observer;
  readonly backbone: Backbone;
  readonly devices: readonly Device[];
  /** Lets virtual time pass. */
  readonly passUntil: (untilUs: number) => void;
  /** Updates that a watcher is sent in a window. */
  readonly presenceUpdates: number;
}

/** Tells the checkers who is online, and that watchers must know. */
export function tellTruth({ context, observer, devices }: Stage): void {
  const atMs = context.steadyMs;
  const online = new Map<number, boolean>();
  for (const { user, isLive } of devices) online.set(user, (online.get(user) ?? false) || isLive);
  for (const [user, isOnline] of online) {
    observer.feed({ op: 'truth', user, on: isOnline ? 1 : 0, at: atMs - SINCE_MS });
  }
  for (const device of devices) device.renewWatches();
  observer.feed({ op: 'settled', at: atMs });
}

/** People go while things break; it is asked; and all come back. False: not all who wanted to did. */
export function scatter(stage: Stage, seed: number): boolean {
  const { context, backbone, devices } = stage;
  const { queue } = context;
  const random = new Prng(seed).fork('audience');
  const startUs = queue.nowUs;
  const at = (action: () => void): void => queue.at(startUs + random.between(0, GOING_MS) * 1_000, action);
  const users = new Set(devices.map(({ user }) => user));
  for (const user of users) {
    const way = random.below(4);
    for (const device of devices) {
      if (device.user !== user) continue;
      if (way === 1) at(() => device.stop());
      else if (way === 2) at(() => device.vanish());
      else if (way === 3) flap(random, at, device, queue);
    }
  }
  for (const fault of drawFaults(random, backbone)) at(() => backbone.inject(fault));
  stage.passUntil(startUs + GOING_MS * 1_000 + 2_000_000);
  if (!waitForAll(stage)) return false;
  stage.passUntil(queue.nowUs + (TOLD_MS + throttledMs(stage)) * 1_000);
  tellTruth(stage);
  context.mark('watchers asked while people are away');
  backbone.heal();
  for (const device of devices) device.start();
  if (!waitForAll(stage)) return false;
  stage.passUntil(queue.nowUs + (2 * PRESENCE_WINDOW_MS + throttledMs(stage) + 3_000) * 1_000);
  return waitForAll(stage);
}

/** A watcher is told of everybody within this, though each of its devices makes the server say it once more. */
function throttledMs({ devices, presenceUpdates }: Stage): number {
  return Math.ceil((2 * devices.length) / presenceUpdates) * PRESENCE_WINDOW_MS;
}

/** Until all who want to be online are, and all lanes have read what there is. */
function waitForAll(stage: Stage): boolean {
  const { queue } = stage.context;
  const untilUs = queue.nowUs + BACK_MS * 1_000;
  while (queue.nowUs < untilUs && !areBack(stage)) stage.passUntil(queue.nowUs + 1_000_000);
  return areBack(stage);
}

/** Comes and goes; stays away or online in the end. */
function flap(random: Prng, at: (action: () => void) => void, device: Device, queue: Context['queue']): void {
  for (let times = random.between(2, 5); times > 0; times--) {
    const awayUs = random.between(10, 1_500) * 1_000;
    at(() => {
      device.stop();
      queue.after(awayUs, () => device.start());
    });
  }
  if (random.chance(1, 2)) queue.after((GOING_MS + 1_600) * 1_000, () => device.stop());
}

function drawFaults(random: Prng, { lanes, gateways }: Backbone): FaultEvent[] {
  const at = 0;
  const lane = (): number => random.below(lanes.length);
  const faults: FaultEvent[] = [];
  if (random.chance(1, 2)) faults.push({ fault: 'gateway-crash', at, gateway: random.below(gateways.length) });
  if (random.chance(1, 2)) faults.push({ fault: 'lane-crash', at, lane: lane() });
  if (random.chance(1, 2)) faults.push({ fault: 'lane-takeover', at, lane: lane(), for: random.between(50, 6_000) });
  if (random.chance(1, 8)) faults.push({ fault: 'power', at });
  return faults;
}

function areBack({ devices, backbone }: Stage): boolean {
  return backbone.isIdle && devices.every(({ isLive, isWanted }) => isLive === isWanted);
}
