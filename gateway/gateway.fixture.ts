/** A gateway's surroundings that move by themselves: time, and a backbone in small. */
import { type Batch, TargetFlag } from '../core/batch.js';
import { encodeFrame, type Frame, Kind, makeFrame, readFrames } from '../core/frame.js';
import { userOfDevice } from '../core/ids.js';
import { BATCH_HEADER_BYTES, CATCH_UP_BYTES, FRAME_HEADER_BYTES } from '../core/limits.js';
import { type AppendSink, type Clock, type LogProducer, Topic } from '../core/ports.js';
import { egress, FakeProducer, type Target } from './fakes.fixture.js';
import type { EgressSource } from './gateway.js';

/** Time that stands still until a test moves it. */
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

type Entry = readonly [Uint8Array, readonly Target[]];

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
    return entries === undefined ? undefined : egress(entries);
  }

  /** Everything appended so far is durable, and worked on. */
  work(): void {
    this.producer.answer();
    for (; this.#taken < this.producer.appended.length; this.#taken++) {
      const { topic, bytes } = this.producer.appended[this.#taken]!;
      for (const frame of readFrames(bytes.subarray(BATCH_HEADER_BYTES))) {
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
    if (targets.length > 0) this.#egress.push([[encodeFrame(frame), targets]]);
  }

  /** Sends a device's connection away. */
  goAway(key: number, code: number): void {
    const device = this.#devices.get(key)!;
    this.#egress.push([[encodeFrame(makeFrame({ kind: Kind.GOAWAY, extra: code })), [target(device, 0, 0)]]]);
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
    this.#egress.push([[encodeFrame(welcome), [target(device, 0, 0)]]]);
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
      entries.push([encodeFrame(frame), [target(device, device.sent, flags)]]);
    }
    device.isLive = device.sent === inbox.length;
    const end = makeFrame({ kind: device.isLive ? Kind.CAUGHT_UP : Kind.PULL, inbox: device.sent });
    this.#egress.push(entries, [[encodeFrame(end), [target(device, 0, 0)]]]);
  }
}

function target({ connection, incarnation, token }: Device, position: number, flags: number): Target {
  return { connection, incarnation, token, position, flags };
}
