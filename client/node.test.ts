import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { deviceKey } from '../core/ids.js';
import { DunlinClient, fileStorage, type ReceivedMessage, RejectedError, type ShellEvents } from './node.js';
import { ReferenceSocketServer, unsignedToken } from './reference-socket.js';

const server = new ReferenceSocketServer();
let directory = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dunlin-client-'));
  await server.listen();
});

after(async () => {
  await server.kill();
  await rm(directory, { recursive: true });
});

function text(message: ReceivedMessage): string {
  return new TextDecoder().decode(message.payload);
}

/** The next event of a kind that fits. */
function next<Name extends keyof ShellEvents>(
  client: DunlinClient,
  name: Name,
  fits: (event: ShellEvents[Name]) => boolean = () => true,
): Promise<ShellEvents[Name]> {
  return new Promise((resolve) => {
    const look = (event: ShellEvents[Name]): void => {
      if (!fits(event)) return;
      client.off(name, look);
      resolve(event);
    };
    client.on(name, look);
  });
}

test('two clients talk: messages, receipts, typing, presence, info', async () => {
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(1, 1) });
  const bo = new DunlinClient({ url: server.url, token: () => Promise.resolve(unsignedToken(2, 1)) });
  await Promise.all([ada.connect(), bo.connect()]);
  const conversation = ada.direct(2);
  assert.deepEqual(conversation, bo.direct(1));

  const received = next(bo, 'message');
  const delivered = next(ada, 'receipt', ({ delivered: seq }) => seq === 1);
  const sent = await ada.send(conversation, 'hello bo');
  assert.equal(sent.seq, 1);
  const message = await received;
  assert.equal(text(message), 'hello bo');
  assert.equal(message.user, 1);
  await delivered;

  const read = next(ada, 'receipt', ({ read: seq }) => seq === 1);
  bo.read(conversation, message.seq);
  assert.equal((await read).user, 2);

  const typing = next(ada, 'typing');
  bo.typing(conversation, true);
  assert.deepEqual(await typing, { conversation, user: 2, started: true });

  const online = next(ada, 'presence');
  ada.watch(2);
  assert.equal((await online).online, true);
  const info = await ada.info(conversation);
  assert.deepEqual(
    info.members.map(({ user, read: seq }) => [user, seq]),
    [
      [1, 1],
      [2, 1],
    ],
  );

  const offline = next(ada, 'presence', (event) => !event.online);
  await bo.close();
  assert.ok((await offline).lastSeenMs > 0);
  await ada.close();
});

test('a group: create, talk, leave; a refused send rejects with its code', async () => {
  const [ada, bo] = [3, 4].map((user) => new DunlinClient({ url: server.url, token: unsignedToken(user, 1) }));
  await Promise.all([ada!.connect(), bo!.connect()]);
  const created = next(bo!, 'group');
  const group = await ada!.createGroup([4]);
  assert.deepEqual((await created).users, [4]);
  const received = next(bo!, 'message');
  await ada!.send(group, 'to all');
  assert.equal(text(await received), 'to all');
  await bo!.leave(group);
  await assert.rejects(bo!.send(group, 'still here?'), (error: RejectedError) => error.codeName === 'NOT_MEMBER');
  await Promise.all([ada!.close(), bo!.close()]);
});

test('what is sent while the server is away arrives once when it is back, in order', async () => {
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(5, 1) });
  const bo = new DunlinClient({ url: server.url, token: unsignedToken(6, 1) });
  await Promise.all([ada.connect(), bo.connect()]);
  const seen: string[] = [];
  bo.on('message', (message) => seen.push(text(message)));
  await ada.send(ada.direct(6), 'one');
  const offline = next(ada, 'state', ({ state }) => state === 'offline');
  await server.kill();
  assert.ok((await offline).reconnectInMs! <= 1_000);
  const sends = [ada.send(ada.direct(6), 'two'), ada.send(ada.direct(6), 'three')];
  const last = next(bo, 'message', (message) => text(message) === 'three');
  await server.listen();
  ada.reconnectNow();
  await Promise.all([...sends, last]);
  assert.deepEqual(seen, ['one', 'two', 'three']);
  await Promise.all([ada.close(), bo.close()]);
});

test('manual acknowledgement over a restart of the client: unacknowledged messages come again, acknowledged do not', async () => {
  server.reference.register(deviceKey(8, 1));
  const storage = join(directory, 'bo');
  const options = { url: server.url, token: unsignedToken(8, 1), storage, acknowledge: 'manual' } as const;
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(7, 1) });
  const bo = new DunlinClient(options);
  await Promise.all([ada.connect(), bo.connect()]);
  const received = next(bo, 'message', (message) => text(message) === '3');
  for (const word of ['1', '2', '3']) await ada.send(ada.direct(8), word);
  await received;
  await bo.close();

  const seen: string[] = [];
  const again = new DunlinClient(options);
  const stream = again.messages();
  await again.connect();
  for await (const message of stream) {
    seen.push(text(message));
    // Asking for the next acknowledges the one before; leaving the loop does not.
    if (seen.length === 3) break;
  }
  assert.deepEqual(seen, ['1', '2', '3']);
  await again.close();

  const third = new DunlinClient(options);
  const left: string[] = [];
  third.on('message', (message) => {
    left.push(text(message));
    message.acknowledge();
  });
  await third.connect();
  await third.close();
  assert.deepEqual(left, ['3'], 'the loop was left before the third was processed');
  await ada.close();
});

test('an outbox survives the process in its file, and goes out from there', async () => {
  const path = join(directory, 'ada');
  await server.kill();
  const saved = new Promise<void>((resolve) => {
    const storage = fileStorage(path);
    const observed = {
      load: () => storage.load(),
      save: async (state: Uint8Array) => {
        await storage.save(state);
        resolve();
      },
    };
    const ada = new DunlinClient({ url: server.url, token: unsignedToken(9, 1), storage: observed });
    const offline = next(ada, 'state', ({ state }) => state === 'offline');
    ada.connect().catch(() => undefined);
    void offline.then(async () => {
      ada.send(ada.direct(10), 'from before', { tag: 77 }).catch(() => undefined);
      await saved;
      await ada.close();
    });
  });
  await saved;
  await server.listen();
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(9, 1), storage: path });
  const sent = next(ada, 'sent');
  await ada.connect();
  assert.equal((await sent).tag, 77);
  await ada.close();
});

test('connections that are refused: for good with a fixed token, with the wish of Retry-After otherwise', async () => {
  server.refuseWith = { status: 401, retryAfterS: 0 };
  const fixed = new DunlinClient({ url: server.url, token: unsignedToken(11, 1) });
  await assert.rejects(fixed.connect(), /401: not now/);
  server.refuseWith = { status: 503, retryAfterS: 7 };
  const patient = new DunlinClient({ url: server.url, token: unsignedToken(11, 1) });
  const offline = next(patient, 'state', ({ state }) => state === 'offline');
  const started = patient.connect();
  const { reconnectInMs, code } = await offline;
  assert.ok(reconnectInMs! >= 6_900 && reconnectInMs! <= 8_000, `${reconnectInMs}`);
  assert.equal(code, 4002);
  server.refuseWith = undefined;
  patient.reconnectNow();
  await started;
  const ended = next(patient, 'state', ({ state }) => state === 'closed');
  server.close(deviceKey(11, 1), 4104);
  assert.equal((await ended).code, 4104);
});

test('bad input is told to the application: a token, a URL, a conversation, a payload', async () => {
  await assert.rejects(new DunlinClient({ url: server.url, token: 'x' }).connect(), /not a JWT/);
  await assert.rejects(new DunlinClient({ url: server.url, token: unsignedToken(0, 1) }).connect(), /user 0/);
  await assert.rejects(new DunlinClient({ url: 'nonsense', token: unsignedToken(1, 1) }).connect(), /nonsense/);
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(12, 1) });
  await assert.rejects(ada.send({ a: 12, b: 13 }, 'x'), /prepare\(\) first/);
  await ada.connect();
  await assert.rejects(ada.send({ a: 13, b: 12 }, 'x'), /ascending/);
  await assert.rejects(ada.send({ a: 12, b: 13 }, new Uint8Array(65_537)), /65537 bytes, the limit is 65536/);
  await ada.close();
});
