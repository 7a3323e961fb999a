/** A thread of a swarm: one world after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { drawPlan, type Plan } from './plan.js';
import type { SeedReport, SwarmWorkerData } from './swarm.js';
import { runPlan } from './world.js';

function reportOf(seed: number): SeedReport {
  const plan = drawPlan(seed);
  const startMs = performance.now();
  const { messages, deliveries, events, virtualSeconds, marks, violations } = runPlan(plan);
  const wallMs = performance.now() - startMs;
  const [first] = violations;
  const failure = first === undefined ? undefined : { seed, ...first };
  const counts = { messages, deliveries, events, virtualSeconds, wallMs, faults: countKinds(plan) };
  return { seed, ...counts, marks: [...marks.keys()], failure };
}

function countKinds({ faults }: Plan): [kind: string, count: number][] {
  const kinds = new Map<string, number>();
  for (const { fault } of faults) kinds.set(fault, (kinds.get(fault) ?? 0) + 1);
  return [...kinds];
}

const { shared, from, count } = workerData as SwarmWorkerData;
const cells = new Int32Array(shared);
while (Atomics.load(cells, 1) === 0) {
  const taken = Atomics.add(cells, 0, 1);
  if (taken >= count) break;
  parentPort!.postMessage(reportOf(from + taken));
}
