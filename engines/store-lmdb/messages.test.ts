import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type CommitRequest,
  pack,
  packPairs,
  packTransaction,
  unpack,
  unpackPairs,
  unpackTransaction,
} from './messages.js';

const anyBytes = fc.uint8Array({ maxLength: 20 });
const maybeBytes = fc.option(anyBytes, { nil: undefined });

function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<T>;
}

test('strings, also empty and absent ones, come back as they were', () => {
  fc.assert(
    fc.property(fc.array(maybeBytes), (strings) => {
      assert.deepEqual(unpack(pack(strings)), strings);
    }),
  );
});

test('the packed form is what it is said to be', () => {
  const packed = pack([Uint8Array.of(1, 2), undefined, new Uint8Array(0)]);
  assert.equal(Buffer.from(packed).toString('hex'), '0000000300000002ffffffff000000000102');
});

test('transactions and pairs come back as they were', () => {
  const pair = record({ key: anyBytes, value: anyBytes });
  const anyTransaction = record({
    expect: fc.array(record({ key: anyBytes, value: maybeBytes }), { maxLength: 3 }),
    clear: fc.array(record({ begin: anyBytes, end: anyBytes }), { maxLength: 3 }),
    puts: fc.array(pair, { maxLength: 3 }),
  });
  fc.assert(
    fc.property(anyTransaction, (transaction) => {
      const request: CommitRequest = {
        kind: 'commit',
        tag: 1,
        submittedAtMs: 0,
        expects: transaction.expect.length,
        clears: transaction.clear.length,
        packed: packTransaction(transaction),
      };
      assert.deepEqual(unpackTransaction(request), transaction);
    }),
  );
  fc.assert(fc.property(fc.array(pair), (pairs) => assert.deepEqual(unpackPairs(packPairs(pairs)), pairs)));
});
