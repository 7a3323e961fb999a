/**
 * What the Node and the browser client share: a ClientCore with real timers, promises and one WebSocket at a time. What
 * differs between the two comes in as a `Platform`.
 */
import { CloseCodes, DunlinError, errorOfCode } from '../core/errors.js';
import { Flag, Kind } from '../core/frame.js';
import {
  type ConversationId,
  deviceKey,
  directConversation,
  groupConversation,
  isDeviceNumber,
  isUserId,
  numberOfDevice,
  userOfDevice,
} from '../core/ids.js';
import { BACKOFF_BASE_MS, GROUP_ID_MAX, GROUP_MEMBERS_MAX, MESSAGE_BYTES_MAX } from '../core/limits.js';
import {
  type DeviceRow,
  encodeMembers,
  type MemberRow,
  readDeviceRows,
  readMemberRows,
  readMembers,
} from '../core/members.js';
import { Prng } from '../core/prng.js';
import { ClientCore, type ClientEvents, GapReason, LinkState, nameOfLinkState, type SendOptions } from './core.js';
import { Emitter } from './emitter.js';
import type { FrameView } from './view.js';
import { WriteAhead } from './write-ahead.js';

/** Where a client keeps its state. `save` replaces what was there, all or nothing. */
export interface ClientStorage {
  load(): Promise<Uint8Array | undefined>;
  save(state: Uint8Array): Promise<void>;
}

/** One WebSocket, as a platform opens it. */
export interface Transport {
  /** Bytes accepted by `send` and not on the network yet. */
  readonly bufferedAmount: number;
  send(bytes: Uint8Array): void;
  close(code: number, reason: string): void;
}

/** What a platform reports of a transport. Nothing comes after `closed`, and `closed` comes once. */
export interface TransportEvents {
  opened(): void;
  received(bytes: Uint8Array): void;
  closed(code: number, reason: string, retryAfterMs: number): void;
}

export interface Platform {
  open(url: string, token: string, events: TransportEvents): Transport;
  /** Milliseconds since some moment; never falls. */
  nowMs(): number;
  /** 53 random bits. */
  seed(): number;
}

export interface ClientOptions {
  /** `ws://host:8480/socket` or `wss://…`. */
  readonly url: string;
  /** A JWT, or a function that gets one; it is called for every attempt to connect, so that tokens may expire. */
  readonly token: string | (() => string | Promise<string>);
  /** Without storage, what is in the outbox is lost with the process. */
  readonly storage?: ClientStorage | undefined;
  /** 'manual': a message counts as processed when its `acknowledge()` is called. Default 'auto': when handlers return. */
  readonly acknowledge?: 'auto' | 'manual' | undefined;
  /** The device number was never used before: saves one question a conversation. Default false. */
  readonly freshDevice?: boolean | undefined;
}

export interface ReceivedMessage {
  readonly conversation: ConversationId;
  /** The sender; `device` is its device key. May be this user, from another of its devices. */
  readonly user: number;
  readonly device: number;
  readonly seq: number;
  readonly counter: number;
  readonly timeMs: number;
  readonly payload: Uint8Array;
  /** The payload was left out: there was none for this device. */
  readonly isEnvelope: boolean;
  /** Position in the inbox. */
  readonly position: number;
  /** This message, and everything before it, is processed. */
  acknowledge(): void;
}

export interface GroupChange extends Omit<ReceivedMessage, 'payload' | 'isEnvelope' | 'acknowledge'> {
  readonly change: 'create' | 'add' | 'remove' | 'leave' | 'role';
  readonly users: readonly number[];
  /** Change 'role': what the users are now. */
  readonly isAdmin: boolean;
}

export interface Outcome {
  readonly conversation: ConversationId;
  readonly counter: number;
  /** The application's number for this send; 0: none. */
  readonly tag: number;
}

export interface Sent extends Outcome {
  /** 0: the server no longer knows it. */
  readonly seq: number;
  readonly timeMs: number;
}

export interface Rejected extends Outcome {
  readonly code: number;
  readonly text: string;
  /** False: the client sends it again by itself. */
  readonly final: boolean;
}

export interface Receipt {
  readonly conversation: ConversationId;
  /** 0: all members of the group. */
  readonly user: number;
  readonly delivered: number;
  readonly read: number;
}

export interface ConversationInfo {
  readonly conversation: ConversationId;
  readonly head: number;
  readonly members: readonly MemberRow[];
}

export interface ClientState {
  readonly state: 'closed' | 'offline' | 'connecting' | 'hello' | 'catching-up' | 'live';
  /** Offline: milliseconds until the next attempt. */
  readonly reconnectInMs?: number;
  /** Offline or closed: why. */
  readonly code?: number;
  readonly reason?: string;
}

export interface ShellEvents {
  message: ReceivedMessage;
  group: GroupChange;
  sent: Sent;
  rejected: Rejected;
  receipt: Receipt;
  typing: { readonly conversation: ConversationId; readonly user: number; readonly started: boolean };
  presence: { readonly user: number; readonly online: boolean; readonly lastSeenMs: number };
  gap: {
    readonly conversation: ConversationId;
    readonly from: number;
    readonly through: number;
    readonly reason: number;
  };
  block: { readonly user: number; readonly blocked: boolean };
  info: ConversationInfo;
  state: ClientState;
  caughtUp: { readonly position: number };
  /** The server broke the protocol, or storage or the token function failed. The client goes on. */
  problem: { readonly text: string };
}

/** A send that was refused for good. */
export class RejectedError extends Error {
  override readonly name = 'RejectedError';
  readonly code: number;
  readonly codeName: string;

  constructor(code: number, text: string) {
    super(text);
    this.code = code;
    this.codeName = errorOfCode(code)?.name ?? 'UNKNOWN';
  }
}

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

const CHANGES = new Map<number, GroupChange['change']>([
  [Kind.GROUP_CREATE, 'create'],
  [Kind.GROUP_ADD, 'add'],
  [Kind.GROUP_REMOVE, 'remove'],
  [Kind.GROUP_LEAVE, 'leave'],
  [Kind.GROUP_ROLE, 'role'],
]);

/** Time that the server has to close after BYE. */
const GOODBYE_MS = 2_000;
/** A full socket buffer is looked at again after this time. */
const BUFFER_CHECK_MS = 20;
const EMPTY = new Uint8Array(0);

export class ClientShell extends Emitter<ShellEvents> {
  readonly #platform: Platform;
  readonly #options: ClientOptions;
  #core: ClientCore | undefined;
  #transport: Transport | undefined;
  /** Counts attempts, so that a late answer to an old one is noticed. */
  #attempt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Only with a storage. */
  #ahead: WriteAhead | undefined;
  /** Within a call of the core. */
  #isInside = false;
  #lastReason = '';
  #startup: Waiting<void> | undefined;
  #closing: (() => void) | undefined;
  readonly #sends = new Map<string, Waiting<Sent>>();
  readonly #infos = new Map<string, Waiting<ConversationInfo>[]>();
  #devicesWaiting: Waiting<DeviceRow[]>[] = [];
  #streams: MessageStream[] = [];

  constructor(options: ClientOptions, platform: Platform) {
    super();
    this.#options = options;
    this.#platform = platform;
  }

  // --- life ---------------------------------------------------------------------------------------------------------------

  /** Loads the saved state, so that `send` works before the first connection stands. Called by `connect` if need be. */
  async prepare(): Promise<void> {
    if (this.#core !== undefined) return;
    const device = deviceOfToken(await this.#token());
    const snapshot = await this.#options.storage?.load();
    const random = new Prng(this.#platform.seed());
    const acknowledge = this.#options.acknowledge === 'manual' ? 'messages' : 'auto';
    const { freshDevice } = this.#options;
    const renewsToken = typeof this.#options.token !== 'string';
    const options = { device, random, snapshot, acknowledge, freshDevice, renewsToken } as const;
    this.#core = new ClientCore(options, this.#coreEvents());
    if (this.#options.storage !== undefined) this.#ahead = new WriteAhead(this.#core);
  }

  /**
   * Connects; resolves when the inbox has been caught up with. Attach handlers before: messages come during this call.
   * Rejects if the connection is refused for good; lost connections are made again without a word beyond `state` events.
   */
  async connect(): Promise<void> {
    await this.prepare();
    const core = this.#live();
    if (core.state !== LinkState.CLOSED) throw new DunlinError('The client is connected already.');
    await new Promise<void>((resolve, reject) => {
      this.#startup = { resolve, reject };
      this.#enter((nowMs) => core.start(nowMs));
    });
  }

  /** Says goodbye and saves. What is in the outbox goes out after the next `connect` from the same storage. */
  async close(): Promise<void> {
    const core = this.#core;
    if (core === undefined || core.state === LinkState.CLOSED) return;
    const timer = setTimeout(() => this.#abandon(CloseCodes.NORMAL.code, 'no answer to the goodbye'), GOODBYE_MS);
    await new Promise<void>((resolve) => {
      this.#closing = resolve;
      core.stop(this.#platform.nowMs());
      this.#pump();
    });
    clearTimeout(timer);
    if (this.#ahead?.isSaved !== false) return;
    await this.#options.storage!.save(core.snapshot());
  }

  /** This device's key; its user. Known once `connect` was called. */
  get device(): number {
    return this.#live().device;
  }

  get user(): number {
    return userOfDevice(this.device);
  }

  get deviceNumber(): number {
    return numberOfDevice(this.device);
  }

  /** Sends without an outcome. */
  get outboxSize(): number {
    return this.#core?.outboxSize ?? 0;
  }

  get isLive(): boolean {
    return this.#core?.isLive ?? false;
  }

  /** The network is back: try now, whatever the backoff says. */
  reconnectNow(): void {
    if (this.#core?.state !== LinkState.OFFLINE) return;
    this.#core.start(this.#platform.nowMs());
    this.#pump();
  }

  // --- what the application does ----------------------------------------------------------------------------------------------

  /** The conversation with another user. */
  direct(user: number): ConversationId {
    return directConversation(this.user, user);
  }

  group(id: number): ConversationId {
    return groupConversation(id);
  }

  /**
   * Sends a message; a string goes as UTF-8. Resolves when it was taken, whenever that is, over any number of reconnects;
   * rejects with a RejectedError if it was refused for good, with a DunlinError if it could never be, or the outbox is full.
   */
  async send(conversation: ConversationId, payload: Uint8Array | string, options: SendOptions = {}): Promise<Sent> {
    const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload.slice();
    const core = this.#live();
    const counter = core.send(conversation.a, conversation.b, bytes, this.#platform.nowMs(), options);
    if (counter === 0) throw new DunlinError(`The outbox is full: ${core.outboxSize} sends wait for their outcome.`);
    this.#ahead?.due();
    return await new Promise<Sent>((resolve, reject) => {
      this.#sends.set(keyOf(conversation.a, conversation.b, counter), { resolve, reject });
      this.#pump();
    });
  }

  /** Creates a group of this user and `users`, under a random id unless one is given. */
  async createGroup(users: readonly number[], id?: number): Promise<ConversationId> {
    const conversation = groupConversation(id ?? (this.#platform.seed() % GROUP_ID_MAX) + 1);
    await this.send(conversation, encodeUsers(users), { kind: Kind.GROUP_CREATE });
    return conversation;
  }

  async addMembers(group: ConversationId, users: readonly number[]): Promise<Sent> {
    return await this.send(group, encodeUsers(users), { kind: Kind.GROUP_ADD });
  }

  async removeMembers(group: ConversationId, users: readonly number[]): Promise<Sent> {
    return await this.send(group, encodeUsers(users), { kind: Kind.GROUP_REMOVE });
  }

  async leave(group: ConversationId): Promise<Sent> {
    return await this.send(group, EMPTY, { kind: Kind.GROUP_LEAVE });
  }

  async setAdmin(group: ConversationId, users: readonly number[], isAdmin: boolean): Promise<Sent> {
    return await this.send(group, encodeUsers(users), { kind: Kind.GROUP_ROLE, role: isAdmin ? 1 : 0 });
  }

  /** Everything up to `seq` was read. Saved at once, though it is told to the others within half a second only. */
  read(conversation: ConversationId, seq: number): void {
    this.#live().read(conversation.a, conversation.b, seq);
    this.#ahead?.due();
    this.#pump();
  }

  typing(conversation: ConversationId, started: boolean): void {
    this.#live().typing(conversation.a, conversation.b, started);
    this.#pump();
  }

  /** `presence` events of a user, now and on change, until `unwatch`. */
  watch(user: number): void {
    this.#live().watch(user);
    this.#pump();
  }

  unwatch(user: number): void {
    this.#live().unwatch(user);
    this.#pump();
  }

  block(user: number, blocked = true): void {
    this.#live().block(user, blocked, this.#platform.nowMs());
    this.#ahead?.due();
    this.#pump();
  }

  /** Members and watermarks of a conversation. */
  async info(conversation: ConversationId): Promise<ConversationInfo> {
    const { a, b } = conversation;
    this.#live().info(a, b);
    return await new Promise((resolve, reject) => {
      const key = keyOf(a, b, 0);
      this.#infos.set(key, [...(this.#infos.get(key) ?? []), { resolve, reject }]);
      this.#pump();
    });
  }

  async devices(): Promise<DeviceRow[]> {
    this.#live().devices(this.#platform.nowMs());
    return await new Promise((resolve, reject) => {
      this.#devicesWaiting.push({ resolve, reject });
      this.#pump();
    });
  }

  removeDevice(number: number): void {
    this.#live().removeDevice(number);
    this.#pump();
  }

  /**
   * The messages from now on, in order, until the client is closed. With `acknowledge: 'manual'` asking for the next one
   * acknowledges the one before. What the loop has not taken yet waits in memory.
   */
  messages(): AsyncIterableIterator<ReceivedMessage> {
    const stream = new MessageStream(this.#options.acknowledge === 'manual');
    this.#streams.push(stream);
    return stream;
  }

  #live(): ClientCore {
    if (this.#core === undefined) throw new DunlinError('Call connect() or prepare() first.');
    return this.#core;
  }

  // --- the loop -----------------------------------------------------------------------------------------------------------

  /** Calls into the core, whose events may call back into this shell; `#pump` follows when the core is done. */
  #enter(call: (nowMs: number) => void): void {
    this.#isInside = true;
    try {
      call(this.#platform.nowMs());
    } finally {
      this.#isInside = false;
    }
    this.#pump();
  }

  /** Does whatever is due now. Cheap to call too often. */
  #pump(): void {
    const core = this.#core;
    if (core === undefined || this.#isInside) return;
    const nowMs = this.#platform.nowMs();
    this.#isInside = true;
    if (nowMs >= core.wakeAtMs) core.tick(nowMs);
    if (core.wantsConnection(nowMs)) void this.#open(core, nowMs);
    this.#isInside = false;
    const ahead = this.#ahead;
    const isFull = ahead === undefined ? this.#transmit(core, nowMs) : this.#saveAndTransmit(ahead, nowMs);
    clearTimeout(this.#timer);
    let wakeAtMs = isFull ? Math.min(core.wakeAtMs, nowMs + BUFFER_CHECK_MS) : core.wakeAtMs;
    // What is due may wait for the storage; it is not asked for all the time.
    if (ahead?.isSaving === true) wakeAtMs = Math.max(wakeAtMs, nowMs + BUFFER_CHECK_MS);
    if (wakeAtMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#pump(), Math.min(Math.max(wakeAtMs - nowMs, 1), 2 ** 31 - 1));
  }

  get #hasRoom(): boolean {
    return this.#transport !== undefined && this.#transport.bufferedAmount < MESSAGE_BYTES_MAX;
  }

  /** Returns true if the socket's buffer is full. */
  #transmit(core: ClientCore, nowMs: number): boolean {
    while (this.#hasRoom) {
      const output = core.takeOutput(nowMs);
      if (output === undefined) return false;
      this.#transport!.send(output);
    }
    return this.#transport !== undefined;
  }

  /** What goes out is known to the storage before it goes: see WriteAhead. */
  #saveAndTransmit(ahead: WriteAhead, nowMs: number): boolean {
    const step = ahead.next(nowMs, () => this.#hasRoom);
    if (step === undefined) return false;
    if (step.state === undefined) for (const output of step.outputs) this.#transport!.send(output);
    else void this.#saveThenSend(ahead, step.state, step.outputs);
    return this.#transport !== undefined && !this.#hasRoom;
  }

  async #saveThenSend(ahead: WriteAhead, state: Uint8Array, outputs: readonly Uint8Array[]): Promise<void> {
    const transport = this.#transport;
    for (;;) {
      try {
        await this.#options.storage!.save(state);
        break;
      } catch (error) {
        this.emit('problem', { text: `The client's state could not be saved: ${textOf(error)}` });
        await new Promise((resolve) => setTimeout(resolve, BACKOFF_BASE_MS));
      }
    }
    ahead.saved();
    if (transport === this.#transport) for (const output of outputs) transport?.send(output);
    this.#pump();
  }

  async #token(): Promise<string> {
    const { token } = this.#options;
    return typeof token === 'string' ? token : await token();
  }

  async #open(core: ClientCore, nowMs: number): Promise<void> {
    const attempt = ++this.#attempt;
    core.connecting(nowMs);
    let token: string;
    try {
      token = await this.#token();
    } catch (error) {
      this.emit('problem', { text: `No token: ${textOf(error)}` });
      if (attempt === this.#attempt) this.#closed(1006, 'no token', 0);
      return;
    }
    if (attempt !== this.#attempt) return;
    try {
      this.#transport = this.#platform.open(this.#options.url, token, this.#transportEvents(core, attempt));
    } catch (error) {
      this.#closed(CloseCodes.BAD_PROTOCOL.code, `${this.#options.url}: ${textOf(error)}`, 0);
    }
  }

  #transportEvents(core: ClientCore, attempt: number): TransportEvents {
    const isCurrent = (): boolean => attempt === this.#attempt;
    return {
      opened: () => {
        if (isCurrent()) this.#enter((nowMs) => core.opened(nowMs));
      },
      received: (bytes) => {
        if (isCurrent()) this.#enter((nowMs) => core.received(bytes, nowMs));
      },
      closed: (code, reason, retryAfterMs) => {
        if (isCurrent()) this.#closed(code, reason, retryAfterMs);
      },
    };
  }

  #closed(code: number, reason: string, retryAfterMs: number): void {
    this.#attempt++;
    this.#transport = undefined;
    this.#lastReason = reason;
    this.#enter((nowMs) => this.#core?.closed(code, nowMs, retryAfterMs));
  }

  /** The client gives the transport up. */
  #abandon(code: number, reason: string): void {
    const transport = this.#transport;
    this.#closed(code, reason, 0);
    transport?.close(code, reason);
  }

  // --- what the core tells ----------------------------------------------------------------------------------------------------

  #coreEvents(): ClientEvents {
    return {
      disconnect: (code, reason) => {
        const transport = this.#transport;
        this.#transport = undefined;
        this.#attempt++;
        transport?.close(code, reason);
      },
      state: (state) => {
        if (state > LinkState.OFFLINE) this.emit('state', { state: stateName(state) });
      },
      closed: (code, final, reconnectAtMs) => this.#ended(code, final, reconnectAtMs),
      caughtUp: (position) => {
        this.#startup?.resolve();
        this.#startup = undefined;
        this.emit('caughtUp', { position });
      },
      message: (frame) => this.#message(frame),
      groupChange: (frame) => this.#groupChange(frame),
      violation: (text) => this.emit('problem', { text }),
      gap: (a, b, from, through, reason) => this.emit('gap', { conversation: { a, b }, from, through, reason }),
      receipt: (a, b, user, delivered, read) => {
        this.emit('receipt', { conversation: { a, b }, user, delivered, read });
      },
      typing: (a, b, device, started) => {
        this.emit('typing', { conversation: { a, b }, user: userOfDevice(device), started });
      },
      presence: (user, online, lastSeenMs) => this.emit('presence', { user, online, lastSeenMs }),
      block: (user, blocked) => this.emit('block', { user, blocked }),
      ...this.#outcomeEvents(),
    };
  }

  #outcomeEvents(): ClientEvents {
    return {
      sent: (a, b, counter, seq, timeMs, tag) => {
        const sent = { conversation: { a, b }, counter, seq, timeMs, tag };
        this.#takeSend(keyOf(a, b, counter))?.resolve(sent);
        this.emit('sent', sent);
      },
      rejected: (a, b, counter, code, text, final, tag) => {
        if (final) this.#refuse(a, b, counter, new RejectedError(code, text));
        this.emit('rejected', { conversation: { a, b }, counter, tag, code, text, final });
      },
      renumbered: (a, b, from, to) => {
        const waiting = this.#takeSend(keyOf(a, b, from));
        if (waiting !== undefined) this.#sends.set(keyOf(a, b, to), waiting);
      },
      info: (a, b, head, _counter, payload) => {
        const info = { conversation: { a, b }, head, members: readMemberRows(payload) ?? [] };
        const key = keyOf(a, b, 0);
        for (const { resolve } of this.#infos.get(key) ?? []) resolve(info);
        this.#infos.delete(key);
        this.emit('info', info);
      },
      devices: (payload) => {
        const devices = readDeviceRows(payload) ?? [];
        for (const { resolve } of this.#devicesWaiting) resolve(devices);
        this.#devicesWaiting = [];
      },
    };
  }

  #takeSend(key: string): Waiting<Sent> | undefined {
    const waiting = this.#sends.get(key);
    this.#sends.delete(key);
    return waiting;
  }

  /** Counter 0: a question was refused, not a send. */
  #refuse(a: number, b: number, counter: number, error: RejectedError): void {
    const key = keyOf(a, b, counter);
    this.#takeSend(key)?.reject(error);
    if (counter !== 0) return;
    for (const { reject } of this.#infos.get(key) ?? []) reject(error);
    this.#infos.delete(key);
  }

  #message(frame: FrameView): void {
    const { payload, flags } = frame;
    const message = {
      ...this.#origin(frame),
      payload: payload.slice(),
      isEnvelope: (flags & Flag.ENVELOPE) !== 0,
    };
    for (const stream of this.#streams) stream.push(message);
    this.emit('message', message);
  }

  #groupChange(frame: FrameView): void {
    const { payload } = frame;
    const users = readMembers(payload, 0, payload.length, GROUP_MEMBERS_MAX) ?? [];
    const change = CHANGES.get(frame.kind)!;
    const { acknowledge: _, ...origin } = this.#origin(frame);
    const event = { ...origin, change, users, isAdmin: frame.extra === 1 };
    this.emit('group', event);
  }

  #origin(frame: FrameView): Omit<ReceivedMessage, 'payload' | 'isEnvelope'> {
    const { convA: a, convB: b, device, seq, counter, time: timeMs, inbox: position } = frame;
    const acknowledge = (): void => {
      this.#core?.acknowledge(position, this.#platform.nowMs());
      this.#ahead?.due();
      this.#pump();
    };
    return { conversation: { a, b }, user: userOfDevice(device), device, seq, counter, timeMs, position, acknowledge };
  }

  #ended(code: number, final: boolean, reconnectAtMs: number): void {
    const reason = this.#lastReason;
    this.#lastReason = '';
    if (!final) {
      const reconnectInMs = Math.max(0, Math.round(reconnectAtMs - this.#platform.nowMs()));
      this.emit('state', { state: 'offline', reconnectInMs, code, reason });
      return;
    }
    clearTimeout(this.#timer);
    const text = reason === '' ? `The connection was closed for good with code ${code}.` : reason;
    this.#startup?.reject(new DunlinError(text));
    this.#startup = undefined;
    for (const stream of this.#streams) stream.end();
    this.#streams = [];
    this.#closing?.();
    this.#closing = undefined;
    this.emit('state', { state: 'closed', code, reason });
  }
}

/** The messages of one `for await`. */
class MessageStream implements AsyncIterableIterator<ReceivedMessage> {
  readonly #isManual: boolean;
  readonly #queue: ReceivedMessage[] = [];
  #taken: ReceivedMessage | undefined;
  #waiting: ((result: IteratorResult<ReceivedMessage>) => void) | undefined;
  #ended = false;

  constructor(isManual: boolean) {
    this.#isManual = isManual;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  push(message: ReceivedMessage): void {
    if (this.#ended) return;
    this.#queue.push(message);
    this.#serve();
  }

  end(): void {
    this.#ended = true;
    this.#serve();
  }

  async next(): Promise<IteratorResult<ReceivedMessage>> {
    if (this.#isManual) this.#taken?.acknowledge();
    this.#taken = undefined;
    return await new Promise((resolve) => {
      this.#waiting = resolve;
      this.#serve();
    });
  }

  /** The loop was left. */
  return(): Promise<IteratorResult<ReceivedMessage>> {
    this.#queue.length = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #serve(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const message = this.#queue.shift();
    if (message === undefined && !this.#ended) return;
    this.#waiting = undefined;
    this.#taken = message;
    if (message === undefined) waiting({ done: true, value: undefined });
    else waiting({ done: false, value: message });
  }
}

/** A member list, of ids that the backbone would take. */
function encodeUsers(users: readonly number[]): Uint8Array {
  const wrong = users.find((user) => !isUserId(user));
  if (wrong !== undefined) throw new DunlinError(`${wrong} is not a user id.`);
  if (users.length > GROUP_MEMBERS_MAX) {
    throw new DunlinError(`${users.length} users are over the limit of ${GROUP_MEMBERS_MAX} members of a group.`);
  }
  return encodeMembers(users);
}

function keyOf(a: number, b: number, counter: number): string {
  return `${a}:${b}:${counter}`;
}

function stateName(state: number): ClientState['state'] {
  return nameOfLinkState(state).toLowerCase().replace('_', '-') as ClientState['state'];
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The device that a token speaks for. The signature is the server's business. */
export function deviceOfToken(token: string): number {
  let claims: { sub?: unknown; dev?: unknown };
  try {
    const body = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    claims = JSON.parse(atob(body)) as typeof claims;
  } catch {
    throw new DunlinError('The token is not a JWT: three parts of base64url with dots between.');
  }
  const user = Number(claims.sub);
  const number = Number(claims.dev);
  if (!isUserId(user) || !isDeviceNumber(number)) {
    throw new DunlinError(
      `The token is for user ${String(claims.sub)}, device ${String(claims.dev)}; it needs sub: 1 to 2^45 − 1, dev: 1 to 127.`,
    );
  }
  return deviceKey(user, number);
}

export { GapReason };
