import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { WebSocketServer } from 'ws';
import { TLS_CERTIFICATE, TLS_KEY } from '../../gateway/tls.fixture.js';
import { CLOSE_ABNORMAL, LoadSocket, parseTarget, type SocketTarget } from './socket.js';

/** A server that answers the upgrade, and then writes what it is told to, in the pieces it is told to. */
class RawServer {
  readonly #server: Server = createServer((socket) => this.#connection(socket));
  readonly #script: (socket: Socket, accept: string) => void;
  received = Buffer.alloc(0);

  constructor(script: (socket: Socket, accept: string) => void) {
    this.#script = script;
  }

  async start(): Promise<SocketTarget> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    return { tls: false, host: '127.0.0.1', port: (this.#server.address() as AddressInfo).port, path: '/socket' };
  }

  #connection(socket: Socket): void {
    let head = '';
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      if (head.includes('\r\n\r\n')) {
        this.received = Buffer.concat([this.received, bytes]);
        return;
      }
      head += bytes.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      const key = /sec-websocket-key: (.*)\r\n/i.exec(head)![1]!;
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      this.#script(socket, accept);
    });
  }

  stop(): void {
    this.#server.close();
  }
}

function answer(accept: string): Buffer {
  return Buffer.from(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
}

function frame(first: number, payload: Uint8Array): Buffer {
  const length = payload.length;
  const head =
    length < 126
      ? Buffer.from([first, length])
      : length < 65_536
        ? Buffer.from([first, 126, length >>> 8, length & 0xff])
        : Buffer.from([
            first,
            127,
            0,
            0,
            0,
            0,
            length >>> 24,
            (length >>> 16) & 0xff,
            (length >>> 8) & 0xff,
            length & 0xff,
          ]);
  return Buffer.concat([head, payload]);
}

interface Outcome {
  messages: Buffer[];
  code: number;
  reason: string;
}

/** Connects, gathers what comes, until the connection is closed. */
async function gather(target: SocketTarget, opened: (socket: LoadSocket) => void = () => {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const messages: Buffer[] = [];
    const socket: LoadSocket = new LoadSocket(target, 'token', {
      opened: () => opened(socket),
      message: (bytes) => messages.push(Buffer.from(bytes)),
      closed: (code, reason) => resolve({ messages, code, reason }),
    });
  });
}

async function run(
  script: (socket: Socket, accept: string) => void,
  opened?: (socket: LoadSocket) => void,
): Promise<Outcome & { received: Buffer }> {
  const server = new RawServer(script);
  const target = await server.start();
  const outcome = await gather(target, opened);
  server.stop();
  return { ...outcome, received: server.received };
}

test('messages of every length class come whole, however the bytes are cut', async () => {
  const lengths = fc.oneof(
    fc.integer({ min: 0, max: 130 }),
    fc.constantFrom(125, 126, 127, 65_535, 65_536),
    fc.integer({ min: 0, max: 3_000 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(lengths, { minLength: 1, maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 4_000 })),
      async (sizes, pieces) => {
        const payloads = sizes.map((size, i) => Buffer.alloc(size, i + 1));
        const { messages, code } = await run((socket, accept) => {
          const bytes = Buffer.concat([
            answer(accept),
            ...payloads.map((p) => frame(0x82, p)),
            frame(0x88, Buffer.from([0x03, 0xe8])),
          ]);
          let at = 0;
          for (const piece of pieces) {
            socket.write(bytes.subarray(at, at + piece));
            at += piece;
          }
          socket.end(bytes.subarray(at));
        });
        assert.equal(code, 1_000);
        assert.deepEqual(messages, payloads);
      },
    ),
    { numRuns: 40 },
  );
});

test('one byte at a time', async () => {
  const { messages } = await run((socket, accept) => {
    const bytes = Buffer.concat([answer(accept), frame(0x82, Buffer.from('one')), frame(0x82, Buffer.alloc(200, 7))]);
    socket.setNoDelay(true);
    let at = 0;
    const next = (): void => {
      if (at === bytes.length) socket.end();
      else socket.write(bytes.subarray(at, ++at), () => setImmediate(next));
    };
    next();
  });
  assert.deepEqual(
    messages.map((m) => m.length),
    [3, 200],
  );
});

test('fragments are put together, and a ping between them is answered', async () => {
  const { messages, received } = await run((socket, accept) => {
    socket.write(
      Buffer.concat([
        answer(accept),
        frame(0x02, Buffer.from('abc')),
        frame(0x89, Buffer.from('ping')),
        frame(0x00, Buffer.from('def')),
        frame(0x80, Buffer.from('ghi')),
        frame(0x88, Buffer.from([0x10, 0x04])),
      ]),
    );
  });
  assert.deepEqual(messages.map(String), ['abcdefghi']);
  const pong = Buffer.concat([Buffer.from([0x8a, 0x84, 0, 0, 0, 0]), Buffer.from('ping')]);
  assert.deepEqual(received.subarray(0, pong.length), pong);
});

const endings: [string, (socket: Socket, accept: string) => void, number, RegExp][] = [
  [
    'a close code and its reason',
    (s, a) =>
      s.end(
        Buffer.concat([answer(a), frame(0x88, Buffer.concat([Buffer.from([0x0f, 0xa0]), Buffer.from('draining')]))]),
      ),
    4_000,
    /^draining$/,
  ],
  ['a connection that breaks', (s, a) => s.write(answer(a), () => s.destroy()), CLOSE_ABNORMAL, /.*/],
  [
    '401 with its sentence',
    (s) => s.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 8\r\n\r\nno token'),
    401,
    /401 Unauthorized; no token/,
  ],
  [
    '503 with Retry-After',
    (s) => s.end('HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n'),
    503,
    /Retry-After: 7/,
  ],
  ['a wrong accept', (s) => s.write(answer('bm9uc2Vuc2U=')), CLOSE_ABNORMAL, /wrong Sec-WebSocket-Accept/],
  ['no HTTP at all', (s) => s.end('SSH-2.0-OpenSSH\r\n\r\n'), CLOSE_ABNORMAL, /SSH/],
  ['a head without end', (s) => s.write('H'.repeat(20_000)), CLOSE_ABNORMAL, /too long/],
  [
    'a masked frame',
    (s, a) => s.write(Buffer.concat([answer(a), Buffer.from([0x82, 0x81, 0, 0, 0, 0, 1])])),
    CLOSE_ABNORMAL,
    /masked or uses an extension/,
  ],
  [
    'a frame over the limit',
    (s, a) => s.write(Buffer.concat([answer(a), Buffer.from([0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0])])),
    CLOSE_ABNORMAL,
    /over the limit/,
  ],
];

for (const [name, script, code, reason] of endings) {
  test(`ends as it should: ${name}`, async () => {
    const outcome = await run(script);
    assert.equal(outcome.code, code);
    assert.match(outcome.reason, reason);
  });
}

const echo = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
echo.on('connection', (socket) =>
  socket.on('message', (data, isBinary) => socket.send(data as Buffer, { binary: isBinary })),
);
after(() => echo.close());

test('a foreign server takes what it sends, in every length class', async () => {
  await new Promise<void>((resolve) => {
    if (echo.address() === null) echo.once('listening', resolve);
    else resolve();
  });
  const target: SocketTarget = { tls: false, host: '127.0.0.1', port: (echo.address() as AddressInfo).port, path: '/' };
  const sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000];
  const messages: number[] = [];
  const code = await new Promise<number>((resolve) => {
    const socket: LoadSocket = new LoadSocket(target, 'token', {
      opened: () => {
        for (const size of sizes) socket.send(Buffer.alloc(size, size & 0xff));
      },
      message: (bytes) => {
        assert.ok(bytes.every((byte) => byte === (bytes.length & 0xff)));
        messages.push(bytes.length);
        if (messages.length === sizes.length) socket.close(1_000);
      },
      closed: resolve,
    });
  });
  assert.deepEqual(messages, sizes);
  assert.equal(code, 1_000);
});

test('TLS: with the authority it talks, without it does not', async () => {
  const server = createTlsServer({ cert: TLS_CERTIFICATE, key: TLS_KEY });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.send(Buffer.from('hello')));
  await new Promise<void>((resolve) => {
    server.listen(0, 'localhost', resolve);
  });
  const target = parseTarget(`wss://localhost:${(server.address() as AddressInfo).port}/socket`)!;
  const connect = async (ca?: string): Promise<string> =>
    new Promise((resolve) => {
      const socket: LoadSocket = new LoadSocket(
        target,
        'token',
        {
          opened: () => {},
          message: (bytes) => {
            resolve(String(bytes));
            socket.cut();
          },
          closed: (_code, reason) => resolve(reason),
        },
        ca,
      );
    });
  assert.equal(await connect(TLS_CERTIFICATE), 'hello');
  assert.match(await connect(), /self-signed certificate/);
  sockets.close();
  server.close();
});

test('addresses', () => {
  assert.deepEqual(parseTarget('ws://localhost:8480/socket?x=1'), {
    tls: false,
    host: 'localhost',
    port: 8_480,
    path: '/socket?x=1',
  });
  assert.deepEqual(parseTarget('wss://[::1]/socket'), { tls: true, host: '::1', port: 443, path: '/socket' });
  for (const bad of ['', 'localhost:8480', 'http://localhost/socket', 'ws//x'])
    assert.equal(parseTarget(bad), undefined);
});
