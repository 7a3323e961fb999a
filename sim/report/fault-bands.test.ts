import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FaultEvent } from '../plan.js';
import { faultBands } from './fault-bands.js';

const TIMES = { startMs: 3_000, healMs: 10_000, deviceKeys: [128_129, 128_257] };

test('a fault is shown when it was, on whom, and no longer than until all heals', () => {
  const faults: FaultEvent[] = [
    { fault: 'power', at: 500 },
    { fault: 'stall', at: 200, device: 1, for: 90_000, way: 'both' },
    { fault: 'store', at: 300, lane: 2, outcome: 'unknown_late' },
  ];
  assert.deepEqual(faultBands(faults, TIMES), [
    { kind: 'stall', target: 'device', fromMs: 3_200, toMs: 10_000, what: 'device 128257, way both' },
    { kind: 'store', target: 'lane', fromMs: 3_300, toMs: undefined, what: 'lane 2, outcome unknown late' },
    { kind: 'power', target: 'everything', fromMs: 3_500, toMs: undefined, what: '' },
  ]);
});

test('a kind that nobody has heard of is shown by its fields', () => {
  const fault = { fault: 'meteor', at: 100, for: 50, where: ['a', 'b'], gateway: 1 } as unknown as FaultEvent;
  assert.deepEqual(faultBands([fault], TIMES), [
    { kind: 'meteor', target: 'gateway', fromMs: 3_100, toMs: 3_150, what: 'where ["a","b"], gateway 1' },
  ]);
});
