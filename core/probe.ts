/**
 * Probes that stand in the code itself, for a simulator. *Marks* count that a rare path was walked, so that a swarm can say which
 * it never came by. *Sites* (FoundationDB calls them BUGGIFY) let a simulator take the rarer of two legal ways: a batch less, a
 * commit earlier, an answer later. They may change when and in what portions something is done, never what a step decides.
 *
 * In production none is on: a probe costs a load and a branch. Only `withProbes` puts them on, for the time of one call, in one
 * thread; scripts/rules.ts lets nobody but the simulator and tests name it.
 */
import type { Prng } from './prng.js';

/** Paths that most runs do not take. */
export const Mark = {
  // The lane.
  LANE_REPLAYED_A_BATCH: 0,
  LANE_OUTPUT_NOT_DURABLE: 1,
  LANE_OUTCOME_OF_AN_EARLIER_START: 2,
  LANE_OUTPUT_FOUND_NO_ROOM: 3,
  LANE_GATHERED_FOUND_NO_ROOM: 4,
  LANE_GATHERED_SENT_WHILE_FETCHING: 5,
  LANE_FETCHED: 6,
  LANE_FETCH_FAILED: 7,
  LANE_FETCH_FOUND_UNCOMMITTED: 8,
  LANE_TICKED: 9,
  LANE_TICK_FOUND_NO_ROOM: 10,
  LANE_COMMIT_BEGUN_WHILE_FETCHING: 11,
  // A partition's take-over, recovery and commits.
  TAKE_OVER_CONFLICT: 12,
  TAKE_OVER_UNKNOWN: 13,
  TAKE_OVER_READ_FAILED: 14,
  RECOVERY_READ_FAILED: 15,
  RECOVERED_FROM_A_BASE: 16,
  RECOVERED_FROM_DELTAS: 17,
  RECOVERY_IN_PIECES: 18,
  STEP_WHILE_COMMITTING: 19,
  COMMIT_WAITED_FOR_THE_LOG: 20,
  COMMIT_CONFLICT: 21,
  COMMIT_UNKNOWN_WAS_DONE: 22,
  COMMIT_UNKNOWN_WAS_NOT_DONE: 23,
  COMMIT_UNKNOWN_FOUND_ANOTHER_OWNER: 24,
  COMMIT_UNKNOWN_READ_FAILED: 25,
  COMMIT_TOO_OLD: 26,
  COMMIT_REFUSED: 27,
  COMMIT_IN_PARTS: 28,
  BASE_BEGUN: 29,
  BASE_PIECE_AGAIN: 30,
  BASE_COMPLETE: 31,
  BASE_TOOK_OVER: 32,
  BASE_CONFLICT: 33,
  // The conversation stage.
  COUNTER_ANSWERED_AGAIN: 34,
  COUNTER_REJECTED_AGAIN: 35,
  COUNTER_FORGOTTEN: 36,
  COUNTER_GAP: 37,
  GROUP_CHANGE_BY_NO_ADMIN: 38,
  GROUP_CHANGE_OF_NOTHING: 39,
  GROUP_LOST_ITS_LAST_ADMIN: 40,
  GROUP_LOST_ITS_LAST_MEMBER: 41,
  READ_OF_WHAT_WAS_READ: 42,
  DELIVERED_OF_WHAT_WAS_DELIVERED: 43,
  AGGREGATE_COMPUTED: 44,
  TYPING_NOT_PASSED_ON: 45,
  // The user stage.
  FAN_OUT_REPEATED: 46,
  GAP_FOR_A_BLOCKED_SENDER: 47,
  GAP_FOR_AN_EXPIRED_MESSAGE: 48,
  INBOX_ENTRY_REPLACED: 49,
  SESSION_RESUMED: 50,
  SESSION_ENDED: 51,
  CONNECTION_REPLACED: 52,
  CONNECT_REPEATED: 53,
  DISCONNECT_OF_AN_EARLIER_CONNECTION: 54,
  PULL_OF_NO_USE: 55,
  CURSOR_NEVER_HANDED_OUT: 56,
  CATCH_UP_BEGUN_AGAIN: 57,
  CATCH_UP_IN_PIECES: 58,
  CATCH_UP_WENT_LIVE: 59,
  SESSIONS_LOST_WITH_THEIR_GATEWAY: 60,
  GENERATION_BEGUN: 61,
  ACK_OF_WHAT_WAS_LOST: 62,
  ACK_CONTINUED: 63,
  INBOX_WRITTEN_BEHIND: 64,
  INBOX_CHUNKS_MERGED: 65,
  INBOX_CHUNK_NOT_FETCHED: 66,
  UPDATE_COALESCED: 67,
  UPDATES_THROTTLED: 68,
  UPDATES_SENT_IN_A_LATER_WINDOW: 69,
  PRESENCE_STALE: 70,
  PRESENCE_TOLD_AGAIN: 71,
  ANSWER_NOT_AHEAD_OF_THE_INBOX: 72,
  // The gateway.
  BATCH_FOUND_NO_ROOM: 73,
  BATCH_REFUSED: 74,
  BATCH_UNKNOWN: 75,
  BATCH_OF_AN_EARLIER_GATEWAY: 76,
  FRAME_HANDED_ON_AGAIN: 77,
  CONNECTION_CLOSED_SINCE_THE_LOG_FAILED: 78,
  EGRESS_OF_ANOTHER_CONNECTION: 79,
  EGRESS_OF_AN_EARLIER_TOKEN: 80,
  EGRESS_REPEATED: 81,
  SOCKET_OVERFULL: 82,
  SOCKET_DRAINED: 83,
  PIECE_PULLED: 84,
  ANSWERS_HELD_THEIR_TIME: 85,
  ANSWERS_WENT_ALONG: 86,
  HELLO_TOO_LATE: 87,
  SENT_AWAY: 88,
  SEND_REFUSED_WHILE_BUSY: 89,
  // The client.
  CLIENT_SAW_A_REPETITION: 90,
  CLIENT_ASKED_WHERE_COUNTERS_STAND: 91,
  CLIENT_SENT_AGAIN: 92,
  CLIENT_OUTCOME_TIMED_OUT: 93,
  CLIENT_DUPLICATE_SETTLED: 94,
  CLIENT_LINK_DEAD: 95,
  CLIENT_READS_TOGETHER: 96,
  CLIENT_WINDOW_FULL: 97,
  CLIENT_OUTBOX_FULL: 98,
  CLIENT_CAME_BACK_AT_ONCE: 99,
  CLIENT_GOODBYE_WITH_UNSENT: 100,
  // New devices.
  NEW_DEVICE_WAITED_FOR_THE_DISK: 101,
  NEW_DEVICE_LEFT_BEFORE_IT_WAS_SYNCED: 102,
  NEW_DEVICE_CAME_AGAIN_BEFORE_IT_WAS_SYNCED: 103,
  // What a lane says that hung while another took over.
  EGRESS_OF_A_DEPOSED_LANE: 104,
} as const;

/** Places where two ways are legal. */
export const Site = {
  LANE_TAKES_NO_BATCH: 0,
  LANE_SENDS_GATHERED_AT_ONCE: 1,
  LANE_OUTPUT_REFUSED: 2,
  LANE_TICKS_LATER: 3,
  LANE_FETCHES_NOTHING: 4,
  LANE_FETCHES_AGAIN: 5,
  OUTBOX_SPLITS_GATHERED: 6,
  TAKES_OVER_TWICE: 7,
  LOADS_IN_TINY_PIECES: 8,
  COMMITS_EARLY: 9,
  COMMITS_LATER: 10,
  COMMITS_IN_PARTS: 11,
  COMMIT_LOOKED_UP: 12,
  BASE_BEGUN_EARLY: 13,
  BASE_IN_TINY_PIECES: 14,
  GATEWAY_TAKES_ONE_BATCH: 15,
  GATEWAY_HEARS_OUTCOMES_LATER: 16,
  GATEWAY_BATCH_CLOSED_EARLY: 17,
  GATEWAY_BATCH_REFUSED: 18,
  GATEWAY_REFUSES_ADMISSION: 19,
  GATEWAY_IS_BUSY: 20,
  GATEWAY_MESSAGE_SENT_EARLY: 21,
  GATEWAY_HOLDS_NO_ANSWER: 22,
  GATEWAY_SOCKET_OVERFULL: 23,
  CLIENT_SENDS_SMALL_MESSAGES: 24,
  CLIENT_ACKS_AT_ONCE: 25,
  CLIENT_ACKS_LATER: 26,
  CLIENT_FORGETS_RECENT: 27,
  CLIENT_RECONNECTS_LATER: 28,
  CLIENT_SENDS_AGAIN_EARLY: 29,
} as const;

/** A site is on in one run of so many, and fires once in so many times. */
const ONE_IN = 4;

/** `COMMIT_TOO_OLD` as it is told: `commit too old`. */
function nameOf(key: string): string {
  return key.toLowerCase().replaceAll('_', ' ');
}

export const MARK_NAMES: readonly string[] = Object.keys(Mark).map(nameOf);
export const SITE_NAMES: readonly string[] = Object.keys(Site).map((key) => `site: ${nameOf(key)}`);

/** What one run reached, and which of its sites are on. */
export class Probes {
  readonly #marks = new Uint32Array(MARK_NAMES.length);
  readonly #fired = new Uint32Array(SITE_NAMES.length);
  /** How often any site fired. */
  fired = 0;
  /** No site fires any more: what a world promises once nothing breaks must come true. */
  areSitesOff = false;
  /** A generator a site, so that a new one does not shift the others; undefined: it is off. */
  readonly #sites: readonly (Prng | undefined)[];

  /** Without `random` all sites are off. */
  constructor(random?: Prng) {
    this.#sites = SITE_NAMES.map((name) => {
      const own = random?.fork(name);
      return own?.chance(1, ONE_IN) === true ? own : undefined;
    });
  }

  reached(mark: number): void {
    this.#marks[mark]!++;
  }

  fires(site: number): boolean {
    if (this.areSitesOff || this.#sites[site]?.chance(1, ONE_IN) !== true) return false;
    this.#fired[site]!++;
    this.fired++;
    return true;
  }

  /** Names of marks reached and sites fired, and how often. */
  *counts(): Generator<[name: string, count: number]> {
    for (const [mark, name] of MARK_NAMES.entries()) if (this.#marks[mark]! > 0) yield [name, this.#marks[mark]!];
    for (const [site, name] of SITE_NAMES.entries()) if (this.#fired[site]! > 0) yield [name, this.#fired[site]!];
  }
}

let probes: Probes | undefined;

/** Notes that a rare path is walked. */
export function reached(mark: number): void {
  if (probes !== undefined) probes.reached(mark);
}

/** True where a simulator wants the rarer way. */
export function buggify(site: number): boolean {
  return probes !== undefined && probes.fires(site);
}

/** True while a simulator looks on: what is done in bulk otherwise is done one by one then, so that its sites are asked in order. */
export function isProbed(): boolean {
  return probes !== undefined;
}

/** For simulators only: runs `work` with these probes, and without them afterwards. */
export function withProbes<T>(next: Probes, work: () => T): T {
  const before = probes;
  probes = next;
  try {
    return work();
  } finally {
    probes = before;
  }
}
