import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STORE_KEY_BYTES_MAX } from '../core/limits.js';
import { transactionBytes, violatedByRange, violatedLimit } from './store-limits.js';

const bytes = (length: number): Uint8Array => new Uint8Array(length);

test('the size of a transaction counts expectations, ranges and puts', () => {
  const transaction = {
    expect: [
      { key: bytes(1), value: undefined },
      { key: bytes(2), value: bytes(10) },
    ],
    clear: [{ begin: bytes(100), end: bytes(200) }],
    puts: [{ key: bytes(1_000), value: bytes(20_000) }],
  };
  assert.equal(transactionBytes(transaction), 1 + 12 + 300 + 21_000);
  assert.equal(violatedLimit(transaction), undefined);
});

test('a range may be empty and may end right behind the longest key, but not the wrong way round', () => {
  assert.equal(violatedByRange({ begin: bytes(0), end: bytes(0) }), undefined);
  assert.equal(violatedByRange({ begin: bytes(1), end: bytes(STORE_KEY_BYTES_MAX + 1) }), undefined);
  assert.match(violatedByRange({ begin: bytes(1), end: bytes(STORE_KEY_BYTES_MAX + 2) })!, /1902 bytes/);
  assert.match(violatedByRange({ begin: bytes(2), end: bytes(1) })!, /before it begins/);
});
