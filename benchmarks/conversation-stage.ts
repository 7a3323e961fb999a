/**
 * The conversation stage alone: messages sequenced and fanned out, in one thread, without log, store or sockets.
 *
 * The WebAssembly kernel against its plain twin: both step the same batches from the same state, one after the other and in
 * turns first, and must write and become the same. Time is CPU time, since others may have the core meanwhile.
 *
 * A million conversations stand before the clock runs; one in five messages goes to a group, whose sizes have a median of 4
 * members and a 95th percentile of 12. Batches are made before the clock runs.
 * The floor is what any stage must do with the same input: find the conversation in one table and copy the frame once for each
 * user partition that gets it. With receipts adds, for each message, the DELIVERED frame of each recipient and one READ.
 * All conversations are written out, and read into an empty stage, as a lane does when it takes a partition over.
 */
import {
  type Batch,
  BatchAt,
  BatchBuilder,
  BatchKind,
  openBatch,
  SourceKind,
  sourceId,
  stampBatch,
} from '../core/batch.js';
import { At, encodeFrame, frameLength, Kind, makeFrame, viewOf, writeU53 } from '../core/frame.js';
import { deviceKey, mix32 } from '../core/ids.js';
import { BATCH_BYTES_MAX, BATCH_TARGET_BYTES } from '../core/limits.js';
import { encodeMembers } from '../core/members.js';
import { LinearMemory } from '../core/memory.js';
import { Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import type { Fetched, Out } from '../core/stage.js';
import { Table } from '../core/table.js';
import { ConversationStage } from '../pipelines/conversation/stage.js';
import { type Benchmark, type Figure, makeFigure } from './harness/result.js';

const PAYLOAD_BYTES = 120;
const START_MS = 1_700_000_000_000;
const USER_PARTITIONS = 4;
const GROUP_SHARE = { numerator: 1, denominator: 5 };
/** Of the output one word in so many bytes is in the hash; a prime, so that all parts of frames come to be in it. */
const SAMPLE_BYTES = 997;
const NOTHING: Fetched = { get: () => undefined };

/** What one core must do in a second, in millions of messages, and how many times as much as the plain twin. */
const MILLIONS_PER_SECOND_MIN = 10;
const RATIO_MIN = 5;

interface Sizes {
  readonly conversations: number;
  readonly users: number;
  /** Of a run. */
  readonly messages: number;
}

const FULL: Sizes = { conversations: 1_000_000, users: 200_000, messages: 200_000 };
const TINY: Sizes = { conversations: 2_000, users: 500, messages: 4_000 };

/** Keeps one builder a user partition, and folds what was written into a hash. */
class BenchOut implements Out {
  readonly #builders = Array.from({ length: USER_PARTITIONS }, () => new BatchBuilder(1 << 20));
  hash = 0;

  user(partition: number, bytes: number): BatchBuilder {
    const builder = this.#builders[partition]!;
    if (builder.byteLength + bytes > BATCH_BYTES_MAX) this.#take(builder);
    if (builder.isEmpty) builder.begin(BatchKind.FANOUT, 0, 0, 0);
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
    for (const builder of this.#builders) if (!builder.isEmpty) this.#take(builder);
  }

  userFrames(): BatchBuilder {
    throw new Error('not used');
  }

  conversation(): BatchBuilder {
    throw new Error('not used');
  }

  gateway(): BatchBuilder {
    throw new Error('not used');
  }

  put(): void {}

  remove(): void {}
}

/** Members of a group: 2 to 64, half of them at most 4, 95 in 100 at most 12. */
function drawGroupSize(random: Prng): number {
  const percent = random.below(100);
  if (percent < 50) return random.between(2, 4);
  if (percent < 95) return random.between(5, 12);
  return random.between(13, 64);
}

/** Conversations with their members, and batches for them. Everything comes from one seed. */
class World {
  readonly #random = new Prng(11);
  readonly #builder = new BatchBuilder(1 << 20);
  readonly #message = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(PAYLOAD_BYTES) }));
  readonly #receipt = encodeFrame(makeFrame({ kind: Kind.DELIVERED }));
  /** Of each conversation: a, b and, for groups, the members; the first of them sends. */
  readonly #a: Float64Array;
  readonly #b: Float64Array;
  readonly #members: (readonly number[] | undefined)[] = [];
  readonly #counters: Uint32Array;
  readonly #heads: Uint32Array;
  readonly #sizes: Sizes;
  #offset = 0;

  constructor(sizes: Sizes) {
    const { conversations, users } = sizes;
    this.#sizes = sizes;
    this.#a = new Float64Array(conversations);
    this.#b = new Float64Array(conversations);
    this.#counters = new Uint32Array(conversations);
    this.#heads = new Uint32Array(conversations);
    const seen = new Set<number>();
    for (let n = 0; n < conversations; n++) {
      if (this.#isGroup(n)) {
        const size = drawGroupSize(this.#random);
        const first = this.#random.below(users);
        this.#b[n] = n + 1;
        this.#members[n] = Array.from({ length: size }, (_, k) => 1 + ((first + k * 7) % users));
        continue;
      }
      let low: number;
      let high: number;
      do {
        low = 1 + this.#random.below(users - 1);
        high = low + 1 + this.#random.below(users - low);
      } while (seen.has(low * 2 ** 20 + high));
      seen.add(low * 2 ** 20 + high);
      this.#a[n] = low;
      this.#b[n] = high;
    }
  }

  /** One conversation in five is a group, so one message in five goes to one. */
  #isGroup(n: number): boolean {
    return n % GROUP_SHARE.denominator < GROUP_SHARE.numerator;
  }

  /** Batches of the usual size, filled by `fill` with its 1st, 2nd … of `count` turns. */
  *#batches(count: number, fill: (builder: BatchBuilder, n: number) => void): Generator<Batch> {
    const builder = this.#builder;
    for (let n = 0; n < count; n++) {
      if (builder.isEmpty) builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), this.#offset, 0);
      fill(builder, n);
      if (builder.byteLength >= BATCH_TARGET_BYTES || n === count - 1) yield this.#finish();
    }
  }

  #finish(): Batch {
    const bytes = this.#builder.finish().slice();
    stampBatch(viewOf(bytes), 0, Topic.CONVERSATION, 0, this.#offset, START_MS + this.#offset);
    this.#offset++;
    this.#builder.reset();
    return openBatch(bytes);
  }

  #place(builder: BatchBuilder, at: number, n: number, device: number): void {
    writeU53(builder.view, at + At.CONV_A, this.#a[n]!);
    writeU53(builder.view, at + At.CONV_B, this.#b[n]!);
    writeU53(builder.view, at + At.DEVICE, device);
  }

  #sendMessage(builder: BatchBuilder, n: number): void {
    const at = builder.frame(this.#message, 0, this.#message.length);
    this.#place(builder, at, n, deviceKey(this.#members[n]?.[0] ?? this.#a[n]!, 1));
    builder.view.setUint32(at + At.COUNTER, ++this.#counters[n]!);
    this.#heads[n]!++;
  }

  #create(builder: BatchBuilder, n: number): void {
    const members = this.#members[n];
    if (members === undefined) return this.#sendMessage(builder, n);
    const payload = encodeMembers(members.slice(1));
    const frame = encodeFrame(makeFrame({ kind: Kind.GROUP_CREATE, counter: 1, payload }));
    this.#place(builder, builder.frame(frame, 0, frame.length), n, deviceKey(members[0]!, 1));
    this.#counters[n] = 1;
    this.#heads[n] = 1;
  }

  /** Makes every conversation: groups with GROUP_CREATE, direct ones with a message. */
  setUp(): Generator<Batch> {
    return this.#batches(this.#sizes.conversations, (builder, n) => this.#create(builder, n));
  }

  #sendReceipts(builder: BatchBuilder, n: number): void {
    const others = this.#members[n]?.slice(1) ?? [this.#b[n]!];
    for (const user of others) this.#sendWatermark(builder, n, Kind.DELIVERED, deviceKey(user, 0));
    this.#sendWatermark(builder, n, Kind.READ, deviceKey(others[0]!, 1));
  }

  #sendWatermark(builder: BatchBuilder, n: number, kind: number, device: number): void {
    const at = builder.frame(this.#receipt, 0, this.#receipt.length);
    builder.bytes[at + At.KIND] = kind;
    this.#place(builder, at, n, device);
    builder.view.setUint32(at + At.SEQ, this.#heads[n]!);
  }

  /** Messages to conversations drawn at random. Counters go on from one call to the next. */
  messages(withReceipts: boolean): Batch[] {
    const batches = this.#batches(this.#sizes.messages, (builder) => {
      const n = this.#random.below(this.#sizes.conversations);
      this.#sendMessage(builder, n);
      if (withReceipts) this.#sendReceipts(builder, n);
    });
    return [...batches];
  }
}

function newStage(kernel: boolean): ConversationStage {
  return new ConversationStage({ partition: 0, conversationPartitions: 1, userPartitions: USER_PARTITIONS, kernel });
}

/** Nanoseconds of this process's CPU: others may have the core meanwhile. */
function timed(work: () => void): number {
  const start = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(start);
  return (user + system) * 1_000;
}

function load(chunks: readonly Uint8Array[], kernel: boolean): { stage: ConversationStage; ns: number } {
  const stage = newStage(kernel);
  const ns = timed(() => {
    for (const chunk of chunks) stage.importChunk(chunk);
    stage.importDone();
  });
  return { stage, ns };
}

function exportAll(stage: ConversationStage): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let cursor = 0; cursor >= 0; ) {
    cursor = stage.exportAll(cursor, 2 ** 20, (chunk) => chunks.push(chunk.slice()));
  }
  return chunks;
}

/** Nanoseconds for all batches, and a hash of what they wrote. */
function step(stage: ConversationStage, batches: readonly Batch[]): { ns: number; hash: number } {
  const out = new BenchOut();
  const ns = timed(() => {
    for (const batch of batches) {
      stage.step(batch, out, NOTHING);
      out.flush();
    }
  });
  // Committed, as a lane does now and then: what the next run changes is dirty anew.
  stage.exportDirty(() => {});
  return { ns, hash: out.hash };
}

/** The floor: a look-up in a table of as many rows, and a copy of the frame into each of two batches. */
function stepFloor(rows: Table, batches: readonly Batch[]): { ns: number; hash: number } {
  const out = new BenchOut();
  let found = 0;
  const ns = timed(() => {
    for (const { bytes, view, header } of batches) {
      for (let entry = 0, at: number = BatchAt.ENTRIES; entry < header.count; entry++) {
        const length = frameLength(view, at);
        const [aHigh, aLow] = [view.getUint32(at + At.CONV_A), view.getUint32(at + At.CONV_A + 4)];
        const [bHigh, bLow] = [view.getUint32(at + At.CONV_B), view.getUint32(at + At.CONV_B + 4)];
        found += rows.find(aLow, aHigh, bLow, bHigh) >= 0 ? 1 : 0;
        for (let copy = 0; copy < 2; copy++) {
          const builder = out.user((entry + copy) % USER_PARTITIONS, length + 12);
          builder.frame(bytes, at, length);
          builder.list();
          builder.recipient(1, 0);
        }
        at += length;
      }
      out.flush();
    }
  });
  return { ns, hash: mix32(out.hash ^ found) };
}

function addToFloor(rows: Table, { view, header }: Batch): void {
  for (let entry = 0, at: number = BatchAt.ENTRIES; entry < header.count; entry++, at += frameLength(view, at)) {
    const [aHigh, aLow] = [view.getUint32(at + At.CONV_A), view.getUint32(at + At.CONV_A + 4)];
    const [bHigh, bLow] = [view.getUint32(at + At.CONV_B), view.getUint32(at + At.CONV_B + 4)];
    rows.insert(aLow, aHigh, bLow, bHigh);
  }
}

interface Twins {
  readonly kernel: ConversationStage;
  readonly plain: ConversationStage;
}

/** Nanoseconds a message of each run, of the twins and of the floor, and a hash of all that was written. */
class Series {
  readonly kernel: number[] = [];
  readonly plain: number[] = [];
  readonly floor: number[] = [];
  #hash = 0;

  get hash(): string {
    return this.#hash.toString(16);
  }

  /** One run: the twins step the same batches, one after the other and in turns first, and must write the same. */
  run(twins: Twins, rows: Table, batches: readonly Batch[], messages: number): void {
    // First, so that neither twin pays for what making the batches left to the collector.
    const floor = stepFloor(rows, batches);
    const kernelFirst = this.kernel.length % 2 === 0 ? step(twins.kernel, batches) : undefined;
    const plain = step(twins.plain, batches);
    const kernel = kernelFirst ?? step(twins.kernel, batches);
    if (kernel.hash !== plain.hash) throw new Error('the kernel and its plain twin wrote different output');
    this.#hash = mix32(this.#hash ^ plain.hash);
    this.kernel.push(kernel.ns / messages);
    this.plain.push(plain.ns / messages);
    this.floor.push(floor.ns / messages);
  }
}

/** A stage with all conversations, written out and read in again by both twins; and the table of the floor. */
interface SetUp {
  readonly twins: Twins;
  readonly rows: Table;
  readonly bytes: number;
  /** Seconds of each run. */
  readonly exports: readonly number[];
  readonly imports: { readonly kernel: readonly number[]; readonly plain: readonly number[] };
}

function setUp(world: World, runs: number): SetUp {
  const rows = new Table(new LinearMemory(), 16, 4);
  const original = newStage(true);
  const out = new BenchOut();
  for (const batch of world.setUp()) {
    original.step(batch, out, NOTHING);
    out.flush();
    addToFloor(rows, batch);
  }
  let chunks: readonly Uint8Array[] = [];
  let twins: Twins | undefined;
  const exports: number[] = [];
  const imports = { kernel: [] as number[], plain: [] as number[] };
  for (let run = 0; run < runs; run++) {
    const ns = timed(() => {
      chunks = exportAll(original);
    });
    const [kernel, plain] = [load(chunks, true), load(chunks, false)];
    exports.push(ns / 1e9);
    imports.kernel.push(kernel.ns / 1e9);
    imports.plain.push(plain.ns / 1e9);
    twins = { kernel: kernel.stage, plain: plain.stage };
  }
  if (twins === undefined || !twins.kernel.hasKernel) throw new Error('this engine cannot run the kernel');
  const hash = original.stateHash();
  if (twins.kernel.stateHash() !== hash || twins.plain.stateHash() !== hash)
    throw new Error('what was imported is not what was exported');
  return { twins, rows, bytes: chunks.reduce((sum, { length }) => sum + length, 0), exports, imports };
}

const PLAIN = 'plain TypeScript twin, same batches, same state';

function stepFigures(message: Series, receipts: Series): Figure[] {
  const { hash } = message;
  const ns = { unit: 'ns of CPU a message', better: 'lower' } as const;
  const perSecond = (runs: readonly number[]): number[] => runs.map((each) => 1_000 / each);
  return [
    makeFigure({
      name: 'messages of one core',
      unit: 'M messages/s',
      better: 'higher',
      runs: perSecond(message.kernel),
      against: { name: PLAIN, runs: perSecond(message.plain) },
      reach: { of: 'figure', bound: MILLIONS_PER_SECOND_MIN },
      hash,
    }),
    makeFigure({
      ...ns,
      name: 'a message',
      runs: message.kernel,
      against: { name: PLAIN, runs: message.plain },
      reach: { of: 'ratio', bound: RATIO_MIN },
      hash,
    }),
    makeFigure({
      ...ns,
      name: 'a message, against the least',
      runs: message.kernel,
      against: { name: 'one look-up and two copies, plain TypeScript', runs: message.floor },
      hash,
    }),
    makeFigure({
      ...ns,
      name: 'a message with its receipts',
      runs: receipts.kernel,
      against: { name: PLAIN, runs: receipts.plain },
      hash: receipts.hash,
    }),
  ];
}

function stateFigures({ exports, imports }: SetUp, hash: string): Figure[] {
  const seconds = { unit: 's of CPU', better: 'lower', hash } as const;
  return [
    makeFigure({ ...seconds, name: 'all conversations written out', runs: exports }),
    makeFigure({
      ...seconds,
      name: 'all conversations read in',
      runs: imports.kernel,
      against: { name: PLAIN, runs: imports.plain },
    }),
  ];
}

export const benchmark: Benchmark = {
  name: 'conversation-stage',
  about: 'Messages deduplicated, sequenced and fanned out in one thread, against the plain twin of the kernel.',
  run({ isTiny, runs, progress }) {
    const sizes = isTiny ? TINY : FULL;
    progress(`makes ${sizes.conversations} conversations`);
    const world = new World(sizes);
    const state = setUp(world, runs);
    const [message, receipts] = [new Series(), new Series()];
    for (const series of [message, receipts]) {
      for (let run = 0; run < runs; run++) {
        progress(`run ${run + 1} of ${runs}${series === receipts ? ', with receipts' : ''}`);
        series.run(state.twins, state.rows, world.messages(series === receipts), sizes.messages);
      }
    }
    const hash = state.twins.plain.stateHash();
    if (state.twins.kernel.stateHash() !== hash) throw new Error('the kernel and its plain twin left different states');
    return {
      figures: [...stepFigures(message, receipts), ...stateFigures(state, hash.toString(16))],
      workload: { ...sizes, share_to_groups: 0.2, payload_bytes: PAYLOAD_BYTES, state_bytes: state.bytes },
    };
  },
};
