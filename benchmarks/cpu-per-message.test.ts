import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchmark } from './cpu-per-message.js';

test('CPU time is found for all threads, and what a message comes to is counted', { timeout: 60_000 }, async () => {
  const { figures, tables } = await benchmark.run({ isTiny: true, runs: 1, progress: () => {} });
  const [user, , counts] = tables!;
  const threads = new Set(user!.rows.map(([name]) => name));
  for (const name of ['user lane', 'conversation lane', 'gateway', 'generators']) assert.ok(threads.has(name), name);
  const count = new Map(counts!.rows.map(([name, value]) => [name, Number(value)]));
  assert.ok(count.get('deliveries')! > 1 && count.get('frames_out')! > count.get('deliveries')!);
  const [all, server] = figures;
  assert.ok(all!.figure > server!.figure && server!.figure > 0);
});
