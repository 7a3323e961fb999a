import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { scenarioSchema } from './scenario-schema.js';
import { SCENARIO_KEYS } from './scenario-shape.js';

const FILE = fileURLToPath(new URL('../../sim/scenarios/schema.json', import.meta.url));

test('the schema in the repository is the one of the tables', () => {
  const kept = JSON.parse(readFileSync(FILE, 'utf8')) as object;
  assert.deepEqual(scenarioSchema(), kept, 'node cli/bin/dunlin.mjs sim format --json > sim/scenarios/schema.json');
});

test('the schema has the keys of the reader', () => {
  const { properties } = scenarioSchema() as { properties: object };
  assert.deepEqual(Object.keys(properties).toSorted(), [...SCENARIO_KEYS].toSorted());
});
