import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { upCommand } from '../cli/up.js';
import * as limits from '../core/limits.js';
import { GATEWAY_FIELDS } from '../gateway/gateway-metrics.js';
import { LANE_FIELDS } from '../pipelines/lane-status.js';
import { describeLane } from '../pipelines/metrics.js';

const page = readFileSync(join(import.meta.dirname, '../../docs/operating.md'), 'utf8');

function missing(names: readonly string[]): string[] {
  return names.filter((name) => !page.includes(`\`${name}\``));
}

test('the operating page names every metric', () => {
  const lane = describeLane('conversation', 0, 0, new Float64Array(LANE_FIELDS.length), 0).map(({ name }) => name);
  const gateway = GATEWAY_FIELDS.map(([name]) => `dunlin_gateway_${name}`);
  assert.deepEqual(missing([...lane, ...gateway]), []);
});

test('the operating page names every flag of `dunlin up`', () => {
  const flags = upCommand()
    .options.map((option) => option.long!)
    .filter((flag) => flag !== '--help');
  assert.deepEqual(missing(flags), []);
});

test('the operating page names every limit, and none that is gone', () => {
  const known = Object.keys(limits);
  assert.deepEqual(missing(known), []);
  const named = [...page.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1]!);
  assert.deepEqual(
    named.filter((name) => !known.includes(name)),
    [],
  );
});
