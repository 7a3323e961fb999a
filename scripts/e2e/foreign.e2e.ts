/** A client that knows only docs/protocol.md, against the real server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runScenarios } from '../foreign-scenarios.js';
import { finish, runDunlin, startServer } from './harness.js';

test('a foreign client: order, resume, groups, receipts', async (context) => {
  const server = await startServer();
  context.after(() => server.murder());
  const tokens: string[] = [];
  for (const user of ['ada', 'bo', 'cy']) {
    const { code, text } = await finish(runDunlin(['token', '--user', user, '--data', server.data]));
    assert.equal(code, 0, text);
    tokens.push(text.trim());
  }
  const failures: string[] = [];
  await runScenarios({ url: server.url, tokens }, ({ name, error }) => {
    context.diagnostic(`${error === undefined ? 'ok' : 'FAILED'}: ${name}`);
    if (error !== undefined) failures.push(`${name}: ${error.message}`);
  });
  assert.deepEqual(failures, []);
});
