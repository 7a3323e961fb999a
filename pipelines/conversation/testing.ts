/** A lane for tests: a conversation stage over a log and a store in memory. It steps, commits and crashes when told. */
import assert from 'node:assert/strict';
import {
  BatchAt,
  BatchBuilder,
  BatchKind,
  exceptedDevice,
  openBatch,
  recipientHigh,
  SourceKind,
  sourceId,
  stampBatch,
} from '../../core/batch.js';
import { encodeFrame, type Frame, frameLength, makeFrame, readFrame, viewOf } from '../../core/frame.js';
import { deviceKey, fromWords, isUserId, partitionOfUser } from '../../core/ids.js';
import { STORE_CHUNK_BYTES } from '../../core/limits.js';
import { Topic } from '../../core/ports.js';
import type { Out } from '../../core/stage.js';
import { ConversationStage } from './stage.js';

export type Fields = Partial<Frame> & { kind: number };

/** An entry of a FANOUT batch, read. */
export interface Entry {
  readonly partition: number;
  readonly frame: Frame;
  readonly recipients: readonly number[];
  /** Number of a device that need not get it; 0: none. */
  readonly except: number;
}

/** What a step writes, one batch a user partition. */
export class TestOut implements Out {
  readonly builders = new Map<number, BatchBuilder>();

  user(partition: number, bytes: number): BatchBuilder {
    let builder = this.builders.get(partition);
    if (builder === undefined) {
      builder = new BatchBuilder();
      builder.begin(BatchKind.FANOUT, sourceId(SourceKind.CONVERSATION, 0), 0, 0);
      this.builders.set(partition, builder);
    }
    builder.reserve(bytes);
    return builder;
  }

  userFrames(): BatchBuilder {
    throw new Error('the conversation stage writes FANOUT batches only');
  }

  conversation(): BatchBuilder {
    throw new Error('the conversation stage writes to users only');
  }

  gateway(): BatchBuilder {
    throw new Error('the conversation stage knows no gateway');
  }

  put(): void {
    throw new Error('the conversation stage has no cold data');
  }

  remove(): void {
    throw new Error('the conversation stage has no cold data');
  }
}

export function readEntries(partition: number, bytes: Uint8Array): Entry[] {
  const view = viewOf(bytes);
  const entries: Entry[] = [];
  for (let at: number = BatchAt.ENTRIES; at < bytes.length; ) {
    const frame = readFrame(bytes, view, at);
    at += frameLength(view, at);
    const count = view.getUint32(at, true);
    at += 4;
    const recipients: number[] = [];
    let except = 0;
    for (let n = 0; n < count; n++, at += 8) {
      const high = view.getUint32(at + 4, true);
      recipients.push(fromWords(view.getUint32(at, true), recipientHigh(high)));
      except ||= exceptedDevice(high);
    }
    entries.push({ partition, frame, recipients, except });
  }
  return entries;
}

export function framesBatch(frames: readonly Frame[], offset: number, timeMs: number): Uint8Array {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), offset, 0);
  for (const frame of frames) {
    const bytes = encodeFrame(frame);
    builder.frame(bytes, 0, bytes.length);
  }
  const bytes = builder.finish().slice();
  stampBatch(viewOf(bytes), 0, Topic.CONVERSATION, 0, offset, timeMs);
  return bytes;
}

/** Steps one batch; the bytes written for each user partition, in the order of partitions. */
export function stepBatch(stage: ConversationStage, bytes: Uint8Array): Map<number, Uint8Array> {
  const out = new TestOut();
  stage.step(openBatch(bytes), out, { get: () => undefined });
  const written = [...out.builders].toSorted(([one], [other]) => one - other);
  return new Map(written.map(([partition, builder]) => [partition, builder.finish()]));
}

/** The entries of what `stepBatch` returned, and that all recipients live in the partition that they were written to. */
export function entriesOf(written: ReadonlyMap<number, Uint8Array>, userPartitions: number): Entry[] {
  const entries = [...written].flatMap(([partition, bytes]) => readEntries(partition, bytes));
  for (const { partition, recipients } of entries) {
    assert.ok(recipients.length > 0, 'an entry for nobody');
    assert.equal(new Set(recipients).size, recipients.length, 'a recipient comes twice');
    for (const user of recipients) {
      assert.ok(isUserId(user), `user ${user}`);
      assert.equal(partitionOfUser(user, userPartitions), partition);
    }
  }
  return entries;
}

export class TestLane {
  readonly log: Uint8Array[] = [];
  readonly #outputs: Map<number, Uint8Array>[] = [];
  /** Base and deltas, in the order of import. */
  #base: Uint8Array[] = [];
  #deltas: Uint8Array[] = [];
  /** A whole export under way: cursor, chunks, and the number of deltas when it began. */
  #whole: { cursor: number; chunks: Uint8Array[]; since: number } | undefined;
  #committed = 0;
  readonly userPartitions: number;
  stage: ConversationStage;
  nowMs = 1_700_000_000_000;

  constructor(userPartitions = 3) {
    this.userPartitions = userPartitions;
    this.stage = this.newStage();
  }

  /** `kernel`: with the WebAssembly kernel. */
  newStage(kernel = false): ConversationStage {
    const { userPartitions } = this;
    return new ConversationStage({ partition: 0, conversationPartitions: 1, userPartitions, kernel });
  }

  /** Appends a batch and steps it. */
  step(...frames: Fields[]): Entry[] {
    const full = frames.map((fields) => makeFrame(fields));
    this.log.push(framesBatch(full, this.log.length, this.nowMs));
    this.#outputs.push(stepBatch(this.stage, this.log.at(-1)!));
    return entriesOf(this.lastOutput, this.userPartitions);
  }

  get lastOutput(): Map<number, Uint8Array> {
    return this.#outputs.at(-1)!;
  }

  /** Commits what changed; returns the chunks. A whole export that is complete takes over, with the deltas since it began. */
  commit(): Uint8Array[] {
    const chunks: Uint8Array[] = [];
    this.stage.exportDirty((chunk) => chunks.push(checkChunk(chunk)));
    assert.equal(this.stage.dirtyBytes, 0);
    this.#deltas.push(...chunks);
    this.#committed = this.log.length;
    if (this.#whole?.cursor === -1) {
      this.#base = this.#whole.chunks;
      this.#deltas = this.#deltas.slice(this.#whole.since);
      this.#whole = undefined;
    }
    return chunks;
  }

  /** Writes a part of a whole export. */
  exportPart(bytes: number): void {
    if (this.#whole?.cursor === -1) return;
    this.#whole ??= { cursor: 0, chunks: [], since: this.#deltas.length };
    const whole = this.#whole;
    whole.cursor = this.stage.exportAll(whole.cursor, bytes, (chunk) => whole.chunks.push(checkChunk(chunk)));
  }

  /** A stage made from what is committed. */
  restore(): ConversationStage {
    const stage = this.newStage();
    for (const chunk of [...this.#base, ...this.#deltas]) stage.importChunk(chunk);
    stage.importDone();
    return stage;
  }

  /** Starts again from the last commit, and steps what came after it: every byte written must be the same. */
  crash(): void {
    this.#whole = undefined;
    this.stage = this.restore();
    for (let offset = this.#committed; offset < this.log.length; offset++) {
      assert.deepEqual(stepBatch(this.stage, this.log[offset]!), this.#outputs[offset], `offset ${offset}`);
    }
  }

  /** Commits, and checks that a stage made from the commit equals the one that wrote it. */
  checkRestore(): void {
    this.commit();
    assert.equal(this.restore().stateHash(), this.stage.stateHash(), 'a restored stage differs');
  }
}

function checkChunk(chunk: Uint8Array): Uint8Array {
  assert.ok(chunk.length > 0 && chunk.length <= STORE_CHUNK_BYTES, `a chunk of ${chunk.length} bytes`);
  return chunk.slice();
}

/** The frames of one kind. */
export function ofKind(entries: readonly Entry[], kind: number): Frame[] {
  return entries.filter(({ frame }) => frame.kind === kind).map(({ frame }) => frame);
}

/** Who got frames of a kind, in ascending order. */
export function receivers(entries: readonly Entry[], kind: number): number[] {
  return entries
    .filter(({ frame }) => frame.kind === kind)
    .flatMap(({ recipients }) => recipients)
    .toSorted((one, other) => one - other);
}

/** A device that counts what it sends in one conversation. */
export class Sender {
  readonly device: number;
  readonly convA: number;
  readonly convB: number;
  counter = 0;

  constructor(user: number, convA: number, convB: number, deviceNumber = 1) {
    this.device = deviceKey(user, deviceNumber);
    this.convA = convA;
    this.convB = convB;
  }

  /** A frame with the next counter. */
  next(fields: Fields): Fields {
    this.counter++;
    return { ...this.frame(fields), counter: this.counter };
  }

  /** A frame without a counter. */
  frame(fields: Fields): Fields {
    return { convA: this.convA, convB: this.convB, device: this.device, ...fields };
  }
}
