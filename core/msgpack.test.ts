import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import {
  ALL_WIDTHS,
  type ArrayWidth,
  anyFrame,
  type BinWidth,
  encodeLoosely,
  itemsOf,
  type Width,
  writeBinary,
  writeNumber,
} from './frame.fixture.js';
import { encodeFrame, type Frame, Kind, makeFrame, scanFrame, viewOf } from './frame.js';
import { PAYLOAD_BYTES_MAX, SEQUENCE_MAX } from './limits.js';
import { MsgpackReader, readLooseFrame } from './msgpack.js';

function assertRead(bytes: Uint8Array, frame: Frame): void {
  const read = readLooseFrame(bytes, 0, bytes.length);
  assert.ok(read !== undefined, Buffer.from(bytes).toString('hex'));
  assert.equal(read.end, bytes.length);
  assert.deepEqual({ ...read.frame, payload: [...read.frame.payload] }, { ...frame, payload: [...frame.payload] });
  const canonical = encodeFrame(read.frame);
  assert.equal(scanFrame(canonical, viewOf(canonical), 0, canonical.length), canonical.length);
  assert.ok(Buffer.from(canonical).equals(encodeFrame(frame)));
}

const anyWidth = fc.constantFrom(...ALL_WIDTHS);
const anyBin = fc.constantFrom<BinWidth>('bin8', 'bin16', 'bin32');
const anyArray = fc.constantFrom<ArrayWidth>('fix', 'a16', 'a32');
/** Small numbers fit into narrow widths. */
const anySmallFrame = fc.tuple(anyFrame, fc.constantFrom(1, 2 ** 20, 2 ** 40)).map(([frame, divisor]) =>
  makeFrame({
    kind: frame.kind,
    flags: frame.flags,
    convA: Math.floor(frame.convA / divisor),
    convB: Math.floor(frame.convB / divisor),
    device: frame.device % 100,
    seq: frame.seq % 70_000,
    time: Math.floor(frame.time / divisor),
    payload: frame.payload,
  }),
);

test('a frame in any integer, array and binary width is read the same, and re-encodes canonically', () => {
  fc.assert(
    fc.property(
      fc.oneof(anyFrame, anySmallFrame),
      fc.array(anyWidth, { minLength: 10, maxLength: 10 }),
      anyBin,
      anyArray,
      (frame, widths, bin, array) => {
        assertRead(encodeLoosely(frame, widths, bin, array), frame);
      },
    ),
    { numRuns: 500 },
  );
});

test('each width, in every place, up to its highest value', () => {
  const highest: Record<Width, number> = {
    fix: 0x7f,
    u8: 0xff,
    u16: 0xffff,
    u32: 0xffff_ffff,
    u64: Number.MAX_SAFE_INTEGER,
    i8: 0x7f,
    i16: 0x7fff,
    i32: 0x7fff_ffff,
    i64: Number.MAX_SAFE_INTEGER,
    f64: Number.MAX_SAFE_INTEGER,
  };
  for (const width of ALL_WIDTHS) {
    const value = highest[width];
    const frame = makeFrame({
      kind: Math.min(value, 0xff),
      flags: Math.min(value, 0xfe),
      convA: value,
      convB: value,
      device: value,
      counter: Math.min(value, SEQUENCE_MAX),
      seq: Math.min(value, SEQUENCE_MAX),
      inbox: value,
      time: value,
      extra: Math.min(value, SEQUENCE_MAX),
      payload: Uint8Array.of(1),
    });
    const widths = Array.from({ length: 10 }, () => width);
    assertRead(encodeLoosely(frame, widths, 'bin8', 'fix'), frame);
  }
});

test('frames of a msgpack library are read, with numbers, with bigints and with floats', () => {
  fc.assert(
    fc.property(fc.oneof(anyFrame, anySmallFrame), (frame) => {
      const items = itemsOf(frame);
      assertRead(encode(items), frame);
      assertRead(
        encode(
          items.map((item) => (typeof item === 'number' ? BigInt(item) : item)),
          { useBigInt64: true },
        ),
        frame,
      );
      assertRead(encode(items, { forceIntegerToFloat: true }), frame);
    }),
  );
});

test('a canonical frame is read as well, and what follows a frame is left alone', () => {
  fc.assert(
    fc.property(anyFrame, fc.nat(7), (frame, offset) => {
      const encoded = encodeFrame(frame);
      const bytes = new Uint8Array(offset + encoded.length + 9).fill(0xc1);
      bytes.set(encoded, offset);
      const read = readLooseFrame(bytes, offset, bytes.length);
      assert.equal(read?.end, offset + encoded.length);
      assert.deepEqual(itemsOf(read.frame).slice(0, 10), itemsOf(frame).slice(0, 10));
    }),
  );
});

test('a frame cut at any byte is no frame, in any encoding', () => {
  const frame = makeFrame({ kind: Kind.MESSAGE, convB: 300, time: 2 ** 41, payload: new Uint8Array(30) });
  for (const bytes of [
    encodeFrame(frame),
    encode(itemsOf(frame)),
    encode(itemsOf(frame), { forceIntegerToFloat: true }),
  ]) {
    for (let end = 0; end < bytes.length; end++)
      assert.equal(readLooseFrame(bytes, 0, end), undefined, `cut at ${end}`);
  }
});

/** A frame of which one item is the given bytes. */
function withItem(index: number, item: readonly number[]): Uint8Array {
  const items = Array.from({ length: 10 }, () => [0x01]);
  const bytes = [...items, [0xc4, 0]].flatMap((other, i) => (i === index ? item : other));
  return Uint8Array.of(0x9b, ...bytes);
}

test('wrong types and values out of range are refused in every place', () => {
  const nil = [0xc0];
  const wrong: [string, readonly number[]][] = [
    ['nil', nil],
    ['never used', [0xc1]],
    ['true', [0xc3]],
    ['string', [0xa1, 0x61]],
    ['array', [0x91, 0x01]],
    ['map', [0x81, 0x01, 0x01]],
    ['extension', [0xd4, 1, 1]],
    ['timestamp', [0xd6, 0xff, 0, 0, 0, 0]],
    ['negative fixint', [0xff]],
    ['-1 as int8', [0xd0, 0xff]],
    ['-1 as int16', [0xd1, 0xff, 0xff]],
    ['-1 as int32', [0xd2, 0xff, 0xff, 0xff, 0xff]],
    ['-1 as int64', [0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['2^53', [0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0]],
    ['2^64 - 1', [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ['1.5', [0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]],
    ['NaN', [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]],
    ['infinity', [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]],
    [
      'float 2^53',
      writeNumber(2 ** 53 - 1, 'f64')
        .with(1, 0x43)
        .with(2, 0x40)
        .fill(0, 3),
    ],
    ['float32', [0xca, 0x3f, 0x80, 0, 0]],
  ];
  const valid = withItem(-1, nil);
  assert.equal(readLooseFrame(valid, 0, valid.length)?.end, valid.length, 'the frame is good without the wrong item');
  for (let place = 0; place < 11; place++) {
    for (const [what, item] of wrong) {
      const bytes = withItem(place, item);
      assert.equal(readLooseFrame(bytes, 0, bytes.length), undefined, `${what} as item ${place}`);
    }
  }
  for (const place of [0, 1]) {
    const bytes = withItem(place, [0xcd, 1, 0]);
    assert.equal(readLooseFrame(bytes, 0, bytes.length), undefined, 'above 8 bits');
  }
  for (const place of [5, 6, 9]) {
    const bytes = withItem(place, [0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert.equal(readLooseFrame(bytes, 0, bytes.length), undefined, 'above 32 bits');
  }
  assert.equal(readLooseFrame(Uint8Array.of(0x9a, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0xc4, 0), 0, 12), undefined, 'ten items');
});

test('payloads above their limit are refused, whatever they claim', () => {
  const frame = makeFrame({ kind: Kind.MESSAGE });
  const head = [...encode(itemsOf(frame))].slice(0, -2);
  for (const length of [PAYLOAD_BYTES_MAX + 1, 0xffff_ffff]) {
    const bytes = Uint8Array.from([
      ...head,
      0xc6,
      length >>> 24,
      (length >>> 16) & 0xff,
      (length >>> 8) & 0xff,
      length & 0xff,
    ]);
    assert.equal(readLooseFrame(bytes, 0, bytes.length), undefined);
  }
  const most = new Uint8Array(PAYLOAD_BYTES_MAX);
  assertRead(Uint8Array.from([...head, ...writeBinary(most, 'bin32')]), { ...frame, payload: most });
});

test('nesting a thousand deep, in any place, is refused without following it', () => {
  const deep = Array.from({ length: 1_000 }, () => 0x91);
  for (const opener of [0x91, 0x9b, 0x81, 0xdd]) {
    const bytes = new Uint8Array(10_000).fill(opener);
    assert.equal(readLooseFrame(bytes, 0, bytes.length), undefined);
  }
  for (let place = 0; place < 11; place++) {
    const bytes = withItem(place, deep);
    assert.equal(readLooseFrame(bytes, 0, bytes.length), undefined);
  }
});

test('after a failed read every read is 0 and nothing moves', () => {
  const reader = new MsgpackReader(Uint8Array.of(0xc0, 0x01, 0x91, 0xc4, 0), 0, 5);
  assert.equal(reader.integer(10), 0);
  assert.ok(reader.failed);
  const { offset } = reader;
  assert.equal(reader.integer(10), 0);
  assert.equal(reader.arrayLength(), 0);
  assert.equal(reader.binary(10).length, 0);
  assert.equal(reader.offset, offset);
});
