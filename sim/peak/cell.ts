/**
 * One share of the world at its peak, in one thread: gateways' batches, the log's order, the production conversation and user
 * stages behind their production outbox, and the devices' view of it, checked frame by frame. A batch on a link is the unit of
 * what happens; time is virtual.
 *
 * Left out against a world of sim/world.ts: lanes with their commits, sockets, the client core, and faults.
 */
import {
  type Batch,
  BatchAt,
  BatchBuilder,
  BatchKind,
  openBatch,
  RECIPIENT_BYTES,
  readU53LE,
  SourceKind,
  sourceId,
  stampBatch,
  TARGET_BYTES,
  TargetAt,
} from '../../core/batch.js';
import {
  At,
  encodeFrame,
  frameLength,
  isSequenced,
  Kind,
  makeFrame,
  readU53,
  viewOf,
  writeU53,
} from '../../core/frame.js';
import { mix32, userOfDevice } from '../../core/ids.js';
import { BATCH_TARGET_BYTES } from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { Topic } from '../../core/ports.js';
import { Prng } from '../../core/prng.js';
import type { Fetched, Stage } from '../../core/stage.js';
import { ConversationStage } from '../../pipelines/conversation/stage.js';
import { Destination, Outbox, type Send, Streams } from '../../pipelines/outbox.js';
import { UserStage } from '../../pipelines/user/stage.js';
import { EventQueue } from '../queue.js';
import { fingerprintOf, PeakChecks, type PeakViolation } from './checks.js';
import { Links } from './links.js';
import { Population } from './population.js';

export interface CellOptions {
  readonly seed: number;
  /** Messages a virtual second. */
  readonly rate: number;
  readonly seconds: number;
  readonly directs: number;
  readonly groups: number;
  /** Of a hundred messages so many go to groups. */
  readonly groupPercent: number;
  readonly payloadBytes: number;
  /** Without it devices see the fan-out itself: sequencing alone, without inboxes, acknowledgements and receipts. */
  readonly withUserStage: boolean;
  /** The WebAssembly kernels of the stages; the results are the same without. */
  readonly kernel: boolean;
}

/** What a cell has done so far, or in all. */
export interface CellResult {
  readonly messages: number;
  readonly deliveries: number;
  readonly receipts: number;
  readonly acks: number;
  readonly virtualSeconds: number;
  /** After everybody was connected and all groups stood. */
  readonly wallSeconds: number;
  readonly setUpSeconds: number;
  /** Wall nanoseconds by part. */
  readonly parts: Readonly<Record<Part, number>>;
  /** Bytes that batches were copied from one part to the next. */
  readonly carriedBytes: number;
  readonly checkBytes: number;
  readonly bufferBytes: number;
  readonly hash: number;
  readonly violated: number;
  readonly violations: readonly PeakViolation[];
}

export type Part = 'generate' | 'conversation' | 'user' | 'devices';

const START_MS = 1_700_000_000_000;
const TICK_US = 1_000;
const GATEWAYS = 2;
const NOTHING: Fetched = { get: () => undefined };
/** A client acknowledges after so many. */
const ENTRIES_PER_ACK = 32;
/** Nothing arrives any more by then. */
const REST_US = 1_000_000;
const SETUP_PER_TICK = 2_000;

const Link = { CONVERSATION: 0, USER: 1, EGRESS: 2, SEND: 10, ACK: 20 } as const;

/** A stage with its outbox and its place in the log. */
interface Seat {
  readonly stage: Stage;
  readonly outbox: Outbox;
  readonly gathered: Streams;
  readonly topic: number;
  offset: number;
}

function newSeat(stage: Stage, kind: typeof SourceKind.CONVERSATION | typeof SourceKind.USER, topic: number): Seat {
  const gathered = new Streams(sourceId(kind, 0));
  return { stage, outbox: new Outbox(kind, 0, gathered), gathered, topic, offset: 0 };
}

export class PeakCell {
  readonly #options: CellOptions;
  readonly #population: Population;
  readonly #checks: PeakChecks;
  readonly #queue = new EventQueue();
  readonly #links: Links;
  readonly #random: Prng;
  readonly #conversation: Seat;
  readonly #user: Seat;
  readonly #message: Uint8Array;
  readonly #ack = encodeFrame(makeFrame({ kind: Kind.ACK }));
  readonly #senders = Array.from({ length: GATEWAYS }, () => new BatchBuilder(2 * BATCH_TARGET_BYTES));
  readonly #ackBuilder = new BatchBuilder(BATCH_TARGET_BYTES);
  readonly #sourceSeqs = Array.from({ length: GATEWAYS }, () => 0);
  /** By user: position of its inbox that came, and that it acknowledged. */
  readonly #positions: Float64Array;
  readonly #acknowledged: Float64Array;
  readonly #ackDue: number[] = [];
  readonly #parts: Record<Part, number> = { generate: 0, conversation: 0, user: 0, devices: 0 };
  #owed = 0;
  #acks = 0;
  #connected = 0;
  /** Offset below which the user stage was told that all is on the disk. */
  #toldSynced = 0;

  constructor(options: CellOptions) {
    this.#options = options;
    this.#population = new Population(options);
    this.#checks = new PeakChecks(this.#population);
    const root = new Prng(options.seed);
    this.#random = root.fork('messages');
    this.#links = new Links(this.#queue, root.fork('links'));
    const shape = { partition: 0, conversationPartitions: 1, userPartitions: 1, kernel: options.kernel };
    this.#conversation = newSeat(new ConversationStage(shape), SourceKind.CONVERSATION, Topic.CONVERSATION);
    this.#user = newSeat(new UserStage(shape), SourceKind.USER, Topic.USER);
    const payload = new Uint8Array(Math.max(4, options.payloadBytes));
    for (let i = 0; i < payload.length; i++) payload[i] = this.#random.below(256);
    this.#message = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload }));
    this.#positions = new Float64Array(this.#population.users + 1);
    this.#acknowledged = new Float64Array(this.#population.users + 1);
  }

  /** `progress` is called with the virtual seconds done, about once a virtual second. */
  run(progress: (virtualSeconds: number) => void = () => {}): CellResult {
    const setUpMs = performance.now();
    if (this.#options.withUserStage) this.#connectAll();
    this.#createGroups();
    this.#rest();
    const startMs = performance.now();
    const startUs = this.#queue.nowUs;
    const sentBefore = this.#checks.sent;
    const deliveredBefore = this.#checks.delivered;
    for (const part of Object.keys(this.#parts) as Part[]) this.#parts[part] = 0;
    const carriedBefore = this.#links.carried;
    const ticks = Math.round((this.#options.seconds * 1_000_000) / TICK_US);
    for (let tick = 0; tick < ticks; tick++) {
      this.#runUntil(startUs + tick * TICK_US);
      this.#timed('generate', () => this.#sendTick());
      if (tick % 1_000 === 999) progress((tick + 1) / 1_000);
    }
    this.#rest();
    const wallSeconds = (performance.now() - startMs) / 1_000;
    this.#checks.finish();
    const { receipts, violated, violations } = this.#checks;
    return {
      messages: this.#checks.sent - sentBefore,
      deliveries: this.#checks.delivered - deliveredBefore,
      receipts,
      acks: this.#acks,
      virtualSeconds: (this.#queue.nowUs - startUs) / 1_000_000,
      wallSeconds,
      setUpSeconds: (startMs - setUpMs) / 1_000,
      parts: this.#parts,
      carriedBytes: this.#links.carried - carriedBefore,
      checkBytes: this.#checks.bytes,
      bufferBytes: this.#links.bytes,
      hash: mix32(this.#checks.hash() ^ this.#conversation.stage.stateHash() ^ this.#user.stage.stateHash()) >>> 0,
      violated,
      violations,
    };
  }

  #timed(part: Part, work: () => void): void {
    const start = performance.now();
    work();
    this.#parts[part] += (performance.now() - start) * 1_000_000;
  }

  #runUntil(us: number): void {
    while (this.#queue.nextUs <= us) this.#queue.step();
  }

  /** Until nothing is on its way any more, and everything is acknowledged. */
  #rest(): void {
    for (;;) {
      this.#flushSenders();
      for (let user = 1; user <= this.#population.users; user++) this.#dueAck(user, 1);
      this.#sendAcks();
      if (this.#queue.length === 0) return;
      this.#runUntil(this.#queue.nowUs + REST_US);
    }
  }

  // --- who sends -------------------------------------------------------------------------------------------------------------

  #connectAll(): void {
    const builder = new BatchBuilder(BATCH_TARGET_BYTES);
    const { users } = this.#population;
    for (let user = 1; user <= users; user++) {
      if (builder.isEmpty) builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 0);
      const device = this.#population.device(user);
      const gateway = user % GATEWAYS;
      const convA = gateway * 2 ** 32 + 1;
      const bytes = encodeFrame(makeFrame({ kind: Kind.CONNECT, device, convA, convB: user, extra: 1 }));
      builder.frame(bytes, 0, bytes.length);
      if (user < users && builder.byteLength < BATCH_TARGET_BYTES) continue;
      this.#toLog(this.#user, Link.ACK, builder.finish());
      builder.reset();
      this.#runUntil(this.#queue.nowUs + TICK_US);
    }
    // New devices are welcomed some hundred at a time.
    while (this.#queue.length > 0) this.#runUntil(this.#queue.nowUs + REST_US);
    if (this.#connected !== users) this.#checks.unexpected(`${this.#connected} of ${users} devices were welcomed`);
  }

  #createGroups(): void {
    const { directs, conversations } = this.#population;
    for (let c = directs; c < conversations; c++) {
      const others = Array.from({ length: this.#population.size(c) - 1 }, (_, n) => this.#population.member(c, n + 1));
      const frame = encodeFrame(makeFrame({ kind: Kind.GROUP_CREATE, payload: encodeMembers(others) }));
      this.#send(frame, c, 0);
      if (c % SETUP_PER_TICK !== 0) continue;
      this.#flushSenders();
      this.#runUntil(this.#queue.nowUs + TICK_US);
    }
  }

  #sendTick(): void {
    const { rate, groupPercent } = this.#options;
    const { directs, groups } = this.#population;
    this.#owed += (rate * TICK_US) / 1_000_000;
    for (; this.#owed >= 1; this.#owed--) {
      const isGroup = this.#random.below(100) < groupPercent;
      const conversation = isGroup ? directs + this.#random.below(groups) : this.#random.below(directs);
      const at = this.#send(this.#message, conversation, this.#random.below(this.#population.size(conversation)));
      at.view.setUint32(at.at - this.#message.length + At.PAYLOAD, this.#random.u32());
    }
    this.#flushSenders();
    this.#sendAcks();
  }

  /** Writes the frame as its sender's next one; returns the builder, which stands behind it. */
  #send(frame: Uint8Array, conversation: number, place: number): BatchBuilder {
    const population = this.#population;
    const user = population.member(conversation, place);
    const gateway = user % GATEWAYS;
    const builder = this.#senders[gateway]!;
    if (builder.byteLength + frame.length > BATCH_TARGET_BYTES) this.#flushSender(gateway);
    if (builder.isEmpty) {
      builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, gateway), this.#sourceSeqs[gateway]!++, 1);
    }
    const at = builder.frame(frame, 0, frame.length);
    const { view } = builder;
    writeU53(view, at + At.CONV_A, population.convA(conversation));
    writeU53(view, at + At.CONV_B, population.convB(conversation));
    writeU53(view, at + At.DEVICE, population.device(user));
    view.setUint32(at + At.COUNTER, this.#checks.send(population.firstPair[conversation]! + place));
    return builder;
  }

  #flushSenders(): void {
    for (let gateway = 0; gateway < GATEWAYS; gateway++) this.#flushSender(gateway);
  }

  #flushSender(gateway: number): void {
    const builder = this.#senders[gateway]!;
    if (builder.isEmpty) return;
    this.#toLog(this.#conversation, Link.SEND + gateway, builder.finish());
    builder.reset();
  }

  #dueAck(user: number, entries: number): void {
    if (this.#positions[user]! - this.#acknowledged[user]! >= entries) this.#ackDue.push(user);
  }

  #sendAcks(): void {
    const builder = this.#ackBuilder;
    for (const user of this.#ackDue) {
      const position = this.#positions[user]!;
      if (position === this.#acknowledged[user]) continue;
      this.#acknowledged[user] = position;
      this.#acks++;
      if (builder.isEmpty) builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 1);
      const at = builder.frame(this.#ack, 0, this.#ack.length);
      writeU53(builder.view, at + At.DEVICE, this.#population.device(user));
      writeU53(builder.view, at + At.INBOX, position);
      if (builder.byteLength >= BATCH_TARGET_BYTES) this.#flushAcks();
    }
    this.#ackDue.length = 0;
    this.#flushAcks();
  }

  #flushAcks(): void {
    if (this.#ackBuilder.isEmpty) return;
    this.#toLog(this.#user, Link.ACK, this.#ackBuilder.finish());
    this.#ackBuilder.reset();
  }

  // --- the log and the stages ---------------------------------------------------------------------------------------------------

  /** An append: the log stamps the batch, and after a while the stage steps over it. */
  #toLog(seat: Seat, link: number, batch: Uint8Array): void {
    // From the producer to the log, which gives the offset, and from there to its reader.
    this.#links.carry(link, batch, 20, 800, (arrived) => {
      stampBatch(viewOf(arrived), 0, seat.topic, 0, seat.offset++, START_MS + Math.floor(this.#queue.nowUs / 1_000));
      this.#links.carry(seat.topic === Topic.USER ? Link.USER : Link.CONVERSATION, arrived, 100, 5_000, (stored) => {
        this.#timed(seat === this.#user ? 'user' : 'conversation', () => this.#step(seat, openBatch(stored)));
      });
    });
  }

  #step(seat: Seat, batch: Batch): void {
    seat.outbox.begin(batch.header.offset, 1);
    seat.stage.step(batch, seat.outbox, NOTHING);
    seat.outbox.flush(this.#sendOf(seat));
    seat.gathered.flush(this.#sendOf(seat));
    if (seat.stage.syncWantedAt !== Infinity && seat.stage.syncWantedAt >= this.#toldSynced) this.#tellSynced(seat);
  }

  /** What a lane says when the disk has what its stage waits for: here everything is durable as soon as it is appended. */
  #tellSynced(seat: Seat): void {
    this.#toldSynced = seat.offset;
    const frame = encodeFrame(makeFrame({ kind: Kind.SYNCED, inbox: seat.offset }));
    const builder = new BatchBuilder();
    builder.begin(BatchKind.FRAMES, sourceId(SourceKind.LANE, 0), 0, 1);
    builder.frame(frame, 0, frame.length);
    this.#toLog(seat, Link.ACK, builder.finish());
  }

  #sendOf(seat: Seat): Send {
    return (destination, topic, _number, bytes) => {
      if (destination === Destination.GATEWAY) {
        this.#links.carry(Link.EGRESS, bytes, 20, 2_000, (batch) => this.#timed('devices', () => this.#receive(batch)));
        return true;
      }
      if (bytes[BatchAt.KIND] === BatchKind.FANOUT) this.#timed('devices', () => this.#tap(bytes));
      if (!this.#options.withUserStage) {
        this.#links.carry(Link.EGRESS, bytes, 20, 2_000, (batch) =>
          this.#timed('devices', () => this.#receiveFanOut(batch)),
        );
        return true;
      }
      this.#toLog(topic === Topic.USER ? this.#user : this.#conversation, 5 + seat.topic * 2 + topic, bytes);
      return true;
    };
  }

  /** What the sequencer says, before anybody hears it. */
  #tap(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    const count = view.getUint32(BatchAt.COUNT, true);
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < count; entry++) {
      const length = frameLength(view, at);
      if (isSequenced(bytes[at + At.KIND]!)) {
        const conversation = this.#conversationAt(view, at);
        const sender = this.#pairOf(conversation, readU53(view, at + At.DEVICE));
        const counter = view.getUint32(at + At.COUNTER);
        const seq = view.getUint32(at + At.SEQ);
        if (sender < 0)
          this.#checks.unexpected(`a message of somebody who is no member of conversation ${conversation}`);
        else this.#checks.sequence(conversation, seq, sender, counter, this.#fingerprint(view, at, sender, counter));
      }
      at += length;
      at += 4 + view.getUint32(at, true) * RECIPIENT_BYTES;
    }
  }

  #conversationAt(view: DataView, at: number): number {
    return this.#population.conversation(readU53(view, at + At.CONV_A), readU53(view, at + At.CONV_B));
  }

  #pairOf(conversation: number, device: number): number {
    return conversation < 0 ? -1 : this.#population.pair(conversation, userOfDevice(device));
  }

  #fingerprint(view: DataView, at: number, sender: number, counter: number): number {
    const content = view.getUint32(at + At.LENGTH) < 4 ? 0 : view.getUint32(at + At.PAYLOAD);
    return fingerprintOf(sender, counter, content);
  }

  // --- the devices -----------------------------------------------------------------------------------------------------------------

  #receive(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    const count = view.getUint32(BatchAt.COUNT, true);
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < count; entry++) {
      const length = frameLength(view, at);
      const list = at + length;
      const targets = view.getUint32(list, true);
      this.#entry(view, at, list + 4, targets);
      at = list + 4 + targets * TARGET_BYTES;
    }
  }

  /** As if every recipient's device had got the fan-out at once. */
  #receiveFanOut(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    const count = view.getUint32(BatchAt.COUNT, true);
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < count; entry++) {
      const list = at + frameLength(view, at);
      const recipients = view.getUint32(list, true);
      if (isSequenced(bytes[at + At.KIND]!)) this.#fanOutTo(view, at, list + 4, recipients);
      at = list + 4 + recipients * RECIPIENT_BYTES;
    }
  }

  #fanOutTo(view: DataView, at: number, list: number, recipients: number): void {
    const conversation = this.#conversationAt(view, at);
    const sender = this.#pairOf(conversation, readU53(view, at + At.DEVICE));
    const seq = view.getUint32(at + At.SEQ);
    const fingerprint = this.#fingerprint(view, at, sender, view.getUint32(at + At.COUNTER));
    for (let n = 0; n < recipients; n++) {
      const user = readU53LE(view, list + n * RECIPIENT_BYTES);
      const pair = conversation < 0 ? -1 : this.#population.pair(conversation, user);
      if (pair < 0) this.#checks.unexpected(`user ${user} was handed a message of conversation ${conversation}`);
      else this.#checks.deliver(conversation, pair, seq, fingerprint);
    }
  }

  #entry(view: DataView, at: number, list: number, targets: number): void {
    const kind = view.getUint8(at + At.KIND);
    if (isSequenced(kind)) return this.#messageTo(view, at, list, targets);
    if (kind === Kind.RECEIPT) this.#receiptTo(view, at);
    else if (kind === Kind.WELCOME) this.#connected++;
    else if (kind === Kind.REJECT) this.#checks.unexpected(`a REJECT with code ${view.getUint32(at + At.EXTRA)}`);
    for (let n = 0; n < targets; n++) this.#took(view, list + n * TARGET_BYTES);
  }

  #messageTo(view: DataView, at: number, list: number, targets: number): void {
    const conversation = this.#conversationAt(view, at);
    const sender = this.#pairOf(conversation, readU53(view, at + At.DEVICE));
    const seq = view.getUint32(at + At.SEQ);
    const hasPayload = view.getUint32(at + At.LENGTH) > 0;
    const fingerprint = hasPayload ? this.#fingerprint(view, at, sender, view.getUint32(at + At.COUNTER)) : 0;
    for (let n = 0; n < targets; n++) {
      const user = this.#took(view, list + n * TARGET_BYTES);
      const pair = conversation < 0 ? -1 : this.#population.pair(conversation, user);
      if (pair < 0) this.#checks.unexpected(`user ${user} was handed a message of conversation ${conversation}`);
      else this.#checks.deliver(conversation, pair, seq, fingerprint);
    }
  }

  #receiptTo(view: DataView, at: number): void {
    const whose = readU53(view, at + At.DEVICE);
    if (whose === 0) {
      this.#checks.receipts++;
      return;
    }
    const conversation = this.#conversationAt(view, at);
    const pair = this.#pairOf(conversation, whose);
    if (pair < 0) this.#checks.unexpected(`a receipt of somebody who is no member of conversation ${conversation}`);
    else this.#checks.receipt(conversation, pair, view.getUint32(at + At.SEQ), view.getUint32(at + At.EXTRA));
  }

  /** The user whose device is the target; its position goes on. */
  #took(view: DataView, target: number): number {
    const user = view.getUint32(target + TargetAt.CONNECTION, true);
    const position =
      view.getUint32(target + TargetAt.POSITION_HIGH, true) * 2 ** 32 +
      view.getUint32(target + TargetAt.POSITION_LOW, true);
    if (position > this.#positions[user]!) {
      this.#positions[user] = position;
      this.#dueAck(user, ENTRIES_PER_ACK);
    }
    return user;
  }
}
