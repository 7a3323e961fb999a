import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { endOfLine, nextLine, TextConnection } from './lines.js';

test('lines come whole, in pieces of any size, with either end', async (t) => {
  const text = 'one\r\ntwo\n\r\nthree\r\n';
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    let at = 0;
    const next = (): void => {
      if (at < text.length) socket.write(text[at++]!, () => setImmediate(next));
      else socket.end();
    };
    next();
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const lines: string[] = [];
  const failure = await new Promise<string>((resolve) => {
    const take = (bytes: Buffer, from: number): number => {
      let at = from;
      for (let end = endOfLine(bytes, at); end >= 0; end = endOfLine(bytes, at)) {
        lines.push(bytes.toString('latin1', at, end));
        at = nextLine(bytes, end);
      }
      return at;
    };
    const connection = new TextConnection((server.address() as AddressInfo).port, take, (sentence) => {
      connection.close();
      resolve(sentence);
    });
  });
  assert.deepEqual(lines, ['one', 'two', '', 'three']);
  assert.equal(failure, 'the connection was closed');
});
