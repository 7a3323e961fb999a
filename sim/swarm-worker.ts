/** A thread of a swarm: one world after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { keepFailure } from './keep-failure.js';
import { drawPlan, type Plan } from './plan.js';
import type { SeedReport, SwarmFailure, SwarmWorkerData } from './swarm.js';
import { type Outcome, runPlan } from './world.js';

type Seen = Pick<Outcome, 'messages' | 'deliveries' | 'events' | 'virtualSeconds' | 'marks'> & {
  readonly violations: readonly Omit<SwarmFailure, 'seed'>[];
};

/** A world that throws has failed, and the swarm goes on. */
function run(plan: Plan): Seen {
  try {
    return runPlan(plan);
  } catch (error) {
    const sentence = error instanceof Error ? error.stack! : String(error);
    const nothing = { messages: 0, deliveries: 0, events: 0, virtualSeconds: 0, marks: new Map<string, number>() };
    return { ...nothing, violations: [{ guarantee: 'crash', sentence }] };
  }
}

function reportOf(seed: number): SeedReport {
  const plan = drawPlan(seed);
  const startMs = performance.now();
  const { messages, deliveries, events, virtualSeconds, marks, violations } = run(plan);
  const wallMs = performance.now() - startMs;
  const [first] = violations;
  const failure = first === undefined ? undefined : { seed, ...first };
  if (failure !== undefined && failures !== undefined) keepFailure(failures, seed);
  const counts = { messages, deliveries, events, virtualSeconds, wallMs, faults: countKinds(plan) };
  return { seed, ...counts, marks: [...marks.keys()], failure };
}

function countKinds({ faults }: Plan): [kind: string, count: number][] {
  const kinds = new Map<string, number>();
  for (const { fault } of faults) kinds.set(fault, (kinds.get(fault) ?? 0) + 1);
  return [...kinds];
}

const { shared, from, count, failures } = workerData as SwarmWorkerData;
const cells = new Int32Array(shared);
while (Atomics.load(cells, 1) === 0) {
  const taken = Atomics.add(cells, 0, 1);
  if (taken >= count) break;
  parentPort!.postMessage(reportOf(from + taken));
}
