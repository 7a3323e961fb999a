/**
 * Faults: how each is made, and how it is known that it really happened. `proof` is what was seen; without one the run has tested
 * nothing and says so.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attack } from './attack.js';
import type { Preload } from './preload.js';
import type { Proxy, Rule } from './proxy.js';
import { type EmbeddedServer, startSecond } from './server.js';
import type { Deed, Verb } from './steps.js';

export interface Place {
  readonly server: EmbeddedServer;
  readonly proxy: Proxy;
  /** There if any step of the scenario needs it. */
  readonly preload: Preload | undefined;
  readonly attack: (connections: number) => Attack;
}

/** What was seen of the fault; undefined: it did not happen. */
type Proof = string | undefined;
type Make<Kind extends Verb> = (place: Place, deed: Extract<Deed, { readonly do: Kind }>) => Promise<Proof>;

const SLICE_MS = 50;
/** How long one looks whether something that was told has happened. */
const LOOK_MS = 10_000;
const LOOK_EVERY_MS = 20;

async function seen(condition: () => boolean): Promise<boolean> {
  const untilMs = performance.now() + LOOK_MS;
  while (!condition()) {
    if (performance.now() > untilMs) return false;
    await sleep(LOOK_EVERY_MS);
  }
  return true;
}

async function imposed({ proxy }: Place, rule: Rule, forMs: number): Promise<Proof> {
  const lift = proxy.impose(rule);
  await sleep(forMs);
  return lift();
}

/** The server dies of what `arm` arms, and is started again. */
async function dies({ server }: Place, arm: () => void, proof: () => Proof): Promise<Proof> {
  const before = server.deaths.length;
  arm();
  if (!(await seen(() => server.deaths.length > before))) return undefined;
  const what = proof();
  await server.start();
  return what === undefined ? undefined : `${what}; the server ended (${server.deaths.at(-1)}) and was started again`;
}

const MAKE: { readonly [Kind in Verb]: Make<Kind> } = {
  kill: async ({ server }) => {
    const { pid } = server;
    const how = await server.end('SIGKILL');
    await server.start();
    return how === 'SIGKILL' ? `process ${pid} ended by SIGKILL` : undefined;
  },
  restart: async ({ server }) => {
    const { pid } = server;
    const how = await server.end('SIGTERM');
    await server.start();
    return how === 'exit code 0' ? `process ${pid} drained and ended with 0` : undefined;
  },
  pause: async ({ server }, { forMs }) => {
    server.signal('SIGSTOP');
    const hasStopped = await seen(() => server.state() === 'T');
    await sleep(forMs);
    const isStopped = server.state() === 'T';
    server.signal('SIGCONT');
    return hasStopped && isStopped ? `process ${server.pid} was stopped (T) from beginning to end` : undefined;
  },
  slow: async ({ server }, { share, forMs }) => {
    const untilMs = performance.now() + forMs;
    let stops = 0;
    while (performance.now() < untilMs) {
      server.signal('SIGSTOP');
      await sleep(SLICE_MS * (1 - share));
      if (server.state() === 'T') stops++;
      server.signal('SIGCONT');
      await sleep(SLICE_MS * share);
    }
    return stops === 0 ? undefined : `stopped ${stops} times for ${Math.round(SLICE_MS * (1 - share))} ms`;
  },
  partition: (place, { share, way, forMs }) =>
    imposed(place, { share, up: way !== 'to clients', down: way !== 'to server' }, forMs),
  stall: (place, { share, forMs }) => imposed(place, { share, down: true }, forMs),
  delay: (place, { byMs, forMs }) => imposed(place, { share: 1, up: true, down: true, delayMs: byMs }, forMs),
  limit: (place, { bytesPerSecond, forMs }) =>
    imposed(place, { share: 1, up: true, down: true, bytesPerSecond }, forMs),
  reset: async ({ proxy }, { share }) => {
    const reset = proxy.reset(share);
    return reset === 0 ? undefined : `${reset} connections were reset`;
  },
  refuse: async ({ proxy }, { forMs }) => {
    const end = proxy.refuse();
    await sleep(forMs);
    return end();
  },
  'fill-disk': async ({ server }, { forMs }) => {
    const empty = server.fillDisk();
    const untilMs = performance.now() + forMs;
    let proof: Proof;
    while (performance.now() < untilMs) {
      const answer = (await server.ask('/ready')) ?? '';
      if (/disk is nearly full/.test(answer)) proof = 'the server said that its disk is nearly full';
      await sleep(Math.min(LOOK_EVERY_MS * 5, Math.max(0, untilMs - performance.now())));
    }
    empty();
    return proof;
  },
  'slow-disk': async ({ preload }, { byMs, forMs }) => {
    const before = preload!.get('delayed');
    preload!.set('syncDelayUs', byMs * 1_000);
    await sleep(forMs);
    preload!.set('syncDelayUs', 0);
    const delayed = preload!.get('delayed') - before;
    return delayed === 0 ? undefined : `${delayed} syncs took ${byMs} ms longer`;
  },
  'fail-sync': (place) => {
    const before = place.preload!.get('failed');
    return dies(
      place,
      () => place.preload!.set('syncFailures', 1),
      () => (place.preload!.get('failed') > before ? 'a sync failed with EIO' : undefined),
    );
  },
  'tear-write': (place) => {
    const before = place.preload!.get('torn');
    return dies(
      place,
      () => place.preload!.set('tear', 1),
      () => (place.preload!.get('torn') > before ? 'of a write the first half was written' : undefined),
    );
  },
  'step-clock': async ({ preload }, { byMs }) => {
    const before = preload!.get('shifted');
    preload!.set('clockMs', preload!.get('clockMs') + byMs);
    const hasRead = await seen(() => preload!.get('shifted') > before || preload!.get('clockMs') === 0);
    return hasRead ? `the server read a clock that is ${preload!.get('clockMs') / 1_000} s off` : undefined;
  },
  'second-server': ({ server }) => startSecond(server),
  attack: async ({ attack }, { connections, forMs }) => {
    const attackers = attack(connections);
    await sleep(forMs);
    return await attackers.end();
  },
};

/** A server that starts still cannot be killed as one that serves. */
const IN_TURN: ReadonlySet<Verb> = new Set(['kill', 'restart', 'fail-sync', 'tear-write']);

/** Makes the fault, waits until it is over, and says what was seen of it. */
export function makeFault(place: Place, deed: Deed): Promise<Proof> {
  const make = (): Promise<Proof> => (MAKE[deed.do] as Make<Verb>)(place, deed);
  return IN_TURN.has(deed.do) ? place.server.inTurn(make) : make();
}

const PRELOADED: ReadonlySet<Verb> = new Set(['slow-disk', 'fail-sync', 'tear-write', 'step-clock']);

export function needsPreload(deeds: readonly Deed[]): boolean {
  return deeds.some((deed) => PRELOADED.has(deed.do));
}
