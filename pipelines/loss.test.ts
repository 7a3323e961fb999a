import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Batch, BatchAt, BatchBuilder, BatchKind, RECIPIENT_BYTES, SourceKind, sourceId } from '../core/batch.js';
import { At, encodeFrame, frameLength, Kind, makeFrame, readU53 } from '../core/frame.js';
import { deviceKey, directConversation, partitionOfConversation } from '../core/ids.js';
import { fenceKey, StageId } from '../core/keys.js';
import { LOST_SEQUENCES_MAX } from '../core/limits.js';
import { Durability, type Log, type LogLoss, Topic } from '../core/ports.js';
import { MemoryLog } from '../engines/log-memory.js';
import { MemoryStore } from '../engines/store-memory.js';
import { acceptLoss, checkAgain, decodeAccepted, encodeAccepted, lossKeys } from './acceptance.js';
import { decodeEpoch } from './checkpoint.js';
import { ConversationStage } from './conversation/stage.js';
import { Lane } from './lane.js';
import { decodeLoss, describeLoss, encodeLoss } from './loss.js';

const PARTITIONS = 2;
const NUMBERS = [0, 1];
const A_CONVERSATION = directConversation(1, 2);
const LOSING = partitionOfConversation(A_CONVERSATION.a, A_CONVERSATION.b, PARTITIONS);
/** Two users whose conversation is on the other partition. */
const OTHER = [3, 4, 5, 6, 7, 8, 9].find((user) => {
  const { a, b } = directConversation(1, user);
  return partitionOfConversation(a, b, PARTITIONS) !== LOSING;
})!;

/** A conversation lane over a log that is exchanged for one that lost something. */
class World {
  nowMs = 1_000;
  loggedMs = 1_700_000_000_000;
  log = this.#newLog();
  producer = this.log.producer();
  store = new MemoryStore();
  lane: Lane;
  /** What the log says of itself, if it can. */
  loss: LogLoss | undefined;
  /** The log is asked where it ends, and has answered. */
  isEndKnown = true;
  #incarnation = 0;
  readonly #counters = new Map<number, number>();

  constructor() {
    this.lane = this.start();
    this.settle();
  }

  #newLog(): MemoryLog {
    const topic = { partitions: PARTITIONS, durability: Durability.BEFORE_READ };
    return new MemoryLog({ topics: [topic, topic], nowMs: () => this.loggedMs, automatic: true, retainBytes: 2 ** 30 });
  }

  start(): Lane {
    this.store = new MemoryStore(this.store.contents);
    const log: Log = {
      partitions: (topic) => this.log.partitions(topic),
      consumer: (topic, positions) => {
        const consumer = this.log.consumer(topic, positions);
        const endOf = consumer.readableEnd.bind(consumer);
        consumer.readableEnd = (partition) => (this.isEndKnown ? endOf(partition) : undefined);
        return this.loss === undefined
          ? consumer
          : Object.assign(consumer, {
              loss: (partition: number) => (partition === LOSING ? this.loss : { count: 0, from: 0 }),
            });
      },
    };
    this.lane = new Lane({
      stageId: StageId.CONVERSATION,
      partitions: NUMBERS,
      createStage: (partition) =>
        new ConversationStage({ partition, conversationPartitions: PARTITIONS, userPartitions: PARTITIONS }),
      log,
      producer: this.producer,
      store: this.store,
      clock: { wallMs: () => this.nowMs, monotonicMs: () => this.nowMs },
      incarnation: ++this.#incarnation,
    });
    return this.lane;
  }

  /** A message of user 1 to another. */
  send(to = 2): void {
    const { a, b } = directConversation(1, to);
    const counter = (this.#counters.get(to) ?? 0) + 1;
    this.#counters.set(to, counter);
    const builder = new BatchBuilder();
    builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), this.loggedMs++, 1);
    const bytes = encodeFrame(makeFrame({ kind: Kind.MESSAGE, convA: a, convB: b, device: deviceKey(1, 1), counter }));
    builder.frame(bytes, 0, bytes.length);
    this.producer.append(Topic.CONVERSATION, partitionOfConversation(a, b, PARTITIONS), builder.finish(), 0);
  }

  /** Until all is stepped over and committed. */
  settle(): void {
    for (let n = 0; n < 40; n++) {
      this.nowMs += 1_000;
      while (this.lane.turn());
    }
  }

  *read(topic: number): Generator<Batch> {
    const consumer = this.log.consumer(
      topic,
      NUMBERS.map((partition) => ({ partition, offset: 0 })),
    );
    for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) yield batch;
  }

  /** The log is one that ends earlier: the last `count` batches of the partition are gone. */
  lose(count: number): void {
    const old = [...this.read(Topic.CONVERSATION)];
    const fanout = [...this.read(Topic.USER)];
    const end = old.filter(({ header }) => header.partition === LOSING).length - count;
    this.log = this.#newLog();
    this.producer = this.log.producer();
    for (const batch of [...old, ...fanout]) {
      const { topic, partition, offset, time } = batch.header;
      if (topic === Topic.CONVERSATION && partition === LOSING && offset >= end) continue;
      this.loggedMs = time;
      this.producer.append(topic, partition, batch.bytes, 0);
    }
    this.producer.outcomes(() => {});
    this.loggedMs += 1_000;
  }

  /** Sequenced frames that went to user partitions. */
  get emitted(): number {
    return [...this.read(Topic.USER)].length;
  }

  /** Conversation, kind, sequence and counter of all frames that were ever fanned out, in the order of their batches. */
  get said(): { b: number; kind: number; seq: number; counter: number; source: number }[] {
    const said = [];
    for (const { header, view } of this.read(Topic.USER)) {
      let at: number = BatchAt.ENTRIES;
      for (let n = 0; n < header.count; n++) {
        const length = frameLength(view, at);
        const b = readU53(view, at + At.CONV_B);
        const kind = view.getUint8(at + At.KIND);
        const [seq, counter] = [view.getUint32(at + At.SEQ), view.getUint32(at + At.COUNTER)];
        said.push({ b, kind, seq, counter, source: header.sourceSeq });
        at += length + 4 + view.getUint32(at + length, true) * RECIPIENT_BYTES;
      }
    }
    return said;
  }

  /** As `dunlin recover --accept-loss` does it; false: nothing was lost. */
  accept(): boolean {
    const values = lossKeys(StageId.CONVERSATION, LOSING).map((key) => this.store.contents.get(key));
    const transaction = acceptLoss(StageId.CONVERSATION, LOSING, values, 1_700_000_000_000);
    if (transaction === undefined) return false;
    const store = new MemoryStore(this.store.contents);
    store.commit(1, transaction);
    assert.equal(store.completion()?.commit?.outcome, 'committed');
    return true;
  }

  /** The devices learn anew where their counters stand, as the client does when it is told of a gap. */
  resync(to: number, counter: number): void {
    this.#counters.set(to, counter);
  }

  epochOf(partition: number): number {
    return decodeEpoch(this.store.contents.get(fenceKey(StageId.CONVERSATION, partition)));
  }
}

function committed(messages: number): World {
  const world = new World();
  for (let n = 0; n < messages; n++) world.send();
  world.send(OTHER);
  world.settle();
  assert.equal(world.lane.partitions[LOSING]!.meta.offset, messages);
  return world;
}

/** The lane says what is lost and dies; the next one goes on without the partition, and so does any after it. */
function stopsForGood(world: World, sentence: RegExp): void {
  const epoch = world.lane.partitions[LOSING]!.epoch;
  assert.throws(() => world.settle(), sentence);
  assert.ok(world.epochOf(LOSING) > epoch, 'the epoch changes with it');
  for (let starts = 0; starts < 2; starts++) {
    world.start();
    const before = world.emitted;
    world.send();
    world.settle();
    assert.equal(world.emitted, before, 'nothing is said of a stopped partition');
    assert.match(world.lane.losses.join('\n'), sentence);
    world.send(OTHER);
    world.settle();
    assert.ok(world.emitted > before, 'the other partition goes on');
    const other = world.lane.partitions[1 - LOSING]!;
    assert.equal(other.meta.offset, other.offset);
  }
}

test('a lane that starts over the log it knew goes on, and steps over nothing twice', () => {
  const world = committed(5);
  const before = world.emitted;
  world.start();
  world.settle();
  assert.equal(world.lane.counters.batches, 0);
  assert.equal(world.emitted, before);
  world.send();
  world.settle();
  assert.equal(world.lane.counters.batches, 1);
  assert.deepEqual(world.lane.losses, []);
});

test('the log ends far before what is committed', () => {
  const world = committed(5);
  world.lose(3);
  world.start();
  stopsForGood(
    world,
    /lost acknowledged records of CONVERSATION partition \d from offset 2 on \(offsets 2 to 4 had been read/,
  );
});

test('the log ends one batch before what is committed', () => {
  const world = committed(5);
  world.lose(1);
  world.start();
  stopsForGood(world, /from offset 4 on \(offsets 4 to 4 had been read/);
});

test('the log ends before what is committed, which is known only after a while', () => {
  for (const count of [1, 5]) {
    const world = committed(5);
    world.lose(count);
    world.isEndKnown = false;
    world.start();
    if (count === 1) world.settle();
    assert.deepEqual(world.lane.losses, []);
    world.isEndKnown = true;
    stopsForGood(world, new RegExp(`from offset ${5 - count} on`));
  }
});

test('a log of which nothing is left', () => {
  const world = committed(1);
  world.lose(1);
  world.start();
  stopsForGood(world, /from offset 0 on \(offsets 0 to 0 had been read/);
});

test('the log lost what was committed, and has grown past it with other records', () => {
  const world = committed(5);
  world.lose(2);
  for (let n = 0; n < 6; n++) world.send();
  world.start();
  stopsForGood(world, /from offset 4 on \(offsets 4 to 4 had been read/);
});

test('the log says itself that it lost something behind what is committed', () => {
  const world = committed(5);
  world.lose(0);
  world.loss = { count: 1, from: 7 };
  world.start();
  stopsForGood(world, /from offset 7 on \(none of it is known to have been read/);
});

test('what cannot be written down at once is written down later: nothing goes on before', () => {
  const world = committed(5);
  world.lose(2);
  for (let n = 0; n < 3; n++) world.send();
  world.start();
  // The take-overs of both partitions pass, then the record of the loss does not.
  world.store.inject('pass', 'pass', 'refused', 'too_old', 'unknown_not_done', 'unknown_done');
  const before = world.emitted;
  assert.throws(() => world.settle(), /another owner/);
  assert.equal(world.emitted, before);
  world.start();
  world.settle();
  assert.match(world.lane.losses.join('\n'), /from offset 4 on/);
});

test('a loss record is read back as it was written; another format is refused', () => {
  const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const loss = fc.record(
    { from: number, reached: number, committed: number, epoch: number, timeMs: number },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(loss, (value) => assert.deepEqual(decodeLoss(encodeLoss(value)), value)));
  const bytes = encodeLoss({ from: 1, reached: 2, committed: 3, epoch: 4, timeMs: 5 });
  bytes[3] = 9;
  assert.throws(() => decodeLoss(bytes), /loss record format 9 is not known here/);
  assert.throws(() => decodeLoss(new Uint8Array(2)), /loss record format/);
});

test('the sentence says what is lost, and of which topic', () => {
  const sentence = describeLoss(StageId.USER, 3, { from: 7, reached: 9, committed: 5, epoch: 2, timeMs: 1_234 });
  assert.match(sentence, /of USER partition 3 from offset 7 on \(offsets 7 to 8 had been read.*before 5.*1234 ms/);
});

test('a loss that is accepted: the partition goes on, tells members of the gap, and gives nothing out twice', () => {
  const world = committed(5);
  // These are said, and not committed.
  for (let n = 0; n < 3; n++) world.send();
  while (world.lane.turn());
  world.lose(5);
  world.start();
  assert.throws(() => world.settle(), /from offset 3 on/);
  assert.ok(world.accept());
  assert.equal(world.accept(), false, 'it is accepted once');
  const { epoch } = world.lane.partitions[LOSING]!;
  world.start();
  world.settle();
  assert.deepEqual(world.lane.losses, []);
  assert.ok(world.lane.partitions[LOSING]!.epoch > epoch + 1);
  const before = world.said;
  world.resync(2, 5);
  world.send();
  world.settle();
  const gapThrough = 5 + LOST_SEQUENCES_MAX;
  const said = world.said.slice(before.length);
  assert.deepEqual(
    said.map(({ b, kind, seq, counter }) => [b, kind, seq, counter]),
    [
      [2, Kind.GAP, gapThrough, 0],
      [2, Kind.MESSAGE, gapThrough + 1, 6],
    ],
  );
  const highest = Math.max(...before.map(({ source }) => source));
  assert.ok(
    said.every(({ source }) => source > highest),
    'readers do not take it for what they have seen',
  );
  // Once more, without another loss.
  world.start();
  world.send();
  world.settle();
  assert.deepEqual(
    world.said.slice(before.length + 2).map(({ kind, seq }) => [kind, seq]),
    [[Kind.MESSAGE, gapThrough + 2]],
  );
});

test('a lane that dies before it commits after an accepted loss does the same again', () => {
  const world = committed(5);
  world.lose(2);
  world.start();
  assert.throws(() => world.settle(), /from offset 3 on/);
  world.accept();
  world.start();
  const before = world.emitted;
  world.send();
  while (world.lane.turn());
  const first = [...world.read(Topic.USER)].slice(before).map(({ bytes }) => bytes.slice(BatchAt.ENTRIES));
  assert.ok(first.length > 0);
  world.start();
  world.settle();
  const all = [...world.read(Topic.USER)].slice(before).map(({ bytes }) => bytes.slice(BatchAt.ENTRIES));
  assert.deepEqual(all, [...first, ...first]);
});

test('a conversation of which the state knows nothing begins above all that may have been given out', () => {
  const world = new World();
  world.send();
  while (world.lane.turn());
  const told = (): number[] => world.said.map(({ seq }) => seq);
  assert.deepEqual(told(), [1]);
  world.loss = { count: 1, from: 0 };
  world.start();
  assert.throws(() => world.settle(), /from offset 0 on/);
  world.accept();
  world.loss = undefined;
  world.lose(1);
  world.start();
  world.resync(2, 0);
  world.send();
  world.settle();
  assert.deepEqual(told(), [1, LOST_SEQUENCES_MAX + 1]);
});

test('an acceptance record is read back as it was written; another format is refused', () => {
  const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const names = ['from', 'reached', 'committed', 'epoch', 'timeMs', 'commit', 'acceptedAtMs'] as const;
  const loss = fc
    .array(number, { minLength: names.length, maxLength: names.length })
    .map(
      (values) =>
        Object.fromEntries(names.map((name, n) => [name, values[n]!])) as Record<(typeof names)[number], number>,
    );
  fc.assert(fc.property(fc.array(loss), (value) => assert.deepEqual(decodeAccepted(encodeAccepted(value)), value)));
  assert.deepEqual(decodeAccepted(undefined), []);
  assert.throws(() => decodeAccepted(new Uint8Array(7)), /acceptance record format/);
});

test('a log that was brought back is compared again; what was read beyond the checkpoint no comparison shows', () => {
  const world = committed(5);
  world.lose(1);
  world.start();
  assert.throws(() => world.settle(), /from offset 4 on/);
  const stored = (): (Uint8Array | undefined)[] =>
    lossKeys(StageId.CONVERSATION, LOSING).map((key) => world.store.contents.get(key));
  const transaction = checkAgain(StageId.CONVERSATION, LOSING, stored())!;
  const store = new MemoryStore(world.store.contents);
  store.commit(1, transaction);
  assert.equal(store.completion()?.commit?.outcome, 'committed');
  assert.equal(checkAgain(StageId.CONVERSATION, LOSING, stored()), undefined);
  world.start();
  assert.throws(() => world.settle(), /from offset 4 on/, 'it is not back');
  const beyond = encodeLoss({ from: 7, reached: 9, committed: 5, epoch: 2, timeMs: 0 });
  assert.equal(checkAgain(StageId.CONVERSATION, LOSING, [undefined, undefined, beyond, undefined]), undefined);
});
