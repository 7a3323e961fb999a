import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CentrifugeConnection } from './centrifuge.js';
import { ProtobufWriter } from './protobuf.js';
import { Told } from './scripted-server.fixture.js';
import { scriptedSockets } from './scripted-sockets.fixture.js';

type Fields = readonly (readonly [field: number, value: number | Buffer])[];

function encode(fields: Fields): Buffer {
  const writer = new ProtobufWriter();
  for (const [field, value] of fields) {
    if (typeof value === 'number') writer.varintField(field, value);
    else writer.bytesField(field, value);
  }
  return Buffer.from(writer.bytes);
}

/** Messages of the protocol in one WebSocket message, each behind its length. */
function frame(...messages: Buffer[]): Buffer {
  const writer = new ProtobufWriter();
  for (const message of messages) {
    writer.varint(message.length);
    writer.raw(message);
  }
  return Buffer.from(writer.bytes);
}

const PING = Buffer.alloc(0);
const CONNECTED = encode([
  [1, 1],
  [5, encode([[1, Buffer.from('client')]])],
]);

function push(body: string): Buffer {
  const publication = encode([
    [4, Buffer.from(body)],
    [6, 9],
  ]);
  return encode([
    [
      4,
      encode([
        [2, Buffer.from('user:7')],
        [4, publication],
      ]),
    ],
  ]);
}

function published(id: number): Buffer {
  return encode([
    [1, id],
    [8, Buffer.alloc(0)],
  ]);
}

function publish(id: number, body: string): Buffer {
  const request = encode([
    [1, Buffer.from('user:8')],
    [2, Buffer.from(body)],
  ]);
  return encode([
    [1, id],
    [7, request],
  ]);
}

test('a user connects, sends, is acknowledged and delivered to; a ping is answered', async (t) => {
  const server = await scriptedSockets([], (message) => {
    if (message.includes('user:8')) return [frame(push('abc'), published(2), PING, published(3), push('def'))];
    return message.length > 1 ? [frame(CONNECTED)] : [];
  });
  t.after(() => server.close());
  const told = new Told();
  const connection = await CentrifugeConnection.open(server.port, 7, told);
  connection.send(8, [Buffer.from('one'), Buffer.from('two')]);
  await told.until(2, 2);
  connection.close();
  assert.deepEqual(told.bodies, ['abc', 'def']);
  assert.deepEqual(told.failures, []);
  const connect = encode([
    [1, 1],
    [4, Buffer.alloc(0)],
  ]);
  assert.deepEqual(server.received.slice(0, 2), [frame(connect), frame(publish(2, 'one'), publish(3, 'two'))]);
});

test('an error is a failure', async (t) => {
  const server = await scriptedSockets([], (message) =>
    message.includes('user:8')
      ? [
          frame(
            encode([
              [1, 2],
              [2, encode([[2, Buffer.from('permission denied')]])],
            ]),
          ),
        ]
      : [frame(CONNECTED)],
  );
  t.after(() => server.close());
  const told = new Told();
  const connection = await CentrifugeConnection.open(server.port, 7, told);
  connection.send(8, [Buffer.from('one')]);
  await told.until(0, 0, 1);
  connection.close();
  assert.match(told.failures[0]!, /permission denied/);
});
