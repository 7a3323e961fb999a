/** A lane's thread: turns the production lane, and dies with all it has in memory. */
import { DunlinError } from '../core/errors.js';
import { compareKeys, fenceKey, metaKey, type StageId } from '../core/keys.js';
import type { Egress, Log, Store, StoreCompletion, StoreTransaction } from '../core/ports.js';
import type { Stage } from '../core/stage.js';
import { type Injected, type MemoryContents, MemoryStore } from '../engines/store-memory.js';
import { decodeEpoch } from '../pipelines/checkpoint.js';
import { ConversationStage } from '../pipelines/conversation/stage.js';
import { Lane, LaneState } from '../pipelines/lane.js';
import { UserStage } from '../pipelines/user/stage.js';
import type { LaneProducer } from './backbone.js';
import { type Context, Happening } from './context.js';
import type { Emissions } from './emissions.js';
import type { Topology } from './plan.js';

/** Where inboxes have little room, entries stay in memory only so long. */
const SPILL_MS = 2_000;

/** As in pipelines/lane-worker.ts. */
const IDLE_US_MIN = 1_000;
const STORE_TIMEOUT_US = 1_500_000;

/** Within this a lane has most often recovered. */
const TROUBLE_US = 20_000;

export interface LanePlace {
  readonly context: Context;
  readonly topology: Topology;
  readonly stageId: typeof StageId.CONVERSATION | typeof StageId.USER;
  /** Conversation lanes first, then user lanes. */
  readonly number: number;
  readonly partitions: readonly number[];
  readonly egress: Egress;
  readonly emissions: Emissions;
  /** It died; the supervisor decides what comes next. */
  readonly died: (lane: LaneProcess, reason: string) => void;
}

/** With `tinyLimits`: inboxes are written behind, and sent in pieces, after a few entries. */
const TINY_LIMITS = {
  spillAgeMs: 1_500,
  spillBytes: 1_024,
  spillStepBytes: 1_024,
  chunkBytes: 2_048,
  chunksPerMerge: 3,
  chunksPerAck: 2,
  catchUpBytes: 2_048,
  catchUpEntries: 5,
} as const;

/** `kernel`: it is stepped with the WebAssembly kernel; whether it is must not show. */
export function createStage(topology: Topology, isUser: boolean, partition: number, kernel: boolean): Stage {
  const { conversationPartitions, userPartitions, presenceUpdates, inboxBytes, tinyLimits = false } = topology;
  const options = { partition, conversationPartitions, userPartitions, kernel };
  if (!isUser) return new ConversationStage(options);
  const limits = {
    ...(tinyLimits ? TINY_LIMITS : {}),
    ...(presenceUpdates === undefined ? {} : { presenceUpdatesPerWindow: presenceUpdates }),
    ...(inboxBytes === undefined ? {} : { spillBytes: inboxBytes, chunkBytes: 2 * inboxBytes, spillAgeMs: SPILL_MS }),
  };
  return new UserStage({ ...options, limits });
}

/** A store whose answers take their time, and may be wrong as a store's may. */
class SlowStore implements Store {
  readonly inner: MemoryStore;
  slowUntilMs = 0;
  /** Nothing gets through until then: requests (`there`) or answers (`back`) are lost. */
  cutUntilMs = 0;
  cutWay: 'there' | 'back' = 'there';
  readonly #context: Context;
  readonly #ring: () => void;
  /** Before a commit; what it returns is called after it. */
  readonly #audit: (transaction: StoreTransaction) => () => void;
  #lastUs = 0;

  constructor(
    context: Context,
    contents: MemoryContents,
    ring: () => void,
    audit: (transaction: StoreTransaction) => () => void,
  ) {
    this.#context = context;
    this.inner = new MemoryStore(contents);
    this.inner.hold();
    this.#ring = ring;
    this.#audit = audit;
  }

  #answerLater(): void {
    const context = this.#context;
    const isSlow = context.nowMs < this.slowUntilMs;
    // Whoever asks over a cut link learns after a while that no answer comes.
    if (this.#isCut) this.#lastUs = Math.max(this.#lastUs, context.queue.nowUs + STORE_TIMEOUT_US);
    const delay = isSlow ? context.delayUs(50_000, 6_000_000) : context.delayUs(100, 8_000);
    this.#lastUs = Math.max(this.#lastUs, context.queue.nowUs + delay);
    context.queue.at(this.#lastUs, () => {
      this.inner.release(1);
      this.#ring();
    });
  }

  get #isCut(): boolean {
    return this.#context.nowMs < this.cutUntilMs;
  }

  commit(tag: number, transaction: StoreTransaction): void {
    if (this.#isCut) {
      this.#context.mark('commit over a cut link');
      this.inner.inject(this.cutWay === 'there' ? 'unknown_not_done' : 'unknown_done');
    }
    const check = this.#audit(transaction);
    this.inner.commit(tag, transaction);
    check();
    this.#context.hash.add(Happening.COMMIT, tag, transaction.puts.length);
    this.#answerLater();
  }

  read(...args: Parameters<Store['read']>): void {
    if (this.#isCut) this.inner.failReads(1);
    this.inner.read(...args);
    this.#answerLater();
  }

  readRange(...args: Parameters<Store['readRange']>): void {
    if (this.#isCut) this.inner.failReads(1);
    this.inner.readRange(...args);
    this.#answerLater();
  }

  completion(): StoreCompletion | undefined {
    return this.inner.completion();
  }
}

export class LaneProcess {
  readonly place: LanePlace;
  readonly producer: LaneProducer;
  lane: Lane | undefined;
  /** Another one owns its partitions now; nobody starts it again. */
  isDeposed = false;
  /** Of its last start, and why it died last. */
  incarnation = 0;
  deathReason = '';
  #store: SlowStore | undefined;
  #pausedUntilUs = 0;
  #dueUs = Infinity;
  /** Grows when it dies: what was meant for the one before must not reach the next. */
  #life = 0;

  constructor(place: LanePlace, producer: LaneProducer) {
    this.place = place;
    this.producer = producer;
  }

  get isUp(): boolean {
    return this.lane !== undefined;
  }

  /** Virtual microseconds: it hangs until then. */
  get pausedUntilUs(): number {
    return this.#pausedUntilUs;
  }

  get isRunning(): boolean {
    return this.lane?.state === LaneState.RUNNING;
  }

  start(log: Log, contents: MemoryContents, incarnation: number): void {
    const { context, stageId, partitions, egress } = this.place;
    const life = ++this.#life;
    this.incarnation = incarnation;
    this.producer.begin();
    context.note(`lane ${this.place.number} starts, incarnation ${incarnation}`);
    const ring = (): void => {
      if (life === this.#life) this.ring();
    };
    this.#store = new SlowStore(context, contents, ring, (transaction) => this.#audit(contents, transaction));
    this.#dueUs = Infinity;
    if (context.isTroubled(6)) this.failRead();
    // Its first commit is the take-over.
    if (context.isTroubled(6)) {
      const outcomes = ['conflict', 'unknown_done', 'unknown_not_done'] as const;
      this.injectCommit(outcomes[context.trouble!.below(outcomes.length)]!);
    }
    this.#guard(() => {
      this.lane = new Lane({
        stageId,
        partitions,
        createStage: (partition) => {
          const stage = createStage(this.place.topology, this.isUser, partition, context.usesKernel);
          return this.isUser ? this.place.emissions.wrap(stage) : stage;
        },
        log,
        producer: this.producer,
        store: this.#store!,
        egress,
        clock: { wallMs: () => context.wallMs, monotonicMs: () => context.nowMs },
        incarnation,
      });
    });
    if (context.isTroubled(3)) context.queue.after(context.trouble!.below(TROUBLE_US), () => this.failRead());
    this.ring();
  }

  /** G14: what an owner writes that was deposed before must change nothing. */
  #audit(contents: MemoryContents, { puts }: StoreTransaction): () => void {
    const { stageId } = this.place;
    for (const partition of this.lane?.partitions ?? []) {
      const meta = metaKey(stageId, partition.number);
      const put = puts.find(({ key }) => compareKeys(key, meta) === 0);
      const epoch = decodeEpoch(contents.get(fenceKey(stageId, partition.number)));
      if (put === undefined || epoch <= partition.epoch) continue;
      const before = contents.get(meta);
      // Its successor may have written the very same.
      if (before !== undefined && compareKeys(before, put.value) === 0) continue;
      return () => {
        const now = contents.get(meta);
        if (now === undefined || compareKeys(now, put.value) !== 0) return;
        const sentence = `lane ${this.place.number} committed partition ${partition.number} in epoch ${partition.epoch}, after epoch ${epoch} had begun`;
        this.place.context.flaw('G14', sentence);
      };
    }
    return () => {};
  }

  get isUser(): boolean {
    return this.place.number >= this.place.topology.conversationLanes;
  }

  /** Something happened that it may have waited for. */
  ring(): void {
    this.#wakeAt(this.place.context.queue.nowUs + this.place.context.delays.between(5, 60));
  }

  #wakeAt(atUs: number): void {
    if (this.lane === undefined || atUs >= this.#dueUs || atUs === Infinity) return;
    this.#dueUs = atUs;
    const life = this.#life;
    this.place.context.queue.at(atUs, () => {
      if (life !== this.#life || this.#dueUs !== atUs) return;
      this.#dueUs = Infinity;
      this.#turn();
    });
  }

  #turn(): void {
    const { context, number } = this.place;
    const { nowUs } = context.queue;
    if (nowUs < this.#pausedUntilUs) return this.#wakeAt(this.#pausedUntilUs);
    const { lane } = this;
    if (lane === undefined) return;
    let progress = false;
    const { fired } = context.probes;
    this.#guard(() => {
      progress = lane.turn();
    });
    if (this.lane === undefined) return;
    context.hash.add(Happening.LANE_TURN, number, progress ? 1 : 0, lane.counters.entries);
    if (progress) {
      context.activity++;
      this.#wakeAt(nowUs + context.delayUs(20, 400));
    } else if (context.probes.fired > fired) {
      // What it left undone by itself nobody else will tell it of.
      this.#wakeAt(nowUs + context.delayUs(20, 400));
    } else this.#wakeAt(Math.max(nowUs + IDLE_US_MIN, lane.wakeAtMs() * 1_000));
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof DunlinError)) {
        const stack = error instanceof Error ? error.stack : String(error);
        this.place.context.flaw('crash', `lane ${this.place.number} threw: ${stack}`);
      }
      this.die(error instanceof Error ? error.message : String(error));
    }
  }

  /** Everything in memory is gone. */
  die(reason: string): void {
    if (this.lane === undefined) return;
    this.#life++;
    this.lane = undefined;
    this.deathReason = reason;
    this.#pausedUntilUs = 0;
    this.place.context.hash.add(Happening.LANE_DIED, this.place.number);
    this.place.died(this, reason);
  }

  pause(ms: number): void {
    this.#pausedUntilUs = this.place.context.queue.nowUs + ms * 1_000;
  }

  slowStore(ms: number): void {
    if (this.#store !== undefined) this.#store.slowUntilMs = this.place.context.nowMs + ms;
  }

  cutStore(way: 'there' | 'back', ms: number): void {
    if (this.#store === undefined) return;
    this.#store.cutUntilMs = this.place.context.nowMs + ms;
    this.#store.cutWay = way;
  }

  /** How its next commit goes. A late one lands after a while, whoever owns the partition then. */
  injectCommit(outcome: Injected): void {
    const store = this.#store;
    if (store === undefined) return;
    store.inner.inject(outcome);
    if (outcome !== 'unknown_late') return;
    const { context } = this.place;
    context.queue.after(context.delays.between(1_000, 8_000_000), () => {
      for (const landed of store.inner.land()) context.mark(`late commit ${landed}`);
    });
  }

  failRead(): void {
    this.#store?.inner.failReads(1);
  }
}
