/** A thread of a swarm: one world after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { drawPlan } from './plan.js';
import type { SeedReport, SwarmWorkerData } from './swarm.js';
import { runPlan } from './world.js';

function reportOf(seed: number): SeedReport {
  const { messages, deliveries, marks, violations } = runPlan(drawPlan(seed));
  const [first] = violations;
  const failure = first === undefined ? undefined : { seed, ...first };
  return { seed, messages, deliveries, marks: [...marks.keys()], failure };
}

const { shared, from, count } = workerData as SwarmWorkerData;
const cells = new Int32Array(shared);
while (Atomics.load(cells, 1) === 0) {
  const taken = Atomics.add(cells, 0, 1);
  if (taken >= count) break;
  parentPort!.postMessage(reportOf(from + taken));
}
