import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareKeys, deltaKey, fenceKey, metaKey } from '../core/keys.js';
import { STORE_TRANSACTION_BYTES_MAX } from '../core/limits.js';
import {
  basePiece,
  commitTransactions,
  decodeEpoch,
  decodeMeta,
  EMPTY_META,
  encodeEpoch,
  encodeMeta,
  keyAfter,
  splitPuts,
  takeOver,
} from './checkpoint.js';
import { keyBytes, keyText } from './outbox.js';

const owner = { stage: 1, partition: 3, epoch: 7 };

test('a meta record is read back as it was written', () => {
  const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const fields = { offset: number, commit: number, firstDelta: number, base: number };
  const meta = fc.record(
    { ...fields, baseBytes: number, deltaBytes: number, timeMs: number },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(meta, (value) => assert.deepEqual(decodeMeta(encodeMeta(value)), value)));
});

test('a meta record of another format is refused with a sentence', () => {
  const bytes = encodeMeta(EMPTY_META);
  bytes[3] = 9;
  assert.throws(() => decodeMeta(bytes), /checkpoint format 9 is not known here/);
  assert.throws(() => decodeMeta(new Uint8Array(3)), /checkpoint format/);
});

test('taking over expects the fence that was read and raises its epoch', () => {
  const first = takeOver(1, 3, undefined);
  assert.equal(first.expect[0]!.value, undefined);
  assert.equal(decodeEpoch(first.puts[0]!.value), 1);
  const second = takeOver(1, 3, encodeEpoch(1));
  assert.deepEqual(second.expect[0], { key: fenceKey(1, 3), value: encodeEpoch(1) });
  assert.equal(decodeEpoch(second.puts[0]!.value), 2);
});

test('every transaction of a commit is fenced, and only the last has the meta record, removals and superseded ranges', () => {
  const chunks = Array.from({ length: 250 }, (_, n) => new Uint8Array(90_000).fill(n));
  const cold = new Map([
    ['a', new Uint8Array(10)],
    ['b', undefined],
  ]);
  const superseded = [{ begin: keyBytes('x'), end: keyBytes('y') }];
  const meta = { ...EMPTY_META, commit: 5, offset: 9 };
  const transactions = commitTransactions(owner, { meta, chunks, cold, superseded });
  assert.equal(transactions.length, 3);
  const seen = transactions.flatMap((transaction) => transaction.puts.map((put) => keyText(put.key)));
  assert.equal(new Set(seen).size, 252);
  transactions.forEach((transaction, i) => {
    const last = i === transactions.length - 1;
    assert.deepEqual(transaction.expect, [{ key: fenceKey(1, 3), value: encodeEpoch(7) }]);
    const hasMeta = transaction.puts.some((put) => compareKeys(put.key, metaKey(1, 3)) === 0);
    assert.equal(hasMeta, last);
    const bytes = transaction.puts.reduce((sum, put) => sum + put.key.length + put.value.length, 0);
    assert.ok(bytes < STORE_TRANSACTION_BYTES_MAX);
    assert.equal(transaction.clear.length, i === 0 ? 1 : last ? 2 : 0);
  });
  assert.deepEqual(transactions[0]!.clear[0], { begin: deltaKey(1, 3, 5, 0), end: deltaKey(1, 3, 6, 0) });
});

test('puts keep their order when they are split', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 100_000 }), { maxLength: 300 });
  fc.assert(
    fc.property(sizes, (lengths) => {
      const puts = lengths.map((length, i) => ({ key: keyBytes(String(i)), value: new Uint8Array(length) }));
      assert.deepEqual(splitPuts(puts).flat(), puts);
    }),
    { numRuns: 20 },
  );
});

test('only the first piece of a base clears what an earlier attempt left', () => {
  assert.equal(basePiece(owner, 2, 0, [new Uint8Array(1)]).clear.length, 1);
  assert.equal(basePiece(owner, 2, 4, [new Uint8Array(1)]).clear.length, 0);
});

test('keyAfter is the least key behind a key', () => {
  const bytes = fc.uint8Array({ maxLength: 6 });
  fc.assert(
    fc.property(bytes, bytes, (key, other) => {
      const next = keyAfter(key);
      assert.ok(compareKeys(key, next) < 0);
      assert.ok(compareKeys(other, key) <= 0 || compareKeys(other, next) >= 0);
    }),
  );
});
