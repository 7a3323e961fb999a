/**
 * The client's protocol core: what to send, what to believe, when to connect. It has no runtime: no sockets, timers,
 * promises or clock. A shell (or a load generator, or a simulator) calls
 *
 * - `wantsConnection`, `connecting`, `opened`, `received`, `closed` for the one WebSocket it keeps for it,
 * - `tick` at `wakeAtMs`, and `takeOutput` after any call, until it returns undefined,
 *
 * and gets what happened through `ClientEvents`. `nowMs` is any clock that never falls.
 *
 * **Each message once, in order.** A conversation's frames are taken as sequence 1, 2, 3 … only; what was seen is dropped; a
 * hole is never skipped silently: the core connects again from the acknowledged position, and only if the same sequence is
 * missing on several connections does it report a gap (LOST) and go on.
 *
 * **Each send one outcome.** Entries stay in the outbox until SENT or a rejection that cannot be retried, over any number of
 * connections and, by `snapshot`, of processes.
 *
 * **Over a crash of the process** two rules make it exact:
 * 1. What `takeOutput` returns is transmitted only after a `snapshot` taken behind it is safe (write-ahead). Entries that
 *    went out are then known after a restart, and what was acknowledged to the server is not asked for again.
 * 2. The snapshot is stored together with the application's effects. With `acknowledge: 'all'` a snapshot holds what the
 *    application has acknowledged, and everything behind it is delivered again, outcomes included; with `'messages'` only
 *    messages wait for it; with `'auto'` an event counts as processed when its handler returns.
 */

import { CloseCodes, DunlinError, ErrorCodes, errorOfCode } from '../core/errors.js';
import { Flag, isSequenced, Kind, scanFrame, viewOf } from '../core/frame.js';
import { isConversation, isDeviceNumber, isUserId, numberOfDevice, userOfDevice } from '../core/ids.js';
import {
  ACK_DELAY_MS,
  ACK_ENTRIES,
  CLIENT_BYTES_BURST,
  CLIENT_BYTES_PER_SECOND,
  CLIENT_FRAMES_BURST,
  CLIENT_FRAMES_PER_SECOND,
  CLIENT_HOLE_ATTEMPTS,
  CLIENT_OUTBOX_MAX,
  CLIENT_OUTCOME_TIMEOUT_MS,
  GROUP_MEMBERS_MAX,
  HEARTBEAT_MS,
  IDLE_TIMEOUT_MS,
  READ_INTERVAL_MS,
  SEQUENCE_MAX,
  WATCH_TTL_MS,
  WATCHED_PER_USER_MAX,
} from '../core/limits.js';
import { readMembers } from '../core/members.js';
import type { Prng } from '../core/prng.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import { checkSend, checkUser, savedEntry } from './check-calls.js';
import { Conversation, type Entry } from './conversation.js';
import { type ClientEvents, GapReason } from './events.js';
import { Link, LinkState } from './link.js';
import type { ClientCoreOptions, ControlFrame, Delivered, SendOptions } from './options.js';
import { Output } from './output.js';
import { Pace } from './pace.js';
import { ReadsSent } from './reads-sent.js';
import { decodeSnapshot, encodeSnapshot, type SavedConversation, type Snapshot } from './snapshot.js';
import { FrameView } from './view.js';

export { type ClientEvents, GapReason } from './events.js';
export { LinkState, nameOfLinkState } from './link.js';
export type { ClientCoreOptions, SendOptions } from './options.js';
export type { FrameView } from './view.js';

const PROTOCOL_VERSION = 1;
const EMPTY = new Uint8Array(0);
const NEVER = Number.POSITIVE_INFINITY;
/** Slots, less one, of the cache in front of the maps of conversations: numbers of 53 bits are slow keys. */
const RECENT_MASK = 63;

export class ClientCore {
  readonly device: number;
  readonly user: number;
  readonly #events: ClientEvents;
  readonly #random: Prng;
  readonly #mode: 'auto' | 'messages' | 'all';
  readonly #outboxMax: number;
  readonly #isFresh: boolean;
  readonly #link: Link;
  readonly #pace: Pace;
  readonly #output = new Output();
  readonly #frame = new FrameView();
  /** Direct conversations by the other user, groups by their id. */
  readonly #direct = new Map<number, Conversation>();
  readonly #groups = new Map<number, Conversation>();
  readonly #recent: (Conversation | undefined)[] = Array.from({ length: RECENT_MASK + 1 });
  /** Conversations with something to send, in order; `#readyHead` is the first. */
  #ready: Conversation[] = [];
  #readyHead = 0;
  /** Conversations that wait for their `retryAtMs`. */
  readonly #waiting: Conversation[] = [];
  #control: ControlFrame[] = [];
  #outbox = 0;
  /** Changes at every connection, so that a loop over received bytes notices that its connection is gone. */
  #connection = 0;

  /** Highest position received, and highest position processed. */
  #received = 0;
  #position = 0;
  #delivered: Delivered[] = [];
  #deliveredHead = 0;
  /** Processed entries since the last ACK, and when the next one is due. */
  #unackedEntries = 0;
  #ackAtMs = NEVER;
  /** Conversations with a READ that waits until reads may go again, and when that is. */
  readonly #reads: Conversation[] = [];
  #readsAtMs = 0;
  readonly #readsSent = new ReadsSent();

  #helloDue = false;
  #pingDue = false;
  #pings = 0;
  #byeDue = false;
  #byeSent = false;
  #checkAtMs = NEVER;
  #revision = 0;
  readonly #watches = new Map<number, number>();
  #watchAtMs = NEVER;
  readonly #blocks = new Map<number, boolean>();
  #devicesWanted = false;

  constructor(options: ClientCoreOptions, events: ClientEvents) {
    const { device, random } = options;
    this.user = userOfDevice(device);
    if (!isUserId(this.user) || !isDeviceNumber(numberOfDevice(device))) {
      throw new DunlinError(`${device} is not a device key: user × 128 + device number (1 to 127).`);
    }
    this.device = device;
    this.#events = events;
    this.#random = random;
    this.#mode = options.acknowledge ?? 'auto';
    this.#outboxMax = options.outboxMax ?? CLIENT_OUTBOX_MAX;
    const { heartbeatMs = HEARTBEAT_MS, idleTimeoutMs = IDLE_TIMEOUT_MS, renewsToken = false } = options;
    this.#link = new Link(random, heartbeatMs, idleTimeoutMs, renewsToken);
    this.#pace = new Pace(
      options.framesPerSecond ?? CLIENT_FRAMES_PER_SECOND,
      CLIENT_FRAMES_BURST,
      options.bytesPerSecond ?? CLIENT_BYTES_PER_SECOND,
      CLIENT_BYTES_BURST,
    );
    const snapshot = options.snapshot === undefined ? undefined : decodeSnapshot(options.snapshot);
    this.#isFresh = snapshot?.isFresh ?? options.freshDevice ?? false;
    if (snapshot !== undefined) this.#restore(snapshot);
  }

  // --- what the shell asks -----------------------------------------------------------------------------------------------

  /** A LinkState. */
  get state(): number {
    return this.#link.state;
  }

  get isLive(): boolean {
    return this.#link.state === LinkState.LIVE;
  }

  /** Entries without an outcome. */
  get outboxSize(): number {
    return this.#outbox;
  }

  /** Highest position handed to the application: what `acknowledge` takes at most. */
  get receivedPosition(): number {
    return this.#received;
  }

  /** Up to here everything is processed; the next connection starts behind it. */
  get acknowledgedPosition(): number {
    return this.#position;
  }

  /** Grows whenever `snapshot` would return something else. */
  get revision(): number {
    return this.#revision;
  }

  get reconnectAtMs(): number {
    return this.#link.state === LinkState.OFFLINE ? this.#link.reconnectAtMs : NEVER;
  }

  wantsConnection(nowMs: number): boolean {
    return this.#link.wantsConnection(nowMs);
  }

  /** Call `tick` at this time, at the latest; infinite: no need. */
  get wakeAtMs(): number {
    let wakeAtMs = this.#link.wakeAtMs;
    // Nothing is said after a goodbye, whatever is due.
    if (!this.#link.isOpen || this.#byeSent) return wakeAtMs;
    if (this.#ackAtMs < wakeAtMs) wakeAtMs = this.#ackAtMs;
    if (!this.isLive) return wakeAtMs;
    if (this.#checkAtMs < wakeAtMs) wakeAtMs = this.#checkAtMs;
    if (this.#watchAtMs < wakeAtMs) wakeAtMs = this.#watchAtMs;
    if (this.#pace.readyAtMs < wakeAtMs) wakeAtMs = this.#pace.readyAtMs;
    if (this.#reads.length > 0 && this.#readsAtMs < wakeAtMs) wakeAtMs = this.#readsAtMs;
    for (const { retryAtMs } of this.#waiting) if (retryAtMs < wakeAtMs) wakeAtMs = retryAtMs;
    return wakeAtMs;
  }

  // --- the connection ------------------------------------------------------------------------------------------------------

  /** Wants a connection from now on; also after a final close, and to cut the backoff short. */
  start(nowMs: number): void {
    const before = this.#link.state;
    this.#link.start(nowMs);
    if (this.#link.state !== before) this.#events.state?.(this.#link.state);
  }

  /**
   * Says goodbye: the user is offline at once. Entries without an outcome stay in the outbox, and in the snapshot. What is
   * due goes out with the next `takeOutput`; then the server closes.
   */
  stop(nowMs: number): void {
    if (this.#link.isOpen) {
      this.#byeDue = true;
      if (this.#unackedEntries > 0) this.#ackAtMs = nowMs;
    } else if (this.#link.state !== LinkState.CLOSED) {
      this.#drop(CloseCodes.NORMAL.code, CloseCodes.NORMAL.reason, nowMs);
    }
  }

  /** The shell has begun to connect. */
  connecting(nowMs: number): void {
    this.#connection++;
    this.#link.connecting(nowMs);
    this.#events.state?.(LinkState.CONNECTING);
  }

  /** The WebSocket is open. */
  opened(nowMs: number): void {
    if (this.#link.state !== LinkState.CONNECTING) return;
    this.#link.opened(nowMs);
    this.#pace.restart(nowMs);
    this.#helloDue = true;
    this.#pingDue = false;
    this.#dropReads();
    this.#readsSent.restart();
    this.#ackAtMs = NEVER;
    this.#unackedEntries = 0;
    this.#checkAtMs = NEVER;
    this.#watchAtMs = NEVER;
    this.#control = [];
    this.#events.state?.(LinkState.HELLO);
  }

  /** The WebSocket, or the attempt to open one, is gone. `retryAfterMs`: the server's wish, if it had one. */
  closed(code: number, nowMs: number, retryAfterMs = 0): void {
    if (this.#link.state <= LinkState.OFFLINE) return;
    this.#end(code, nowMs, retryAfterMs);
  }

  #end(code: number, nowMs: number, retryAfterMs: number): void {
    this.#connection++;
    const stopped = this.#byeDue;
    this.#byeDue = false;
    this.#byeSent = false;
    const effective = this.#link.closed(stopped ? CloseCodes.NORMAL.code : code, nowMs, retryAfterMs);
    this.#events.state?.(this.#link.state);
    const final = this.#link.state === LinkState.CLOSED;
    this.#events.closed?.(effective, final, final ? NEVER : this.#link.reconnectAtMs);
  }

  /** Gives the connection up by itself. */
  #drop(code: number, reason: string, nowMs: number): void {
    this.#end(code, nowMs, 0);
    this.#events.disconnect?.(code, reason);
  }

  #violation(text: string, nowMs: number): void {
    this.#events.violation?.(text);
    this.#drop(CloseCodes.IDLE.code, text, nowMs);
  }

  // --- time and output -----------------------------------------------------------------------------------------------------

  /** Lets time pass. Cheap when nothing is due. */
  tick(nowMs: number): void {
    if (this.#link.isDead(nowMs)) {
      reached(Mark.CLIENT_LINK_DEAD);
      this.#drop(CloseCodes.IDLE.code, CloseCodes.IDLE.reason, nowMs);
      return;
    }
    if (this.#link.takePing(nowMs)) this.#pingDue = true;
    if (!this.isLive) return;
    if (this.#waiting.length > 0) this.#endPauses(nowMs);
    if (nowMs >= this.#watchAtMs) this.#renewWatches(nowMs);
    if (nowMs >= this.#checkAtMs) this.#checkOutcomes(nowMs);
  }

  #endPauses(nowMs: number): void {
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      const conversation = this.#waiting[i]!;
      if (conversation.retryAtMs > nowMs) continue;
      conversation.retryAtMs = 0;
      this.#waiting[i] = this.#waiting.at(-1)!;
      this.#waiting.pop();
      this.#enqueue(conversation);
    }
  }

  #renewWatches(nowMs: number): void {
    this.#watchAtMs = NEVER;
    for (const [user, dueAtMs] of this.#watches) {
      let nextMs = dueAtMs;
      if (nowMs >= dueAtMs) {
        this.#control.push({ kind: Kind.WATCH, convB: user, extra: 1 });
        nextMs = nowMs + WATCH_TTL_MS / 2;
        this.#watches.set(user, nextMs);
      }
      if (nextMs < this.#watchAtMs) this.#watchAtMs = nextMs;
    }
  }

  /** Asks again for whatever had no answer in time. */
  #checkOutcomes(nowMs: number): void {
    this.#checkAtMs = NEVER;
    for (const conversation of this.#conversations()) {
      const isOverdue = nowMs - conversation.progressAtMs >= CLIENT_OUTCOME_TIMEOUT_MS;
      if (conversation.onWire && (isOverdue || buggify(Site.CLIENT_SENDS_AGAIN_EARLY))) {
        reached(Mark.CLIENT_OUTCOME_TIMED_OUT);
        this.#goBack(conversation, conversation.firstCounter, nowMs);
      }
      conversation.infoSent = false;
      if (conversation.infoWanted) this.#enqueue(conversation);
      if (conversation.onWire || conversation.infoWanted) this.#armCheck(nowMs);
    }
    this.#askForUser(nowMs);
  }

  /** Sends what the user stage has not confirmed yet. */
  #askForUser(nowMs: number): void {
    for (const [user, blocked] of this.#blocks) {
      this.#control.push({ kind: Kind.BLOCK, convB: user, extra: blocked ? 1 : 0 });
    }
    if (this.#devicesWanted) this.#control.push({ kind: Kind.DEVICES, convB: 0, extra: 0 });
    if (this.#blocks.size > 0 || this.#devicesWanted) this.#armCheck(nowMs);
  }

  #armCheck(nowMs: number): void {
    if (this.#checkAtMs !== NEVER) return;
    const isEarly = buggify(Site.CLIENT_SENDS_AGAIN_EARLY);
    this.#checkAtMs = nowMs + (isEarly ? ACK_DELAY_MS : CLIENT_OUTCOME_TIMEOUT_MS);
  }

  /**
   * The next WebSocket message, or undefined. Valid until the next call of `takeOutput`; a WebSocket copies it. Call it
   * only while the socket's buffer has room.
   */
  takeOutput(nowMs: number): Uint8Array | undefined {
    if (!this.#link.isOpen || this.#byeSent) return undefined;
    const output = this.#output;
    if (this.#helloDue) {
      this.#helloDue = false;
      output.write(Kind.HELLO, 0, 0, 0, 0, 0, this.#position, PROTOCOL_VERSION, EMPTY);
    }
    if (nowMs >= this.#ackAtMs) this.#writeAck();
    if (this.#pingDue) {
      this.#pingDue = false;
      this.#pings = (this.#pings + 1) >>> 0;
      output.write(Kind.PING, 0, 0, 0, 0, 0, 0, this.#pings, EMPTY);
    }
    if (this.isLive) {
      if (this.#reads.length > 0 && (nowMs >= this.#readsAtMs || this.#byeDue)) this.#releaseReads(nowMs);
      this.#writeLive(nowMs);
    }
    // The ack can wait, so it goes along with what cannot: a message costs far more than a frame in it.
    if (output.frames > 0 && this.#ackAtMs !== NEVER && output.hasRoom(0)) this.#writeAck();
    const isDone = this.#control.length === 0 && this.#readyHead === this.#ready.length;
    if (this.#byeDue && (isDone || !this.isLive) && output.hasRoom(0)) {
      if (this.#outbox > 0) reached(Mark.CLIENT_GOODBYE_WITH_UNSENT);
      output.write(Kind.BYE, 0, 0, 0, 0, 0, 0, 0, EMPTY);
      this.#byeSent = true;
    }
    if (output.frames === 0) return undefined;
    this.#pace.spend(output.frames, output.byteLength);
    return output.take();
  }

  #writeAck(): void {
    this.#ackAtMs = NEVER;
    this.#unackedEntries = 0;
    this.#output.write(Kind.ACK, 0, 0, 0, 0, 0, this.#position, 0, EMPTY);
  }

  #releaseReads(nowMs: number): void {
    for (const conversation of this.#reads) this.#enqueue(conversation);
    this.#dropReads();
    this.#readsAtMs = nowMs + READ_INTERVAL_MS;
  }

  #dropReads(): void {
    for (const conversation of this.#reads) conversation.readWaits = false;
    this.#reads.length = 0;
  }

  #writeLive(nowMs: number): void {
    const output = this.#output;
    this.#pace.refill(nowMs);
    while (this.#control.length > 0 && this.#hasRoom(0)) {
      const { kind, convB, extra } = this.#control.shift()!;
      output.write(kind, 0, 0, convB, 0, 0, 0, extra, EMPTY);
    }
    while (this.#readyHead < this.#ready.length) {
      const conversation = this.#ready[this.#readyHead]!;
      if (!this.#writeConversation(conversation, nowMs)) break;
      conversation.queued = false;
      this.#readyHead++;
    }
    if (this.#readyHead === this.#ready.length) {
      if (this.#readyHead > 0) this.#ready = [];
      this.#readyHead = 0;
    }
    const isLeft = this.#readyHead < this.#ready.length || this.#control.length > 0;
    this.#pace.wait(isLeft, nowMs);
  }

  #hasRoom(payloadBytes: number): boolean {
    const { frames, byteLength } = this.#output;
    if (frames > 0 && buggify(Site.CLIENT_SENDS_SMALL_MESSAGES)) return false;
    return this.#output.hasRoom(payloadBytes) && this.#pace.allows(frames + 1, byteLength);
  }

  /** Writes what a conversation has to send now; false: there was no room for all. */
  #writeConversation(conversation: Conversation, nowMs: number): boolean {
    const { a, b } = conversation;
    const output = this.#output;
    if (conversation.typing >= 0) {
      if (!this.#hasRoom(0)) return false;
      output.write(Kind.TYPING, 0, a, b, 0, 0, 0, conversation.typing, EMPTY);
      conversation.typing = -1;
    }
    if (conversation.retryAtMs !== 0) return true;
    if (conversation.readWanted > conversation.readSent) {
      if (!this.#hasRoom(0)) return false;
      output.write(Kind.READ, 0, a, b, 0, conversation.readWanted, 0, 0, EMPTY);
      conversation.readSent = conversation.readWanted;
      this.#readsSent.add(conversation, conversation.readWanted);
    }
    if (conversation.pending > 0 && !conversation.mayCount) this.#resync(conversation);
    if (conversation.infoWanted && !conversation.infoSent) {
      if (!this.#hasRoom(0)) return false;
      output.write(Kind.INFO, 0, a, b, 0, 0, 0, 0, EMPTY);
      conversation.infoSent = true;
      this.#armCheck(nowMs);
    }
    for (;;) {
      const entry = conversation.nextToSend();
      if (entry === undefined) return true;
      if (!this.#hasRoom(entry.payload.length)) return false;
      if (entry.transmissions > 0) reached(Mark.CLIENT_SENT_AGAIN);
      output.write(entry.kind, entry.flags, a, b, entry.counter, 0, 0, entry.extra, entry.payload);
      conversation.transmitted(entry, nowMs);
      this.#armCheck(nowMs);
    }
  }

  #enqueue(conversation: Conversation): void {
    if (conversation.queued || !this.isLive) return;
    conversation.queued = true;
    this.#ready.push(conversation);
  }

  // --- what the application does ---------------------------------------------------------------------------------------------

  /**
   * Puts a frame into the outbox; returns its counter in this conversation, or 0 if the outbox is full: try again after an
   * outcome. The payload is kept, not copied, until the outcome. Throws a DunlinError for what could never be accepted.
   */
  send(convA: number, convB: number, payload: Uint8Array, nowMs: number, options: SendOptions = {}): number {
    const kind = options.kind ?? Kind.MESSAGE;
    const flags = options.flags ?? 0;
    const extra = kind === Kind.GROUP_ROLE ? (options.role ?? 0) : (options.ttlSeconds ?? 0);
    checkSend(kind, flags, extra, convA, payload);
    const conversation = this.#open(convA, convB);
    if (this.#outbox >= this.#outboxMax) {
      reached(Mark.CLIENT_OUTBOX_FULL);
      return 0;
    }
    if (conversation.lastCounter >= SEQUENCE_MAX) {
      throw new DunlinError('This device has used up its 2^32 − 1 counters in this conversation.');
    }
    const entry = conversation.add(kind, flags, extra, payload, options.tag ?? 0);
    this.#outbox++;
    this.#revision++;
    if (conversation.retryAtMs !== 0 && nowMs >= conversation.retryAtMs) this.#endPauses(nowMs);
    this.#enqueue(conversation);
    return entry.counter;
  }

  /**
   * Everything in the conversation up to `seq` was read. The first goes at once, those of the next READ_INTERVAL_MS
   * together and one a conversation, for they are watermarks. Sent again until the server has confirmed it.
   */
  read(convA: number, convB: number, seq: number): void {
    const conversation = this.#open(convA, convB);
    const wanted = Math.min(seq, conversation.lastSeq);
    if (wanted <= conversation.readWanted) return;
    conversation.readWanted = wanted;
    this.#revision++;
    if (conversation.readWaits) reached(Mark.CLIENT_READS_TOGETHER);
    if (!this.isLive || conversation.readWaits) return;
    conversation.readWaits = true;
    this.#reads.push(conversation);
  }

  /** Tells the others that this user types; forgotten unless the link is live. */
  typing(convA: number, convB: number, started: boolean): void {
    if (!this.isLive) return;
    const conversation = this.#open(convA, convB);
    conversation.typing = started ? 1 : 0;
    this.#enqueue(conversation);
  }

  /** Asks for members, head and watermarks; asked again until the `info` event comes. */
  info(convA: number, convB: number): void {
    const conversation = this.#open(convA, convB);
    conversation.infoWanted = true;
    conversation.infoSent = false;
    this.#enqueue(conversation);
  }

  /** Asks for a user's presence, now and on change, over reconnects, until `unwatch`. */
  watch(user: number): void {
    checkUser(user);
    if (this.#watches.size >= WATCHED_PER_USER_MAX && !this.#watches.has(user)) {
      throw new DunlinError(`More than ${WATCHED_PER_USER_MAX} users are watched already.`);
    }
    this.#watches.set(user, 0);
    this.#watchAtMs = 0;
  }

  unwatch(user: number): void {
    if (this.#watches.delete(user) && this.isLive) this.#control.push({ kind: Kind.WATCH, convB: user, extra: 0 });
  }

  /** Blocks or unblocks a user; sent again until the `block` event confirms it. */
  block(user: number, blocked: boolean, nowMs: number): void {
    checkUser(user);
    this.#blocks.set(user, blocked);
    this.#revision++;
    if (!this.isLive) return;
    this.#control.push({ kind: Kind.BLOCK, convB: user, extra: blocked ? 1 : 0 });
    this.#armCheck(nowMs);
  }

  /** Asks for this user's devices; asked again until the `devices` event comes. */
  devices(nowMs: number): void {
    this.#devicesWanted = true;
    if (!this.isLive) return;
    this.#control.push({ kind: Kind.DEVICES, convB: 0, extra: 0 });
    this.#armCheck(nowMs);
  }

  /** Removes one of this user's devices; the `devices` event follows. Forgotten unless the link is live. */
  removeDevice(number: number): void {
    if (!isDeviceNumber(number)) throw new DunlinError(`${number} is not a device number: 1 to 127.`);
    if (this.isLive) this.#control.push({ kind: Kind.DEVICE_REMOVE, convB: 0, extra: number });
  }

  /**
   * The application has stored the effects of everything up to this position: `frame.inbox` of a message, or
   * `receivedPosition`. Not needed with `acknowledge: 'auto'`.
   */
  acknowledge(position: number, nowMs: number): void {
    const delivered = this.#delivered;
    while (this.#deliveredHead < delivered.length) {
      const first = delivered[this.#deliveredHead]!;
      if (first.position > position && first.held) break;
      this.#deliveredHead++;
      if (first.seq > 0) first.conversation!.acknowledgedSeq = first.seq;
      this.#processed(first.position, nowMs);
    }
    if (this.#deliveredHead * 2 >= delivered.length) {
      delivered.splice(0, this.#deliveredHead);
      this.#deliveredHead = 0;
    }
  }

  #processed(position: number, nowMs: number): void {
    if (position <= this.#position) return;
    this.#position = position;
    this.#revision++;
    if (++this.#unackedEntries >= ACK_ENTRIES || buggify(Site.CLIENT_ACKS_AT_ONCE)) this.#ackAtMs = nowMs;
    else if (this.#ackAtMs === NEVER) {
      this.#ackAtMs = nowMs + (buggify(Site.CLIENT_ACKS_LATER) ? 5 * ACK_DELAY_MS : ACK_DELAY_MS);
    }
  }

  // --- what the server says -----------------------------------------------------------------------------------------------------

  /** One WebSocket message from the open connection. */
  received(bytes: Uint8Array, nowMs: number): void {
    const connection = this.#connection;
    const view = viewOf(bytes);
    const frame = this.#frame;
    this.#link.heard(nowMs);
    let at = 0;
    while (at < bytes.length && this.#link.isOpen && connection === this.#connection) {
      const length = scanFrame(bytes, view, at, bytes.length);
      if (length <= 0) {
        this.#violation(`A received message is not made of frames: byte ${at} of ${bytes.length}.`, nowMs);
        return;
      }
      frame.set(bytes, view, at);
      this.#frameReceived(frame, nowMs);
      at += length;
    }
  }

  #frameReceived(frame: FrameView, nowMs: number): void {
    const kind = frame.kind;
    if (isSequenced(kind)) this.#sequenced(frame, nowMs);
    else if (kind === Kind.SENT) this.#sent(frame, nowMs);
    else if (kind === Kind.RECEIPT) this.#receipt(frame, nowMs);
    else if (kind === Kind.REJECT) this.#reject(frame, nowMs);
    else if (kind === Kind.GAP) this.#gap(frame, nowMs);
    else if (kind === Kind.BLOCK) this.#block(frame, nowMs);
    else this.#transient(frame, nowMs);
  }

  /** A positioned frame was handed over. */
  #deliver(position: number, held: boolean, nowMs: number, conversation?: Conversation, seq = 0, entry?: Entry): void {
    const isNew = position > this.#received;
    if (isNew) this.#received = position;
    if (this.#mode === 'auto') {
      if (seq > 0) conversation!.acknowledgedSeq = seq;
      this.#processed(position, nowMs);
    } else if (isNew || conversation !== undefined) {
      this.#delivered.push({ position: this.#received, held: held || this.#mode === 'all', conversation, seq, entry });
      if (!held && this.#mode === 'messages') this.acknowledge(0, nowMs);
    }
    this.#revision++;
  }

  /**
   * Whether `seq` comes next in its conversation: true: take it; false: do not, either since it is a repetition, which is
   * acknowledged here, or since sequences before it are missing, and the connection is dropped.
   */
  #isNext(conversation: Conversation, frame: FrameView, seq: number, nowMs: number): boolean {
    const last = conversation.lastSeq;
    if (seq === last + 1 || (last === 0 && seq > 0)) return true;
    if (seq <= last) {
      reached(Mark.CLIENT_SAW_A_REPETITION);
      this.#deliver(frame.inbox, false, nowMs);
      return false;
    }
    if (frame.kind === Kind.GROUP_ADD && this.#isAdded(frame.payload)) return true;
    const { a, b } = conversation;
    conversation.holes++;
    const missing = `sequences ${last + 1} to ${seq - 1} of conversation (${a}, ${b})`;
    if (conversation.holes < CLIENT_HOLE_ATTEMPTS) {
      this.#violation(`The server left out ${missing}.`, nowMs);
      return false;
    }
    this.#events.violation?.(`The server left out ${missing} on ${conversation.holes} connections: they are lost.`);
    this.#events.gap?.(a, b, last + 1, seq - 1, GapReason.LOST);
    return true;
  }

  #isAdded(payload: Uint8Array): boolean {
    return readMembers(payload, 0, payload.length, GROUP_MEMBERS_MAX)?.includes(this.user) ?? false;
  }

  #advance(conversation: Conversation, seq: number): void {
    conversation.lastSeq = seq;
    conversation.holes = 0;
  }

  #sequenced(frame: FrameView, nowMs: number): void {
    if (frame.device === this.device) {
      this.#sent(frame, nowMs);
      return;
    }
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const seq = frame.seq;
    if (!this.#isNext(conversation, frame, seq, nowMs)) return;
    this.#advance(conversation, seq);
    const { kind, inbox } = frame;
    if (this.#mode !== 'auto') this.#deliver(inbox, kind === Kind.MESSAGE, nowMs, conversation, seq);
    if (kind === Kind.MESSAGE) this.#events.message?.(frame);
    else this.#events.groupChange?.(frame);
    if (this.#mode === 'auto') this.#deliver(inbox, false, nowMs, conversation, seq);
  }

  /** SENT, or a frame of this very device, which means the same. */
  #sent(frame: FrameView, nowMs: number): void {
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const { counter, seq, inbox } = frame;
    if (frame.kind === Kind.SENT && (frame.flags & Flag.DUPLICATE) !== 0 && inbox === 0) {
      this.#duplicate(conversation, counter, seq, frame.time, nowMs);
      return;
    }
    if (!this.#isNext(conversation, frame, seq, nowMs)) return;
    this.#advance(conversation, seq);
    const entry = this.#entryOfOutcome(conversation, counter);
    const isForgotten = entry === undefined && counter >= conversation.firstCounter;
    if (entry !== undefined) {
      conversation.countersKnown = true;
      this.#settle(conversation, entry, nowMs);
    }
    this.#deliver(inbox, false, nowMs, conversation, seq, entry);
    const { a, b } = conversation;
    if (isForgotten) {
      this.#learn(conversation, counter, nowMs);
      this.#events.gap?.(a, b, seq, seq, GapReason.FORGOTTEN);
    } else if (entry !== undefined) {
      this.#events.sent?.(a, b, counter, seq, frame.time, entry.tag);
    }
  }

  /** The entry that an outcome from the inbox belongs to. One that was never sent cannot be meant. */
  #entryOfOutcome(conversation: Conversation, counter: number): Entry | undefined {
    const entry = conversation.entry(counter);
    return entry === undefined || entry.settled || entry.transmissions === 0 ? undefined : entry;
  }

  #settle(conversation: Conversation, entry: Entry, nowMs: number): void {
    conversation.settle(entry, nowMs);
    this.#outbox--;
    this.#revision++;
    if (conversation.pending > 0) this.#enqueue(conversation);
  }

  /**
   * Counters up to `lastTaken` are used. Entries that wait under such a counter, but were never sent, get others. While it is
   * not known where the counters stand, so do those that were sent: had the counter been theirs, their outcome, which the
   * server gives in order, would have come before. An outcome of an earlier life tells only that much; INFO tells all.
   */
  #learn(conversation: Conversation, lastTaken: number, nowMs: number): void {
    const { countersKnown } = conversation;
    const start = conversation
      .unsettled()
      .find(({ counter, transmissions }) => counter <= lastTaken && (transmissions === 0 || !countersKnown));
    if (start !== undefined || lastTaken > conversation.lastCounter) {
      this.#renumber(conversation, start, lastTaken, nowMs);
    }
  }

  #renumber(conversation: Conversation, start: Entry | undefined, lastTaken: number, nowMs: number): void {
    const { a, b } = conversation;
    const moved = start === undefined ? 0 : conversation.pending;
    if (lastTaken + moved > SEQUENCE_MAX) {
      this.#violation(`The server says that counter ${lastTaken} of conversation (${a}, ${b}) is used.`, nowMs);
      return;
    }
    conversation.renumber(start, lastTaken, (entry, from) => {
      this.#events.renumbered?.(a, b, from, entry.counter, entry.tag);
    });
    this.#revision++;
    this.#enqueue(conversation);
  }

  /**
   * The counter had been taken before. The server answers a repetition behind the outcome itself, so an outcome of this
   * entry would be known. If this core knows its counters, and may have sent the entry before, its outcome expired: it was
   * taken. If not, the counter was used for something else, before this device's storage was lost: INFO tells where the
   * counters really stand.
   */
  #duplicate(conversation: Conversation, counter: number, seq: number, timeMs: number, nowMs: number): void {
    const entry = this.#entryOfOutcome(conversation, counter);
    if (entry === undefined) return;
    if (conversation.countersKnown && entry.transmissions > 1) {
      reached(Mark.CLIENT_DUPLICATE_SETTLED);
      this.#settle(conversation, entry, nowMs);
      this.#deliver(this.#received, false, nowMs, conversation, 0, entry);
      this.#events.sent?.(conversation.a, conversation.b, counter, seq, timeMs, entry.tag);
      return;
    }
    if (conversation.doubted === 0) conversation.doubted = counter;
    this.#resync(conversation);
  }

  /** Sends nothing more before INFO has told where the counters stand. */
  #resync(conversation: Conversation): void {
    if (conversation.resyncing) return;
    reached(Mark.CLIENT_ASKED_WHERE_COUNTERS_STAND);
    conversation.resyncing = true;
    this.info(conversation.a, conversation.b);
  }

  #finishResync(conversation: Conversation, lastTaken: number, nowMs: number): void {
    const doubted = conversation.entry(conversation.doubted);
    conversation.resyncing = false;
    conversation.doubted = 0;
    if (doubted !== undefined && !doubted.settled && lastTaken >= doubted.counter) {
      this.#renumber(conversation, doubted, lastTaken, nowMs);
    } else {
      this.#learn(conversation, lastTaken, nowMs);
    }
    // The server may have lost counters, too.
    const first = conversation.unsettled()[0];
    if (first !== undefined && lastTaken + 1 < first.counter) this.#renumber(conversation, first, lastTaken, nowMs);
    this.#enqueue(conversation);
  }

  #reject(frame: FrameView, nowMs: number): void {
    const { counter, extra: code, convA, convB, inbox } = frame;
    const final = !(errorOfCode(code)?.canRetry ?? false);
    const text = new TextDecoder().decode(frame.payload);
    const conversation = isConversation(convA, convB) ? this.#lookUp(convA, convB) : undefined;
    if (counter === 0 || conversation === undefined) {
      this.#deliverIfPositioned(inbox, nowMs);
      this.#requestRejected(conversation, convB, code, text, final, nowMs);
      this.#events.rejected?.(convA, convB, 0, code, text, final, 0);
      return;
    }
    const entry = this.#entryOfOutcome(conversation, counter);
    if (code === ErrorCodes.DUPLICATE.code) {
      this.#deliverIfPositioned(inbox, nowMs);
      this.#duplicate(conversation, counter, 0, frame.time, nowMs);
    } else if (entry === undefined) {
      if (final && inbox > 0) this.#learn(conversation, counter, nowMs);
      this.#deliverIfPositioned(inbox, nowMs);
    } else if (final) {
      if (inbox > 0) conversation.countersKnown = true;
      this.#settle(conversation, entry, nowMs);
      this.#deliver(Math.max(inbox, this.#received), false, nowMs, conversation, 0, entry);
      this.#events.rejected?.(convA, convB, counter, code, text, true, entry.tag);
    } else {
      this.#deliverIfPositioned(inbox, nowMs);
      this.#retry(conversation, counter, code === ErrorCodes.COUNTER_GAP.code ? frame.seq : counter, nowMs);
      this.#events.rejected?.(convA, convB, counter, code, text, false, entry.tag);
    }
  }

  #deliverIfPositioned(inbox: number, nowMs: number): void {
    if (inbox > 0) this.#deliver(inbox, false, nowMs);
  }

  /** Sends again from `from` on, after a pause. If that had its outcome already, INFO tells what the server counts. */
  #retry(conversation: Conversation, counter: number, from: number, nowMs: number): void {
    if (from > 0 && from < conversation.firstCounter && counter > from) this.#resync(conversation);
    this.#goBack(conversation, from, nowMs);
  }

  #goBack(conversation: Conversation, counter: number, nowMs: number): void {
    const isWaiting = conversation.retryAtMs !== 0;
    conversation.goBack(counter, nowMs, this.#random);
    if (!isWaiting) this.#waiting.push(conversation);
  }

  /** A rejection of something that has no counter: READ, INFO, or a frame for the user stage. */
  #requestRejected(
    conversation: Conversation | undefined,
    convB: number,
    code: number,
    text: string,
    final: boolean,
    nowMs: number,
  ): void {
    if (code === ErrorCodes.TOO_MANY_BLOCKS.code && this.#blocks.delete(convB)) this.#revision++;
    if (conversation === undefined) return;
    if (!final) {
      conversation.readSent = conversation.readConfirmed;
      this.#readsSent.refused(conversation);
      conversation.infoSent = false;
      this.#goBack(conversation, conversation.nextCounter, nowMs);
      return;
    }
    conversation.readConfirmed = conversation.readWanted;
    conversation.infoWanted = false;
    this.#revision++;
    if (!conversation.resyncing) return;
    conversation.resyncing = false;
    if (!conversation.mayCount) {
      // A group that is not there yet, or not this user's, tells no counters: try, and see.
      conversation.countsBlindly = true;
      this.#enqueue(conversation);
      return;
    }
    conversation.doubted = 0;
    for (const entry of conversation.unsettled()) {
      this.#settle(conversation, entry, nowMs);
      this.#deliver(this.#received, false, nowMs, conversation, 0, entry);
      this.#events.rejected?.(conversation.a, conversation.b, entry.counter, code, text, true, entry.tag);
    }
  }

  #gap(frame: FrameView, nowMs: number): void {
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const { seq, inbox, extra } = frame;
    const from = conversation.lastSeq + 1;
    if (seq < from) {
      this.#deliver(inbox, false, nowMs);
      return;
    }
    this.#advance(conversation, seq);
    this.#deliver(inbox, false, nowMs, conversation, seq);
    this.#events.gap?.(conversation.a, conversation.b, from, seq, extra);
  }

  #receipt(frame: FrameView, nowMs: number): void {
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const { seq, extra, inbox } = frame;
    const user = userOfDevice(frame.device);
    // Of nobody else are watermarks told: a server that does may not fill this client's memory.
    if (user !== 0 && user !== this.user && user !== conversation.a && user !== conversation.b) {
      this.#deliver(inbox, false, nowMs);
      return;
    }
    const marks = conversation.marksOf(user);
    const delivered = Math.max(marks.delivered, seq, extra);
    const read = Math.max(marks.read, extra);
    const isNews = delivered > marks.delivered || read > marks.read || marks.isNew;
    marks.isNew = false;
    marks.delivered = delivered;
    marks.read = read;
    if (user === this.user && read > conversation.readConfirmed) conversation.readConfirmed = read;
    this.#deliver(inbox, false, nowMs);
    if (isNews) this.#events.receipt?.(conversation.a, conversation.b, user, delivered, read);
  }

  #block(frame: FrameView, nowMs: number): void {
    const { convB: user, inbox } = frame;
    const blocked = frame.extra === 1;
    if (this.#blocks.get(user) === blocked) this.#blocks.delete(user);
    this.#deliverIfPositioned(inbox, nowMs);
    this.#events.block?.(user, blocked);
  }

  /** Frames without a position. */
  #transient(frame: FrameView, nowMs: number): void {
    const { kind, extra } = frame;
    if (kind === Kind.WELCOME) this.#welcome(frame, nowMs);
    else if (kind === Kind.CAUGHT_UP) this.#caughtUp(frame.inbox, nowMs);
    else if (kind === Kind.TYPING) this.#events.typing?.(frame.convA, frame.convB, frame.device, extra === 1);
    else if (kind === Kind.PRESENCE) this.#events.presence?.(frame.convB, extra === 1, frame.time);
    else if (kind === Kind.PONG) this.#events.pong?.(extra);
    else if (kind === Kind.INFO) this.#infoReceived(frame, nowMs);
    else if (kind === Kind.READS_TAKEN) this.#revision += this.#readsSent.confirm(extra);
    else if (kind === Kind.GOAWAY) this.#link.goaway(extra);
    else if (kind === Kind.DEVICES) {
      this.#devicesWanted = false;
      this.#events.devices?.(frame.payload);
    } else this.#deliverIfPositioned(frame.inbox, nowMs);
  }

  #welcome(frame: FrameView, nowMs: number): void {
    if (this.#link.state !== LinkState.HELLO) return;
    if (frame.device !== this.device) {
      const text = `The token is for device ${frame.device}, this client is device ${this.device}.`;
      this.#events.violation?.(text);
      this.#drop(CloseCodes.BAD_PROTOCOL.code, text, nowMs);
      return;
    }
    this.#link.welcomed(frame.extra);
    this.#events.state?.(LinkState.CATCHING_UP);
    this.#events.welcome?.(frame.inbox, frame.extra);
  }

  #caughtUp(position: number, nowMs: number): void {
    if (this.#link.state !== LinkState.CATCHING_UP) return;
    this.#link.caughtUp();
    this.#ready = [];
    this.#readyHead = 0;
    this.#waiting.length = 0;
    for (const conversation of this.#conversations()) {
      conversation.restart();
      conversation.queued = false;
      const isReadLeft = conversation.readWanted > conversation.readConfirmed;
      if (conversation.pending > 0 || isReadLeft || conversation.infoWanted) this.#enqueue(conversation);
    }
    for (const user of this.#watches.keys()) this.#watches.set(user, 0);
    this.#renewWatches(nowMs);
    this.#askForUser(nowMs);
    this.#events.state?.(LinkState.LIVE);
    this.#events.caughtUp?.(position);
  }

  #infoReceived(frame: FrameView, nowMs: number): void {
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const { counter, seq, payload } = frame;
    conversation.infoWanted = false;
    if (conversation.resyncing) this.#finishResync(conversation, counter, nowMs);
    else this.#learn(conversation, counter, nowMs);
    conversation.countersKnown = true;
    this.#events.info?.(conversation.a, conversation.b, seq, counter, payload);
  }

  // --- conversations ------------------------------------------------------------------------------------------------------------

  *#conversations(): Generator<Conversation> {
    yield* this.#direct.values();
    yield* this.#groups.values();
  }

  #lookUp(convA: number, convB: number): Conversation | undefined {
    if (convA === 0) return this.#groups.get(convB);
    return this.#direct.get(convA === this.user ? convB : convA);
  }

  #known(convA: number, convB: number): Conversation | undefined {
    const slot = (convA ^ convB) & RECENT_MASK;
    const recent = this.#recent[slot];
    const isIt = recent !== undefined && recent.a === convA && recent.b === convB;
    if (isIt && !buggify(Site.CLIENT_FORGETS_RECENT)) return recent;
    const known = this.#lookUp(convA, convB);
    if (known === undefined || known.a !== convA || known.b !== convB) return undefined;
    this.#recent[slot] = known;
    return known;
  }

  /** The conversation of a received frame; undefined, and a violation, if it cannot be one of this user's. */
  #find(frame: FrameView, nowMs: number): Conversation | undefined {
    const { convA, convB } = frame;
    const known = this.#known(convA, convB);
    if (known !== undefined) return known;
    if (this.#isOwn(convA, convB)) return this.#add(convA, convB);
    this.#violation(
      `A frame of kind ${frame.kind} came for conversation (${convA}, ${convB}), not this user's.`,
      nowMs,
    );
    return undefined;
  }

  #isOwn(convA: number, convB: number): boolean {
    return isConversation(convA, convB) && (convA === 0 || convA === this.user || convB === this.user);
  }

  /** The conversation that the application means. */
  #open(convA: number, convB: number): Conversation {
    const known = this.#known(convA, convB);
    if (known !== undefined) return known;
    if (this.#isOwn(convA, convB)) return this.#add(convA, convB);
    throw new DunlinError(
      `(${convA}, ${convB}) is not a conversation of user ${this.user}: give the two users in ascending order, or 0 and a group.`,
    );
  }

  #add(convA: number, convB: number): Conversation {
    const conversation = new Conversation(convA, convB);
    conversation.countersKnown = this.#isFresh;
    if (convA === 0) this.#groups.set(convB, conversation);
    else this.#direct.set(convA === this.user ? convB : convA, conversation);
    return conversation;
  }

  // --- the saved state ------------------------------------------------------------------------------------------------------------

  /** Everything that must survive this process: see the head of this file. Not to be called inside an event handler. */
  snapshot(): Uint8Array {
    const waiting = new Map<Conversation, Entry[]>();
    for (let i = this.#deliveredHead; i < this.#delivered.length; i++) {
      const { entry, conversation } = this.#delivered[i]!;
      if (entry === undefined || conversation === undefined) continue;
      const entries = waiting.get(conversation);
      if (entries === undefined) waiting.set(conversation, [entry]);
      else entries.push(entry);
    }
    const conversations: SavedConversation[] = [];
    for (const conversation of this.#conversations()) {
      const { a, b, lastCounter, countersKnown, acknowledgedSeq: seq, readWanted, readConfirmed } = conversation;
      const read = readWanted > readConfirmed ? readWanted : 0;
      // One entry a counter: if the server lost counters, the one of a delivered outcome may be given to another since then, and
      // what waits for its outcome matters more.
      const byCounter = new Map<number, Entry>();
      for (const entry of waiting.get(conversation) ?? []) byCounter.set(entry.counter, entry);
      for (const entry of conversation.unsettled()) byCounter.set(entry.counter, entry);
      const entries = [...byCounter.values()];
      entries.sort((one, other) => one.counter - other.counter);
      if (lastCounter + seq + read === 0) continue;
      conversations.push({ a, b, lastCounter, countersKnown, seq, read, entries: entries.map(savedEntry) });
    }
    const blocks = [...this.#blocks];
    return encodeSnapshot({
      device: this.device,
      isFresh: this.#isFresh,
      position: this.#position,
      conversations,
      blocks,
    });
  }

  #restore(snapshot: Snapshot): void {
    if (snapshot.device !== this.device) {
      throw new DunlinError(`The saved client state belongs to device ${snapshot.device}, not to ${this.device}.`);
    }
    this.#position = snapshot.position;
    this.#received = snapshot.position;
    for (const { a, b, lastCounter, countersKnown, seq, read, entries } of snapshot.conversations) {
      if (this.#lookUp(a, b) !== undefined) throw new DunlinError(`The saved client state has (${a}, ${b}) twice.`);
      const conversation = this.#open(a, b);
      conversation.countersKnown = countersKnown;
      conversation.lastSeq = seq;
      conversation.acknowledgedSeq = seq;
      conversation.readWanted = read;
      conversation.restore(
        entries.map(({ wasSent, ...entry }) => ({ ...entry, transmissions: wasSent ? 1 : 0, settled: false })),
        lastCounter,
      );
      this.#outbox += entries.length;
    }
    for (const [user, blocked] of snapshot.blocks) this.#blocks.set(user, blocked);
  }
}
