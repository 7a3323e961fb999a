import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Batch, BatchAt, BatchBuilder, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { encodeFrame, type Frame, frameLength, Kind, makeFrame, readFrame, viewOf } from '../core/frame.js';
import { deviceKey, directConversation, partitionOfConversation, partitionOfUser } from '../core/ids.js';
import { StageId } from '../core/keys.js';
import { COMMIT_INTERVAL_MS } from '../core/limits.js';
import { Durability, type LogConsumer, type LogProducer, Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import type { Out, Stage } from '../core/stage.js';
import { MemoryLog } from '../engines/log-memory.js';
import { type Injected, MemoryStore } from '../engines/store-memory.js';
import { ConversationStage } from './conversation/stage.js';
import { Lane, LaneState } from './lane.js';
import { Destination, Outbox, Streams } from './outbox.js';
import { UserStage } from './user/stage.js';

const PARTITIONS = 2;
const USERS = 6;
const NUMBERS = Array.from({ length: PARTITIONS }, (_, number) => number);
type Which = typeof StageId.CONVERSATION | typeof StageId.USER;

function createStage(stageId: Which, partition: number): Stage {
  const kernel = partition % 2 === 0;
  const options = { partition, conversationPartitions: PARTITIONS, userPartitions: PARTITIONS, kernel };
  return stageId === StageId.CONVERSATION ? new ConversationStage(options) : new UserStage(options);
}

/** A conversation lane and a user lane over a log and a store in memory, which crash and fail when told. */
class World {
  nowMs = 1_000;
  log: MemoryLog;
  store = new MemoryStore();
  gateway: LogProducer;
  readonly lanes = new Map<Which, Lane>();
  readonly egress: Uint8Array[] = [];
  readonly #producers = new Map<Which, LogProducer>();
  readonly #counters = new Map<string, number>();
  #incarnation = 0;
  #batchNumber = 0;
  readonly #isLogKept: boolean;

  constructor(isLogKept = true) {
    this.#isLogKept = isLogKept;
    const topic = { partitions: PARTITIONS };
    this.log = new MemoryLog({
      topics: [
        { ...topic, durability: Durability.BEFORE_READ },
        { ...topic, durability: Durability.LAZY },
      ],
      nowMs: () => 1_700_000_000_000 + this.nowMs,
      retainBytes: 2 ** 30,
    });
    this.gateway = this.log.producer();
    this.startLanes();
  }

  startLanes(): void {
    this.#producers.clear();
    this.startLane(StageId.CONVERSATION);
    this.startLane(StageId.USER);
  }

  /** Starts a lane anew: what the one before had in memory is gone, what it had appended is not. */
  startLane(stageId: Which): Lane {
    let producer = this.#producers.get(stageId);
    if (producer === undefined) {
      producer = this.log.producer();
      this.#producers.set(stageId, producer);
    }
    const lane = new Lane({
      stageId,
      partitions: NUMBERS,
      createStage: (partition) => createStage(stageId, partition),
      log: this.log,
      producer,
      isLogKept: this.#isLogKept,
      // Answers to the lane before are not the new one's.
      store: (this.store = new MemoryStore(this.store.contents)),
      egress: {
        offer: (_gateway, batch) => {
          this.egress.push(batch.slice());
          return true;
        },
      },
      clock: { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs },
      incarnation: ++this.#incarnation,
    });
    this.lanes.set(stageId, lane);
    this.#stores.set(stageId, this.store);
    return lane;
  }

  readonly #stores = new Map<Which, MemoryStore>();

  storeOf(stageId: Which): MemoryStore {
    return this.#stores.get(stageId)!;
  }

  /** The machine loses its power: everything in memory and in the page cache is gone. */
  powerFailure(): void {
    this.log = this.log.powerFailure();
    this.gateway = this.log.producer();
    this.startLanes();
  }

  append(frames: readonly Frame[], topic: number, partition: number): void {
    const builder = new BatchBuilder();
    builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), this.#batchNumber++, 1);
    for (const frame of frames) {
      const bytes = encodeFrame(frame);
      builder.frame(bytes, 0, bytes.length);
    }
    assert.ok(this.gateway.append(topic, partition, builder.finish(), 0));
  }

  /** A message with its device's next counter; sometimes the same again, as a client that got no answer. */
  send(random: Prng): void {
    const from = random.between(1, USERS);
    const to = (from % USERS) + 1;
    const { a, b } = directConversation(from, to);
    const key = `${from} ${a} ${b}`;
    const counter = (this.#counters.get(key) ?? 0) + 1;
    this.#counters.set(key, counter);
    const payload = new Uint8Array(random.below(50)).fill(counter);
    const frame = makeFrame({ kind: Kind.MESSAGE, convA: a, convB: b, device: deviceKey(from, 1), counter, payload });
    const frames = random.chance(1, 5) ? [frame, frame] : [frame];
    this.append(frames, Topic.CONVERSATION, partitionOfConversation(a, b, PARTITIONS));
  }

  turn(times: number): boolean {
    let progress = false;
    for (const lane of this.lanes.values()) {
      for (let i = 0; i < times && lane.turn(); i++) progress = true;
    }
    return progress;
  }

  /** Until nothing moves any more. */
  settle(): void {
    for (let idle = 0; idle < 3; ) {
      this.log.write();
      this.log.sync();
      this.nowMs += 10_000;
      idle = this.turn(1_000) ? 0 : idle + 1;
    }
  }

  *read(topic: number): Generator<Batch> {
    const consumer: LogConsumer = this.log.consumer(
      topic,
      NUMBERS.map((partition) => ({ partition, offset: 0 })),
    );
    for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) yield batch;
  }
}

/** What fresh stages make of a whole topic: their state, and every FANOUT batch as "source offset index: bytes". */
function fold(world: World, stageId: Which): { hashes: number[]; fanouts: Map<string, string> } {
  const stages = NUMBERS.map((partition) => createStage(stageId, partition));
  const outboxes = NUMBERS.map(
    (partition) =>
      new Outbox(stageId === StageId.USER ? SourceKind.USER : SourceKind.CONVERSATION, partition, new Streams(0)),
  );
  const cold = new Map<string, Uint8Array | undefined>();
  const fanouts = new Map<string, string>();
  const topic = stageId === StageId.USER ? Topic.USER : Topic.CONVERSATION;
  for (const batch of world.read(topic)) {
    const { partition, offset } = batch.header;
    const outbox = outboxes[partition]!;
    outbox.begin(offset, 1);
    stages[partition]!.step(batch, outbox, { get: (key) => cold.get(Buffer.from(key).toString('latin1')) });
    for (const [key, value] of outbox.takeCold()) cold.set(key, value);
    outbox.flush((destination, to, number, bytes) => {
      if (destination === Destination.LOG && to === Topic.USER && stageId === StageId.CONVERSATION) {
        collect(fanouts, bytes, number);
      }
      return true;
    });
  }
  return { hashes: stages.map((stage) => stage.stateHash()), fanouts };
}

/** Keeps a FANOUT batch by its identity; asserts that the same identity always has the same entries. */
function collect(fanouts: Map<string, string>, bytes: Uint8Array, partition: number): void {
  const view = viewOf(bytes);
  const key = [partition, view.getUint32(20, true), view.getUint32(24, true), view.getUint32(56, true)].join(' ');
  const entries = Buffer.from(bytes.subarray(64)).toString('hex');
  const before = fanouts.get(key);
  if (before !== undefined) assert.equal(entries, before, `output ${key} was made twice and differs`);
  fanouts.set(key, entries);
}

function hashesOf(lane: Lane): number[] {
  return lane.partitions.map((partition) => partition.stage.stateHash());
}

const OUTCOMES: readonly Injected[] = ['too_old', 'refused', 'unknown_done', 'unknown_not_done', 'pass'];

/** One thing happens. */
function happen(world: World, random: Prng): void {
  const which = random.chance(1, 2) ? StageId.CONVERSATION : StageId.USER;
  switch (random.below(12)) {
    case 0:
      if (random.chance(1, 4)) world.startLane(which);
      break;
    case 1:
      if (random.chance(1, 8)) world.powerFailure();
      break;
    case 2:
      world.storeOf(which).inject(OUTCOMES[random.below(OUTCOMES.length)]!);
      break;
    case 3:
      world.storeOf(which).failReads(1);
      break;
    case 4:
      world.log.sync(random.below(2));
      break;
    case 5:
      world.nowMs += random.below(4_000);
      break;
    case 6:
    case 7:
      world.log.write();
      break;
    case 8:
    case 9:
      world.turn(random.between(1, 6));
      break;
    default:
      world.send(random);
  }
}

const WORLDS = Number(process.env['DUNLIN_LANE_WORLDS'] ?? 60);

describe('a lane that crashes anywhere', () => {
  test(`${WORLDS} worlds: state = fold(log), and every output is in the USER log, the same each time`, (context) => {
    const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 31);
    context.diagnostic(`DUNLIN_SEED=${seed}`);
    let commits = 0;
    for (let n = 0; n < WORLDS; n++) {
      const world = new World();
      const random = new Prng(seed + n);
      const events = random.between(50, 400);
      for (let i = 0; i < events; i++) happen(world, random);
      world.settle();
      for (const stageId of [StageId.CONVERSATION, StageId.USER] as const) {
        assert.deepEqual(hashesOf(world.lanes.get(stageId)!), fold(world, stageId).hashes, `seed ${seed + n}`);
        commits += world.lanes.get(stageId)!.counters.commits;
      }
      const written = new Map<string, string>();
      for (const batch of world.read(Topic.USER)) {
        if (batch.header.kind === BatchKind.FANOUT) collect(written, batch.bytes, batch.header.partition);
      }
      assert.deepEqual(written, fold(world, StageId.CONVERSATION).fanouts, `seed ${seed + n}`);
    }
    assert.ok(commits > WORLDS, 'lanes did commit');
  });
});

test('a commit waits until its outputs and its input are durable', () => {
  const world = new World();
  world.settle();
  const lane = world.lanes.get(StageId.CONVERSATION)!;
  const commits = lane.counters.commits;
  world.send(new Prng(1));
  world.log.write();
  world.log.sync(Topic.CONVERSATION);
  world.nowMs += 60_000;
  for (let i = 0; i < 50; i++) lane.turn();
  world.log.write();
  world.nowMs += 60_000;
  for (let i = 0; i < 50; i++) lane.turn();
  assert.equal(lane.counters.commits, commits, 'its fan-out is written but not synced');
  world.log.sync(Topic.USER);
  for (let i = 0; i < 50; i++) lane.turn();
  assert.equal(lane.counters.commits, commits + 1);
});

test('what a step gathered is on its way before its offset is committed', () => {
  const world = new World();
  world.settle();
  const user = 2;
  const partition = partitionOfUser(user, PARTITIONS);
  const say = (kind: number, fields: Partial<Frame>): void =>
    world.append([makeFrame({ kind, device: deviceKey(user, 1), ...fields })], Topic.USER, partition);
  say(Kind.CONNECT, { convA: 1, convB: 7, extra: 1 });
  world.settle();
  const { a, b } = directConversation(1, user);
  const message = makeFrame({ kind: Kind.MESSAGE, convA: a, convB: b, device: deviceKey(1, 1), counter: 1 });
  world.append([message], Topic.CONVERSATION, partitionOfConversation(a, b, PARTITIONS));
  // No time passes, so that the message stays in memory, and the ack has nothing to fetch.
  for (let n = 0; n < 10; n++) {
    world.log.write();
    world.log.sync();
    world.turn(100);
  }
  // A commit falls due in the very turn that steps over the ack, with more input behind it.
  const lane = world.lanes.get(StageId.USER)!;
  world.nowMs += COMMIT_INTERVAL_MS;
  say(Kind.ACK, { inbox: 2 ** 32 + 1 });
  say(Kind.DEVICES, {});
  world.log.write();
  world.log.sync();
  const { commits } = lane.counters;
  for (let turns = 0; turns < 2; turns++) lane.turn();
  assert.equal(lane.counters.commits, commits, 'the delivered watermark is not durable yet');
  world.startLane(StageId.USER);
  world.settle();
  const delivered = [...world.read(Topic.CONVERSATION)].filter(
    (batch) => readFrame(batch.bytes, batch.view, 64).kind === Kind.DELIVERED,
  );
  assert.ok(delivered.length > 0);
});

/** Says what it is told, to both gateways or to the first alone; for the latter it wants a value of the store. */
class TellingStage implements Stage {
  readonly wakeAtMs = Number.POSITIVE_INFINITY;
  readonly syncWantedAt = Number.POSITIVE_INFINITY;
  readonly dirtyBytes = 0;
  needs(batch: Batch, keys: (key: Uint8Array) => void): void {
    if (readFrame(batch.bytes, batch.view, 64).kind === Kind.ACK) keys(new Uint8Array([1]));
  }
  step(batch: Batch, out: Out): void {
    const { kind, inbox } = readFrame(batch.bytes, batch.view, 64);
    if (kind === Kind.GENERATION) return;
    for (const gateway of kind === Kind.ACK ? [0] : [0, 1]) {
      const bytes = encodeFrame(makeFrame({ kind: Kind.PONG, inbox }));
      out.gateway(gateway, bytes.length).frame(bytes, 0, bytes.length);
    }
  }
  exportDirty(): void {}
  exportAll(): number {
    return -1;
  }
  importChunk(): void {}
  importDone(): void {}
  stateHash(): number {
    return 0;
  }
}

test('a step whose values come while gathered output waits for room adds nothing to what was sent', () => {
  const world = new World();
  const store = new MemoryStore();
  const told: number[] = [];
  let isFull = false;
  const lane = new Lane({
    stageId: StageId.USER,
    partitions: [0],
    createStage: () => new TellingStage(),
    log: world.log,
    producer: world.log.producer(),
    store,
    egress: {
      offer: (gateway, batch) => {
        if (gateway === 1 && isFull) return false;
        if (gateway === 1) return true;
        const view = viewOf(batch);
        for (let n = 0, at = 64; n < view.getUint32(BatchAt.COUNT, true); n++) {
          told.push(readFrame(batch, view, at).inbox);
          at += frameLength(view, at);
        }
        return true;
      },
    },
    clock: { wallMs: () => world.nowMs, monotonicMs: () => world.nowMs },
    incarnation: 99,
  });
  const turn = (): void => {
    world.log.write();
    world.log.sync();
    for (let n = 0; n < 20; n++) lane.turn();
  };
  turn();
  store.hold();
  isFull = true;
  world.append([makeFrame({ kind: Kind.PING, inbox: 1 })], Topic.USER, 0);
  world.append([makeFrame({ kind: Kind.ACK, inbox: 2 })], Topic.USER, 0);
  turn();
  assert.deepEqual(told, [1], 'the first gateway has it, the other one has no room');
  store.release(1);
  turn();
  isFull = false;
  turn();
  assert.deepEqual(told, [1, 2]);
});

test('a user lane is announced when its generation is on the disk, a conversation lane when it runs', () => {
  const world = new World();
  world.turn(50);
  const lane = world.lanes.get(StageId.USER)!;
  assert.equal(lane.state, LaneState.RUNNING);
  assert.equal(lane.isAnnounced, false);
  assert.equal(world.lanes.get(StageId.CONVERSATION)!.isAnnounced, true);
  world.log.write();
  world.turn(50);
  assert.equal(lane.isAnnounced, false, 'written, and not synced');
  world.log.sync(Topic.USER);
  world.turn(50);
  assert.equal(lane.isAnnounced, true);
});

test('a user lane says once that a new device is on the disk, when it is; and again after a restart, if that was lost', () => {
  const world = new World();
  world.settle();
  const partition = partitionOfUser(2, PARTITIONS);
  const synced = (): number =>
    [...world.read(Topic.USER)].filter(({ bytes, view }) => readFrame(bytes, view, 64).kind === Kind.SYNCED).length;
  const connect = makeFrame({ kind: Kind.CONNECT, device: deviceKey(2, 1), convA: 1, convB: 7, extra: 1 });
  const write = (): void => {
    world.log.write();
    world.turn(20);
  };
  const egress = world.egress.length;
  world.append([connect], Topic.USER, partition);
  write();
  write();
  assert.deepEqual([synced(), world.egress.length], [0, egress], 'it is read, and not on the disk');
  world.log.sync(Topic.USER);
  world.turn(20);
  world.startLane(StageId.USER);
  world.turn(20);
  world.powerFailure();
  assert.deepEqual([synced(), world.egress.length], [0, egress], 'what the lane said was still on its way');
  world.settle();
  assert.equal(synced(), 1);
  assert.ok(world.egress.length > egress);
  world.append([{ ...connect, convB: 8 }], Topic.USER, partition);
  world.settle();
  assert.equal(synced(), 1, 'the device is known now');
});

test('a deposed lane cannot commit: its successor has the higher epoch', () => {
  const world = new World();
  world.settle();
  const old = world.lanes.get(StageId.CONVERSATION)!;
  const deposed = world.storeOf(StageId.CONVERSATION);
  world.startLane(StageId.CONVERSATION);
  world.settle();
  assert.notEqual(deposed, world.storeOf(StageId.CONVERSATION));
  world.send(new Prng(2));
  world.settle();
  const before = old.partitions.map((partition) => partition.epoch);
  const after = world.lanes.get(StageId.CONVERSATION)!.partitions.map((partition) => partition.epoch);
  assert.deepEqual(
    after,
    before.map((epoch) => epoch + 1),
  );
  assert.throws(() => {
    for (let i = 0; i < 100; i++) {
      old.turn();
      world.log.write();
      world.log.sync();
      world.nowMs += 10_000;
    }
  }, /another owner/);
});

test('a commit that lands late, before it is submitted again, is found to be done', () => {
  const world = new World();
  world.settle();
  const lane = world.lanes.get(StageId.CONVERSATION)!;
  const store = world.storeOf(StageId.CONVERSATION);
  world.send(new Prng(6));
  for (let n = 0; n < 5; n++) {
    world.log.write();
    world.log.sync();
    world.turn(50);
  }
  const { commits } = lane.counters;
  store.hold();
  store.inject('unknown_late');
  world.nowMs += COMMIT_INTERVAL_MS;
  const answered = (): void => {
    for (let n = 0; n < 5; n++) {
      world.turn(50);
      world.log.write();
      world.log.sync();
    }
    store.release(1);
  };
  // Its answer, that it is unknown; then what the meta record is read as.
  answered();
  world.turn(50);
  assert.deepEqual(store.land(), ['committed'], 'after the record was read');
  // That nothing was done; the conflict of the second one with the first; the record, which is its own.
  for (let answers = 0; answers < 3; answers++) answered();
  world.turn(50);
  assert.equal(lane.counters.commits, commits + 1);
  store.release();
  world.settle();
  assert.deepEqual(hashesOf(lane), fold(world, StageId.CONVERSATION).hashes);
});

test('each ownership of a user partition begins a higher generation', () => {
  const world = new World();
  world.settle();
  world.startLane(StageId.USER);
  world.settle();
  world.powerFailure();
  world.settle();
  const generations: number[] = [];
  for (const batch of world.read(Topic.USER)) {
    const frame = readFrame(batch.bytes, batch.view, 64);
    if (batch.header.partition === 0 && frame.kind === Kind.GENERATION) generations.push(frame.extra);
  }
  assert.deepEqual(generations, [1, 2, 3]);
});

test('draining commits everything and then stops', () => {
  const world = new World();
  const random = new Prng(3);
  world.settle();
  for (let i = 0; i < 20; i++) world.send(random);
  world.log.write();
  world.log.sync();
  world.turn(100);
  for (const lane of world.lanes.values()) lane.drain();
  for (let i = 0; i < 200; i++) {
    world.turn(10);
    world.log.write();
    world.log.sync();
  }
  for (const lane of world.lanes.values()) {
    assert.equal(lane.state, LaneState.DRAINED);
    for (const partition of lane.partitions) assert.equal(partition.meta.offset, partition.offset);
  }
});

test('over a log that is not kept only cold inboxes are committed, and a lane drains all the same', () => {
  const world = new World(false);
  const random = new Prng(4);
  for (let n = 0; n < 40; n++) {
    world.send(random);
    world.settle();
  }
  const commits = (stageId: Which): number => world.lanes.get(stageId)!.counters.commits;
  assert.ok([...world.lanes.values()].every((lane) => lane.counters.entries > 0));
  assert.equal(commits(StageId.CONVERSATION), 0);
  // Nobody is connected: inboxes are written behind.
  assert.ok(commits(StageId.USER) > 0);
  for (const { meta } of [...world.lanes.values()].flatMap(({ partitions }) => partitions)) {
    assert.equal(meta.deltaBytes + meta.baseBytes, 0);
  }
  for (const lane of world.lanes.values()) lane.drain();
  world.settle();
  assert.ok([...world.lanes.values()].every((lane) => lane.state === LaneState.DRAINED));
});

test('an output that the log refuses ends the lane: only a replay fills the hole', () => {
  const world = new World();
  world.settle();
  world.send(new Prng(4));
  world.log.write();
  world.log.sync();
  world.log.inject('refused_failed');
  const lane = world.lanes.get(StageId.CONVERSATION)!;
  for (let i = 0; i < 10; i++) lane.turn();
  world.log.write();
  world.log.sync();
  assert.throws(() => lane.turn(), /did not take an output/);
  world.startLane(StageId.CONVERSATION);
  world.settle();
  assert.equal(
    fold(world, StageId.CONVERSATION).fanouts.size,
    [...world.read(Topic.USER)].filter((b) => b.header.kind === BatchKind.FANOUT).length,
  );
});
