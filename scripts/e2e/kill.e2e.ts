/** `kill -9` of the server, ten times under load, at random moments: as the clients saw it, nothing happened but a pause. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Prng } from '../../core/prng.js';
import { loadFlags, readResult, restartServer, runDunlin, startServer } from './harness.js';

const KILLS = 10;
const RATE = Number(process.env['DUNLIN_E2E_RATE'] ?? 1_000);

test(`the server is killed ${KILLS} times under load: nothing lost, doubled or out of order`, async (context) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
  context.diagnostic(`DUNLIN_SEED=${seed}`);
  const random = new Prng(seed);
  let server = await startServer();
  const { flags, file } = loadFlags({ url: server.url, data: server.data, users: 200, rate: RATE, seconds: 60 });
  const load = runDunlin(['load', ...flags]);
  await load.line(/sending/);
  for (let kill = 0; kill < KILLS; kill++) {
    // The pause is the experiment's: it chooses the moment, no result depends on its length.
    await pause(random.between(500, 4_500));
    await server.murder();
    server = await restartServer(server);
  }
  const code = await load.exit;
  const found = readResult(file);
  context.diagnostic(JSON.stringify(found).slice(0, 1_000));
  assert.equal(code, 0, load.text());
  assert.ok(found.sent > 1_000, 'the load did run');
  assert.deepEqual([found.lost, found.duplicated, found.out_of_order, found.gaps], [0, 0, 0, 0]);
  assert.equal(await server.stop(), 0, server.program.text());
});
