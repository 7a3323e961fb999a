/**
 * A small server in memory that follows docs/protocol.md, for tests of the client: one object, no disk, no threads. Work
 * waits in queues until `step` takes one piece of it, so that a test decides about every interleaving; `settle` does all.
 *
 * Fault model, by `Faults` (chances out of 100): a gateway that refuses for now; an append whose outcome is not known,
 * taken or not; a batch that is in the log twice; frames of an old connection that arrive after those of a new one;
 * `restart`, behind which the tail of every inbox has other positions and comes again.
 */
import { ErrorCodes } from '../core/errors.js';
import { encodeFrame, Flag, type Frame, isSequenced, Kind, makeFrame, readFrames } from '../core/frame.js';
import { numberOfDevice, userOfDevice } from '../core/ids.js';
import { DEVICE_KEY_FACTOR, GROUP_MEMBERS_MAX } from '../core/limits.js';
import { encodeDeviceRows, encodeMemberRows, Role, readMembers } from '../core/members.js';
import type { Prng } from '../core/prng.js';

export interface Faults {
  readonly refuse: number;
  readonly unknown: number;
  readonly double: number;
}

const NO_FAULTS: Faults = { refuse: 0, unknown: 0, double: 0 };
const GENERATION = 2 ** 32;

interface Member {
  isAdmin: boolean;
  joinedSeq: number;
  delivered: number;
  read: number;
}

interface ServerConversation {
  readonly a: number;
  readonly b: number;
  /** Everything that was sequenced; index = sequence − 1. */
  readonly log: Frame[];
  readonly members: Map<number, Member>;
  /** By device: the last counter taken, and its sequence (0: it was rejected). */
  readonly counters: Map<number, { counter: number; seq: number }>;
}

interface InboxEntry {
  position: number;
  readonly frame: Frame;
  /** Only for this device; 0: for all of them. */
  readonly only: number;
}

interface ServerUser {
  readonly id: number;
  inbox: InboxEntry[];
  last: number;
  readonly cursors: Map<number, number>;
  readonly connections: Map<number, ServerConnection>;
  readonly blocked: Set<number>;
  readonly watchers: Set<number>;
  lastSeenMs: number;
}

/** One WebSocket. A test moves frames: into `toServer`, out of `toClient`. */
export class ServerConnection {
  readonly device: number;
  readonly toServer: Frame[] = [];
  readonly toClient: Frame[] = [];
  isOpen = true;
  /** Set when the server has closed it. */
  closeCode = 0;

  constructor(device: number) {
    this.device = device;
  }

  /** The client sent a WebSocket message. */
  receive(bytes: Uint8Array): void {
    for (const frame of readFrames(bytes.slice())) this.toServer.push(frame);
  }

  /** Takes the next `count` frames to the client, as one WebSocket message. */
  take(count: number): Uint8Array {
    const parts = this.toClient.splice(0, count).map(encodeFrame);
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }
}

export class ReferenceServer {
  readonly #random: Prng;
  faults: Faults;
  nowMs = 1_700_000_000_000;
  readonly conversations = new Map<string, ServerConversation>();
  readonly #users = new Map<number, ServerUser>();
  /** Connections whose frames have not all been taken, open or not. */
  #ingress: ServerConnection[] = [];
  /** Work of the stages behind the gateway, in order. */
  readonly #pipeline: (() => void)[] = [];
  #generation = 1;

  constructor(random: Prng, faults: Faults = NO_FAULTS) {
    this.#random = random;
    this.faults = faults;
  }

  connect(device: number): ServerConnection {
    const connection = new ServerConnection(device);
    this.#ingress.push(connection);
    return connection;
  }

  /** The network has lost it. Frames that were on their way to the server may still arrive, at any time. */
  lose(connection: ServerConnection, lateFrames: number): void {
    connection.isOpen = false;
    connection.toServer.splice(lateFrames);
    const user = this.user(userOfDevice(connection.device));
    if (user.connections.get(connection.device) === connection) {
      user.connections.delete(connection.device);
      this.#presence(user);
    }
  }

  /** Killed and started: connections are gone, and a tail of each inbox comes again at other positions. */
  restart(tailMax: number, lateFramesMax: number): void {
    this.#generation++;
    for (const user of this.#users.values()) {
      for (const connection of user.connections.values()) {
        connection.isOpen = false;
        connection.closeCode = 1006;
        connection.toServer.splice(this.#random.between(0, lateFramesMax));
      }
      user.connections.clear();
      const tailFrom = Math.max(0, user.inbox.length - this.#random.between(0, tailMax));
      const known = tailFrom === 0 ? 0 : user.inbox[tailFrom - 1]!.position;
      user.last = known;
      for (const entry of user.inbox.slice(tailFrom)) {
        user.last = Math.max(user.last, this.#generation * GENERATION) + 1;
        entry.position = user.last;
      }
      for (const [device, cursor] of user.cursors) user.cursors.set(device, Math.min(cursor, known));
    }
  }

  /** Does one piece of waiting work, chosen at random; false: there is none. */
  step(): boolean {
    this.#ingress = this.#ingress.filter((one) => one.isOpen || one.toServer.length > 0);
    const busy = this.#ingress.filter((one) => one.toServer.length > 0);
    if (this.#pipeline.length > 0 && (busy.length === 0 || this.#random.chance(1, 2))) {
      this.#pipeline.shift()!();
      return true;
    }
    if (busy.length === 0) return false;
    const connection = busy[this.#random.below(busy.length)]!;
    this.#gateway(connection, connection.toServer.shift()!);
    return true;
  }

  settle(): void {
    while (this.step());
  }

  user(id: number): ServerUser {
    let user = this.#users.get(id);
    if (user === undefined) {
      user = {
        id,
        inbox: [],
        last: 0,
        cursors: new Map(),
        connections: new Map(),
        blocked: new Set(),
        watchers: new Set(),
        lastSeenMs: 0,
      };
      this.#users.set(id, user);
    }
    return user;
  }

  /** Registers a device before it connects, so that it gets everything from now on. */
  register(device: number): void {
    const user = this.user(userOfDevice(device));
    if (!user.cursors.has(device)) user.cursors.set(device, user.last);
  }

  conversation(a: number, b: number): ServerConversation {
    const key = `${a}:${b}`;
    let conversation = this.conversations.get(key);
    if (conversation === undefined) {
      conversation = { a, b, log: [], members: new Map(), counters: new Map() };
      if (a !== 0) for (const user of [a, b]) conversation.members.set(user, newMember(0, false));
      this.conversations.set(key, conversation);
    }
    return conversation;
  }

  // --- gateway -----------------------------------------------------------------------------------------------------------

  #gateway(connection: ServerConnection, sent: Frame): void {
    const frame = { ...sent, device: connection.device, time: this.nowMs };
    const { kind } = frame;
    if (kind === Kind.PING) this.#answer(connection, makeFrame({ kind: Kind.PONG, extra: frame.extra }));
    else if (kind === Kind.BYE) this.close(connection, 1000);
    else if (isSequenced(kind)) this.#append(connection, frame);
    else this.#pipeline.push(() => this.#handle(connection, frame));
  }

  #append(connection: ServerConnection, frame: Frame): void {
    if (this.#random.chance(this.faults.refuse, 100)) {
      this.#answer(connection, rejection(frame, ErrorCodes.BUSY.code));
      return;
    }
    const isUnknown = this.#random.chance(this.faults.unknown, 100);
    if (isUnknown) this.#answer(connection, rejection(frame, ErrorCodes.UNAVAILABLE.code));
    if (isUnknown && this.#random.chance(1, 2)) return;
    this.#pipeline.push(() => this.#sequence(frame));
    if (this.#random.chance(this.faults.double, 100)) this.#pipeline.push(() => this.#sequence(frame));
  }

  #answer(connection: ServerConnection, frame: Frame): void {
    if (connection.isOpen) connection.toClient.push(frame);
  }

  close(connection: ServerConnection, code: number): void {
    this.lose(connection, 0);
    connection.closeCode = code;
  }

  #handle(connection: ServerConnection, frame: Frame): void {
    const user = this.user(userOfDevice(frame.device));
    const { kind } = frame;
    if (kind === Kind.HELLO) this.#hello(user, connection, frame);
    else if (kind === Kind.ACK) this.#ack(user, frame.device, frame.inbox);
    else if (kind === Kind.READ) this.#read(user, frame);
    else if (kind === Kind.INFO) this.#info(frame);
    else if (kind === Kind.TYPING) this.#typing(frame);
    else if (kind === Kind.WATCH) this.#watch(user, frame);
    else if (kind === Kind.BLOCK) this.#block(user, frame);
    else if (kind === Kind.DEVICES) this.#devices(user, connection);
  }

  // --- conversation stage ------------------------------------------------------------------------------------------------

  #sequence(frame: Frame): void {
    const { device, counter, convA, convB } = frame;
    const conversation = this.conversation(convA, convB);
    const user = userOfDevice(device);
    const last = conversation.counters.get(device) ?? { counter: 0, seq: 0 };
    if (counter <= last.counter) {
      const seq = counter === last.counter ? last.seq : 0;
      const answer = makeFrame({ kind: Kind.SENT, flags: Flag.DUPLICATE, convA, convB, device, counter, seq });
      this.#transient(device, { ...answer, time: this.nowMs });
      return;
    }
    if (counter > last.counter + 1) {
      this.#deliver(user, { ...rejection(frame, ErrorCodes.COUNTER_GAP.code), seq: last.counter + 1 }, device);
      return;
    }
    const code = this.#refusal(conversation, user, frame);
    if (code !== 0) {
      conversation.counters.set(device, { counter, seq: 0 });
      this.#deliver(user, rejection(frame, code), device);
      return;
    }
    const accepted = { ...frame, seq: conversation.log.length + 1 };
    conversation.log.push(accepted);
    conversation.counters.set(device, { counter, seq: accepted.seq });
    const before = [...conversation.members.keys()];
    this.#change(conversation, accepted);
    for (const member of new Set([...before, ...conversation.members.keys()])) this.#deliver(member, accepted, 0);
    this.#markOwn(conversation, user, accepted.seq);
  }

  #refusal(conversation: ServerConversation, user: number, frame: Frame): number {
    const member = conversation.members.get(user);
    if (frame.kind === Kind.GROUP_CREATE) return conversation.log.length > 0 ? ErrorCodes.GROUP_EXISTS.code : 0;
    if (member === undefined) return ErrorCodes.NOT_MEMBER.code;
    const isAdminOnly = frame.kind !== Kind.MESSAGE && frame.kind !== Kind.GROUP_LEAVE;
    return isAdminOnly && !member.isAdmin ? ErrorCodes.NOT_ADMIN.code : 0;
  }

  #change(conversation: ServerConversation, frame: Frame): void {
    const { members } = conversation;
    const sender = userOfDevice(frame.device);
    const { payload } = frame;
    const users = readMembers(payload, 0, payload.length, GROUP_MEMBERS_MAX) ?? [];
    if (frame.kind === Kind.GROUP_CREATE) members.set(sender, newMember(frame.seq, true));
    if (frame.kind === Kind.GROUP_CREATE || frame.kind === Kind.GROUP_ADD) {
      for (const user of users) if (!members.has(user)) members.set(user, newMember(frame.seq, false));
    } else if (frame.kind === Kind.GROUP_REMOVE) {
      for (const user of users) members.delete(user);
    } else if (frame.kind === Kind.GROUP_LEAVE) {
      members.delete(sender);
    } else if (frame.kind === Kind.GROUP_ROLE) {
      for (const user of users) if (members.has(user)) members.get(user)!.isAdmin = frame.extra === 1;
    }
  }

  #markOwn(conversation: ServerConversation, user: number, seq: number): void {
    const member = conversation.members.get(user);
    if (member !== undefined && member.read === seq - 1) member.read = seq;
  }

  #read(user: ServerUser, frame: Frame): void {
    const conversation = this.conversation(frame.convA, frame.convB);
    const member = conversation.members.get(user.id);
    if (member === undefined || frame.seq > conversation.log.length || frame.seq <= member.read) return;
    member.read = frame.seq;
    member.delivered = Math.max(member.delivered, frame.seq);
    this.#receipts(conversation, user.id, member);
    const { a: convA, b: convB } = conversation;
    const own = { device: user.id * DEVICE_KEY_FACTOR, seq: member.delivered, extra: member.read };
    this.#deliver(user.id, makeFrame({ kind: Kind.RECEIPT, convA, convB, ...own }), 0);
  }

  #receipts(conversation: ServerConversation, user: number, member: Member): void {
    const { a: convA, b: convB, members } = conversation;
    const isGroup = convA === 0;
    const all = [...members.values()];
    const seq = isGroup ? Math.min(...all.map((one) => one.delivered)) : member.delivered;
    const extra = isGroup ? Math.min(...all.map((one) => one.read)) : member.read;
    const device = isGroup ? 0 : user * DEVICE_KEY_FACTOR;
    const receipt = makeFrame({ kind: Kind.RECEIPT, convA, convB, device, seq, extra });
    for (const other of members.keys()) if (isGroup || other !== user) this.#deliver(other, receipt, 0);
  }

  #info(frame: Frame): void {
    const conversation = this.conversation(frame.convA, frame.convB);
    if (!conversation.members.has(userOfDevice(frame.device))) {
      this.#transient(frame.device, rejection(frame, ErrorCodes.NOT_MEMBER.code));
      return;
    }
    const rows = [...conversation.members].map(([user, { isAdmin, joinedSeq, delivered, read }]) => {
      return { user, role: isAdmin ? Role.ADMIN : Role.MEMBER, joinedSeq, delivered, read };
    });
    const payload = encodeMemberRows(rows);
    const counter = conversation.counters.get(frame.device)?.counter ?? 0;
    const { convA, convB, device } = frame;
    const seq = conversation.log.length;
    this.#transient(device, makeFrame({ kind: Kind.INFO, convA, convB, device, counter, seq, payload }));
  }

  #typing(frame: Frame): void {
    const { members } = this.conversation(frame.convA, frame.convB);
    const from = userOfDevice(frame.device);
    for (const id of members.keys()) {
      if (id === from) continue;
      for (const connection of this.user(id).connections.values()) this.#answer(connection, frame);
    }
  }

  // --- user stage ----------------------------------------------------------------------------------------------------------

  #hello(user: ServerUser, connection: ServerConnection, frame: Frame): void {
    if (!connection.isOpen) return;
    const { device } = frame;
    const replaced = user.connections.get(device);
    if (replaced !== undefined && replaced !== connection) this.close(replaced, 4100);
    const known = user.cursors.get(device) ?? user.last;
    user.cursors.set(device, known);
    if (frame.inbox <= user.last && frame.inbox > known) this.#ack(user, device, frame.inbox);
    const cursor = user.cursors.get(device)!;
    user.connections.set(device, connection);
    this.#answer(connection, makeFrame({ kind: Kind.WELCOME, device, inbox: user.last, extra: 30_000 }));
    for (const entry of user.inbox) {
      if (entry.position > cursor && (entry.only === 0 || entry.only === device)) {
        this.#answer(connection, seenBy(device, entry));
      }
    }
    this.#answer(connection, makeFrame({ kind: Kind.CAUGHT_UP, inbox: user.last }));
    this.#presence(user);
  }

  #deliver(userId: number, frame: Frame, only: number): void {
    this.#pipeline.push(() => {
      const user = this.user(userId);
      if (user.blocked.has(userOfDevice(frame.device)) && isSequenced(frame.kind)) return;
      user.last = Math.max(user.last, this.#generation * GENERATION) + 1;
      const entry = { position: user.last, frame, only };
      user.inbox.push(entry);
      for (const [device, connection] of user.connections) {
        if (only === 0 || only === device) this.#answer(connection, seenBy(device, entry));
      }
    });
  }

  #transient(device: number, frame: Frame): void {
    this.#pipeline.push(() => {
      const connection = this.user(userOfDevice(device)).connections.get(device);
      if (connection !== undefined) this.#answer(connection, frame);
    });
  }

  #ack(user: ServerUser, device: number, position: number): void {
    const before = user.cursors.get(device) ?? 0;
    if (position <= before || position > user.last) return;
    user.cursors.set(device, position);
    for (const entry of user.inbox) {
      if (entry.position <= before || entry.position > position || !isSequenced(entry.frame.kind)) continue;
      const conversation = this.conversation(entry.frame.convA, entry.frame.convB);
      const member = conversation.members.get(user.id);
      if (member === undefined || entry.frame.seq <= member.delivered) continue;
      member.delivered = entry.frame.seq;
      this.#receipts(conversation, user.id, member);
    }
  }

  #presence(user: ServerUser): void {
    if (user.connections.size === 0) user.lastSeenMs = this.nowMs;
    for (const device of user.watchers) this.#tellPresence(user, device);
  }

  #tellPresence(user: ServerUser, watcher: number): void {
    const extra = user.connections.size > 0 ? 1 : 0;
    this.#transient(watcher, makeFrame({ kind: Kind.PRESENCE, convB: user.id, extra, time: user.lastSeenMs }));
  }

  #watch(user: ServerUser, frame: Frame): void {
    const watched = this.user(frame.convB);
    if (frame.extra === 0) watched.watchers.delete(frame.device);
    else watched.watchers.add(frame.device);
    if (frame.extra === 1 && user.connections.has(frame.device)) this.#tellPresence(watched, frame.device);
  }

  #block(user: ServerUser, frame: Frame): void {
    if (frame.extra === 1) user.blocked.add(frame.convB);
    else user.blocked.delete(frame.convB);
    this.#deliver(user.id, makeFrame({ kind: Kind.BLOCK, convB: frame.convB, extra: frame.extra }), 0);
  }

  #devices(user: ServerUser, connection: ServerConnection): void {
    const rows = [...user.cursors.keys()].map((device) => {
      return { number: numberOfDevice(device), online: user.connections.has(device), lastSeenMs: user.lastSeenMs };
    });
    const payload = encodeDeviceRows(rows);
    this.#answer(connection, makeFrame({ kind: Kind.DEVICES, payload }));
  }
}

function newMember(joinedSeq: number, isAdmin: boolean): Member {
  return { isAdmin, joinedSeq, delivered: joinedSeq, read: joinedSeq };
}

function rejection(frame: Frame, code: number): Frame {
  const { convA, convB, device, counter } = frame;
  const payload = new TextEncoder().encode(`refused with ${code}`);
  return makeFrame({ kind: Kind.REJECT, convA, convB, device, counter, extra: code, payload });
}

/** The sender's own device gets SENT in place of its frame. */
function seenBy(device: number, { frame, position }: InboxEntry): Frame {
  if (!isSequenced(frame.kind) || frame.device !== device) return { ...frame, inbox: position };
  return { ...frame, kind: Kind.SENT, inbox: position, payload: new Uint8Array(0) };
}
