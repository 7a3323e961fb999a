/**
 * A small world for the model test: conversations that fan out, gateways and clients that follow docs/protocol.md, and a lane
 * that commits and crashes when told. Clients check what they see as they see it; `settle` brings everybody home, and `verify`
 * looks at the end.
 *
 * Faults: a lane crash at any moment (everything since the last commit is done again, outputs are repeated), a power failure
 * (the end of the log is lost and what conversation lanes wrote comes again in another order), a gateway's end, a lost
 * connection, a socket that is full (its gateway throws away what is on its way), repeated batches, and arbitrary cursors.
 */
import assert from 'node:assert/strict';
import { BatchKind, TargetFlag } from '../../core/batch.js';
import { CloseCodes } from '../../core/errors.js';
import { Flag, type Frame, isSequenced, Kind, makeFrame } from '../../core/frame.js';
import { deviceKey, userOfDevice } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR } from '../../core/limits.js';
import type { UserLimits } from './state.js';
import {
  type Egress,
  fanOutBatch,
  framesBatch,
  type LaneOptions,
  type StepResult,
  type Target,
  TestLane,
} from './testing.js';

export const WORLD_LIMITS: Partial<UserLimits> = {
  devicesPerUser: 3,
  sessionGraceMs: 3_000,
  spillAgeMs: 2_000,
  spillBytes: 900,
  spillStepBytes: 2_000,
  chunkBytes: 400,
  chunksPerMerge: 3,
  chunksPerAck: 2,
  catchUpBytes: 600,
  catchUpEntries: 4,
  presenceUpdatesPerWindow: 3,
  presenceWindowMs: 1_000,
  deviceIdleMs: 1e12,
};

export const USERS = [1, 2, 3] as const;
const DEVICES = [1, 2] as const;

interface Conversation {
  readonly a: number;
  readonly b: number;
  readonly members: readonly number[];
  /** Conversation partition that fans it out. */
  readonly source: number;
  head: number;
}

/** What was sequenced: all that clients may see of it. */
interface Sent {
  readonly payload: string;
  readonly sender: number;
  readonly deadlineMs: number;
}

interface Connection {
  readonly client: Client;
  readonly gateway: Gateway;
  readonly id: number;
  token: number;
  /** Last position given to the socket. */
  sent: number;
  isOpen: boolean;
  isLive: boolean;
  /** Waits for the socket to drain before it asks for more. */
  wantsMore: boolean;
}

class Gateway {
  readonly number: number;
  incarnation = 1;
  nextConnection = 1;
  readonly connections = new Map<number, Connection>();

  constructor(number: number) {
    this.number = number;
  }
}

/** One device. Its state outlives connections, as an application's does. */
class Client {
  readonly user: number;
  readonly key: number;
  /** Processed up to here. */
  cursor = 0;
  /** Where the CONNECT that registered it stands in the log; −1: it is new. */
  registeredAt = -1;
  /** From now on it is owed everything behind that. */
  isWelcomed = false;
  connection: Connection | undefined;
  /** Last sequence of each conversation, and where the device began. */
  readonly last = new Map<string, number>();
  /** What this device's user blocks, as this device was told. */
  readonly blocked = new Set<number>();
  /** Last presence seen. */
  readonly presence = new Map<number, number>();

  constructor(user: number, number: number) {
    this.user = user;
    this.key = deviceKey(user, number);
  }
}

function nameOf(a: number, b: number): string {
  return `${a}:${b}`;
}

export class World {
  readonly lane: TestLane;
  readonly #options: LaneOptions;
  readonly clients: Client[] = [];
  readonly #gateways = [new Gateway(0), new Gateway(1)];
  readonly #conversations: Conversation[] = [
    { a: 1, b: 2, members: [1, 2], source: 0, head: 0 },
    { a: 2, b: 3, members: [2, 3], source: 1, head: 0 },
    { a: 0, b: 77, members: [1, 2, 3], source: 1, head: 0 },
  ];
  readonly #sent = new Map<string, Sent>();
  readonly #sourceSeq = [0, 0];
  /** Batches of the log that a power failure does not reach; blocks are made durable at once in this world. */
  #durable = 0;
  #generation = 1;
  /** (user, other) pairs that were ever blocked; and for which an unblock was ever asked. */
  readonly #everBlocked = new Set<string>();
  readonly #unblocks = new Set<string>();
  /** Updates seen by a user: window → count. */
  readonly #windows = new Map<string, number>();
  readonly delivered = new Map<string, number>();

  constructor(limits: Partial<UserLimits> = {}) {
    this.#options = { limits: { ...WORLD_LIMITS, ...limits } };
    this.lane = new TestLane(this.#options);
    this.lane.frames({ kind: Kind.GENERATION, extra: this.#generation });
    for (const user of USERS) for (const number of DEVICES) this.clients.push(new Client(user, number));
  }

  // --- what happens -------------------------------------------------------------------------------------------------------

  send(which: number, sender: number, seconds: number, bytes: number): void {
    const conversation = this.#conversations[which % this.#conversations.length]!;
    const user = conversation.members[sender % conversation.members.length]!;
    const seq = ++conversation.head;
    const payload = `${nameOf(conversation.a, conversation.b)} ${seq} ${'.'.repeat(bytes)}`;
    const deadlineMs = this.lane.nowMs + (seconds === 0 ? 30 * 24 * 3_600_000 : seconds * 1_000);
    this.#sent.set(`${nameOf(conversation.a, conversation.b)} ${seq}`, { payload, sender: user, deadlineMs });
    this.#fanOut(conversation, {
      kind: Kind.MESSAGE,
      device: deviceKey(user, DEVICES[sender % DEVICES.length]!),
      seq,
      counter: seq,
      extra: seconds,
      payload: Buffer.from(payload),
    });
  }

  /** A conversation lane starts again and says the last few batches once more. */
  repeat(source: number, count: number): void {
    const mine = this.lane.log.filter((bytes) => bytes[6] === BatchKind.FANOUT && bytes[20] === source % 2);
    for (const bytes of mine.slice(-count)) this.lane.append(bytes.slice());
  }

  receipt(which: number, whose: number): void {
    const conversation = this.#conversations[which % this.#conversations.length]!;
    const user = conversation.members[whose % conversation.members.length]!;
    this.#fanOut(conversation, { kind: Kind.RECEIPT, device: user * DEVICE_KEY_FACTOR, seq: conversation.head });
  }

  reject(which: number): void {
    const client = this.clients[which % this.clients.length]!;
    const conversation = this.#conversations.find(({ members }) => members.includes(client.user))!;
    this.#fanOut(conversation, { kind: Kind.REJECT, device: client.key, extra: 33 }, [client.user]);
  }

  typing(which: number, sender: number): void {
    const conversation = this.#conversations[which % this.#conversations.length]!;
    const user = conversation.members[sender % conversation.members.length]!;
    const others = conversation.members.filter((member) => member !== user);
    this.#fanOut(conversation, { kind: Kind.TYPING, device: deviceKey(user, 1), extra: 1 }, others);
  }

  #fanOut(conversation: Conversation, frame: Partial<Frame> & { kind: number }, to = conversation.members): void {
    const { a: convA, b: convB, source } = conversation;
    const full = makeFrame({ convA, convB, time: this.lane.nowMs, ...frame });
    this.lane.append(fanOutBatch([{ frame: full, recipients: to }], source, this.#sourceSeq[source]!++));
  }

  /** A client opens a connection and says hello with its cursor, or with one that is wrong. */
  connect(which: number, gatewayNumber: number, wrong: number): void {
    const client = this.clients[which % this.clients.length]!;
    const gateway = this.#gateways[gatewayNumber % this.#gateways.length]!;
    this.#close(client.connection, false, false);
    if (client.registeredAt < 0) this.#register(client);
    const id = gateway.nextConnection++;
    const connection: Connection = {
      client,
      gateway,
      id,
      token: 1,
      sent: 0,
      isOpen: true,
      isLive: false,
      wantsMore: false,
    };
    gateway.connections.set(id, connection);
    client.connection = connection;
    // A cursor that is too low or out of this world is as good as none; one that was not processed would be a lie.
    const cursor = [client.cursor, client.cursor, 0, 99 * 2 ** 32, Math.floor(client.cursor / 2)][wrong % 5]!;
    this.#say(connection, Kind.CONNECT, { inbox: cursor, extra: 1 });
  }

  /** A further device begins at the end of the inbox as it is when the log comes to its CONNECT. */
  #register(client: Client): void {
    const isFirst = !this.clients.some((other) => other.user === client.user && other.registeredAt >= 0);
    client.registeredAt = this.lane.log.length;
    for (const { a, b, head, members } of this.#conversations) {
      if (members.includes(client.user)) client.last.set(nameOf(a, b), isFirst ? 0 : head);
    }
  }

  #say(connection: Connection, kind: number, more: Partial<Frame>): void {
    const { gateway, client, id } = connection;
    const convA = gateway.number * 2 ** 32 + gateway.incarnation;
    this.lane.append(framesBatch([makeFrame({ kind, device: client.key, convA, convB: id, ...more })]));
  }

  disconnect(which: number, clean: boolean): void {
    this.#close(this.clients[which % this.clients.length]!.connection, clean, true);
  }

  #close(connection: Connection | undefined, clean: boolean, tell: boolean): void {
    if (connection === undefined) return;
    connection.isOpen = false;
    connection.gateway.connections.delete(connection.id);
    if (connection.client.connection === connection) connection.client.connection = undefined;
    if (tell) this.#say(connection, Kind.DISCONNECT, { flags: clean ? Flag.CLEAN : 0 });
  }

  /** The client acknowledges what it has, or something older, twice perhaps. */
  ack(which: number, older: number): void {
    const client = this.clients[which % this.clients.length]!;
    if (client.connection === undefined) return;
    this.lane.frames({ kind: Kind.ACK, device: client.key, inbox: Math.max(0, client.cursor - older) });
  }

  /** A socket drains: what waits to be asked for is asked for. */
  drain(which: number): void {
    const connection = this.clients[which % this.clients.length]!.connection;
    if (connection?.wantsMore !== true) return;
    connection.wantsMore = false;
    this.#say(connection, Kind.PULL, { inbox: connection.sent, extra: connection.token });
  }

  /** A socket is full: its gateway throws away what is on its way, and turns to catch-up. */
  overflow(which: number): void {
    const connection = this.clients[which % this.clients.length]!.connection;
    if (connection?.isLive !== true) return;
    connection.token++;
    connection.isLive = false;
    connection.wantsMore = true;
  }

  restartGateway(which: number): void {
    const gateway = this.#gateways[which % this.#gateways.length]!;
    for (const connection of gateway.connections.values()) this.#close(connection, false, false);
    gateway.incarnation++;
    this.lane.frames({ kind: Kind.GATEWAY_UP, convA: gateway.number * 2 ** 32 + gateway.incarnation });
  }

  block(which: number, other: number, wanted: number): void {
    const client = this.clients[which % this.clients.length]!;
    const others = USERS.filter((user) => user !== client.user);
    const blocked = others[other % others.length]!;
    if (client.connection === undefined) return;
    if (wanted === 1) this.#everBlocked.add(`${client.user} ${blocked}`);
    else {
      this.#unblocks.add(`${client.user} ${blocked}`);
      // From the asking on, nobody may rely on the block.
      for (const device of this.clients) if (device.user === client.user) device.blocked.delete(blocked);
    }
    this.lane.frames({ kind: Kind.BLOCK, device: client.key, convB: blocked, extra: wanted });
    this.#durable = this.lane.log.length;
  }

  watch(which: number, subject: number): void {
    const client = this.clients[which % this.clients.length]!;
    if (client.connection === undefined) return;
    this.lane.frames({ kind: Kind.WATCH, device: client.key, convB: USERS[subject % USERS.length]!, extra: 1 });
  }

  wait(ms: number): void {
    this.lane.nowMs += ms;
    if (this.lane.stage.wakeAtMs <= this.lane.nowMs) this.lane.tick();
  }

  /** Steps some batches. */
  run(count: number): void {
    for (let n = 0; n < count; n++) {
      const result = this.lane.step();
      if (result === undefined) return;
      this.#take(result);
    }
  }

  runAll(): void {
    for (let result = this.lane.step(); result !== undefined; result = this.lane.step()) this.#take(result);
  }

  /** What is in the log now survives a power failure. */
  sync(): void {
    this.#durable = this.lane.log.length;
  }

  /** The lane tells the stage what survives. */
  tellSynced(): void {
    this.lane.tellSynced(Math.max(this.lane.durable, this.#durable));
  }

  crash(): void {
    this.lane.crash();
    this.lane.frames({ kind: Kind.GENERATION, extra: ++this.#generation });
  }

  /** Power fails: the end of the log is gone, and so are all connections; conversation lanes say theirs again. */
  losePower(keep: number): void {
    const from = Math.min(this.lane.log.length, Math.max(this.lane.durable, this.#durable) + keep);
    const lost = this.lane.loseTail(from);
    for (const client of this.clients) if (client.registeredAt >= from) this.#forget(client);
    this.lane.crash();
    for (const gateway of this.#gateways) this.restartGateway(gateway.number);
    // A watch may have been lost with the log; clients repeat theirs, these do not.
    for (const client of this.clients) client.presence.clear();
    this.lane.frames({ kind: Kind.GENERATION, extra: ++this.#generation });
    const fanOuts = lost.filter((bytes) => bytes[6] === BatchKind.FANOUT);
    for (const source of [1, 0]) {
      for (const bytes of fanOuts) if (bytes[20] === source) this.lane.append(bytes);
    }
    this.#durable = this.lane.log.length;
  }

  /** Its registration was lost, so it is new when it comes again. */
  #forget(client: Client): void {
    assert.ok(!client.isWelcomed, `device ${client.key} was welcomed, and is not known any more`);
    client.registeredAt = -1;
    client.last.clear();
  }

  // --- gateways and clients -------------------------------------------------------------------------------------------------

  #take(result: StepResult): void {
    for (const entry of result.egress) {
      for (const target of entry.targets) this.#deliver(entry, target);
    }
    for (const { device, convA, convB, seq } of result.delivered) {
      const name = `${userOfDevice(device)} ${nameOf(convA, convB)}`;
      this.delivered.set(name, Math.max(seq, this.delivered.get(name) ?? 0));
    }
  }

  #deliver({ gateway: number, frame }: Egress, target: Target): void {
    const gateway = this.#gateways[number]!;
    const connection = gateway.connections.get(target.connection);
    if (connection === undefined || target.incarnation !== gateway.incarnation) return;
    if (frame.kind === Kind.GOAWAY) {
      assert.equal(frame.extra, CloseCodes.REPLACED.code);
      this.#close(connection, false, true);
      return;
    }
    if (target.token !== connection.token) return;
    if (target.position !== 0) {
      if (target.position <= connection.sent) return;
      connection.sent = target.position;
    }
    if (frame.kind === Kind.PULL) {
      connection.wantsMore = true;
      return;
    }
    if (frame.kind === Kind.CAUGHT_UP) connection.isLive = true;
    const isStripped = (target.flags & (TargetFlag.SENT | TargetFlag.ENVELOPE)) !== 0;
    this.#receive(connection.client, {
      ...frame,
      kind: (target.flags & TargetFlag.SENT) !== 0 ? Kind.SENT : frame.kind,
      payload: isStripped ? new Uint8Array(0) : frame.payload,
      inbox: target.position === 0 ? frame.inbox : target.position,
    });
  }

  #receive(client: Client, frame: Frame): void {
    if (frame.kind === Kind.WELCOME) client.isWelcomed = true;
    assert.ok(client.isWelcomed, `device ${client.key} was sent kind ${frame.kind} before WELCOME`);
    if (isSequenced(frame.kind) || frame.kind === Kind.SENT || frame.kind === Kind.GAP) this.#process(client, frame);
    if (frame.kind === Kind.REJECT) assert.equal(frame.device, client.key, 'a REJECT for another device');
    if (frame.kind === Kind.BLOCK) {
      const isOpen = !this.#unblocks.has(`${client.user} ${frame.convB}`);
      if (frame.extra === 1 && isOpen) client.blocked.add(frame.convB);
      else client.blocked.delete(frame.convB);
    }
    if (frame.kind === Kind.PRESENCE || frame.kind === Kind.TYPING) this.#countUpdate(client, frame);
    if (frame.kind === Kind.PRESENCE) client.presence.set(frame.convB, frame.extra);
    if (frame.kind !== Kind.WELCOME) client.cursor = Math.max(client.cursor, frame.inbox);
  }

  #process(client: Client, frame: Frame): void {
    const name = nameOf(frame.convA, frame.convB);
    const last = client.last.get(name)!;
    if (frame.seq <= last) return;
    if (frame.kind === Kind.GAP) {
      for (let seq = last + 1; seq <= frame.seq; seq++) this.#checkGap(client, `${name} ${seq}`, frame.extra);
    } else {
      assert.equal(frame.seq, last + 1, `device ${client.key}: sequence ${frame.seq} of ${name} came after ${last}`);
      const sent = this.#sent.get(`${name} ${frame.seq}`)!;
      if (frame.kind === Kind.SENT) assert.equal(frame.device, client.key);
      else assert.equal(Buffer.from(frame.payload).toString(), sent.payload);
      assert.ok(
        sent.deadlineMs > this.lane.nowMs || sent.deadlineMs > this.#stepTime(),
        'delivered after its deadline',
      );
      assert.ok(!client.blocked.has(sent.sender), 'delivered although the sender was blocked');
    }
    client.last.set(name, frame.seq);
  }

  #stepTime(): number {
    const bytes = this.lane.log[this.lane.offset - 1]!;
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(48, true);
  }

  #checkGap(client: Client, message: string, reason: number): void {
    const sent = this.#sent.get(message)!;
    const isExpired = sent.deadlineMs <= this.#stepTime();
    const isBlocked = this.#everBlocked.has(`${client.user} ${sent.sender}`);
    assert.ok(isExpired || isBlocked, `a GAP, reason ${reason}, hides ${message} without need`);
  }

  #countUpdate(client: Client, frame: Frame): void {
    const window = Math.floor(this.#stepTime() / 1_000);
    const name = `${client.key} ${window} ${this.lane.committed} ${this.#generation}`;
    const count = (this.#windows.get(name) ?? 0) + 1;
    this.#windows.set(name, count);
    assert.ok(count <= WORLD_LIMITS.presenceUpdatesPerWindow!, `${count} updates (kind ${frame.kind}) in a window`);
  }

  // --- the end --------------------------------------------------------------------------------------------------------------

  /** Faults are over: everybody connects, takes everything and acknowledges it. */
  settle(): void {
    this.runAll();
    this.clients.forEach((_, which) => this.connect(which, which, 0));
    for (let round = 0; round < 400; round++) {
      this.runAll();
      this.sync();
      this.tellSynced();
      this.clients.forEach((_, which) => this.drain(which));
      this.clients.forEach((_, which) => this.ack(which, 0));
      if (round % 10 === 9) this.wait(1_000);
      if (this.lane.offset === this.lane.log.length && this.#isAllRead()) break;
    }
    for (let n = 0; n < 4; n++) {
      this.wait(1_000);
      this.lane.tick();
      this.runAll();
    }
  }

  #isAllRead(): boolean {
    return this.clients.every((client) => client.connection?.isLive === true) && this.lane.stage.sizes.entries === 0;
  }

  verify(): void {
    for (const client of this.clients) {
      for (const { a, b, head, members } of this.#conversations) {
        if (!members.includes(client.user)) continue;
        assert.equal(client.last.get(nameOf(a, b)), head, `device ${client.key} has not all of ${nameOf(a, b)}`);
      }
      for (const [subject, online] of client.presence) assert.equal(online, 1, `${client.key} sees ${subject} offline`);
    }
    this.lane.checkRestore();
    const { entries, chunks, frames } = this.lane.stage.sizes;
    assert.deepEqual([entries, frames, chunks, this.lane.store.size], [0, 0, 0, 0], 'what is acknowledged is freed');
    this.#checkFold();
  }

  /** State is the fold of the log, whatever crashed on the way. */
  #checkFold(): void {
    const other = new TestLane({ ...this.#options, loop: false, syncs: false });
    other.log.push(...this.lane.log);
    other.run();
    assert.equal(other.stage.stateHash(), this.lane.stage.stateHash(), 'the state is not the fold of the log');
  }
}
