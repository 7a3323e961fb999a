import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchBuilder, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { encodeFrame, Kind, makeFrame } from '../core/frame.js';
import { AppendOutcome, Topic } from '../core/ports.js';
import type { BrokerClient } from './broker-client.js';
import { BrokerCluster, type ClusterLoss } from './broker-cluster.js';
import { ANYBODY } from './broker-network.js';
import { Context } from './context.js';

/** A cluster whose brokers flush up to 2 s behind. */
const SLOW_DISKS_SEED = 8;

/** A cluster with one conversation and one user partition, and somebody who appends. */
class World {
  readonly context = new Context(1, false);
  readonly losses: ClusterLoss[] = [];
  readonly cluster: BrokerCluster;
  client: BrokerClient;
  /** Tags and outcomes, in the order in which they came. */
  readonly outcomes: { readonly tag: number; readonly outcome: number; readonly offset: number }[] = [];
  #epoch = 0;
  #tag = 0;

  constructor(brokers: number, isBeyondBudget = false, isLane = false, seed = 5) {
    this.cluster = new BrokerCluster({
      context: this.context,
      seed,
      brokers,
      conversationPartitions: 1,
      userPartitions: 1,
      isBeyondBudget,
      lost: (loss) => this.losses.push(loss),
    });
    this.client = this.newClient(isLane);
  }

  newClient(isLane: boolean): BrokerClient {
    const producerEpoch = ++this.#epoch;
    return this.cluster.client({ name: 'lane-0', producer: 1, producerEpoch, isLane, ring: () => {} });
  }

  append(client = this.client): void {
    const builder = new BatchBuilder();
    builder.begin(BatchKind.FRAMES, sourceId(SourceKind.LANE, 0), ++this.#tag, 1);
    const bytes = encodeFrame(makeFrame({ kind: Kind.TICK }));
    builder.frame(bytes, 0, bytes.length);
    assert.ok(client.producer.append(Topic.CONVERSATION, 0, builder.finish(), this.#tag));
  }

  run(ms: number): void {
    const { queue } = this.context;
    const untilUs = queue.nowUs + ms * 1_000;
    while (queue.nextUs <= untilUs) queue.step();
    this.client.producer.outcomes((tag, outcome, offset) => this.outcomes.push({ tag, outcome, offset }));
  }

  /** Numbers of what is acknowledged in the log, in its order. */
  get log(): number[] {
    const consumer = this.cluster.consumer(Topic.CONVERSATION, [{ partition: 0, offset: 0 }]);
    const numbers: number[] = [];
    for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll())
      numbers.push(batch.header.sourceSeq);
    return numbers;
  }

  get leader(): number {
    return this.cluster.controller.metadata.partitions[0]!.leader;
  }

  get durable(): number[] {
    return this.outcomes.filter(({ outcome }) => outcome === AppendOutcome.DURABLE).map(({ tag }) => tag);
  }

  has(mark: string): boolean {
    return this.context.marks.has(mark);
  }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n + 1);
}

for (const brokers of [1, 2, 3, 5]) {
  test(`${brokers} brokers: what is appended is there, in order, and its outcomes come in order`, () => {
    const world = new World(brokers);
    for (let n = 0; n < 40; n++) {
      world.append();
      world.run(30);
    }
    world.run(3_000);
    assert.deepEqual(world.log, upTo(40));
    assert.deepEqual(world.durable, upTo(40));
    assert.ok(world.cluster.isSettled);
  });
}

test('the leader dies while it appends: another one goes on, nothing is there twice, nothing is gone', () => {
  const world = new World(3);
  for (let n = 0; n < 60; n++) {
    world.append();
    if (n === 20 || n === 45) world.cluster.crash(world.leader, 4_000, n === 45);
    world.run(n === 30 ? 8_000 : 40);
  }
  world.run(10_000);
  assert.deepEqual(world.log, upTo(60));
  assert.deepEqual(world.durable, upTo(60));
  assert.ok(world.has('append sent again') && world.has('leader elected'));
  assert.deepEqual(world.losses, []);
});

test('a leader that nobody reaches acknowledges nothing more, and cuts its tail off when it comes back', () => {
  const world = new World(3);
  world.append();
  world.run(1_000);
  const stale = world.leader;
  // Clients still reach it, brokers and the controller do not.
  for (const node of ['broker-0', 'broker-1', 'broker-2', 'controller']) {
    if (node !== `broker-${stale}`) world.cluster.cut(`broker-${stale}`, node, 'both', 6_000);
  }
  world.append();
  world.run(400);
  assert.equal(world.cluster.brokers[stale]!.replicas[0]!.end, 2, 'it takes what comes');
  assert.deepEqual(world.durable, [1], 'and acknowledges nothing');
  // Its client asks somebody else in the end.
  world.cluster.cut('lane-0', `broker-${stale}`, 'both', 8_000);
  world.run(5_000);
  assert.notEqual(world.leader, stale);
  assert.deepEqual(world.durable, [1, 2]);
  world.run(8_000);
  assert.ok(world.has('tail truncated'));
  assert.equal(
    world.cluster.brokers[stale]!.replicas[0]!.entries[1],
    world.cluster.brokers[world.leader]!.replicas[0]!.entries[1],
  );
  assert.deepEqual(world.log, [1, 2]);
});

test('a lost acknowledgement: the retry is known, within the window', () => {
  const world = new World(3);
  world.append();
  world.run(1_000);
  world.cluster.loseAcks(1);
  for (let n = 0; n < 4; n++) world.append();
  world.run(6_000);
  assert.ok(world.has('acknowledgement lost') && world.has('retry deduplicated'));
  assert.deepEqual(world.log, upTo(5));
  assert.deepEqual(world.durable, upTo(5));
});

test('producers that are forgotten write twice what they repeat, and leave nothing out', () => {
  const world = new World(3);
  for (let n = 0; n < 3; n++) world.append();
  world.run(1_000);
  world.cluster.loseAcks(1);
  world.append();
  world.run(300);
  world.cluster.forgetProducers(0);
  world.run(6_000);
  world.append();
  world.run(2_000);
  assert.ok(world.has('retry of a forgotten producer: there twice'));
  assert.deepEqual(world.log, [1, 2, 3, 4, 4, 5]);
});

test('whoever begins anew fences the one before: what it appends later is not taken', () => {
  const world = new World(3, false, true);
  world.append();
  world.run(1_000);
  const next = world.newClient(true);
  world.append(next);
  world.run(1_000);
  world.append();
  world.append();
  world.run(1_000);
  assert.deepEqual(world.log, [1, 2]);
  assert.deepEqual(
    world.outcomes.slice(1).map(({ outcome }) => outcome),
    [AppendOutcome.REFUSED, AppendOutcome.REFUSED],
  );
});

test('more than a minority at once is left out, unless the world is beyond the budget', () => {
  for (const isBeyondBudget of [false, true]) {
    const world = new World(3, isBeyondBudget);
    world.run(1_000);
    world.cluster.crash(0, 20_000, false);
    world.cluster.cut('broker-1', ANYBODY, 'both', 20_000);
    world.run(5_000);
    assert.equal(world.cluster.controller.behind.has(1), isBeyondBudget);
  }
});

test('a minority loses its power: nothing acknowledged is lost, though nothing was flushed', () => {
  const world = new World(5);
  for (let n = 0; n < 20; n++) {
    world.append();
    world.run(20);
  }
  world.cluster.crash(world.leader, 500, true);
  world.cluster.crash((world.leader + 1) % 5, 500, true);
  world.run(10_000);
  assert.deepEqual(world.log, upTo(20));
  assert.deepEqual(world.losses, []);
});

test('beyond the budget: all lose their power, and readers are told', () => {
  // The disks of this one are slow.
  const world = new World(3, true, false, SLOW_DISKS_SEED);
  world.append();
  world.run(5_000);
  const reader = world.newClient(true).log.consumer(Topic.CONVERSATION, [{ partition: 0, offset: 0 }]);
  for (let n = 0; n < 3; n++) world.append();
  world.run(40);
  const acknowledged = world.log.length;
  assert.ok(acknowledged > 1);
  world.cluster.losePower(100);
  world.run(10_000);
  assert.ok(world.has('unclean election'));
  assert.deepEqual(reader.loss!(0), { count: 1, from: 1 });
  assert.deepEqual(world.losses, [{ topic: Topic.CONVERSATION, partition: 0, from: 1, through: acknowledged - 1 }]);
});

test('a reader that was ahead of the log is told by whoever surely leads, and by nobody else', () => {
  const world = new World(3);
  world.append();
  world.run(1_000);
  const reader = world.client.log.consumer(Topic.CONVERSATION, [{ partition: 0, offset: 7 }]);
  world.run(2_000);
  assert.throws(() => reader.poll(), /offset 1 of partition 0/);
});
