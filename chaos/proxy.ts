/**
 * The network between clients and server, in user space: a TCP proxy that can hold, delay, limit, reset and refuse. Needs no
 * privileges. What a rule did to how many connections and bytes is counted: a fault that touched nothing did not happen.
 *
 * A held connection breaks on neither side, as with a cable that was pulled: what comes meanwhile waits, here and in the buffers
 * of both sockets, and arrives when the rule ends.
 */
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import type { Prng } from '../core/prng.js';

const HOST = '127.0.0.1';
/** What waits here of one direction of one connection; beyond it nothing more is read. */
const QUEUE_BYTES_MAX = 256 * 1_024;
/** A silence shorter than this is none. */
const SILENCE_MS_MIN = 100;
/** A limited direction is let through in slices of this. */
const SLICE_MS = 20;
const LOTS = 1_000_000;

export interface Rule {
  /** Connections whose lot, from 0 to 1, is below it. */
  readonly share: number;
  readonly up?: boolean;
  readonly down?: boolean;
  /** With neither delay nor limit the direction is held. */
  readonly delayMs?: number;
  readonly bytesPerSecond?: number;
}

export interface Silence {
  readonly fromMs: number;
  readonly toMs: number;
}

interface Waiting {
  readonly chunk: Buffer;
  readonly dueMs: number;
}

class ActiveRule {
  readonly rule: Rule;
  /** Connections that it touched, and bytes that it held, delayed or slowed down. */
  readonly touched = new Set<Connection>();
  bytes = 0;

  constructor(rule: Rule) {
    this.rule = rule;
  }
}

/** One direction of one connection. */
class Direction {
  readonly #proxy: Proxy;
  readonly #connection: Connection;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #isUp: boolean;
  readonly #queue: Waiting[] = [];
  #queuedBytes = 0;
  #allowance = 0;
  #allowedAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isEnding = false;

  constructor(proxy: Proxy, connection: Connection, from: Socket, to: Socket, isUp: boolean) {
    this.#proxy = proxy;
    this.#connection = connection;
    this.#from = from;
    this.#to = to;
    this.#isUp = isUp;
    from.on('data', (chunk: Buffer) => this.#take(chunk));
    from.on('end', () => {
      this.#isEnding = true;
      this.pump();
    });
    to.on('drain', () => this.pump());
  }

  #rules(): ActiveRule[] {
    return this.#proxy.rulesFor(this.#connection, this.#isUp);
  }

  #take(chunk: Buffer): void {
    const rules = this.#rules();
    for (const active of rules) {
      active.touched.add(this.#connection);
      active.bytes += chunk.length;
    }
    const delayMs = rules.reduce((most, { rule }) => Math.max(most, rule.delayMs ?? 0), 0);
    this.#queue.push({ chunk, dueMs: performance.now() + delayMs });
    this.#queuedBytes += chunk.length;
    if (this.#queuedBytes > QUEUE_BYTES_MAX) this.#from.pause();
    this.pump();
  }

  /** Passes on what may go now. */
  pump(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const rules = this.#rules();
    const isHeld = rules.some(({ rule }) => rule.delayMs === undefined && rule.bytesPerSecond === undefined);
    if (isHeld || this.#to.destroyed) return;
    const rate = rules.reduce((least, { rule }) => Math.min(least, rule.bytesPerSecond ?? Infinity), Infinity);
    const nowMs = performance.now();
    this.#allowance = Math.min(rate, this.#allowance + ((nowMs - this.#allowedAtMs) / 1_000) * rate);
    this.#allowedAtMs = nowMs;
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      const waitMs = this.#allowance <= 0 ? SLICE_MS : head.dueMs - nowMs;
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        return;
      }
      if (this.#to.writableNeedDrain) return;
      this.#queue.shift();
      this.#queuedBytes -= head.chunk.length;
      if (rate !== Infinity) this.#allowance -= head.chunk.length;
      if (!this.#isUp) this.#proxy.heard(nowMs);
      this.#to.write(head.chunk);
    }
    if (this.#from.isPaused()) this.#from.resume();
    if (this.#isEnding) this.#to.end();
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

class Connection {
  readonly lot: number;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #directions: readonly Direction[];

  constructor(proxy: Proxy, client: Socket, server: Socket, lot: number) {
    this.lot = lot;
    this.#client = client;
    this.#server = server;
    client.setNoDelay(true);
    server.setNoDelay(true);
    this.#directions = [
      new Direction(proxy, this, client, server, true),
      new Direction(proxy, this, server, client, false),
    ];
    const lose = (): void => {
      proxy.forget(this);
      this.reset();
    };
    for (const socket of [client, server]) {
      socket.on('error', lose);
      socket.on('close', (hadError) => {
        if (hadError || (client.destroyed && server.destroyed)) lose();
      });
    }
  }

  pump(): void {
    for (const direction of this.#directions) direction.pump();
  }

  /** Ends both sides with RST. */
  reset(): void {
    for (const direction of this.#directions) direction.close();
    if (!this.#client.destroyed) this.#client.resetAndDestroy();
    if (!this.#server.destroyed) this.#server.resetAndDestroy();
  }
}

export class Proxy {
  readonly #random: Prng;
  readonly #serverPort: number;
  readonly #listener: Server;
  readonly #connections = new Set<Connection>();
  readonly #rules = new Set<ActiveRule>();
  /** Times in which not one byte came to any client, ms of the monotonic clock. */
  readonly silences: Silence[] = [];
  #heardMs = performance.now();
  #isRefusing = false;
  #refused = 0;

  constructor(serverPort: number, random: Prng) {
    this.#serverPort = serverPort;
    this.#random = random;
    this.#listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
  }

  /** Listens on a free port; returns it. */
  async listen(): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(0, HOST, 4_096, resolve);
    });
    return (this.#listener.address() as { readonly port: number }).port;
  }

  /** From 0 to 1. */
  #draw(): number {
    return this.#random.below(LOTS) / LOTS;
  }

  #accept(client: Socket): void {
    client.on('error', () => {});
    if (this.#isRefusing) {
      this.#refused++;
      client.resetAndDestroy();
      return;
    }
    const server = connectTcp({ host: HOST, port: this.#serverPort, allowHalfOpen: true });
    // As if the clients stood at the server's own port: no listener there, no connection here.
    this.#connections.add(new Connection(this, client, server, this.#draw()));
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  rulesFor({ lot }: Connection, isUp: boolean): ActiveRule[] {
    if (this.#rules.size === 0) return [];
    return [...this.#rules].filter(({ rule }) => lot < rule.share && (isUp ? rule.up : rule.down) === true);
  }

  heard(nowMs: number): void {
    if (nowMs - this.#heardMs >= SILENCE_MS_MIN) this.silences.push({ fromMs: this.#heardMs, toMs: nowMs });
    this.#heardMs = nowMs;
  }

  /** Puts a rule into force; what takes it away again returns what it did, or undefined if it touched nothing. */
  impose(rule: Rule): () => string | undefined {
    const active = new ActiveRule(rule);
    this.#rules.add(active);
    return () => {
      this.#rules.delete(active);
      for (const connection of this.#connections) connection.pump();
      if (active.touched.size === 0) return undefined;
      return `${active.touched.size} connections and ${active.bytes} bytes were in its way`;
    };
  }

  /** New connections are reset until the returned function is called, which says how many were. */
  refuse(): () => string | undefined {
    const before = this.#refused;
    this.#isRefusing = true;
    return () => {
      this.#isRefusing = false;
      const refused = this.#refused - before;
      return refused === 0 ? undefined : `${refused} connections were refused`;
    };
  }

  /** Resets a share of the connections; returns how many. */
  reset(share: number): number {
    const chosen = [...this.#connections].filter(() => this.#draw() < share);
    for (const connection of chosen) {
      this.#connections.delete(connection);
      connection.reset();
    }
    return chosen.length;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    this.reset(1);
    await closed;
  }
}
