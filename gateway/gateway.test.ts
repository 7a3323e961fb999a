/** A gateway from end to end: real WebSockets on one side, a backbone in small on the other, time as the tests say. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { after, test } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import { CloseCodes, DunlinError } from '../core/errors.js';
import { encodeAll } from '../core/frame.fixture.js';
import { Flag, type Frame, Kind, makeFrame, readFrames } from '../core/frame.js';
import { deviceKey } from '../core/ids.js';
import { ADMISSIONS_BURST, ANSWER_HOLD_MS, CONNECTIONS_PER_USER_MAX, HELLO_TIMEOUT_MS } from '../core/limits.js';
import { AppendOutcome } from '../core/ports.js';
import { FakeBackbone, FakeClock } from './gateway.fixture.js';
import { Gateway } from './gateway.js';
import { GatewayMetrics } from './gateway-metrics.js';
import { Sockets } from './sockets.js';

const TIMEOUT = { timeout: 30_000 };

interface WorldOptions {
  readonly connectionsPerAddress?: number;
}

const worlds: World[] = [];
const clients: Client[] = [];
after(() => {
  // A client that is closing would keep the process for 30 seconds.
  for (const { ws } of clients) ws.terminate();
  for (const world of worlds) world.sockets.close();
});

/** A gateway whose log and pipelines work as soon as something was said. */
class World {
  readonly clock = new FakeClock();
  readonly backbone = new FakeBackbone();
  readonly metrics = new GatewayMetrics();
  readonly gateway: Gateway;
  readonly sockets: Sockets;
  readonly port: number;
  /** The outcomes of the log are lost, and with them what was appended. */
  isLogLost = false;
  /** The log takes everything and answers nothing. */
  isLogSilent = false;
  #isPumping = false;

  constructor({ connectionsPerAddress = 1_000 }: WorldOptions = {}) {
    const gateway = new Gateway({
      gatewayNumber: 2,
      incarnation: 5,
      conversationPartitions: 4,
      userPartitions: 4,
      producer: this.backbone,
      egress: this.backbone,
      clock: this.clock,
      // "t", user, device, end of validity
      verify: (token) => {
        const [, user, device, expiresAtMs] = /^t-(\d+)-(\d+)-(\d+)$/.exec(token)?.map(Number) ?? [];
        if (user === undefined) return { sentence: 'The token is not a signed JWT.', canRetry: false };
        return { user, device: device!, expiresAtMs: expiresAtMs! };
      },
      metrics: this.metrics,
      framesPerSecond: 1_000,
      connectionsPerAddress,
      admissionsPerSecond: 100,
      isBusy: () => false,
      random: () => 0.55,
    });
    this.gateway = gateway;
    const pumpSoon = (): void => {
      setImmediate(() => this.pump());
    };
    this.sockets = new Sockets({
      host: '127.0.0.1',
      port: 0,
      accept: (upgrade) => gateway.accept(upgrade),
      refused: (answer) => gateway.refused(answer),
      opened: (session) => gateway.opened(session),
      message: (session, bytes) => {
        gateway.message(session, bytes);
        pumpSoon();
      },
      text: (session) => gateway.text(session),
      drained: (session) => {
        gateway.drained(session);
        pumpSoon();
      },
      closed: (session) => {
        gateway.closed(session);
        pumpSoon();
      },
    });
    this.port = this.sockets.listen(true);
    worlds.push(this);
  }

  /** Until nothing is on its way any more. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    do {
      this.gateway.flush();
      if (this.isLogSilent) this.gateway.poll();
      else if (this.isLogLost) this.backbone.producer.answer(AppendOutcome.UNKNOWN);
      else this.backbone.work();
      while (this.gateway.poll());
    } while (this.gateway.wantsFlush && !this.isLogLost);
    this.#isPumping = false;
  }

  pass(ms: number): void {
    this.clock.pass(ms);
    this.pump();
  }

  token(user: number, device = 1, ttlMs = 3_600_000): string {
    return `t-${user}-${device}-${this.clock.wall + ttlMs}`;
  }

  client(user: number, device = 1, options: ClientOptions = {}): Client {
    const headers = { authorization: `Bearer ${this.token(user, device)}` };
    return new Client(`ws://127.0.0.1:${this.port}/socket`, { headers, ...options });
  }

  /** A client that said hello and caught up. */
  async live(user: number, device = 1): Promise<Client> {
    const client = this.client(user, device);
    await client.hello();
    return client;
  }

  seen(kind: number): Frame[] {
    return this.backbone.seen.filter((frame) => frame.kind === kind);
  }
}

class Client {
  readonly ws: WebSocket;
  readonly frames: Frame[] = [];
  readonly messages: number[] = [];
  closedWith: number | undefined;
  #changed: () => void = () => {};

  constructor(url: string, options: ClientOptions = {}, protocols: string[] = []) {
    this.ws = new WebSocket(url, protocols, { perMessageDeflate: false, ...options });
    clients.push(this);
    this.ws.binaryType = 'nodebuffer';
    this.ws.on('error', () => {});
    this.ws.on('message', (bytes: Buffer) => {
      const frames = readFrames(bytes);
      this.messages.push(frames.length);
      this.frames.push(...frames);
      this.#changed();
    });
    this.ws.on('close', (code) => {
      this.closedWith = code;
      this.#changed();
    });
  }

  /** When this holds; it is looked at whenever something came. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      assert.equal(this.closedWith, undefined, 'the connection ended');
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  async closed(): Promise<number> {
    if (this.closedWith === undefined) await once(this.ws, 'close');
    return this.closedWith!;
  }

  async hello(inbox = 0): Promise<void> {
    if (this.ws.readyState === WebSocket.CONNECTING) await once(this.ws, 'open');
    this.send(makeFrame({ kind: Kind.HELLO, inbox, extra: 1 }));
    await this.until(() => this.of(Kind.CAUGHT_UP).length > 0);
  }

  send(...frames: readonly Frame[]): void {
    this.ws.send(encodeAll(frames));
  }

  of(...kinds: readonly number[]): Frame[] {
    return this.frames.filter(({ kind }) => kinds.includes(kind));
  }
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly retryAfter: string | undefined;
}

/** The answer to an upgrade that is refused. */
async function refusal(client: Client): Promise<Answer> {
  const [, response] = (await once(client.ws, 'unexpected-response')) as [unknown, import('node:http').IncomingMessage];
  return await answerOf(response);
}

async function answerOf(response: import('node:http').IncomingMessage): Promise<Answer> {
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk as string;
  return { status: response.statusCode!, body, retryAfter: response.headers['retry-after'] };
}

function message(counter: number, payloadBytes = 20): Frame {
  return makeFrame({
    kind: Kind.MESSAGE,
    convA: 1,
    convB: 2,
    counter,
    payload: new Uint8Array(payloadBytes).fill(counter),
  });
}

test('a client says hello, catches up, sends and receives', TIMEOUT, async () => {
  const world = new World();
  const [ada, bo] = await Promise.all([world.live(1), world.live(2)]);
  assert.deepEqual(
    ada.frames.map(({ kind }) => kind),
    [Kind.WELCOME, Kind.CAUGHT_UP],
  );
  assert.equal(ada.frames[0]!.device, deviceKey(1, 1));
  ada.send(message(1), message(2));
  await bo.until(() => bo.of(Kind.MESSAGE).length === 2);
  assert.deepEqual(
    bo
      .of(Kind.MESSAGE)
      .map(({ seq, counter, device, inbox, payload }) => [seq, counter, device, inbox, payload.length]),
    [
      [1, 1, deviceKey(1, 1), 1, 20],
      [2, 2, deviceKey(1, 1), 2, 20],
    ],
  );
  assert.equal(bo.messages.at(-1), 2, 'both came in one message');
  assert.deepEqual(ada.of(Kind.SENT), [], 'they wait for company');
  world.pass(ANSWER_HOLD_MS);
  await ada.until(() => ada.of(Kind.SENT).length === 2);
});

test('the token is taken from the header, the query or the sub-protocols', TIMEOUT, async () => {
  const world = new World();
  const url = `ws://127.0.0.1:${world.port}/socket`;
  const inQuery = new Client(`${url}?token=${world.token(11)}`);
  await inQuery.hello();
  const inProtocols = new Client(url, {}, ['dunlin', world.token(12)]);
  await inProtocols.hello();
  assert.equal(inProtocols.ws.protocol, 'dunlin');
  const inHeader = await world.live(13);
  assert.deepEqual(
    [inQuery, inProtocols, inHeader].map(({ frames }) => frames[0]!.device),
    [11, 12, 13].map((user) => deviceKey(user, 1)),
  );
});

test('without a good token an upgrade is refused with a sentence', TIMEOUT, async () => {
  const world = new World();
  const url = `ws://127.0.0.1:${world.port}/socket`;
  for (const client of [new Client(url), new Client(url, {}, ['other', world.token(1)])]) {
    const { status, body } = await refusal(client);
    assert.equal(status, 401);
    assert.match(body, /A token is needed/);
  }
  const { status, body } = await refusal(new Client(`${url}?token=nonsense`));
  assert.equal(status, 401);
  assert.match(body, /not a signed JWT/);
  assert.equal(world.metrics.get('upgrades_refused_total'), 3);
  assert.equal(world.gateway.hub.size, 0);
});

test('everything but an upgrade of /socket is not found', TIMEOUT, async () => {
  const world = new World();
  const elsewhere = await refusal(new Client(`ws://127.0.0.1:${world.port}/other?token=${world.token(1)}`));
  assert.equal(elsewhere.status, 404);
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/socket'],
    ['POST', '/socket'],
  ] as const) {
    const sent = request({ port: world.port, method, path }).end();
    const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
    const { status, body } = await answerOf(response);
    assert.equal(status, 404, `${method} ${path}`);
    assert.match(body, /Clients connect to \/socket/);
  }
});

test('too many connections of an address or a user are refused, and told when to come again', TIMEOUT, async () => {
  const world = new World({ connectionsPerAddress: CONNECTIONS_PER_USER_MAX + 1 });
  const connected: Client[] = [];
  for (let device = 1; device <= CONNECTIONS_PER_USER_MAX; device++) connected.push(await world.live(1, device));
  const ofUser = await refusal(world.client(1, 100));
  assert.deepEqual([ofUser.status, ofUser.retryAfter], [429, '5']);
  assert.match(ofUser.body, /This user has 20 connections/);
  connected.push(await world.live(2));
  const ofAddress = await refusal(world.client(3));
  assert.deepEqual([ofAddress.status, ofAddress.retryAfter], [429, '30']);
  assert.match(ofAddress.body, /Your address has 21 connections/);
  connected[0]!.ws.close();
  await connected[0]!.closed();
  await world.live(3);
});

test('when too many sessions start at once, the rest is told to come later', TIMEOUT, async () => {
  const world = new World();
  for (let n = 0; n < ADMISSIONS_BURST; n++) world.gateway.accept({ token: 'nonsense', address: '' });
  const late = await refusal(world.client(1));
  assert.deepEqual([late.status, late.retryAfter], [503, '6']);
  assert.match(late.body, /Too many sessions start at once/);
  assert.equal(world.metrics.get('admissions_refused_total'), 1);
  world.clock.pass(10);
  await world.live(1);
});

test('who says no hello in time is closed with 4003, who did stays', TIMEOUT, async () => {
  const world = new World();
  const live = await world.live(1);
  const silent = world.client(2);
  await once(silent.ws, 'open');
  world.pass(HELLO_TIMEOUT_MS);
  world.gateway.sweep();
  world.pass(1);
  world.gateway.sweep();
  assert.equal(await silent.closed(), CloseCodes.HELLO_TIMEOUT.code);
  assert.equal(live.closedWith, undefined);
  assert.deepEqual(world.seen(Kind.DISCONNECT), [], 'of the silent one nobody had heard');
  assert.equal(world.metrics.get('connections'), 2);
});

test('when its token ends, a session is closed with 4102', TIMEOUT, async () => {
  const world = new World();
  const client = new Client(`ws://127.0.0.1:${world.port}/socket?token=${world.token(1, 1, 5_000)}`);
  await client.hello();
  world.pass(4_999);
  world.gateway.sweep();
  client.send(makeFrame({ kind: Kind.PING, extra: 9 }));
  await client.until(() => client.of(Kind.PONG).length === 1);
  world.pass(1);
  world.gateway.sweep();
  assert.equal(await client.closed(), CloseCodes.TOKEN_EXPIRED.code);
});

test('a second connection of a device replaces the first', TIMEOUT, async () => {
  const world = new World();
  const first = await world.live(1);
  const second = await world.live(1);
  assert.equal(await first.closed(), CloseCodes.REPLACED.code);
  world.backbone.put(1, makeFrame({ kind: Kind.MESSAGE, convA: 1, convB: 2, seq: 1 }));
  world.pump();
  await second.until(() => second.of(Kind.MESSAGE).length === 1);
});

test('a text message, and bytes that are no frame, end the connection with 4101', TIMEOUT, async () => {
  const world = new World();
  const text = await world.live(1);
  text.ws.send('hello');
  assert.equal(await text.closed(), CloseCodes.BAD_PROTOCOL.code);
  const nonsense = await world.live(2);
  nonsense.ws.send(Buffer.from('nonsense'));
  assert.equal(await nonsense.closed(), CloseCodes.BAD_PROTOCOL.code);
  assert.equal(nonsense.of(Kind.REJECT).length, 1, 'and it is told why');
});

test('BYE closes with 1000 and says so; a connection that is lost says that', TIMEOUT, async () => {
  const world = new World();
  const polite = await world.live(1);
  polite.send(makeFrame({ kind: Kind.BYE }));
  assert.equal(await polite.closed(), 1000);
  const lost = await world.live(2);
  lost.ws.terminate();
  const next = await world.live(3);
  while (world.seen(Kind.DISCONNECT).length < 2) {
    next.send(makeFrame({ kind: Kind.PING }));
    await once(next.ws, 'message');
  }
  const [clean, unclean] = world.seen(Kind.DISCONNECT);
  assert.deepEqual([clean!.device, clean!.flags], [deviceKey(1, 1), Flag.CLEAN]);
  assert.deepEqual([unclean!.device, unclean!.flags], [deviceKey(2, 1), 0]);
  const connects = world.seen(Kind.CONNECT);
  assert.deepEqual([clean!.convA, clean!.convB], [connects[0]!.convA, connects[0]!.convB]);
  assert.equal(clean!.convA, 2 * 2 ** 32 + 5);
});

test('a CONNECT that the log lost ends the connection with 4004', TIMEOUT, async () => {
  const world = new World();
  world.isLogLost = true;
  const client = world.client(1);
  await once(client.ws, 'open');
  client.send(makeFrame({ kind: Kind.HELLO, extra: 1 }));
  assert.equal(await client.closed(), CloseCodes.BACKBONE_LOST.code);
});

test('a send that the log lost is rejected, and its connection stays', TIMEOUT, async () => {
  const world = new World();
  const client = await world.live(1);
  world.isLogLost = true;
  client.send(message(1), message(2));
  await client.until(() => client.of(Kind.REJECT).length === 2);
  assert.deepEqual(
    client.of(Kind.REJECT).map(({ counter, extra }) => [counter, extra]),
    [
      [1, 99],
      [2, 99],
    ],
  );
});

test('a READ is called safe when the log has it, along with something else', TIMEOUT, async () => {
  const world = new World();
  const client = await world.live(2);
  world.isLogSilent = true;
  client.send(makeFrame({ kind: Kind.READ, convA: 1, convB: 2, seq: 1 }), makeFrame({ kind: Kind.PING }));
  await client.until(() => client.of(Kind.PONG).length === 1);
  world.pump();
  world.isLogSilent = false;
  world.isLogLost = true;
  world.pump();
  world.backbone.put(2, message(1));
  world.pump();
  await client.until(() => client.of(Kind.MESSAGE).length === 1);
  assert.deepEqual(client.of(Kind.READS_TAKEN), [], 'the log lost it, and it is handed on once more');
  world.isLogLost = false;
  world.pump();
  world.backbone.put(2, message(2));
  world.pump();
  await client.until(() => client.of(Kind.MESSAGE).length === 2);
  assert.deepEqual(
    client.of(Kind.READS_TAKEN).map(({ extra, inbox }) => [extra, inbox]),
    [[1, 0]],
  );
  assert.equal(client.messages.at(-1), 2, 'it goes along');
});

test('a drain sends everybody away, a share at a time, and lets nobody in', TIMEOUT, async () => {
  const world = new World();
  const everybody = await Promise.all([1, 2, 3].map((user) => world.live(user)));
  world.gateway.beginDrain();
  const late = await refusal(world.client(4));
  assert.deepEqual([late.status, late.retryAfter], [503, '1']);
  assert.match(late.body, /draining/);
  assert.equal(world.gateway.goodbye(2), false);
  assert.equal(world.gateway.hub.size, 1);
  assert.equal(world.gateway.goodbye(2), true);
  for (const client of everybody) {
    assert.equal(await client.closed(), CloseCodes.DRAINING.code);
    assert.deepEqual(
      client.of(Kind.GOAWAY).map(({ extra }) => extra),
      [CloseCodes.DRAINING.code],
    );
  }
  world.pump();
  assert.equal(world.seen(Kind.DISCONNECT).length, 3);
  assert.ok(world.gateway.isSettled);
});

test('a slow reader turns to catch-up, keeps nobody waiting, and then gets everything once', TIMEOUT, async () => {
  const world = new World();
  const slow = await world.live(1);
  const quick = await world.live(2);
  slow.ws.pause();
  const { hub } = world.gateway;
  const session = hub.device(deviceKey(1, 1))!;
  let seq = 0;
  const put = (): void => {
    const frame = makeFrame({ kind: Kind.MESSAGE, convA: 1, convB: 2, seq: ++seq, payload: new Uint8Array(60_000) });
    world.backbone.put(1, frame);
    world.backbone.put(2, { ...frame, payload: new Uint8Array(10) });
    world.pump();
  };
  while (session.token === 1) {
    assert.ok(seq < 2_000, 'the kernel took 120 MB');
    put();
  }
  const unsent = session.socket!.bufferedBytes();
  for (let n = 0; n < 200; n++) put();
  assert.equal(session.socket!.bufferedBytes(), unsent, 'nothing more is kept for it');
  await quick.until(() => quick.of(Kind.MESSAGE).length === seq);
  slow.ws.resume();
  await slow.until(() => slow.of(Kind.MESSAGE).length >= seq && slow.of(Kind.CAUGHT_UP).length > 1);
  put();
  await slow.until(() => slow.of(Kind.MESSAGE).length >= seq);
  assert.deepEqual(
    slow.of(Kind.MESSAGE).map((frame) => [frame.seq, frame.inbox]),
    Array.from({ length: seq }, (_, n) => [n + 1, n + 1]),
  );
  assert.ok(world.metrics.get('catch_up_turns_total') >= 1);
});

test('hundreds that come at once all stay', TIMEOUT, async () => {
  const world = new World();
  let next = 0;
  const opener = async (): Promise<Client[]> => {
    const mine: Client[] = [];
    while (next < 256) mine.push(await world.live(1_000 + next++));
    return mine;
  };
  const opened = (await Promise.all(Array.from({ length: 64 }, opener))).flat();
  assert.equal(world.gateway.hub.size, opened.length);
  assert.ok(opened.every(({ closedWith }) => closedWith === undefined));
});

test('a port that is taken is named', () => {
  const world = new World();
  const options = { host: '127.0.0.1', port: world.port } as ConstructorParameters<typeof Sockets>[0];
  const second = new Sockets(options);
  assert.throws(() => second.listen(true), DunlinError);
  second.close();
});
