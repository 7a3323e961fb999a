import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Told } from './scripted-server.fixture.js';
import { scriptedSockets } from './scripted-sockets.fixture.js';
import { SocketIoConnection } from './socket-io.js';

test('a user connects, joins, sends, is acknowledged and delivered to', async (t) => {
  const server = await scriptedSockets(['0{"sid":"a","pingInterval":25000}'], (message) => {
    const text = message.toString('latin1');
    if (text.startsWith('40')) return ['40{"sid":"b"}', '2'];
    const id = /^42(\d+)\[/.exec(text)?.[1];
    if (id === undefined) return [];
    return text.includes('"join"') ? [`43${id}[]`] : [`42["message","abc"]`, `43${id}[]`];
  });
  t.after(() => server.close());
  const told = new Told();
  const connection = await SocketIoConnection.open(server.port, 7, told);
  await connection.join(3);
  connection.send(8, [Buffer.from('one'), Buffer.from('two')]);
  await told.until(2, 2);
  connection.close();
  assert.deepEqual(told.bodies, ['abc', 'abc']);
  assert.deepEqual(
    server.received.map((message) => message.toString('latin1')),
    ['40{"user":7}', '3', '420["join","group:3"]', '421["message","user:8","one"]', '422["message","user:8","two"]'],
  );
  assert.deepEqual(told.failures, []);
});
