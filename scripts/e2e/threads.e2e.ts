/** Threads of the backbone die under load, and it is stopped under load: nothing lost, doubled or out of order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startBackbone } from '../../pipelines/backbone.js';
import {
  fixedPort,
  loadFlags,
  readResult,
  restartServer,
  runDunlin,
  startServer,
  temporaryDirectory,
} from './harness.js';

test('lanes and gateways die one after the other under load, and are started again', async (context) => {
  const data = temporaryDirectory('threads');
  const warnings: string[] = [];
  const backbone = await startBackbone({
    host: '127.0.0.1',
    port: await fixedPort(),
    dataDirectory: data,
    lanes: 2,
    gateways: 2,
    diskReserveBytes: 0,
    retainBytes: 0,
    framesPerSecond: 1_000,
    connectionsPerAddress: 10_000,
    admissionsPerSecond: 10_000,
    warn: (sentence) => warnings.push(sentence),
  });
  const { flags, file } = loadFlags({
    url: `ws://127.0.0.1:${backbone.port}/socket`,
    data,
    users: 100,
    rate: 500,
    seconds: 20,
  });
  const load = runDunlin(['load', ...flags]);
  await load.line(/sending/);
  // The pauses are the experiment's; no result depends on their length.
  for (const fail of [
    () => backbone.failLane('conversation', 0),
    () => backbone.failLane('user', 1),
    () => backbone.failGateway(0),
    () => backbone.failLane('user', 0),
    () => backbone.failGateway(1),
    () => backbone.failLane('conversation', 1),
  ]) {
    await pause(2_000);
    fail();
  }
  assert.equal(await load.exit, 0, load.text());
  const result = readResult(file);
  assert.ok(result.sent > 5_000);
  assert.deepEqual([result.lost, result.duplicated, result.out_of_order, result.gaps], [0, 0, 0, 0]);
  assert.equal(warnings.filter((warning) => warning.includes('told to fail')).length, 6, warnings.join('\n'));
  context.diagnostic(warnings.join(' '));
  await backbone.close(10_000);
});

test('SIGTERM under load drains within its time, and the clients go on with the next server', async () => {
  let server = await startServer();
  const { flags, file } = loadFlags({ url: server.url, data: server.data, users: 100, rate: 500, seconds: 12 });
  const load = runDunlin(['load', ...flags]);
  await load.line(/sending/);
  for (let stop = 0; stop < 2; stop++) {
    await pause(3_000);
    assert.equal(await server.stop(), 0, server.program.text());
    assert.match(server.program.text(), /everything is on disk/);
    server = await restartServer(server);
  }
  assert.equal(await load.exit, 0, load.text());
  const result = readResult(file);
  assert.deepEqual([result.lost, result.duplicated, result.out_of_order, result.gaps], [0, 0, 0, 0]);
  await server.stop();
});
