/** Two people talk, the server is killed between two lines, and nothing is missing or twice. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Program, restartServer, runDunlin, type Server, startServer, temporaryDirectory } from './harness.js';

function chat(server: Server, state: string, as: string, to: string): Program {
  const flags = ['--url', server.url, '--data', server.data, '--state', join(state, `${as}.json`)];
  return runDunlin(['chat', '--as', as, '--to', to, ...flags]);
}

test('ticks, a kill between two lines, and a restart of one side', async () => {
  let server = await startServer();
  const state = temporaryDirectory('chat');
  const ada = chat(server, state, 'ada', 'bo');
  let bo = chat(server, state, 'bo', 'ada');
  await Promise.all([ada.line(/^online/), bo.line(/^online/)]);

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

  bo.kill('SIGKILL');
  await bo.exit;
  ada.write('third\n');
  const seen = bo.lines.length;
  bo = chat(server, state, 'bo', 'ada');
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
