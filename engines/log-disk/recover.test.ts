import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BATCH_MAGIC, BATCH_VERSION, BatchAt, BatchKind, checkBatch } from '../../core/batch.js';
import { DunlinError } from '../../core/errors.js';
import { viewOf } from '../../core/frame.js';
import { Prng } from '../../core/prng.js';
import { nativeCrc32c } from '../crc32c.js';
import { nameOf, testBatch } from '../log.fixture.js';
import {
  batchesOf,
  failure,
  MemoryFiles,
  openJournal,
  syncJournal,
  TEST_PARTITIONS,
  TEST_TOPIC,
} from './journal.fixture.js';
import { SEGMENT_HEADER_BYTES, SYNCED_NOTE, segmentName } from './layout.js';
import { type JournalStart, recoverJournal } from './recover.js';

const FIRST = segmentName(1);
const SECOND = segmentName(2);
const THIRD = segmentName(3);

/** A journal of one segment; `synced` of its batches were synced one by one, so that later ones say so. */
function made(batches: number, synced = 0, payloadBytes = 30): Uint8Array {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  for (let n = 0; n < batches; n++) {
    journal.add(n % TEST_PARTITIONS, testBatch(0, n, payloadBytes));
    journal.writeGroup();
    if (n < synced) syncJournal(journal);
  }
  journal.close();
  return files.contents.get(FIRST)!;
}

/** A journal of three segments with two batches each. */
function madeThree(): MemoryFiles {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  for (let n = 0; n < 6; n++) {
    if (n > 0 && n % 2 === 0) assert.ok(journal.roll());
    journal.add(n % TEST_PARTITIONS, testBatch(0, n));
    journal.writeGroup();
  }
  journal.close();
  return files;
}

function filesOf(...contents: [string, Uint8Array][]): MemoryFiles {
  const files = new MemoryFiles();
  for (const [name, bytes] of contents) files.contents.set(name, bytes.slice());
  return files;
}

function recover(files: MemoryFiles): JournalStart {
  const start = recoverJournal(files, '/journal', TEST_TOPIC, TEST_PARTITIONS);
  assert.equal(files.openFiles, 0);
  return start;
}

/** The sentence with which the start is refused; nothing may have been changed by then. */
function refusal(files: MemoryFiles): string {
  const before = new Map([...files.contents].map(([name, bytes]) => [name, bytes.slice()]));
  let sentence = '';
  assert.throws(
    () => recover(files),
    (error) => {
      assert.ok(error instanceof DunlinError, String(error));
      sentence = error.message;
      return true;
    },
  );
  assert.deepEqual(files.contents, before);
  return sentence;
}

/** Where batch `n` of a segment begins. */
function startOf(segment: Uint8Array, n: number): number {
  return batchesOf(segment)
    .slice(0, n)
    .reduce((at, { bytes }) => at + bytes.length, SEGMENT_HEADER_BYTES);
}

test('a journal that was closed is found as it was', () => {
  const start = recover(filesOf([FIRST, made(7, 7)]));
  assert.deepEqual(start.offsets, [3, 2, 2]);
  assert.deepEqual(start.timesMs, [0, 0, 0].fill(1_700_000_000_000));
  assert.deepEqual(start.reports, []);
  assert.deepEqual(recover(new MemoryFiles()).offsets, [0, 0, 0]);
});

test('a tail torn at any byte of the last batch is cut, put aside, and reported', () => {
  const whole = made(5, 4);
  const last = startOf(whole, 4);
  for (let length = last + 1; length < whole.length; length++) {
    const files = filesOf([FIRST, whole.subarray(0, length)]);
    const start = recover(files);
    assert.equal(start.end, last);
    assert.deepEqual(start.offsets, [2, 1, 1]);
    assert.deepEqual(start.sizes, [last]);
    assert.equal(start.reports.length, 1);
    assert.match(start.reports[0]!, new RegExp(`cut at byte ${last} `));
    assert.deepEqual(files.contents.get(FIRST), whole.subarray(0, last));
    assert.deepEqual(files.contents.get(`${FIRST}.cut-${last}`), whole.slice(last, length));
    // And again: now it is clean, and goes on.
    assert.deepEqual(recover(files).reports, []);
  }
});

test('a copy that cannot be kept does not keep the journal from being opened', () => {
  const whole = made(5, 4);
  const files = filesOf([FIRST, whole.subarray(0, whole.length - 1)]);
  files.write = () => {
    throw failure('ENOSPC');
  };
  const { reports, end } = recover(files);
  assert.equal(end, startOf(whole, 4));
  assert.match(reports[0]!, /No copy could be kept: ENOSPC/);
});

test('any flipped bit in acknowledged data is refused, with file and byte', () => {
  const whole = made(6, 6, 8);
  // The mark of the last batch covers the first five.
  const end = startOf(whole, 5);
  for (let at = SEGMENT_HEADER_BYTES; at < end; at++) {
    const bytes = whole.slice();
    bytes[at]! ^= 1 << (at % 8);
    const batch = batchesOf(whole).findIndex((_, n) => at < startOf(whole, n + 1));
    const sentence = refusal(filesOf([FIRST, bytes]));
    assert.ok(sentence.includes(`${FIRST} is damaged at byte ${startOf(whole, batch)} `), `byte ${at}: ${sentence}`);
    assert.ok(sentence.includes(`up to byte ${end}`), `byte ${at}: ${sentence}`);
  }
});

test('any flipped bit in what had not been synced is cut, with everything behind it', () => {
  const whole = made(6, 3, 8);
  for (let at = startOf(whole, 3); at < whole.length; at++) {
    const bytes = whole.slice();
    bytes[at]! ^= 1 << (at % 8);
    const batch = batchesOf(whole).findIndex((_, n) => at < startOf(whole, n + 1));
    const files = filesOf([FIRST, bytes]);
    const { end } = recover(files);
    assert.equal(end, startOf(whole, batch));
    assert.deepEqual(files.contents.get(`${FIRST}.cut-${end}`), bytes.slice(end));
  }
});

test('a tail of zeros, as file systems leave them, is cut without a word', () => {
  const whole = made(4, 2);
  const bytes = new Uint8Array(whole.length + 5_000);
  bytes.set(whole);
  const files = filesOf([FIRST, bytes]);
  assert.deepEqual(recover(files).reports, []);
  assert.deepEqual(files.contents.get(FIRST), whole);
  assert.deepEqual(files.list(), [FIRST]);
});

test('a payload that looks like a batch with a mark does not make a torn tail look acknowledged', () => {
  const trap = new Uint8Array(64);
  const view = viewOf(trap);
  view.setUint32(0, BATCH_MAGIC, true);
  view.setUint16(BatchAt.VERSION, BATCH_VERSION, true);
  view.setUint8(BatchAt.KIND, BatchKind.FRAMES);
  view.setUint32(BatchAt.LENGTH, 64, true);
  view.setUint32(BatchAt.MARK, 0x7fff_ffff, true);
  view.setUint16(BatchAt.TOPIC, TEST_TOPIC, true);
  view.setUint32(BatchAt.CRC, nativeCrc32c(trap, BatchAt.LENGTH, 64), true);
  const files = new MemoryFiles();
  const journal = openJournal(files);
  journal.add(0, testBatch(0, 0));
  const last = testBatch(0, 1, 200);
  last.set(trap, last.length - 100);
  journal.add(0, last);
  journal.writeGroup();
  journal.close();
  const whole = files.contents.get(FIRST)!;
  const { end } = recover(filesOf([FIRST, whole.subarray(0, whole.length - 1)]));
  assert.equal(end, startOf(whole, 1));
});

test('a last segment whose header is missing, blank or cut is removed, and the one before is the last again', () => {
  const files = madeThree();
  const header = files.contents.get(THIRD)!.slice(0, SEGMENT_HEADER_BYTES);
  const torn = header.slice();
  torn.fill(0, 4_096);
  torn[50] = 1;
  for (const left of [
    new Uint8Array(0),
    new Uint8Array(SEGMENT_HEADER_BYTES),
    header.subarray(0, 3),
    header.subarray(0, SEGMENT_HEADER_BYTES - 1),
    torn,
  ]) {
    files.contents.set(THIRD, left.slice());
    const { segments, offsets, reports } = recover(files);
    assert.deepEqual(
      segments.map(({ number }) => number),
      [1, 2],
    );
    assert.deepEqual(offsets, [2, 1, 1]);
    assert.match(reports[0]!, /0000000003\.segment was removed/);
    assert.deepEqual(files.list().toSorted(), [FIRST, SECOND, SYNCED_NOTE]);
  }
});

test('the very first segment may be half-written too, but a later one that stands alone may not', () => {
  const files = filesOf([FIRST, new Uint8Array(10)]);
  assert.deepEqual(recover(files).segments, []);
  assert.deepEqual(files.list(), []);
  // Its header says where offsets go on: without it they would begin at 0 again.
  assert.match(refusal(filesOf([THIRD, new Uint8Array(10)])), /0000000003\.segment cannot be used/);
});

test('the segment before a half-written one was synced as a whole: damage in it is not cut', () => {
  const files = madeThree();
  files.contents.set(THIRD, new Uint8Array(0));
  const second = files.contents.get(SECOND)!;
  second[second.length - 1]! ^= 1;
  assert.throws(() => recover(files), /0000000002\.segment is damaged at byte/);
});

test('a damaged header with batches behind it is refused, not taken for a new segment', () => {
  const files = madeThree();
  files.contents.get(THIRD)![100]! ^= 1;
  assert.match(refusal(files), /0000000003\.segment cannot be used: its header is damaged/);
});

test('a missing segment, one of another version, topic or number of partitions, and foreign files are refused', () => {
  const without = madeThree();
  without.contents.delete(SECOND);
  assert.match(refusal(without), /0000000003\.segment follows segment 1: a segment is missing/);

  const newer = madeThree();
  newer.contents.get(THIRD)![4] = 2;
  assert.match(refusal(newer), /0000000003\.segment cannot be used: its version 2 is not known here/);

  assert.throws(() => recoverJournal(madeThree(), '/journal', TEST_TOPIC + 1, TEST_PARTITIONS), /belongs to topic 1/);
  assert.throws(() => recoverJournal(madeThree(), '/journal', TEST_TOPIC, 5), /has 3 partitions, not 5/);

  const foreign = madeThree();
  foreign.contents.set(segmentName(4), new TextEncoder().encode('notes of somebody'));
  assert.match(refusal(foreign), /0000000004\.segment cannot be used: it has only 17 bytes/);
  foreign.contents.set(segmentName(4), new Uint8Array(20_000).fill(7));
  assert.match(refusal(foreign), /it does not begin like a segment/);

  const renamed = madeThree();
  renamed.contents.set(segmentName(4), renamed.contents.get(FIRST)!);
  assert.match(refusal(renamed), /0000000004\.segment says that it is segment 1/);

  const others = madeThree();
  others.contents.set('README', new Uint8Array(3));
  others.contents.set('1.segment', new Uint8Array(3));
  assert.equal(recover(others).segments.length, 3);
  assert.ok(others.list().includes('README'));
});

// --- fuzz -----------------------------------------------------------------------------------------------------------------

const FUZZ_RUNS = Number(process.env['DUNLIN_FUZZ'] ?? 20_000);

/** Changes bytes in one of many ways; true if checksums may have been made right again. */
function mutate(random: Prng, bytes: Uint8Array): { bytes: Uint8Array; forged: boolean } {
  const from = random.below(4) === 0 ? 0 : SEGMENT_HEADER_BYTES;
  const at = from + random.below(bytes.length - from);
  const length = random.below(1 + Math.min(bytes.length - at, random.below(4) === 0 ? 2_000 : 40));
  const changed = bytes.slice();
  switch (random.below(7)) {
    case 0:
      changed[at]! ^= 1 << random.below(8);
      return { bytes: changed, forged: false };
    case 1:
      return { bytes: changed.slice(0, at), forged: false };
    case 2:
      for (let i = at; i < at + length; i++) changed[i] = random.u32() & 0xff;
      return { bytes: changed, forged: false };
    case 3:
      return { bytes: changed.fill(0, at, at + length), forged: false };
    case 4: {
      // A part is there twice.
      const to = SEGMENT_HEADER_BYTES + random.below(bytes.length - SEGMENT_HEADER_BYTES);
      changed.copyWithin(to, at, at + length);
      return { bytes: changed, forged: false };
    }
    case 5: {
      const grown = new Uint8Array(bytes.length + length);
      grown.set(bytes.subarray(0, at));
      grown.set(bytes.subarray(at), at + length);
      return { bytes: grown, forged: false };
    }
    default:
      return { bytes: forge(random, changed), forged: true };
  }
}

/** Changes a byte of a batch and makes its checksum right: structure checks are all that is left. */
function forge(random: Prng, bytes: Uint8Array): Uint8Array {
  const batches = batchesOf(bytes);
  const batch = batches[random.below(batches.length)]!;
  const at = random.below(batch.bytes.length);
  batch.bytes[at] = random.u32() & 0xff;
  batch.view.setUint32(BatchAt.CRC, nativeCrc32c(batch.bytes, BatchAt.LENGTH, batch.bytes.length), true);
  return bytes;
}

/** What was written, by partition and offset. */
type Written = ReadonlyMap<string, string>;

function writtenIn(segment: Uint8Array): Written {
  return new Map(
    batchesOf(segment).map(({ bytes, header }) => {
      return [`${header.partition}/${header.offset}`, Buffer.from(bytes).toString('latin1')];
    }),
  );
}

/**
 * What is left must be whole batches, dense in each partition, and, unless checksums were forged, the ones that were written
 * there. Damage may take the last batch of one partition and leave what another wrote behind it: partitions know nothing of
 * each other.
 */
function checkLeft(files: MemoryFiles, start: JournalStart, written: Written, forged: boolean): void {
  if (start.segments.length === 0) return;
  const left = batchesOf(files.contents.get(FIRST)!);
  const next = Array.from({ length: TEST_PARTITIONS }, () => 0);
  left.forEach(({ bytes, header }) => {
    assert.equal(checkBatch(bytes), undefined);
    assert.equal(header.offset, next[header.partition]!++);
    const place = `${header.partition}/${header.offset}`;
    if (!forged) assert.equal(Buffer.from(bytes).toString('latin1'), written.get(place), place);
  });
  assert.deepEqual(start.offsets, next);
}

test(`${FUZZ_RUNS} damaged segments: a sentence, or whole batches that were written, and nothing else`, (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
  t.diagnostic(`DUNLIN_SEED=${seed}`);
  const random = new Prng(seed);
  const wholes = [made(8, 8), made(8, 4), made(8, 0), made(3, 1, 500)];
  const originals = wholes.map(writtenIn);
  assert.equal(nameOf(batchesOf(wholes[0]!)[7]!), '0/7');
  const counts = { refused: 0, cut: 0, whole: 0 };
  for (let run = 0; run < FUZZ_RUNS; run++) {
    const which = random.below(wholes.length);
    const { bytes, forged } = mutate(random, wholes[which]!);
    const files = filesOf([FIRST, bytes]);
    try {
      const start = recover(files);
      checkLeft(files, start, originals[which]!, forged);
      if (start.end === bytes.length) counts.whole++;
      else counts.cut++;
    } catch (error) {
      if (!(error instanceof DunlinError)) throw new Error(`run ${run}`, { cause: error });
      counts.refused++;
    }
  }
  t.diagnostic(JSON.stringify(counts));
  for (const count of Object.values(counts)) assert.ok(count > FUZZ_RUNS / 100, JSON.stringify(counts));
});

/** A journal of one batch, synced and closed. */
function madeClean(): MemoryFiles {
  const files = new MemoryFiles();
  const journal = openJournal(files);
  journal.add(0, testBatch(0, 0));
  journal.writeGroup();
  syncJournal(journal);
  journal.close();
  return files;
}

test('after a clean close damage in acknowledged data is refused, in the last group too', () => {
  const files = madeClean();
  files.contents.get(FIRST)![SEGMENT_HEADER_BYTES + 80]! ^= 1;
  assert.match(refusal(files), /damaged at byte .* acknowledged/);
});

test('a journal that ends before what was synced is refused', () => {
  const files = madeClean();
  files.contents.set(FIRST, files.contents.get(FIRST)!.slice(0, SEGMENT_HEADER_BYTES));
  assert.match(refusal(files), /the file ends/);
});
