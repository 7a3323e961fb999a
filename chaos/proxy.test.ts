import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { Prng } from '../core/prng.js';
import { Proxy } from './proxy.js';

interface Bench {
  readonly proxy: Proxy;
  readonly client: Socket;
  readonly server: Socket;
  /** Another connection, that may not come about. */
  dial(): Socket;
  close(): Promise<void>;
}

/** A proxy before a server that does nothing by itself, and one connection through it. */
async function bench(): Promise<Bench> {
  const accepted: Socket[] = [];
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    accepted.push(socket);
    listener.emit('accepted');
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const proxy = new Proxy((listener.address() as AddressInfo).port, new Prng(1));
  const port = await proxy.listen();
  const dial = (): Socket => connect({ host: '127.0.0.1', port }).on('error', () => {});
  const client = dial();
  if (accepted.length === 0) await once(listener, 'accepted');
  const server = accepted[0]!;
  return {
    proxy,
    client,
    server,
    dial,
    close: async () => {
      client.destroy();
      server.destroy();
      await proxy.close();
      listener.close();
      await once(listener, 'close');
    },
  };
}

async function hears(socket: Socket, bytes: number): Promise<string> {
  let text = '';
  while (text.length < bytes) text += String((await once(socket, 'data'))[0]);
  return text;
}

/** `once` would take an error before it for its own. */
function closes(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

test('bytes pass both ways, and so does an end', async () => {
  const { client, server, close } = await bench();
  client.write('ping');
  assert.equal(await hears(server, 4), 'ping');
  server.write('pong');
  assert.equal(await hears(client, 4), 'pong');
  client.end();
  await once(server.resume(), 'end');
  await close();
});

test('what is held comes when the rule ends, in order, and no connection breaks', async () => {
  const { proxy, client, server, close } = await bench();
  const lift = proxy.impose({ share: 1, up: true });
  let heard = '';
  server.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  client.write('one');
  client.write('two');
  // The other way is open. After so many turns of it what was said has long met the rule.
  for (let turn = 0; turn < 20; turn++) {
    server.write('open');
    assert.equal(await hears(client, 4), 'open');
  }
  assert.equal(heard, '');
  assert.equal(lift(), '1 connections and 6 bytes were in its way');
  while (heard.length < 6) await once(server, 'data');
  assert.equal(heard, 'onetwo');
  await close();
});

test('a rule that nothing met did nothing', async () => {
  const { proxy, close } = await bench();
  assert.equal(proxy.impose({ share: 1, down: true })(), undefined);
  assert.equal(proxy.refuse()(), undefined);
  await close();
});

test('delayed and limited bytes all come, in order', async () => {
  const { proxy, client, server, close } = await bench();
  const lifts = [
    proxy.impose({ share: 1, up: true, down: true, delayMs: 5 }),
    proxy.impose({ share: 1, up: true, bytesPerSecond: 400_000 }),
  ];
  const text = Array.from({ length: 4_000 }, (_, n) => String(n)).join(' ');
  client.write(text);
  assert.equal(await hears(server, text.length), text);
  for (const lift of lifts) assert.match(lift() ?? '', /1 connections/);
  await close();
});

test('reset and refused connections end at both sides', async () => {
  const { proxy, client, server, dial, close } = await bench();
  const gone = Promise.all([closes(client), closes(server)]);
  assert.equal(proxy.reset(1), 1);
  await gone;
  const end = proxy.refuse();
  await closes(dial());
  assert.equal(end(), '1 connections were refused');
  await close();
});
