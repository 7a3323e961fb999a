import assert from 'node:assert/strict';
import { test } from 'node:test';
import { XmppConnection } from './ejabberd.js';
import { scriptedServer, Told } from './scripted-server.fixture.js';

const HEAD = `<?xml version='1.0'?><stream:stream id='1' version='1.0' from='localhost'>`;
const SM = `xmlns='urn:xmpp:sm:3'`;

/** A server as far as a client needs it: signs in, binds, acknowledges, delivers. */
function answer(received: Buffer): string | undefined {
  const text = received.toString('latin1');
  if (text.includes('<stream:stream') && !text.includes('<auth')) {
    signedIn++;
    const features = signedIn === 1 ? '<mechanisms><mechanism>PLAIN</mechanism></mechanisms>' : '<bind/>';
    return `${HEAD}<stream:features>${features}</stream:features>`;
  }
  if (text.includes('</auth>')) return '<success/>';
  if (text.includes('</iq>'))
    return `<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>`;
  if (text.includes('<enable')) return `<enabled ${SM}/><presence from='7@localhost/1'/><r ${SM}/>`;
  if (!text.includes('<r ')) return undefined;
  return `<message type='chat'><archived/><body>abc</body></message><a h='1' ${SM}/><r ${SM}/><a h='2' ${SM}/><message type='chat'><body>def</body></message>`;
}

let signedIn = 0;

test('a user signs in, sends, is acknowledged and delivered to, whatever the pieces', async (t) => {
  const server = await scriptedServer(answer);
  t.after(() => server.close());
  const told = new Told();
  const connection = await XmppConnection.open(server.port, 7, 'token', told);
  connection.send(8, [Buffer.from('one'), Buffer.from('two')]);
  await told.until(2, 2);
  connection.close();
  assert.equal(told.ackedCount, 2);
  assert.deepEqual(told.bodies, ['abc', 'def']);
  assert.deepEqual(told.failures, []);
  const sent = server.received().toString('latin1');
  assert.ok(sent.includes(`>${Buffer.from(['', '7', 'token'].join('\0')).toString('base64')}</auth>`));
  assert.ok(sent.includes(`<message to='8@localhost' type='chat'><body>one</body></message><message to='8@localhost'`));
});
