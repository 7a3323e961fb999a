/**
 * The driver: users of one rival, in pairs or in groups, every message checked. The same for all rivals.
 *
 * `saturate` keeps a number of messages of each user on their way, and counts what is acknowledged and delivered. `openLoop` sends at given times, whatever comes back; a latency counts from the time at which
 * a message was due.
 */
import { mix32 } from '../../core/ids.js';
import { Histogram } from '../load/histogram.js';
import { BODY_BYTES, type Body, makeBody, readBody } from './body.js';
import type { PeerConnection, PeerServer } from './peer.js';
import type { Replay } from './replay.js';
import { cpuSeconds, pause } from './server-process.js';

/** Connections that are opened at a time. */
const OPENING_AT_ONCE = 32;
/** A rival that has not answered everything by then has lost it. */
export const DRAIN_MS_MAX = 30_000;
const TICK_MS = 2;
/** Conversations of groups are numbered above those of pairs. */
const FIRST_GROUP = 100_000;
/** Latencies of this first part of an open loop do not count. */
const WARM_UP_SHARE = 0.25;

export interface Faults {
  lost: number;
  doubled: number;
  misordered: number;
  damaged: number;
  unacked: number;
}

export interface Saturation {
  readonly messages: number;
  readonly seconds: number;
  readonly serverCpuSeconds: number;
  readonly driverCpuSeconds: number;
}

export interface OpenLoop {
  readonly messages: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface User {
  readonly id: number;
  connection: PeerConnection;
  unacked: number;
  serial: number;
  /** By conversation and sender: the serial that was delivered last. */
  readonly seen: Map<number, number>;
}

/** A receiver's key for one sender in one conversation. */
function seenKey(conversation: number, sender: number): number {
  return conversation * 2 ** 20 + sender;
}

export class Fleet {
  readonly #server: PeerServer;
  readonly #users: User[] = [];
  readonly #body: Body = { sender: 0, conversation: 0, serial: 0, dueMs: 0 };
  readonly #faults: Faults = { lost: 0, doubled: 0, misordered: 0, damaged: 0, unacked: 0 };
  #latencies = new Histogram();
  /** What was due before does not count. */
  #countedFromMs = Number.POSITIVE_INFINITY;
  #hash = 0;
  #sent = 0;
  #acked = 0;
  #delivered = 0;
  #owed = 0;
  #failure: Error | undefined;
  #window = 0;
  #dirty: User[] = [];
  #flushing = false;

  private constructor(server: PeerServer) {
    this.#server = server;
  }

  /** `count` users from `first` on; the partner of an odd one is the next, of an even one the one before. */
  static async open(server: PeerServer, count: number, first = 1): Promise<Fleet> {
    const fleet = new Fleet(server);
    let next = first;
    const opener = async (): Promise<void> => {
      while (next < first + count) await fleet.#open(next++);
    };
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, opener));
    fleet.#users.sort((one, other) => one.id - other.id);
    return fleet;
  }

  async #open(id: number): Promise<void> {
    const user: User = { id, connection: undefined as never, unacked: 0, serial: 0, seen: new Map() };
    user.connection = await this.#server.connect(id, {
      acked: (count) => this.#ack(user, count),
      delivered: (bytes) => this.#deliver(user, bytes),
      failed: (sentence) => {
        this.#failure ??= new Error(`user ${id}: ${sentence}`);
      },
    });
    this.#users.push(user);
  }

  #ack(user: User, count: number): void {
    user.unacked -= count;
    this.#acked += count;
    if (this.#window > 0) this.#wake(user);
  }

  #deliver(user: User, bytes: Uint8Array): void {
    const body = this.#body;
    if (!readBody(bytes, body)) {
      this.#faults.damaged++;
      return;
    }
    if (body.sender === user.id) return;
    this.#delivered++;
    // A sum: users are served in any order.
    this.#hash = (this.#hash + mix32(mix32(user.id ^ (body.sender << 16)) ^ body.serial)) >>> 0;
    const key = seenKey(body.conversation, body.sender);
    const last = user.seen.get(key) ?? 0;
    if (body.serial === last + 1) user.seen.set(key, body.serial);
    else if (body.serial <= last) this.#faults.doubled++;
    else {
      // What was left out may come later, and is then counted as doubled or, if never, as lost.
      this.#faults.misordered++;
      user.seen.set(key, body.serial);
    }
    if (body.dueMs >= this.#countedFromMs) this.#latencies.recordMs(performance.now() - body.dueMs);
  }

  #wake(user: User): void {
    this.#dirty.push(user);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      const dirty = this.#dirty;
      this.#dirty = [];
      for (const one of dirty) this.#fill(one);
    });
  }

  #fill(user: User): void {
    const room = this.#window - user.unacked;
    if (room > 0) this.#sendTo(user, room, performance.now());
  }

  #sendTo(user: User, count: number, dueMs: number): void {
    const partner = user.id % 2 === 1 ? user.id + 1 : user.id - 1;
    const conversation = (user.id + 1) >> 1;
    const bodies: Buffer[] = [];
    for (let i = 0; i < count; i++) {
      bodies.push(makeBody({ sender: user.id, conversation, serial: ++user.serial, dueMs }, BODY_BYTES));
    }
    this.#account(user, count, count);
    user.connection.send(partner, bodies);
  }

  #account(user: User, messages: number, deliveries: number): void {
    user.unacked += messages;
    this.#sent += messages;
    this.#owed += deliveries;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** `count` messages of each user, the first ones; returns a hash of who got what in which order. */
  async exchange(count: number): Promise<string> {
    for (const user of this.#users) this.#sendTo(user, count, performance.now());
    await this.#drain();
    return this.#hash.toString(16);
  }

  /** Keeps `window` messages of each user on their way; after `warmUpSeconds` measures for `seconds`. */
  async saturate(window: number, warmUpSeconds: number, seconds: number): Promise<Saturation> {
    this.#window = window;
    for (const user of this.#users) this.#wake(user);
    await pause(warmUpSeconds * 1_000);
    this.#check();
    const { pids } = this.#server;
    const driver = process.cpuUsage();
    const [messages, cpu, start] = [Math.min(this.#acked, this.#delivered), cpuSeconds(pids), performance.now()];
    await pause(seconds * 1_000);
    const result: Saturation = {
      messages: Math.min(this.#acked, this.#delivered) - messages,
      seconds: (performance.now() - start) / 1_000,
      serverCpuSeconds: cpuSeconds(pids) - cpu,
      driverCpuSeconds: sumCpu(process.cpuUsage(driver)),
    };
    this.#window = 0;
    this.#check();
    await this.#drain();
    return result;
  }

  /** Bursts of `burst` messages, user by user in turn, `rate` messages a second. */
  async openLoop(rate: number, seconds: number, burst: number): Promise<OpenLoop> {
    const start = performance.now();
    const total = Math.max(1, Math.floor((rate * seconds) / burst));
    const gapMs = (burst / rate) * 1_000;
    this.#latencies = new Histogram();
    this.#countedFromMs = start + seconds * 1_000 * WARM_UP_SHARE;
    let next = 0;
    while (next < total) {
      for (; next < total && start + next * gapMs <= performance.now(); next++) {
        this.#sendTo(this.#users[next % this.#users.length]!, burst, start + next * gapMs);
      }
      await pause(TICK_MS);
      this.#check();
    }
    await this.#drain();
    return this.#summary(total * burst);
  }

  /** Messages to groups at the times of a plan; `open` must have been told of all its users. */
  async replay(plan: Replay): Promise<OpenLoop> {
    const { makeGroup } = this.#server;
    if (makeGroup === undefined) throw new Error('it has no groups');
    for (const [n, members] of plan.groups.entries()) await makeGroup(FIRST_GROUP + n, members);
    const serials = new Map<number, number>();
    const start = performance.now();
    this.#latencies = new Histogram();
    this.#countedFromMs = start;
    let next = 0;
    while (next < plan.messages.length) {
      for (; next < plan.messages.length; next++) {
        const { atMs, group, sender, bytes } = plan.messages[next]!;
        const dueMs = start + atMs;
        if (dueMs > performance.now()) break;
        const conversation = FIRST_GROUP + group;
        const user = this.#users[sender - 1]!;
        const key = seenKey(conversation, sender);
        const serial = (serials.get(key) ?? 0) + 1;
        serials.set(key, serial);
        this.#account(user, 1, plan.groups[group]!.length - 1);
        user.connection.sendToGroup!(conversation, [makeBody({ sender, conversation, serial, dueMs }, bytes)]);
      }
      await pause(TICK_MS);
      this.#check();
    }
    await this.#drain();
    return this.#summary(plan.messages.length);
  }

  #summary(messages: number): OpenLoop {
    const latencies = this.#latencies;
    return { messages, p50Ms: latencies.quantileMs(0.5), p99Ms: latencies.quantileMs(0.99) };
  }

  async #drain(): Promise<void> {
    const deadline = performance.now() + DRAIN_MS_MAX;
    while ((this.#acked < this.#sent || this.#delivered < this.#owed) && performance.now() < deadline) {
      await pause(TICK_MS);
      this.#check();
    }
  }

  /** Call when everything was sent and drained. */
  faults(): Faults {
    const lost = Math.max(0, this.#owed - (this.#delivered - this.#faults.doubled));
    return { ...this.#faults, lost, unacked: this.#sent - this.#acked };
  }

  close(): void {
    for (const user of this.#users) user.connection.close();
  }
}

function sumCpu(usage: NodeJS.CpuUsage): number {
  return (usage.user + usage.system) / 1e6;
}
