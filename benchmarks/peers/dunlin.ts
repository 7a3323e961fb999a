/**
 * Dunlin: `dunlin up`, whose SENT comes when the message is synced, over the client protocol (docs/protocol.md) with what it asks
 * of a client: counters that count up, frames put together into WebSocket messages, positions acknowledged.
 */
import { fileURLToPath } from 'node:url';
import { ErrorCodes } from '../../core/errors.js';
import { At, encodeFrame, frameLength, Kind, makeFrame, readU53, viewOf, writeU53 } from '../../core/frame.js';
import { directConversation, groupConversation } from '../../core/ids.js';
import { ACK_DELAY_MS, ACK_ENTRIES, FRAME_HEADER_BYTES, FRAMES_PER_MESSAGE_MAX } from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { LoadSocket, type SocketTarget } from '../load/socket.js';
import { openIssuer } from '../load/tokens.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { ServerProcess } from './server-process.js';

const PROGRAM = fileURLToPath(new URL('../../../cli/bin/dunlin.mjs', import.meta.url));
const DEVICE = 1;
/** One user's sends are not held back: it is the server that is measured. */
const SETTINGS = ['--frames-per-second', '10000000'];

export const dunlin: Peer = {
  name: 'Dunlin',
  durability: 'synced',
  setting: 'dunlin up, one gateway and one lane thread a stage; synced in groups before SENT',
  lacks: [],
  hasGroups: true,
  window: 64,
  prepare: () => Promise.resolve(undefined),
  start,
};

async function start({ directory, port }: Place): Promise<PeerServer> {
  const args = ['up', '--json', '--data', directory, '--port', String(port), '--admin-port', String(port + 1)];
  const server = new ServerProcess({ command: process.execPath, args: [PROGRAM, ...args, ...SETTINGS], directory });
  await server.untilPort(port);
  const issuer = await openIssuer({ data: directory });
  const target: SocketTarget = { tls: false, host: '127.0.0.1', port, path: '/socket' };
  const connections = new Map<number, DunlinConnection>();
  return {
    version: 'this one',
    configuration: SETTINGS.join(' '),
    pids: [server.pid],
    connect: async (user, events) => {
      const token = await issuer.sign(user, DEVICE);
      const connection = await DunlinConnection.open(target, token, user, events);
      connections.set(user, connection);
      return connection;
    },
    makeGroup: async (group, members) => {
      const [creator, ...others] = members;
      await connections.get(creator!)!.makeGroup(group, others);
    },
    stop: () => server.stop(),
  };
}

/** What waits for its SENT in one conversation. */
interface Outbox {
  readonly convA: number;
  readonly convB: number;
  /** Counter of the first body. */
  first: number;
  readonly bodies: Uint8Array[];
  timer: NodeJS.Timeout | undefined;
  pauseMs: number;
}

const RETRYABLE: ReadonlySet<number> = new Set(
  Object.values(ErrorCodes)
    .filter(({ canRetry }) => canRetry)
    .map(({ code }) => code),
);
/** The first pause before a repetition, and the longest (docs/protocol.md, Sending). */
const RETRY_MS = 100;
const RETRY_MS_MAX = 10_000;

class DunlinConnection implements PeerConnection {
  readonly #user: number;
  readonly #events: PeerEvents;
  #socket!: LoadSocket;
  readonly #header = encodeFrame(makeFrame({ kind: Kind.MESSAGE }));
  readonly #headerView = viewOf(this.#header);
  readonly #ack = encodeFrame(makeFrame({ kind: Kind.ACK }));
  /** By partner, or by negative group. */
  readonly #outboxes = new Map<number, Outbox>();
  readonly #founded = new Map<number, () => void>();
  #live: (() => void) | undefined;
  #position = 0;
  #unacked = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(user: number, events: PeerEvents) {
    this.#user = user;
    this.#events = events;
  }

  static async open(target: SocketTarget, token: string, user: number, events: PeerEvents): Promise<DunlinConnection> {
    const connection = new DunlinConnection(user, events);
    await new Promise<void>((resolve, reject) => {
      connection.#live = resolve;
      connection.#socket = new LoadSocket(target, token, {
        opened: () => connection.#socket.send(encodeFrame(makeFrame({ kind: Kind.HELLO, extra: 1 }))),
        message: (bytes) => connection.#take(bytes),
        closed: (code, reason) => {
          clearTimeout(connection.#timer);
          reject(new Error(`closed with ${code} ${reason}`));
          if (code !== 1000) events.failed(`closed with ${code} ${reason}`);
        },
      });
    });
    return connection;
  }

  #take(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    let sent = 0;
    for (let at = 0; at < bytes.length; at += frameLength(view, at)) {
      const position = readU53(view, at + At.INBOX);
      const kind = bytes[at + At.KIND]!;
      if (kind === Kind.WELCOME) continue;
      if (position > this.#position) {
        this.#position = position;
        this.#unacked++;
      }
      if (kind === Kind.MESSAGE) this.#events.delivered(payloadOf(bytes, view, at));
      else if (kind === Kind.SENT) sent += this.#sent(view, at);
      else if (kind === Kind.CAUGHT_UP) this.#live?.();
      else if (kind === Kind.REJECT) this.#rejected(view, at, Buffer.from(payloadOf(bytes, view, at)));
      else if (kind === Kind.GOAWAY) this.#events.failed(`told to go (${view.getUint32(at + At.EXTRA)})`);
    }
    if (sent > 0) this.#events.acked(sent);
    if (this.#unacked >= ACK_ENTRIES) this.#sendAck();
    else if (this.#unacked > 0) this.#timer ??= setTimeout(() => this.#sendAck(), ACK_DELAY_MS);
  }

  /** How many messages of the driver this answers. */
  #sent(view: DataView, at: number): number {
    const outbox = this.#outboxOf(view, at);
    if (view.getUint32(at + At.COUNTER) < outbox.first) return 0;
    outbox.first++;
    const founded = this.#founded.get(outbox.convB);
    if (outbox.convA !== 0 || founded === undefined) {
      outbox.bodies.shift();
      return 1;
    }
    this.#founded.delete(outbox.convB);
    founded();
    return 0;
  }

  /** What is refused for now is sent again after a pause, all that waits behind it with it. */
  #rejected(view: DataView, at: number, sentence: Buffer): void {
    const code = view.getUint32(at + At.EXTRA);
    if (!RETRYABLE.has(code)) {
      this.#events.failed(`refused (${code}): ${sentence}`);
      return;
    }
    const outbox = this.#outboxOf(view, at);
    outbox.pauseMs = Math.min(RETRY_MS_MAX, Math.max(RETRY_MS, outbox.pauseMs));
    outbox.timer ??= setTimeout(() => {
      outbox.timer = undefined;
      outbox.pauseMs *= 2;
      this.#sendFrames(outbox, outbox.first, outbox.bodies);
    }, outbox.pauseMs);
  }

  #outboxOf(view: DataView, at: number): Outbox {
    const [convA, convB] = [readU53(view, at + At.CONV_A), readU53(view, at + At.CONV_B)];
    return this.#outbox(convA, convB, convA === 0 ? -convB : convA === this.#user ? convB : convA);
  }

  #outbox(convA: number, convB: number, key: number): Outbox {
    let outbox = this.#outboxes.get(key);
    if (outbox === undefined) {
      outbox = { convA, convB, first: 1, bodies: [], timer: undefined, pauseMs: 0 };
      this.#outboxes.set(key, outbox);
    }
    return outbox;
  }

  #sendAck(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unacked = 0;
    writeU53(viewOf(this.#ack), At.INBOX, this.#position);
    this.#socket.send(this.#ack);
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    const { a, b } = directConversation(this.#user, to);
    this.#add(this.#outbox(a, b, to), bodies);
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    const { a, b } = groupConversation(group);
    this.#add(this.#outbox(a, b, -group), bodies);
  }

  #add(outbox: Outbox, bodies: readonly Uint8Array[]): void {
    const counter = outbox.first + outbox.bodies.length;
    outbox.bodies.push(...bodies);
    // What waits to be sent again goes first.
    if (outbox.timer === undefined) this.#sendFrames(outbox, counter, bodies);
  }

  #sendFrames({ convA, convB }: Outbox, counter: number, bodies: readonly Uint8Array[]): void {
    writeU53(this.#headerView, At.CONV_A, convA);
    writeU53(this.#headerView, At.CONV_B, convB);
    for (let from = 0; from < bodies.length; from += FRAMES_PER_MESSAGE_MAX) {
      const part = bodies.slice(from, from + FRAMES_PER_MESSAGE_MAX);
      const length = part.reduce((sum, body) => sum + FRAME_HEADER_BYTES + body.length, 0);
      const message = Buffer.allocUnsafe(length);
      let at = 0;
      for (let i = 0; i < part.length; i++) {
        const body = part[i]!;
        this.#headerView.setUint32(At.COUNTER, counter + from + i);
        this.#headerView.setUint32(At.LENGTH, body.length);
        message.set(this.#header, at);
        message.set(body, at + FRAME_HEADER_BYTES);
        at += FRAME_HEADER_BYTES + body.length;
      }
      this.#socket.send(message);
    }
  }

  async makeGroup(group: number, others: readonly number[]): Promise<void> {
    const { a, b } = groupConversation(group);
    await new Promise<void>((resolve) => {
      this.#founded.set(group, resolve);
      const payload = encodeMembers(others);
      this.#socket.send(encodeFrame(makeFrame({ kind: Kind.GROUP_CREATE, convA: a, convB: b, counter: 1, payload })));
    });
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const { timer } of this.#outboxes.values()) clearTimeout(timer);
    this.#socket.close(1000);
  }
}

function payloadOf(bytes: Uint8Array, view: DataView, at: number): Uint8Array {
  const from = at + FRAME_HEADER_BYTES;
  return bytes.subarray(from, from + view.getUint32(at + At.LENGTH));
}
