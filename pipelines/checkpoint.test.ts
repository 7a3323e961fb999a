import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareKeys, deltaKey, fenceKey, metaKey } from '../core/keys.js';
import { STORE_TRANSACTION_BYTES_MAX } from '../core/limits.js';
import type { StoreTransaction } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import { Probes, withProbes } from '../core/probe.js';
import { MemoryContents } from '../engines/store-memory.js';
import {
  basePiece,
  baseRange,
  commitTransactions,
  decodeEpoch,
  decodeMeta,
  deltaRange,
  EMPTY_META,
  encodeEpoch,
  encodeMeta,
  keyAfter,
  type Meta,
  splitPuts,
  supersededBases,
  takeOver,
} from './checkpoint.js';
import { keyBytes, keyText } from './outbox.js';

const owner = { stage: 1, partition: 3, epoch: 7 };

test('a meta record is read back as it was written', () => {
  const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const fields = { offset: number, commit: number, firstDelta: number, base: number };
  const meta = fc.record(
    { ...fields, baseBytes: number, deltaBytes: number, timeMs: number, fingerprint: number },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(meta, (value) => assert.deepEqual(decodeMeta(encodeMeta(value)), value)));
});

test('a meta record of format 1 is read, without a fingerprint', () => {
  const bytes = encodeMeta({ ...EMPTY_META, offset: 9, timeMs: 5, fingerprint: 77 }).slice(0, 60);
  new DataView(bytes.buffer).setUint32(0, 1);
  assert.deepEqual(decodeMeta(bytes), { ...EMPTY_META, offset: 9, timeMs: 5 });
});

test('a meta record of another format is refused with a sentence', () => {
  const bytes = encodeMeta(EMPTY_META);
  bytes[3] = 9;
  assert.throws(() => decodeMeta(bytes), /checkpoint format 9 is not known here/);
  assert.throws(() => decodeMeta(new Uint8Array(3)), /checkpoint format/);
});

test('taking over expects the fence and the meta record that were read, and raises the epoch', () => {
  const first = takeOver(1, 3, undefined, undefined);
  assert.deepEqual(
    first.expect.map(({ value }) => value),
    [undefined, undefined],
  );
  assert.equal(decodeEpoch(first.puts[0]!.value), 1);
  const second = takeOver(1, 3, encodeEpoch(1), encodeMeta(EMPTY_META));
  assert.deepEqual(second.expect, [
    { key: fenceKey(1, 3), value: encodeEpoch(1) },
    { key: metaKey(1, 3), value: encodeMeta(EMPTY_META) },
  ]);
  assert.equal(decodeEpoch(second.puts[0]!.value), 2);
});

test('every transaction of a commit is fenced, and only the last has the meta record, removals and superseded ranges', () => {
  const chunks = Array.from({ length: 250 }, (_, n) => new Uint8Array(90_000).fill(n));
  const cold = new Map([
    ['a', new Uint8Array(10)],
    ['b', undefined],
  ]);
  const superseded = [{ begin: keyBytes('x'), end: keyBytes('y') }];
  const before = { ...EMPTY_META, commit: 4, offset: 7 };
  const meta = { ...EMPTY_META, commit: 5, offset: 9 };
  const transactions = commitTransactions(owner, { before, meta, chunks, cold, superseded });
  assert.equal(transactions.length, 3);
  const seen = transactions.flatMap((transaction) => transaction.puts.map((put) => keyText(put.key)));
  assert.equal(new Set(seen).size, 252);
  transactions.forEach((transaction, i) => {
    const last = i === transactions.length - 1;
    assert.deepEqual(transaction.expect, [
      { key: fenceKey(1, 3), value: encodeEpoch(7) },
      { key: metaKey(1, 3), value: encodeMeta(before) },
    ]);
    const hasMeta = transaction.puts.some((put) => compareKeys(put.key, metaKey(1, 3)) === 0);
    assert.equal(hasMeta, last);
    const bytes = transaction.puts.reduce((sum, put) => sum + put.key.length + put.value.length, 0);
    assert.ok(bytes < STORE_TRANSACTION_BYTES_MAX);
    assert.equal(transaction.clear.length, last ? 3 : 0);
  });
  assert.deepEqual(transactions.at(-1)!.clear[0], { begin: deltaKey(1, 3, 5, 250), end: deltaKey(1, 3, 6, 0) });
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

/** All that is ever read: what the meta record says counts. */
function whatCounts(contents: MemoryContents): unknown {
  const meta = decodeMeta(contents.get(metaKey(1, 3))!);
  const ranges = [baseRange(owner, meta.base), deltaRange(owner, meta.firstDelta, meta.commit)];
  return [
    meta,
    ...ranges.map((range) => contents.range(range, Infinity).pairs.map(({ key, value }) => [keyText(key), value[0]])),
  ];
}

/** A commit in parts, which a simulator makes of small ones, too. */
function inParts<Made extends { readonly transactions: readonly StoreTransaction[] }>(make: () => Made): Made {
  for (let seed = 0; ; seed++) {
    const made = withProbes(new Probes(new Prng(seed)), make);
    if (made.transactions.length > 1) return made;
  }
}

test('what lands late, of the same owner, takes nothing away that counts', () => {
  const chunk = (fill: number): Uint8Array => new Uint8Array(8).fill(fill);
  const commitOf = (before: Meta, base: number): { meta: Meta; transactions: StoreTransaction[] } =>
    inParts(() => {
      const commit = before.commit + 1;
      const meta = { ...before, commit, base, firstDelta: base === before.base ? before.firstDelta : commit };
      const chunks = [0, 1, 2].map((n) => chunk(commit * 10 + n));
      const content = { before, meta, chunks, cold: new Map(), superseded: supersededBases(owner, base, 3) };
      return { meta, transactions: commitTransactions(owner, content) };
    });
  const pieces = (base: number): StoreTransaction[] =>
    [0, 1, 2].map((n) => basePiece(owner, base, n, [chunk(base + n)]));
  const first = commitOf(EMPTY_META, 1);
  const second = commitOf(first.meta, 1);
  const third = commitOf(second.meta, 2);
  const all = [...pieces(1), ...first.transactions, ...second.transactions, ...pieces(2), ...third.transactions];
  assert.equal(all.length, 15);
  /** All in order; after the one numbered `after`, the one numbered `late` lands again. */
  const outcome = (after: number, late: number): unknown => {
    const contents = new MemoryContents();
    contents.apply({ expect: [], clear: [], puts: [{ key: fenceKey(1, 3), value: encodeEpoch(7) }] });
    // An owner before this one left more pieces, and more chunks, than there will be.
    for (let n = 0; n < 5; n++) contents.apply({ ...basePiece(owner, 1, n, [chunk(255)]), expect: [] });
    contents.apply({ expect: [], clear: [], puts: [{ key: deltaKey(1, 3, 1, 200), value: chunk(255) }] });
    for (const [n, transaction] of all.entries()) {
      assert.equal(contents.apply(transaction), 'committed');
      if (n === after) contents.apply(all[late]!);
    }
    return whatCounts(contents);
  };
  const undisturbed = outcome(-1, -1);
  assert.equal(JSON.stringify(undisturbed).includes('255'), false);
  for (let after = 0; after < all.length; after++) {
    for (let late = 0; late <= after; late++) {
      assert.deepEqual(outcome(after, late), undisturbed, `${late} after ${after}`);
    }
  }
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
