/**
 * The session of one connection as a machine of State × Event. Pure: time comes in as an argument, what is to be done comes out
 * as an Action. Every cell of the table is filled.
 *
 * ```text
 * HELLO ──hello──▶ RESUMING ──welcome──▶ CATCH_UP ──caught up──▶ LIVE
 *                                           ▲  │                  │
 *                                           │  └──── overfull ────┤ (token + 1)
 *                                        drained                  ▼
 *                                           └──────────────── WAITING
 * any ──drain──▶ DRAINING ──▶ CLOSED
 * ```
 *
 * CATCH_UP: pieces of the inbox come; after each, once the socket has drained, the next is asked for. WAITING: the socket took no
 * more; nothing is sent until it has drained, then the inbox is asked for from the last position that was sent.
 */

export const SessionState = {
  HELLO: 0,
  RESUMING: 1,
  CATCH_UP: 2,
  LIVE: 3,
  WAITING: 4,
  DRAINING: 5,
  CLOSED: 6,
} as const;
export type SessionState = (typeof SessionState)[keyof typeof SessionState];

export const SessionEvent = {
  /** A HELLO frame with a version that is spoken here. */
  HELLO: 0,
  /** A WELCOME for this connection. */
  WELCOME: 1,
  /** The user stage has sent a piece and has more. */
  MORE: 2,
  /** The user stage has sent everything. */
  CAUGHT_UP: 3,
  /** The socket has more unsent than it may have. */
  OVERFULL: 4,
  /** The socket has little unsent. */
  DRAINED: 5,
  /** The gateway is going down. */
  DRAIN: 6,
  /** The peer is gone, or was sent away. */
  CLOSE: 7,
} as const;
export type SessionEvent = (typeof SessionEvent)[keyof typeof SessionEvent];

export const Action = {
  NONE: 0,
  /** Tell the user stage that the device is here. */
  CONNECT: 1,
  /** Ask for the next piece with the token there is. */
  PULL: 2,
  /** Ask for the next piece as soon as the socket has drained. */
  PULL_WHEN_DRAINED: 3,
  /** From now on drop what comes with the old token; the token is one higher. */
  NEW_TOKEN: 4,
  /** Ask from the last position sent, with the new token. */
  PULL_AGAIN: 5,
  /** Tell the user stage that the connection is gone. */
  DISCONNECT: 6,
  /** Say that the server goes away, and close. */
  GOODBYE: 7,
  /** The peer breaks the protocol. */
  REFUSE: 8,
} as const;
export type Action = (typeof Action)[keyof typeof Action];

interface Cell {
  readonly next: SessionState;
  readonly action: Action;
}

const S = SessionState;
const A = Action;

function cell(next: SessionState, action: Action = A.NONE): Cell {
  return { next, action };
}

/** Rows by state, columns by event: HELLO WELCOME MORE CAUGHT_UP OVERFULL DRAINED DRAIN CLOSE. */
export const SESSION_TABLE: readonly (readonly Cell[])[] = [
  // HELLO: nothing was said yet; the user stage does not know the connection.
  [
    cell(S.RESUMING, A.CONNECT),
    cell(S.HELLO),
    cell(S.HELLO),
    cell(S.HELLO),
    cell(S.HELLO),
    cell(S.HELLO),
    cell(S.DRAINING, A.GOODBYE),
    cell(S.CLOSED),
  ],
  // RESUMING: CONNECT is on its way.
  [
    cell(S.RESUMING, A.REFUSE),
    cell(S.CATCH_UP),
    cell(S.RESUMING),
    cell(S.RESUMING),
    cell(S.RESUMING),
    cell(S.RESUMING),
    cell(S.DRAINING, A.GOODBYE),
    cell(S.CLOSED, A.DISCONNECT),
  ],
  // CATCH_UP
  [
    cell(S.CATCH_UP, A.REFUSE),
    cell(S.CATCH_UP),
    cell(S.CATCH_UP, A.PULL_WHEN_DRAINED),
    cell(S.LIVE),
    cell(S.CATCH_UP),
    cell(S.CATCH_UP, A.PULL),
    cell(S.DRAINING, A.GOODBYE),
    cell(S.CLOSED, A.DISCONNECT),
  ],
  // LIVE: more than what was caught up with comes by itself; a MORE is of the time before.
  [
    cell(S.LIVE, A.REFUSE),
    cell(S.LIVE),
    cell(S.LIVE),
    cell(S.LIVE),
    cell(S.WAITING, A.NEW_TOKEN),
    cell(S.LIVE),
    cell(S.DRAINING, A.GOODBYE),
    cell(S.CLOSED, A.DISCONNECT),
  ],
  // WAITING
  [
    cell(S.WAITING, A.REFUSE),
    cell(S.WAITING),
    cell(S.WAITING),
    cell(S.WAITING),
    cell(S.WAITING),
    cell(S.CATCH_UP, A.PULL_AGAIN),
    cell(S.DRAINING, A.GOODBYE),
    cell(S.CLOSED, A.DISCONNECT),
  ],
  // DRAINING: GOAWAY was sent; what still comes is sent on until the socket is closed.
  [
    cell(S.DRAINING),
    cell(S.DRAINING),
    cell(S.DRAINING),
    cell(S.DRAINING),
    cell(S.DRAINING),
    cell(S.DRAINING),
    cell(S.DRAINING),
    cell(S.CLOSED, A.DISCONNECT),
  ],
  // CLOSED
  Array.from({ length: 8 }, () => cell(S.CLOSED)),
];

/** What an event does to a session in a state. */
export function transition(state: SessionState, event: SessionEvent): Cell {
  return SESSION_TABLE[state]![event]!;
}

/** True if frames of the inbox may be sent in this state. */
export function sends(state: SessionState): boolean {
  return state === S.CATCH_UP || state === S.LIVE || state === S.RESUMING || state === S.DRAINING;
}

/** True if frames other than HELLO are taken from the client. */
export function takes(state: SessionState): boolean {
  return state !== S.HELLO && state !== S.CLOSED;
}

/** A token bucket in two numbers: what is left, and when it was counted. */
export interface Bucket {
  left: number;
  atMs: number;
}

/** How much can be taken, in whole numbers. */
export function available(bucket: Bucket, perSecond: number, burst: number, nowMs: number): number {
  return Math.floor(Math.min(burst, bucket.left + (Math.max(0, nowMs - bucket.atMs) * perSecond) / 1_000));
}

/** Takes from a bucket that fills with `perSecond` up to `burst`. False: there was not enough, nothing was taken. */
export function take(bucket: Bucket, amount: number, perSecond: number, burst: number, nowMs: number): boolean {
  const filled = Math.min(burst, bucket.left + (Math.max(0, nowMs - bucket.atMs) * perSecond) / 1_000);
  bucket.atMs = nowMs;
  bucket.left = filled >= amount ? filled - amount : filled;
  return filled >= amount;
}
