/**
 * The conversation stage: who may say what in which order, and who gets it. See core/stage.ts for what a stage is, and rows.ts
 * for its state, all of which is in memory: a conversation costs about 250 bytes, so ten million fit on one machine, and a
 * step never has to fetch anything.
 */
import { type Batch, BatchAt, BatchKind } from '../../core/batch.js';
import { isSequenced, Kind } from '../../core/frame.js';
import type { ChunkSink, Fetched, KeySink, Out, Stage } from '../../core/stage.js';
import { StepContext } from './context.js';
import { deriveAdmins, Exporter, importChunk, stateHash } from './export.js';
import { forward, frameWithin, Recipients } from './fanout.js';
import { handleInfo, handleTyping } from './info.js';
import { Kernel } from './kernel.js';
import { headAfter, skipLost, tellLost } from './losses.js';
import { deriveAggregates, handleDelivered, handleRead } from './receipts.js';
import { Conv, ConversationFlag, Rows } from './rows.js';
import { sequenceFrame } from './sequence.js';

export interface ConversationStageOptions {
  readonly partition: number;
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  /** True: ordinary frames are done by the WebAssembly kernel, where the engine can run it. The results are the same. */
  readonly kernel?: boolean;
}

export class ConversationStage implements Stage {
  readonly wakeAtMs = Number.POSITIVE_INFINITY;
  readonly syncWantedAt = Number.POSITIVE_INFINITY;
  /** Frames that no gateway lets through: counted, otherwise ignored. */
  ignored = 0;
  /** Frames that the kernel left to the plain code. */
  handedOver = 0;
  readonly #rows = new Rows();
  readonly #context: StepContext;
  readonly #recipients = new Recipients();
  readonly #exporter = new Exporter(this.#rows);
  readonly #userPartitions: number;
  readonly #kernel: Kernel | undefined;
  /** Members are to be told that something is lost. */
  #hasLost = false;

  constructor(options: ConversationStageOptions) {
    this.#userPartitions = options.userPartitions;
    this.#kernel = options.kernel === true ? Kernel.create(this.#rows, options.userPartitions) : undefined;
    this.#context = new StepContext(this.#rows, options.userPartitions);
  }

  get hasKernel(): boolean {
    return this.#kernel !== undefined;
  }

  get conversations(): number {
    return this.#rows.conversations.size;
  }

  get dirtyBytes(): number {
    return this.#rows.dirtyBytes;
  }

  needs(_batch: Batch, _keys: KeySink): void {
    // Everything is in memory.
  }

  step(batch: Batch, out: Out, _fetched: Fetched): void {
    const context = this.#context;
    context.begin(batch, out);
    if (batch.header.kind !== BatchKind.FRAMES) {
      this.ignored += batch.header.count;
      return;
    }
    if (this.#hasLost) {
      tellLost(context, this.#recipients);
      this.#hasLost = false;
    }
    if (this.#kernel === undefined) this.#stepPlain(context, batch.header.count);
    else this.#stepWith(this.#kernel, context, batch.header.count);
  }

  #stepPlain(context: StepContext, entries: number): void {
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < entries && at >= 0; entry++) at = this.#entry(context, at);
  }

  #stepWith(kernel: Kernel, context: StepContext, entries: number): void {
    kernel.begin(context, entries);
    for (let at = kernel.next(context); at >= 0; at = kernel.next(context)) {
      this.handedOver++;
      if (this.#entry(context, at) < 0) return;
    }
  }

  /** Handles the frame at `at`; where the next one lies, or −1 if the batch is cut here. */
  #entry(context: StepContext, at: number): number {
    const length = frameWithin(context, at);
    if (length < 0) {
      this.ignored++;
      return -1;
    }
    context.open(at, length);
    this.#handle(context);
    return at + length;
  }

  #handle(context: StepContext): void {
    const { kind } = context;
    if (!context.hasUser) this.ignored++;
    else if (isSequenced(kind)) sequenceFrame(context, this.#recipients);
    else if (kind === Kind.DELIVERED) handleDelivered(context, this.#recipients);
    else if (kind === Kind.READ) handleRead(context, this.#recipients);
    else if (kind === Kind.TYPING) handleTyping(context, this.#recipients);
    else if (kind === Kind.INFO) handleInfo(context);
    else if (kind === Kind.BLOCK || kind === Kind.DEVICE_REMOVE) forward(context);
    else this.ignored++;
  }

  exportDirty(sink: ChunkSink): void {
    this.#exporter.dirty(sink);
  }

  exportAll(cursor: number, bytes: number, sink: ChunkSink): number {
    return this.#exporter.all(cursor, bytes, sink);
  }

  importChunk(chunk: Uint8Array): void {
    importChunk(this.#rows, chunk, this.#userPartitions);
  }

  importDone(): void {
    const rows = this.#rows;
    for (let conversation = 0; conversation < rows.conversations.rowLimit; conversation++) {
      if (!rows.conversations.isLive(conversation)) continue;
      deriveAdmins(rows, conversation);
      const flags = rows.u32[rows.conversations.at(conversation) + Conv.FLAGS]!;
      if ((flags & ConversationFlag.GROUP) !== 0) deriveAggregates(this.#context, conversation);
    }
  }

  goOnAfterLoss(losses: number, isFirst: boolean): void {
    this.#context.firstHead = headAfter(losses);
    if (isFirst) skipLost(this.#rows);
    this.#hasLost = isFirst;
  }

  stateHash(): number {
    return stateHash(this.#rows);
  }
}
