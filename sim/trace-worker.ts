/**
 * Prints how worlds went, a JSON line each, for whoever compares two runs (compare.ts): `node trace-worker.js hashes FROM COUNT`
 * a Trace a seed, `node trace-worker.js events SEED FROM UNTIL` a TraceEvent each. A process of its own, so that it can be run by
 * another Node, and from another build.
 */
import { Happening } from './context.js';
import { drawPlan } from './plan.js';
import { World } from './world.js';

export interface Trace {
  readonly seed: number;
  readonly traceHash: string;
  /** The hash after every CHECKPOINT_EVENTS events. */
  readonly checkpoints: readonly string[];
}

export interface TraceEvent {
  readonly event: number;
  readonly atMs: number;
  /** Name of a Happening. */
  readonly what: string;
  readonly numbers: readonly number[];
  /** The hash after it, with the bytes that belong to it. */
  readonly hash: string;
}

const NAMES = new Map<number, string>(Object.entries(Happening).map(([name, kind]) => [kind, name]));

function traceOf(seed: number): Trace {
  const world = new World(drawPlan(seed));
  const { traceHash } = world.run();
  return { seed, traceHash, checkpoints: world.context.hash.checkpoints };
}

/** Events from `from` to before `until`. */
function eventsOf(seed: number, from: number, until: number): TraceEvent[] {
  const world = new World(drawPlan(seed));
  const { context } = world;
  const events: TraceEvent[] = [];
  let open: Omit<TraceEvent, 'hash'> | undefined;
  const close = (): void => {
    if (open !== undefined) events.push({ ...open, hash: context.hash.toString() });
    open = undefined;
  };
  context.hash.watch = (event, kind, a, b, c) => {
    close();
    if (event < from || event >= until) return;
    open = { event, atMs: context.nowMs, what: NAMES.get(kind) ?? String(kind), numbers: [a, b, c] };
  };
  world.run();
  close();
  return events;
}

const [what, ...args] = process.argv.slice(2);
const [first = 1, second = 1, third = Number.POSITIVE_INFINITY] = args.map(Number);
if (what === 'events') for (const event of eventsOf(first, second, third)) console.log(JSON.stringify(event));
else for (let n = 0; n < second; n++) console.log(JSON.stringify(traceOf(first + n)));
