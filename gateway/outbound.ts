/**
 * From user lanes to sockets. A pass takes some EGRESS batches: frames with lists of targets. A frame that has a target here is
 * copied once into the pass's scratch, since its batch is gone before the pass ends; chains in typed arrays keep which frames go
 * to which session. At the end of the pass each session gets its frames as one write, with the inbox positions patched in.
 * Nothing is allocated for a delivery.
 *
 * Receipts and SENT can wait: a write to a socket costs more than all else that is done for a delivery. They are held until
 * something goes out to that socket anyway, or ANSWER_HOLD_MS have passed. How many READs are safe never goes out alone.
 *
 * A socket that is over its limit turns its session to catch-up: the token rises, what comes with the old one is dropped, and
 * when the socket has drained the inbox is asked for from the last position that was sent. So nothing is dropped for good, and
 * nothing grows without bound.
 */

import { type Batch, BatchAt, BatchBuilder, TARGET_BYTES, TargetAt, TargetFlag } from '../core/batch.js';
import { type CloseCode, CloseCodes } from '../core/errors.js';
import { At, Flag, frameLength, Kind, makeFrame, readU53, viewOf, writeFrame } from '../core/frame.js';
import { fromWords } from '../core/ids.js';
import {
  ANSWER_HOLD_MS,
  FRAME_HEADER_BYTES,
  FRAMES_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  READS_TAKEN_INTERVAL_MS,
  SOCKET_BUFFER_BYTES_LOW,
  SOCKET_BUFFER_BYTES_MAX,
} from '../core/limits.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import { Copied, Counter, type GatewayMetrics } from './gateway-metrics.js';
import type { Hub, Session } from './hub.js';
import { Action, SessionEvent, SessionState, sends, transition } from './session.js';
import { Slots } from './slots.js';

export interface OutboundOptions {
  readonly hub: Hub;
  readonly incarnation: number;
  readonly metrics: GatewayMetrics;
  /** Asks the user stage for more of a session's inbox. */
  readonly pull: (session: Session) => void;
  /** Ends a connection. */
  readonly close: (session: Session, code: CloseCode) => void;
}

const PAYLOAD_LEFT_OUT = TargetFlag.ENVELOPE | TargetFlag.SENT;
/** Words of one link of a chain. */
const Link = { FRAME: 0, POSITION_LOW: 1, POSITION_HIGH: 2, FLAGS: 3, NEXT: 4 } as const;
const LINK_WORDS = 5;
const SCRATCH_BYTES = 256 * 1024;
/** More than this is not held. */
const HELD_BYTES_MAX = 2_048;
/** Incarnations begin anew after 256 restarts: one that is lower by more than this is a later one. */
const INCARNATIONS_BACK_MAX = 128;

export class Outbound {
  readonly #options: OutboundOptions;
  #links = new Int32Array(LINK_WORDS * 4_096);
  #linkCount = 0;
  /** Frames of this pass. */
  readonly #scratch = new BatchBuilder(SCRATCH_BYTES);
  /** Where the present frame lies in the scratch; −1: it has no target yet. */
  #copiedAt = -1;
  /** Sessions with held receipts, and since when: oldest first, from #heldFrom on. A session is in it once at most. */
  readonly #held: { readonly session: Session; readonly sinceMs: number }[] = [];
  #heldFrom = 0;
  readonly #slots = new Slots(HELD_BYTES_MAX);
  readonly #touched: Session[] = [];
  readonly #message = new Uint8Array(MESSAGE_BYTES_MAX);
  readonly #messageView = viewOf(this.#message);
  readonly #readsTaken = makeFrame({ kind: Kind.READS_TAKEN });
  /** By source: the incarnation of the latest lane that spoke. */
  readonly #lanes = new Map<number, number>();
  /** The present batch is of a lane that has a successor, who has spoken already. */
  #isDeposed = false;
  #batches = 0;
  #framesOut = 0;
  #bytesOut = 0;
  #writes = 0;
  #dropped = 0;
  #copied = 0;

  constructor(options: OutboundOptions) {
    this.#options = options;
  }

  /** When held receipts must go out; Infinity: there are none. */
  get heldDueAtMs(): number {
    const oldest = this.#held[this.#heldFrom];
    return oldest === undefined ? Infinity : oldest.sinceMs + ANSWER_HOLD_MS;
  }

  /** Sends receipts that were held long enough. */
  release(nowMs: number): void {
    for (; this.heldDueAtMs <= nowMs; this.#heldFrom++) {
      const { session } = this.#held[this.#heldFrom]!;
      session.isHeldListed = false;
      // Or it has gone out meanwhile, with something else.
      if (session.heldSlot >= 0) this.#releaseOne(session);
    }
    // Cut off when most of it is done: a splice a pass would move the whole list each time (18,000 held: 220 µs).
    if (this.#heldFrom * 2 <= this.#held.length) return;
    this.#held.splice(0, this.#heldFrom);
    this.#heldFrom = 0;
  }

  #releaseOne(session: Session): void {
    const bytes = this.#slots.get(session.heldSlot, session.heldBytes);
    this.#slots.giveBack(session.heldSlot);
    session.heldSlot = -1;
    if (session.socket === undefined) return;
    reached(Mark.ANSWERS_HELD_THEIR_TIME);
    this.#writes++;
    this.#bytesOut += bytes.length;
    if (session.socket.send(bytes)) this.#afterSend(session);
    else this.#options.close(session, CloseCodes.BACKBONE_LOST);
  }

  /** Bytes of frames in this pass. */
  get pendingBytes(): number {
    return this.#scratch.byteLength;
  }

  /** Takes one batch into the pass. Its bytes are not needed any more afterwards. */
  deliver(batch: Batch): void {
    const { bytes, view } = batch;
    this.#isDeposed = this.#isSucceeded(batch.header);
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < batch.header.count; entry++) {
      const frameAt = at;
      const length = frameLength(view, at);
      const count = view.getUint32(at + length, true);
      at += length + 4;
      this.#copiedAt = -1;
      for (let target = 0; target < count; target++, at += TARGET_BYTES) this.#target(bytes, view, frameAt, length, at);
    }
    this.#batches++;
  }

  /**
   * A lane that hung while another took its partitions over goes on until it learns of it. What has a position is dropped where it
   * comes twice; what has none, such as presence, would come behind what is newer.
   */
  #isSucceeded({ sourceId, sourceEpoch }: Batch['header']): boolean {
    const latest = this.#lanes.get(sourceId) ?? 0;
    if (sourceEpoch < latest && latest - sourceEpoch <= INCARNATIONS_BACK_MAX) return true;
    this.#lanes.set(sourceId, sourceEpoch);
    return false;
  }

  /** Ends the pass: everything goes out. */
  flush(nowMs: number): void {
    if (this.#batches === 0) return;
    for (const session of this.#touched) this.#flush(session, nowMs);
    this.#touched.length = 0;
    this.#linkCount = 0;
    this.#count();
    this.#scratch.reset();
  }

  #count(): void {
    const { metrics } = this.#options;
    metrics.add(Counter.egress_batches_total, this.#batches);
    metrics.add(Counter.frames_out_total, this.#framesOut);
    metrics.add(Counter.bytes_out_total, this.#bytesOut);
    metrics.add(Counter.writes_out_total, this.#writes);
    metrics.add(Counter.egress_dropped_total, this.#dropped);
    metrics.add(Copied.delivery_to_pass, this.#scratch.byteLength);
    metrics.add(Copied.pass_to_message, this.#copied);
    this.#copied = 0;
    this.#batches = 0;
    this.#framesOut = 0;
    this.#bytesOut = 0;
    this.#writes = 0;
    this.#dropped = 0;
  }

  #target(bytes: Uint8Array, view: DataView, frameAt: number, length: number, at: number): void {
    const session = this.#options.hub.connection(view.getUint32(at + TargetAt.CONNECTION, true));
    if (session === undefined || view.getUint32(at + TargetAt.INCARNATION, true) !== this.#options.incarnation >>> 0) {
      reached(Mark.EGRESS_OF_ANOTHER_CONNECTION);
      this.#dropped++;
      return;
    }
    const kind = bytes[frameAt + At.KIND]!;
    if (kind === Kind.GOAWAY) return this.#goAway(session, view.getUint32(frameAt + At.EXTRA));
    const flags = view.getUint32(at + TargetAt.FLAGS, true);
    if ((flags & TargetFlag.TRANSIENT) !== 0) {
      // What tells of counters must not come before outcomes that were dropped, and are asked for again, under a newer token.
      const isAhead = (kind === Kind.SENT || kind === Kind.INFO) && this.#isOfEarlierToken(session, view, at);
      if (isAhead) reached(Mark.ANSWER_NOT_AHEAD_OF_THE_INBOX);
      if (this.#isDeposed) reached(Mark.EGRESS_OF_A_DEPOSED_LANE);
      if (sends(session.state) && !isAhead && !this.#isDeposed)
        this.#link(session, bytes, frameAt, length, 0, 0, flags);
      else this.#options.metrics.add(Counter.transient_dropped_total);
      return;
    }
    if (!this.#isWanted(session, kind, view, frameAt, at)) {
      reached(this.#isOfEarlierToken(session, view, at) ? Mark.EGRESS_OF_AN_EARLIER_TOKEN : Mark.EGRESS_REPEATED);
      this.#dropped++;
      return;
    }
    if (kind === Kind.PULL) {
      this.#event(session, SessionEvent.MORE);
      this.#touch(session);
      return;
    }
    if (kind === Kind.WELCOME) this.#event(session, SessionEvent.WELCOME);
    const low = view.getUint32(at + TargetAt.POSITION_LOW, true);
    const high = view.getUint32(at + TargetAt.POSITION_HIGH, true);
    if ((low | high) !== 0) session.lastSent = fromWords(low, high);
    this.#link(session, bytes, frameAt, length, low, high, flags);
    if (kind === Kind.CAUGHT_UP) this.#event(session, SessionEvent.CAUGHT_UP);
  }

  #isOfEarlierToken(session: Session, view: DataView, at: number): boolean {
    return view.getUint32(at + TargetAt.TOKEN, true) !== session.token;
  }

  /** False for what is stale, or was sent already: a lane that starts again emits again what it had emitted. */
  #isWanted(session: Session, kind: number, view: DataView, frameAt: number, at: number): boolean {
    if (this.#isOfEarlierToken(session, view, at)) return false;
    switch (kind) {
      case Kind.PULL:
        // It names the last position of its piece.
        return readU53(view, frameAt + At.INBOX) >= session.lastSent;
      case Kind.WELCOME:
        return session.state === SessionState.RESUMING;
      case Kind.CAUGHT_UP:
        return session.state === SessionState.CATCH_UP;
      default: {
        if (!sends(session.state)) return false;
        const low = view.getUint32(at + TargetAt.POSITION_LOW, true);
        const high = view.getUint32(at + TargetAt.POSITION_HIGH, true);
        return (low | high) === 0 || fromWords(low, high) > session.lastSent;
      }
    }
  }

  #goAway(session: Session, code: number): void {
    session.closeWith = Object.values(CloseCodes).find((known) => known.code === code) ?? CloseCodes.BACKBONE_LOST;
    this.#touch(session);
  }

  /** Lets the session be looked at when the pass ends. */
  #touch(session: Session): void {
    if (session.isTouched) return;
    session.isTouched = true;
    this.#touched.push(session);
  }

  #link(
    session: Session,
    bytes: Uint8Array,
    frameAt: number,
    length: number,
    low: number,
    high: number,
    flags: number,
  ): void {
    if (this.#copiedAt < 0) this.#copiedAt = this.#scratch.frame(bytes, frameAt, length);
    const link = this.#linkCount++;
    const at = link * LINK_WORDS;
    if (at + LINK_WORDS > this.#links.length) {
      const grown = new Int32Array(this.#links.length * 2);
      grown.set(this.#links);
      this.#links = grown;
    }
    const links = this.#links;
    links[at + Link.FRAME] = this.#copiedAt;
    links[at + Link.POSITION_LOW] = low;
    links[at + Link.POSITION_HIGH] = high;
    links[at + Link.FLAGS] = flags;
    links[at + Link.NEXT] = -1;
    if (session.chainHead < 0) session.chainHead = link;
    else links[session.chainTail * LINK_WORDS + Link.NEXT] = link;
    session.chainTail = link;
    this.#touch(session);
  }

  #flush(session: Session, nowMs: number): void {
    const first = session.chainHead;
    session.chainHead = -1;
    session.chainTail = -1;
    session.isTouched = false;
    if (session.socket === undefined) return;
    let alive = true;
    // Before it is sent away it gets what was held, too.
    const isLast = session.closeWith !== undefined && session.heldSlot >= 0;
    if (first >= 0 || isLast) alive = this.#write(session, first, nowMs);
    if (session.closeWith !== undefined) this.#options.close(session, session.closeWith);
    else if (!alive) this.#options.close(session, CloseCodes.BACKBONE_LOST);
    else if (session.heldSlot < 0 || session.wantsPull) this.#afterSend(session);
  }

  /** Sends a chain, behind what was held, or holds it as well. False: the socket took not all. */
  #write(session: Session, first: number, nowMs: number): boolean {
    let at = this.#takeHeld(session);
    let frames = session.heldFrames;
    if (session.readsSafe > session.readsTold && nowMs - session.readsToldAtMs >= READS_TAKEN_INTERVAL_MS) {
      at += this.#tellReads(session, at, nowMs);
      frames++;
    }
    let canWait = session.closeWith === undefined && !session.wantsPull && !buggify(Site.GATEWAY_HOLDS_NO_ANSWER);
    for (let link = first; link >= 0; link = this.#links[link * LINK_WORDS + Link.NEXT]!) {
      const word = link * LINK_WORDS;
      const length = this.#lengthOf(word);
      const isFull = at + length > this.#message.length || frames === FRAMES_PER_MESSAGE_MAX;
      if (isFull || (at > 0 && buggify(Site.GATEWAY_MESSAGE_SENT_EARLY))) {
        if (!this.#send(session, at)) return false;
        at = 0;
        frames = 0;
      }
      this.#copy(word, at, length);
      canWait &&= this.#mayWait(word);
      at += length;
      frames++;
      this.#framesOut++;
    }
    if (!canWait || at > HELD_BYTES_MAX) return this.#send(session, at);
    this.#hold(session, at, frames, nowMs);
    return true;
  }

  /** Writes how many READs are safe; returns the bytes that it takes. */
  #tellReads(session: Session, at: number, nowMs: number): number {
    const frame = this.#readsTaken;
    frame.extra = session.readsSafe;
    writeFrame(this.#message, this.#messageView, at, frame);
    session.readsTold = session.readsSafe;
    session.readsToldAtMs = nowMs;
    this.#framesOut++;
    return FRAME_HEADER_BYTES;
  }

  /** Receipts, and the answer to an own send. */
  #mayWait(word: number): boolean {
    if ((this.#links[word + Link.FLAGS]! & TargetFlag.SENT) !== 0) return true;
    return this.#scratch.bytes[this.#links[word + Link.FRAME]! + At.KIND] === Kind.RECEIPT;
  }

  /** Puts what was held at the start of the message; returns where to go on. */
  #takeHeld(session: Session): number {
    const { heldSlot, heldBytes } = session;
    session.heldSlot = -1;
    if (heldSlot < 0) {
      session.heldFrames = 0;
      return 0;
    }
    reached(Mark.ANSWERS_WENT_ALONG);
    this.#copied += heldBytes;
    this.#message.set(this.#slots.get(heldSlot, heldBytes));
    this.#slots.giveBack(heldSlot);
    return heldBytes;
  }

  #hold(session: Session, length: number, frames: number, nowMs: number): void {
    this.#copied += length;
    session.heldSlot = this.#slots.put(this.#message, length);
    session.heldBytes = length;
    session.heldFrames = frames;
    // If it is listed already, the first to be held says when they go out.
    if (session.isHeldListed) return;
    session.isHeldListed = true;
    this.#held.push({ session, sinceMs: nowMs });
  }

  #lengthOf(word: number): number {
    if ((this.#links[word + Link.FLAGS]! & PAYLOAD_LEFT_OUT) !== 0) return FRAME_HEADER_BYTES;
    return frameLength(this.#scratch.view, this.#links[word + Link.FRAME]!);
  }

  #copy(word: number, at: number, length: number): void {
    const links = this.#links;
    const from = links[word + Link.FRAME]!;
    const flags = links[word + Link.FLAGS]!;
    const low = links[word + Link.POSITION_LOW]! >>> 0;
    const high = links[word + Link.POSITION_HIGH]! >>> 0;
    const to = this.#message;
    const view = this.#messageView;
    this.#copied += length;
    to.set(this.#scratch.bytes.subarray(from, from + length), at);
    // Frames without a position keep what they say: WELCOME and CAUGHT_UP have a head there.
    if ((low | high) !== 0) {
      view.setUint32(at + At.INBOX, high);
      view.setUint32(at + At.INBOX + 4, low);
    }
    if ((flags & PAYLOAD_LEFT_OUT) === 0) return;
    view.setUint32(at + At.LENGTH, 0);
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
    const isOverfull = buffered > SOCKET_BUFFER_BYTES_MAX;
    if (isOverfull || buggify(Site.GATEWAY_SOCKET_OVERFULL)) {
      this.#event(session, SessionEvent.OVERFULL);
      if (!isOverfull) this.drained(session);
    } else if (session.wantsPull && buffered < SOCKET_BUFFER_BYTES_LOW) this.drained(session);
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
        reached(Mark.SOCKET_OVERFULL);
        session.token = (session.token + 1) >>> 0;
        session.wantsPull = false;
        this.#options.metrics.add(Counter.catch_up_turns_total);
        return;
      case Action.PULL_WHEN_DRAINED:
        session.wantsPull = true;
        return;
      case Action.PULL:
      case Action.PULL_AGAIN:
        reached(action === Action.PULL ? Mark.PIECE_PULLED : Mark.SOCKET_DRAINED);
        session.wantsPull = false;
        this.#options.pull(session);
        return;
      default:
    }
  }
}
