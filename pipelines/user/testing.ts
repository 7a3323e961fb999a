/**
 * A lane for tests: a user stage over a log and a store in memory. It steps, commits and crashes when told, and checks that a
 * step that is done again writes the same bytes. Beside it a twin with the WebAssembly kernel does the same, and must need, write,
 * count and become the same.
 */
import assert from 'node:assert/strict';
import {
  type Batch,
  BatchAt,
  BatchBuilder,
  BatchKind,
  exceptDevice,
  openBatch,
  readU53LE,
  SourceKind,
  sourceId,
  stampBatch,
  TARGET_BYTES,
  TargetAt,
} from '../../core/batch.js';
import { encodeFrame, type Frame, frameLength, Kind, makeFrame, readFrame, viewOf } from '../../core/frame.js';
import { highWord, lowWord, mix32 } from '../../core/ids.js';
import { Topic } from '../../core/ports.js';
import type { Out } from '../../core/stage.js';
import { UserStage } from './stage.js';
import type { UserLimits } from './state.js';

export interface Target {
  readonly connection: number;
  readonly incarnation: number;
  readonly token: number;
  readonly position: number;
  readonly flags: number;
}

/** An EGRESS entry, read. */
export interface Egress {
  readonly gateway: number;
  readonly frame: Frame;
  readonly targets: readonly Target[];
}

export function textOfKey(key: Uint8Array): string {
  return Buffer.from(key).toString('latin1');
}

/** What a step writes, kept by destination in the order of writing. */
export class TestOut implements Out {
  readonly #builders = new Map<string, BatchBuilder>();
  /** Uncommitted cold data; undefined: removed. */
  readonly cold = new Map<string, Uint8Array | undefined>();
  #seq = 0;

  begin(seq: number): void {
    this.#builders.clear();
    this.#seq = seq;
  }

  #builder(kind: number, name: string): BatchBuilder {
    let builder = this.#builders.get(name);
    if (builder === undefined) {
      builder = new BatchBuilder();
      builder.begin(kind, sourceId(SourceKind.USER, 0), this.#seq, 0);
      this.#builders.set(name, builder);
    }
    return builder;
  }

  user(): BatchBuilder {
    throw new Error('the user stage fans nothing out');
  }

  userFrames(partition: number): BatchBuilder {
    return this.#builder(BatchKind.FRAMES, `user ${partition}`);
  }

  conversation(partition: number): BatchBuilder {
    return this.#builder(BatchKind.FRAMES, `conversation ${partition}`);
  }

  gateway(gateway: number): BatchBuilder {
    return this.#builder(BatchKind.EGRESS, `gateway ${gateway}`);
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.cold.set(textOfKey(key), value.slice());
  }

  remove(key: Uint8Array): void {
    this.cold.set(textOfKey(key), undefined);
  }

  /** All that was written, as [destination, bytes]. */
  outputs(): [string, Uint8Array][] {
    return [...this.#builders].map(([name, builder]) => [name, builder.finish()]);
  }
}

export function readEgress(gateway: number, bytes: Uint8Array): Egress[] {
  const view = viewOf(bytes);
  const entries: Egress[] = [];
  for (let at: number = BatchAt.ENTRIES; at < bytes.length; ) {
    const frame = readFrame(bytes, view, at);
    at += frameLength(view, at);
    const count = view.getUint32(at, true);
    const targets: Target[] = [];
    for (let n = 0; n < count; n++) {
      const from = at + 4 + n * TARGET_BYTES;
      targets.push({
        connection: view.getUint32(from, true),
        incarnation: view.getUint32(from + TargetAt.INCARNATION, true),
        token: view.getUint32(from + TargetAt.TOKEN, true),
        position: readU53LE(view, from + TargetAt.POSITION_LOW),
        flags: view.getUint32(from + TargetAt.FLAGS, true),
      });
    }
    at += 4 + count * TARGET_BYTES;
    entries.push({ gateway, frame, targets });
  }
  return entries;
}

export function readFrameBatch(bytes: Uint8Array): Frame[] {
  const view = viewOf(bytes);
  const frames: Frame[] = [];
  for (let at: number = BatchAt.ENTRIES; at < bytes.length; at += frameLength(view, at)) {
    frames.push(readFrame(bytes, view, at));
  }
  return frames;
}

export function framesBatch(frames: readonly Frame[], source = sourceId(SourceKind.GATEWAY, 0), seq = 0): Uint8Array {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FRAMES, source, seq, 0);
  for (const frame of frames) {
    const bytes = encodeFrame(frame);
    builder.frame(bytes, 0, bytes.length);
  }
  return builder.finish().slice();
}

export interface FanOutEntry {
  readonly frame: Frame;
  readonly recipients: readonly number[];
  /** Number of a device that need not get it. */
  readonly except?: number;
}

export function fanOutBatch(entries: readonly FanOutEntry[], partition: number, seq: number, index = 0): Uint8Array {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FANOUT, sourceId(SourceKind.CONVERSATION, partition), seq, 0, index);
  for (const { frame, recipients, except = 0 } of entries) {
    const bytes = encodeFrame(frame);
    builder.frame(bytes, 0, bytes.length);
    builder.list();
    for (const user of recipients) builder.recipient(lowWord(user), exceptDevice(highWord(user), except));
  }
  return builder.finish().slice();
}

function hashBytes(bytes: Uint8Array): number {
  let h = bytes.length;
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x0100_0193);
  return mix32(h);
}

/** What a step wrote, read. */
export interface StepResult {
  readonly egress: Egress[];
  readonly delivered: Frame[];
  /** Frames for user partitions. */
  readonly frames: Frame[];
}

export interface LaneOptions {
  readonly limits?: Partial<UserLimits>;
  readonly userPartitions?: number;
  readonly conversationPartitions?: number;
  /** Frames for user partition 0 go into this log, as they would in the backbone. Default true. */
  readonly loop?: boolean;
  /** `run` ends with everything synced, and the stage told so. Default true. */
  readonly syncs?: boolean;
}

/** What the twins must have in common beside their outputs; where rows lie may differ, and so the bytes of memory. */
function facts({ counters, dirtyBytes, wakeAtMs, syncWantedAt, sizes }: UserStage): object {
  const { users, devices, entries, frames, chunks } = sizes;
  return { counters: { ...counters }, dirtyBytes, wakeAtMs, syncWantedAt, users, devices, entries, frames, chunks };
}

function exportOf(stage: UserStage): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  stage.exportDirty((chunk) => chunks.push(chunk.slice()));
  return chunks;
}

export class TestLane {
  readonly log: Uint8Array[] = [];
  readonly store = new Map<string, Uint8Array>();
  readonly #options: LaneOptions;
  readonly #out = new TestOut();
  readonly #twinOut = new TestOut();
  /** Base and deltas, in the order of import. */
  #base: Uint8Array[] = [];
  #deltas: Uint8Array[] = [];
  /** A whole export under way: cursor, chunks, and number of deltas when it began. */
  #whole: { cursor: number; chunks: Uint8Array[]; since: number } | undefined;
  /** Hash of what each offset wrote. */
  readonly #written: number[] = [];
  stage: UserStage;
  /** The same, with the kernel. */
  twin: UserStage;
  /** Next offset to step. */
  offset = 0;
  committed = 0;
  /** Offset that survives a power failure: a commit waits for the outputs of what it covers. */
  durable = 0;
  nowMs = 1_000_000;

  constructor(options: LaneOptions = {}) {
    this.#options = options;
    this.stage = this.#newStage(false);
    this.twin = this.#newStage(true);
    assert.ok(this.twin.hasKernel);
  }

  #newStage(kernel: boolean): UserStage {
    const { limits, userPartitions = 1, conversationPartitions = 2 } = this.#options;
    const options = { partition: 0, conversationPartitions, userPartitions, kernel };
    return new UserStage({ ...options, ...(limits ? { limits } : {}) });
  }

  append(bytes: Uint8Array): void {
    stampBatch(viewOf(bytes), 0, Topic.USER, 0, this.log.length, this.nowMs);
    this.log.push(bytes);
  }

  frames(...frames: (Partial<Frame> & { kind: number })[]): void {
    this.append(framesBatch(frames.map((frame) => makeFrame(frame))));
  }

  /** Appends what is due because of time. */
  tick(): void {
    this.frames({ kind: Kind.TICK });
  }

  /** Steps the next batch of the log; undefined: there is none. */
  step(): StepResult | undefined {
    if (this.offset === this.log.length) return undefined;
    const batch = openBatch(this.log[this.offset]!);
    const values = new Map<string, Uint8Array | undefined>();
    this.stage.needs(batch, (key) => values.set(textOfKey(key), this.#read(textOfKey(key))));
    this.#out.begin(this.offset);
    this.stage.step(batch, this.#out, { get: (key) => values.get(textOfKey(key)) });
    const outputs = this.#out.outputs();
    this.#stepTwin(batch, values, outputs);
    this.#checkRepetition(batch, outputs);
    this.offset++;
    return this.#parse(outputs);
  }

  #stepTwin(
    batch: Batch,
    values: ReadonlyMap<string, Uint8Array | undefined>,
    outputs: readonly [string, Uint8Array][],
  ): void {
    const { stage, twin } = this;
    const keys = new Set<string>();
    twin.needs(batch, (key) => keys.add(textOfKey(key)));
    assert.deepEqual([...keys], [...values.keys()], 'the twins need different keys');
    this.#twinOut.begin(this.offset);
    twin.step(batch, this.#twinOut, { get: (key) => values.get(textOfKey(key)) });
    const where = `offset ${this.offset}: the twins`;
    assert.deepEqual(this.#twinOut.outputs(), outputs, `${where} wrote different output`);
    assert.deepEqual(this.#twinOut.cold, this.#out.cold, `${where} wrote different cold data`);
    assert.deepEqual(facts(twin), facts(stage), `${where} differ`);
  }

  #read(key: string): Uint8Array | undefined {
    return this.#out.cold.has(key) ? this.#out.cold.get(key) : this.store.get(key);
  }

  #checkRepetition(batch: Batch, outputs: [string, Uint8Array][]): void {
    const { offset } = batch.header;
    let hash = 0;
    for (const [name, bytes] of outputs) hash = mix32(hash ^ hashBytes(Buffer.from(name)) ^ hashBytes(bytes));
    const before = this.#written[offset];
    if (before !== undefined) assert.equal(hash, before, `offset ${offset} wrote something else the second time`);
    this.#written[offset] = hash;
  }

  #parse(outputs: [string, Uint8Array][]): StepResult {
    const result: StepResult = { egress: [], delivered: [], frames: [] };
    for (const [name, bytes] of outputs) {
      const [where, number] = name.split(' ') as [string, string];
      if (where === 'gateway') result.egress.push(...readEgress(Number(number), bytes));
      if (where === 'conversation') result.delivered.push(...readFrameBatch(bytes));
      if (where !== 'user') continue;
      result.frames.push(...readFrameBatch(bytes));
      if (number === '0' && this.#options.loop !== false) this.append(bytes.slice());
    }
    return result;
  }

  /** As a lane does when the log up to `end` survives a power failure. */
  tellSynced(end = this.log.length): void {
    if (this.stage.syncWantedAt < end) this.frames({ kind: Kind.SYNCED, inbox: end });
  }

  /** The next step; when all is done, everything is synced. */
  #next(): StepResult | undefined {
    if (this.offset === this.log.length && this.#options.syncs !== false) this.tellSynced();
    return this.step();
  }

  /** Steps all that is in the log, what comes meanwhile included. */
  run(visit: (result: StepResult) => void = () => {}): StepResult {
    const all: StepResult = { egress: [], delivered: [], frames: [] };
    for (let result = this.#next(); result !== undefined; result = this.#next()) {
      all.egress.push(...result.egress);
      all.delivered.push(...result.delivered);
      all.frames.push(...result.frames);
      visit(result);
    }
    return all;
  }

  /** What changed since the last time. */
  exportDirty(): Uint8Array[] {
    const chunks = exportOf(this.stage);
    assert.deepEqual(exportOf(this.twin), chunks, 'the twins export different chunks');
    assert.equal(this.twin.stateHash(), this.stage.stateHash(), 'the twins have different states');
    return chunks;
  }

  /** Commits what was stepped: state and cold data together. */
  commit(): void {
    const chunks = this.exportDirty();
    this.#deltas.push(...chunks);
    for (const [key, value] of this.#out.cold) {
      if (value === undefined) this.store.delete(key);
      else this.store.set(key, value);
    }
    this.#out.cold.clear();
    this.#twinOut.cold.clear();
    this.committed = this.offset;
    this.durable = this.log.length;
    if (this.#whole?.cursor !== -1) return;
    // A whole export that is complete takes over, with the deltas since it began.
    this.#base = this.#whole.chunks;
    this.#deltas = this.#deltas.slice(this.#whole.since);
    this.#whole = undefined;
  }

  /** Writes a part of a whole export. */
  exportPart(bytes: number): void {
    if (this.#whole?.cursor === -1) return;
    this.#whole ??= { cursor: 0, chunks: [], since: this.#deltas.length };
    const whole = this.#whole;
    const [chunks, others]: [Uint8Array[], Uint8Array[]] = [[], []];
    const cursor = this.stage.exportAll(whole.cursor, bytes, (chunk) => chunks.push(chunk.slice()));
    assert.equal(
      this.twin.exportAll(whole.cursor, bytes, (chunk) => others.push(chunk.slice())),
      cursor,
    );
    assert.deepEqual(others, chunks, 'the twins export different chunks');
    whole.cursor = cursor;
    whole.chunks.push(...chunks);
  }

  /** Loses everything since the last commit, and starts again from there. */
  crash(): void {
    this.#out.cold.clear();
    this.#twinOut.cold.clear();
    this.#whole = undefined;
    this.stage = this.restore();
    this.twin = this.restore(true);
    this.offset = this.committed;
  }

  /** A stage made from what is committed. */
  restore(kernel = false): UserStage {
    const stage = this.#newStage(kernel);
    for (const chunk of [...this.#base, ...this.#deltas]) stage.importChunk(chunk);
    stage.importDone();
    return stage;
  }

  /** Takes uncommitted batches off the end of the log, as a power failure does. */
  loseTail(from: number): Uint8Array[] {
    assert.ok(from >= this.durable);
    this.#written.length = Math.min(this.#written.length, from);
    return this.log.splice(from);
  }

  /** Commits, and checks that a stage made from the commit equals the one that wrote it. */
  checkRestore(): void {
    this.commit();
    assert.equal(this.restore().stateHash(), this.stage.stateHash(), 'a restored stage differs');
  }
}
