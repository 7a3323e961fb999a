/**
 * From the socket to the log: finds the frames in a WebSocket message, checks what a gateway can check, writes over what a client
 * has no right to claim, and copies each frame once, into the batch of its partition. No payload is decoded, except that a device
 * table's structure is checked.
 *
 * A bad frame is rejected and the next one looked at, as long as it is known where that begins; otherwise the connection ends.
 */

import { BatchAt, BatchFlag } from '../core/batch.js';
import { canonicalTable, checkDeviceTable } from '../core/device-table.js';
import { type CloseCode, CloseCodes, type ErrorCode, ErrorCodes } from '../core/errors.js';
import {
  At,
  encodeFrame,
  Flag,
  isClientKind,
  isConversationKind,
  isSequenced,
  Kind,
  makeFrame,
  readFrame,
  readU53,
  Scan,
  scanFrame,
  viewOf,
  writeU53,
} from '../core/frame.js';
import { isConversation, isUserId, partitionOfConversation, partitionOfUser, userOfDevice } from '../core/ids.js';
import {
  BAD_FRAMES_PER_CONNECTION_MAX,
  CONNECTION_BYTES_BURST,
  CONNECTION_BYTES_PER_SECOND,
  FRAME_HEADER_BYTES,
  FRAMES_PER_MESSAGE_MAX,
  TABLE_PAYLOAD_BYTES_MAX,
} from '../core/limits.js';
import { readLooseFrame } from '../core/msgpack.js';
import { Topic } from '../core/ports.js';
import { buggify, Mark, reached, Site } from '../core/probe.js';
import type { Batching } from './batching.js';
import { Copied, Counter, type GatewayMetrics } from './gateway-metrics.js';
import type { Session } from './hub.js';
import type { IngestKernel } from './ingest-kernel.js';
import type { ReadTally } from './read-tally.js';
import { Replies } from './replies.js';
import { available, SessionState, take, takes } from './session.js';

export const PROTOCOL_VERSION = 1;

export interface InboundOptions {
  readonly batching: Batching;
  readonly metrics: GatewayMetrics;
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly framesPerSecond: number;
  /** True while new sends are refused because the backbone is too far behind. */
  readonly isBusy: () => boolean;
  readonly reads: ReadTally;
  /** A HELLO with a cursor. */
  readonly hello: (session: Session, cursor: number) => void;
  /** Takes ordinary frames; without it all are taken here, to the same effect. */
  readonly kernel?: IngestKernel | undefined;
}

/** Why a message ends its connection; undefined: it does not. */
export type Verdict = CloseCode | undefined;

export class Inbound {
  readonly #options: InboundOptions;
  readonly #replies = new Replies();
  #wallMs = 0;
  #nowMs = 0;

  constructor(options: InboundOptions) {
    this.#options = options;
  }

  /** Handles one binary message. Answers go to the session's socket; what is returned tells whether it must end. */
  receive(session: Session, bytes: Uint8Array, nowMs: number, wallMs: number): Verdict {
    const { metrics } = this.#options;
    this.#nowMs = nowMs;
    this.#wallMs = wallMs;
    metrics.add(Counter.messages_in_total);
    metrics.add(Counter.bytes_in_total, bytes.length);
    const verdict = this.#frames(session, bytes);
    if (!this.#replies.sendTo(session.socket)) return verdict ?? CloseCodes.RATE_LIMITED;
    return verdict;
  }

  #frames(session: Session, bytes: Uint8Array): Verdict {
    if (!take(session.bytes, bytes.length, CONNECTION_BYTES_PER_SECOND, CONNECTION_BYTES_BURST, this.#nowMs)) {
      return CloseCodes.RATE_LIMITED;
    }
    const { kernel } = this.#options;
    const isPlain = kernel === undefined || !takes(session.state) || this.#options.isBusy();
    if (isPlain || this.#verdict(session) !== undefined) return this.#plain(session, bytes);
    // All of most messages is ordinary.
    kernel.begin(bytes);
    this.#options.metrics.add(Copied.message_to_kernel, bytes.length);
    const at = this.#ordinary(kernel, session, 0, bytes.length, FRAMES_PER_MESSAGE_MAX);
    if (at === bytes.length && at > 0) return this.#verdict(session);
    return this.#plain(session, bytes, at, at > 0 ? kernel.frames : 0, kernel);
  }

  /** Takes the frames from `at` on, before which there were `before`; with a kernel, only those that are not ordinary. */
  #plain(session: Session, bytes: Uint8Array, from = 0, before = 0, kernel?: IngestKernel): Verdict {
    const view = viewOf(bytes);
    let count = before;
    let verdict: Verdict;
    for (let at = from; at < bytes.length && verdict === undefined; ) {
      if (++count > FRAMES_PER_MESSAGE_MAX) return this.#lost(session);
      this.#options.metrics.add(Counter.frames_in_total);
      const length = scanFrame(bytes, view, at, bytes.length);
      if (length > 0) {
        this.#frame(session, bytes, view, at, length);
        at += length;
      } else {
        at = this.#unusual(session, bytes, view, at, length);
        if (at < 0) return this.#lost(session);
      }
      verdict = this.#verdict(session);
      if (kernel === undefined || verdict !== undefined || at === bytes.length) continue;
      const next = this.#ordinary(kernel, session, at, bytes.length, FRAMES_PER_MESSAGE_MAX - count);
      if (next > at) count += kernel.frames;
      at = next;
    }
    return count === 0 ? this.#lost(session) : verdict;
  }

  /** Takes as many ordinary frames as there are, and as the session may send; returns where it stopped. */
  #ordinary(kernel: IngestKernel, session: Session, at: number, end: number, framesMax: number): number {
    const { framesPerSecond, metrics, reads, userPartitions } = this.#options;
    const burst = framesPerSecond * 2;
    const allowed = Math.min(framesMax, available(session.frames, framesPerSecond, burst, this.#nowMs));
    const userPartition = partitionOfUser(userOfDevice(session.device), userPartitions);
    const stopped = kernel.run(at, end, session.device, userPartition, allowed);
    const { frames } = kernel;
    if (frames === 0) return at;
    take(session.frames, frames, framesPerSecond, burst, this.#nowMs);
    metrics.add(Counter.frames_in_total, frames);
    for (let left = kernel.reads; left > 0; left--) reads.came(session);
    return stopped;
  }

  #verdict(session: Session): Verdict {
    if (session.isClean) return CloseCodes.NORMAL;
    if (session.badFrames > BAD_FRAMES_PER_CONNECTION_MAX) return CloseCodes.BAD_PROTOCOL;
    return session.closeWith;
  }

  /** Nobody knows where the next frame begins. */
  #lost(session: Session): CloseCode {
    this.#options.metrics.add(Counter.bad_frames_total);
    this.#replies.rejectUnread(session.device, ErrorCodes.BAD_FRAME, this.#wallMs);
    return CloseCodes.BAD_PROTOCOL;
  }

  /** A frame that is not canonical, is too large, or is none. Returns where the next one begins, or −1. */
  #unusual(session: Session, bytes: Uint8Array, view: DataView, at: number, scan: number): number {
    if (scan === Scan.TOO_LARGE) {
      const end = at + FRAME_HEADER_BYTES + view.getUint32(at + At.LENGTH);
      if (end > bytes.length) return -1;
      this.#bad(session, view, at, ErrorCodes.TOO_LARGE);
      return end;
    }
    const loose = scan === Scan.NOT_CANONICAL ? readLooseFrame(bytes, at, bytes.length) : undefined;
    if (loose === undefined) return -1;
    this.#options.metrics.add(Counter.slow_frames_total);
    const canonical = encodeFrame(loose.frame);
    this.#frame(session, canonical, viewOf(canonical), 0, canonical.length);
    return loose.end;
  }

  #bad(session: Session, view: DataView, at: number, error: ErrorCode): void {
    this.#options.metrics.add(Counter.bad_frames_total);
    session.badFrames++;
    this.#replies.reject(view, at, session.device, error, this.#wallMs);
  }

  /** A canonical frame within its limits. */
  #frame(session: Session, bytes: Uint8Array, view: DataView, at: number, length: number): void {
    const kind = bytes[at + At.KIND]!;
    if (!isClientKind(kind)) return this.#bad(session, view, at, ErrorCodes.UNKNOWN_KIND);
    if (kind === Kind.HELLO) return this.#hello(session, view, at);
    const { framesPerSecond, metrics, reads } = this.#options;
    if (kind === Kind.READ) reads.came(session);
    if (!take(session.frames, 1, framesPerSecond, framesPerSecond * 2, this.#nowMs)) {
      metrics.add(Counter.rate_limited_total);
      if (isSequenced(kind)) this.#replies.reject(view, at, session.device, ErrorCodes.RATE_LIMITED, this.#wallMs);
      if (kind === Kind.READ) session.isReadLost = true;
      return;
    }
    // Behind the rate limit: answers to whoever never says hello have a bound as well.
    if (!takes(session.state)) {
      this.#replies.reject(view, at, session.device, ErrorCodes.NOT_READY, this.#wallMs);
      return;
    }
    if (isConversationKind(kind)) this.#toConversation(session, kind, bytes, view, at, length);
    else this.#toUser(session, kind, bytes, view, at, length);
  }

  #hello(session: Session, view: DataView, at: number): void {
    if (view.getUint32(at + At.EXTRA) !== PROTOCOL_VERSION) {
      session.closeWith = CloseCodes.VERSION;
      return;
    }
    if (session.state === SessionState.HELLO) this.#options.hello(session, readU53(view, at + At.INBOX));
    else this.#bad(session, view, at, ErrorCodes.BAD_VALUE);
  }

  #toConversation(session: Session, kind: number, bytes: Uint8Array, view: DataView, at: number, length: number): void {
    const a = readU53(view, at + At.CONV_A);
    const b = readU53(view, at + At.CONV_B);
    if (!isConversation(a, b)) return this.#bad(session, view, at, ErrorCodes.BAD_CONVERSATION);
    if (isSequenced(kind) && (this.#options.isBusy() || buggify(Site.GATEWAY_IS_BUSY))) {
      reached(Mark.SEND_REFUSED_WHILE_BUSY);
      return this.#busy(session, view, at);
    }
    if ((bytes[at + At.FLAGS]! & Flag.DEVICE_TABLE) !== 0 && kind === Kind.MESSAGE) {
      const table = this.#canonicalTable(bytes, view, at, length);
      if (table !== undefined) return this.#toConversation(session, kind, table, viewOf(table), 0, table.length);
    }
    const partition = partitionOfConversation(a, b, this.#options.conversationPartitions);
    const isTaken = this.#append(session, Topic.CONVERSATION, partition, kind, bytes, at, length);
    if (!isTaken && kind !== Kind.TYPING) this.#busy(session, view, at);
  }

  #busy(session: Session, view: DataView, at: number): void {
    this.#options.metrics.add(Counter.busy_total);
    this.#replies.reject(view, at, session.device, ErrorCodes.BUSY, this.#wallMs);
  }

  /**
   * The frame with its device table in canonical form, if it has another valid one; undefined if it is canonical, or is no table:
   * that is the conversation stage's to reject, since it uses up the counter.
   */
  #canonicalTable(bytes: Uint8Array, view: DataView, at: number, length: number): Uint8Array | undefined {
    if (checkDeviceTable(bytes, at + FRAME_HEADER_BYTES, at + length)) return undefined;
    const payload = canonicalTable(bytes.subarray(at + FRAME_HEADER_BYTES, at + length));
    if (payload === undefined || payload.length > TABLE_PAYLOAD_BYTES_MAX) return undefined;
    this.#options.metrics.add(Counter.slow_frames_total);
    return encodeFrame({ ...readFrame(bytes, view, at), payload });
  }

  #toUser(session: Session, kind: number, bytes: Uint8Array, view: DataView, at: number, length: number): void {
    const { conversationPartitions, userPartitions } = this.#options;
    switch (kind) {
      case Kind.PING:
        this.#replies.add(makeFrame({ kind: Kind.PONG, extra: view.getUint32(at + At.EXTRA), time: this.#wallMs }));
        return;
      case Kind.BYE:
        session.isClean = true;
        return;
      case Kind.WATCH: {
        const other = readU53(view, at + At.CONV_B);
        if (!isUserId(other)) return this.#bad(session, view, at, ErrorCodes.BAD_VALUE);
        const partition = partitionOfUser(other, userPartitions);
        if (!this.#append(session, Topic.USER, partition, kind, bytes, at, length)) this.#busy(session, view, at);
        return;
      }
      case Kind.BLOCK:
      case Kind.DEVICE_REMOVE: {
        if (kind === Kind.BLOCK && !isUserId(readU53(view, at + At.CONV_B))) {
          return this.#bad(session, view, at, ErrorCodes.BAD_VALUE);
        }
        // Changes for good: through the topic that is read only when it is on the disk (pipelines/conversation/fanout.ts).
        const partition = partitionOfUser(userOfDevice(session.device), conversationPartitions);
        if (!this.#append(session, Topic.CONVERSATION, partition, kind, bytes, at, length))
          this.#busy(session, view, at);
        return;
      }
      default: {
        const partition = partitionOfUser(userOfDevice(session.device), userPartitions);
        const isTaken = this.#append(session, Topic.USER, partition, kind, bytes, at, length);
        // A later ack says the same and more.
        if (!isTaken && kind !== Kind.ACK) this.#busy(session, view, at);
      }
    }
  }

  /** Copies the frame into its batch and writes over what the client may not claim. False: there is no room. */
  #append(
    session: Session,
    topic: number,
    partition: number,
    kind: number,
    bytes: Uint8Array,
    from: number,
    length: number,
  ): boolean {
    const { batching } = this.#options;
    const builder =
      kind === Kind.ACK ? batching.urgent(topic, partition, length) : batching.builder(topic, partition, length);
    if (builder === undefined) return false;
    const at = builder.frame(bytes, from, length);
    const { view } = builder;
    if (isSequenced(kind)) builder.bytes[BatchAt.FLAGS] = BatchFlag.SENDS;
    writeU53(view, at + At.DEVICE, session.device);
    if (kind !== Kind.READ) view.setUint32(at + At.SEQ, 0);
    if (kind !== Kind.ACK) writeU53(view, at + At.INBOX, 0);
    writeU53(view, at + At.TIME, 0);
    return true;
  }
}
