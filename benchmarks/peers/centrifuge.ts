/** centrifuge: a library of Go; the server of centrifuge/main.go, over its Protobuf protocol. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LoadSocket } from '../load/socket.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { ProtobufReader, ProtobufWriter } from './protobuf.js';
import { programText, ServerProcess } from './server-process.js';
import { cacheDirectory, once, run } from './setup.js';

const SOURCE = fileURLToPath(new URL('../../../benchmarks/peers/centrifuge/', import.meta.url));
const MODULES = fs.readFileSync(`${SOURCE}go.mod`, 'utf8');
const VERSION = /centrifugal\/centrifuge v(\S+)/.exec(MODULES)![1]!;
const digest = createHash('sha256')
  .update(MODULES)
  .update(fs.readFileSync(`${SOURCE}main.go`));
/** Built of this very source. */
const BINARY = cacheDirectory(`centrifuge-${VERSION}-${digest.digest('hex').slice(0, 8)}`);

/** Numbers of fields, by message. */
const Command = { ID: 1, CONNECT: 4, SUBSCRIBE: 5, PUBLISH: 7 } as const;
const Request = { CHANNEL: 1, DATA: 2 } as const;
const Reply = { ID: 1, ERROR: 2, PUSH: 4, CONNECT: 5, SUBSCRIBE: 6, PUBLISH: 8 } as const;
const Push = { PUB: 4 } as const;
const Publication = { DATA: 4 } as const;

export const centrifuge: Peer = {
  name: 'centrifuge',
  durability: 'memory',
  setting: 'Protobuf, writes gathered for 5 ms, pooled write buffers, commands off the read loop; in-memory broker',
  lacks: [
    'anything kept on a disk',
    'sequence (history is in memory, off here)',
    'dedupe of repeated sends',
    'receipts',
  ],
  hasGroups: true,
  window: 64,
  prepare: (progress) =>
    once(BINARY, async (to) => {
      progress('centrifuge: go build, once');
      await run('go', ['build', '-trimpath', '-o', to, '.'], { cwd: SOURCE });
    }),
  start,
};

async function start({ directory, port }: Place): Promise<PeerServer> {
  const server = new ServerProcess({ command: BINARY, args: [`127.0.0.1:${port}`], directory });
  await server.untilPort(port);
  const connections = new Map<number, CentrifugeConnection>();
  return {
    version: VERSION,
    configuration: programText(`${SOURCE}main.go`),
    pids: [server.pid],
    connect: async (user, events) => {
      const connection = await CentrifugeConnection.open(port, user, events);
      connections.set(user, connection);
      return connection;
    },
    makeGroup: async (group, members) => {
      await Promise.all(members.map((member) => connections.get(member)!.subscribe(group)));
    },
    stop: () => server.stop(),
  };
}

export class CentrifugeConnection implements PeerConnection {
  readonly #events: PeerEvents;
  #socket!: LoadSocket;
  readonly #reader = new ProtobufReader();
  readonly #request = new ProtobufWriter();
  readonly #command = new ProtobufWriter();
  readonly #message = new ProtobufWriter();
  #nextId = 1;
  #connected: (() => void) | undefined;
  readonly #subscribed = new Map<number, () => void>();

  private constructor(events: PeerEvents) {
    this.#events = events;
  }

  static async open(port: number, user: number, events: PeerEvents): Promise<CentrifugeConnection> {
    const connection = new CentrifugeConnection(events);
    const path = `/connection/websocket?cf_protocol=protobuf&user=${user}`;
    await new Promise<void>((resolve, reject) => {
      connection.#connected = resolve;
      connection.#socket = new LoadSocket({ tls: false, host: '127.0.0.1', port, path }, '', {
        opened: () => {
          connection.#request.reset();
          connection.#add(Command.CONNECT);
          connection.#flush();
        },
        message: (bytes) => connection.#take(bytes),
        closed: (code, reason) => {
          reject(new Error(`closed with ${code} ${reason}`));
          if (code !== 1000) events.failed(`closed with ${code} ${reason}`);
        },
      });
    });
    return connection;
  }

  /** A WebSocket message is a list of replies, each behind its length. */
  #take(bytes: Uint8Array): void {
    let acked = 0;
    for (let at = 0; at < bytes.length; ) {
      this.#reader.read(bytes, at, bytes.length);
      const length = this.#reader.varint();
      const from = this.#reader.at;
      at = from + length;
      // An empty reply is a ping, an empty command the answer.
      if (length === 0) this.#socket.send(Uint8Array.of(0));
      else acked += this.#reply(bytes, from, at);
    }
    if (acked > 0) this.#events.acked(acked);
  }

  /** How many messages of the driver this answers. */
  #reply(bytes: Uint8Array, from: number, to: number): number {
    const reader = this.#reader;
    let id = 0;
    reader.read(bytes, from, to);
    while (reader.next()) {
      const { field } = reader;
      if (field === Reply.ID) id = reader.value;
      else if (field === Reply.PUBLISH) return 1;
      else if (field === Reply.PUSH) this.#push(bytes, reader.from, reader.to);
      else if (field === Reply.CONNECT) this.#connected?.();
      else if (field === Reply.SUBSCRIBE) this.#subscribed.get(id)?.();
      else if (field === Reply.ERROR)
        this.#events.failed(Buffer.from(bytes.subarray(reader.from, reader.to)).toString());
      if (field === Reply.PUSH) return 0;
    }
    return 0;
  }

  #push(bytes: Uint8Array, from: number, to: number): void {
    const [pubFrom, pubTo] = this.#find(bytes, from, to, Push.PUB);
    if (pubTo === 0) return;
    const [dataFrom, dataTo] = this.#find(bytes, pubFrom, pubTo, Publication.DATA);
    this.#events.delivered(bytes.subarray(dataFrom, dataTo));
  }

  #find(bytes: Uint8Array, from: number, to: number, field: number): readonly [from: number, to: number] {
    const reader = this.#reader;
    reader.read(bytes, from, to);
    while (reader.next()) if (reader.field === field) return [reader.from, reader.to];
    return [0, 0];
  }

  /** Adds a command with what was written to `#request`; returns its id. */
  #add(field: number): number {
    const id = this.#nextId++;
    this.#command.reset();
    this.#command.varintField(Command.ID, id);
    this.#command.bytesField(field, this.#request.bytes);
    this.#message.varint(this.#command.bytes.length);
    this.#message.raw(this.#command.bytes);
    return id;
  }

  #flush(): void {
    this.#socket.send(this.#message.bytes);
    this.#message.reset();
  }

  #publish(channel: string, bodies: readonly Uint8Array[]): void {
    const name = Buffer.from(channel, 'latin1');
    for (const body of bodies) {
      this.#request.reset();
      this.#request.bytesField(Request.CHANNEL, name);
      this.#request.bytesField(Request.DATA, body);
      this.#add(Command.PUBLISH);
    }
    this.#flush();
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    this.#publish(`user:${to}`, bodies);
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    this.#publish(`group:${group}`, bodies);
  }

  async subscribe(group: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#request.reset();
      this.#request.bytesField(Request.CHANNEL, Buffer.from(`group:${group}`, 'latin1'));
      this.#subscribed.set(this.#add(Command.SUBSCRIBE), resolve);
      this.#flush();
    });
  }

  close(): void {
    this.#socket.close(1000);
  }
}
