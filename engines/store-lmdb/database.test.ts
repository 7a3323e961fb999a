import assert from 'node:assert/strict';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { StoreTransaction } from '../../core/ports.js';
import { key, transaction } from '../store.contract.js';
import { dataFileOf } from './data-file.js';
import { LmdbDatabase } from './database.js';

const root = fs.mkdtempSync(join(tmpdir(), 'dunlin-database-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));

test('pages that are taken and given back with one sync leave a file that opens again', async () => {
  const directory = join(root, 'pages');
  const database = LmdbDatabase.open(directory);
  database.commitAll([transaction({ puts: [{ key: key(3), value: key(3) }] })]);
  const puts = Array.from({ length: 60 }, (_, n) => ({ key: key(1, n), value: new Uint8Array(90_000) }));
  // LMDB counts the pages of the puts and never writes them, since the clear takes them away: its last page may be beyond
  // the end of its file.
  for (let round = 0; round < 3; round++) {
    const clear = transaction({ clear: [{ begin: key(1), end: key(2) }] });
    assert.deepEqual(database.commitAll([transaction({ puts }), clear]), [
      { outcome: 'committed' },
      { outcome: 'committed' },
    ]);
  }
  await database.close();
  const again = LmdbDatabase.open(directory);
  assert.deepEqual([...again.read([key(3)])[0]!], [3]);
  await again.close();
});

function one(n: number): StoreTransaction {
  return transaction({ puts: [{ key: key(n), value: key(n) }] });
}

test('a transaction that breaks a limit or an expectation takes no other down with it', async () => {
  const database = LmdbDatabase.open(join(root, 'mixed'));
  const answers = database.commitAll([
    one(1),
    transaction({ puts: [{ key: key(), value: key() }] }),
    transaction({ expect: [{ key: key(1), value: undefined }], puts: [{ key: key(9), value: key() }] }),
    one(2),
  ]);
  assert.deepEqual(
    answers.map(({ outcome }) => outcome),
    ['committed', 'refused', 'conflict', 'committed'],
  );
  assert.deepEqual(
    database.read([key(1), key(9), key(2)]).map((value) => value?.length),
    [1, undefined, 1],
  );
  assert.equal(database.brokenBy, undefined);
  await database.close();
});

test('the data file takes little space on the disk, though it is reserved in large steps', async () => {
  const directory = join(root, 'space');
  const database = LmdbDatabase.open(directory);
  database.commitAll([transaction({ puts: [{ key: key(1), value: key(1) }] })]);
  const { size, blocks } = fs.statSync(dataFileOf(directory));
  assert.ok(size >= 16 * 1024 * 1024);
  assert.ok(blocks * 512 <= 256 * 1024, `${blocks * 512} bytes are taken`);
  await database.close();
});
