/**
 * From user lanes to sockets. A pass takes one EGRESS batch: frames with lists of targets. Each frame is copied once for each
 * target, into what goes out to that socket as one write, with the inbox position patched in. Chains in typed arrays keep what
 * belongs to which session; nothing is allocated for a delivery.
 *
 * Receipts and SENT can wait: a write to a socket costs more than all else that is done for a delivery. They are held until
 * something goes out to that socket anyway, or ANSWER_HOLD_MS have passed.
 *
 * A socket that is over its limit turns its session to catch-up: the token rises, what comes with the old one is dropped, and
 * when the socket has drained the inbox is asked for from the last position that was sent. So nothing is dropped for good, and
 * nothing grows without bound.
 */
import { type Batch, BatchAt, TARGET_BYTES, TargetAt, TargetFlag } from '../core/batch.js';
import { type CloseCode, CloseCodes } from '../core/errors.js';
import { At, Flag, frameLength, Kind, viewOf } from '../core/frame.js';
import { fromWords } from '../core/ids.js';
import {
  FRAME_HEADER_BYTES,
  FRAMES_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  ANSWER_HOLD_MS,
  SOCKET_BUFFER_BYTES_LOW,
  SOCKET_BUFFER_BYTES_MAX,
} from '../core/limits.js';
import type { GatewayMetrics } from './gateway-metrics.js';
import type { Hub, Session } from './hub.js';
import { Action, sends, SessionEvent, SessionState, transition } from './session.js';

export interface OutboundOptions {
  readonly hub: Hub;
  readonly incarnation: number;
  readonly metrics: GatewayMetrics;
  /** Asks the user stage for more of a session's inbox. */
  readonly pull: (session: Session) => void;
  /** Ends a connection. */
  readonly close: (session: Session, code: CloseCode) => void;
}

/** Words of one link of a chain. */
const Link = { FRAME: 0, POSITION_LOW: 1, POSITION_HIGH: 2, FLAGS: 3, NEXT: 4 } as const;
const LINK_WORDS = 5;
/** More than this is not held. */
const HELD_BYTES_MAX = 2_048;

export class Outbound {
  readonly #options: OutboundOptions;
  #links = new Int32Array(LINK_WORDS * 4_096);
  #linkCount = 0;
  /** Sessions with held receipts, oldest first, and since when. */
  readonly #held: { readonly session: Session; readonly sinceMs: number }[] = [];
  readonly #touched: Session[] = [];
  readonly #message = new Uint8Array(MESSAGE_BYTES_MAX);
  readonly #messageView = viewOf(this.#message);
  #framesOut = 0;
  #bytesOut = 0;
  #writes = 0;
  #dropped = 0;

  constructor(options: OutboundOptions) {
    this.#options = options;
  }

  /** When held receipts must go out; Infinity: there are none. */
  get heldDueAtMs(): number {
    const oldest = this.#held[0];
    return oldest === undefined ? Infinity : oldest.sinceMs + ANSWER_HOLD_MS;
  }

  /** Sends receipts that were held long enough. */
  release(nowMs: number): void {
    let done = 0;
    for (const { session, sinceMs } of this.#held) {
      if (sinceMs + ANSWER_HOLD_MS > nowMs) break;
      done++;
      const bytes = session.held;
      // Gone out meanwhile, or held again since: that has an entry of its own.
      if (bytes === undefined || session.heldSinceMs !== sinceMs) continue;
      session.held = undefined;
      this.#writes++;
      this.#bytesOut += bytes.length;
      if (session.socket?.send(bytes) ?? true) this.#afterSend(session);
      else this.#options.close(session, CloseCodes.BACKBONE_LOST);
    }
    if (done > 0) this.#held.splice(0, done);
  }

  /** Delivers one batch. */
  deliver(batch: Batch, nowMs: number): void {
    const { bytes, view } = batch;
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < batch.header.count; entry++) {
      const frameAt = at;
      at += frameLength(view, at);
      const count = view.getUint32(at, true);
      at += 4;
      for (let target = 0; target < count; target++, at += TARGET_BYTES) this.#target(bytes, view, frameAt, at);
    }
    for (const session of this.#touched) this.#flush(session, bytes, view, nowMs);
    this.#touched.length = 0;
    this.#linkCount = 0;
    this.#count();
  }

  #count(): void {
    const { metrics } = this.#options;
    metrics.add('egress_batches_total');
    metrics.add('frames_out_total', this.#framesOut);
    metrics.add('bytes_out_total', this.#bytesOut);
    metrics.add('writes_out_total', this.#writes);
    metrics.add('egress_dropped_total', this.#dropped);
    this.#framesOut = 0;
    this.#bytesOut = 0;
    this.#writes = 0;
    this.#dropped = 0;
  }

  #target(bytes: Uint8Array, view: DataView, frameAt: number, at: number): void {
    const session = this.#options.hub.connection(view.getUint32(at + TargetAt.CONNECTION, true));
    const kind = bytes[frameAt + At.KIND]!;
    if (session === undefined || view.getUint32(at + TargetAt.INCARNATION, true) !== this.#options.incarnation >>> 0) {
      this.#dropped++;
      return;
    }
    if (kind === Kind.GOAWAY) {
      this.#goAway(session, view.getUint32(frameAt + At.EXTRA));
      return;
    }
    const flags = view.getUint32(at + TargetAt.FLAGS, true);
    if ((flags & TargetFlag.TRANSIENT) !== 0) return this.#transient(session, frameAt, flags);
    if (view.getUint32(at + TargetAt.TOKEN, true) !== session.token) {
      this.#dropped++;
      return;
    }
    if (kind === Kind.PULL) return this.#event(session, SessionEvent.MORE);
    if (kind === Kind.WELCOME) this.#event(session, SessionEvent.WELCOME);
    const low = view.getUint32(at + TargetAt.POSITION_LOW, true);
    const high = view.getUint32(at + TargetAt.POSITION_HIGH, true);
    const position = fromWords(low, high);
    if (!sends(session.state) || (position !== 0 && position <= session.lastSent)) {
      this.#dropped++;
      return;
    }
    if (position !== 0) session.lastSent = position;
    this.#link(session, frameAt, low, high, flags);
    if (kind === Kind.CAUGHT_UP) this.#event(session, SessionEvent.CAUGHT_UP);
  }

  #transient(session: Session, frameAt: number, flags: number): void {
    const isOver = session.state === SessionState.WAITING || session.state === SessionState.HELLO;
    if (isOver || !sends(session.state)) {
      this.#options.metrics.add('transient_dropped_total');
      return;
    }
    this.#link(session, frameAt, 0, 0, flags);
  }

  #goAway(session: Session, code: number): void {
    session.closeWith = Object.values(CloseCodes).find((known) => known.code === code) ?? CloseCodes.BACKBONE_LOST;
    if (session.chainHead < 0 && !this.#touched.includes(session)) this.#touched.push(session);
  }

  #link(session: Session, frameAt: number, low: number, high: number, flags: number): void {
    const link = this.#linkCount++;
    const at = link * LINK_WORDS;
    if (at + LINK_WORDS > this.#links.length) {
      const grown = new Int32Array(this.#links.length * 2);
      grown.set(this.#links);
      this.#links = grown;
    }
    const links = this.#links;
    links[at + Link.FRAME] = frameAt;
    links[at + Link.POSITION_LOW] = low;
    links[at + Link.POSITION_HIGH] = high;
    links[at + Link.FLAGS] = flags;
    links[at + Link.NEXT] = -1;
    if (session.chainHead < 0) {
      session.chainHead = link;
      this.#touched.push(session);
    } else {
      links[session.chainTail * LINK_WORDS + Link.NEXT] = link;
    }
    session.chainTail = link;
  }

  #flush(session: Session, bytes: Uint8Array, view: DataView, nowMs: number): void {
    let at = this.#takeHeld(session);
    let frames = 0;
    let canWait = session.closeWith === undefined;
    let alive = true;
    for (let link = session.chainHead; link >= 0 && alive; link = this.#links[link * LINK_WORDS + Link.NEXT]!) {
      const word = link * LINK_WORDS;
      const length = this.#lengthOf(view, word);
      if (at + length > this.#message.length || frames === FRAMES_PER_MESSAGE_MAX) {
        alive = this.#send(session, at);
        at = 0;
        frames = 0;
      }
      this.#copy(bytes, word, at, length);
      canWait &&= this.#mayWait(bytes, word);
      at += length;
      frames++;
      this.#framesOut++;
    }
    session.chainHead = -1;
    session.chainTail = -1;
    if (at > 0 && alive) {
      if (canWait && at <= HELD_BYTES_MAX) return this.#hold(session, at, nowMs);
      alive = this.#send(session, at);
    }
    if (session.closeWith !== undefined) this.#options.close(session, session.closeWith);
    else if (alive) this.#afterSend(session);
    else this.#options.close(session, CloseCodes.BACKBONE_LOST);
  }

  /** Receipts, and the answer to an own send. */
  #mayWait(bytes: Uint8Array, word: number): boolean {
    if ((this.#links[word + Link.FLAGS]! & TargetFlag.SENT) !== 0) return true;
    return bytes[this.#links[word + Link.FRAME]! + At.KIND] === Kind.RECEIPT;
  }

  /** Puts what was held at the start of the message; returns where to go on. */
  #takeHeld(session: Session): number {
    const { held } = session;
    if (held === undefined) return 0;
    this.#message.set(held);
    session.held = undefined;
    return held.length;
  }

  #hold(session: Session, length: number, nowMs: number): void {
    session.held = this.#message.slice(0, length);
    // The first to be held says when they go out.
    if (session.heldSinceMs + ANSWER_HOLD_MS > nowMs && this.#isListed(session)) return;
    session.heldSinceMs = nowMs;
    this.#held.push({ session, sinceMs: nowMs });
  }

  #isListed(session: Session): boolean {
    const oldest = this.#held[0];
    return oldest !== undefined && session.heldSinceMs >= oldest.sinceMs;
  }

  #lengthOf(view: DataView, word: number): number {
    const flags = this.#links[word + Link.FLAGS]!;
    if ((flags & (TargetFlag.ENVELOPE | TargetFlag.SENT)) !== 0) return FRAME_HEADER_BYTES;
    return frameLength(view, this.#links[word + Link.FRAME]!);
  }

  #copy(bytes: Uint8Array, word: number, at: number, length: number): void {
    const links = this.#links;
    const from = links[word + Link.FRAME]!;
    const flags = links[word + Link.FLAGS]!;
    const to = this.#message;
    to.set(bytes.subarray(from, from + length), at);
    // Frames without a position (presence, WELCOME, CAUGHT_UP) go out as they are.
    if (links[word + Link.POSITION_LOW] === 0 && links[word + Link.POSITION_HIGH] === 0) return;
    this.#messageView.setUint32(at + At.INBOX, links[word + Link.POSITION_HIGH]! >>> 0);
    this.#messageView.setUint32(at + At.INBOX + 4, links[word + Link.POSITION_LOW]! >>> 0);
    if ((flags & (TargetFlag.ENVELOPE | TargetFlag.SENT)) === 0) return;
    this.#messageView.setUint32(at + At.LENGTH, 0);
    if ((flags & TargetFlag.SENT) !== 0) to[at + At.KIND] = Kind.SENT;
    else to[at + At.FLAGS] = to[at + At.FLAGS]! | Flag.ENVELOPE;
  }

  #send(session: Session, length: number): boolean {
    this.#writes++;
    this.#bytesOut += length;
    return session.socket?.send(this.#message.subarray(0, length)) ?? false;
  }

  /** Backpressure: too much unsent in a live session, or little enough to go on. */
  #afterSend(session: Session): void {
    const buffered = session.socket?.bufferedBytes() ?? 0;
    if (buffered > SOCKET_BUFFER_BYTES_MAX) this.#event(session, SessionEvent.OVERFULL);
    else if (session.wantsPull && buffered < SOCKET_BUFFER_BYTES_LOW) this.drained(session);
  }

  /** The session's socket has little unsent. */
  drained(session: Session): void {
    if ((session.socket?.bufferedBytes() ?? 0) >= SOCKET_BUFFER_BYTES_LOW) return;
    if (session.wantsPull || session.state === SessionState.WAITING) this.#event(session, SessionEvent.DRAINED);
  }

  #event(session: Session, event: SessionEvent): void {
    const { next, action } = transition(session.state, event);
    session.state = next;
    switch (action) {
      case Action.NEW_TOKEN:
        session.token = (session.token + 1) >>> 0;
        session.wantsPull = false;
        this.#options.metrics.add('catch_up_turns_total');
        return;
      case Action.PULL_WHEN_DRAINED:
        session.wantsPull = true;
        return;
      case Action.PULL:
      case Action.PULL_AGAIN:
        session.wantsPull = false;
        this.#options.pull(session);
        return;
      default:
    }
  }
}

