import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawPlan, type Plan } from './plan.js';
import { runPlan, World } from './world.js';

/** A time of a world is a whole number of microseconds, told in milliseconds: a sum of such is not always one. */
function after(ms: number, moreMs: number): number {
  return (Math.round(ms * 1_000) + moreMs * 1_000) / 1_000;
}

const SEEDS = [1, 3, 6, 4_711];

function sampled(plan: Plan): World & { readonly sampler: NonNullable<World['sampler']> } {
  const world = new World(plan, { takesSamples: true });
  assert.ok(world.sampler);
  return world as ReturnType<typeof sampled>;
}

test('taking samples changes nothing, and what they count adds up to the outcome', () => {
  for (const seed of SEEDS) {
    const plan = drawPlan(seed);
    const world = sampled(plan);
    const outcome = world.run();
    const { sampler } = world;
    const { traceHash, events } = runPlan(plan);
    assert.deepEqual([outcome.traceHash, outcome.events], [traceHash, events], `seed ${seed}`);
    const sum = (of: (sample: (typeof sampler.samples)[number]) => number): number =>
      sampler.samples.reduce((total, sample) => total + of(sample), 0);
    assert.equal(
      sum(({ sends }) => sends),
      outcome.messages,
    );
    assert.equal(
      sum(({ deliveries }) => deliveries),
      outcome.deliveries,
    );
    assert.equal(
      sum(({ latencies }) => latencies.count),
      sampler.latencies.count,
    );
    assert.ok(sampler.latencies.count > 0 && sampler.latencies.count <= outcome.deliveries);
    const { samples, bucketMs, endMs } = sampler;
    assert.ok(samples.length * bucketMs >= endMs && (samples.length - 1) * bucketMs <= endMs);
    const last = samples.at(-1)!;
    // A partition that stopped since its log lost something answers nobody.
    if (world.backbone.stopped > 0) continue;
    assert.deepEqual([last.unanswered, last.connected], [0, world.devices.length], `seed ${seed} came to rest`);
  }
});

test('at every time a partition has one owner that was not deposed, or none; epochs grow', () => {
  for (const seed of SEEDS) {
    const world = sampled(drawPlan(seed));
    world.run();
    const { lives, endMs } = world.sampler;
    assert.equal(lives.leftOut, 0);
    for (const isUser of [false, true]) {
      for (let partition = 0; partition < 4; partition++) {
        const owners = lives.lanes.filter((life) => life.isUser === isUser && life.partitions.includes(partition));
        let freeMs = 0;
        let epoch = 0;
        for (const life of owners) {
          assert.ok(life.fromMs >= freeMs, `seed ${seed}: two owners of partition ${partition}`);
          freeMs = life.deposedMs ?? life.toMs;
          const own = life.epochs[life.partitions.indexOf(partition)]!;
          assert.ok(own === 0 || own > epoch, `seed ${seed}: epoch ${own} after ${epoch}`);
          epoch = Math.max(epoch, own);
          assert.ok((life.runningMs ?? life.fromMs) <= life.toMs && life.toMs <= endMs);
          for (const pause of life.pauses) assert.ok(pause.fromMs >= life.fromMs && pause.toMs <= life.toMs);
        }
        const last = owners.at(-1);
        if (last !== undefined) assert.deepEqual([last.toMs, last.end], [endMs, undefined]);
      }
    }
    const up = lives.gateways.filter(({ toMs }) => toMs === endMs);
    assert.equal(up.length, world.plan.topology.gateways);
  }
});

test('a lane that is paused, replaced and killed is seen so', () => {
  const base = drawPlan(7);
  const { conversationLanes } = base.topology;
  const world = sampled({
    ...base,
    faults: [
      { fault: 'lane-pause', at: 2_000, lane: 0, for: 500 },
      { fault: 'lane-takeover', at: 3_000, lane: conversationLanes, for: 800 },
      { fault: 'gateway-drain', at: 3_500, gateway: 0 },
      { fault: 'lane-pause', at: 3_900, lane: 0, for: 5_000 },
      { fault: 'power', at: 4_000 },
    ],
  });
  const { violations } = world.run();
  assert.deepEqual(violations, []);
  const { lives, phases } = world.sampler;
  const startMs = phases[1]!.fromMs;
  const first = lives.lanes.find(({ lane }) => lane === 0);
  assert.deepEqual(first!.pauses, [
    { fromMs: after(startMs, 2_000), toMs: after(startMs, 2_500) },
    { fromMs: after(startMs, 3_900), toMs: after(startMs, 4_000) },
  ]);
  assert.deepEqual([first!.toMs, first!.end], [after(startMs, 4_000), 'all died']);
  const [deposed, successor] = lives.lanes.filter(({ lane }) => lane === conversationLanes);
  assert.equal(deposed!.deposedMs, after(startMs, 3_000));
  assert.equal(successor!.fromMs, after(startMs, 3_000));
  assert.ok(deposed!.toMs > after(startMs, 3_000) && successor!.epochs[0]! > deposed!.epochs[0]!);
  assert.equal(lives.gateways.find(({ gateway }) => gateway === 0)!.drainMs, after(startMs, 3_500));
  assert.deepEqual(
    phases.map(({ name }) => name),
    ['everybody connects', 'load and faults', 'healing', 'all lanes once more'],
  );
});

test('at every time a partition of the log has one leader, whose epoch grows; brokers that die are seen so', () => {
  const base = drawPlan(7);
  const world = sampled({
    ...base,
    topology: { ...base.topology, hasDisk: false, brokers: 3 },
    faults: [
      { fault: 'broker-pause', at: 1_600, broker: 1, for: 200 },
      { fault: 'leader-move', at: 2_000, topic: 0, partition: 0 },
      { fault: 'broker-crash', at: 2_500, broker: 0, for: 3_000 },
    ],
  });
  assert.deepEqual(world.run().violations, []);
  const { terms, endMs, phases } = world.sampler;
  const startMs = phases[1]!.fromMs;
  const { conversationPartitions, userPartitions } = base.topology;
  for (let index = 0; index < conversationPartitions + userPartitions; index++) {
    const own = terms.terms.filter((term) => term.index === index);
    own.forEach(({ fromMs, epoch }, n) => {
      const before = own[n - 1];
      assert.equal(fromMs, before?.toMs ?? 0, `log ${index}`);
      assert.ok(before === undefined || epoch > before.epoch);
    });
    assert.equal(own.at(-1)!.toMs, endMs);
  }
  assert.ok(terms.terms.some(({ index, fromMs }) => index === 0 && fromMs === after(startMs, 2_000)));
  const [first, second] = terms.lives.filter(({ broker }) => broker === 0);
  assert.deepEqual([first!.toMs, second!.toMs], [after(startMs, 2_500), endMs]);
  assert.ok(second!.fromMs > after(startMs, 2_500));
  const paused = terms.lives.find(({ broker }) => broker === 1)!;
  assert.deepEqual(paused.pauses, [{ fromMs: after(startMs, 1_600), toMs: after(startMs, 1_800) }]);
});
