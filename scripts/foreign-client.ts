/**
 * A client as a stranger writes it: from docs/protocol.md alone, with a WebSocket library and a msgpack library. It shares
 * no code with the backbone or its SDK, so it notices when the page and the server part ways.
 *
 * It checks what it sees as it goes: whatever contradicts the page ends up in `violations`.
 */
import { decodeMulti, encode } from '@msgpack/msgpack';
import { WebSocket } from 'ws';

const VERSION = 1;
const ACK_DELAY_MS = 50;
const ACK_FRAMES = 64;
const RETRY_MS = 100;
const FRAMES_PER_MESSAGE = 1_024;

export const kinds = {
  MESSAGE: 1,
  GROUP_CREATE: 2,
  GROUP_ADD: 3,
  GROUP_REMOVE: 4,
  GROUP_LEAVE: 5,
  GROUP_ROLE: 6,
  READ: 16,
  TYPING: 17,
  INFO: 18,
  HELLO: 32,
  ACK: 33,
  PING: 37,
  PONG: 38,
  BYE: 41,
  SENT: 48,
  REJECT: 49,
  RECEIPT: 50,
  GAP: 51,
  WELCOME: 52,
  CAUGHT_UP: 53,
  GOAWAY: 54,
} as const;

const DUPLICATE = 4;
const COUNTER_GAP = 37;
/** The codes of docs/protocol.md that can be retried. */
const RETRYABLE: ReadonlySet<number> = new Set([COUNTER_GAP, 66, 96, 97, 98, 99, 100]);

export type ConversationOf = readonly [convA: number, convB: number];

export interface FrameFields {
  kind: number;
  flags: number;
  convA: number;
  convB: number;
  device: number;
  counter: number;
  seq: number;
  inbox: number;
  time: number;
  extra: number;
  payload: Uint8Array;
}

type Outgoing = Partial<FrameFields> & { readonly kind: number };

export interface Outcome {
  readonly isTaken: boolean;
  /** Of the conversation; 0: not known, or refused. */
  readonly seq: number;
  readonly code: number;
}

interface State {
  nextCounter: number;
  /** Sends without an outcome, by counter, in order. */
  readonly outbox: Map<number, Outgoing>;
  readonly outcomes: Map<number, Outcome>;
  /** Highest sequence processed; −1: none yet. */
  last: number;
  /** Everything sequenced that came, own SENT too, in order. */
  readonly seen: FrameFields[];
  /** By user × 128, or 0 for a whole group. */
  readonly receipts: Map<number, { delivered: number; read: number }>;
}

export interface ForeignClientOptions {
  readonly url: string;
  readonly token: string;
}

/** How integers are written: as small as they go, or all as floats, as some languages' libraries do. */
export type Numbers = 'small' | 'float';

export class ForeignClient {
  readonly violations: string[] = [];
  numbers: Numbers = 'small';
  deviceKey = 0;
  closeCode = 0;
  /** Frames that are not part of any conversation's order, as they came. */
  readonly others: FrameFields[] = [];
  readonly #options: ForeignClientOptions;
  readonly #conversations = new Map<string, State>();
  readonly #waiters = new Set<() => void>();
  #socket: WebSocket | undefined;
  #isLive = false;
  #position = 0;
  #acked = 0;
  #unackedFrames = 0;
  #ackTimer: NodeJS.Timeout | undefined;
  #retryTimer: NodeJS.Timeout | undefined;

  constructor(options: ForeignClientOptions) {
    this.#options = options;
  }

  get userId(): number {
    return Math.floor(this.deviceKey / 128);
  }

  /** Connects and says HELLO with the position reached; resolves after CAUGHT_UP, when the outbox has been sent again. */
  async connect(): Promise<void> {
    const socket = new WebSocket(this.#options.url, {
      headers: { authorization: `Bearer ${this.#options.token}` },
      perMessageDeflate: false,
    });
    this.#socket = socket;
    this.closeCode = 0;
    socket.on('open', () => this.#write([{ kind: kinds.HELLO, inbox: this.#position, extra: VERSION }]));
    socket.on('message', (data: Buffer) => {
      if (socket === this.#socket) this.#receive(data);
    });
    socket.on('error', (error) => this.#closed(socket, 1006, error.message));
    socket.on('close', (code) => this.#closed(socket, code, ''));
    await this.until(() => this.#isLive || socket !== this.#socket, 'CAUGHT_UP');
    if (!this.#isLive) throw new Error(`the connection was refused or closed with ${this.closeCode}`);
  }

  #closed(socket: WebSocket, code: number, message: string): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    this.#isLive = false;
    this.closeCode = code;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#retryTimer);
    this.#ackTimer = undefined;
    this.#retryTimer = undefined;
    if (message !== '') this.violations.push(`the connection broke: ${message}`);
    this.#wake();
  }

  /** Cuts the connection as a lost network does. What is not acked comes again. */
  cut(): void {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#closed(socket, 1006, '');
    socket.terminate();
  }

  /** Acks, says BYE, and resolves when the server has closed. */
  async bye(): Promise<void> {
    this.#ack();
    this.#write([{ kind: kinds.BYE }]);
    await this.until(() => this.#socket === undefined, 'close after BYE');
  }

  /** Resolves when `isTrue`, which is asked after every WebSocket message. */
  async until(isTrue: () => boolean, what: string, timeoutMs = 20_000): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(ask);
        reject(new Error(`nothing came for ${timeoutMs} ms while waiting for ${what}`));
      }, timeoutMs);
      const ask = (): void => {
        if (!isTrue()) return;
        clearTimeout(timer);
        this.#waiters.delete(ask);
        resolve();
      };
      this.#waiters.add(ask);
      ask();
    });
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter();
  }

  of(conversation: ConversationOf): State {
    const key = conversation.join(':');
    let state = this.#conversations.get(key);
    if (state === undefined) {
      state = { nextCounter: 1, outbox: new Map(), outcomes: new Map(), last: -1, seen: [], receipts: new Map() };
      this.#conversations.set(key, state);
    }
    return state;
  }

  // --- sending -----------------------------------------------------------------------------------------------------------------

  /** Puts payloads into the outbox and, if live, on the wire in one WebSocket message. Returns their counters. */
  send(conversation: ConversationOf, payloads: readonly Uint8Array[], fields: Partial<FrameFields> = {}): number[] {
    const state = this.of(conversation);
    const frames = payloads.map((payload): Outgoing => {
      const [convA, convB] = conversation;
      return { kind: kinds.MESSAGE, ...fields, convA, convB, counter: state.nextCounter++, payload };
    });
    for (const frame of frames) state.outbox.set(frame.counter!, frame);
    if (this.#isLive) this.#write(frames);
    return frames.map((frame) => frame.counter!);
  }

  /** A group change: the payload is a msgpack array of user ids. */
  change(kind: number, conversation: ConversationOf, users: readonly number[], extra = 0): number {
    return this.send(conversation, [encode(users)], { kind, extra })[0]!;
  }

  /** Sends everything without an outcome again, in order, as after a doubtful silence. */
  sendAgain(): void {
    for (const state of this.#conversations.values()) this.#write([...state.outbox.values()]);
  }

  read(conversation: ConversationOf, seq: number): void {
    this.#write([{ kind: kinds.READ, convA: conversation[0], convB: conversation[1], seq }]);
  }

  /** Asks for the last counter that was taken, as a device must that lost its counters. */
  async recoverCounter(conversation: ConversationOf): Promise<void> {
    const [convA, convB] = conversation;
    const before = this.others.length;
    this.#write([{ kind: kinds.INFO, convA, convB }]);
    const answer = (): FrameFields | undefined =>
      this.others.slice(before).find(({ kind }) => kind === kinds.INFO || kind === kinds.REJECT);
    await this.until(() => answer() !== undefined, 'INFO');
    const found = answer()!;
    if (found.kind === kinds.INFO) this.of(conversation).nextCounter = found.counter + 1;
  }

  /** Any frames, as they are. */
  raw(frames: readonly Outgoing[]): void {
    this.#write(frames);
  }

  /** Any bytes, as they are. */
  rawBytes(bytes: Uint8Array): void {
    this.#socket?.send(bytes);
  }

  #write(frames: readonly Outgoing[]): void {
    for (let from = 0; from < frames.length; from += FRAMES_PER_MESSAGE) {
      const parts = frames.slice(from, from + FRAMES_PER_MESSAGE).map((frame) => this.#encode(frame));
      this.#socket?.send(Buffer.concat(parts));
    }
  }

  #encode(frame: Outgoing): Uint8Array {
    const { kind, flags = 0, convA = 0, convB = 0, device = 0, counter = 0 } = frame;
    const { seq = 0, inbox = 0, time = 0, extra = 0, payload = new Uint8Array(0) } = frame;
    const items = [kind, flags, convA, convB, device, counter, seq, inbox, time, extra, payload];
    return encode(items, { forceIntegerToFloat: this.numbers === 'float' });
  }

  // --- receiving -----------------------------------------------------------------------------------------------------------------

  #receive(data: Buffer): void {
    for (const item of decodeMulti(data)) {
      const frame = frameOf(item);
      if (frame === undefined) this.violations.push(`not a frame: ${JSON.stringify(item)}`);
      else this.#process(frame);
    }
    if (this.#unackedFrames >= ACK_FRAMES) this.#ack();
    else if (this.#position > this.#acked) this.#ackTimer ??= setTimeout(() => this.#ack(), ACK_DELAY_MS);
    this.#wake();
  }

  #ack(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#unackedFrames = 0;
    if (this.#position <= this.#acked || this.#socket === undefined) return;
    this.#acked = this.#position;
    this.#write([{ kind: kinds.ACK, inbox: this.#position }]);
  }

  #process(frame: FrameFields): void {
    if (frame.inbox > 0 && frame.kind !== kinds.WELCOME && frame.kind !== kinds.CAUGHT_UP) {
      this.#position = Math.max(this.#position, frame.inbox);
      this.#unackedFrames++;
    }
    if (frame.kind <= kinds.GROUP_ROLE) this.#sequenced(frame);
    else if (frame.kind === kinds.SENT) this.#sent(frame);
    else if (frame.kind === kinds.REJECT && frame.counter > 0) this.#rejected(frame);
    else if (frame.kind === kinds.GAP) this.#gap(frame);
    else if (frame.kind === kinds.RECEIPT) this.#receipt(frame);
    else if (frame.kind === kinds.WELCOME) this.deviceKey = frame.device;
    else if (frame.kind === kinds.CAUGHT_UP) this.#caughtUp();
    else this.others.push(frame);
  }

  #caughtUp(): void {
    this.#isLive = true;
    this.sendAgain();
  }

  /** What stands in the conversation's order: the next sequence, or a repetition to be dropped. */
  #sequenced(frame: FrameFields): void {
    const state = this.of([frame.convA, frame.convB]);
    if (frame.seq <= state.last) return;
    if (state.last >= 0 && frame.seq !== state.last + 1) {
      this.violations.push(`(${frame.convA}, ${frame.convB}): sequence ${frame.seq} came after ${state.last}`);
    }
    if (frame.inbox === 0) this.violations.push(`sequence ${frame.seq} has no position`);
    state.last = frame.seq;
    state.seen.push(frame);
  }

  #sent(frame: FrameFields): void {
    const state = this.of([frame.convA, frame.convB]);
    this.#settle(state, frame.counter, { isTaken: true, seq: frame.seq, code: 0 });
    if ((frame.flags & DUPLICATE) === 0) this.#sequenced(frame);
    else if (frame.inbox !== 0) this.violations.push('a duplicate has a position');
  }

  #settle(state: State, counter: number, outcome: Outcome): void {
    const known = state.outcomes.get(counter);
    const isOther =
      known !== undefined &&
      (known.isTaken !== outcome.isTaken || (outcome.seq !== 0 && known.seq !== 0 && known.seq !== outcome.seq));
    if (isOther) this.violations.push(`counter ${counter} has two outcomes`);
    if (known === undefined || known.seq === 0) state.outcomes.set(counter, outcome);
    state.outbox.delete(counter);
  }

  #rejected(frame: FrameFields): void {
    const state = this.of([frame.convA, frame.convB]);
    this.others.push(frame);
    if (!RETRYABLE.has(frame.extra)) {
      this.#settle(state, frame.counter, { isTaken: false, seq: 0, code: frame.extra });
      return;
    }
    // Everything behind a refused frame is refused as well: one timer for the whole burst.
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#isLive) this.sendAgain();
    }, RETRY_MS);
  }

  #gap(frame: FrameFields): void {
    const state = this.of([frame.convA, frame.convB]);
    if (frame.seq > state.last) state.last = frame.seq;
  }

  #receipt(frame: FrameFields): void {
    const { receipts } = this.of([frame.convA, frame.convB]);
    const known = receipts.get(frame.device) ?? { delivered: 0, read: 0 };
    receipts.set(frame.device, {
      delivered: Math.max(known.delivered, frame.seq),
      read: Math.max(known.read, frame.extra),
    });
  }
}

/** The fields of a decoded frame, or undefined if the server sent something else. */
function frameOf(item: unknown): FrameFields | undefined {
  if (!Array.isArray(item) || item.length !== 11) return undefined;
  const numbers = item.slice(0, 10) as unknown[];
  const payload: unknown = item[10];
  if (!numbers.every(Number.isSafeInteger) || !(payload instanceof Uint8Array)) return undefined;
  const [kind, flags, convA, convB, device, counter, seq, inbox, time, extra] = numbers as number[];
  return {
    kind: kind!,
    flags: flags!,
    convA: convA!,
    convB: convB!,
    device: device!,
    counter: counter!,
    seq: seq!,
    inbox: inbox!,
    time: time!,
    extra: extra!,
    payload,
  };
}
