import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decode, decodeMulti } from '@msgpack/msgpack';
import fc from 'fast-check';
import { anyFrame, encodeAll, hexOf, itemsOf, TELLING_BYTES } from './frame.fixture.js';
import {
  At,
  encodeFrame,
  Flag,
  frameLength,
  isClientKind,
  isConversationKind,
  isSequenced,
  Kind,
  makeFrame,
  payloadBytesMax,
  readFrame,
  readFrames,
  readU53,
  Scan,
  scanFrame,
  viewOf,
  writeFrame,
  writeU53,
} from './frame.js';
import { FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX, TABLE_PAYLOAD_BYTES_MAX } from './limits.js';

const sample = makeFrame({
  kind: Kind.MESSAGE,
  flags: Flag.ENVELOPE,
  convA: 5,
  convB: 2 ** 45 - 1,
  device: 5 * 128 + 3,
  counter: 7,
  seq: 0x0102_0304,
  inbox: 2 ** 32 + 1,
  time: 1_700_000_000_000,
  extra: 86_400,
  payload: Uint8Array.of(0x68, 0x69),
});

const SAMPLE_HEX =
  '9bcc01cc02cf0000000000000005cf00001fffffffffffcf0000000000000283ce00000007ce01020304' +
  'cf0000000100000001cf0000018bcfe56800ce00015180c6000000026869';

test('a frame has the bytes it always had', () => {
  assert.equal(hexOf(encodeFrame(sample)), SAMPLE_HEX);
  assert.equal(
    hexOf(encodeFrame(makeFrame({ kind: Kind.PING }))),
    '9bcc25cc00cf0000000000000000cf0000000000000000cf0000000000000000ce00000000ce00000000' +
      'cf0000000000000000cf0000000000000000ce00000000c600000000',
  );
});

test('each field lies where its offset says', () => {
  const bytes = encodeFrame(sample);
  const view = viewOf(bytes);
  assert.equal(bytes[At.KIND], sample.kind);
  assert.equal(bytes[At.FLAGS], sample.flags);
  assert.equal(readU53(view, At.CONV_A), sample.convA);
  assert.equal(readU53(view, At.CONV_B), sample.convB);
  assert.equal(readU53(view, At.DEVICE), sample.device);
  assert.equal(view.getUint32(At.COUNTER), sample.counter);
  assert.equal(view.getUint32(At.SEQ), sample.seq);
  assert.equal(readU53(view, At.INBOX), sample.inbox);
  assert.equal(readU53(view, At.TIME), sample.time);
  assert.equal(view.getUint32(At.EXTRA), sample.extra);
  assert.equal(view.getUint32(At.LENGTH), sample.payload.length);
  assert.equal(bytes[At.PAYLOAD], 0x68);
});

test('what is encoded is scanned, measured and decoded as it was, anywhere in a buffer', () => {
  fc.assert(
    fc.property(anyFrame, fc.nat(9), (frame, offset) => {
      const encoded = encodeFrame(frame);
      const bytes = new Uint8Array(offset + encoded.length + 5).fill(0xee);
      const view = viewOf(bytes);
      assert.equal(writeFrame(bytes, view, offset, frame), offset + encoded.length);
      assert.equal(scanFrame(bytes, view, offset, bytes.length), encoded.length);
      assert.equal(frameLength(view, offset), encoded.length);
      assert.deepEqual(readFrame(bytes, view, offset), frame);
      assert.ok(
        bytes.subarray(0, offset).every((byte) => byte === 0xee),
        'bytes before it stay',
      );
      assert.ok(
        bytes.subarray(offset + encoded.length).every((byte) => byte === 0xee),
        'bytes behind it stay',
      );
    }),
  );
});

test('any msgpack library reads a canonical frame, also one behind another', () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 4 }), (frames) => {
      const bytes = encodeAll(frames);
      const expected = frames.map(itemsOf);
      assert.deepEqual([...decodeMulti(bytes)], expected);
      assert.deepEqual(decode(encodeFrame(frames[0]!)), expected[0]);
      assert.deepEqual(readFrames(bytes), frames);
    }),
  );
});

test('a number below 2^53 comes back from its eight bytes', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const view = new DataView(new ArrayBuffer(8));
      writeU53(view, 0, value);
      assert.equal(view.getBigUint64(0), BigInt(value));
      assert.equal(readU53(view, 0), value);
    }),
  );
});

/** The header's items: type byte and width of the value. */
const LAYOUT: readonly (readonly [number, number])[] = [
  [0xcc, 1],
  [0xcc, 1],
  [0xcf, 8],
  [0xcf, 8],
  [0xcf, 8],
  [0xce, 4],
  [0xce, 4],
  [0xcf, 8],
  [0xcf, 8],
  [0xce, 4],
  [0xc6, 4],
];

/** What scanFrame must answer, from the layout's table alone. */
function scanNaively(bytes: Uint8Array, offset: number, end: number): number {
  if (offset >= end) return Scan.TRUNCATED;
  const there = bytes.slice(offset, end);
  if (there.length < FRAME_HEADER_BYTES || there[0] !== 0x9b) return Scan.NOT_CANONICAL;
  let at = 1;
  const values: bigint[] = [];
  for (const [type, width] of LAYOUT) {
    if (there[at] !== type) return Scan.NOT_CANONICAL;
    const value = BigInt(`0x${hexOf(there.subarray(at + 1, at + 1 + width))}`);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) return Scan.NOT_CANONICAL;
    values.push(value);
    at += 1 + width;
  }
  assert.equal(at, FRAME_HEADER_BYTES);
  const length = Number(values[10]!);
  const most = Number(values[1]!) % 2 === 1 ? 262_144 : 65_536;
  if (length > most) return Scan.TOO_LARGE;
  return at + length > there.length ? Scan.TRUNCATED : at + length;
}

test('scanning agrees with a naive reading of the layout, for frames with wrong bytes and cut ones', () => {
  const place = fc.oneof({ weight: 3, arbitrary: fc.nat(69) }, { weight: 1, arbitrary: fc.nat(400) });
  const byte = fc.oneof(fc.constantFrom(...TELLING_BYTES), fc.nat(0xff));
  const change = fc.record({ place, byte });
  const seen = new Set<string>();
  fc.assert(
    fc.property(anyFrame, fc.array(change, { maxLength: 3 }), fc.nat(80), fc.nat(5), (frame, changes, cut, offset) => {
      const bytes = new Uint8Array(offset + FRAME_HEADER_BYTES + frame.payload.length);
      const view = viewOf(bytes);
      writeFrame(bytes, view, offset, frame);
      for (const { place: at, byte: value } of changes) if (offset + at < bytes.length) bytes[offset + at] = value;
      const end = Math.max(0, bytes.length - (cut % 3 === 0 ? cut : 0));
      const result = scanFrame(bytes, view, offset, end);
      assert.equal(result, scanNaively(bytes, offset, end));
      seen.add(result > 0 ? 'frame' : `${result}`);
    }),
    { numRuns: 3_000 },
  );
  assert.deepEqual([...seen].toSorted(), ['-1', '-2', '-3', 'frame'], 'every answer was seen');
});

test('a frame cut at any byte is no frame', () => {
  const bytes = encodeFrame(sample);
  const view = viewOf(bytes);
  for (let end = 0; end < bytes.length; end++) assert.ok(scanFrame(bytes, view, 0, end) < 0, `cut at ${end}`);
});

test('payloads are taken up to their limit, and refused one byte above it', () => {
  for (const [flags, most] of [
    [0, PAYLOAD_BYTES_MAX],
    [Flag.ENVELOPE, PAYLOAD_BYTES_MAX],
    [Flag.DEVICE_TABLE, TABLE_PAYLOAD_BYTES_MAX],
  ] as const) {
    assert.equal(payloadBytesMax(flags), most);
    const bytes = encodeFrame(makeFrame({ kind: Kind.MESSAGE, flags, payload: new Uint8Array(most + 1) }));
    const view = viewOf(bytes);
    assert.equal(scanFrame(bytes, view, 0, bytes.length), Scan.TOO_LARGE);
    view.setUint32(At.LENGTH, most);
    assert.equal(scanFrame(bytes, view, 0, bytes.length), FRAME_HEADER_BYTES + most);
  }
});

test('kinds are unique, fit in a byte, and none that a client may send is one of the backbone’s own', () => {
  const kinds = Object.values(Kind);
  assert.equal(new Set(kinds).size, kinds.length);
  for (const kind of kinds) {
    assert.ok(kind > 0 && kind < 256);
    if (isSequenced(kind)) assert.ok(isClientKind(kind) && isConversationKind(kind));
  }
  const others = [
    Kind.SENT,
    Kind.REJECT,
    Kind.RECEIPT,
    Kind.GAP,
    Kind.PRESENCE,
    Kind.DELIVERED,
    Kind.CONNECT,
    Kind.TICK,
  ];
  for (const kind of [...others, 0, 255]) assert.ok(!isClientKind(kind), `kind ${kind}`);
});

test('a client may send what docs/protocol.md lists, and nothing else', () => {
  const protocol = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  const section = protocol.slice(
    protocol.indexOf('## What a client sends'),
    protocol.indexOf('## What a client receives'),
  );
  const listed = [...section.matchAll(/^\| (\d+) \| [A-Z_]+ \|/gm)].map((match) => Number(match[1]));
  const allowed = Array.from({ length: 256 }, (_, kind) => kind).filter(isClientKind);
  assert.deepEqual(
    allowed,
    listed.toSorted((one, other) => one - other),
  );
});
