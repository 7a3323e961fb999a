/** What every store engine must do, as one suite: `storeContract(name, open)` registers its tests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareKeys } from '../core/keys.js';
import { STORE_KEY_BYTES_MAX, STORE_TRANSACTION_BYTES_MAX, STORE_VALUE_BYTES_MAX } from '../core/limits.js';
import type { CommitOutcome, Put, Store, StoreCompletion, StoreTransaction } from '../core/ports.js';

/** A fresh, empty store, and the way to wait for its next completion. */
export interface OpenedStore {
  readonly store: Store;
  next(): Promise<StoreCompletion>;
  close(): Promise<void>;
}

export function key(...bytes: number[]): Uint8Array {
  return Uint8Array.from(bytes);
}

export function transaction(parts: Partial<StoreTransaction>): StoreTransaction {
  return { expect: [], clear: [], puts: [], ...parts };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Changes the value of key 1, if it is the one expected. */
function step(from: number | undefined, to: number): StoreTransaction {
  return transaction({
    expect: [{ key: key(1), value: from === undefined ? undefined : key(from) }],
    puts: [{ key: key(1), value: key(to) }],
  });
}

/** One request after the other, as short calls. */
export class StoreClient {
  readonly #opened: OpenedStore;
  #tag = 0;

  constructor(opened: OpenedStore) {
    this.#opened = opened;
  }

  async #answer(): Promise<StoreCompletion> {
    const completion = await this.#opened.next();
    assert.equal(completion.tag, this.#tag);
    return completion;
  }

  async commit(parts: Partial<StoreTransaction>): Promise<{ outcome: CommitOutcome; reason?: string }> {
    this.#opened.store.commit(++this.#tag, transaction(parts));
    return (await this.#answer()).commit!;
  }

  async put(...puts: Put[]): Promise<void> {
    assert.deepEqual(await this.commit({ puts }), { outcome: 'committed' });
  }

  async read(...keys: Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    this.#opened.store.read(++this.#tag, keys);
    const { values, failed } = await this.#answer();
    assert.equal(failed, undefined);
    return values!.map((value) => (value === undefined ? undefined : Uint8Array.from(value)));
  }

  async range(begin: Uint8Array, end: Uint8Array, bytesMax = 1_000_000): Promise<{ pairs: Put[]; more: boolean }> {
    this.#opened.store.readRange(++this.#tag, { begin, end }, bytesMax);
    const { range, failed } = await this.#answer();
    assert.equal(failed, undefined);
    const pairs = range!.pairs.map((pair) => ({ key: Uint8Array.from(pair.key), value: Uint8Array.from(pair.value) }));
    return { pairs, more: range!.more };
  }

  async all(): Promise<[string, string][]> {
    const { pairs } = await this.range(key(), new Uint8Array(STORE_KEY_BYTES_MAX).fill(0xff), Infinity);
    return pairs.map((pair) => [hex(pair.key), hex(pair.value)]);
  }
}

type Body = (client: StoreClient, opened: OpenedStore) => Promise<void>;

const CONTRACT: { readonly what: string; readonly body: Body }[] = [];

function contract(what: string, body: Body): void {
  CONTRACT.push({ what, body });
}

/** Registers the suite's tests for one engine. `open` gives a fresh, empty store. */
export function storeContract(name: string, open: () => Promise<OpenedStore>): void {
  for (const { what, body } of CONTRACT) {
    test(`${name}: ${what}`, async () => {
      const opened = await open();
      try {
        await body(new StoreClient(opened), opened);
        assert.equal(opened.store.completion(), undefined, 'a completion is left');
      } finally {
        await opened.close();
      }
    });
  }
}

contract('what was committed is read back, and what was not put is absent', async (client) => {
  assert.deepEqual(await client.read(key(1)), [undefined]);
  await client.put({ key: key(1), value: key(7, 8) }, { key: key(0), value: key() }, { key: key(255), value: key(0) });
  assert.deepEqual(await client.read(key(255), key(1), key(2), key(0), key(1, 0)), [
    key(0),
    key(7, 8),
    undefined,
    key(),
    undefined,
  ]);
  assert.deepEqual(await client.read(), []);
});

contract('a value that is put again is replaced; in one transaction the last put wins', async (client) => {
  await client.put({ key: key(1), value: key(1) });
  await client.put({ key: key(1), value: key(2) }, { key: key(1), value: key(3) });
  assert.deepEqual(await client.all(), [['01', '03']]);
});

contract('keys that are views of larger buffers are taken as they were at the call', async (client, opened) => {
  const buffer = Uint8Array.of(9, 1, 2, 9, 5, 6, 9);
  const put = { key: buffer.subarray(1, 3), value: buffer.subarray(4, 6) };
  opened.store.commit(1, transaction({ puts: [put] }));
  buffer.fill(0xee);
  assert.deepEqual(await opened.next(), { tag: 1, commit: { outcome: 'committed' } });
  assert.deepEqual(await client.all(), [['0102', '0506']]);
});

contract('an expectation holds a value or an absence; a conflict changes nothing at all', async (client) => {
  await client.put({ key: key(1), value: key(1) });
  const puts = [{ key: key(9), value: key(9) }];
  const clear = [{ begin: key(), end: key(255) }];
  for (const expect of [
    [{ key: key(1), value: key(2) }],
    [{ key: key(1), value: key(1, 0) }],
    [{ key: key(1), value: key() }],
    [{ key: key(1), value: undefined }],
    [{ key: key(2), value: key(1) }],
    [
      { key: key(1), value: key(1) },
      { key: key(2), value: key() },
    ],
  ]) {
    assert.deepEqual(await client.commit({ expect, clear, puts }), { outcome: 'conflict' });
    assert.deepEqual(await client.all(), [['01', '01']]);
  }
  const expect = [
    { key: key(1), value: key(1) },
    { key: key(2), value: undefined },
  ];
  assert.deepEqual(await client.commit({ expect, clear, puts }), { outcome: 'committed' });
  assert.deepEqual(await client.all(), [['09', '09']]);
});

contract('an expectation is about the state before the transaction', async (client) => {
  const expect = [{ key: key(1), value: undefined }];
  assert.deepEqual(await client.commit({ expect, puts: [{ key: key(1), value: key(1) }] }), { outcome: 'committed' });
  assert.deepEqual(await client.commit({ expect, clear: [{ begin: key(1), end: key(2) }] }), { outcome: 'conflict' });
});

contract('ranges are cleared before values are put; the end of a range is not in it', async (client) => {
  await client.put(...[1, 2, 3, 4].map((n) => ({ key: key(n), value: key(n) })));
  const outcome = await client.commit({
    clear: [{ begin: key(2), end: key(4) }],
    puts: [{ key: key(3), value: key(33) }],
  });
  assert.deepEqual(outcome, { outcome: 'committed' });
  assert.deepEqual(await client.all(), [
    ['01', '01'],
    ['03', '21'],
    ['04', '04'],
  ]);
  await client.commit({ clear: [{ begin: key(1), end: key(1) }] });
  assert.equal((await client.all()).length, 3);
  await client.commit({
    clear: [
      { begin: key(), end: key(1, 0) },
      { begin: key(4), end: key(255) },
    ],
  });
  assert.deepEqual(await client.all(), [['03', '21']]);
});

contract('a range of many thousand keys is cleared whole', async (client) => {
  const puts = Array.from({ length: 10_000 }, (_, n) => ({ key: key(5, n >>> 8, n & 255), value: key(n & 255) }));
  await client.put({ key: key(4), value: key(4) }, ...puts, { key: key(6), value: key(6) });
  assert.deepEqual(await client.commit({ clear: [{ begin: key(5), end: key(6) }] }), { outcome: 'committed' });
  assert.deepEqual(await client.all(), [
    ['04', '04'],
    ['06', '06'],
  ]);
});

contract('a range is read in byte order, in pages that end at whole pairs', async (client) => {
  const keys = [key(0), key(0, 0), key(1), key(1, 255), key(2), key(127), key(128), key(255), key(255, 255)];
  await client.put(...keys.toReversed().map((k) => ({ key: k, value: new Uint8Array(10).fill(k[0]!) })));
  assert.deepEqual(
    (await client.range(key(), key(255, 255, 0))).pairs.map((pair) => pair.key),
    keys,
  );
  const seen: Uint8Array[] = [];
  let pages = 0;
  for (let begin = key(); ; ) {
    const { pairs, more } = await client.range(begin, key(255, 255, 0), 24);
    pages++;
    assert.ok(pairs.length === 1 || pairs.length === 2, `a page has ${pairs.length} pairs`);
    seen.push(...pairs.map((pair) => pair.key));
    if (!more) break;
    begin = key(...pairs.at(-1)!.key, 0);
  }
  assert.deepEqual(seen, keys);
  assert.ok(pages >= 5);
  assert.deepEqual(await client.range(key(3), key(4)), { pairs: [], more: false });
  assert.deepEqual((await client.range(key(1), key(2), 0)).pairs.length, 1, 'at least one pair, if there is any');
  assert.equal((await client.range(key(1), key(2), 0)).more, true);
  assert.equal((await client.range(key(1, 255), key(2), 0)).more, false, 'more means more within the range');
});

contract(
  'exactly at the limits it commits, one above it refuses with a sentence and changes nothing',
  async (client) => {
    const longKey = new Uint8Array(STORE_KEY_BYTES_MAX).fill(3);
    const longValue = new Uint8Array(STORE_VALUE_BYTES_MAX).fill(4);
    await client.put({ key: longKey, value: longValue });
    assert.deepEqual(await client.read(longKey), [longValue]);
    const behind = new Uint8Array(STORE_KEY_BYTES_MAX + 1);
    behind.set(longKey);
    assert.equal((await client.range(longKey, behind)).pairs.length, 1, 'the longest key has a range of its own');
    const tooLongKey = new Uint8Array(STORE_KEY_BYTES_MAX + 1).fill(3);
    const tooLongValue = new Uint8Array(STORE_VALUE_BYTES_MAX + 1);
    const good = { key: key(9), value: key(9) };
    const refused: [Partial<StoreTransaction>, RegExp][] = [
      [
        { puts: [good, { key: tooLongKey, value: key() }] },
        new RegExp(`${STORE_KEY_BYTES_MAX + 1}.*${STORE_KEY_BYTES_MAX}`),
      ],
      [{ puts: [good, { key: key(), value: key() }] }, /empty/],
      [{ puts: [good, { key: key(1), value: tooLongValue }] }, new RegExp(`${STORE_VALUE_BYTES_MAX}`)],
      [{ puts: [good], expect: [{ key: tooLongKey, value: undefined }] }, /key/],
      [{ puts: [good], expect: [{ key: key(1), value: tooLongValue }] }, /value/],
      [{ puts: [good], clear: [{ begin: key(), end: new Uint8Array(STORE_KEY_BYTES_MAX + 2) }] }, /range/],
      [{ puts: [good], clear: [{ begin: key(2), end: key(1) }] }, /range/],
    ];
    for (const [parts, sentence] of refused) {
      const { outcome, reason } = await client.commit(parts);
      assert.equal(outcome, 'refused');
      assert.match(reason!, sentence);
    }
    assert.deepEqual(await client.read(key(9), longKey), [undefined, longValue]);
  },
);

contract('a transaction of exactly 10,000,000 bytes commits, one byte more is refused', async (client) => {
  const clear = [{ begin: key(0), end: key(1) }];
  const expect = [{ key: key(2), value: undefined }];
  const count = Math.floor((STORE_TRANSACTION_BYTES_MAX - 3) / STORE_VALUE_BYTES_MAX);
  const puts = Array.from({ length: count }, (_, n) => ({
    key: key(5, n >>> 8, n & 255),
    value: new Uint8Array(STORE_VALUE_BYTES_MAX - 3).fill(n),
  }));
  const rest = STORE_TRANSACTION_BYTES_MAX - 3 - count * STORE_VALUE_BYTES_MAX;
  const last = (bytes: number): Put => ({ key: key(6), value: new Uint8Array(bytes - 1).fill(6) });
  const over = await client.commit({ expect, clear, puts: [...puts, last(rest + 1)] });
  assert.equal(over.outcome, 'refused');
  assert.match(over.reason!, /10000001.*10000000/);
  assert.deepEqual(await client.read(key(6)), [undefined]);
  assert.deepEqual(await client.commit({ expect, clear, puts: [...puts, last(rest)] }), { outcome: 'committed' });
  const { pairs } = await client.range(key(5), key(6), Infinity);
  assert.equal(pairs.length, count);
  assert.ok(
    pairs.every((pair, n) => pair.value.length === STORE_VALUE_BYTES_MAX - 3 && pair.value.at(-1) === (n & 255)),
  );
});

contract('completions carry the tags of their requests, also when many are under way', async (client, opened) => {
  await client.put({ key: key(1), value: key(1) });
  const { store } = opened;
  for (let n = 0; n < 20; n++) {
    store.commit(1_000 + n, transaction({ puts: [{ key: key(2, n), value: key(n) }] }));
    store.read(2_000 + n, [key(1)]);
    store.readRange(3_000 + n, { begin: key(1), end: key(2) }, 100);
  }
  store.commit(4_000, transaction({ expect: [{ key: key(1), value: undefined }] }));
  store.commit(4_001, transaction({ puts: [{ key: key(), value: key() }] }));
  const outcomes = new Map<number, StoreCompletion>();
  for (let n = 0; n < 62; n++) {
    const completion = await opened.next();
    assert.ok(!outcomes.has(completion.tag));
    outcomes.set(completion.tag, completion);
  }
  for (let n = 0; n < 20; n++) {
    assert.equal(outcomes.get(1_000 + n)!.commit!.outcome, 'committed');
    assert.deepEqual([...outcomes.get(2_000 + n)!.values![0]!], [1]);
    assert.equal(outcomes.get(3_000 + n)!.range!.pairs.length, 1);
  }
  assert.equal(outcomes.get(4_000)!.commit!.outcome, 'conflict');
  assert.equal(outcomes.get(4_001)!.commit!.outcome, 'refused');
  assert.equal((await client.range(key(2), key(3))).pairs.length, 20);
});

contract('transactions that are under way together see each other in order', async (client, opened) => {
  const { store } = opened;
  store.commit(1, step(undefined, 1));
  store.commit(2, step(undefined, 9));
  store.commit(3, step(1, 2));
  store.commit(4, step(2, 3));
  store.commit(5, step(2, 8));
  const outcomes = new Map<number, string>();
  for (let n = 0; n < 5; n++) {
    const { tag, commit } = await opened.next();
    outcomes.set(tag, commit!.outcome);
  }
  assert.deepEqual(
    [1, 2, 3, 4, 5].map((tag) => outcomes.get(tag)),
    ['committed', 'conflict', 'committed', 'committed', 'conflict'],
  );
  assert.deepEqual(await client.all(), [['01', '03']]);
});

contract('any transactions leave what a sorted list of pairs would hold', async (client) => {
  const anyKey = fc.uint8Array({ minLength: 1, maxLength: 3, max: 3 });
  const anyRange = fc.tuple(anyKey, anyKey).map(([one, other]) => {
    return compareKeys(one, other) < 0 ? { begin: one, end: other } : { begin: other, end: one };
  });
  const anyTransaction = fc.record({
    expect: fc.array(fc.record({ key: anyKey, value: fc.option(fc.constant(key(1)), { nil: undefined }) }), {
      maxLength: 1,
    }),
    clear: fc.array(anyRange, { maxLength: 2 }),
    puts: fc.array(fc.record({ key: anyKey, value: fc.uint8Array({ minLength: 1, maxLength: 2, max: 1 }) }), {
      maxLength: 4,
    }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(anyTransaction, { maxLength: 8 }), async (transactions) => {
      await client.commit({ clear: [{ begin: key(), end: key(255) }] });
      const model = new Map<string, string>();
      for (const one of transactions) {
        const holds = one.expect.every(({ key: k, value }) => model.get(hex(k)) === (value && hex(value)));
        assert.equal((await client.commit(one)).outcome, holds ? 'committed' : 'conflict');
        if (!holds) continue;
        for (const { begin, end } of one.clear) {
          for (const k of model.keys()) if (k >= hex(begin) && k < hex(end)) model.delete(k);
        }
        for (const { key: k, value } of one.puts) model.set(hex(k), hex(value));
      }
      assert.deepEqual(
        await client.all(),
        [...model].toSorted(([one], [other]) => (one < other ? -1 : 1)),
      );
    }),
    { numRuns: 40 },
  );
});
