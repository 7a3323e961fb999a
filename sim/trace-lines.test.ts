import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawPlan } from './plan.js';
import { TRACE_KINDS, type TraceKind, Tracer } from './trace-lines.js';
import { runPlan, World } from './world.js';

const SEED = 12;

function lines(kinds: readonly TraceKind[]): { texts: string[]; traceHash: string } {
  const world = new World(drawPlan(SEED), { keepsHistory: true });
  const tracer = new Tracer(world, new Set(kinds));
  const { traceHash } = world.run();
  const all = tracer.moments();
  assert.ok(
    all.every(({ atMs }, index) => index === 0 || all[index - 1]!.atMs <= atMs),
    'in order',
  );
  return { texts: all.map(({ text }) => text), traceHash };
}

test('a kind shows its own, and looking changes nothing', () => {
  const { texts, traceHash } = lines(['faults', 'store']);
  assert.equal(traceHash, runPlan(drawPlan(SEED)).traceHash);
  assert.ok(texts.some((text) => text.startsWith('FAULT ')) && texts.some((text) => text.startsWith('commit ')));
  assert.ok(texts.every((text) => /^(FAULT|WRONG|commit) /.test(text)));
});

test('all kinds together are what each shows alone', () => {
  const alone = TRACE_KINDS.map((kind) => lines([kind]).texts.length);
  assert.equal(
    lines(TRACE_KINDS).texts.length,
    alone.reduce((sum, count) => sum + count, 0),
  );
  assert.ok(alone.filter((count) => count > 0).length >= 7);
});
