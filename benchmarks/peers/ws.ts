/** A server on `ws` that hands messages on and acknowledges them: the least that a chat does. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { LoadSocket } from '../load/socket.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { programText, ServerProcess } from './server-process.js';

const PROGRAM = fileURLToPath(new URL('./ws-server.js', import.meta.url));
/** What a body has and the answers of the server have not. */
const ANSWER_BYTES_MAX = 1;
const GROUP = 0x8000_0000;
const MAKE_GROUP = 0;

export const ws: Peer = {
  name: 'ws',
  durability: 'memory',
  setting: 'no compression, no check of UTF-8; every message a WebSocket message',
  lacks: [
    'anything kept: no inbox for who is offline',
    'sequence',
    'dedupe of repeated sends',
    'receipts',
    'authentication',
  ],
  hasGroups: true,
  window: 64,
  prepare: () => Promise.resolve(undefined),
  start,
};

async function start({ directory, port }: Place): Promise<PeerServer> {
  const server = new ServerProcess({ command: process.execPath, args: [PROGRAM, String(port)], directory });
  await server.untilPort(port);
  const connections = new Map<number, WsConnection>();
  return {
    version: (createRequire(import.meta.url)('ws/package.json') as { version: string }).version,
    configuration: programText(PROGRAM),
    pids: [server.pid],
    connect: async (user, events) => {
      const connection = await WsConnection.open(port, user, events);
      connections.set(user, connection);
      return connection;
    },
    makeGroup: (group, members) => connections.get(members[0]!)!.makeGroup(group, members),
    stop: () => server.stop(),
  };
}

class WsConnection implements PeerConnection {
  readonly #events: PeerEvents;
  #socket!: LoadSocket;
  /** Called instead of `acked` with the next answer. */
  #made: (() => void) | undefined;

  private constructor(events: PeerEvents) {
    this.#events = events;
  }

  static async open(port: number, user: number, events: PeerEvents): Promise<WsConnection> {
    const connection = new WsConnection(events);
    await new Promise<void>((resolve, reject) => {
      connection.#socket = new LoadSocket({ tls: false, host: '127.0.0.1', port, path: `/${user}` }, '', {
        opened: resolve,
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
    if (bytes.length > ANSWER_BYTES_MAX) this.#events.delivered(bytes);
    else if (this.#made === undefined) this.#events.acked(1);
    else {
      this.#made();
      this.#made = undefined;
    }
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    this.#socket.sendAll(
      bodies.map((body) => {
        const message = Buffer.allocUnsafe(4 + body.length);
        message.writeUInt32BE(to, 0);
        message.set(body, 4);
        return message;
      }),
    );
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    this.send(GROUP + group, bodies);
  }

  async makeGroup(group: number, members: readonly number[]): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#made = resolve;
      const list = Uint32Array.of(MAKE_GROUP, group, ...members);
      this.#socket.send(new Uint8Array(list.buffer));
    });
  }

  close(): void {
    this.#socket.close(1000);
  }
}
