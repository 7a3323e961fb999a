/**
 * A small server that speaks docs/protocol.md out of plain maps, for tests of the load generator only: it has no disk, no
 * limits and no speed. Planted faults show that the generator notices each of them.
 */
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { ErrorCodes } from '../../core/errors.js';
import { encodeFrame, type Frame, isSequenced, Kind, makeFrame, readFrames } from '../../core/frame.js';
import { directConversation, userOfDevice } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR } from '../../core/limits.js';
import { MsgpackReader } from '../../core/msgpack.js';

/** What the server gets wrong. Each happens at the `faultAt`-th message that it sequences, or from then on. */
export type Fault =
  | 'none'
  /** One device never gets one message. */
  | 'lose'
  /** The last messages of a conversation are acknowledged and then reach nobody. */
  | 'lose-tail'
  /** One message is sequenced twice. */
  | 'double'
  /** Two messages of two senders change places for one device. */
  | 'swap'
  /** Two messages of one sender are sequenced the wrong way round. */
  | 'reorder'
  /** A sequence is left out for everyone. */
  | 'gap'
  /** A message that nobody sent. */
  | 'invent'
  /** A byte of one message changes on its way to one device. */
  | 'alter'
  /** A message is rejected for good, and delivered all the same. */
  | 'reject-deliver'
  /** No receipt is sent from then on. */
  | 'forget-receipts'
  /** A receipt names a sequence that does not exist. */
  | 'receipt-ahead'
  /** A reconnect skips what waits in the inbox. */
  | 'resume-skip';

export interface FakeServerOptions {
  readonly port?: number;
  readonly fault?: Fault;
  readonly faultAt?: number;
}

interface Device {
  key: number;
  cursor: number;
  socket: WebSocket | undefined;
  /** HELLO has come on this socket. */
  greeted: boolean;
  out: Uint8Array[];
}

interface Entry {
  position: number;
  frame: Frame;
}

interface User {
  id: number;
  inbox: Entry[];
  position: number;
  devices: Map<number, Device>;
}

interface Conversation {
  a: number;
  b: number;
  seq: number;
  members: Map<number, { delivered: number; read: number; lastSent: number }>;
  admins: Set<number>;
  counters: Map<number, number>;
  aggregate: { delivered: number; read: number };
}

function keyOf(a: number, b: number): string {
  return `${a}:${b}`;
}

function readUsers(payload: Uint8Array): number[] {
  const reader = new MsgpackReader(payload, 0, payload.length);
  const users: number[] = [];
  for (let left = reader.arrayLength(); left > 0; left--) users.push(reader.integer(Number.MAX_SAFE_INTEGER));
  return users;
}

/** The claims of a token, believed without looking at its signature. */
function readToken(header: string | undefined): { user: number; device: number } | undefined {
  const body = header?.split('.')[1];
  if (body === undefined) return undefined;
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as { sub: string; dev: number };
  return { user: Number(claims.sub), device: claims.dev };
}

export class FakeServer {
  readonly #fault: Fault;
  readonly #faultAt: number;
  readonly #users = new Map<number, User>();
  readonly #conversations = new Map<string, Conversation>();
  #server: WebSocketServer | undefined;
  #port: number;
  #sequenced = 0;
  #faulted = false;
  /** For `swap`: what is held back until the next one comes. */
  #held: { frame: Frame; device: Device } | undefined;
  #flushing = false;
  readonly #dirty = new Set<Device>();

  constructor(options: FakeServerOptions = {}) {
    this.#fault = options.fault ?? 'none';
    this.#faultAt = options.faultAt ?? 50;
    this.#port = options.port ?? 0;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.#port}/socket`;
  }

  /** True once the planted fault has happened. */
  get faulted(): boolean {
    return this.#faulted;
  }

  async start(): Promise<void> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: this.#port, perMessageDeflate: false });
    await new Promise<void>((resolve) => server.once('listening', resolve));
    this.#port = (server.address() as AddressInfo).port;
    server.on('connection', (socket, request) => {
      const token = readToken(request.headers.authorization);
      if (!token) socket.close(4101);
      else this.#connection(socket, this.#deviceOf(token.user, token.device));
    });
    this.#server = server;
  }

  /** Cuts every connection and stops listening; state stays for the next start. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    for (const socket of server.clients) socket.terminate();
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }

  #userOf(id: number): User {
    let user = this.#users.get(id);
    if (!user) {
      user = { id, inbox: [], position: 0, devices: new Map() };
      this.#users.set(id, user);
    }
    return user;
  }

  #deviceOf(userId: number, number: number): Device {
    const user = this.#userOf(userId);
    let device = user.devices.get(number);
    if (!device) {
      // What came before a device was known is owed to the others only; the first gets what waits.
      const cursor = user.devices.size === 0 ? 0 : user.position;
      device = { key: userId * DEVICE_KEY_FACTOR + number, cursor, socket: undefined, greeted: false, out: [] };
      user.devices.set(number, device);
    }
    return device;
  }

  #conversationOf(a: number, b: number): Conversation | undefined {
    const known = this.#conversations.get(keyOf(a, b));
    if (known || a === 0) return known;
    return this.#newConversation(a, b, [a, b], []);
  }

  #newConversation(a: number, b: number, members: number[], admins: number[]): Conversation {
    const conversation: Conversation = {
      a,
      b,
      seq: 0,
      members: new Map(members.map((user) => [user, { delivered: 0, read: 0, lastSent: 0 }])),
      admins: new Set(admins),
      counters: new Map(),
      aggregate: { delivered: 0, read: 0 },
    };
    this.#conversations.set(keyOf(a, b), conversation);
    return conversation;
  }

  #connection(socket: WebSocket, device: Device): void {
    device.socket?.terminate();
    device.socket = socket;
    device.out = [];
    device.greeted = false;
    socket.on('message', (data: Buffer) => {
      if (device.socket !== socket) return;
      for (const frame of this.#reorder(device, readFrames(data))) {
        if (frame.kind === Kind.HELLO) {
          device.greeted = true;
          this.#hello(device, frame);
        } else if (device.greeted) this.#take(device, frame);
      }
    });
    socket.on('close', () => {
      if (device.socket !== socket) return;
      device.socket = undefined;
      device.greeted = false;
    });
    socket.on('error', () => {});
  }

  #hello(device: Device, frame: Frame): void {
    const user = this.#userOf(userOfDevice(device.key));
    const skips = this.#fault === 'resume-skip' && frame.inbox > 0 && !this.#faulted;
    const from = Math.max(device.cursor, frame.inbox);
    const waiting = user.inbox.filter((entry) => entry.position > from);
    this.#send(device, makeFrame({ kind: Kind.WELCOME, inbox: user.position, extra: 30_000, device: device.key }));
    if (skips && waiting.length > 0) {
      this.#faulted = true;
      waiting.shift();
    }
    for (const entry of waiting) this.#send(device, this.#view(entry, device));
    this.#send(device, makeFrame({ kind: Kind.CAUGHT_UP, inbox: user.position }));
  }

  /** An inbox entry as one device sees it: its own sends come as SENT. */
  #view(entry: Entry, device: Device): Frame {
    const { frame, position } = entry;
    if (!isSequenced(frame.kind) || frame.device !== device.key) return { ...frame, inbox: position };
    return { ...frame, kind: Kind.SENT, inbox: position, payload: new Uint8Array(0) };
  }

  #take(device: Device, frame: Frame): void {
    const sent = { ...frame, device: device.key, payload: frame.payload.slice() };
    if (isSequenced(frame.kind)) this.#sequence(device, sent);
    else if (frame.kind === Kind.ACK) this.#ack(device, frame.inbox);
    else if (frame.kind === Kind.READ) this.#read(device, frame);
    else if (frame.kind === Kind.INFO) this.#info(device, frame);
    else if (frame.kind === Kind.PING) this.#send(device, makeFrame({ kind: Kind.PONG, extra: frame.extra }));
    else if (frame.kind === Kind.BYE) device.socket?.close(1000);
  }

  /** For `reorder`: sequences two neighbouring messages of one conversation the wrong way round, and takes them out. */
  #reorder(device: Device, frames: Frame[]): Frame[] {
    if (this.#fault !== 'reorder' || this.#faulted || this.#sequenced < this.#faultAt) return frames;
    const at = frames.findIndex((one, i) => {
      const next = frames[i + 1];
      return one.kind === Kind.MESSAGE && next?.kind === Kind.MESSAGE && next.counter === one.counter + 1;
    });
    if (at < 0) return frames;
    const [first, second] = frames.splice(at, 2);
    const conversation = this.#conversationOf(first!.convA, first!.convB)!;
    conversation.counters.set(device.key, second!.counter);
    for (const one of [second!, first!]) {
      this.#accept(conversation, { ...one, device: device.key, payload: one.payload.slice() });
    }
    this.#faulted = true;
    return frames;
  }

  #info(device: Device, frame: Frame): void {
    const conversation = this.#conversationOf(frame.convA, frame.convB);
    if (!conversation) {
      this.#send(device, makeFrame({ ...frame, kind: Kind.REJECT, extra: ErrorCodes.NO_GROUP.code }));
      return;
    }
    const counter = conversation.counters.get(device.key) ?? 0;
    this.#send(device, makeFrame({ ...frame, seq: conversation.seq, counter, payload: Uint8Array.of(0x90) }));
  }

  #sequence(device: Device, frame: Frame): void {
    const user = userOfDevice(device.key);
    let conversation = this.#conversationOf(frame.convA, frame.convB);
    if (!conversation && frame.kind === Kind.GROUP_CREATE) {
      conversation = this.#newConversation(0, frame.convB, [user, ...readUsers(frame.payload)], [user]);
    }
    if (!conversation?.members.has(user)) {
      this.#reject(device, frame, conversation ? ErrorCodes.NOT_MEMBER.code : ErrorCodes.NO_GROUP.code);
      return;
    }
    const last = conversation.counters.get(device.key) ?? 0;
    if (frame.counter <= last) {
      this.#send(device, { ...frame, kind: Kind.SENT, flags: 4, seq: 0, inbox: 0, payload: new Uint8Array(0) });
      return;
    }
    if (frame.counter > last + 1) {
      this.#send(device, makeFrame({ ...frame, kind: Kind.REJECT, seq: last + 1, extra: ErrorCodes.COUNTER_GAP.code }));
      return;
    }
    conversation.counters.set(device.key, frame.counter);
    this.#sequenced++;
    if (
      this.#sequenced >= this.#faultAt &&
      frame.kind === Kind.MESSAGE &&
      this.#misbehave(conversation, device, frame)
    ) {
      return;
    }
    this.#accept(conversation, frame);
  }

  /** True if the fault took the frame's place. */
  #misbehave(conversation: Conversation, device: Device, frame: Frame): boolean {
    if (this.#faulted) return false;
    switch (this.#fault) {
      case 'double':
        this.#accept(conversation, frame);
        break;
      case 'gap':
        conversation.seq++;
        break;
      case 'invent': {
        this.#faulted = true;
        this.#accept(conversation, { ...frame, payload: Buffer.from('made up, and never sent by anybody at all') });
        return true;
      }
      case 'reject-deliver':
        this.#reject(device, frame, ErrorCodes.TOO_LARGE.code);
        break;
      case 'lose-tail': {
        this.#faulted = true;
        conversation.seq++;
        const tail = { ...frame, seq: conversation.seq, kind: Kind.SENT, payload: new Uint8Array(0) };
        this.#send(device, { ...tail, inbox: ++this.#userOf(userOfDevice(device.key)).position, time: Date.now() });
        // Whatever comes to this conversation afterwards would show the hole at once: let nothing come.
        conversation.members.clear();
        return true;
      }
      default:
        return false;
    }
    this.#faulted = true;
    return false;
  }

  #accept(conversation: Conversation, frame: Frame): void {
    const sequenced = { ...frame, seq: ++conversation.seq, time: Date.now() };
    const sender = userOfDevice(frame.device);
    const recipients = new Set(conversation.members.keys());
    if (frame.kind === Kind.GROUP_ADD) {
      for (const user of readUsers(frame.payload)) {
        conversation.members.set(user, { delivered: sequenced.seq - 1, read: sequenced.seq - 1, lastSent: 0 });
        recipients.add(user);
      }
    }
    const from = conversation.members.get(sender)!;
    from.lastSent = sequenced.seq;
    if (from.read === sequenced.seq - 1) from.read = sequenced.seq;
    if (frame.kind === Kind.GROUP_LEAVE) conversation.members.delete(sender);
    for (const user of recipients) this.#append(this.#userOf(user), sequenced);
  }

  #append(user: User, frame: Frame): void {
    const entry = { position: ++user.position, frame };
    user.inbox.push(entry);
    for (const device of user.devices.values()) {
      if (device.greeted) this.#deliver(device, this.#view(entry, device));
    }
  }

  #deliver(device: Device, frame: Frame): void {
    if (this.#fault === 'swap' && this.#held?.device === device && frame.kind === Kind.MESSAGE) {
      const held = this.#held.frame;
      if (held.convA !== frame.convA || held.convB !== frame.convB) {
        this.#send(device, frame);
        return;
      }
      this.#held = undefined;
      this.#send(device, { ...frame, seq: held.seq });
      this.#send(device, { ...held, seq: frame.seq, inbox: frame.inbox });
      return;
    }
    if (this.#sequenced >= this.#faultAt && frame.kind === Kind.MESSAGE && !this.#faulted) {
      if (this.#fault === 'lose' || this.#fault === 'alter' || this.#fault === 'swap') this.#faulted = true;
      if (this.#fault === 'lose') return;
      if (this.#fault === 'swap') {
        this.#held = { frame, device };
        return;
      }
      if (this.#fault === 'alter') {
        const payload = frame.payload.slice();
        payload[payload.length - 1]! ^= 1;
        this.#send(device, { ...frame, payload });
        return;
      }
    }
    this.#send(device, frame);
  }

  #reject(device: Device, frame: Frame, code: number): void {
    const conversation = this.#conversations.get(keyOf(frame.convA, frame.convB));
    const last = conversation?.counters.get(device.key) ?? 0;
    if (conversation && frame.counter === last + 1) conversation.counters.set(device.key, frame.counter);
    const user = this.#userOf(userOfDevice(device.key));
    const rejected = makeFrame({ ...frame, kind: Kind.REJECT, seq: 0, extra: code, payload: Buffer.from('no') });
    this.#send(device, { ...rejected, inbox: ++user.position });
  }

  #ack(device: Device, position: number): void {
    const user = this.#userOf(userOfDevice(device.key));
    const from = Math.max(0, ...[...user.devices.values()].map((known) => known.cursor));
    device.cursor = Math.max(device.cursor, Math.min(position, user.position));
    if (device.cursor <= from) return;
    for (const { frame, position: at } of user.inbox) {
      if (at <= from || at > device.cursor || !isSequenced(frame.kind)) continue;
      const conversation = this.#conversationOf(frame.convA, frame.convB);
      const member = conversation?.members.get(user.id);
      if (!conversation || !member || frame.seq <= member.delivered) continue;
      member.delivered = frame.seq;
      this.#receipt(conversation, user.id);
    }
    const kept = Math.min(...[...user.devices.values()].map((known) => known.cursor));
    while (user.inbox.length > 0 && user.inbox[0]!.position <= kept) user.inbox.shift();
  }

  #read(device: Device, frame: Frame): void {
    const user = userOfDevice(device.key);
    const conversation = this.#conversationOf(frame.convA, frame.convB);
    const member = conversation?.members.get(user);
    if (!conversation || !member || frame.seq > conversation.seq || frame.seq <= member.read) return;
    member.read = frame.seq;
    member.delivered = Math.max(member.delivered, frame.seq);
    this.#receipt(conversation, user);
    this.#appendReceipt(conversation, user, user, member.delivered, member.read);
  }

  #receipt(conversation: Conversation, user: number): void {
    const member = conversation.members.get(user)!;
    if (conversation.a !== 0) {
      const peer = directConversation(conversation.a, conversation.b).a === user ? conversation.b : conversation.a;
      this.#appendReceipt(conversation, peer, user, member.delivered, member.read);
      return;
    }
    const members = [...conversation.members.values()];
    const delivered = Math.min(...members.map((one) => one.delivered));
    const read = Math.min(...members.map((one) => one.read));
    const old = conversation.aggregate;
    if (delivered <= old.delivered && read <= old.read) return;
    conversation.aggregate = { delivered, read };
    for (const [to, one] of conversation.members) {
      if (one.lastSent > old.delivered || one.lastSent > old.read) {
        this.#appendReceipt(conversation, to, 0, delivered, read);
      }
    }
  }

  #appendReceipt(conversation: Conversation, to: number, whose: number, delivered: number, read: number): void {
    let seq = delivered;
    if (this.#sequenced >= this.#faultAt && this.#fault === 'forget-receipts') {
      this.#faulted = true;
      return;
    }
    if (this.#sequenced >= this.#faultAt && this.#fault === 'receipt-ahead' && !this.#faulted) {
      this.#faulted = true;
      seq += 1_000_000;
    }
    const device = whose * DEVICE_KEY_FACTOR;
    const { a: convA, b: convB } = conversation;
    this.#append(
      this.#userOf(to),
      makeFrame({ kind: Kind.RECEIPT, convA, convB, device, seq, extra: Math.min(seq, read) }),
    );
  }

  #send(device: Device, frame: Frame): void {
    if (!device.socket) return;
    device.out.push(encodeFrame(frame));
    this.#dirty.add(device);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    for (const device of this.#dirty) {
      const frames = device.out;
      device.out = [];
      for (let at = 0; at < frames.length; at += 512) {
        device.socket?.send(Buffer.concat(frames.slice(at, at + 512)));
      }
    }
    this.#dirty.clear();
  }
}
