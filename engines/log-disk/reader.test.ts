import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DunlinError } from '../../core/errors.js';
import { Prng } from '../../core/prng.js';
import { nameOf, testBatch } from '../log.fixture.js';
import { realFiles } from './files.js';
import { openJournal, syncJournal, TEST_PARTITIONS } from './journal.fixture.js';
import type { Journal } from './journal.js';
import { ControlCell, PartitionCell, segmentName } from './layout.js';
import { JournalReader } from './reader.js';

const root = mkdtempSync(join(tmpdir(), 'dunlin-reader-'));
after(() => rmSync(root, { recursive: true, force: true }));

const ALL = Array.from({ length: TEST_PARTITIONS }, (_, partition) => ({ partition, offset: 0 }));

/** Three segments of four batches each. */
function made(): { directory: string; journal: Journal } {
  const directory = mkdtempSync(join(root, 'journal-'));
  const journal = openJournal(realFiles, directory);
  for (let n = 0; n < 12; n++) {
    if (n > 0 && n % 4 === 0) assert.ok(journal.roll());
    journal.add(n % TEST_PARTITIONS, testBatch(0, n));
    journal.writeGroup();
  }
  journal.beginSync(() => undefined);
  return { directory, journal };
}

async function synced(journal: Journal): Promise<void> {
  while (journal.isSyncing) await new Promise((resolve) => setImmediate(resolve));
  if (journal.unsyncedBytes > 0) syncJournal(journal);
}

test('damage in any segment is found when it is read: true batches, then a sentence', async (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
  t.diagnostic(`DUNLIN_SEED=${seed}`);
  const random = new Prng(seed);
  const { directory, journal } = made();
  await synced(journal);
  let found = 0;
  for (let run = 0; run < 400; run++) {
    const path = join(directory, segmentName(random.between(1, 3)));
    const whole = readFileSync(path);
    const bytes = Buffer.from(whole);
    bytes[8_192 + random.below(bytes.length - 8_192)]! ^= 1 << random.below(8);
    writeFileSync(path, run % 5 === 0 ? bytes.subarray(0, bytes.length - 1) : bytes);
    const reader = new JournalReader(directory, journal.control, ALL);
    let seen = 0;
    try {
      for (let batch = reader.poll(); batch !== undefined; batch = reader.poll())
        assert.equal(nameOf(batch), `0/${seen++}`);
    } catch (error) {
      assert.ok(error instanceof DunlinError, String(error));
      assert.ok(error.message.includes(path) && /is damaged at byte \d+/.test(error.message), error.message);
      found++;
    }
    reader.close();
    writeFileSync(path, whole);
  }
  assert.equal(found, 400);
  journal.close();
});

test('a segment that was deleted under a reader is a sentence, and so is an offset that is missing', async () => {
  const { directory, journal } = made();
  await synced(journal);
  const reader = new JournalReader(directory, journal.control, ALL);
  assert.notEqual(reader.poll(), undefined);
  unlinkSync(join(directory, segmentName(2)));
  for (let n = 1; n < 4; n++) assert.equal(nameOf(reader.poll()!), `0/${n}`);
  assert.throws(() => reader.poll(), /segment 2 is no longer in the log/);
  reader.close();
  // Another segment in its place: whole batches, but not the next ones.
  writeFileSync(join(directory, segmentName(2)), readFileSync(join(directory, segmentName(3))));
  const other = new JournalReader(directory, journal.control, ALL);
  for (let n = 0; n < 4; n++) assert.equal(nameOf(other.poll()!), `0/${n}`);
  assert.throws(() => other.poll(), /offset \d of partition \d is missing/);
  other.close();
  journal.close();
});

test('the lag counts batches over segments, no headers; a release does not go back', async () => {
  const { directory, journal } = made();
  await synced(journal);
  const reader = new JournalReader(directory, journal.control, ALL);
  const length = testBatch(0, 0).length;
  for (let left = 12; left > 0; left--) {
    assert.equal(reader.lagBytes(), left * length);
    reader.poll();
  }
  assert.equal(reader.lagBytes(), 0);
  reader.release(1, 7);
  reader.release(1, 3);
  assert.equal(journal.control.getPartition(1, PartitionCell.RELEASED), 7);
  assert.equal(journal.control.get(ControlCell.FIRST_SEGMENT), 1);
  reader.close();
  journal.close();
});
