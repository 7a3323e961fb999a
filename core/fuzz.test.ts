/**
 * Every parser of untrusted bytes, with a million inputs each: valid ones of which some bytes were changed or cut, and random
 * ones that are full of bytes to which msgpack gives a meaning. A parser must not throw, must stay within its bounds, and
 * what it takes must be the same when it is written again. fuzz.fixture.ts tells how a run is repeated.
 */
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { BatchBuilder, BatchKind, checkBatch } from './batch.js';
import { canonicalTable, checkDeviceTable, encodeDeviceTable, findPart, readDeviceTable } from './device-table.js';
import {
  ALL_WIDTHS,
  type ArrayWidth,
  type BinWidth,
  encodeLoosely,
  itemsOf,
  writeArray,
  writeBinary,
  writeNumber,
} from './frame.fixture.js';
import { type Frame, makeFrame, readFrame, readU53, scanFrame, viewOf, writeFrame } from './frame.js';
import { fail, fuzz, SEED } from './fuzz.fixture.js';
import { FRAME_HEADER_BYTES } from './limits.js';
import { encodeMembers, readMembers } from './members.js';
import { readLooseFrame } from './msgpack.js';
import { Prng } from './prng.js';

function someFrames(random: Prng): Frame[] {
  return Array.from({ length: 32 }, (_, n) =>
    makeFrame({
      kind: random.below(80),
      flags: random.below(4),
      convA: n % 2 === 0 ? 0 : random.u32(),
      convB: random.u32() * 2 ** (n % 20),
      device: random.u32() * 128,
      counter: random.u32(),
      seq: random.below(300),
      inbox: random.u32() * 2 ** 20,
      time: 1_700_000_000_000 + n,
      extra: random.below(100),
      payload: Uint8Array.from({ length: random.below(60) }, () => random.below(256)),
    }),
  );
}

/** The frames in canonical form and in all kinds of others. */
function encodings(random: Prng): Uint8Array[] {
  return someFrames(random).flatMap((frame) => {
    const canonical = new Uint8Array(FRAME_HEADER_BYTES + frame.payload.length);
    writeFrame(canonical, viewOf(canonical), 0, frame);
    const widths = Array.from({ length: 10 }, () => ALL_WIDTHS[random.below(ALL_WIDTHS.length)]!);
    const bin = (['bin8', 'bin16', 'bin32'] satisfies BinWidth[])[random.below(3)]!;
    const array = (['fix', 'a16', 'a32'] satisfies ArrayWidth[])[random.below(3)]!;
    return [canonical, canonical, encode(itemsOf(frame)), encodeLoosely(frame, widths, bin, array)];
  });
}

function sameBytes(one: Uint8Array, oneAt: number, other: Uint8Array, otherAt: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (one[oneAt + i] !== other[otherAt + i]) return false;
  return true;
}

function sameFrame(one: Frame, other: Frame): boolean {
  return (
    one.kind === other.kind &&
    one.flags === other.flags &&
    one.convA === other.convA &&
    one.convB === other.convB &&
    one.device === other.device &&
    one.counter === other.counter &&
    one.seq === other.seq &&
    one.inbox === other.inbox &&
    one.time === other.time &&
    one.extra === other.extra &&
    one.payload.length === other.payload.length &&
    sameBytes(one.payload, 0, other.payload, 0, one.payload.length)
  );
}

test('frames: scanFrame and readLooseFrame', (t) => {
  const again = new Uint8Array(512);
  const againView = viewOf(again);
  fuzz(t, 'frames', encodings(new Prng(SEED).fork('valid frames')), (inputs) => {
    const { bytes, view, start, end } = inputs;
    const scanned = scanFrame(bytes, view, start, end);
    const loose = readLooseFrame(bytes, start, end);
    if (scanned > 0) {
      if (scanned > end - start) fail(inputs, `scanFrame says ${scanned} bytes`);
      const frame = readFrame(bytes, view, start);
      if (writeFrame(again, againView, 0, frame) !== scanned) fail(inputs, 'another length when written again');
      if (!sameBytes(bytes, start, again, 0, scanned)) fail(inputs, 'other bytes when written again');
      if (loose === undefined || loose.end !== start + scanned) fail(inputs, 'canonical, but not read loosely');
    } else if (scanned !== -1 && scanned !== -2 && scanned !== -3) fail(inputs, `scanFrame answers ${scanned}`);
    if (loose === undefined) return false;
    if (loose.end <= start || loose.end > end) fail(inputs, `readLooseFrame ends at ${loose.end - start}`);
    const length = writeFrame(again, againView, 0, loose.frame);
    if (scanFrame(again, againView, 0, length) !== length) fail(inputs, 'not canonical when written again');
    if (!sameFrame(readFrame(again, againView, 0), loose.frame)) fail(inputs, 'another frame when written again');
    return true;
  });
});

function someTables(random: Prng): Uint8Array[] {
  return Array.from({ length: 40 }, (_, n) => {
    const parts = Array.from({ length: n % 4 }, (_part, i) => ({
      // Different users: the remainder by 4 is each one's own.
      device: (1 + i + 4 * random.below(2 ** random.between(0, 32))) * 128 + 1 + random.below(127),
      bytes: Uint8Array.from({ length: random.below(20) }, () => random.below(256)),
    })).toSorted((one, other) => one.device - other.device);
    if (n % 2 === 0) return encodeDeviceTable(parts);
    const loose = writeArray(parts.length, n % 3 === 0 ? 'a16' : 'fix');
    for (const { device, bytes } of parts) {
      loose.push(
        ...writeArray(2, 'fix'),
        ...writeNumber(device, n % 5 === 0 ? 'f64' : 'u32'),
        ...writeBinary(bytes, 'bin8'),
      );
    }
    return Uint8Array.from(loose);
  });
}

test('device tables: checkDeviceTable, canonicalTable and findPart', (t) => {
  fuzz(t, 'tables', someTables(new Prng(SEED).fork('valid tables')), (inputs) => {
    const { bytes, view, start, end } = inputs;
    const input = bytes.subarray(start, end);
    const isCanonical = checkDeviceTable(bytes, start, end);
    const table = canonicalTable(input);
    // The key of the first part, if there is one in canonical form.
    const device = readU53(view, start + 7);
    const place = findPart(bytes, start, end, device);
    if (place !== undefined && (place.start < start || place.start + place.length > end))
      fail(inputs, 'a part outside');
    if (isCanonical && table === undefined) fail(inputs, 'canonical, but not read');
    if (table === undefined) return false;
    if (!checkDeviceTable(table, 0, table.length)) fail(inputs, 'not canonical when written again');
    if (isCanonical && (table.length !== input.length || !sameBytes(table, 0, input, 0, input.length))) {
      fail(inputs, 'canonical, but other bytes when written again');
    }
    for (const part of readDeviceTable(table)!) {
      if (findPart(table, 0, table.length, part.device)?.length !== part.bytes.length)
        fail(inputs, 'a part is not found');
    }
    return true;
  });
});

/** Bytes of a number, by its type byte. */
function numberBytes(type: number): number {
  if (type <= 0x7f) return 1;
  return type === 0xcb ? 9 : 1 + 2 ** (type & 3);
}

test('member lists: readMembers', (t) => {
  const random = new Prng(SEED).fork('valid members');
  const valid = Array.from({ length: 40 }, (_, n) => {
    const users = Array.from({ length: 1 + (n % 5) }, (_user, i) => (1 + i) * 2 ** random.below(40) + random.below(3));
    if (n % 2 === 0) return encodeMembers(users);
    return Uint8Array.from([
      ...writeArray(users.length, 'fix'),
      ...users.flatMap((user) => writeNumber(user, ALL_WIDTHS[n % 10]!)),
    ]);
  });
  fuzz(t, 'members', valid, (inputs) => {
    const { bytes, start, end } = inputs;
    const users = readMembers(bytes, start, end, 1_024);
    if (users === undefined) return false;
    if (users.length === 0 || users.length > inputs.length) fail(inputs, `${users.length} users`);
    let at = start + (bytes[start]! <= 0x9f ? 1 : bytes[start] === 0xdc ? 3 : 5);
    for (let left = users.length; left > 0; left--) at += numberBytes(bytes[at]!);
    if (at !== end) fail(inputs, 'the list ends elsewhere');
    const list = encodeMembers(users);
    const again = readMembers(list, 0, list.length, users.length);
    if (again === undefined || again.some((user, i) => user !== users[i])) fail(inputs, 'others when written again');
    return true;
  });
});

test('batches: checkBatch', (t) => {
  const random = new Prng(SEED).fork('valid batches');
  const builder = new BatchBuilder();
  const frames = someFrames(random);
  const encoded = new Uint8Array(512);
  const valid = Array.from({ length: 48 }, (_, n) => {
    const kind = [BatchKind.FRAMES, BatchKind.FANOUT, BatchKind.EGRESS][n % 3]!;
    builder.begin(kind, n, n, n);
    for (let entries = random.below(4); entries > 0; entries--) {
      builder.frame(encoded, 0, writeFrame(encoded, viewOf(encoded), 0, frames[random.below(32)]!));
      if (kind === BatchKind.FRAMES) continue;
      builder.list();
      for (let items = random.below(4); items > 0; items--) {
        if (kind === BatchKind.FANOUT) builder.recipient(items, 0);
        else builder.target(items, 0, 0, 0, 0);
      }
    }
    return builder.finish().slice();
  });
  fuzz(t, 'batches', valid, (inputs) => {
    const { bytes, view, start, end } = inputs;
    // Half of those that were cut say so, to come further than the first check.
    if (end >= start + 16 && (bytes[start + 20]! & 1) === 0) view.setUint32(start + 12, end - start, true);
    const input = bytes.subarray(start, end);
    const wrong = checkBatch(input);
    if (wrong !== undefined) {
      if (wrong.length === 0) fail(inputs, 'refused without a sentence');
      return false;
    }
    // Walks what was taken: every byte belongs to one entry.
    const suffix = [0, 0, 8, 24][input[6]!]!;
    let at = start + 64;
    for (let count = view.getUint32(start + 16, true); count > 0; count--) {
      at += FRAME_HEADER_BYTES + view.getUint32(at + 66);
      if (suffix > 0) at += 4 + suffix * view.getUint32(at, true);
      if (at > end) fail(inputs, 'an entry outside');
    }
    if (at !== end) fail(inputs, 'bytes behind the last entry');
    return true;
  });
});
