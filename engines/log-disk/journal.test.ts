import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchAt } from '../../core/batch.js';
import { Durability } from '../../core/ports.js';
import { nameOf, testBatch, testBatchOf } from '../log.fixture.js';
import { batchesOf, failure, MemoryFiles, openJournal, syncJournal } from './journal.fixture.js';

import { byteOf, ControlCell, PartitionCell, SEGMENT_HEADER_BYTES, segmentName, segmentOf } from './layout.js';

const FIRST = segmentName(1);
const SECOND = segmentName(2);

test('a group is written at once; readers see it when durability says so', () => {
  for (const durability of Object.values(Durability)) {
    const files = new MemoryFiles();
    const journal = openJournal(files, undefined, { durability });
    const { control } = journal;
    assert.equal(journal.add(1, testBatch(0, 1)), 0);
    assert.equal(journal.add(1, testBatch(0, 2)), 1);
    assert.equal(files.contents.get(FIRST)!.length, SEGMENT_HEADER_BYTES);
    assert.equal(control.getPartition(1, PartitionCell.READABLE_END), 0);
    assert.ok(journal.writeGroup());
    const lazy = durability === Durability.LAZY;
    assert.equal(control.getPartition(1, PartitionCell.READABLE_END), lazy ? 2 : 0);
    assert.equal(control.getPartition(1, PartitionCell.DURABLE_END), 0);
    assert.equal(byteOf(control.get(ControlCell.READABLE)) > SEGMENT_HEADER_BYTES, lazy);
    syncJournal(journal);
    assert.equal(control.getPartition(1, PartitionCell.READABLE_END), 2);
    assert.equal(control.getPartition(1, PartitionCell.DURABLE_END), 2);
    assert.equal(byteOf(control.get(ControlCell.READABLE)), files.contents.get(FIRST)!.length);
    assert.equal(control.get(ControlCell.DURABLE), control.get(ControlCell.READABLE));
    journal.close();
    assert.equal(files.openFiles, 0);
  }
});

test('what is written while a sync is under way is not durable when it ends', () => {
  const files = new MemoryFiles();
  const ends: (() => void)[] = [];
  files.sync = (_fd, done) => ends.push(() => done(null));
  const journal = openJournal(files);
  journal.add(0, testBatch(0, 1));
  journal.writeGroup();
  syncJournal(journal);
  journal.add(0, testBatch(0, 2));
  journal.writeGroup();
  assert.ok(journal.isSyncing);
  ends.shift()!();
  assert.equal(journal.control.getPartition(0, PartitionCell.DURABLE_END), 1);
  assert.ok(journal.unsyncedBytes > 0);
  syncJournal(journal);
  ends.shift()!();
  assert.equal(journal.control.getPartition(0, PartitionCell.DURABLE_END), 2);
  assert.equal(journal.unsyncedBytes, 0);
});

test('the mark of a batch is how far the journal had been synced when it was added', () => {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  const ends: number[] = [];
  for (let n = 0; n < 4; n++) {
    journal.add(0, testBatch(0, n));
    journal.writeGroup();
    if (n % 2 === 1) syncJournal(journal);
    ends.push(byteOf(journal.writtenPosition));
  }
  const marks = batchesOf(files.contents.get(FIRST)!).map(({ view }) => view.getUint32(BatchAt.MARK, true));
  assert.deepEqual(marks, [SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES, ends[1], ends[1]]);
});

test('logged time does not fall, also when the clock does, nor over a restart', () => {
  const files = new MemoryFiles();
  const clock = [50, 70, 20, 90, 10];
  let journal = openJournal(files, undefined, { nowMs: () => clock.shift()! });
  for (let n = 0; n < 4; n++) journal.add(0, testBatch(0, n));
  journal.writeGroup();
  journal.close();
  journal = openJournal(files, undefined, { nowMs: () => clock.shift()! });
  journal.add(0, testBatch(0, 4));
  journal.writeGroup();
  const times = batchesOf(files.contents.get(FIRST)!).map(({ header }) => header.time);
  assert.deepEqual(times, [50, 70, 70, 90, 90]);
});

test('a disk that is full in the middle of a group leaves nothing of it, and gives its offsets again', () => {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  journal.add(2, testBatch(0, 1));
  journal.writeGroup();
  const before = files.contents.get(FIRST)!.length;
  const write = MemoryFiles.prototype.write.bind(files);
  let calls = 0;
  files.write = (fd, bytes, start, length, at) => {
    if (calls++ === 1) throw failure('ENOSPC');
    return write(fd, bytes, start, Math.min(length, 100), at);
  };
  assert.equal(journal.add(2, testBatch(0, 2)), 1);
  assert.equal(journal.add(1, testBatch(0, 3)), 0);
  assert.equal(journal.writeGroup(), false);
  assert.equal(calls, 2);
  assert.equal(files.contents.get(FIRST)!.length, before);
  assert.equal(journal.groupBytes, 0);
  // Short writes are gone on with.
  calls = 2;
  assert.equal(journal.add(2, testBatch(0, 4)), 1);
  assert.ok(journal.writeGroup());
  assert.ok(calls > 3);
  assert.deepEqual(batchesOf(files.contents.get(FIRST)!).map(nameOf), ['0/1', '0/4']);
});

test('any other error of a write is thrown, and what was written is cut', () => {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  const write = MemoryFiles.prototype.write.bind(files);
  let calls = 0;
  files.write = (fd, bytes, start, _length, at) => {
    if (calls++ === 1) throw failure('EIO');
    return write(fd, bytes, start, 10, at);
  };
  journal.add(0, testBatch(0, 1));
  assert.throws(() => journal.writeGroup(), /EIO/);
  assert.equal(files.contents.get(FIRST)!.length, SEGMENT_HEADER_BYTES);
});

test('a segment that cannot be begun for want of space is taken away, and the old one goes on', () => {
  for (const failing of ['open', 'write', 'syncNow', 'syncDirectory'] as const) {
    const files = new MemoryFiles();
    const journal = openJournal(files, undefined, { segmentBytes: SEGMENT_HEADER_BYTES + 1_000 });
    journal.add(0, testBatchOf(900));
    journal.writeGroup();
    assert.ok(journal.mustRoll(900));
    let calls = 0;
    const original = MemoryFiles.prototype[failing].bind(files) as (...args: unknown[]) => unknown;
    Object.assign(files, {
      [failing]: (...args: unknown[]) => {
        // The first syncNow ends the old segment.
        if (failing !== 'syncNow' || calls++ === 1) throw failure('ENOSPC');
        return original(...args);
      },
    });
    assert.equal(journal.roll(), false);
    assert.deepEqual(files.list(), [FIRST]);
    assert.equal(files.openFiles, 1);
    Object.assign(files, { [failing]: original });
    assert.ok(journal.roll());
    assert.equal(journal.add(0, testBatchOf(900)), 1);
    assert.ok(journal.writeGroup());
    journal.close();
    assert.equal(files.openFiles, 0);
    assert.equal(batchesOf(files.contents.get(SECOND)!)[0]?.header.offset, 1);
  }
});

/** Fills so many segments of about `bytes` each. */
function fill(journal: ReturnType<typeof openJournal>, segments: number, bytes: number): void {
  for (let n = 0; n < segments; n++) {
    for (let partition = 0; partition < 3; partition++) journal.add(partition, testBatchOf(Math.floor(bytes / 3)));
    assert.ok(journal.writeGroup());
    assert.ok(journal.roll());
  }
}

function firstSegment(files: MemoryFiles): string {
  return files.list().toSorted()[0]!;
}

test('retention counts what segments really hold, also of those from before a restart', () => {
  const files = new MemoryFiles();
  const options = { segmentBytes: 1 << 20, retainBytes: 45_000 };
  let journal = openJournal(files, undefined, options);
  // Far smaller than a segment may be.
  fill(journal, 3, 3_000);
  journal.close();
  journal = openJournal(files, undefined, options);
  for (let partition = 0; partition < 3; partition++) {
    journal.control.setPartition(partition, PartitionCell.RELEASED, 1_000);
  }
  fill(journal, 1, 3_000);
  // Four of 11,192 bytes and the new one of 8,192 are 52,960: without the first, too little would be kept.
  assert.equal(firstSegment(files), FIRST);
  fill(journal, 1, 3_000);
  assert.equal(firstSegment(files), SECOND);
  assert.equal(journal.control.get(ControlCell.FIRST_SEGMENT), 2);
  assert.equal(segmentOf(journal.writtenPosition), 6);
});

test('a segment is deleted only when every partition is past it', () => {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  fill(journal, 3, 3_000);
  journal.control.setPartition(0, PartitionCell.RELEASED, 3);
  journal.control.setPartition(1, PartitionCell.RELEASED, 3);
  fill(journal, 1, 3_000);
  assert.equal(firstSegment(files), FIRST);
  journal.control.setPartition(2, PartitionCell.RELEASED, 2);
  fill(journal, 1, 3_000);
  assert.equal(firstSegment(files), segmentName(3));
  assert.equal(openJournal(files).control.get(ControlCell.FIRST_SEGMENT), 3);
});
