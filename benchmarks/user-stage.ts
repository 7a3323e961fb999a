/**
 * The user stage alone: messages delivered live, acknowledged and freed, in one thread, without log, store or sockets.
 *
 * The WebAssembly kernel against its plain twin: both step the same batches, one after the other and in turns first, and must write
 * and become the same. Time is CPU time, since others may have the core meanwhile; it covers what a lane calls for each batch,
 * `needs` and `step`. What changed is exported once a second of logged time, outside of it, as a lane commits.
 *
 * Every user has one live connection, at one of two gateways. One in five messages goes to a group, whose sizes have a median of 4
 * members and a 95th percentile of 12; who gets it is drawn from all users. Each delivery is acknowledged alone, after the batch that
 * brought it. With receipts adds for each message the receipts that come of it: of a direct one to its sender, of a group's to who
 * sent it, each a delivery that is acknowledged too. Batches are made before the clock runs.
 */
import { type Batch, BatchBuilder, BatchKind, openBatch, SourceKind, sourceId, stampBatch } from '../core/batch.js';
import { At, encodeFrame, Kind, makeFrame, viewOf, writeU53 } from '../core/frame.js';
import { deviceKey, highWord, lowWord, mix32 } from '../core/ids.js';
import { BATCH_BYTES_MAX, BATCH_TARGET_BYTES } from '../core/limits.js';
import { Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import type { Fetched, Out } from '../core/stage.js';
import { UserStage } from '../pipelines/user/stage.js';
import { type Benchmark, type Figure, makeFigure } from './harness/result.js';

const PAYLOAD_BYTES = 120;
const START_MS = 1_700_000_000_000;
const CONVERSATION_PARTITIONS = 4;
const GATEWAYS = 2;
const GROUP_SHARE = { numerator: 1, denominator: 5 };
/** Messages a second of logged time. */
const RATE = 20_000;
const FRIENDS = 10;
/** Of the output one word in so many bytes is in the hash; a prime, so that all parts of frames come to be in it. */
const SAMPLE_BYTES = 997;
const NOTHING: Fetched = { get: () => undefined };

interface Sizes {
  readonly users: number;
  readonly groups: number;
  /** Of a run. */
  readonly messages: number;
}

const FULL: Sizes = { users: 200_000, groups: 50_000, messages: 100_000 };
const TINY: Sizes = { users: 500, groups: 100, messages: 3_000 };

/** Keeps one builder a destination, and folds what was written into a hash. */
class BenchOut implements Out {
  readonly #builders: BatchBuilder[] = [];
  hash = 0;

  #builder(slot: number, kind: number, bytes: number): BatchBuilder {
    const builder = (this.#builders[slot] ??= new BatchBuilder(1 << 20));
    if (builder.byteLength + bytes > BATCH_BYTES_MAX) this.#take(builder);
    if (builder.isEmpty) builder.begin(kind, 0, 0, 0);
    return builder;
  }

  #take(builder: BatchBuilder): void {
    const { view, byteLength } = builder;
    let hash = mix32(this.hash ^ byteLength ^ builder.count);
    for (let at = 0; at + 4 <= byteLength; at += SAMPLE_BYTES) hash = mix32(hash ^ view.getUint32(at));
    this.hash = hash;
    builder.reset();
  }

  flush(): void {
    for (const builder of this.#builders) if (builder !== undefined && !builder.isEmpty) this.#take(builder);
  }

  user(): BatchBuilder {
    throw new Error('not used');
  }

  userFrames(_partition: number, bytes: number): BatchBuilder {
    return this.#builder(0, BatchKind.FRAMES, bytes);
  }

  conversation(partition: number, bytes: number): BatchBuilder {
    return this.#builder(1 + partition, BatchKind.FRAMES, bytes);
  }

  gateway(gateway: number, bytes: number): BatchBuilder {
    return this.#builder(100 + gateway, BatchKind.EGRESS, bytes);
  }

  put(): void {
    throw new Error('nothing waits for so long');
  }

  remove(): void {
    throw new Error('nothing waits for so long');
  }
}

/** Members of a group: 2 to 64, half of them at most 4, 95 in 100 at most 12. */
function drawGroupSize(random: Prng): number {
  const percent = random.below(100);
  if (percent < 50) return random.between(2, 4);
  if (percent < 95) return random.between(5, 12);
  return random.between(13, 64);
}

interface Message {
  readonly a: number;
  readonly b: number;
  readonly seq: number;
  readonly members: readonly number[];
}

/** Users, their groups, and batches for them. Everything comes from one seed. */
class World {
  readonly #random = new Prng(11);
  readonly #builder = new BatchBuilder(1 << 20);
  readonly #message = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(PAYLOAD_BYTES) }));
  readonly #receipt = encodeFrame(makeFrame({ kind: Kind.RECEIPT }));
  readonly #ack = encodeFrame(makeFrame({ kind: Kind.ACK }));
  readonly #groups: (readonly number[])[] = [];
  /** By user: positions handed out. */
  readonly #positions: Float64Array;
  readonly #sizes: Sizes;
  /** Who got something, and at which position, that is not acknowledged yet. */
  readonly #got: [user: number, position: number][] = [];
  #seq = 0;
  #offset = 0;
  timeMs = START_MS;
  deliveries = 0;

  constructor(sizes: Sizes) {
    const { users, groups } = sizes;
    this.#sizes = sizes;
    this.#positions = new Float64Array(users + 1);
    for (let n = 0; n < groups; n++) {
      const size = drawGroupSize(this.#random);
      this.#groups.push(Array.from({ length: size }, () => 1 + this.#random.below(users)));
    }
  }

  #batch(kind: number, write: () => void): Batch {
    const source = kind === BatchKind.FANOUT ? sourceId(SourceKind.CONVERSATION, 0) : sourceId(SourceKind.GATEWAY, 0);
    this.#builder.begin(kind, source, this.#offset, 0);
    write();
    const bytes = this.#builder.finish().slice();
    stampBatch(viewOf(bytes), 0, Topic.USER, 0, this.#offset++, Math.floor(this.timeMs));
    return openBatch(bytes);
  }

  /** Everybody connects; who is new hears of it when the disk has it, some hundred a step. */
  *connects(): Generator<Batch> {
    const { users } = this.#sizes;
    const connect = encodeFrame(makeFrame({ kind: Kind.CONNECT, extra: 1 }));
    for (let first = 1; first <= users; first += 200) {
      yield this.#batch(BatchKind.FRAMES, () => {
        for (let user = first; user < first + 200 && user <= users; user++) {
          const at = this.#builder.frame(connect, 0, connect.length);
          const { view } = this.#builder;
          writeU53(view, at + At.CONV_A, (user % GATEWAYS) * 2 ** 32 + 1);
          writeU53(view, at + At.CONV_B, user);
          writeU53(view, at + At.DEVICE, deviceKey(user, 1));
        }
      });
      const synced = encodeFrame(makeFrame({ kind: Kind.SYNCED, inbox: this.#offset }));
      yield this.#batch(BatchKind.FRAMES, () => this.#builder.frame(synced, 0, synced.length));
    }
  }

  #draw(): Message {
    const seq = ++this.#seq;
    const random = this.#random;
    const { users, groups } = this.#sizes;
    if (random.chance(GROUP_SHARE.numerator, GROUP_SHARE.denominator)) {
      const group = random.below(groups);
      return { a: 0, b: group + 1, seq, members: this.#groups[group]! };
    }
    const user = 1 + random.below(users);
    const friend = 1 + ((user * 7 + 7_919 * (1 + random.below(FRIENDS))) % users);
    return { a: Math.min(user, friend), b: Math.max(user, friend), seq, members: [user, friend] };
  }

  /** One entry to members, the first of whom sent the message. */
  #entry(frame: Uint8Array, { a, b, seq }: Message, device: number, to: readonly number[]): void {
    const at = this.#builder.frame(frame, 0, frame.length);
    const { view } = this.#builder;
    writeU53(view, at + At.CONV_A, a);
    writeU53(view, at + At.CONV_B, b);
    writeU53(view, at + At.DEVICE, device);
    view.setUint32(at + At.SEQ, seq);
    writeU53(view, at + At.TIME, Math.floor(this.timeMs));
    this.#builder.list();
    for (const user of to) {
      this.#builder.recipient(lowWord(user), highWord(user));
      this.#got.push([user, ++this.#positions[user]!]);
    }
    this.deliveries += to.length;
  }

  #acks(): Batch {
    return this.#batch(BatchKind.FRAMES, () => {
      for (const [user, position] of this.#got) {
        const at = this.#builder.frame(this.#ack, 0, this.#ack.length);
        writeU53(this.#builder.view, at + At.DEVICE, deviceKey(user, 1));
        writeU53(this.#builder.view, at + At.INBOX, position);
      }
      this.#got.length = 0;
    });
  }

  /** A batch of messages, at most `most`, behind the receipts of what came before; what it sends is added to `sent`. */
  #fanOut(most: number, told: readonly Message[], sent: Message[]): Batch {
    return this.#batch(BatchKind.FANOUT, () => {
      for (const message of told) {
        const whose = message.a === 0 ? 0 : deviceKey(message.members[1]!, 0);
        this.#entry(this.#receipt, message, whose, [message.members[0]!]);
      }
      while (sent.length < most && this.#builder.byteLength < BATCH_TARGET_BYTES / 4) {
        const message = this.#draw();
        this.#entry(this.#message, message, deviceKey(message.members[0]!, 1), message.members);
        sent.push(message);
      }
    });
  }

  /** Some messages to conversations drawn at random. Positions go on from one call to the next. */
  messages(withReceipts: boolean): Batch[] {
    const batches: Batch[] = [];
    let told: Message[] = [];
    for (let left = this.#sizes.messages; left > 0; left -= told.length) {
      const sent: Message[] = [];
      batches.push(this.#fanOut(left, withReceipts ? told : [], sent));
      this.timeMs += (sent.length * 1_000) / RATE;
      batches.push(this.#acks());
      told = sent;
    }
    return batches;
  }
}

/** Nanoseconds of this process's CPU: others may have the core meanwhile. */
function timed(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) * 1_000;
}

/** Nanoseconds for all batches, and a hash of what they wrote. */
function step(stage: UserStage, batches: readonly Batch[]): { ns: number; hash: number } {
  const out = new BenchOut();
  let ns = 0;
  for (let first = 0; first < batches.length; ) {
    const exportAtMs = batches[first]!.header.time + 1_000;
    ns += timed(() => {
      for (; first < batches.length && batches[first]!.header.time < exportAtMs; first++) {
        const batch = batches[first]!;
        stage.needs(batch, () => {});
        stage.step(batch, out, NOTHING);
        out.flush();
      }
    });
    stage.exportDirty(() => {});
  }
  return { ns, hash: out.hash };
}

interface Twins {
  readonly kernel: UserStage;
  readonly plain: UserStage;
}

/** Nanoseconds a message of each run of the twins, and a hash of all that was written. */
class Series {
  readonly kernel: number[] = [];
  readonly plain: number[] = [];
  /** A message, of all runs. */
  deliveriesPerMessage = 0;
  #deliveries = 0;
  #hash = 0;

  get hash(): string {
    return this.#hash.toString(16);
  }

  /** One run: the twins step the same batches, one after the other and in turns first, and must write the same. */
  run(world: World, twins: Twins, withReceipts: boolean, messages: number): void {
    const before = world.deliveries;
    const batches = world.messages(withReceipts);
    this.#deliveries += world.deliveries - before;
    const kernelFirst = this.kernel.length % 2 === 0 ? step(twins.kernel, batches) : undefined;
    const plain = step(twins.plain, batches);
    const kernel = kernelFirst ?? step(twins.kernel, batches);
    if (kernel.hash !== plain.hash) throw new Error('the kernel and its plain twin wrote different output');
    this.#hash = mix32(this.#hash ^ plain.hash);
    this.kernel.push(kernel.ns / messages);
    this.plain.push(plain.ns / messages);
    this.deliveriesPerMessage = this.#deliveries / (messages * this.kernel.length);
  }
}

function newStage(kernel: boolean): UserStage {
  return new UserStage({ partition: 0, conversationPartitions: CONVERSATION_PARTITIONS, userPartitions: 1, kernel });
}

/** Both twins, with everybody connected. */
function setUp(world: World): Twins {
  const twins: Twins = { kernel: newStage(true), plain: newStage(false) };
  if (!twins.kernel.hasKernel) throw new Error('this engine cannot run the kernel: there is nothing to compare');
  const out = new BenchOut();
  for (const batch of world.connects()) {
    for (const stage of [twins.kernel, twins.plain]) {
      stage.step(batch, out, NOTHING);
      out.flush();
    }
  }
  for (const stage of [twins.kernel, twins.plain]) stage.exportDirty(() => {});
  return twins;
}

/** A message, and each of its deliveries. */
function figuresOf(name: string, { kernel, plain, deliveriesPerMessage, hash }: Series): Figure[] {
  const figure = (what: string, times: number): Figure =>
    makeFigure({
      name: `${what}${name}`,
      unit: 'ns of CPU',
      better: 'lower',
      runs: kernel.map((ns) => ns / times),
      against: { name: 'plain TypeScript twin, same batches, same state', runs: plain.map((ns) => ns / times) },
      hash,
    });
  return [figure('a message', 1), figure('a delivery and its acknowledgement', deliveriesPerMessage)];
}

export const benchmark: Benchmark = {
  name: 'user-stage',
  about: 'Messages delivered live, acknowledged and freed in one thread, against the plain twin of the kernel.',
  run({ isTiny, runs, progress }) {
    const sizes = isTiny ? TINY : FULL;
    progress(`connects ${sizes.users} users`);
    const world = new World(sizes);
    const twins = setUp(world);
    const [message, receipts] = [new Series(), new Series()];
    for (const series of [message, receipts]) {
      for (let run = 0; run < runs; run++) {
        progress(`run ${run + 1} of ${runs}${series === receipts ? ', with receipts' : ''}`);
        series.run(world, twins, series === receipts, sizes.messages);
      }
    }
    if (twins.kernel.stateHash() !== twins.plain.stateHash())
      throw new Error('the kernel and its plain twin left different states');
    const { entries, memoryBytes } = twins.kernel.sizes;
    return {
      figures: [...figuresOf('', message), ...figuresOf(', with receipts', receipts)],
      workload: {
        ...sizes,
        share_to_groups: 0.2,
        deliveries_per_message: Number(message.deliveriesPerMessage.toFixed(2)),
        payload_bytes: PAYLOAD_BYTES,
        gateways: GATEWAYS,
        handed_over_to_plain: twins.kernel.handedOver,
        entries_left: entries,
        memory_bytes: memoryBytes,
      },
    };
  },
};
