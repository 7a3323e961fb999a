import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scriptedServer, Told } from './scripted-server.fixture.js';
import { WuKongConnection } from './wukongim.js';

function text(value: string): Buffer {
  return Buffer.concat([Buffer.from([value.length >> 8, value.length & 0xff]), Buffer.from(value, 'latin1')]);
}

function packet(head: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Buffer.from([head, ...length]), body]);
}

/** With a version, reason success; the key is a point of the curve, since nothing comes encrypted here. */
const KEY = Buffer.alloc(32, 9).toString('base64');
const CONNACK = packet(
  0x21,
  Buffer.from([6]),
  Buffer.alloc(8),
  Buffer.from([1]),
  text(KEY),
  text('abcdefghijklmnop'),
  Buffer.alloc(8),
);
const PONG = Buffer.from([0x80]);

function sendAck(reason: number): Buffer {
  return packet(0x40, Buffer.alloc(20), Buffer.from([reason]));
}

function receive(id: number, payload: string): Buffer {
  const ids = Buffer.alloc(20);
  ids.writeUInt32BE(id, 4);
  ids.writeUInt32BE(id, 12);
  const names = [text(''), text('u8'), text('u7'), Buffer.from([1, 0, 0, 0, 0]), text('8-1')];
  return packet(0x50, Buffer.from([16]), ...names, ids, Buffer.from(payload, 'latin1'));
}

test('packets of one and two bytes of length, whatever the pieces; a delivery is acknowledged by its ids', async (t) => {
  const long = 'x'.repeat(300);
  const server = await scriptedServer((received) => {
    if (received[0] === 0x10) return CONNACK;
    return received[0] === 0x30 ? Buffer.concat([PONG, receive(5, 'abc'), sendAck(1), receive(6, long)]) : undefined;
  });
  t.after(() => server.close());
  const told = new Told();
  const connection = await WuKongConnection.open(server.port, 7, told);
  connection.send(8, [Buffer.from('one')]);
  await told.until(1, 2);
  assert.deepEqual(told.bodies, ['abc', long]);
  assert.deepEqual(told.failures, []);
  const sent = server.received();
  const expected = packet(
    0x30,
    Buffer.from([16, 0, 0, 0, 1]),
    text('7-1'),
    text('u8'),
    Buffer.from([1, 0, 0, 0, 0, 0, 0]),
    Buffer.from('one'),
  );
  assert.ok(sent.includes(expected));
  connection.close();
});

test('a refused message is a failure', async (t) => {
  const server = await scriptedServer((received) => (received[0] === 0x10 ? CONNACK : sendAck(18)));
  t.after(() => server.close());
  const told = new Told();
  const connection = await WuKongConnection.open(server.port, 7, told);
  connection.send(8, [Buffer.from('one')]);
  await told.until(0, 0, 1);
  connection.close();
  assert.match(told.failures[0]!, /reason 18/);
});
