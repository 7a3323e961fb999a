import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepFigures } from '../load/result.js';
import { cpuSecondsOf, residentBytesOf, writesOf } from './server.js';
import { generatorNote, hashOf } from './world.js';

const STEP: StepFigures = {
  rate: 100,
  sent_per_s: 100,
  acked_per_s: 100,
  delivered_per_s: 250,
  rejected_per_s: 0,
  p50_ms: 3,
  p95_ms: 6,
  p99_ms: 9,
  accepted_p99_ms: 5,
  backlog: 0,
  outstanding: 0,
  violations: 0,
  generator_cpu: 0.4,
  generator_cpu_of_all: 0.7,
  generator_lag_ms: 12,
  generator_busy_share: 0,
};

test('the note names what the load generator took, and says so when it was the bottleneck', () => {
  assert.equal(generatorNote([STEP]), 'load generator: 0.70 cores at most, 12 ms late at most');
  const busy = { ...STEP, generator_cpu_of_all: 1.8, generator_busy_share: 0.5 };
  assert.equal(
    generatorNote([STEP, busy]),
    'load generator: 1.80 cores at most, 12 ms late at most; in 1 of 2 steps the generator was the bottleneck',
  );
});

test('processor time and memory as the system tells them, whatever the process is called', () => {
  const stat = '7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 130 0 0 20 0 11 0 1 2 3';
  assert.equal(cpuSecondsOf(stat), 3.8);
  assert.equal(residentBytesOf('Name:\tnode\nVmRSS:\t  2048 kB\nRssAnon:\t 1 kB\n'), 2 * 2 ** 20);
});

test('writes of all gateways, and of nothing else', () => {
  const lines = ['# TYPE dunlin_gateway_writes_out_total counter'];
  for (const [gateway, count] of [20, 22].entries())
    lines.push(`dunlin_gateway_writes_out_total{gateway="${gateway}"} ${count}`);
  lines.push('dunlin_gateway_frames_out_total{gateway="0"} 7');
  assert.equal(writesOf(lines.join('\n')), 42);
});

test('a message that was lost or doubled makes another hash', () => {
  const result = { sent: 10, acked: 10, delivered: 25, lost: 0 };
  assert.equal(hashOf([result]), hashOf([result]));
  assert.notEqual(hashOf([result]), hashOf([{ ...result, delivered: 24 }]));
  assert.notEqual(hashOf([result]), hashOf([result, result]));
});
