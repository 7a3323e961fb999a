/** `dunlin up --log memory`: everything as usual, until the process ends. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadFlags, readResult, restartServer, runDunlin, startServer } from './harness.js';

test('all is delivered, nothing is left behind, and a directory with a log is refused', async () => {
  const server = await startServer({ args: ['--log', 'memory'] });
  const { flags, file } = loadFlags({ url: server.url, data: server.data, users: 100, rate: 500, seconds: 8 });
  const load = runDunlin(['load', ...flags]);
  assert.equal(await load.exit, 0, load.text());
  const result = readResult(file);
  assert.ok(result.sent > 2_000);
  assert.deepEqual([result.lost, result.duplicated, result.out_of_order, result.gaps], [0, 0, 0, 0]);
  assert.equal(await server.stop(), 0);
  assert.match(server.program.text(), /nothing was kept/);
  for (const name of ['log', 'store']) assert.ok(!existsSync(join(server.data, name)));
  const kept = await restartServer(server);
  assert.equal(await kept.stop(), 0);
  const refused = runDunlin(['up', '--log', 'memory', '--port', '0', '--admin-port', '0', '--data', server.data]);
  assert.notEqual(await refused.exit, 0);
  assert.match(refused.text(), /has a log.*--data/);
});
