import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as limits from './limits.js';

test('every limit is a finite number above 0, and has its unit or its thing counted in its name', () => {
  const entries: [string, unknown][] = Object.entries(limits);
  assert.ok(entries.length > 50);
  for (const [name, value] of entries) {
    assert.ok(typeof value === 'number' && Number.isFinite(value) && value > 0, `${name} is ${String(value)}`);
    assert.match(name, /^[A-Z][A-Z0-9_]*$/);
  }
});

test('limits that are promised to clients are what the protocol says', () => {
  assert.equal(limits.USER_ID_MAX, 2 ** 45 - 1);
  assert.equal(limits.DEVICE_NUMBER_MAX, 127);
  assert.equal(limits.FRAME_HEADER_BYTES, 70);
  assert.equal(limits.PAYLOAD_BYTES_MAX, 65_536);
  assert.equal(limits.TABLE_PAYLOAD_BYTES_MAX, 262_144);
  assert.equal(limits.FRAMES_PER_MESSAGE_MAX, 1_024);
  assert.equal(limits.MESSAGE_BYTES_MAX, 1_048_576);
  assert.equal(limits.GROUP_MEMBERS_MAX, 1_024);
  assert.equal(limits.QUEUE_TTL_MS, 2_592_000_000);
  assert.equal(limits.SESSION_GRACE_MS, 30_000);
  assert.equal(limits.IDLE_TIMEOUT_MS, 64_000);
  assert.equal(limits.BACKOFF_MAX_MS, 30_000);
});

test('the store keeps within what FoundationDB allows', () => {
  assert.ok(limits.STORE_KEY_BYTES_MAX <= 10_000);
  assert.ok(limits.STORE_VALUE_BYTES_MAX <= 100_000);
  assert.ok(limits.STORE_TRANSACTION_BYTES_MAX <= 10_000_000);
  assert.ok(limits.STORE_TRANSACTION_AGE_MS_MAX <= 5_000);
});
