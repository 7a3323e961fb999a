/**
 * WuKongIM, over its binary protocol on TCP, one node. The program is somebody else's and is built by whoever has its source:
 * DUNLIN_WUKONGIM names it, and without it this rival is left out.
 *
 * A packet is a byte of type and flags, its length as in MQTT, and the fields; strings stand behind two bytes of length.
 */
import {
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { TextConnection } from './lines.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { ServerProcess } from './server-process.js';
import { run } from './setup.js';

const VARIABLE = 'DUNLIN_WUKONGIM';

export const wukongim: Peer = {
  name: 'WuKongIM',
  durability: 'synced',
  setting:
    'one node, gnet transport, commits gathered for 0.5 ms (the default) and synced by Pebble; it encrypts what goes to a person',
  lacks: ['receipts by the server', 'order of joins among messages', 'dedupe beyond its window of message numbers'],
  hasGroups: true,
  window: 8,
  prepare: () => Promise.resolve(reasonMissing()),
  start,
};

function program(): string {
  return process.env[VARIABLE] ?? '';
}

function reasonMissing(): string | undefined {
  if (program() === '') return `${VARIABLE} names no program: there is no package of it in a registry`;
  return fs.existsSync(program()) ? undefined : `${VARIABLE} names ${program()}, which is not there`;
}

function configure(directory: string, port: number): string {
  return `[node]
id = 1
data_dir = "${directory}/data"
[cluster]
listen_addr = "127.0.0.1:${port + 1}"
id = "single"
nodes = [{ id = 1, addr = "127.0.0.1:${port + 1}" }]
initial_slot_count = 10
hash_slot_count = 256
slot_replica_n = 1
commit_coordinator_flush_window = "500us"
[api]
listen_addr = "127.0.0.1:${port + 2}"
[manager]
listen_addr = "127.0.0.1:${port + 3}"
auth_on = false
[observability]
metrics_enable = false
[prometheus]
enable = false
[top]
api_enable = false
[diagnostics]
enable = false
[plugin]
enable = false
[log]
level = "warn"
dir = "${directory}/logs"
console = true
[gateway]
listeners = [{ name = "tcp", network = "tcp", address = "127.0.0.1:${port}", transport = "gnet", protocol = "wkproto" }]
gnet_multicore = true
send_timeout = "60s"
default_session_async_send_batch_max_wait = "1ms"
default_session_async_send_batch_max_records = 128
[delivery]
enable = true
`;
}

async function start({ directory, port }: Place): Promise<PeerServer> {
  const configuration = configure(directory, port);
  const file = join(directory, 'wukongim.toml');
  fs.writeFileSync(file, configuration);
  const server = new ServerProcess({ command: program(), args: ['-config', file], directory });
  await server.until(() => isReady(port + 2));
  return {
    version: await versionOf(),
    configuration,
    pids: [server.pid],
    connect: (user, events) => WuKongConnection.open(port, user, events),
    makeGroup: async (group, members) => {
      const body = { channel_id: `g${group}`, channel_type: GROUP, subscribers: members.map((member) => `u${member}`) };
      const response = await fetch(`http://127.0.0.1:${port + 2}/channel`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`POST /channel: ${response.status} ${text}`);
    },
    stop: () => server.stop(),
  };
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
  } catch {
    return false;
  }
}

/** What Go wrote into the program: the revision of its source. */
async function versionOf(): Promise<string> {
  try {
    const text = await run('go', ['version', '-m', program()]);
    return /vcs\.revision=([0-9a-f]{9})/.exec(text)?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

const Packet = {
  CONNECT: 1,
  CONNACK: 2,
  SEND: 3,
  SENDACK: 4,
  RECV: 5,
  RECVACK: 6,
  PING: 7,
  PONG: 8,
  DISCONNECT: 9,
} as const;
const PERSON = 1;
const GROUP = 2;
const PROTOCOL_VERSION = 6;
const REASON_SUCCESS = 1;
const SETTING_NO_ENCRYPTION = 1 << 4;
/** Of CONNACK: a byte of version comes first. */
const FLAG_HAS_VERSION = 1;
/** Of a public key in SPKI: what comes before its 32 bytes (RFC 8410). */
const SPKI_HEAD = Buffer.from('302a300506032b656e032100', 'hex');
/** AES-128. */
const KEY_BYTES = 16;

function string(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function stringAt(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at + 2, at + 2 + bytes.readUInt16BE(at));
}

function packetHead(type: number, bodyBytes: number): Buffer {
  const head = [type << 4];
  let rest = bodyBytes;
  do {
    head.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.from(head);
}

export class WuKongConnection implements PeerConnection {
  readonly #events: PeerEvents;
  readonly #user: number;
  #connection!: TextConnection;
  #opened: (() => void) | undefined;
  #serial = 0;
  readonly #privateKey: KeyObject;
  readonly #publicKey: string;
  #key = '';
  #iv = Buffer.alloc(0);

  private constructor(user: number, events: PeerEvents) {
    const { privateKey, publicKey } = generateKeyPairSync('x25519');
    this.#privateKey = privateKey;
    this.#publicKey = publicKey.export({ type: 'spki', format: 'der' }).subarray(SPKI_HEAD.length).toString('base64');
    this.#user = user;
    this.#events = events;
  }

  static async open(port: number, user: number, events: PeerEvents): Promise<WuKongConnection> {
    const connection = new WuKongConnection(user, events);
    await new Promise<void>((resolve, reject) => {
      connection.#opened = resolve;
      connection.#connection = new TextConnection(
        port,
        (bytes, at) => connection.#take(bytes, at),
        (sentence) => {
          reject(new Error(sentence));
          events.failed(sentence);
        },
      );
      connection.#connect();
    });
    return connection;
  }

  #connect(): void {
    const time = Buffer.alloc(8);
    time.writeBigInt64BE(BigInt(Date.now()));
    const key = this.#publicKey;
    const [version, deviceFlag] = [PROTOCOL_VERSION, 0];
    const fields = [
      Buffer.from([version, deviceFlag]),
      string('d1'),
      string(`u${this.#user}`),
      string(''),
      time,
      string(key),
    ];
    const body = Buffer.concat(fields);
    this.#connection.write(Buffer.concat([packetHead(Packet.CONNECT, body.length), body]));
  }

  #take(bytes: Buffer, from: number): number {
    const answers: Buffer[] = [];
    let acked = 0;
    let at = from;
    while (at < bytes.length) {
      const type = bytes[at]! >> 4;
      if (type === Packet.PING || type === Packet.PONG) {
        if (type === Packet.PING) answers.push(Buffer.from([Packet.PONG << 4]));
        at++;
        continue;
      }
      let bodyAt = at + 1;
      let length = 0;
      for (let shift = 0; ; shift += 7, bodyAt++) {
        if (bodyAt >= bytes.length) return this.#finish(answers, acked, at);
        length |= (bytes[bodyAt]! & 0x7f) << shift;
        if (bytes[bodyAt]! < 0x80) break;
      }
      bodyAt++;
      if (bodyAt + length > bytes.length) break;
      const body = bytes.subarray(bodyAt, bodyAt + length);
      if (type === Packet.SENDACK) acked += this.#sendAck(body);
      else if (type === Packet.RECV) answers.push(this.#receive(body));
      else if (type === Packet.CONNACK) this.#connAck(bytes[at]!, body);
      else this.#events.failed(`packet ${type}: ${body.toString('latin1')}`);
      at = bodyAt + length;
    }
    return this.#finish(answers, acked, at);
  }

  #finish(answers: readonly Buffer[], acked: number, at: number): number {
    if (answers.length > 0) this.#connection.writeAll(answers);
    if (acked > 0) this.#events.acked(acked);
    return at;
  }

  /** [version], difference of clocks (8), reason, the server's key, the initialisation vector, node (8). */
  #connAck(head: number, body: Buffer): void {
    const at = ((head & FLAG_HAS_VERSION) !== 0 ? 1 : 0) + 8;
    if (body[at] !== REASON_SUCCESS) {
      this.#events.failed(`refused: reason ${body[at]}`);
      return;
    }
    const serverKey = stringAt(body, at + 1);
    this.#iv = Buffer.from(stringAt(body, at + 3 + serverKey.length), 'latin1').subarray(0, KEY_BYTES);
    const key = Buffer.concat([SPKI_HEAD, Buffer.from(serverKey, 'base64')]);
    const publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
    const secret = diffieHellman({ privateKey: this.#privateKey, publicKey }).toString('base64');
    this.#key = createHash('md5').update(secret).digest('hex').slice(0, KEY_BYTES);
    this.#opened?.();
  }

  /** What goes to a person is encrypted for the connection, whatever the sender asked for. */
  #decrypt(payload: Buffer): Buffer {
    const decipher = createDecipheriv('aes-128-cbc', this.#key, this.#iv);
    const bytes = Buffer.from(payload.toString('latin1'), 'base64');
    return Buffer.concat([decipher.update(bytes), decipher.final()]);
  }

  /** message id (8), client's number (4), sequence (8), reason. */
  #sendAck(body: Buffer): number {
    if (body[20] === REASON_SUCCESS) return 1;
    this.#events.failed(`a message was refused: reason ${body[20]}`);
    return 0;
  }

  /** Hands on the payload; returns the acknowledgement. */
  #receive(body: Buffer): Buffer {
    const skip = (offset: number): number => offset + 2 + body.readUInt16BE(offset);
    // setting, key, sender, channel, its type, expiry, client's message number
    const ids = skip(skip(skip(skip(1))) + 1 + 4);
    // message id (8), sequence (8), time (4)
    const payload = body.subarray(ids + 20);
    const isPlain = (body[0]! & SETTING_NO_ENCRYPTION) !== 0;
    this.#events.delivered(isPlain ? payload : this.#decrypt(payload));
    return Buffer.concat([packetHead(Packet.RECVACK, 16), body.subarray(ids, ids + 16)]);
  }

  #sendAll(channel: string, type: number, bodies: readonly Uint8Array[]): void {
    const to = string(channel);
    const pieces = bodies.flatMap((body) => {
      const serial = ++this.#serial;
      const number = string(`${this.#user}-${serial}`);
      const fixed = Buffer.alloc(5);
      fixed[0] = SETTING_NO_ENCRYPTION;
      fixed.writeUInt32BE(serial, 1);
      // type, expiry (4), key (an empty string)
      const rest = Buffer.from([type, 0, 0, 0, 0, 0, 0]);
      const length = fixed.length + number.length + to.length + rest.length + body.length;
      return [packetHead(Packet.SEND, length), fixed, number, to, rest, body];
    });
    this.#connection.write(Buffer.concat(pieces));
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    this.#sendAll(`u${to}`, PERSON, bodies);
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    this.#sendAll(`g${group}`, GROUP, bodies);
  }

  close(): void {
    this.#connection.close();
  }
}
