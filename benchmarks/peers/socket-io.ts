/**
 * A server on socket.io that hands messages on and acknowledges them, over a WebSocket from the start. Packets are text: Engine.IO's
 * digit, then Socket.IO's (protocols 4 and 5), then JSON.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LoadSocket } from '../load/socket.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { programText, ServerProcess } from './server-process.js';
import { cacheDirectory, once, run } from './setup.js';

const PROGRAM = fileURLToPath(new URL('./socket-io-server.js', import.meta.url));
const VERSION = '4.8.4';
const BUFFERUTIL_VERSION = '4.1.0';
const DIRECTORY = cacheDirectory(`socket.io-${VERSION}`);

export const socketIo: Peer = {
  name: 'socket.io',
  durability: 'memory',
  setting: 'WebSocket only, bufferutil, the handshake’s request dropped; a room a user',
  lacks: [
    'anything kept: no inbox for who is offline',
    'sequence',
    'dedupe of repeated sends',
    'receipts',
    'authentication',
  ],
  hasGroups: true,
  window: 64,
  prepare: (progress) =>
    once(DIRECTORY, async (to) => {
      progress(`socket.io: npm install, once`);
      mkdirSync(to);
      writeFileSync(join(to, 'package.json'), '{"private":true}');
      const packages = [`socket.io@${VERSION}`, `bufferutil@${BUFFERUTIL_VERSION}`];
      await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...packages], { cwd: to });
    }),
  start,
};

async function start({ directory, port }: Place): Promise<PeerServer> {
  const server = new ServerProcess({ command: process.execPath, args: [PROGRAM, String(port), DIRECTORY], directory });
  await server.untilPort(port);
  const connections = new Map<number, SocketIoConnection>();
  return {
    version: VERSION,
    configuration: programText(PROGRAM),
    pids: [server.pid],
    connect: async (user, events) => {
      const connection = await SocketIoConnection.open(port, user, events);
      connections.set(user, connection);
      return connection;
    },
    makeGroup: async (group, members) => {
      await Promise.all(members.map((member) => connections.get(member)!.join(group)));
    },
    stop: () => server.stop(),
  };
}

const ASCII_ZERO = 0x30;
/** Engine.IO's packets, and Socket.IO's within its MESSAGE. */
const Engine = { OPEN: 0, PING: 2, MESSAGE: 4 } as const;
const Packet = { CONNECT: 0, EVENT: 2, ACK: 3, CONNECT_ERROR: 4 } as const;
/** `42["message","` comes before a body, `"]` behind. */
const BODY_AT = '42["message","'.length;
const TAIL_BYTES = 2;

export class SocketIoConnection implements PeerConnection {
  readonly #events: PeerEvents;
  readonly #user: number;
  #socket!: LoadSocket;
  #connected: (() => void) | undefined;
  #nextId = 0;
  /** By the number of a request that is no message of the driver. */
  readonly #joined = new Map<number, () => void>();

  private constructor(user: number, events: PeerEvents) {
    this.#user = user;
    this.#events = events;
  }

  static async open(port: number, user: number, events: PeerEvents): Promise<SocketIoConnection> {
    const connection = new SocketIoConnection(user, events);
    const path = '/socket.io/?EIO=4&transport=websocket';
    await new Promise<void>((resolve, reject) => {
      connection.#connected = resolve;
      connection.#socket = new LoadSocket({ tls: false, host: '127.0.0.1', port, path }, '', {
        opened: () => {},
        message: (bytes) => connection.#take(bytes),
        closed: (code, reason) => {
          reject(new Error(`closed with ${code} ${reason}`));
          if (code !== 1000) events.failed(`closed with ${code} ${reason}`);
        },
      });
    });
    return connection;
  }

  #take(bytes: Uint8Array): void {
    const engine = bytes[0]! - ASCII_ZERO;
    if (engine === Engine.OPEN) this.#write([`40{"user":${this.#user}}`]);
    else if (engine === Engine.PING) this.#write(['3']);
    else if (engine === Engine.MESSAGE) this.#packet(bytes[1]! - ASCII_ZERO, bytes);
  }

  #packet(packet: number, bytes: Uint8Array): void {
    if (packet === Packet.EVENT) this.#events.delivered(bytes.subarray(BODY_AT, bytes.length - TAIL_BYTES));
    else if (packet === Packet.CONNECT) this.#connected?.();
    else if (packet === Packet.CONNECT_ERROR) this.#events.failed(Buffer.from(bytes).toString());
    else if (packet === Packet.ACK) this.#answered(bytes);
  }

  /** `43<number>[]`. */
  #answered(bytes: Uint8Array): void {
    if (this.#joined.size === 0) {
      this.#events.acked(1);
      return;
    }
    const id = Number.parseInt(Buffer.from(bytes.subarray(2)).toString('latin1'), 10);
    const joined = this.#joined.get(id);
    if (joined === undefined) this.#events.acked(1);
    else {
      this.#joined.delete(id);
      joined();
    }
  }

  #write(packets: readonly string[]): void {
    this.#socket.sendAll(
      packets.map((packet) => Buffer.from(packet, 'latin1')),
      true,
    );
  }

  #emit(room: string, bodies: readonly Uint8Array[]): void {
    this.#write(
      bodies.map((body) => `42${this.#nextId++}["message","${room}","${Buffer.from(body).toString('latin1')}"]`),
    );
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    this.#emit(`user:${to}`, bodies);
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    this.#emit(`group:${group}`, bodies);
  }

  async join(group: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const id = this.#nextId++;
      this.#joined.set(id, resolve);
      this.#write([`42${id}["join","group:${group}"]`]);
    });
  }

  close(): void {
    this.#socket.close(1000);
  }
}
