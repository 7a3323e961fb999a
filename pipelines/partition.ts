/**
 * One owned partition: its stage, how it came to be (take-over, load, fold) and how it is committed. Everything that waits
 * for the store is a state here, so the lane never waits.
 *
 * Life: reading → taking → loading base → loading deltas → open; then commits, one at a time: exported → waiting for the
 * outputs it covers → submitting → done. A commit whose outcome is unknown is settled by reading the meta record. A partition
 * whose log lost something is losing until that is written down, and lost for good.
 */

import { type Batch, fingerprintOfBatch } from '../core/batch.js';
import { compareKeys, fenceKey, metaKey } from '../core/keys.js';
import { COMMIT_BYTES, COMMIT_INTERVAL_MS, RECOVERY_BYTES_MAX } from '../core/limits.js';
import type { CommitOutcome, KeyRange, Put, Store, StoreCompletion, StoreTransaction } from '../core/ports.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import type { Stage } from '../core/stage.js';
import { type AcceptedLoss, decodeAccepted, lossKeys, sourceSeqOf } from './acceptance.js';
import {
  basePiece,
  baseRange,
  commitTransactions,
  decodeEpoch,
  decodeMeta,
  deltaRange,
  EMPTY_META,
  encodeMeta,
  keyAfter,
  type Meta,
  supersededBases,
  takeOver,
} from './checkpoint.js';
import { decodeLoss, describeLoss, type Loss, noteLoss } from './loss.js';
import type { Outbox } from './outbox.js';

export const PartitionState = {
  READING: 'reading',
  TAKING: 'taking',
  LOADING: 'loading',
  LOADED: 'loaded',
  OPEN: 'open',
  FENCED: 'fenced',
  LOSING: 'losing',
  LOST: 'lost',
} as const;
export type PartitionState = (typeof PartitionState)[keyof typeof PartitionState];

/** Bytes asked for with one range read while loading. */
const LOAD_BYTES = 4 * 1024 * 1024;
/** A new base is begun when deltas outgrow the base and this. */
const BASE_DELTA_BYTES_MIN = 16 * 1024 * 1024;
/** Bytes of one piece of a new base. */
const BASE_PIECE_BYTES = 1024 * 1024;
/** The same when a simulator wants many. */
const TINY_BYTES = 256;
/** A refused commit (disk full) is tried again after this. */
const REFUSED_RETRY_MS = 500;

/** What a commit waits for: how many outputs of each topic must be durable. */
export type Outputs = readonly number[];

interface Commit {
  readonly meta: Meta;
  readonly outputs: Outputs;
  readonly transactions: readonly StoreTransaction[];
  /** Overlay until it is committed. */
  readonly cold: ReadonlyMap<string, Uint8Array | undefined>;
  next: number;
  waiting: boolean;
  /** The store said that something else was there than expected. */
  hasConflict: boolean;
  /** It waits for the log: the doorbell tells, not the time. */
  isBlocked: boolean;
  retryAtMs: number;
}

interface BaseExport {
  readonly number: number;
  /** Deltas after this commit still count when the base takes over. */
  readonly sinceCommit: number;
  cursor: number;
  chunks: number;
  bytes: number;
  waiting: boolean;
  retry: StoreTransaction | undefined;
}

export interface PartitionContext {
  readonly store: Store;
  /** False: nothing is ever folded again, so state is not committed. */
  readonly isLogKept: boolean;
  /** A tag that no other request of this lane uses. */
  newTag(partition: Partition): number;
}

export class Partition {
  readonly stage: Stage;
  readonly number: number;
  readonly outbox: Outbox;
  state: PartitionState = PartitionState.READING;
  epoch = 0;
  /** Offset of the next batch to step over. */
  offset = 0;
  timeMs = 0;
  /** Monotonic time at which `timeMs` was seen. */
  timeSeenAtMs = 0;
  tickPending = false;
  /** The stage was told by this lane that the log below this offset survives a power failure. */
  toldSynced = 0;
  commits = 0;
  /** Sentence of the last refused commit; empty when the last one went through. */
  refusedReason = '';
  /** What its log lost: set when it is LOSING or LOST. */
  loss: Loss | undefined;
  /** What it lost before, and somebody accepted. */
  #accepted: readonly AcceptedLoss[] = [];
  /** The last committed batch was not compared yet with what the log has in its place. */
  #isUnverified = false;
  #fingerprint = 0;
  #lossTag = -1;

  readonly #stageId: number;
  readonly #context: PartitionContext;
  #meta: Meta = EMPTY_META;
  #fenceValue: Uint8Array | undefined;
  #metaValue: Uint8Array | undefined;
  #loading: KeyRange[] = [];
  #commit: Commit | undefined;
  #base: BaseExport | undefined;
  #baseReady: BaseExport | undefined;
  #bytesSinceCommit = 0;
  #dirtySinceMs = 0;
  #steps = 0;

  constructor(stageId: number, number: number, stage: Stage, outbox: Outbox, context: PartitionContext) {
    this.#stageId = stageId;
    this.number = number;
    this.stage = stage;
    this.outbox = outbox;
    this.#context = context;
    this.#readFence();
  }

  get meta(): Meta {
    return this.#meta;
  }

  get isDirty(): boolean {
    return this.#steps > 0;
  }

  get isCommitting(): boolean {
    return this.#commit !== undefined;
  }

  /** Bytes that wait for a commit. */
  get uncommittedBytes(): number {
    return (this.#context.isLogKept ? this.stage.dirtyBytes : 0) + this.outbox.coldBytes;
  }

  // --- coming to be ----------------------------------------------------------------------------------------------------

  #readFence(): void {
    this.state = PartitionState.READING;
    this.#context.store.read(this.#context.newTag(this), lossKeys(this.#stageId, this.number));
  }

  #take(): void {
    this.state = PartitionState.TAKING;
    const transaction = takeOver(this.#stageId, this.number, this.#fenceValue, this.#metaValue);
    this.#context.store.commit(this.#context.newTag(this), transaction);
  }

  #load(): void {
    this.state = PartitionState.LOADING;
    const at = { stage: this.#stageId, partition: this.number };
    const { base, firstDelta, commit } = this.#meta;
    if (base > 0) {
      reached(Mark.RECOVERED_FROM_A_BASE);
      this.#loading.push(baseRange(at, base));
    }
    if (commit >= firstDelta) {
      reached(Mark.RECOVERED_FROM_DELTAS);
      this.#loading.push(deltaRange(at, firstDelta, commit));
    }
    this.#loadNext();
  }

  #loadNext(): void {
    const range = this.#loading[0];
    if (range !== undefined) {
      const bytes = buggify(Site.LOADS_IN_TINY_PIECES) ? TINY_BYTES : LOAD_BYTES;
      this.#context.store.readRange(this.#context.newTag(this), range, bytes);
      return;
    }
    this.stage.importDone();
    const lastLoss = this.#accepted.at(-1);
    if (lastLoss !== undefined) {
      this.stage.goOnAfterLoss?.(this.#accepted.length, lastLoss.commit === this.#meta.commit);
    }
    this.offset = this.#meta.offset;
    this.timeMs = this.#meta.timeMs;
    this.#fingerprint = this.#meta.fingerprint;
    this.#isUnverified = this.offset > 0 && this.#fingerprint !== 0;
    this.state = PartitionState.LOADED;
  }

  #loaded(pairs: readonly Put[], more: boolean): void {
    for (const pair of pairs) this.stage.importChunk(pair.value);
    const range = this.#loading.shift()!;
    const last = pairs.at(-1);
    if (more && last !== undefined) {
      reached(Mark.RECOVERY_IN_PIECES);
      this.#loading.unshift({ begin: keyAfter(last.key), end: range.end });
    }
    this.#loadNext();
  }

  /** An answer of the store to a request of this partition. Throws if the stored state cannot be read. */
  complete(completion: StoreCompletion, nowMs: number): void {
    if (completion.failed !== undefined) {
      this.#again();
      return;
    }
    switch (this.state) {
      case PartitionState.READING: {
        const [fence, meta, loss, accepted] = completion.values ?? [];
        this.#fenceValue = fence;
        this.#metaValue = meta;
        this.#meta = meta === undefined ? EMPTY_META : decodeMeta(meta);
        this.loss = loss === undefined ? undefined : decodeLoss(loss);
        this.#accepted = decodeAccepted(accepted);
        if (loss === undefined) this.#take();
        else this.state = PartitionState.LOST;
        return;
      }
      case PartitionState.TAKING:
        this.#taken(completion.commit?.outcome ?? 'unknown');
        return;
      case PartitionState.LOADING:
        this.#loaded(completion.range?.pairs ?? [], completion.range?.more ?? false);
        return;
      case PartitionState.LOSING:
        if (completion.tag === this.#lossTag) this.#noted(completion.commit?.outcome ?? 'unknown');
        return;
      default:
        this.#answered(completion, nowMs);
    }
  }

  /** A read failed: ask again, from where it stands. */
  #again(): void {
    if (this.state === PartitionState.READING) {
      reached(Mark.TAKE_OVER_READ_FAILED);
      this.#readFence();
    } else if (this.state === PartitionState.LOADING) {
      reached(Mark.RECOVERY_READ_FAILED);
      this.#loadNext();
    } else if (this.#commit !== undefined) {
      reached(Mark.COMMIT_UNKNOWN_READ_FAILED);
      this.#settle();
    }
  }

  #taken(outcome: CommitOutcome): void {
    if (outcome === 'committed' && !buggify(Site.TAKES_OVER_TWICE)) {
      this.epoch = decodeEpoch(this.#fenceValue) + 1;
      this.#load();
      return;
    }
    if (outcome === 'conflict') reached(Mark.TAKE_OVER_CONFLICT);
    if (outcome === 'unknown') reached(Mark.TAKE_OVER_UNKNOWN);
    // Conflict: somebody else took over meanwhile, or committed. Unknown: if it did commit, the next one takes over from this very epoch.
    this.#readFence();
  }

  // --- what the log lost ----------------------------------------------------------------------------------------------------

  /** The log is known to have what was committed last. */
  get isVerified(): boolean {
    return !this.#isUnverified;
  }

  /** Where the log is to be read from: the last committed batch comes first once more, if it can be recognised. */
  get readFrom(): number {
    return this.#isUnverified ? this.offset - 1 : this.offset;
  }

  /** Begins the output of the step over the batch at `offset`. */
  beginOutput(offset: number): void {
    this.outbox.begin(sourceSeqOf(offset, this.#accepted.length), this.epoch);
  }

  /** True: this is the batch that was committed last, in its place. False: it is not, and everything behind it is doubtful. */
  verify(batch: Batch): boolean {
    this.#isUnverified = false;
    return fingerprintOfBatch(batch) === this.#fingerprint;
  }

  /** Its log lost what lay from an offset on: that is written down, and then it is LOST. */
  lose(from: number): void {
    const { offset, epoch, timeMs } = this;
    this.state = PartitionState.LOSING;
    this.loss = { from, reached: offset, committed: this.#meta.offset, epoch, timeMs };
    this.#noteLoss();
  }

  #noteLoss(): void {
    const owner = { stage: this.#stageId, partition: this.number, epoch: this.epoch };
    this.#lossTag = this.#context.newTag(this);
    this.#context.store.commit(this.#lossTag, noteLoss(owner, this.loss!));
  }

  #noted(outcome: CommitOutcome): void {
    if (outcome === 'committed') this.state = PartitionState.LOST;
    // Somebody else owns it, or it was done by an attempt whose outcome was unknown: the next start reads which.
    else if (outcome === 'conflict') this.state = PartitionState.FENCED;
    else this.#noteLoss();
  }

  /** Sentence for the operator; undefined: nothing was lost. */
  get lossSentence(): string | undefined {
    return this.loss === undefined ? undefined : describeLoss(this.#stageId, this.number, this.loss);
  }

  // --- committing --------------------------------------------------------------------------------------------------------

  /** A batch was stepped over. */
  stepped(batch: Batch, nowMs: number): void {
    const { offset, time: timeMs, byteLength: bytes } = batch.header;
    this.offset = offset + 1;
    this.timeMs = timeMs;
    this.#fingerprint = fingerprintOfBatch(batch);
    this.timeSeenAtMs = nowMs;
    this.tickPending = false;
    if (this.#commit !== undefined) reached(Mark.STEP_WHILE_COMMITTING);
    if (this.#steps === 0) this.#dirtySinceMs = nowMs;
    this.#steps++;
    this.#bytesSinceCommit += bytes;
  }

  wantsCommit(nowMs: number): boolean {
    if (this.#steps === 0 || this.#commit !== undefined) return false;
    if (!this.#context.isLogKept && this.outbox.cold.size === 0) return false;
    return (
      this.uncommittedBytes >= COMMIT_BYTES ||
      this.#bytesSinceCommit >= RECOVERY_BYTES_MAX ||
      nowMs - this.#dirtySinceMs >= COMMIT_INTERVAL_MS ||
      buggify(Site.COMMITS_EARLY)
    );
  }

  /** When `wantsCommit` becomes true by time alone; Infinity if there is nothing to commit. */
  get commitDueAtMs(): number {
    const commit = this.#commit;
    if (commit !== undefined) return commit.waiting || commit.isBlocked ? Infinity : commit.retryAtMs;
    if (!this.#context.isLogKept && this.outbox.cold.size === 0) return Infinity;
    return this.#steps === 0 ? Infinity : this.#dirtySinceMs + COMMIT_INTERVAL_MS;
  }

  /** Exports what changed; the commit is submitted by `advance` when `outputs` are durable. */
  beginCommit(outputs: Outputs, nowMs: number): void {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    if (this.#context.isLogKept) {
      this.stage.exportDirty((chunk) => {
        chunks.push(chunk.slice());
        bytes += chunk.length;
      });
    }
    const cold = this.outbox.takeCold();
    const superseded: KeyRange[] = [];
    const meta = this.#nextMeta(bytes, superseded);
    const owner = { stage: this.#stageId, partition: this.number, epoch: this.epoch };
    const transactions = commitTransactions(owner, { before: this.#meta, meta, chunks, cold, superseded });
    const begun = { next: 0, waiting: false, hasConflict: false, isBlocked: false, retryAtMs: nowMs };
    this.#commit = { meta, outputs, transactions, cold, ...begun };
    this.#steps = 0;
    this.#bytesSinceCommit = 0;
  }

  #nextMeta(deltaBytes: number, superseded: KeyRange[]): Meta {
    const old = this.#meta;
    const ready = this.#baseReady;
    const next = {
      ...old,
      offset: this.offset,
      commit: old.commit + 1,
      timeMs: this.timeMs,
      fingerprint: this.#fingerprint,
    };
    if (ready === undefined) return { ...next, deltaBytes: old.deltaBytes + deltaBytes };
    const owner = { stage: this.#stageId, partition: this.number };
    superseded.push(...supersededBases(owner, ready.number, ready.chunks));
    if (ready.sinceCommit >= old.firstDelta) superseded.push(deltaRange(owner, old.firstDelta, ready.sinceCommit));
    // Deltas since the base was begun still count; their size is not tracked one by one, so they count as one share.
    return { ...next, base: ready.number, baseBytes: ready.bytes, firstDelta: ready.sinceCommit + 1, deltaBytes };
  }

  /** Submits what may be submitted. `durable`: outputs of each topic that are durable; `sourceEnd`: of the source. */
  advance(durable: Outputs, sourceEnd: number, nowMs: number): void {
    this.#advanceBase();
    const commit = this.#commit;
    if (commit === undefined || commit.waiting || nowMs < commit.retryAtMs) return;
    commit.isBlocked = sourceEnd < commit.meta.offset || commit.outputs.some((count, topic) => durable[topic]! < count);
    if (commit.isBlocked) return reached(Mark.COMMIT_WAITED_FOR_THE_LOG);
    if (buggify(Site.COMMITS_LATER)) return;
    commit.waiting = true;
    this.#context.store.commit(this.#context.newTag(this), commit.transactions[commit.next]!);
  }

  #answered(completion: StoreCompletion, nowMs: number): void {
    const base = this.#base;
    if (base?.waiting === true && this.#baseTag === completion.tag) {
      base.waiting = false;
      if (completion.commit?.outcome === 'committed') base.retry = undefined;
      else if (completion.commit?.outcome === 'conflict') {
        reached(Mark.BASE_CONFLICT);
        this.state = PartitionState.FENCED;
      } else reached(Mark.BASE_PIECE_AGAIN);
      return;
    }
    const commit = this.#commit;
    if (commit === undefined) return;
    if (completion.values !== undefined) {
      this.#settled(commit, completion.values[0], completion.values[1]);
      return;
    }
    switch (completion.commit?.outcome) {
      case 'committed':
        if (buggify(Site.COMMIT_LOOKED_UP)) this.#settle();
        else this.#committedPart(commit);
        return;
      case 'conflict':
        reached(Mark.COMMIT_CONFLICT);
        commit.hasConflict = true;
        this.#settle();
        return;
      case 'unknown':
        this.#settle();
        return;
      case 'refused':
        reached(Mark.COMMIT_REFUSED);
        this.refusedReason = completion.commit.reason ?? 'refused';
        commit.waiting = false;
        commit.retryAtMs = nowMs + REFUSED_RETRY_MS;
        return;
      default:
        reached(Mark.COMMIT_TOO_OLD);
        commit.waiting = false;
    }
  }

  #committedPart(commit: Commit): void {
    commit.waiting = false;
    this.refusedReason = '';
    commit.next++;
    if (commit.next < commit.transactions.length) return reached(Mark.COMMIT_IN_PARTS);
    if (commit.meta.base !== this.#meta.base) {
      reached(Mark.BASE_TOOK_OVER);
      this.#baseReady = undefined;
    }
    this.#meta = commit.meta;
    this.#commit = undefined;
    this.commits++;
  }

  /** The outcome is unknown, or a conflict, which may be with itself: the fence and the meta record tell. */
  #settle(): void {
    const keys = [metaKey(this.#stageId, this.number), fenceKey(this.#stageId, this.number)];
    this.#context.store.read(this.#context.newTag(this), keys);
  }

  #settled(commit: Commit, meta: Uint8Array | undefined, fence: Uint8Array | undefined): void {
    if (decodeEpoch(fence) !== this.epoch) {
      reached(Mark.COMMIT_UNKNOWN_FOUND_ANOTHER_OWNER);
      this.state = PartitionState.FENCED;
      return;
    }
    const last = commit.next === commit.transactions.length - 1;
    if (last && meta !== undefined && compareKeys(meta, encodeMeta(commit.meta)) === 0) {
      reached(Mark.COMMIT_UNKNOWN_WAS_DONE);
      this.#committedPart(commit);
      return;
    }
    if (commit.hasConflict) {
      this.state = PartitionState.FENCED;
      return;
    }
    reached(Mark.COMMIT_UNKNOWN_WAS_NOT_DONE);
    // Submitted again: doing it twice changes nothing.
    commit.waiting = false;
  }

  // --- a new base ----------------------------------------------------------------------------------------------------------

  #baseTag = -1;

  #advanceBase(): void {
    const base = this.#base;
    if (base === undefined) {
      const { deltaBytes, baseBytes, commit } = this.#meta;
      if (this.#baseReady !== undefined || deltaBytes === 0) return;
      const isDue = deltaBytes >= Math.max(BASE_DELTA_BYTES_MIN, baseBytes);
      if (!isDue && !buggify(Site.BASE_BEGUN_EARLY)) return;
      reached(Mark.BASE_BEGUN);
      this.#base = {
        number: this.#meta.base + 1,
        // A commit in flight has what changed before now: it counts with the deltas before the base only once it is done.
        sinceCommit: commit,
        cursor: 0,
        chunks: 0,
        bytes: 0,
        waiting: false,
        retry: undefined,
      };
      return;
    }
    if (base.waiting) return;
    if (base.retry === undefined) {
      if (base.cursor < 0) {
        reached(Mark.BASE_COMPLETE);
        this.#base = undefined;
        this.#baseReady = base;
        return;
      }
      this.#exportPiece(base);
    }
    base.waiting = true;
    this.#baseTag = this.#context.newTag(this);
    this.#context.store.commit(this.#baseTag, base.retry!);
  }

  #exportPiece(base: BaseExport): void {
    const chunks: Uint8Array[] = [];
    const bytes = buggify(Site.BASE_IN_TINY_PIECES) ? TINY_BYTES : BASE_PIECE_BYTES;
    base.cursor = this.stage.exportAll(base.cursor, bytes, (chunk) => {
      chunks.push(chunk.slice());
      base.bytes += chunk.length;
    });
    const owner = { stage: this.#stageId, partition: this.number, epoch: this.epoch };
    base.retry = basePiece(owner, base.number, base.chunks, chunks);
    base.chunks += chunks.length;
  }

  get isRebasing(): boolean {
    return this.#base !== undefined;
  }

  // --- cold data -----------------------------------------------------------------------------------------------------------

  /** A cold value that is not in the store yet: [found, value]. */
  overlay(key: string): { found: boolean; value: Uint8Array | undefined } {
    if (this.outbox.cold.has(key)) return { found: true, value: this.outbox.cold.get(key) };
    const commit = this.#commit;
    if (commit?.cold.has(key) === true) return { found: true, value: commit.cold.get(key) };
    return { found: false, value: undefined };
  }

  /** For tests and reports. */
  describe(): string {
    return `partition ${this.number} ${this.state} epoch ${this.epoch} offset ${this.offset} commit ${this.#meta.commit}`;
  }
}
