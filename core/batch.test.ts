import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  BatchAt,
  BatchBuilder,
  BatchKind,
  checkBatch,
  exceptDevice,
  exceptedDevice,
  openBatch,
  RECIPIENT_BYTES,
  readBatchHeader,
  readU53LE,
  recipientHigh,
  SourceKind,
  sourceId,
  stampBatch,
  TARGET_BYTES,
  TargetAt,
  TargetFlag,
  writeU53LE,
} from './batch.js';
import { anyFrame, hexOf } from './frame.fixture.js';
import { encodeFrame, type Frame, frameLength, Kind, makeFrame, readFrame, viewOf } from './frame.js';
import { BATCH_BYTES_MAX, BATCH_HEADER_BYTES } from './limits.js';

const ping = encodeFrame(makeFrame({ kind: Kind.PING, extra: 9 }));
const PING_HEX =
  '9bcc25cc00cf0000000000000000cf0000000000000000cf0000000000000000ce00000000ce00000000' +
  'cf0000000000000000cf0000000000000000ce00000009c600000000';

test('a batch of frames has the bytes it always had', () => {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 7), 2 ** 32 + 5, 3, 2);
  builder.frame(ping, 0, ping.length);
  const bytes = builder.finish();
  stampBatch(viewOf(bytes), 0, 1, 0x0203, 2 ** 32 + 9, 1_700_000_000_000);
  const header =
    '444e4c31' + // magic
    '01000100' + // version 1, kind FRAMES
    '00000000' + // crc: the log's
    '86000000' + // 134 bytes
    '01000000' + // one entry
    '07000001' + // gateway 7
    '0500000001000000' + // source sequence
    '03000000' + // source epoch
    '01000302' + // topic, partition
    '0900000001000000' + // offset
    '0068e5cf8b010000' + // time
    '02000000' + // index
    '00000000';
  assert.equal(hexOf(bytes), header + PING_HEX);
  assert.equal(checkBatch(bytes), undefined);
});

test('lists of recipients and of targets have the bytes they always had', () => {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FANOUT, 0, 0, 0);
  builder.frame(ping, 0, ping.length);
  builder.list();
  builder.recipient(0x0102_0304, 5);
  builder.recipient(6, 0);
  assert.equal(hexOf(builder.finish().subarray(64)), `${PING_HEX}0200000004030201050000000600000000000000`);
  assert.equal(exceptDevice(5, 0), 5);
  assert.deepEqual(
    [recipientHigh(exceptDevice(0x1fff, 127)), exceptedDevice(exceptDevice(0x1fff, 127))],
    [0x1fff, 127],
  );
  builder.begin(BatchKind.EGRESS, 0, 0, 0);
  builder.frame(ping, 0, ping.length);
  builder.list();
  builder.target(1, 2, 3, 2 ** 32 * 4 + 5, TargetFlag.ENVELOPE | TargetFlag.TRANSIENT);
  const target = '010000000200000003000000050000000400000005000000';
  assert.equal(hexOf(builder.finish().subarray(64)), `${PING_HEX}01000000${target}`);
});

interface Entry {
  readonly frame: Frame;
  readonly list: readonly number[];
}

const anyEntries: fc.Arbitrary<Entry[]> = fc.array(
  fc.record({ frame: anyFrame, list: fc.array(fc.maxSafeNat(), { maxLength: 5 }) }, { noNullPrototype: true }),
  { maxLength: 6 },
);
const anyKind = fc.constantFrom(BatchKind.FRAMES, BatchKind.FANOUT, BatchKind.EGRESS);

function build(builder: BatchBuilder, kind: number, entries: readonly Entry[]): Uint8Array {
  builder.begin(kind, sourceId(SourceKind.USER, 3), 77, 5, 1);
  for (const { frame, list } of entries) {
    const encoded = encodeFrame(frame);
    builder.frame(encoded, 0, encoded.length);
    if (kind === BatchKind.FRAMES) continue;
    builder.list();
    for (const id of list) {
      if (kind === BatchKind.FANOUT) builder.recipient(id >>> 0, Math.floor(id / 2 ** 32));
      else builder.target(id >>> 0, 1, 2, id, TargetFlag.SENT);
    }
  }
  return builder.finish();
}

/** Reads a batch back, with nothing but offsets. */
function entriesOf(bytes: Uint8Array): Entry[] {
  const { view, header } = openBatch(bytes);
  const entries: Entry[] = [];
  let at: number = BatchAt.ENTRIES;
  for (let n = 0; n < header.count; n++) {
    const frame = readFrame(bytes, view, at);
    at += frameLength(view, at);
    const list: number[] = [];
    if (header.kind !== BatchKind.FRAMES) {
      const size = header.kind === BatchKind.FANOUT ? RECIPIENT_BYTES : TARGET_BYTES;
      const idAt = header.kind === BatchKind.FANOUT ? 0 : TargetAt.POSITION_LOW;
      for (let left = view.getUint32(at, true), item = at + 4; left > 0; left--, item += size) {
        list.push(readU53LE(view, item + idAt));
      }
      at += 4 + list.length * size;
    }
    entries.push({ frame, list });
  }
  return entries;
}

test('what is built is what is read, with a builder that is used again and grows', () => {
  const builder = new BatchBuilder(64);
  fc.assert(
    fc.property(anyKind, anyEntries, (kind, entries) => {
      const bytes = build(builder, kind, entries);
      assert.equal(checkBatch(bytes), undefined);
      const { header } = openBatch(bytes);
      assert.equal(header.byteLength, bytes.length);
      assert.equal(builder.byteLength, bytes.length);
      assert.equal(header.count, entries.length);
      assert.deepEqual(
        [header.kind, header.sourceId, header.sourceSeq, header.sourceEpoch, header.index],
        [kind, sourceId(SourceKind.USER, 3), 77, 5, 1],
      );
      const expected = kind === BatchKind.FRAMES ? entries.map(({ frame }) => ({ frame, list: [] })) : entries;
      assert.deepEqual(entriesOf(bytes), expected);
    }),
  );
});

test('a batch cut or extended anywhere, or with a count that lies, is none', () => {
  fc.assert(
    fc.property(anyKind, anyEntries, (kind, entries) => {
      const built = build(new BatchBuilder(), kind, entries);
      const longer = new Uint8Array(built.length + 1);
      longer.set(built);
      assert.notEqual(checkBatch(longer), undefined, 'extended');
      viewOf(longer).setUint32(BatchAt.LENGTH, longer.length, true);
      assert.notEqual(checkBatch(longer), undefined, 'extended, and says so');
      for (let end = 0; end < built.length; end += 1 + Math.floor(built.length / 50)) {
        const cut = built.slice(0, end);
        assert.notEqual(checkBatch(cut), undefined, `cut at ${end}`);
        if (end < BATCH_HEADER_BYTES) continue;
        viewOf(cut).setUint32(BatchAt.LENGTH, end, true);
        assert.notEqual(checkBatch(cut), undefined, `cut at ${end}, and says so`);
      }
      for (const count of [entries.length + 1, 0xffff_ffff, ...(entries.length > 0 ? [entries.length - 1] : [])]) {
        const lying = built.slice();
        viewOf(lying).setUint32(BatchAt.COUNT, count, true);
        assert.notEqual(checkBatch(lying), undefined, `${count} entries`);
      }
    }),
    { numRuns: 40 },
  );
});

test('each thing that is wrong with a batch is named', () => {
  const good = build(new BatchBuilder(), BatchKind.FANOUT, [{ frame: makeFrame({ kind: 1 }), list: [1, 2] }]);
  const bad = (change: (view: DataView) => void): string | undefined => {
    const copy = good.slice();
    change(viewOf(copy));
    return checkBatch(copy);
  };
  assert.match(checkBatch(good.subarray(0, 63))!, /63 bytes is shorter than its header/);
  assert.match(bad((view) => view.setUint8(0, 0))!, /magic/);
  assert.match(bad((view) => view.setUint16(BatchAt.VERSION, 2, true))!, /version 2 is not known/);
  assert.match(bad((view) => view.setUint32(BatchAt.LENGTH, 5, true))!, /says 5 bytes/);
  assert.match(bad((view) => view.setUint8(BatchAt.KIND, 9))!, /kind 9 is not known/);
  assert.match(bad((view) => view.setUint32(BatchAt.COUNT, 0, true))!, /bytes follow/);
  assert.match(bad((view) => view.setUint8(BatchAt.ENTRIES, 0x9a))!, /entry 0 is no frame/);
  assert.match(bad((view) => view.setUint32(BATCH_HEADER_BYTES + 66, 0xffff_ffff))!, /entry 0 is cut/);
  assert.match(bad((view) => view.setUint32(BATCH_HEADER_BYTES + 70, 0xffff_ffff, true))!, /entry 0 is cut/);
});

test('a header is read at any place, and stamping changes only what the log stamps', () => {
  const bytes = build(new BatchBuilder(), BatchKind.FRAMES, [{ frame: makeFrame({ kind: 1 }), list: [] }]);
  const moved = new Uint8Array(bytes.length + 24);
  moved.set(bytes, 24);
  const view = viewOf(moved);
  const before = readBatchHeader(view, 24);
  stampBatch(view, 24, 1, 200, Number.MAX_SAFE_INTEGER, 2 ** 41);
  assert.deepEqual(readBatchHeader(view, 24), {
    ...before,
    topic: 1,
    partition: 200,
    offset: Number.MAX_SAFE_INTEGER,
    time: 2 ** 41,
  });
});

test('an opened entry is written in place, and a builder says when the next would overflow', () => {
  const builder = new BatchBuilder(64);
  assert.ok(builder.isEmpty);
  builder.begin(BatchKind.FRAMES, 1, 1, 1);
  assert.ok(builder.isEmpty);
  const at = builder.open(ping.length);
  builder.bytes.set(ping, at);
  assert.ok(!builder.isEmpty);
  assert.equal(checkBatch(builder.finish()), undefined);
  const left = BATCH_BYTES_MAX - builder.byteLength;
  assert.ok(!builder.wouldOverflow(left) && builder.wouldOverflow(left + 1));
  builder.reset();
  assert.ok(builder.isEmpty);
  assert.equal(builder.byteLength, 0);
});

test('a little-endian number below 2^53 comes back', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const view = new DataView(new ArrayBuffer(8));
      writeU53LE(view, 0, value);
      assert.equal(view.getBigUint64(0, true), BigInt(value));
      assert.equal(readU53LE(view, 0), value);
    }),
  );
});
