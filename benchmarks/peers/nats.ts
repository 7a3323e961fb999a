/**
 * NATS with JetStream, over its text protocol. A user's inbox is a subject that a stream keeps; the publisher waits for the stream's
 * acknowledgement, the receiver is a consumer that acknowledges like a client of Dunlin does. Once with every message synced, once as
 * it is set by default.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { ACK_DELAY_MS, ACK_ENTRIES } from '../../core/limits.js';
import { endOfLine, nextLine, TextConnection } from './lines.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { ServerProcess } from './server-process.js';
import { cacheDirectory, once, run } from './setup.js';

const VERSION = '2.15.2';
const MODULE = `github.com/nats-io/nats-server/v2@v${VERSION}`;
const BINARY = join(cacheDirectory(`nats-server-${VERSION}`), 'nats-server');
/** Streams are synced one by one: with several, syncs run beside each other. */
const STREAMS = 16;
const PENDING_MAX = 100_000;

const LACKS = [
  'dense sequence of a conversation (only of a stream)',
  'receipts',
  'dedupe (it has one by a header, not used here)',
  'membership: subjects and permissions instead',
];

export const natsSynced: Peer = {
  ...natsPeer('always'),
  name: 'NATS JetStream, synced',
  durability: 'synced',
  window: 32,
  setting: `file storage, sync_interval: always, ${STREAMS} streams so that syncs run beside each other; consumers in memory, ack all`,
};

export const natsDefault: Peer = {
  ...natsPeer('2m'),
  name: 'NATS JetStream',
  durability: 'written',
  window: 32,
  setting: `file storage, synced every 2 minutes (the default), ${STREAMS} streams; consumers in memory, ack all`,
};

function natsPeer(sync: string): Pick<Peer, 'lacks' | 'hasGroups' | 'prepare' | 'start'> {
  return {
    lacks: LACKS,
    hasGroups: true,
    prepare: (progress) =>
      once(BINARY, async (to) => {
        progress(`NATS: go install ${MODULE}, once`);
        const directory = `${to}.d`;
        await run('go', ['install', MODULE], { env: { GOBIN: directory } });
        fs.renameSync(join(directory, 'nats-server'), to);
        fs.rmdirSync(directory);
      }),
    start: (place) => start(place, sync),
  };
}

async function start({ directory, port }: Place, sync: string): Promise<PeerServer> {
  const configuration = `jetstream {\n  store_dir: "${directory}"\n  sync_interval: ${sync}\n}\n`;
  const file = join(directory, 'nats.conf');
  fs.writeFileSync(file, configuration);
  const args = ['-c', file, '-a', '127.0.0.1', '-p', String(port)];
  const server = new ServerProcess({ command: BINARY, args, directory });
  await server.untilPort(port);
  const admin = await NatsConnection.open(port, 0, { acked: () => {}, delivered: () => {}, failed: () => {} });
  for (let n = 0; n < STREAMS; n++) {
    const subjects = [`user.${n}.*`, `group.${n}.*`];
    await admin.request(`STREAM.CREATE.S${n}`, { name: `S${n}`, subjects, storage: 'file', num_replicas: 1 });
  }
  const consume = async (user: number, subject: string): Promise<void> => {
    const stream = `S${subject.split('.')[1]}`;
    const name = `${user}-${subject.replaceAll('.', '-')}`;
    const config = {
      durable_name: name,
      filter_subject: subject,
      deliver_subject: `to.${user}`,
      deliver_policy: 'all',
      ack_policy: 'all',
      max_ack_pending: PENDING_MAX,
      mem_storage: true,
    };
    await admin.request(`CONSUMER.CREATE.${stream}.${name}`, { stream_name: stream, config, action: 'create' });
  };
  return {
    version: VERSION,
    configuration,
    pids: [server.pid],
    connect: async (user, events) => {
      const connection = await NatsConnection.open(port, user, events);
      await consume(user, subjectOf('user', user));
      return connection;
    },
    makeGroup: async (group, members) => {
      for (const member of members) await consume(member, subjectOf('group', group));
    },
    stop: async () => {
      admin.close();
      await server.stop();
    },
  };
}

function subjectOf(kind: 'user' | 'group', id: number): string {
  return `${kind}.${id % STREAMS}.${id}`;
}

/** Subscriptions of a connection. */
const Sid = { ACK: '1', DELIVERY: '2', ANSWER: '3' } as const;

export class NatsConnection implements PeerConnection {
  readonly #events: PeerEvents;
  #text!: TextConnection;
  readonly #user: number;
  readonly #answers: ((answer: string) => void)[] = [];
  #opened: (() => void) | undefined;
  /** Where a delivery is acknowledged, all before it with it: by consumer. */
  readonly #toAck = new Map<string, string>();
  #unacked = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(user: number, events: PeerEvents) {
    this.#user = user;
    this.#events = events;
  }

  static async open(port: number, user: number, events: PeerEvents): Promise<NatsConnection> {
    const connection = new NatsConnection(user, events);
    await new Promise<void>((resolve, reject) => {
      connection.#opened = resolve;
      connection.#text = new TextConnection(
        port,
        (bytes, at) => connection.#take(bytes, at),
        (sentence) => {
          reject(new Error(sentence));
          events.failed(sentence);
        },
      );
      const subscriptions = [
        `SUB ack.${user} ${Sid.ACK}`,
        `SUB to.${user} ${Sid.DELIVERY}`,
        `SUB answer.${user} ${Sid.ANSWER}`,
      ];
      const options = JSON.stringify({ verbose: false, pedantic: false, headers: true, protocol: 1 });
      connection.#text.write([`CONNECT ${options}`, ...subscriptions, 'PING', ''].join('\r\n'));
    });
    return connection;
  }

  #take(bytes: Buffer, from: number): number {
    let acked = 0;
    let at = from;
    for (;;) {
      const end = endOfLine(bytes, at);
      if (end < 0) break;
      const line = bytes.toString('latin1', at, end);
      if (!line.startsWith('MSG ')) {
        this.#control(line);
        at = nextLine(bytes, end);
        continue;
      }
      const fields = line.split(' ');
      const bodyAt = nextLine(bytes, end);
      const bodyEnd = bodyAt + Number(fields.at(-1));
      if (bytes.length < bodyEnd + 2) break;
      const sid = fields[2];
      if (sid === Sid.DELIVERY) this.#deliver(fields[3]!, bytes.subarray(bodyAt, bodyEnd));
      else if (sid === Sid.ANSWER) this.#answers.shift()!(bytes.toString('latin1', bodyAt, bodyEnd));
      else if (
        bytes.includes('"error"', bodyAt, 'latin1') &&
        /"error"/.test(bytes.toString('latin1', bodyAt, bodyEnd))
      ) {
        this.#events.failed(bytes.toString('latin1', bodyAt, bodyEnd));
      } else acked++;
      at = bodyEnd + 2;
    }
    if (acked > 0) this.#events.acked(acked);
    return at;
  }

  #control(line: string): void {
    if (line === 'PING') this.#text.write('PONG\r\n');
    else if (line === 'PONG') this.#opened?.();
    else if (line.startsWith('-ERR')) this.#events.failed(line);
  }

  /** The subject of an acknowledgement is `$JS.ACK.<stream>.<consumer>.…`. */
  #deliver(ackSubject: string, body: Uint8Array): void {
    this.#events.delivered(body);
    this.#toAck.set(ackSubject.split('.')[3]!, ackSubject);
    if (++this.#unacked >= ACK_ENTRIES) this.#ack();
    else this.#timer ??= setTimeout(() => this.#ack(), ACK_DELAY_MS);
  }

  #ack(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unacked = 0;
    this.#text.writeAll([...this.#toAck.values()].map((subject) => `PUB ${subject} 0\r\n\r\n`));
    this.#toAck.clear();
  }

  #publish(subject: string, bodies: readonly Uint8Array[]): void {
    const pieces = bodies.flatMap((body) => [`PUB ${subject} ack.${this.#user} ${body.length}\r\n`, body, '\r\n']);
    this.#text.writeAll(pieces);
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    this.#publish(subjectOf('user', to), bodies);
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    this.#publish(subjectOf('group', group), bodies);
  }

  /** A request to JetStream; rejects with its error. One after the other in order. */
  async request(name: string, body: object): Promise<void> {
    const json = JSON.stringify(body);
    const answer = await new Promise<string>((resolve) => {
      this.#answers.push(resolve);
      this.#text.write(`PUB $JS.API.${name} answer.${this.#user} ${json.length}\r\n${json}\r\n`);
    });
    const { error } = JSON.parse(answer) as { error?: { description: string } };
    if (error !== undefined) throw new Error(`${name}: ${error.description}`);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#text.close();
  }
}
