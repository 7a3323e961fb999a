/** The foreign client against the reference server, which takes any msgpack encoding here, as the gateway does. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type WebSocket, WebSocketServer } from 'ws';
import { ReferenceServer, type ServerConnection } from '../client/reference-server.js';
import { encodeFrame } from '../core/frame.js';
import { deviceKey } from '../core/ids.js';
import { readLooseFrame } from '../core/msgpack.js';
import { Prng } from '../core/prng.js';
import { runScenarios, scenarios } from './foreign-scenarios.js';

/** Any number of loosely encoded frames, in canonical form. */
function canonical(bytes: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const read = readLooseFrame(bytes, at, bytes.length);
    assert.ok(read !== undefined, `not a frame at ${at}: ${Buffer.from(bytes).toString('hex')}`);
    frames.push(encodeFrame(read.frame));
    at = read.end;
  }
  return frames;
}

/** The reference server on the loopback interface. A token is a user's number. */
async function serve(): Promise<{ url: string; close: () => void }> {
  const reference = new ReferenceServer(new Prng(1));
  const sockets = new Map<ServerConnection, WebSocket>();
  const run = (): void => {
    reference.nowMs = Date.now();
    reference.settle();
    for (const [connection, socket] of sockets) {
      while (connection.toClient.length > 0) socket.send(connection.take(1_000));
      if (connection.closeCode !== 0) socket.close(connection.closeCode);
    }
  };
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  await once(server, 'listening');
  server.on('connection', (socket, request) => {
    const user = Number(request.headers.authorization!.slice('Bearer '.length));
    const connection = reference.connect(deviceKey(user, 1));
    sockets.set(connection, socket);
    socket.on('message', (data: Buffer) => {
      for (const frame of canonical(data)) connection.receive(frame);
      run();
    });
    socket.on('close', () => {
      sockets.delete(connection);
      if (connection.isOpen) reference.lose(connection, 0);
      run();
    });
  });
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/socket`,
    close: () => void server.close(),
  };
}

for (const tokens of [
  ['700', '3000000000000'],
  ['5', '4', '6'],
]) {
  test(`${tokens.length} foreign clients and the reference server`, async (context) => {
    const server = await serve();
    context.after(server.close);
    const passed: string[] = [];
    await runScenarios({ url: server.url, tokens }, ({ name, error }) => {
      if (error !== undefined) throw error;
      passed.push(name);
    });
    assert.deepEqual(
      passed,
      scenarios.map(({ name }) => name),
    );
  });
}

test('the foreign client shares no code with the backbone', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const imports = (file: string): string[] =>
    [...readFileSync(`${root}scripts/${file}`, 'utf8').matchAll(/ from '([^']+)'/g)].map((match) => match[1]!);
  assert.deepEqual(imports('foreign-client.ts').toSorted(), ['@msgpack/msgpack', 'ws']);
  assert.deepEqual(imports('foreign-scenarios.ts').toSorted(), ['./foreign-client.js', 'node:assert/strict']);
});
