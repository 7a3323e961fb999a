import assert from 'node:assert/strict';
import { test } from 'node:test';
import { key, StoreClient, storeContract, transaction } from './store.contract.js';
import { MemoryContents, MemoryStore } from './store-memory.js';

function opened(store = new MemoryStore()) {
  return {
    store,
    next: () => Promise.resolve(store.completion()!),
    close: () => Promise.resolve(),
  };
}

storeContract('memory', () => Promise.resolve(opened()));

const put = transaction({ puts: [{ key: key(1), value: key(1) }] });

test('injected outcomes are answered in order, and happen or not as they say', () => {
  const store = new MemoryStore();
  store.inject('conflict', 'too_old', 'refused', 'unknown_not_done', 'unknown_done', 'pass');
  const outcomes: (string | undefined)[] = [];
  const there: boolean[] = [];
  for (let n = 0; n < 7; n++) {
    store.commit(n, put);
    outcomes.push(store.completion()?.commit?.outcome);
    there.push(store.contents.get(key(1)) !== undefined);
    store.contents.apply(transaction({ clear: [{ begin: key(1), end: key(2) }] }));
  }
  assert.deepEqual(outcomes, ['conflict', 'too_old', 'refused', 'unknown', 'unknown', 'committed', 'committed']);
  assert.deepEqual(there, [false, false, false, false, true, true, true]);
});

test('a late commit lands when told to, unless its expectation has failed meanwhile', () => {
  const store = new MemoryStore();
  const fenced = transaction({ expect: [{ key: key(2), value: undefined }], puts: [{ key: key(1), value: key(1) }] });
  store.inject('unknown_late');
  store.commit(1, fenced);
  assert.equal(store.completion()?.commit?.outcome, 'unknown');
  assert.equal(store.contents.get(key(1)), undefined);
  assert.deepEqual(store.land(), ['committed']);
  assert.deepEqual(store.contents.get(key(1)), key(1));
  store.inject('unknown_late');
  store.commit(2, fenced);
  store.commit(3, transaction({ puts: [{ key: key(2), value: key() }] }));
  assert.deepEqual(store.land(), ['conflict']);
  assert.deepEqual(store.land(), []);
});

test('held completions come out as they are released', () => {
  const store = new MemoryStore();
  store.hold();
  for (let n = 0; n < 4; n++) store.commit(n, put);
  assert.equal(store.completion(), undefined);
  assert.equal(store.pending, 4);
  assert.deepEqual(store.contents.get(key(1)), key(1), 'the commit itself is not held');
  store.release(2);
  assert.deepEqual([store.completion()?.tag, store.completion()?.tag, store.completion()?.tag], [0, 1, undefined]);
  store.release();
  assert.deepEqual([store.completion()?.tag, store.completion()?.tag, store.completion()?.tag], [2, 3, undefined]);
  store.commit(5, put);
  assert.equal(store.completion()?.tag, 5);
});

test('reads fail as often as they are told to', () => {
  const store = new MemoryStore();
  store.failReads(2);
  store.read(1, [key(1)]);
  store.readRange(2, { begin: key(1), end: key(2) }, 10);
  store.read(3, [key(1)]);
  assert.ok(store.completion()?.failed);
  assert.ok(store.completion()?.failed);
  assert.deepEqual(store.completion(), { tag: 3, values: [undefined] });
});

test('two stores over the same contents see each other; serialised contents come back the same', async () => {
  const contents = new MemoryContents();
  const one = new StoreClient(opened(new MemoryStore(contents)));
  const other = new StoreClient(opened(new MemoryStore(contents)));
  await one.put({ key: key(2), value: key() }, { key: key(1, 255), value: key(1, 2, 3) });
  const all = await other.all();
  assert.deepEqual(all, [
    ['01ff', '010203'],
    ['02', ''],
  ]);
  const copy = MemoryContents.deserialise(contents.serialise());
  assert.deepEqual(await new StoreClient(opened(new MemoryStore(copy))).all(), all);
  await one.put({ key: key(3), value: key() });
  assert.equal(copy.size, 2);
});
