import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { WebSocket } from 'ws';
import { DunlinError } from '../core/errors.js';
import { MESSAGE_BYTES_MAX } from '../core/limits.js';
import { Session } from './hub.js';
import { type Refusal, Sockets, type SocketsOptions, type TlsFiles, type Upgrade } from './sockets.js';
import { RSA_CERTIFICATE, RSA_KEY, TLS_CERTIFICATE, TLS_KEY } from './tls.fixture.js';

const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-sockets-'));
after(() => fs.rmSync(directory, { recursive: true }));

function fileOf(name: string, content: string): string {
  const file = join(directory, name);
  fs.writeFileSync(file, content);
  return file;
}

/** Sockets with callbacks that note what they are told. The next one of a kind can be waited for. */
class Bench {
  readonly sockets: Sockets;
  readonly port: number;
  readonly upgrades: Upgrade[] = [];
  readonly refused: Refusal[] = [];
  readonly opened: Session[] = [];
  readonly closed: Session[] = [];
  readonly texts: Session[] = [];
  readonly messages: Uint8Array[] = [];
  refusal: Refusal | undefined;
  onMessage: (session: Session, bytes: Uint8Array) => void = () => {};
  readonly #waiting: (() => void)[] = [];

  constructor(t: TestContext, options: Partial<SocketsOptions> = {}, isFirst = true) {
    const note = <T>(list: T[], item: T): void => {
      list.push(item);
      for (const wake of this.#waiting.splice(0)) wake();
    };
    this.sockets = new Sockets({
      host: '127.0.0.1',
      port: 0,
      accept: (upgrade) => {
        this.upgrades.push(upgrade);
        return this.refusal ?? new Session(129, this.upgrades.length, upgrade.address, 0, Infinity);
      },
      opened: (session) => note(this.opened, session),
      message: (session, bytes) => {
        note(this.messages, bytes.slice());
        this.onMessage(session, bytes);
      },
      text: (session) => note(this.texts, session),
      drained: () => {},
      closed: (session) => note(this.closed, session),
      refused: (refusal) => note(this.refused, refusal),
      ...options,
    });
    t.after(() => this.sockets.close());
    this.port = this.sockets.listen(isFirst);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  connect(path = '/socket', options: WebSocket.ClientOptions = {}, protocols: string[] = []): WebSocket {
    return new WebSocket(`ws://127.0.0.1:${this.port}${path}`, protocols, options);
  }
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly retryAfter: string | undefined;
}

/** The HTTP answer to an upgrade that is refused. */
async function answerTo(socket: WebSocket): Promise<Answer> {
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, http.IncomingMessage];
  const body = (await response.toArray()).join('');
  return { status: response.statusCode!, body, retryAfter: response.headers['retry-after'] };
}

test('a token comes in a header, in the query or as a sub-protocol, and the first sub-protocol is answered', async (t) => {
  const bench = new Bench(t);
  const ways: readonly (readonly [WebSocket, string, string])[] = [
    [bench.connect('/socket', { headers: { authorization: 'Bearer abc' } }), 'abc', ''],
    [bench.connect('/socket', { headers: { authorization: 'bearer  abc ' } }, ['dunlin']), 'abc', 'dunlin'],
    [bench.connect('/socket?x=1&token=a.b-c_d'), 'a.b-c_d', ''],
    [bench.connect('/socket', {}, ['dunlin', 'tok']), 'tok', 'dunlin'],
    [bench.connect('/socket', {}, ['dunlin']), '', 'dunlin'],
    [bench.connect('/socket', {}, ['other', 'tok']), '', 'other'],
    [bench.connect('/socket'), '', ''],
  ];
  await Promise.all(ways.map(([socket]) => once(socket, 'open')));
  assert.deepEqual(
    ways.map(([socket]) => socket.protocol),
    ways.map(([, , protocol]) => protocol),
  );
  assert.deepEqual(bench.upgrades.map(({ token }) => token).toSorted(), ways.map(([, token]) => token).toSorted());
  for (const { address } of bench.upgrades) assert.match(address, /127\.0\.0\.1$/);
});

test('a refusal has its status, its sentence and its time to come back', async (t) => {
  const bench = new Bench(t);
  bench.refusal = { status: '503 Service Unavailable', sentence: 'Too many.', retryAfterS: 7 };
  assert.deepEqual(await answerTo(bench.connect()), { status: 503, body: 'Too many.\n', retryAfter: '7' });
  bench.refusal = { status: '401 Unauthorized', sentence: 'Who are you?' };
  assert.deepEqual(await answerTo(bench.connect()), { status: 401, body: 'Who are you?\n', retryAfter: undefined });
  assert.equal(bench.refused.length, 2);
  assert.equal(bench.opened.length, 0);
});

test('a message arrives whole; text is told apart; a message over the limit ends the connection', async (t) => {
  const bench = new Bench(t);
  const socket = bench.connect();
  await once(socket, 'open');
  socket.send(Uint8Array.of(1, 2, 3));
  socket.send('text');
  socket.send(new Uint8Array(MESSAGE_BYTES_MAX).fill(7));
  await bench.until(() => bench.messages.length === 2 && bench.texts.length === 1);
  assert.deepEqual([...bench.messages[0]!], [1, 2, 3]);
  assert.equal(bench.messages[1]!.length, MESSAGE_BYTES_MAX);
  socket.send(new Uint8Array(MESSAGE_BYTES_MAX + 1));
  const [code] = (await once(socket, 'close')) as [number];
  assert.ok(code === 1009 || code === 1006, `${code}`);
  await bench.until(() => bench.closed.length === 1);
  assert.equal(bench.messages.length, 2);
});

test('a close tells its code and reason, and the session has no socket from then on', async (t) => {
  const bench = new Bench(t);
  const socket = bench.connect();
  await once(socket, 'open');
  await bench.until(() => bench.opened.length === 1);
  const [session] = bench.opened;
  session!.socket!.send(Uint8Array.of(9));
  session!.socket!.close(4100, 'another took over');
  assert.equal(session!.socket, undefined);
  assert.deepEqual(bench.closed, [session]);
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
  assert.deepEqual([code, reason.toString()], [4100, 'another took over']);
});

test('a peer that goes away is told once', async (t) => {
  const bench = new Bench(t);
  const socket = bench.connect();
  await once(socket, 'open');
  await bench.until(() => bench.opened.length === 1);
  socket.terminate();
  await bench.until(() => bench.closed.length === 1);
  assert.equal(bench.opened[0]!.socket, undefined);
});

test('what the peer does not read is counted as unsent', async (t) => {
  const bench = new Bench(t);
  const socket = bench.connect();
  await once(socket, 'open');
  await bench.until(() => bench.opened.length === 1);
  socket.pause();
  const own = bench.opened[0]!.socket!;
  const bytes = new Uint8Array(512 * 1024);
  while (own.bufferedBytes() < 1_000_000) assert.equal(own.send(bytes), true);
  let isTaken = true;
  for (let n = 0; n < 64 && isTaken; n++) isTaken = own.send(bytes);
  assert.equal(isTaken, false, 'past the last line nothing is taken');
  socket.terminate();
});

test('a port in use is refused with a sentence, also if its owner would share it', async (t) => {
  const blocker = net.createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  t.after(() => blocker.close());
  const { port } = blocker.address() as AddressInfo;
  const isRefused = (error: unknown): boolean =>
    error instanceof DunlinError && /127\.0\.0\.1:\d+ is in use.*--port/.test(error.message);
  assert.throws(() => new Bench(t, { port }), isRefused);
  assert.throws(() => new Bench(t, { port }, false), isRefused);
  const other = new Bench(t);
  assert.throws(() => new Bench(t, { port: other.port }), isRefused);
  const second = new Bench(t, { port: other.port }, false);
  assert.equal(second.port, other.port, 'gateways of one process share it');
});

function filesOf(name: string, certificate: string, key: string): TlsFiles {
  return { keyFile: fileOf(`${name}-key.pem`, key), certFile: fileOf(`${name}-cert.pem`, certificate) };
}

/** The version that a handshake ends with. */
async function handshake(port: number, ca: string, version: tls.SecureVersion): Promise<string> {
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    ca,
    servername: 'localhost',
    minVersion: version,
    maxVersion: version,
    ciphers: 'ALL:@SECLEVEL=0',
  });
  return await new Promise((resolve) => {
    socket.once('secureConnect', () => {
      resolve(socket.getProtocol() ?? '');
      socket.destroy();
    });
    socket.once('error', () => resolve('refused'));
  });
}

test('with TLS, version 1.3 is spoken and nothing below, with either kind of key', async (t) => {
  for (const [name, ca, key] of [
    ['ec', TLS_CERTIFICATE, TLS_KEY],
    ['rsa', RSA_CERTIFICATE, RSA_KEY],
  ] as const) {
    const bench = new Bench(t, { tls: filesOf(name, ca, key) });
    assert.equal(await handshake(bench.port, ca, 'TLSv1.3'), 'TLSv1.3', name);
    for (const version of ['TLSv1', 'TLSv1.1', 'TLSv1.2'] as const) {
      assert.equal(await handshake(bench.port, ca, version), 'refused', `${name} ${version}`);
    }
    const socket = new WebSocket(`wss://localhost:${bench.port}/socket`, {
      ca,
      lookup: (_host, _options, found) => found(null, [{ address: '127.0.0.1', family: 4 }]),
    });
    await once(socket, 'open');
    socket.send(Uint8Array.of(5));
    await bench.until(() => bench.messages.length === 1);
  }
});

test('TLS files that are missing or do not fit are refused by name', (t) => {
  const { keyFile, certFile } = filesOf('good', TLS_CERTIFICATE, TLS_KEY);
  const foreign = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const wrong: readonly (readonly [TlsFiles, RegExp])[] = [
    [{ keyFile: join(directory, 'none.pem'), certFile }, /none\.pem.*ENOENT/],
    [{ keyFile, certFile: fileOf('empty.pem', '') }, /empty\.pem/],
    [{ keyFile: fileOf('foreign.pem', foreign), certFile }, /foreign\.pem.*belong together/],
  ];
  for (const [files, sentence] of wrong) {
    assert.throws(
      () => new Bench(t, { tls: files }),
      (error: unknown) => error instanceof DunlinError && sentence.test(error.message),
    );
  }
});
