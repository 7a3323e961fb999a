/** Two people talk, the server is killed between two lines, and nothing is missing or twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Program, restartServer, runDunlin, type Server, startServer } from './harness.js';

function chat(server: Server, as: string, to: string): Program {
  return runDunlin(['chat', '--as', as, '--to', to, '--url', server.url, '--data', server.data]);
}

/** Waits until the other side has read up to this sequence, or further. */
async function readUpTo(chatter: Program, seq: number): Promise<void> {
  for (let from = 0; ; from++) {
    const line = await chatter.line(/^read \d+/, from);
    if (Number(/\d+/.exec(line)) >= seq) return;
    from = chatter.lines.indexOf(line, from);
  }
}

test('ticks, a kill between two lines, and a restart of one side', async () => {
  let server = await startServer();
  const ada = chat(server, 'ada', 'bo');
  let bo = chat(server, 'bo', 'ada');
  await Promise.all([ada.line(/^connected/), bo.line(/^connected/)]);

  ada.write('first\n');
  await bo.line(/first/);
  await ada.line(/^sent 1/);
  await ada.line(/^delivered 1/);
  await ada.line(/^read 1/);

  await server.murder();
  ada.write('second\n');
  bo.write('answer\n');
  server = await restartServer(server);
  await bo.line(/second/);
  await ada.line(/answer/);
  // Bo's client tells what was read after it has saved it: from then on the message is never shown again.
  await readUpTo(ada, Number(/\d+/.exec(await ada.line(/^sent ([2-9])/))));

  bo.kill('SIGKILL');
  await bo.exit;
  ada.write('third\n');
  const seen = bo.lines.length;
  bo = chat(server, 'bo', 'ada');
  await bo.line(/third/);
  ada.write('fourth\n');
  await bo.line(/fourth/);
  assert.equal(bo.lines.filter((line) => /second|first/.test(line)).length, 0, `again:\n${bo.text()}`);
  assert.ok(seen > 0);
  for (const word of ['answer']) assert.equal(ada.lines.filter((line) => line.includes(word)).length, 1, ada.text());
  ada.write('/quit\n');
  bo.write('/quit\n');
  assert.deepEqual(await Promise.all([ada.exit, bo.exit]), [0, 0]);
  await server.stop();
});
