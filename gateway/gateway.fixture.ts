/** What the gateway's tests put in place of sockets, log and pipelines. Time is a number that tests move. */
import {
  type Batch,
  BatchAt,
  BatchBuilder,
  BatchKind,
  openBatch,
  SourceKind,
  sourceId,
  TargetFlag,
} from '../core/batch.js';
import { type Frame, Kind, makeFrame, readFrames, writeFrame } from '../core/frame.js';
import { userOfDevice } from '../core/ids.js';
import { CATCH_UP_BYTES, FRAME_HEADER_BYTES } from '../core/limits.js';
import { AppendOutcome, type AppendSink, type Clock, type LogProducer, Refusal, Topic } from '../core/ports.js';
import type { EgressSource } from './gateway.js';
import type { Socket } from './hub.js';

export class FakeClock implements Clock {
  ms = 1_000;
  wall = 1_700_000_000_000;

  monotonicMs(): number {
    return this.ms;
  }

  wallMs(): number {
    return this.wall;
  }

  pass(ms: number): void {
    this.ms += ms;
    this.wall += ms;
  }
}

export interface Appended {
  readonly topic: number;
  readonly partition: number;
  readonly tag: number;
  readonly bytes: Uint8Array;
}

/** A log that does what it is told. Outcomes are told when `settle` is called, in order of append within a topic. */
export class FakeProducer implements LogProducer {
  readonly appended: Appended[] = [];
  isFull = false;
  readonly #waiting: Appended[] = [];
  readonly #outcomes: (readonly [number, number, number, number])[] = [];

  append(topic: number, partition: number, batch: Uint8Array, tag: number): boolean {
    if (this.isFull) return false;
    const appended = { topic, partition, tag, bytes: batch.slice() };
    this.appended.push(appended);
    this.#waiting.push(appended);
    return true;
  }

  /** What becomes of the `count` oldest appends. */
  settle(outcome: number = AppendOutcome.DURABLE, refusal: number = Refusal.NONE, count = Infinity): void {
    for (const { tag } of this.#waiting.splice(0, count)) this.#outcomes.push([tag, outcome, 0, refusal]);
  }

  outcomes(sink: AppendSink): number {
    const outcomes = this.#outcomes.splice(0);
    for (const outcome of outcomes) sink(...outcome);
    return outcomes.length;
  }

  /** Frames appended to a topic so far, in order. */
  frames(topic: number): Frame[] {
    return this.appended.filter((batch) => batch.topic === topic).flatMap(({ bytes }) => framesOf(bytes));
  }
}

/** Frames of a FRAMES batch. */
export function framesOf(batch: Uint8Array): Frame[] {
  return readFrames(batch.subarray(BatchAt.ENTRIES));
}

/** A socket that keeps what it is given; while it is stuck, that counts as unsent. */
export class FakeSocket implements Socket {
  readonly messages: Uint8Array[] = [];
  closed: { readonly code: number; readonly reason: string } | undefined = undefined;
  isStuck = false;
  isBroken = false;
  #unsent = 0;
  readonly #onClose: (() => void) | undefined;

  constructor(onClose?: () => void) {
    this.#onClose = onClose;
  }

  send(bytes: Uint8Array): boolean {
    if (this.isBroken) return false;
    this.messages.push(bytes.slice());
    if (this.isStuck) this.#unsent += bytes.length;
    return true;
  }

  bufferedBytes(): number {
    return this.#unsent;
  }

  drain(): void {
    this.isStuck = false;
    this.#unsent = 0;
  }

  close(code: number, reason: string): void {
    this.closed ??= { code, reason };
    this.#onClose?.();
  }

  /** All frames sent so far, in order. */
  frames(): Frame[] {
    return this.messages.flatMap((message) => readFrames(message));
  }
}

export interface Target {
  readonly connection: number;
  readonly incarnation: number;
  readonly token: number;
  readonly position: number;
  readonly flags?: number;
}

export interface Entry {
  readonly frame: Frame;
  readonly targets: readonly Target[];
}

/** An EGRESS batch. */
export function egressBatch(entries: readonly Entry[]): Batch {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.EGRESS, sourceId(SourceKind.USER, 0), 0, 1);
  for (const { frame, targets } of entries) {
    const at = builder.open(FRAME_HEADER_BYTES + frame.payload.length);
    writeFrame(builder.bytes, builder.view, at, frame);
    builder.list();
    for (const { connection, incarnation, token, position, flags = 0 } of targets) {
      builder.target(connection, incarnation, token, position, flags);
    }
  }
  return openBatch(builder.finish().slice());
}

export class FakeEgress implements EgressSource {
  readonly batches: Batch[] = [];

  poll(): Batch | undefined {
    return this.batches.shift();
  }
}

interface Device {
  readonly key: number;
  connection: number;
  incarnation: number;
  token: number;
  isLive: boolean;
  sent: number;
}

/**
 * A backbone in small behind the two ports of one gateway: a message to a direct conversation gets the next sequence and goes into
 * both users' inboxes, each device gets its inbox in pieces and then live. It forgets nothing, and knows nothing of acks.
 */
export class FakeBackbone implements LogProducer, EgressSource {
  readonly producer = new FakeProducer();
  readonly #egress: Entry[][] = [];
  readonly #inboxes = new Map<number, Frame[]>();
  readonly #devices = new Map<number, Device>();
  readonly #sequences = new Map<string, number>();
  /** Frames of the USER topic, for assertions. */
  readonly seen: Frame[] = [];
  #taken = 0;
  /** Called when something was appended. */
  onAppend: () => void = () => {};

  append(topic: number, partition: number, batch: Uint8Array, tag: number): boolean {
    const isTaken = this.producer.append(topic, partition, batch, tag);
    if (isTaken) this.onAppend();
    return isTaken;
  }

  outcomes(sink: AppendSink): number {
    return this.producer.outcomes(sink);
  }

  poll(): Batch | undefined {
    const entries = this.#egress.shift();
    return entries === undefined ? undefined : egressBatch(entries);
  }

  /** Everything appended so far is durable, and worked on. */
  work(): void {
    this.producer.settle();
    for (; this.#taken < this.producer.appended.length; this.#taken++) {
      const { topic, bytes } = this.producer.appended[this.#taken]!;
      for (const frame of framesOf(bytes)) {
        if (topic === Topic.CONVERSATION) this.#sequence(frame);
        else this.#toUser(frame);
      }
    }
  }

  #sequence(frame: Frame): void {
    if (frame.kind !== Kind.MESSAGE) return;
    const name = `${frame.convA},${frame.convB}`;
    const seq = (this.#sequences.get(name) ?? 0) + 1;
    this.#sequences.set(name, seq);
    for (const user of [frame.convA, frame.convB]) this.put(user, { ...frame, payload: frame.payload.slice(), seq });
  }

  /** Puts a frame into a user's inbox, and on its way to the devices that are live. */
  put(user: number, frame: Frame): void {
    let inbox = this.#inboxes.get(user);
    if (inbox === undefined) this.#inboxes.set(user, (inbox = []));
    inbox.push(frame);
    const position = inbox.length;
    const targets = [...this.#devices.values()]
      .filter((device) => userOfDevice(device.key) === user && device.isLive)
      .map((device) => target(device, position, frame.device === device.key ? TargetFlag.SENT : 0));
    if (targets.length > 0) this.#egress.push([{ frame, targets }]);
  }

  /** Sends a device's connection away. */
  goAway(key: number, code: number): void {
    const device = this.#devices.get(key)!;
    this.#egress.push([{ frame: makeFrame({ kind: Kind.GOAWAY, extra: code }), targets: [target(device, 0, 0)] }]);
  }

  #toUser(frame: Frame): void {
    this.seen.push(frame);
    if (frame.kind === Kind.CONNECT) this.#connect(frame);
    else if (frame.kind === Kind.PULL) this.#pull(frame);
    else if (frame.kind === Kind.DISCONNECT && this.#names(frame)) this.#devices.delete(frame.device);
  }

  #names(frame: Frame): boolean {
    return this.#devices.get(frame.device)?.connection === frame.convB;
  }

  #connect(frame: Frame): void {
    if (this.#devices.has(frame.device)) this.goAway(frame.device, 4100);
    const incarnation = frame.convA % 2 ** 32;
    const device: Device = {
      key: frame.device,
      connection: frame.convB,
      incarnation,
      token: frame.extra,
      isLive: false,
      sent: frame.inbox,
    };
    this.#devices.set(frame.device, device);
    const welcome = makeFrame({ kind: Kind.WELCOME, device: device.key, inbox: this.#inbox(device).length });
    this.#egress.push([{ frame: welcome, targets: [target(device, 0, 0)] }]);
    this.#piece(device);
  }

  #pull(frame: Frame): void {
    const device = this.#devices.get(frame.device);
    if (device === undefined || !this.#names(frame) || frame.extra < device.token) return;
    device.token = frame.extra;
    device.sent = frame.inbox;
    device.isLive = false;
    this.#piece(device);
  }

  #inbox(device: Device): Frame[] {
    return this.#inboxes.get(userOfDevice(device.key)) ?? [];
  }

  #piece(device: Device): void {
    const entries: Entry[] = [];
    const inbox = this.#inbox(device);
    for (let bytes = 0; device.sent < inbox.length && bytes < CATCH_UP_BYTES; ) {
      const frame = inbox[device.sent++]!;
      bytes += FRAME_HEADER_BYTES + frame.payload.length;
      const flags = frame.device === device.key ? TargetFlag.SENT : 0;
      entries.push({ frame, targets: [target(device, device.sent, flags)] });
    }
    device.isLive = device.sent === inbox.length;
    const end = makeFrame({ kind: device.isLive ? Kind.CAUGHT_UP : Kind.PULL, inbox: device.sent });
    this.#egress.push(entries, [{ frame: end, targets: [target(device, 0, 0)] }]);
  }
}

function target({ connection, incarnation, token }: Device, position: number, flags: number): Target {
  return { connection, incarnation, token, position, flags };
}
