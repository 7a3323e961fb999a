/**
 * ejabberd, over XMPP: a message is archived (XEP-0313) and acknowledged by stream management (XEP-0198); groups are rooms (XEP-0045).
 * Debian's package, run as a process of ours on loopback, with a configuration of its own.
 */
import { createSecretKey, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { SignJWT } from 'jose';
import { TextConnection } from './lines.js';
import type { Peer, PeerConnection, PeerEvents, PeerServer, Place } from './peer.js';
import { ServerProcess } from './server-process.js';
import { run } from './setup.js';

const PACKAGE = 'ejabberd';
const HOST = 'localhost';
const ROOMS = `conference.${HOST}`;
const SM = 'urn:xmpp:sm:3';

export const ejabberd: Peer = {
  name: 'ejabberd',
  durability: 'written',
  setting:
    'archive and offline messages in Mnesia, stream management, no shaper, no TLS; an acknowledgement asked for with each batch',
  lacks: [
    'sync before the acknowledgement',
    'dense sequence of a conversation',
    'dedupe of repeated sends',
    'receipts by the server (clients may send their own, XEP-0184)',
  ],
  hasGroups: true,
  window: 2,
  prepare,
  start,
};

async function prepare(progress: (sentence: string) => void): Promise<string | undefined> {
  if (codePaths().length > 0) return undefined;
  if (process.getuid?.() !== 0) return `Debian's package '${PACKAGE}' is not installed (apt-get install ${PACKAGE})`;
  progress(`ejabberd: apt-get install ${PACKAGE}, once`);
  try {
    // RUNLEVEL 1: the package starts no service.
    const env = { RUNLEVEL: '1', DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['install', '-y', '--no-install-recommends', PACKAGE], { env });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return codePaths().length > 0 ? undefined : `'${PACKAGE}' is installed, and its code is not where it should be`;
}

/** Where Debian has the compiled code: `/usr/lib/<architecture>/ejabberd-<version>/ebin`. */
function codePaths(): string[] {
  const list = (directory: string): string[] =>
    fs.existsSync(directory) ? fs.readdirSync(directory).map((name) => join(directory, name)) : [];
  const libraries = list('/usr/lib').filter((path) => path.endsWith('-linux-gnu'));
  const packages = libraries.flatMap(list).filter((path) => basename(path).startsWith(`${PACKAGE}-`));
  return packages.map((path) => join(path, 'ebin')).filter((path) => fs.existsSync(path));
}

function configure(directory: string, port: number, keyFile: string): string {
  const configuration = `hosts: [${HOST}]
loglevel: warning
auth_method: jwt
jwt_key: ${keyFile}
listen:
  - port: ${port}
    ip: 127.0.0.1
    module: ejabberd_c2s
modules:
  mod_mam:
    default: always
  mod_muc:
    user_message_shaper: none
    default_room_options:
      mam: true
  mod_offline: {}
  mod_stream_mgmt:
    max_ack_queue: 100000
`;
  fs.writeFileSync(join(directory, 'ejabberd.yml'), configuration);
  return configuration;
}

async function start({ directory, port }: Place): Promise<PeerServer> {
  const secret = randomBytes(32);
  const keyFile = join(directory, 'key.jwk');
  fs.writeFileSync(keyFile, JSON.stringify({ kty: 'oct', k: secret.toString('base64url'), alg: 'HS256' }));
  const configuration = configure(directory, port, keyFile);
  const [code] = codePaths();
  const args = [
    '+K',
    'true',
    '+P',
    '250000',
    '-noinput',
    '-pa',
    code!,
    '-mnesia',
    'dir',
    `"${directory}/mnesia"`,
    '-s',
    'ejabberd',
  ];
  const env = {
    EJABBERD_CONFIG_PATH: join(directory, 'ejabberd.yml'),
    EJABBERD_LOG_PATH: join(directory, 'ejabberd.log'),
    HOME: directory,
  };
  const server = new ServerProcess({ command: 'erl', args, directory, env });
  await server.untilPort(port);
  const connections = new Map<number, XmppConnection>();
  return {
    version: /ejabberd-([\d.]+)/.exec(code!)![1]!,
    configuration,
    pids: [server.pid],
    connect: async (user, events) => {
      const token = await new SignJWT({ jid: `${user}@${HOST}` })
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime('1h')
        .sign(createSecretKey(secret));
      const connection = await XmppConnection.open(port, user, token, events);
      connections.set(user, connection);
      return connection;
    },
    makeGroup: async (group, members) => {
      for (const member of members) await connections.get(member)!.join(group);
    },
    stop: () => server.stop(),
  };
}

const LESS = 0x3c;
const GREATER = 0x3e;
const SLASH = 0x2f;
const BODY = '<body>';

export class XmppConnection implements PeerConnection {
  readonly #events: PeerEvents;
  readonly #user: number;
  #text!: TextConnection;
  readonly #token: string;
  #ready: (() => void) | undefined;
  #isAuthenticated = false;
  /** Stanzas that came, and that were sent and acknowledged, since stream management is on. */
  #received = 0;
  #sent = 0;
  #acked = 0;
  /** Which of those that were sent are no messages of the driver. */
  readonly #others = new Set<number>();
  readonly #joined = new Map<string, () => void>();

  private constructor(user: number, token: string, events: PeerEvents) {
    this.#user = user;
    this.#token = token;
    this.#events = events;
  }

  static async open(port: number, user: number, token: string, events: PeerEvents): Promise<XmppConnection> {
    const connection = new XmppConnection(user, token, events);
    await new Promise<void>((resolve, reject) => {
      connection.#ready = resolve;
      connection.#text = new TextConnection(
        port,
        (bytes, at) => connection.#take(bytes, at),
        (sentence) => {
          reject(new Error(sentence));
          events.failed(sentence);
        },
      );
      connection.#openStream();
    });
    return connection;
  }

  #openStream(): void {
    this.#text.write(
      `<?xml version='1.0'?><stream:stream to='${HOST}' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>`,
    );
  }

  /** Bodies are digits, so that the end of an element is where its name comes next. */
  #take(bytes: Buffer, from: number): number {
    let acked = 0;
    let asked = false;
    let at = from;
    for (;;) {
      const open = bytes.indexOf(LESS, at);
      if (open < 0) {
        at = bytes.length;
        break;
      }
      const close = bytes.indexOf(GREATER, open);
      if (close < 0) break;
      const name = /^[^\s/>]*/.exec(bytes.toString('latin1', open + 1, Math.min(close, open + 32)))![0];
      let end = close + 1;
      if (bytes[close - 1] !== SLASH && name !== '?xml' && name !== 'stream:stream' && !name.startsWith('/')) {
        const last = `</${name}>`;
        const found = bytes.indexOf(last, end, 'latin1');
        if (found < 0) break;
        end = found + last.length;
      }
      if (name === 'message') this.#message(bytes, open, end);
      else if (name === 'a') acked += this.#ack(bytes.toString('latin1', open, end));
      else if (name === 'r') asked = true;
      else this.#control(name, bytes.toString('latin1', open, end));
      at = end;
    }
    if (asked) this.#text.write(`<a xmlns='${SM}' h='${this.#received}'/>`);
    if (acked > 0) this.#events.acked(acked);
    return at;
  }

  #message(bytes: Buffer, from: number, to: number): void {
    this.#received++;
    const body = bytes.indexOf(BODY, from, 'latin1');
    if (body < 0 || body >= to) {
      const text = bytes.toString('latin1', from, to);
      if (/type='error'/.test(text)) this.#events.failed(text);
      return;
    }
    const textAt = body + BODY.length;
    this.#events.delivered(bytes.subarray(textAt, bytes.indexOf(LESS, textAt)));
  }

  /** How many messages of the driver this acknowledges. */
  #ack(text: string): number {
    const h = Number(/h='(\d+)'/.exec(text)![1]);
    let messages = 0;
    while (this.#acked < h) messages += this.#others.delete(++this.#acked) ? 0 : 1;
    return messages;
  }

  #control(name: string, text: string): void {
    if (name === 'stream:features') this.#negotiate(text);
    else if (name === 'success') {
      this.#isAuthenticated = true;
      this.#openStream();
    } else if (name === 'iq') {
      this.#received++;
      if (text.includes('xmpp-bind')) {
        this.#received = 0;
        this.#text.write(`<presence/><enable xmlns='${SM}'/>`);
      }
    } else if (name === 'enabled') {
      this.#received = 0;
      this.#ready?.();
    } else if (name === 'presence') {
      this.#received++;
      const room = /from='([^@']*)@conference/.exec(text)?.[1];
      if (room !== undefined && /code='110'/.test(text)) this.#joined.get(room)?.();
    } else if (name === 'failure' || name === 'failed' || name === 'stream:error') this.#events.failed(text);
  }

  #negotiate(text: string): void {
    if (this.#isAuthenticated) {
      this.#text.write(
        `<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>1</resource></bind></iq>`,
      );
      return;
    }
    if (!text.includes('PLAIN')) this.#events.failed('PLAIN is not offered');
    const secret = Buffer.from(`\0${this.#user}\0${this.#token}`).toString('base64');
    this.#text.write(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${secret}</auth>`);
  }

  #sendMessages(to: string, type: string, bodies: readonly Uint8Array[]): void {
    const head = `<message to='${to}' type='${type}'>${BODY}`;
    const pieces = bodies.flatMap((body) => [head, body, '</body></message>']);
    this.#sent += bodies.length;
    this.#text.writeAll([...pieces, `<r xmlns='${SM}'/>`]);
  }

  send(to: number, bodies: readonly Uint8Array[]): void {
    this.#sendMessages(`${to}@${HOST}`, 'chat', bodies);
  }

  sendToGroup(group: number, bodies: readonly Uint8Array[]): void {
    this.#sendMessages(`${group}@${ROOMS}`, 'groupchat', bodies);
  }

  async join(group: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#joined.set(String(group), resolve);
      this.#others.add(++this.#sent);
      this.#text.write(
        `<presence to='${group}@${ROOMS}/${this.#user}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>`,
      );
    });
  }

  close(): void {
    this.#text.close();
  }
}
