/**
 * What the parts of the user stage share: one partition's tables, and the step that runs (its time, its outputs, the cold
 * values fetched for it).
 */
import { type Frame, makeFrame } from '../../core/frame.js';
import { fromWords, highWord, lowWord } from '../../core/ids.js';
import {
  BLOCKS_PER_USER_MAX,
  CATCH_UP_BYTES,
  CATCH_UP_ENTRIES,
  CHUNKS_PER_ACK_MAX,
  CHUNKS_PER_MERGE,
  DEVICE_IDLE_MS_MAX,
  DEVICES_PER_USER_MAX,
  PRESENCE_UPDATES_PER_WINDOW,
  PRESENCE_WINDOW_MS,
  QUEUE_TTL_MS,
  SESSION_GRACE_MS,
  SPILL_AGE_MS,
  SPILL_BYTES,
  SPILL_STEP_BYTES,
  STORE_CHUNK_BYTES,
  WATCH_TTL_MS,
  WATCHED_PER_USER_MAX,
  WATCHERS_PER_USER_MAX,
} from '../../core/limits.js';
import { LinearMemory } from '../../core/memory.js';
import type { Fetched, Out } from '../../core/stage.js';
import { Table } from '../../core/table.js';
import { Alarms } from './alarms.js';
import type { BlockAnswer } from './block-answers.js';
import { Marks } from './marks.js';
import { Pool } from './pool.js';
import { ReceiptIndex } from './receipt-index.js';
import {
  BLOCK_WORDS,
  CHUNK_WORDS,
  DEVICE_WORDS,
  ENTRY_WORDS,
  getPair,
  setPair,
  UPDATE_WORDS,
  USER_DIRTY_MASK,
  USER_WORDS,
  UserAt,
  UserFlag,
  WATCHER_WORDS,
} from './rows.js';
import { TableParts } from './table-parts.js';
import { Targets } from './targets.js';

/** The limits of core/limits.ts that the stage obeys; tests make them small. */
export interface UserLimits {
  readonly devicesPerUser: number;
  readonly blocksPerUser: number;
  readonly watchersPerUser: number;
  readonly watchedPerUser: number;
  readonly sessionGraceMs: number;
  readonly deviceIdleMs: number;
  readonly queueTtlMs: number;
  readonly watchTtlMs: number;
  readonly presenceWindowMs: number;
  readonly presenceUpdatesPerWindow: number;
  readonly spillAgeMs: number;
  readonly spillBytes: number;
  /** Bytes written to the store in one step; what is left waits for the next step. */
  readonly spillStepBytes: number;
  readonly chunkBytes: number;
  /** Small chunks in a row that are rewritten as one. */
  readonly chunksPerMerge: number;
  /** Chunks that one ack may cover; the rest follows in a step of its own. */
  readonly chunksPerAck: number;
  readonly catchUpBytes: number;
  readonly catchUpEntries: number;
}

const USER_LIMITS: UserLimits = {
  devicesPerUser: DEVICES_PER_USER_MAX,
  blocksPerUser: BLOCKS_PER_USER_MAX,
  watchersPerUser: WATCHERS_PER_USER_MAX,
  watchedPerUser: WATCHED_PER_USER_MAX,
  sessionGraceMs: SESSION_GRACE_MS,
  deviceIdleMs: DEVICE_IDLE_MS_MAX,
  queueTtlMs: QUEUE_TTL_MS,
  watchTtlMs: WATCH_TTL_MS,
  presenceWindowMs: PRESENCE_WINDOW_MS,
  presenceUpdatesPerWindow: PRESENCE_UPDATES_PER_WINDOW,
  spillAgeMs: SPILL_AGE_MS,
  spillBytes: SPILL_BYTES,
  spillStepBytes: SPILL_STEP_BYTES,
  chunkBytes: STORE_CHUNK_BYTES,
  chunksPerMerge: CHUNKS_PER_MERGE,
  chunksPerAck: CHUNKS_PER_ACK_MAX,
  catchUpBytes: CATCH_UP_BYTES,
  catchUpEntries: CATCH_UP_ENTRIES,
};

/** Counts since the start of this process; not part of the state. */
export interface UserCounters {
  /** FANOUT batches that had been seen before. */
  repeatedBatches: number;
  /** Frames of a kind, or with ids, that mean nothing here. */
  ignoredFrames: number;
  /** Inbox entries made, one for each receiving user. */
  entries: number;
  /** Entries handed to connections: when they came, or in catch-up. */
  liveDeliveries: number;
  catchUpDeliveries: number;
  delivered: number;
  chunksWritten: number;
  chunksRemoved: number;
  /** Reads of a chunk that the store did not have. */
  chunksMissing: number;
  droppedUpdates: number;
}

export interface UserStateOptions {
  readonly partition: number;
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly limits?: Partial<UserLimits>;
  /** True: what is ordinary is done by the WebAssembly kernel, where the engine can run it. The results are the same. */
  readonly kernel?: boolean;
}

/** Estimated bytes of an exported user with its devices, and of an entry. */
const USER_EXPORT_BYTES = 220;
export const ENTRY_EXPORT_BYTES = 16;

export class UserState {
  readonly partition: number;
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly limits: UserLimits;
  readonly memory = new LinearMemory();
  readonly users = new Table(this.memory, USER_WORDS, 2, 1_024, true);
  readonly blocks = new Table(this.memory, BLOCK_WORDS, 4);
  readonly devices = new Pool(this.memory, DEVICE_WORDS);
  readonly entries = new Pool(this.memory, ENTRY_WORDS);
  readonly chunks = new Pool(this.memory, CHUNK_WORDS);
  readonly watchers = new Pool(this.memory, WATCHER_WORDS);
  readonly updates = new Pool(this.memory, UPDATE_WORDS);
  /** Frames in memory. */
  blobs = 0;
  readonly alarms = new Alarms();
  readonly targets = new Targets();
  readonly table = new TableParts();
  readonly marks = new Marks();
  readonly receipts = new ReceiptIndex(this.memory);
  /** Devices whose registration is not known to be on the disk: key and offset, in order of offset. */
  readonly newcomers = new Map<number, number>();
  /** Answers to blocks that wait for the disk, in order of offset. */
  readonly blockAnswers: BlockAnswer[] = [];
  readonly counters: UserCounters = {
    repeatedBatches: 0,
    ignoredFrames: 0,
    entries: 0,
    liveDeliveries: 0,
    catchUpDeliveries: 0,
    delivered: 0,
    chunksWritten: 0,
    chunksRemoved: 0,
    chunksMissing: 0,
    droppedUpdates: 0,
  };
  /** Entries and frames that the kernel left to the plain code. */
  handedOver = 0;
  /** Ownership of the partition: the high part of new positions. */
  generation = 0;
  /** The window of updates in which the generation began: what was sent in it before may have been lost with the log's end. */
  generationWindow = 0;
  /** The last batch taken from each conversation partition; −1: none. */
  readonly seenSeq: Float64Array;
  readonly seenIndex: Float64Array;

  /** The step that runs. */
  nowMs = 0;
  offset = 0;
  out!: Out;
  fetched!: Fetched;
  /** Bytes that this step may still write to the store. */
  spillLeft = 0;
  /** What this step wrote to the store, by chunk: it cannot be fetched yet. */
  readonly writtenChunks = new Map<number, Uint8Array>();
  /** A frame to fill in and write at once. */
  readonly scratch: Frame = makeFrame({ kind: 0 });

  /** Users that changed since the last export, each once. */
  readonly dirtyUsers: number[] = [];
  dirtyBytes = 0;
  partitionDirty = false;
  /** Exported rows that are gone, other than entries from the front: [user, position] and [user, serial], flat. */
  readonly droppedEntries: number[] = [];
  readonly droppedChunks: number[] = [];
  /** Number of the last export; 1 is kept for blobs that came from one. */
  exportRun = 1;

  constructor(options: UserStateOptions) {
    this.partition = options.partition;
    this.conversationPartitions = options.conversationPartitions;
    this.userPartitions = options.userPartitions;
    this.limits = { ...USER_LIMITS, ...options.limits };
    this.seenSeq = new Float64Array(options.conversationPartitions).fill(-1);
    this.seenIndex = new Float64Array(options.conversationPartitions).fill(-1);
  }

  /** Offset of the first batch that registered a device, or blocked somebody, and is not known to be on the disk; or Infinity. */
  get syncWantedAt(): number {
    const answer = this.blockAnswers[0]?.offset ?? Infinity;
    if (this.newcomers.size === 0) return answer;
    const [first] = this.newcomers.values();
    return Math.min(first!, answer);
  }

  /** The user's row, or 0. */
  findUser(user: number): number {
    const row = this.users.find(lowWord(user), highWord(user));
    return row < 0 ? 0 : this.users.at(row);
  }

  /** The user's row, made if there is none: whoever gets a message has an inbox, connected before or not. */
  ensureUser(low: number, high: number): number {
    const row = this.users.find(low, high);
    if (row >= 0) return this.users.at(row);
    const user = this.users.at(this.users.insert(low, high));
    this.touch(user);
    return user;
  }

  idOf(user: number): number {
    return getPair(this.memory.u32, user + UserAt.ID);
  }

  /** Notes that a user changed; `parts` are the UserFlags of what beside its row. */
  touch(user: number, parts = 0): void {
    const u32 = this.memory.u32;
    const flags = u32[user + UserAt.FLAGS]!;
    if ((flags & UserFlag.DIRTY) === 0) {
      this.dirtyUsers.push(user);
      this.dirtyBytes += USER_EXPORT_BYTES;
    }
    u32[user + UserAt.FLAGS] = flags | UserFlag.DIRTY | parts;
  }

  clean(user: number): void {
    this.memory.u32[user + UserAt.FLAGS]! &= ~USER_DIRTY_MASK;
  }

  /** Sees to it that the user is looked at when `time` has come. */
  setAlarm(user: number, time: number): void {
    if (time === Infinity) return;
    const u32 = this.memory.u32;
    const set = getPair(u32, user + UserAt.ALARM);
    if (set !== 0 && set <= time) return;
    setPair(u32, user + UserAt.ALARM, time);
    this.alarms.push(time, user);
  }

  /** True if `blocked` (a user id) is on the user's block list. */
  isBlocked(user: number, blocked: number): boolean {
    const u32 = this.memory.u32;
    if (u32[user + UserAt.BLOCKS] === 0 || blocked === 0) return false;
    return this.blocks.find(u32[user]!, u32[user + 1]!, lowWord(blocked), highWord(blocked)) >= 0;
  }

  /** Calls `visit` with every user's row, in no meaningful order. */
  forEachUser(visit: (user: number) => void): void {
    for (let row = 0; row < this.users.rowLimit; row++) if (this.users.isLive(row)) visit(this.users.at(row));
  }
}

/** Rows sorted by user id: the order of everything that concerns several users, so that it does not depend on row numbers. */
export function sortByUserId(state: UserState, users: number[]): number[] {
  const u32 = state.memory.u32;
  return users.toSorted((a, b) => fromWords(u32[a]!, u32[a + 1]!) - fromWords(u32[b]!, u32[b + 1]!));
}
