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
import { Flag, isSequenced, Kind, scanFrame } from '../core/frame.js';
import { isDeviceNumber, isUserId, numberOfDevice, userOfDevice } from '../core/ids.js';
import {
  ACK_DELAY_MS,
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
  SEQUENCE_MAX,
} from '../core/limits.js';
import { readMembers } from '../core/members.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import { checkSend, checkUser } from './check-calls.js';
import type { Conversation, Entry } from './conversation.js';
import { Conversations } from './conversations.js';
import { type ClientEvents, GapReason } from './events.js';
import { Inbox } from './inbox.js';
import { Link, LinkState } from './link.js';
import type { ClientCoreOptions, SendOptions } from './options.js';
import { Output } from './output.js';
import { Pace } from './pace.js';
import { Reads } from './reads.js';
import { Requests } from './requests.js';
import { restoreConversations, saveConversations } from './saved-state.js';
import { SendQueue } from './send-queue.js';
import { decodeSnapshot, encodeSnapshot } from './snapshot.js';
import { FrameView, sharedViewOf } from './view.js';

export { type ClientEvents, GapReason } from './events.js';
export { LinkState, nameOfLinkState } from './link.js';
export type { ClientCoreOptions, SendOptions } from './options.js';
export type { FrameView } from './view.js';

const PROTOCOL_VERSION = 1;
const EMPTY = new Uint8Array(0);
const NEVER = Number.POSITIVE_INFINITY;

export class ClientCore {
  readonly device: number;
  readonly user: number;
  readonly #events: ClientEvents;
  readonly #outboxMax: number;
  readonly #isFresh: boolean;
  readonly #link: Link;
  readonly #inbox: Inbox;
  readonly #conversations: Conversations;
  readonly #frame = new FrameView();
  readonly #queue: SendQueue;
  readonly #requests: Requests;
  readonly #reads = new Reads();
  readonly #pace: Pace;
  readonly #output = new Output();
  #outbox = 0;
  /** Changes at every connection, so that a loop over received bytes notices that its connection is gone. */
  #connection = 0;
  #helloDue = false;
  #pingDue = false;
  #pings = 0;
  #byeDue = false;
  #byeSent = false;
  #checkAtMs = NEVER;
  #revision = 0;

  constructor(options: ClientCoreOptions, events: ClientEvents) {
    const { device, random } = options;
    this.user = userOfDevice(device);
    if (!isUserId(this.user) || !isDeviceNumber(numberOfDevice(device))) {
      throw new DunlinError(`${device} is not a device key: user × 128 + device number (1 to 127).`);
    }
    this.device = device;
    const snapshot = options.snapshot === undefined ? undefined : decodeSnapshot(options.snapshot);
    if (snapshot !== undefined && snapshot.device !== device) {
      throw new DunlinError(`The saved client state belongs to device ${snapshot.device}, not to ${device}.`);
    }
    this.#events = events;
    this.#outboxMax = options.outboxMax ?? CLIENT_OUTBOX_MAX;
    this.#isFresh = snapshot?.isFresh ?? options.freshDevice ?? false;
    const { heartbeatMs = HEARTBEAT_MS, idleTimeoutMs = IDLE_TIMEOUT_MS, renewsToken = false } = options;
    this.#link = new Link(random, heartbeatMs, idleTimeoutMs, renewsToken);
    this.#inbox = new Inbox(options.acknowledge ?? 'auto', snapshot?.position ?? 0);
    this.#conversations = new Conversations(this.user, this.#isFresh);
    this.#queue = new SendQueue(random);
    this.#requests = new Requests(snapshot?.blocks ?? []);
    this.#pace = new Pace(
      options.framesPerSecond ?? CLIENT_FRAMES_PER_SECOND,
      CLIENT_FRAMES_BURST,
      options.bytesPerSecond ?? CLIENT_BYTES_PER_SECOND,
      CLIENT_BYTES_BURST,
    );
    if (snapshot !== undefined) this.#outbox = restoreConversations(this.#conversations, snapshot.conversations);
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
    return this.#inbox.received;
  }

  /** Up to here everything is processed; the next connection starts behind it. */
  get acknowledgedPosition(): number {
    return this.#inbox.position;
  }

  /** Grows whenever `snapshot` would return something else. */
  get revision(): number {
    return this.#revision + this.#inbox.revision;
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
    wakeAtMs = Math.min(wakeAtMs, this.#inbox.ackAtMs);
    if (!this.isLive) return wakeAtMs;
    wakeAtMs = Math.min(wakeAtMs, this.#checkAtMs, this.#requests.watchAtMs, this.#pace.readyAtMs);
    return Math.min(wakeAtMs, this.#reads.wakeAtMs, this.#queue.wakeAtMs);
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
      this.#inbox.hurry(nowMs);
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
    this.#checkAtMs = NEVER;
    this.#inbox.restart();
    this.#reads.restart();
    this.#requests.restart();
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
    if (this.#queue.hasWaiting) this.#queue.endPauses(nowMs, true);
    if (nowMs >= this.#requests.watchAtMs) this.#requests.renewWatches(nowMs);
    if (nowMs >= this.#checkAtMs) this.#checkOutcomes(nowMs);
  }

  /** Asks again for whatever had no answer in time. */
  #checkOutcomes(nowMs: number): void {
    this.#checkAtMs = NEVER;
    for (const conversation of this.#conversations) {
      const isOverdue = nowMs - conversation.progressAtMs >= CLIENT_OUTCOME_TIMEOUT_MS;
      if (conversation.onWire && (isOverdue || buggify(Site.CLIENT_SENDS_AGAIN_EARLY))) {
        reached(Mark.CLIENT_OUTCOME_TIMED_OUT);
        this.#queue.goBack(conversation, conversation.firstCounter, nowMs);
      }
      conversation.infoSent = false;
      if (conversation.infoWanted) this.#enqueue(conversation);
      if (conversation.onWire || conversation.infoWanted) this.#armCheck(nowMs);
    }
    this.#askForUser(nowMs);
  }

  /** Sends what the user stage has not confirmed yet. */
  #askForUser(nowMs: number): void {
    this.#requests.askAgain();
    if (this.#requests.isOpen) this.#armCheck(nowMs);
  }

  #armCheck(nowMs: number): void {
    if (this.#checkAtMs !== NEVER) return;
    const isEarly = buggify(Site.CLIENT_SENDS_AGAIN_EARLY);
    this.#checkAtMs = nowMs + (isEarly ? ACK_DELAY_MS : CLIENT_OUTCOME_TIMEOUT_MS);
  }

  /** False: `takeOutput` has nothing now. For who has many clients: it looks at little. */
  hasOutput(nowMs: number): boolean {
    if (!this.#link.isOpen || this.#byeSent) return false;
    if (this.#helloDue || this.#pingDue || this.#byeDue || nowMs >= this.#inbox.ackAtMs) return true;
    return this.isLive && (!this.#queue.isEmpty || !this.#requests.isEmpty || nowMs >= this.#reads.wakeAtMs);
  }

  /**
   * The next WebSocket message, or undefined. Valid until the next call of `takeOutput`; a WebSocket copies it. Call it
   * only while the socket's buffer has room.
   */
  takeOutput(nowMs: number): Uint8Array | undefined {
    if (!this.hasOutput(nowMs)) return undefined;
    const output = this.#output;
    if (this.#helloDue) {
      this.#helloDue = false;
      output.write(Kind.HELLO, 0, 0, 0, 0, 0, this.#inbox.position, PROTOCOL_VERSION, EMPTY);
    }
    if (nowMs >= this.#inbox.ackAtMs) this.#writeAck(nowMs);
    if (this.#pingDue) {
      this.#pingDue = false;
      this.#pings = (this.#pings + 1) >>> 0;
      output.write(Kind.PING, 0, 0, 0, 0, 0, 0, this.#pings, EMPTY);
    }
    if (this.isLive) {
      const readsAtMs = this.#reads.wakeAtMs;
      if (nowMs >= readsAtMs || (this.#byeDue && readsAtMs !== NEVER)) this.#releaseReads(nowMs);
      this.#writeLive(nowMs);
    }
    if (output.frames > 0 && this.#inbox.mayAckAlong(nowMs) && output.hasRoom(0)) this.#writeAck(nowMs);
    const isDone = this.#requests.isEmpty && this.#queue.isEmpty;
    if (this.#byeDue && (isDone || !this.isLive) && output.hasRoom(0)) {
      if (this.#outbox > 0) reached(Mark.CLIENT_GOODBYE_WITH_UNSENT);
      output.write(Kind.BYE, 0, 0, 0, 0, 0, 0, 0, EMPTY);
      this.#byeSent = true;
    }
    if (output.frames === 0) return undefined;
    this.#pace.spend(output.frames, output.byteLength);
    return output.take();
  }

  #writeAck(nowMs: number): void {
    this.#inbox.acked(nowMs);
    this.#output.write(Kind.ACK, 0, 0, 0, 0, 0, this.#inbox.position, 0, EMPTY);
  }

  #releaseReads(nowMs: number): void {
    this.#reads.release(nowMs, (conversation) => this.#enqueue(conversation));
  }

  #writeLive(nowMs: number): void {
    const output = this.#output;
    const queue = this.#queue;
    const requests = this.#requests;
    this.#pace.refill(nowMs);
    while (!requests.isEmpty && this.#hasRoom(0)) {
      const { kind, convB, extra } = requests.shift();
      output.write(kind, 0, 0, convB, 0, 0, 0, extra, EMPTY);
    }
    for (let first = queue.first; first !== undefined; first = queue.first) {
      if (!this.#writeConversation(first, nowMs)) break;
      queue.shift();
    }
    this.#pace.wait(!queue.isEmpty || !requests.isEmpty, nowMs);
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
      this.#reads.sent(conversation);
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
    if (this.isLive) this.#queue.push(conversation);
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
    const conversation = this.#conversations.mustOpen(convA, convB);
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
    if (conversation.retryAtMs !== 0 && nowMs >= conversation.retryAtMs) this.#queue.endPauses(nowMs, this.isLive);
    this.#enqueue(conversation);
    return entry.counter;
  }

  /**
   * Everything in the conversation up to `seq` was read. The first goes at once, those of the next READ_INTERVAL_MS
   * together and one a conversation, for they are watermarks. Sent again until the server has confirmed it.
   */
  read(convA: number, convB: number, seq: number): void {
    const conversation = this.#conversations.mustOpen(convA, convB);
    const wanted = Math.min(seq, conversation.lastSeq);
    if (wanted <= conversation.readWanted) return;
    conversation.readWanted = wanted;
    this.#revision++;
    if (this.isLive) this.#reads.wait(conversation);
  }

  /** Tells the others that this user types; forgotten unless the link is live. */
  typing(convA: number, convB: number, started: boolean): void {
    if (!this.isLive) return;
    const conversation = this.#conversations.mustOpen(convA, convB);
    conversation.typing = started ? 1 : 0;
    this.#enqueue(conversation);
  }

  /** Asks for members, head and watermarks; asked again until the `info` event comes. */
  info(convA: number, convB: number): void {
    const conversation = this.#conversations.mustOpen(convA, convB);
    conversation.infoWanted = true;
    conversation.infoSent = false;
    this.#enqueue(conversation);
  }

  /** Asks for a user's presence, now and on change, over reconnects, until `unwatch`. */
  watch(user: number): void {
    checkUser(user);
    this.#requests.watch(user);
  }

  unwatch(user: number): void {
    this.#requests.unwatch(user, this.isLive);
  }

  /** Blocks or unblocks a user; sent again until the `block` event confirms it. */
  block(user: number, blocked: boolean, nowMs: number): void {
    checkUser(user);
    this.#requests.block(user, blocked, this.isLive);
    this.#revision++;
    if (this.isLive) this.#armCheck(nowMs);
  }

  /** Asks for this user's devices; asked again until the `devices` event comes. */
  devices(nowMs: number): void {
    this.#requests.devices(this.isLive);
    if (this.isLive) this.#armCheck(nowMs);
  }

  /** Removes one of this user's devices; the `devices` event follows. Forgotten unless the link is live. */
  removeDevice(number: number): void {
    if (!isDeviceNumber(number)) throw new DunlinError(`${number} is not a device number: 1 to 127.`);
    if (this.isLive) this.#requests.removeDevice(number);
  }

  /**
   * The application has stored the effects of everything up to this position: `frame.inbox` of a message, or
   * `receivedPosition`. Not needed with `acknowledge: 'auto'`.
   */
  acknowledge(position: number, nowMs: number): void {
    this.#inbox.acknowledge(position, nowMs);
  }

  // --- what the server says -----------------------------------------------------------------------------------------------------

  /** One WebSocket message from the open connection: all of the bytes, or those from `start` to `end`. */
  received(bytes: Uint8Array, nowMs: number, start = 0, end = bytes.length): void {
    const connection = this.#connection;
    const view = sharedViewOf(bytes);
    const frame = this.#frame;
    this.#link.heard(nowMs);
    let at = start;
    while (at < end && this.#link.isOpen && connection === this.#connection) {
      const length = scanFrame(bytes, view, at, end);
      if (length <= 0) {
        this.#violation(`A received message is not made of frames: byte ${at - start} of ${end - start}.`, nowMs);
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

  /**
   * Whether `seq` comes next in its conversation: true: take it; false: do not, either since it is a repetition, which is
   * acknowledged here, or since sequences before it are missing, and the connection is dropped.
   */
  #isNext(conversation: Conversation, frame: FrameView, seq: number, nowMs: number): boolean {
    const last = conversation.lastSeq;
    if (seq === last + 1 || (last === 0 && seq > 0)) return true;
    if (seq <= last) {
      reached(Mark.CLIENT_SAW_A_REPETITION);
      this.#inbox.deliver(frame.inbox, false, nowMs);
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
    if (!this.#inbox.isAuto) this.#inbox.deliver(inbox, kind === Kind.MESSAGE, nowMs, conversation, seq);
    if (kind === Kind.MESSAGE) this.#events.message?.(frame);
    else this.#events.groupChange?.(frame);
    if (this.#inbox.isAuto) this.#inbox.deliver(inbox, false, nowMs, conversation, seq);
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
    this.#inbox.deliver(inbox, false, nowMs, conversation, seq, entry);
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
      this.#inbox.deliver(this.#inbox.received, false, nowMs, conversation, 0, entry);
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
    const conversation = this.#conversations.known(convA, convB);
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
      this.#inbox.deliver(Math.max(inbox, this.#inbox.received), false, nowMs, conversation, 0, entry);
      this.#events.rejected?.(convA, convB, counter, code, text, true, entry.tag);
    } else {
      this.#deliverIfPositioned(inbox, nowMs);
      this.#retry(conversation, counter, code === ErrorCodes.COUNTER_GAP.code ? frame.seq : counter, nowMs);
      this.#events.rejected?.(convA, convB, counter, code, text, false, entry.tag);
    }
  }

  #deliverIfPositioned(inbox: number, nowMs: number): void {
    if (inbox > 0) this.#inbox.deliver(inbox, false, nowMs);
  }

  /** Sends again from `from` on, after a pause. If that had its outcome already, INFO tells what the server counts. */
  #retry(conversation: Conversation, counter: number, from: number, nowMs: number): void {
    if (from > 0 && from < conversation.firstCounter && counter > from) this.#resync(conversation);
    this.#queue.goBack(conversation, from, nowMs);
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
    if (code === ErrorCodes.TOO_MANY_BLOCKS.code && this.#requests.blockRefused(convB)) this.#revision++;
    if (conversation === undefined) return;
    if (!final) {
      this.#reads.refused(conversation);
      conversation.infoSent = false;
      this.#queue.goBack(conversation, conversation.nextCounter, nowMs);
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
      this.#inbox.deliver(this.#inbox.received, false, nowMs, conversation, 0, entry);
      this.#events.rejected?.(conversation.a, conversation.b, entry.counter, code, text, true, entry.tag);
    }
  }

  #gap(frame: FrameView, nowMs: number): void {
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const { seq, inbox, extra } = frame;
    const from = conversation.lastSeq + 1;
    if (seq < from) {
      this.#inbox.deliver(inbox, false, nowMs);
      return;
    }
    this.#advance(conversation, seq);
    this.#inbox.deliver(inbox, false, nowMs, conversation, seq);
    this.#events.gap?.(conversation.a, conversation.b, from, seq, extra);
  }

  #receipt(frame: FrameView, nowMs: number): void {
    const conversation = this.#find(frame, nowMs);
    if (conversation === undefined) return;
    const { seq, extra, inbox } = frame;
    const user = userOfDevice(frame.device);
    // Of nobody else are watermarks told: a server that does may not fill this client's memory.
    if (user !== 0 && user !== this.user && user !== conversation.a && user !== conversation.b) {
      this.#inbox.deliver(inbox, false, nowMs);
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
    this.#inbox.deliver(inbox, false, nowMs);
    if (isNews) this.#events.receipt?.(conversation.a, conversation.b, user, delivered, read);
  }

  #block(frame: FrameView, nowMs: number): void {
    const { convB: user, inbox } = frame;
    const blocked = frame.extra === 1;
    this.#requests.blockConfirmed(user, blocked);
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
    else if (kind === Kind.READS_TAKEN) this.#revision += this.#reads.confirm(extra);
    else if (kind === Kind.GOAWAY) this.#link.goaway(extra);
    else if (kind === Kind.DEVICES) {
      this.#requests.devicesTold();
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
    this.#queue.clear();
    for (const conversation of this.#conversations) {
      conversation.restart();
      conversation.queued = false;
      const isReadLeft = conversation.readWanted > conversation.readConfirmed;
      if (conversation.pending > 0 || isReadLeft || conversation.infoWanted) this.#enqueue(conversation);
    }
    this.#requests.live(nowMs);
    if (this.#requests.isOpen) this.#armCheck(nowMs);
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

  /** The conversation of a received frame; undefined, and a violation, if it cannot be one of this user's. */
  #find(frame: FrameView, nowMs: number): Conversation | undefined {
    const { convA, convB } = frame;
    const conversation = this.#conversations.open(convA, convB);
    if (conversation !== undefined) return conversation;
    this.#violation(
      `A frame of kind ${frame.kind} came for conversation (${convA}, ${convB}), not this user's.`,
      nowMs,
    );
    return undefined;
  }

  // --- the saved state ------------------------------------------------------------------------------------------------------------

  /** Everything that must survive this process: see the head of this file. Not to be called inside an event handler. */
  snapshot(): Uint8Array {
    return encodeSnapshot({
      device: this.device,
      isFresh: this.#isFresh,
      position: this.#inbox.position,
      conversations: saveConversations(this.#conversations, this.#inbox.waitingOutcomes()),
      blocks: this.#requests.blocks,
    });
  }
}
