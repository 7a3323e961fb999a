/** In a process of its own: it waits for the server's own clock, and other apps of a thread that are closed would stop that. */
import net from 'node:net';
import { test } from 'node:test';
import { Sockets } from './sockets.js';

test('a request that never ends is cut off, however it goes about it', { timeout: 60_000 }, async (t) => {
  const nothing = (): void => {};
  const sockets = new Sockets({
    host: '127.0.0.1',
    port: 0,
    accept: () => ({ status: '401 Unauthorized', sentence: 'Nobody comes in here.' }),
    refused: nothing,
    opened: nothing,
    message: nothing,
    text: nothing,
    drained: nothing,
    closed: nothing,
  });
  const port = sockets.listen(true);
  t.after(() => sockets.close());
  const half = 'GET /socket HTTP/1.1\r\nHost: x\r\n';
  const closings = ['', half, 'drip'].map(async (text) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text === 'drip' ? half : text));
    const timer = text === 'drip' ? setInterval(() => socket.write('x: y\r\n'), 1_000) : undefined;
    socket.on('error', nothing).resume();
    // uWebSockets allows about 10 s and looks every 4 s.
    await new Promise((resolve) => socket.once('close', resolve));
    clearInterval(timer);
  });
  await Promise.all(closings);
});
