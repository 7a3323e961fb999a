/**
 * The lane: the only loop that runs a stage. It owns some partitions of one topic and does, for one batch after the other,
 *
 *   poll → prefetch → step → emit → commit
 *
 * A *turn* does what can be done now and returns; it never waits. Production calls it from a worker thread that sleeps on a
 * doorbell, the simulator from its event wheel, tests by hand.
 *
 * Why emit comes before commit: the step is a function of the log alone, so a lane that starts again from its last commit
 * emits the same outputs for the same offsets, and whoever reads them drops what it has seen. A commit is submitted only
 * when every output of the offsets it covers is durable. So a crash between any two lines repeats effects that are
 * recognised as repeated, and never skips one. A deposed lane's outputs are those its successor emits too; its commits fail
 * at the fence.
 */

import { type Batch, BatchBuilder, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { DunlinError, LogLossError } from '../core/errors.js';
import { type Frame, Kind, makeFrame, writeFrame } from '../core/frame.js';
import { StageId } from '../core/keys.js';
import { FRAME_HEADER_BYTES } from '../core/limits.js';
import {
  AppendOutcome,
  type Clock,
  type Egress,
  type Log,
  type LogConsumer,
  type LogProducer,
  type Store,
  TOPICS,
  Topic,
} from '../core/ports.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import type { Fetched, Stage } from '../core/stage.js';
import { Destination, keyBytes, keyText, Outbox, type Send, Streams } from './outbox.js';
import { Partition, PartitionState } from './partition.js';

export const LaneState = {
  RECOVERING: 'recovering',
  RUNNING: 'running',
  DRAINING: 'draining',
  DRAINED: 'drained',
} as const;
export type LaneState = (typeof LaneState)[keyof typeof LaneState];

export interface LaneOptions {
  readonly stageId: typeof StageId.CONVERSATION | typeof StageId.USER;
  readonly partitions: readonly number[];
  readonly createStage: (partition: number) => Stage;
  readonly log: Log;
  readonly producer: LogProducer;
  readonly store: Store;
  /** False: nothing can be read again, so state is not committed, only cold data goes to the store. Default: true. */
  readonly isLogKept?: boolean;
  /** Needed by user lanes. */
  readonly egress?: Egress;
  readonly clock: Clock;
  /** Number of this start of the lane, below 2^31: outcomes of appends of an earlier start are told apart by it. */
  readonly incarnation: number;
}

/** What a lane has done and where it stands; read by metrics. */
export interface LaneCounters {
  batches: number;
  entries: number;
  bytes: number;
  fetches: number;
  emitted: number;
  emittedBytes: number;
  stalledTurns: number;
  commits: number;
  ticks: number;
  /** Batches that were in the log when the lane started: work done again, or left behind by the one before. */
  replayed: number;
}

/** A batch that waits for cold values. */
interface Fetch {
  readonly tag: number;
  readonly partition: Partition;
  readonly batch: Batch;
  /** What was at hand when the rest was asked for. No step runs in between, so it stays true. */
  readonly found: Map<string, Uint8Array | undefined>;
  readonly missing: readonly string[];
  /** All are there. */
  isComplete: boolean;
}

/** Gathered output is sent at the latest when it has this much; otherwise when there is no input. */
const GATHERED_BYTES_MAX = 128 * 1024;

const NOTHING: Fetched = { get: () => undefined };

export class Lane {
  readonly counters: LaneCounters = {
    batches: 0,
    entries: 0,
    bytes: 0,
    fetches: 0,
    emitted: 0,
    emittedBytes: 0,
    stalledTurns: 0,
    commits: 0,
    ticks: 0,
    replayed: 0,
  };
  readonly #options: LaneOptions;
  readonly #topic: number;
  readonly #partitions: Partition[];
  readonly #byNumber = new Map<number, Partition>();
  readonly #requests = new Map<number, Partition>();
  /** By partition: where its log ended when this lane began to read it. */
  readonly #startEnds = new Map<number, number>();
  readonly #tick = new BatchBuilder(256);
  /** Output that is not bound to one step, and whether it is on its way out. */
  readonly #gathered: Streams;
  #isSendingGathered = false;
  /** Outputs of each topic: handed to the log, and known to be durable. */
  readonly #appended: number[] = Array.from({ length: TOPICS }, () => 0);
  readonly #durable: number[] = Array.from({ length: TOPICS }, () => 0);
  #consumer: LogConsumer | undefined;
  #state: LaneState = LaneState.RECOVERING;
  #nextTag = 1;
  /** How many of its appends to its own topic are announcements: the first ones. */
  #announcements = 0;
  #emitting: Partition | undefined;
  #fetch: Fetch | undefined;
  /** Nothing is done any more but to write down what its log lost. */
  #losing: Partition | undefined;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#topic = options.stageId === StageId.CONVERSATION ? Topic.CONVERSATION : Topic.USER;
    const kind = options.stageId === StageId.CONVERSATION ? SourceKind.CONVERSATION : SourceKind.USER;
    this.#gathered = new Streams(sourceId(kind, options.partitions[0] ?? 0), Site.OUTBOX_SPLITS_GATHERED);
    // By it a gateway tells what a lane says that was deposed.
    this.#gathered.begin(0, options.incarnation);
    const { store, isLogKept = true } = options;
    const context = { store, isLogKept, newTag: (partition: Partition) => this.#tagFor(partition) };
    this.#partitions = options.partitions.map((number) => {
      const stage = options.createStage(number);
      const outbox = new Outbox(kind, number, this.#gathered);
      const partition = new Partition(options.stageId, number, stage, outbox, context);
      this.#byNumber.set(number, partition);
      return partition;
    });
  }

  get state(): LaneState {
    return this.#state;
  }

  get partitions(): readonly Partition[] {
    return this.#partitions;
  }

  #tagFor(partition: Partition): number {
    const tag = this.#nextTag++;
    this.#requests.set(tag, partition);
    return tag;
  }

  /** Does what can be done now. True: something was done, call again; false: nothing to do before an event or `wakeAtMs`. */
  turn(): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    let progress = this.#takeAnswers(nowMs);
    if (this.#losing !== undefined) return progress;
    if (this.#state === LaneState.RECOVERING) return this.#recover(nowMs) || progress;
    if (this.#emit()) {
      progress = this.#stepFetched(nowMs) || progress;
      if (!this.#isStalled) progress = this.#work(nowMs) || progress;
    }
    return this.#commit(nowMs) || progress;
  }

  /** Monotonic time at which `turn` should be called even if nothing happens. */
  wakeAtMs(): number {
    if (this.#state === LaneState.RECOVERING) return Infinity;
    let wake = Infinity;
    for (const partition of this.#partitions) {
      if (partition.state === PartitionState.LOST) continue;
      wake = Math.min(wake, partition.commitDueAtMs);
      if (!partition.tickPending) wake = Math.min(wake, this.#tickDueAtMs(partition));
    }
    return wake;
  }

  /** Finish what was begun, commit everything, then be DRAINED. Input that comes meanwhile stays in the log. */
  drain(): void {
    if (this.#state === LaneState.RUNNING) this.#state = LaneState.DRAINING;
  }

  /** Bytes of log that this lane has not read yet. */
  lagBytes(): number {
    return this.#consumer?.lagBytes() ?? 0;
  }

  close(): void {
    this.#consumer?.close();
  }

  /** Sentences about partitions that are stopped since their log lost something. */
  get losses(): string[] {
    return this.#partitions.flatMap(({ state, lossSentence }) =>
      state === PartitionState.LOST && lossSentence !== undefined ? [lossSentence] : [],
    );
  }

  // --- answers ------------------------------------------------------------------------------------------------------------

  #takeAnswers(nowMs: number): boolean {
    let progress = this.#options.producer.outcomes((tag, outcome, _offset, refusal) => {
      if (Math.floor(tag / TOPICS) !== this.#options.incarnation) return reached(Mark.LANE_OUTCOME_OF_AN_EARLIER_START);
      const topic = tag % TOPICS;
      // An output that is not durable leaves a hole that only a replay from the last commit fills: start again from there.
      if (outcome !== AppendOutcome.DURABLE) {
        reached(Mark.LANE_OUTPUT_NOT_DURABLE);
        throw new DunlinError(`the log did not take an output of this lane (outcome ${outcome}, refusal ${refusal})`);
      }
      this.#durable[topic]!++;
    });
    for (let answer = this.#options.store.completion(); answer; answer = this.#options.store.completion()) {
      progress++;
      const partition = this.#requests.get(answer.tag);
      this.#requests.delete(answer.tag);
      if (this.#fetch?.tag === answer.tag) this.#fetched(answer.values, answer.failed);
      else partition?.complete(answer, nowMs);
      if (partition?.state === PartitionState.FENCED) {
        throw new DunlinError(`partition ${partition.number} has another owner now: this lane stops`);
      }
      // The lane starts again without it.
      if (partition !== undefined && partition === this.#losing && partition.state === PartitionState.LOST) {
        throw new DunlinError(partition.lossSentence!);
      }
    }
    return progress > 0;
  }

  /** What a partition had read is not in its log any more, or was never all of what was acknowledged. */
  #lose(partition: Partition, from: number): void {
    this.#losing = partition;
    partition.lose(from);
  }

  /** Runs what reads the log. Undefined: something is lost, and is written down now. */
  #reading<Result>(read: () => Result): Result | undefined {
    try {
      return read();
    } catch (error) {
      const partition = error instanceof LogLossError ? this.#byNumber.get(error.partition) : undefined;
      if (partition === undefined) throw error;
      this.#lose(partition, (error as LogLossError).from);
      return undefined;
    }
  }

  /** True: the log says itself, or its end shows, that it lost something of a partition. */
  #seesLoss(consumer: LogConsumer): boolean {
    for (const partition of this.#open()) {
      // Nothing needs to come where what was committed last is missing, so nothing would be compared.
      const end = partition.isVerified ? undefined : consumer.readableEnd(partition.number);
      if (end !== undefined && end < partition.offset) {
        this.#lose(partition, end);
        return true;
      }
      const loss = consumer.loss?.(partition.number);
      if (loss === undefined || loss.count === 0) continue;
      this.#lose(partition, loss.from);
      return true;
    }
    return false;
  }

  /** Partitions whose log lost nothing. */
  #open(): Partition[] {
    return this.#partitions.filter(({ state }) => state !== PartitionState.LOST);
  }

  #recover(nowMs: number): boolean {
    const open = this.#open();
    if (open.some((partition) => partition.state !== PartitionState.LOADED)) return false;
    const positions = open.map(({ number, readFrom }) => ({ partition: number, offset: readFrom }));
    const consumer = this.#reading(() => this.#options.log.consumer(this.#topic, positions));
    if (consumer === undefined) return false;
    this.#consumer = consumer;
    for (const { number, offset } of open) {
      const end = consumer.readableEnd(number);
      this.#startEnds.set(number, end ?? 0);
      if (end !== undefined && end < offset) {
        this.#lose(this.#byNumber.get(number)!, end);
        return false;
      }
    }
    for (const partition of open) {
      partition.state = PartitionState.OPEN;
      partition.timeSeenAtMs = nowMs;
    }
    this.#state = LaneState.RUNNING;
    // The log may delete what was committed before this start, also if nothing is ever committed again.
    for (const { number, readFrom } of open) consumer.release(number, readFrom);
    this.#announceGeneration();
    return true;
  }

  /**
   * True when what the lane said first is on the disk. Whoever starts all lanes after the log may have lost its tail must see
   * this of the user lanes before conversation lanes start: what they append before it would be numbered as what was lost.
   */
  get isAnnounced(): boolean {
    return this.#state !== LaneState.RECOVERING && this.#durable[this.#topic]! >= this.#announcements;
  }

  /** Inbox positions of this ownership are above all positions that an earlier one may have handed out. */
  #announceGeneration(): void {
    if (this.#topic !== Topic.USER) return;
    const open = this.#open();
    this.#announcements = open.length;
    for (const partition of open) {
      if (!this.#appendOwn(partition, { kind: Kind.GENERATION, extra: partition.epoch })) {
        throw new DunlinError('the log took no batch at the start of a lane');
      }
    }
  }

  // --- work -----------------------------------------------------------------------------------------------------------------

  readonly #sendBatch: Send = (destination, topic, number, batch) => this.#send(destination, topic, number, batch);

  /** Goes on with what steps wrote and found no room for. True when nothing of it is left; the gathered may still grow. */
  #emit(): boolean {
    if (this.#emitting?.outbox.flush(this.#sendBatch) === false) {
      reached(Mark.LANE_OUTPUT_FOUND_NO_ROOM);
      this.counters.stalledTurns++;
      return false;
    }
    this.#emitting = undefined;
    return !this.#isSendingGathered || this.#emitGathered();
  }

  /** Something found no room, and goes on from there. */
  get #isStalled(): boolean {
    return this.#emitting !== undefined || this.#isSendingGathered;
  }

  /** Sends what was gathered. False: some of it found no room; no step is taken before it has. */
  #emitGathered(): boolean {
    this.#isSendingGathered = !this.#gathered.flush(this.#sendBatch);
    if (!this.#isSendingGathered) return true;
    reached(Mark.LANE_GATHERED_FOUND_NO_ROOM);
    this.counters.stalledTurns++;
    return false;
  }

  #tag(topic: number): number {
    return this.#options.incarnation * TOPICS + topic;
  }

  #send(destination: number, topic: number, number: number, batch: Uint8Array): boolean {
    const { egress, producer } = this.#options;
    if (buggify(Site.LANE_OUTPUT_REFUSED)) return false;
    const sent =
      destination === Destination.GATEWAY
        ? egress!.offer(number, batch)
        : producer.append(topic, number, batch, this.#tag(topic));
    if (!sent) return false;
    this.counters.emitted++;
    this.counters.emittedBytes += batch.length;
    if (destination === Destination.LOG) this.#appended[topic]!++;
    return true;
  }

  #work(nowMs: number): boolean {
    if (this.#state !== LaneState.RUNNING) return false;
    if (this.#fetch !== undefined) {
      // What was done does not wait for what is fetched.
      if (this.#gathered.bytes > 0) {
        reached(Mark.LANE_GATHERED_SENT_WHILE_FETCHING);
        this.#emitGathered();
      }
      return false;
    }
    if (this.#tellSynced()) return true;
    if (buggify(Site.LANE_TAKES_NO_BATCH)) return true;
    const batch = this.#next(this.#consumer!);
    if (this.#losing !== undefined) return true;
    if (batch === undefined) {
      const hadGathered = this.#gathered.bytes > 0;
      return (this.#emitGathered() && this.#sendTicks(nowMs)) || hadGathered;
    }
    const partition = this.#byNumber.get(batch.header.partition);
    if (partition === undefined || batch.header.offset !== partition.offset) {
      throw new DunlinError(
        `the log handed out offset ${batch.header.offset} of partition ${batch.header.partition}, expected ${partition?.offset}`,
      );
    }
    if (!this.#prefetch(partition, batch)) this.#step(partition, batch, NOTHING, nowMs);
    return true;
  }

  /** The next batch to step over. What was committed last comes first, once more, to be compared. */
  #next(consumer: LogConsumer): Batch | undefined {
    for (;;) {
      const batch = this.#reading(() => consumer.poll());
      if (this.#losing !== undefined || this.#seesLoss(consumer)) return undefined;
      const partition = batch === undefined ? undefined : this.#byNumber.get(batch.header.partition);
      if (batch === undefined || partition === undefined || batch.header.offset !== partition.readFrom) return batch;
      if (batch.header.offset === partition.offset) return batch;
      if (!partition.verify(batch)) {
        this.#lose(partition, batch.header.offset);
        return undefined;
      }
    }
  }

  /** True if the step has to wait for values, or was done with values that were at hand. */
  #prefetch(partition: Partition, batch: Batch): boolean {
    const wanted = new Set<string>();
    partition.stage.needs(batch, (key) => wanted.add(keyText(key)));
    if (wanted.size === 0 && !buggify(Site.LANE_FETCHES_NOTHING)) return false;
    if (wanted.size > 0) reached(Mark.LANE_FETCHED);
    const found = new Map<string, Uint8Array | undefined>();
    const missing: string[] = [];
    for (const key of wanted) {
      const overlay = partition.overlay(key);
      if (overlay.found) {
        reached(Mark.LANE_FETCH_FOUND_UNCOMMITTED);
        found.set(key, overlay.value);
      } else missing.push(key);
    }
    const tag = this.#tagFor(partition);
    this.#fetch = { tag, partition, batch, found, missing, isComplete: false };
    this.counters.fetches++;
    this.#options.store.read(tag, missing.map(keyBytes));
    return true;
  }

  #fetched(values: readonly (Uint8Array | undefined)[] | undefined, failed: string | undefined): void {
    const fetch = this.#fetch!;
    const { partition, batch, found, missing } = fetch;
    if (failed !== undefined || values === undefined || buggify(Site.LANE_FETCHES_AGAIN)) {
      if (failed !== undefined) reached(Mark.LANE_FETCH_FAILED);
      if (!this.#prefetch(partition, batch)) fetch.isComplete = true;
      return;
    }
    missing.forEach((key, i) => found.set(key, values[i]));
    fetch.isComplete = true;
  }

  /**
   * Takes the step whose values have come. Not when they come: gathered output may be on its way then, stopped where it found no
   * room, and what a step adds to it would be taken for sent.
   */
  #stepFetched(nowMs: number): boolean {
    const fetch = this.#fetch;
    if (fetch?.isComplete !== true) return false;
    const { partition, batch, found } = fetch;
    this.#fetch = undefined;
    this.#step(partition, batch, { get: (key) => found.get(keyText(key)) }, nowMs);
    return true;
  }

  #step(partition: Partition, batch: Batch, fetched: Fetched, nowMs: number): void {
    const { offset, byteLength, count } = batch.header;
    partition.beginOutput(offset);
    partition.stage.step(batch, partition.outbox, fetched);
    partition.stepped(batch, nowMs);
    this.counters.batches++;
    if (offset < this.#startEnds.get(partition.number)!) {
      reached(Mark.LANE_REPLAYED_A_BATCH);
      this.counters.replayed++;
    }
    this.counters.entries += count;
    this.counters.bytes += byteLength;
    this.#emitting = partition;
    const isFull = this.#gathered.bytes >= GATHERED_BYTES_MAX || buggify(Site.LANE_SENDS_GATHERED_AT_ONCE);
    if (this.#emit() && isFull) this.#emitGathered();
  }

  // --- time -----------------------------------------------------------------------------------------------------------------

  /** When the partition's logged time, going on from where it stands, reaches what the stage waits for. */
  #tickDueAtMs(partition: Partition): number {
    const wake = partition.stage.wakeAtMs;
    return wake === Infinity ? Infinity : partition.timeSeenAtMs + Math.max(0, wake - partition.timeMs);
  }

  #sendTicks(nowMs: number): boolean {
    let sent = false;
    for (const partition of this.#open()) {
      if (partition.tickPending || this.#tickDueAtMs(partition) > nowMs || buggify(Site.LANE_TICKS_LATER)) continue;
      partition.tickPending = this.#appendOwn(partition, { kind: Kind.TICK });
      reached(partition.tickPending ? Mark.LANE_TICKED : Mark.LANE_TICK_FOUND_NO_ROOM);
      if (partition.tickPending) this.counters.ticks++;
      sent ||= partition.tickPending;
    }
    return sent;
  }

  /**
   * Tells stages that what they wait for survives a power failure: by the log, since a step knows nothing else. Not only when
   * there is no input, for there may always be some.
   */
  #tellSynced(): boolean {
    let told = false;
    for (const partition of this.#open()) {
      const { syncWantedAt } = partition.stage;
      if (syncWantedAt === Infinity || syncWantedAt < partition.toldSynced) continue;
      const end = this.#consumer!.durableEnd(partition.number);
      if (syncWantedAt >= end || !this.#appendOwn(partition, { kind: Kind.SYNCED, inbox: end })) continue;
      partition.toldSynced = end;
      told = true;
    }
    return told;
  }

  /** Appends one frame of the lane's own to its partition. */
  #appendOwn(partition: Partition, frame: Partial<Frame> & { kind: number }): boolean {
    const builder = this.#tick;
    builder.begin(BatchKind.FRAMES, sourceId(SourceKind.LANE, partition.number), 0, partition.epoch);
    const at = builder.open(FRAME_HEADER_BYTES);
    writeFrame(builder.bytes, builder.view, at, makeFrame(frame));
    const sent = this.#options.producer.append(this.#topic, partition.number, builder.finish(), this.#tag(this.#topic));
    if (sent) this.#appended[this.#topic]!++;
    return sent;
  }

  // --- commit ---------------------------------------------------------------------------------------------------------------

  #commit(nowMs: number): boolean {
    const consumer = this.#consumer!;
    // What comes of records that are lost is not committed.
    if (this.#losing !== undefined) return false;
    const draining = this.#state === LaneState.DRAINING;
    let progress = false;
    // A step that waits for values runs when they come, also while draining.
    let clean = this.#fetch === undefined;
    for (const partition of this.#open()) {
      // What steps wrote must be on its way before their offsets may be committed.
      const wants = partition.wantsCommit(nowMs) || (draining && this.#mayCommit(partition));
      if (wants && this.#emit() && this.#emitGathered()) {
        if (this.#fetch !== undefined) reached(Mark.LANE_COMMIT_BEGUN_WHILE_FETCHING);
        partition.beginCommit([...this.#appended], nowMs);
        progress = true;
      }
      const commits = partition.commits;
      partition.advance(this.#durable, consumer.durableEnd(partition.number), nowMs);
      if (partition.commits !== commits) progress = true;
      clean &&= !partition.isDirty && !partition.isCommitting;
    }
    this.#releaseCommitted(consumer);
    if (draining && clean) {
      this.#state = LaneState.DRAINED;
      progress = true;
    }
    return progress;
  }

  #mayCommit(partition: Partition): boolean {
    return partition.isDirty && !partition.isCommitting;
  }

  #releaseCommitted(consumer: LogConsumer): void {
    let commits = 0;
    for (const partition of this.#partitions) commits += partition.commits;
    if (commits === this.counters.commits) return;
    this.counters.commits = commits;
    // The last committed batch stays: the next start compares it.
    for (const { number, meta } of this.#open()) consumer.release(number, Math.max(0, meta.offset - 1));
  }
}
