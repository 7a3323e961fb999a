import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NatsConnection } from './nats.js';
import { scriptedServer, Told } from './scripted-server.fixture.js';

function message(subject: string, sid: number, reply: string, body: string): string {
  return `MSG ${subject} ${sid} ${reply}${reply === '' ? '' : ' '}${body.length}\r\n${body}\r\n`;
}

test('publications, their acknowledgements and deliveries, whatever the pieces', async (t) => {
  const server = await scriptedServer((received) => {
    const text = received.toString('latin1');
    if (text.endsWith('PING\r\n')) return 'INFO {"version":"2"}\r\nPONG\r\nPING\r\n';
    if (!text.includes('second')) return undefined;
    const ack = message('ack.7', 1, '', '{"stream":"S1","seq":1}');
    const deliveries = ['one', 'two\r\nMSG'].map((body) =>
      message('user.7.7', 2, '$JS.ACK.S7.7-user-7-7.1.1.1.1.0', body),
    );
    return `${ack}${deliveries[0]}${ack}${deliveries[1]}`;
  });
  t.after(() => server.close());
  const told = new Told();
  const connection = await NatsConnection.open(server.port, 7, told);
  connection.send(18, [Buffer.from('first'), Buffer.from('second')]);
  await told.until(2, 2);
  connection.close();
  assert.deepEqual(told.bodies, ['one', 'two\r\nMSG']);
  assert.deepEqual(told.failures, []);
  const sent = server.received().toString('latin1');
  assert.ok(sent.includes('PONG\r\n'));
  assert.ok(sent.includes('PUB user.2.18 ack.7 5\r\nfirst\r\nPUB user.2.18 ack.7 6\r\nsecond\r\n'));
});

test('a refused publication is a failure, and so is an error of the connection', async (t) => {
  const server = await scriptedServer((received) => {
    if (received.toString('latin1').endsWith('PING\r\n')) return 'PONG\r\n';
    return `${message('ack.7', 1, '', '{"error":{"code":503}}')}-ERR 'Slow Consumer'\r\n`;
  });
  t.after(() => server.close());
  const told = new Told();
  const connection = await NatsConnection.open(server.port, 7, told);
  connection.send(18, [Buffer.from('first')]);
  await told.until(0, 0, 2);
  connection.close();
  assert.equal(told.ackedCount, 0);
  assert.match(told.failures.join('\n'), /503[^]*Slow Consumer/);
});
