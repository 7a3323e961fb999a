/**
 * The devices of `socket-to-socket`, all in one thread: prepared bursts of 64 frames are stamped where they lie, what comes is
 * read where it lies and judged in columns. Nothing is made for a message.
 *
 * Closed loop: a device sends its next burst when few enough of its messages are without an answer. It acknowledges at the end of
 * a WebSocket message that brings it to 64 frames, in front of its next burst if there is one, and at the latest after 200 ms.
 */
import { At, encodeFrame, Flag, Kind, makeFrame, viewOf, writeU53 } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import { ACK_DELAY_MS, ACK_ENTRIES, DEVICE_KEY_FACTOR, FRAME_HEADER_BYTES } from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { Prng } from '../../core/prng.js';
import { LoadSocket, type SocketTarget } from '../load/socket.js';
import { Columns, contentOf } from './columns.js';
import { Population, type PopulationOptions } from './population.js';

export interface FleetOptions extends PopulationOptions {
  readonly target: SocketTarget;
  /** By user − 1. */
  readonly tokens: readonly string[];
  readonly payloadBytes: number;
  /** Frames in a WebSocket message that sends. */
  readonly burst: number;
  /** Messages without an answer that a device may have. */
  readonly window: number;
  /** Of a hundred messages so many go to groups. */
  readonly groupPercent: number;
  /** So many devices lose their connection in the middle of a run, and come back. */
  readonly cuts: number;
}

const CONTENT_BYTES = 4;
const SORT_BITS = 12;
const SORT_MASK = 2 ** SORT_BITS - 1;
const PROTOCOL_VERSION = 1;

class Device {
  readonly user: number;
  readonly random: Prng;
  socket: LoadSocket | undefined;
  /** Position of the last frame processed, and of the last one acknowledged. */
  position = 0;
  acknowledged = 0;
  unacknowledgedFrames = 0;
  unanswered = 0;
  /** Bursts that it still has to send in this run. */
  burstsLeft = 0;
  isCaughtUp = false;
  isCut = false;

  constructor(user: number, random: Prng) {
    this.user = user;
    this.random = random;
  }
}

/** What goes out on the one connection: an acknowledgement and a burst, prepared but for what differs. */
class Outgoing {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly frameBytes: number;

  constructor(burst: number, payloadBytes: number, random: Prng) {
    const payload = Uint8Array.from({ length: payloadBytes }, () => random.below(256));
    const ack = encodeFrame(makeFrame({ kind: Kind.ACK }));
    const message = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload }));
    this.frameBytes = message.length;
    this.bytes = new Uint8Array(ack.length + burst * message.length);
    this.bytes.set(ack);
    for (let n = 0; n < burst; n++) this.bytes.set(message, ack.length + n * message.length);
    this.view = viewOf(this.bytes);
  }
}

export class Fleet {
  readonly columns: Columns;
  readonly #options: FleetOptions;
  readonly #population: Population;
  readonly #devices: Device[];
  readonly #outgoing: Outgoing;
  /** Frames and WebSocket messages that came, and bytes either way. */
  framesIn = 0;
  messagesIn = 0;
  bytesIn = 0;
  bytesOut = 0;
  #caughtUp = 0;
  #ackTimer: NodeJS.Timeout | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.#population = new Population(options);
    this.columns = new Columns(this.#population);
    const root = new Prng(options.seed);
    this.#outgoing = new Outgoing(options.burst, options.payloadBytes, root.fork('payload'));
    this.#devices = Array.from({ length: options.users }, (_, n) => new Device(n + 1, root.fork(`device ${n + 1}`)));
  }

  /** Connects everybody; true when all have caught up. */
  connect(): void {
    for (const device of this.#devices) this.#connect(device);
    this.#ackTimer = setInterval(() => this.#ackDue(), ACK_DELAY_MS);
  }

  get isConnected(): boolean {
    return this.#caughtUp === this.#devices.length;
  }

  /** Everything that was to be sent was sent, answered, handed to everybody, acknowledged and reported. */
  get isQuiet(): boolean {
    const { columns } = this;
    return this.isConnected && this.#devices.every(({ burstsLeft }) => burstsLeft === 0) && columns.isQuiet;
  }

  get sizes(): { conversations: number; pairs: number } {
    const { conversations, pairs } = this.#population;
    return { conversations, pairs };
  }

  /** Messages that so many bursts of every device are. */
  burstMessages(bursts: number): number {
    return bursts * this.#options.burst * this.#options.users;
  }

  /** Each group's first member creates it. */
  createGroups(): void {
    const { directs, conversations } = this.#population;
    for (let conversation = directs; conversation < conversations; conversation++) {
      const device = this.#devices[this.#population.member(conversation, 0) - 1]!;
      this.#sendGroup(device, conversation);
    }
  }

  #sendGroup(device: Device, conversation: number): void {
    const population = this.#population;
    const others = Array.from({ length: population.size(conversation) - 1 }, (_, n) =>
      population.member(conversation, n + 1),
    );
    const counter = this.columns.send(population.firstPair[conversation]!);
    const convB = population.convB(conversation);
    const payload = encodeMembers(others);
    device.unanswered++;
    device.socket!.send(encodeFrame(makeFrame({ kind: Kind.GROUP_CREATE, convB, counter, payload })));
  }

  /** Lets every device send so many bursts. */
  start(bursts: number): void {
    for (const device of this.#devices) device.burstsLeft += bursts;
    for (const device of this.#devices) this.#goOn(device);
  }

  /** Cuts the connections of the first devices, which come back at once. */
  cut(): void {
    for (const device of this.#devices.slice(0, this.#options.cuts)) {
      device.isCut = true;
      device.socket!.cut();
    }
  }

  close(): void {
    clearInterval(this.#ackTimer);
    for (const device of this.#devices) {
      device.isCut = true;
      device.socket?.close(1_000);
    }
  }

  #connect(device: Device): void {
    const { target, tokens } = this.#options;
    const socket = new LoadSocket(target, tokens[device.user - 1]!, {
      opened: () => {
        const hello = makeFrame({ kind: Kind.HELLO, inbox: device.position, extra: PROTOCOL_VERSION });
        socket.send(encodeFrame(hello));
      },
      message: (bytes) => this.#receive(device, bytes),
      closed: (code, reason) => this.#closed(device, code, reason),
    });
    device.socket = socket;
  }

  #closed(device: Device, code: number, reason: string): void {
    if (device.isCaughtUp) this.#caughtUp--;
    device.isCaughtUp = false;
    if (this.#ackTimer === undefined) return;
    if (!device.isCut) this.columns.fail('G8', `user ${device.user} was sent away: ${code} ${reason}`);
    device.isCut = false;
    this.#connect(device);
  }

  // --- out ------------------------------------------------------------------------------------------------------------------

  #goOn(device: Device): void {
    const { burst, window } = this.#options;
    while (device.burstsLeft > 0 && device.isCaughtUp && device.unanswered + burst <= window) {
      device.burstsLeft--;
      this.#burst(device);
    }
    if (device.unacknowledgedFrames >= ACK_ENTRIES) this.#send(device, 0);
  }

  #ackDue(): void {
    for (const device of this.#devices) {
      if (device.isCaughtUp && device.unacknowledgedFrames > 0) this.#send(device, 0);
    }
  }

  #burst(device: Device): void {
    const { burst, groupPercent } = this.#options;
    const { user, random } = device;
    const directs = this.#population.directsOf[user]!;
    const groups = this.#population.groupsOf[user]!;
    let at = FRAME_HEADER_BYTES;
    for (let n = 0; n < burst; n++, at += this.#outgoing.frameBytes) {
      // One draw: its low bits say which sort, the others which one.
      const draw = random.u32();
      const isToGroup = (draw & SORT_MASK) * 100 < groupPercent * (SORT_MASK + 1);
      const list = isToGroup && groups.length > 0 ? groups : directs;
      const conversation = list[Math.floor(((draw >>> SORT_BITS) / 2 ** (32 - SORT_BITS)) * list.length)]!;
      const pair = this.#population.pairOf(conversation, user);
      this.#stamp(at, conversation, pair, this.columns.send(pair));
    }
    device.unanswered += burst;
    this.#send(device, burst);
  }

  #stamp(at: number, conversation: number, pair: number, counter: number): void {
    const { view, frameBytes } = this.#outgoing;
    const content = contentOf(pair, counter);
    view.setUint32(at + At.CONV_A + 4, this.#population.convA(conversation));
    view.setUint32(at + At.CONV_B + 4, this.#population.convB(conversation));
    view.setUint32(at + At.COUNTER, counter);
    view.setUint32(at + At.PAYLOAD, content);
    view.setUint32(at + frameBytes - CONTENT_BYTES, content);
  }

  /** Sends the acknowledgement, if there is something to acknowledge, and the first frames of the burst. */
  #send(device: Device, frames: number): void {
    const { bytes, view, frameBytes } = this.#outgoing;
    const hasAck = device.position > device.acknowledged;
    if (hasAck) {
      writeU53(view, At.INBOX, device.position);
      device.acknowledged = device.position;
    }
    device.unacknowledgedFrames = 0;
    const from = hasAck ? 0 : FRAME_HEADER_BYTES;
    const to = FRAME_HEADER_BYTES + frames * frameBytes;
    if (from === to) return;
    this.bytesOut += to - from;
    device.socket!.send(bytes.subarray(from, to));
  }

  /** After a reconnect: what was not answered goes again, in the order of its counters. */
  #sendAgain(device: Device): void {
    const population = this.#population;
    const { burst } = this.#options;
    let frames = 0;
    for (const conversation of new Set([...population.directsOf[device.user]!, ...population.groupsOf[device.user]!])) {
      const pair = population.pairOf(conversation, device.user);
      for (let counter = this.columns.answeredCounter(pair) + 1; counter <= this.columns.usedCounter(pair); counter++) {
        this.#stamp(FRAME_HEADER_BYTES + frames * this.#outgoing.frameBytes, conversation, pair, counter);
        if (++frames < burst) continue;
        this.#send(device, frames);
        frames = 0;
      }
    }
    if (frames > 0) this.#send(device, frames);
  }

  // --- in -------------------------------------------------------------------------------------------------------------------

  #receive(device: Device, bytes: Uint8Array): void {
    const view = viewOf(bytes);
    const end = bytes.length;
    let frames = 0;
    for (let at = 0; at < end; frames++) {
      const kind = bytes[at + At.KIND]!;
      const length = FRAME_HEADER_BYTES + view.getUint32(at + At.LENGTH);
      if (kind === Kind.MESSAGE || kind === Kind.SENT || kind === Kind.RECEIPT || kind === Kind.GROUP_CREATE) {
        this.#take(device, kind, view, at, length);
      } else this.#other(device, kind, view, at);
      at += length;
    }
    this.framesIn += frames;
    this.messagesIn++;
    this.bytesIn += end;
    device.unacknowledgedFrames += frames;
    this.#goOn(device);
  }

  #take(device: Device, kind: number, view: DataView, at: number, length: number): void {
    const population = this.#population;
    const convA = view.getUint32(at + At.CONV_A + 4);
    const convB = view.getUint32(at + At.CONV_B + 4);
    const conversation = population.conversation(convA, convB);
    const pair = conversation < 0 ? -1 : population.pair(conversation, convA, convB, device.user);
    if (pair < 0) return this.columns.fail('G5', `user ${device.user} was handed something of (${convA}, ${convB})`);
    const first = population.firstPairOf(conversation);
    const seq = view.getUint32(at + At.SEQ);
    const counter = view.getUint32(at + At.COUNTER);
    if (kind === Kind.RECEIPT) {
      // One's own watermark comes from other devices of one's own: there are none.
      this.columns.receipt(first, pair, seq, view.getUint32(at + At.EXTRA));
    } else if (kind === Kind.SENT) {
      // Of what was sent again and had been answered: no place in the order.
      if ((view.getUint8(at + At.FLAGS) & Flag.DUPLICATE) === 0) {
        device.unanswered--;
        this.columns.answer(first, pair, seq, counter);
      }
    } else {
      const user = (view.getUint32(at + At.DEVICE + 4) / DEVICE_KEY_FACTOR) >>> 0;
      const sender = population.pair(conversation, convA, convB, user);
      const isMessage = kind === Kind.MESSAGE;
      const content = isMessage ? this.#content(view, at, length) : contentOf(sender, counter);
      if (sender < 0) this.columns.fail('G5', `user ${device.user} was handed a message of no member`);
      else this.columns.deliver(first, pair, seq, sender, counter, content);
    }
    this.#advance(device, view, at);
  }

  #content(view: DataView, at: number, length: number): number {
    const first = view.getUint32(at + At.PAYLOAD);
    if (length !== this.#outgoing.frameBytes || view.getUint32(at + length - CONTENT_BYTES) !== first) return 0;
    return first;
  }

  #advance(device: Device, view: DataView, at: number): void {
    const position = view.getUint32(at + At.INBOX) * 2 ** 32 + view.getUint32(at + At.INBOX + 4);
    if (position === 0) return;
    if (position <= device.position) this.columns.fail('G8', `user ${device.user}: position ${position} came again`);
    device.position = position;
  }

  #other(device: Device, kind: number, view: DataView, at: number): void {
    if (kind === Kind.CAUGHT_UP) {
      device.isCaughtUp = true;
      this.#caughtUp++;
      this.#sendAgain(device);
    } else if (kind === Kind.WELCOME) {
      const key = view.getUint32(at + At.DEVICE + 4);
      if (key !== deviceKey(device.user, 1))
        this.columns.fail('G8', `user ${device.user} was welcomed as device ${key}`);
    } else if (kind === Kind.REJECT) {
      this.columns.fail('G5', `user ${device.user}: rejected with code ${view.getUint32(at + At.EXTRA)}`);
    } else if (kind !== Kind.READS_TAKEN && kind !== Kind.PRESENCE) {
      this.columns.fail('G5', `user ${device.user} was handed a frame of kind ${kind}`);
    }
  }
}
