/**
 * The conversation stage alone, with all state in memory, as production has it: a stage a partition. Conversations are numbered;
 * who is in one follows from its number, so that ten million need no room here. Figures are processor time.
 */
import { type Batch, BatchBuilder, BatchKind, openBatch, SourceKind, sourceId, stampBatch } from '../../core/batch.js';
import { At, encodeFrame, Kind, makeFrame, viewOf, writeU53 } from '../../core/frame.js';
import { deviceKey, mix32, partitionOfConversation } from '../../core/ids.js';
import { BATCH_BYTES_MAX, BATCH_TARGET_BYTES, PARTITIONS_DEFAULT } from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { Topic } from '../../core/ports.js';
import { Prng } from '../../core/prng.js';
import type { Fetched, Out } from '../../core/stage.js';
import { ConversationStage } from '../../pipelines/conversation/stage.js';

const PARTITIONS = PARTITIONS_DEFAULT;
const PAYLOAD_BYTES = 120;
const START_MS = 1_700_000_000_000;
const NOTHING: Fetched = { get: () => undefined };
/** So many batches are between two commits, after which a stage forgets what has changed. */
const BATCHES_PER_COMMIT = 16;
/** Of the output one word in so many bytes is in the hash; a prime, so that all parts of frames come to be in it. */
const SAMPLE_BYTES = 997;

export interface ShapeOptions {
  readonly conversations: number;
  /** Every so many-th conversation is a group. */
  readonly groupEvery: number;
  /** Members of the group of a number. */
  readonly sizeOf: (conversation: number) => number;
}

/** Who is in each conversation. */
export class Shape {
  readonly conversations: number;
  readonly #options: ShapeOptions;
  readonly #users: number;

  constructor(options: ShapeOptions) {
    this.#options = options;
    this.conversations = options.conversations;
    this.#users = Math.max(2_048, Math.ceil(options.conversations / 5));
  }

  isGroup(conversation: number): boolean {
    return conversation % this.#options.groupEvery === 0;
  }

  a(conversation: number): number {
    return this.isGroup(conversation) ? 0 : this.first(conversation);
  }

  b(conversation: number): number {
    if (this.isGroup(conversation)) return conversation + 1;
    // Pairs differ: users go round, and the distance to the other is another in each round.
    return this.first(conversation) + 1 + Math.floor(conversation / this.#users);
  }

  /** Who sends: the lower of two, or a group's creator. */
  first(conversation: number): number {
    return 1 + (conversation % this.#users);
  }

  others(conversation: number): number[] {
    const first = conversation % this.#users;
    return Array.from({ length: this.members(conversation) - 1 }, (_, k) => 1 + ((first + k + 1) % this.#users));
  }

  members(conversation: number): number {
    return this.isGroup(conversation) ? Math.min(this.#users, this.#options.sizeOf(conversation)) : 2;
  }
}

/** 2 to 64 members, half of the groups at most 4, 95 in 100 at most 12. */
export function realisticSize(conversation: number): number {
  const percent = mix32(conversation) % 100;
  const draw = mix32(conversation ^ 0x5a5a) >>> 8;
  if (percent < 50) return 2 + (draw % 3);
  if (percent < 95) return 5 + (draw % 8);
  return 13 + (draw % 52);
}

/** Keeps one builder a user partition, and folds what was written into a hash. */
class Sink implements Out {
  readonly #builders = Array.from({ length: PARTITIONS }, () => new BatchBuilder(1 << 20));
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
    this.hash = hash >>> 0;
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

export interface StageRun {
  /** Of processor time, all together. */
  readonly ns: number;
  readonly messages: number;
  /** Recipients of all messages: members, the sender among them. */
  readonly deliveries: number;
  readonly hash: number;
}

/** All conversations of a shape, made; then messages to some of them. */
export class StageWorld {
  readonly shape: Shape;
  readonly #random = new Prng(11);
  readonly #stages = Array.from(
    { length: PARTITIONS },
    (_, partition) =>
      new ConversationStage({
        partition,
        conversationPartitions: PARTITIONS,
        userPartitions: PARTITIONS,
        kernel: true,
      }),
  );
  readonly #builders = Array.from({ length: PARTITIONS }, () => new BatchBuilder(1 << 19));
  readonly #offsets = Array.from({ length: PARTITIONS }, () => 0);
  readonly #counters: Uint32Array;
  readonly #message = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(PAYLOAD_BYTES) }));
  readonly #out = new Sink();

  constructor(shape: Shape) {
    this.shape = shape;
    this.#counters = new Uint32Array(shape.conversations);
    for (let conversation = 0; conversation < shape.conversations; conversation++) {
      const batch = this.#put(conversation, shape.isGroup(conversation) ? this.#founding(conversation) : this.#message);
      if (batch !== undefined) this.#step(batch.partition, batch.batch);
    }
    for (const { partition, batch } of this.#rest()) this.#step(partition, batch);
    for (const stage of this.#stages) stage.exportDirty(() => {});
  }

  #founding(conversation: number): Uint8Array {
    return encodeFrame(makeFrame({ kind: Kind.GROUP_CREATE, payload: encodeMembers(this.shape.others(conversation)) }));
  }

  /** Adds a frame to its partition's batch; returns the batch if it is full. */
  #put(conversation: number, frame: Uint8Array): { partition: number; batch: Batch } | undefined {
    const a = this.shape.a(conversation);
    const b = this.shape.b(conversation);
    const partition = partitionOfConversation(a, b, PARTITIONS);
    const builder = this.#builders[partition]!;
    if (builder.isEmpty) builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), this.#offsets[partition]!, 0);
    const at = builder.frame(frame, 0, frame.length);
    writeU53(builder.view, at + At.CONV_A, a);
    writeU53(builder.view, at + At.CONV_B, b);
    writeU53(builder.view, at + At.DEVICE, deviceKey(this.shape.first(conversation), 1));
    builder.view.setUint32(at + At.COUNTER, ++this.#counters[conversation]!);
    return builder.byteLength >= BATCH_TARGET_BYTES ? { partition, batch: this.#finish(partition) } : undefined;
  }

  #finish(partition: number): Batch {
    const builder = this.#builders[partition]!;
    const bytes = builder.finish().slice();
    const offset = this.#offsets[partition]!++;
    stampBatch(viewOf(bytes), 0, Topic.CONVERSATION, partition, offset, START_MS + offset);
    builder.reset();
    return openBatch(bytes);
  }

  #rest(): { partition: number; batch: Batch }[] {
    return this.#builders.flatMap(({ isEmpty }, partition) =>
      isEmpty ? [] : [{ partition, batch: this.#finish(partition) }],
    );
  }

  #step(partition: number, batch: Batch): void {
    const stage = this.#stages[partition]!;
    stage.step(batch, this.#out, NOTHING);
    this.#out.flush();
    if (this.#offsets[partition]! % BATCHES_PER_COMMIT === 0) stage.exportDirty(() => {});
  }

  /** Messages to conversations drawn at random; batches are made before the clock runs. */
  run(messages: number): StageRun {
    const batches: { partition: number; batch: Batch }[] = [];
    let deliveries = 0;
    for (let n = 0; n < messages; n++) {
      const conversation = this.#random.below(this.shape.conversations);
      deliveries += this.shape.members(conversation);
      const full = this.#put(conversation, this.#message);
      if (full !== undefined) batches.push(full);
    }
    batches.push(...this.#rest());
    const start = process.cpuUsage();
    for (const { partition, batch } of batches) {
      this.#stages[partition]!.step(batch, this.#out, NOTHING);
      this.#out.flush();
    }
    const { user, system } = process.cpuUsage(start);
    for (const stage of this.#stages) stage.exportDirty(() => {});
    return { ns: (user + system) * 1_000, messages, deliveries, hash: this.#out.hash };
  }
}
