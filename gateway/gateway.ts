/**
 * A gateway: sessions on one side, the log and the user lanes on the other. Takes everything it needs as ports, so that it runs
 * over real sockets and threads (gateway-worker.ts) and over fakes in tests.
 */

import type { Batch } from '../core/batch.js';
import { type CloseCode, CloseCodes, ErrorCodes } from '../core/errors.js';
import { At, encodeFrame, Flag, frameLength, Kind, makeFrame, readU53, writeFrame } from '../core/frame.js';
import { deviceKey, partitionOfUser, userOfDevice } from '../core/ids.js';
import { ADMISSIONS_BURST, CONNECTIONS_PER_USER_MAX, FRAME_HEADER_BYTES, HELLO_TIMEOUT_MS } from '../core/limits.js';
import { type Clock, type LogProducer, Refusal as LogRefusal, Topic } from '../core/ports.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import { Batching, type LostFrame } from './batching.js';
import { Counter, type GatewayMetrics } from './gateway-metrics.js';
import { Hub, Session } from './hub.js';
import { Inbound } from './inbound.js';
import { IngestKernel } from './ingest-kernel.js';
import { Outbound } from './outbound.js';
import { ReadTally } from './read-tally.js';
import { Replies } from './replies.js';
import { Action, type Bucket, SessionEvent, SessionState, take, transition } from './session.js';
import type { Refusal, Upgrade } from './sockets.js';
import type { Verify } from './tokens.js';

export interface EgressSource {
  /** The next batch of a user lane, valid until the next call. */
  poll(): Batch | undefined;
}

export interface GatewayOptions {
  readonly gatewayNumber: number;
  readonly incarnation: number;
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly producer: LogProducer;
  readonly egress: EgressSource;
  readonly clock: Clock;
  readonly verify: Verify;
  readonly metrics: GatewayMetrics;
  readonly framesPerSecond: number;
  readonly connectionsPerAddress: number;
  readonly admissionsPerSecond: number;
  /** So many may start at once; default: as limits.ts says, or twice the rate if that is more. */
  readonly admissionsBurst?: number | undefined;
  readonly isBusy: () => boolean;
  /** Uniform in [0, 1): spreads out when refused clients come back. */
  readonly random: () => number;
  /** True: ordinary frames from clients go through the WebAssembly kernel, where it can run. What comes of them is the same. */
  readonly kernel?: boolean;
}

/** Nobody waits for an answer to these, and nobody would send them again: the gateway itself hands them on once more. */
const HANDED_ON_AGAIN: ReadonlySet<number> = new Set([Kind.READ, Kind.DISCONNECT, Kind.GATEWAY_UP]);

/** EGRESS batches taken in one pass before the sockets get a turn. */
const BATCHES_PER_PASS = 64;
/** The same in bytes of frames. */
const PASS_BYTES_MAX = 4 * 1024 * 1024;

/** Whom admission control turns away is told to come back after 1 to so many seconds. */
const RETRY_AFTER_S_MAX = 10;

export class Gateway {
  readonly hub = new Hub();
  readonly #options: GatewayOptions;
  readonly #batching: Batching;
  readonly #inbound: Inbound;
  readonly #outbound: Outbound;
  readonly #reads = new ReadTally();
  /** Answers to what the log did not take. */
  readonly #refusals = new Map<Session, Replies>();
  readonly #admissions: Bucket;
  readonly #admissionsBurst: number;
  #isDraining = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    const { metrics, producer, gatewayNumber, incarnation, conversationPartitions, userPartitions } = options;
    this.#admissionsBurst = options.admissionsBurst ?? Math.max(ADMISSIONS_BURST, options.admissionsPerSecond * 2);
    this.#admissions = { left: this.#admissionsBurst, atMs: options.clock.monotonicMs() };
    const kernel = options.kernel === true ? IngestKernel.create(conversationPartitions) : undefined;
    this.#batching = new Batching({
      kernel,
      gatewayNumber,
      incarnation,
      partitions: [conversationPartitions, userPartitions],
      producer,
      metrics,
      lost: (frame) => this.#lost(frame),
    });
    this.#inbound = new Inbound({
      kernel,
      batching: this.#batching,
      metrics,
      conversationPartitions,
      userPartitions,
      framesPerSecond: options.framesPerSecond,
      isBusy: options.isBusy,
      reads: this.#reads,
      hello: (session, cursor) => this.#hello(session, cursor),
    });
    this.#outbound = new Outbound({
      hub: this.hub,
      incarnation,
      metrics,
      pull: (session) => this.#pull(session),
      close: (session, code) => this.closeSession(session, code),
    });
  }

  // --- the thread's calls ---------------------------------------------------------------------------------------------------

  /** Tells every user partition that connections of earlier incarnations are gone. */
  announce(): void {
    for (let partition = 0; partition < this.#options.userPartitions; partition++) {
      this.#toUser(partition, Kind.GATEWAY_UP, 0, 0, 0, 0, 0);
    }
    this.flush();
  }

  /** Takes outcomes and deliveries that are there. True: there is more. */
  poll(): boolean {
    const isLater = buggify(Site.GATEWAY_HEARS_OUTCOMES_LATER);
    if (!isLater) this.#batching.settle();
    this.#answerRefused();
    this.#advanceReads();
    const nowMs = this.#options.clock.monotonicMs();
    this.#outbound.release(nowMs);
    const more = this.#takeEgress();
    this.#outbound.flush(nowMs);
    return more || isLater;
  }

  /** Behind the answers to what was refused, so that nothing is called safe that is about to be refused. */
  #advanceReads(): void {
    const { handedOver, settled } = this.#batching;
    const topic = Topic.CONVERSATION;
    this.#reads.advance(handedOver[topic]!, settled[topic]!, this.#batching.isHandedOver(topic));
  }

  /** One pass: what comes for one socket in all its batches goes out as one message. */
  #takeEgress(): boolean {
    for (let taken = 0; taken < BATCHES_PER_PASS; taken++) {
      const batch = this.#options.egress.poll();
      if (batch === undefined) return false;
      this.#outbound.deliver(batch);
      if (this.#outbound.pendingBytes > PASS_BYTES_MAX || buggify(Site.GATEWAY_TAKES_ONE_BATCH)) return true;
    }
    return true;
  }

  /** Monotonic time at which `poll` is to be called even if nothing comes. */
  get wakeAtMs(): number {
    return this.#outbound.heldDueAtMs;
  }

  /** True if frames wait for `flush`. */
  get wantsFlush(): boolean {
    return !this.#batching.isFlushed;
  }

  /** True if the log has answered for everything. */
  get isSettled(): boolean {
    return this.#batching.isSettled;
  }

  /** Hands the open batches to the log. False: it had no room for all. */
  flush(): boolean {
    return this.#batching.flush();
  }

  /** To be called about every second: time-outs and tokens that end. */
  sweep(): void {
    const now = this.#options.clock.monotonicMs();
    const wall = this.#options.clock.wallMs();
    this.#options.metrics.set(Counter.connections, this.hub.size);
    for (const session of this.hub.sessions()) {
      if (session.expiresAtMs <= wall) this.closeSession(session, CloseCodes.TOKEN_EXPIRED);
      else if (session.state === SessionState.HELLO && now - session.openedAtMs > HELLO_TIMEOUT_MS) {
        reached(Mark.HELLO_TOO_LATE);
        this.closeSession(session, CloseCodes.HELLO_TIMEOUT);
      }
    }
  }

  // --- upgrades ---------------------------------------------------------------------------------------------------------------

  /** A session for whoever wants one, or why not. What counts against limits is counted when its socket opens, at once. */
  accept(upgrade: Upgrade): Session | Refusal {
    const { admissionsPerSecond, clock, verify } = this.#options;
    const refusal = this.#refuse(upgrade);
    if (refusal !== undefined) return refusal;
    const nowMs = clock.monotonicMs();
    const mayCome = take(this.#admissions, 1, admissionsPerSecond, this.#admissionsBurst, nowMs);
    if (!mayCome || buggify(Site.GATEWAY_REFUSES_ADMISSION)) {
      this.#options.metrics.add(Counter.admissions_refused_total);
      return this.#later('Too many sessions start at once.', RETRY_AFTER_S_MAX);
    }
    const identity = verify(upgrade.token);
    if ('sentence' in identity) {
      if (identity.canRetry) return this.#later(identity.sentence, 1);
      return { status: '401 Unauthorized', sentence: identity.sentence };
    }
    if (this.hub.connectionsOfUser(identity.user) >= CONNECTIONS_PER_USER_MAX) {
      const sentence = `This user has ${CONNECTIONS_PER_USER_MAX} connections already, which is the limit.`;
      return { status: '429 Too Many Requests', sentence, retryAfterS: 5 };
    }
    const device = deviceKey(identity.user, identity.device);
    return new Session(device, this.hub.newConnection(), upgrade.address, nowMs, identity.expiresAtMs);
  }

  /** What can be said without a look at the token. */
  #refuse(upgrade: Upgrade): Refusal | undefined {
    const { connectionsPerAddress } = this.#options;
    if (this.#isDraining) return this.#later('This gateway is draining.', 1);
    if (this.hub.connectionsOfAddress(upgrade.address) >= connectionsPerAddress) {
      const sentence = `Your address has ${connectionsPerAddress} connections already, which is the limit.`;
      return { status: '429 Too Many Requests', sentence, retryAfterS: 30 };
    }
    if (upgrade.token !== '') return undefined;
    const sentence = 'A token is needed: Authorization: Bearer, ?token= or the sub-protocols "dunlin, <token>".';
    return { status: '401 Unauthorized', sentence };
  }

  /** To be tried again after a time, which differs so that not all come at once again. */
  #later(sentence: string, secondsMax: number): Refusal {
    const retryAfterS = 1 + Math.floor(this.#options.random() * secondsMax);
    return { status: '503 Service Unavailable', sentence, retryAfterS };
  }

  refused(_refusal: Refusal): void {
    this.#options.metrics.add(Counter.upgrades_refused_total);
  }

  // --- sockets' events ----------------------------------------------------------------------------------------------------------

  opened(session: Session): void {
    this.hub.add(session);
    this.#options.metrics.add(Counter.sessions_opened_total);
    if (this.#isDraining) this.closeSession(session, CloseCodes.DRAINING);
  }

  message(session: Session, bytes: Uint8Array): void {
    if (session.state === SessionState.CLOSED) return;
    const { clock } = this.#options;
    const verdict = this.#inbound.receive(session, bytes, clock.monotonicMs(), clock.wallMs());
    if (verdict !== undefined) this.closeSession(session, verdict);
  }

  text(session: Session): void {
    this.closeSession(session, CloseCodes.BAD_PROTOCOL);
  }

  drained(session: Session): void {
    this.#outbound.drained(session);
  }

  closed(session: Session): void {
    this.hub.remove(session);
    this.#options.metrics.add(Counter.sessions_closed_total);
    const { next, action } = transition(session.state, SessionEvent.CLOSE);
    session.state = next;
    if (action !== Action.DISCONNECT) return;
    const flags = session.isClean ? Flag.CLEAN : 0;
    this.#toUser(this.#partitionOf(session), Kind.DISCONNECT, session.device, session.connection, 0, 0, flags);
  }

  closeSession(session: Session, code: CloseCode): void {
    session.closeWith = code;
    session.socket?.close(code.code, code.reason);
  }

  // --- to the user stage ------------------------------------------------------------------------------------------------------

  #partitionOf(session: Session): number {
    return partitionOfUser(userOfDevice(session.device), this.#options.userPartitions);
  }

  #hello(session: Session, cursor: number): void {
    const { next } = transition(session.state, SessionEvent.HELLO);
    session.state = next;
    session.lastSent = 0;
    const { device, connection, token } = session;
    if (!this.#toUser(this.#partitionOf(session), Kind.CONNECT, device, connection, cursor, token, 0)) {
      session.closeWith = CloseCodes.BACKBONE_LOST;
    }
  }

  #pull(session: Session): void {
    const { device, connection, lastSent, token } = session;
    if (!this.#toUser(this.#partitionOf(session), Kind.PULL, device, connection, lastSent, token, 0)) {
      this.closeSession(session, CloseCodes.BACKBONE_LOST);
    }
  }

  #toUser(
    partition: number,
    kind: number,
    device: number,
    connection: number,
    inbox: number,
    extra: number,
    flags: number,
  ): boolean {
    const builder = this.#batching.urgent(Topic.USER, partition, FRAME_HEADER_BYTES);
    if (builder === undefined) return false;
    const { gatewayNumber, incarnation } = this.#options;
    const convA = gatewayNumber * 2 ** 32 + incarnation;
    const at = builder.open(FRAME_HEADER_BYTES);
    writeFrame(
      builder.bytes,
      builder.view,
      at,
      makeFrame({ kind, flags, convA, convB: connection, device, inbox, extra }),
    );
    return true;
  }

  /** The log did not take a frame: its sender is told, or its connection ends so that it comes again. */
  #lost(frame: Parameters<LostFrame>[0]): void {
    const { bytes, view, at, topic, refusal } = frame;
    const kind = bytes[at + At.KIND]!;
    if (HANDED_ON_AGAIN.has(kind) && this.#again(frame)) return reached(Mark.FRAME_HANDED_ON_AGAIN);
    const session = this.hub.device(readU53(view, at + At.DEVICE));
    if (session === undefined) return;
    if (topic === Topic.USER) {
      reached(Mark.CONNECTION_CLOSED_SINCE_THE_LOG_FAILED);
      return this.closeSession(session, CloseCodes.BACKBONE_LOST);
    }
    if (kind === Kind.TYPING) return;
    let replies = this.#refusals.get(session);
    if (replies === undefined) this.#refusals.set(session, (replies = new Replies()));
    const error = refusal === LogRefusal.DISK_FULL ? ErrorCodes.DISK_FULL : ErrorCodes.UNAVAILABLE;
    replies.reject(view, at, session.device, error, this.#options.clock.wallMs());
  }

  #answerRefused(): void {
    for (const [session, replies] of this.#refusals) {
      if (!replies.sendTo(session.socket)) this.closeSession(session, CloseCodes.RATE_LIMITED);
    }
    this.#refusals.clear();
  }

  /** Without sends beside it, it is not refused for want of disk. False: there is no room. */
  #again({ bytes, view, at, topic, partition }: Parameters<LostFrame>[0]): boolean {
    const length = frameLength(view, at);
    const builder = this.#batching.urgent(topic, partition, length);
    builder?.frame(bytes, at, length);
    if (builder !== undefined && bytes[at + At.KIND] === Kind.READ) this.#reads.goesAgain();
    return builder !== undefined;
  }

  // --- the end ----------------------------------------------------------------------------------------------------------------

  /** Takes no more sessions; `goodbye` then sends them away, a share at a time. */
  beginDrain(): void {
    this.#isDraining = true;
  }

  /** Sends at most `count` sessions away. True: there are none left. */
  goodbye(count: number): boolean {
    const message = encodeFrame(makeFrame({ kind: Kind.GOAWAY, extra: CloseCodes.DRAINING.code }));
    let left = count;
    for (const session of this.hub.sessions()) {
      if (left-- === 0) return false;
      const { next } = transition(session.state, SessionEvent.DRAIN);
      session.state = next;
      reached(Mark.SENT_AWAY);
      session.socket?.send(message);
      this.closeSession(session, CloseCodes.DRAINING);
    }
    return this.hub.size === 0;
  }
}
