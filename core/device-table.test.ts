import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import {
  canonicalTable,
  checkDeviceTable,
  encodeDeviceTable,
  findPart,
  readDeviceTable,
  type TablePart,
} from './device-table.js';
import { DunlinError } from './errors.js';
import {
  ALL_WIDTHS,
  type ArrayWidth,
  type BinWidth,
  hexOf,
  writeArray,
  writeBinary,
  writeNumber,
} from './frame.fixture.js';
import { viewOf } from './frame.js';
import { deviceKey } from './ids.js';
import { DEVICE_NUMBER_MAX, TABLE_PARTS_MAX, TABLE_PAYLOAD_BYTES_MAX, USER_ID_MAX } from './limits.js';

const anyDevice = fc
  .tuple(
    fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: USER_ID_MAX })),
    fc.integer({ min: 1, max: DEVICE_NUMBER_MAX }),
  )
  .map(([user, number]) => deviceKey(user, number));
const anyParts: fc.Arbitrary<TablePart[]> = fc.uniqueArray(
  fc.record({ device: anyDevice, bytes: fc.uint8Array({ maxLength: 40 }) }, { noNullPrototype: true }),
  { selector: (part) => part.device, maxLength: 8 },
);

function sorted(parts: readonly TablePart[]): TablePart[] {
  return parts.toSorted((one, other) => one.device - other.device);
}

function isTable(bytes: Uint8Array): boolean {
  return checkDeviceTable(bytes, 0, bytes.length);
}

test('a table has the bytes it always had, in ascending order of device', () => {
  const parts = [
    { device: deviceKey(2, 1), bytes: Uint8Array.of(0xaa, 0xbb) },
    { device: deviceKey(1, 127), bytes: new Uint8Array(0) },
    { device: deviceKey(USER_ID_MAX, 2), bytes: Uint8Array.of(0xcc) },
  ];
  assert.equal(
    hexOf(encodeDeviceTable(parts)),
    'dd00000003' +
      '92cf00000000000000ffc600000000' +
      '92cf0000000000000101c600000002aabb' +
      '92cf000fffffffffff82c600000001cc',
  );
  assert.equal(hexOf(encodeDeviceTable([])), 'dd00000000');
});

test('what is encoded is canonical, is found part by part, and is read by any msgpack library', () => {
  fc.assert(
    fc.property(anyParts, fc.nat(9), anyDevice, (parts, offset, stranger) => {
      const table = encodeDeviceTable(parts);
      const bytes = new Uint8Array(offset + table.length + 3).fill(0xee);
      bytes.set(table, offset);
      const end = offset + table.length;
      assert.ok(checkDeviceTable(bytes, offset, end));
      assert.ok(!checkDeviceTable(bytes, offset, end + 1), 'a byte follows');
      for (const part of parts) {
        const place = findPart(bytes, offset, end, part.device);
        assert.ok(place !== undefined);
        assert.deepEqual(bytes.slice(place.start, place.start + place.length), part.bytes);
      }
      if (!parts.some(({ device }) => device === stranger))
        assert.equal(findPart(bytes, offset, end, stranger), undefined);
      assert.deepEqual(readDeviceTable(table), sorted(parts));
      assert.deepEqual(
        decode(table),
        sorted(parts).map((part) => [part.device, part.bytes]),
      );
      assert.deepEqual(canonicalTable(table), table);
    }),
  );
});

test('a table in any encoding becomes canonical', () => {
  const anyWidth = fc.constantFrom(...ALL_WIDTHS);
  const anyBin = fc.constantFrom<BinWidth>('bin8', 'bin16', 'bin32');
  const anyArray = fc.constantFrom<ArrayWidth>('fix', 'a16', 'a32');
  fc.assert(
    fc.property(anyParts, anyWidth, anyBin, anyArray, (parts, width, bin, array) => {
      const loose = writeArray(parts.length, array);
      for (const { device, bytes } of sorted(parts)) {
        loose.push(...writeArray(2, array), ...writeNumber(device, width), ...writeBinary(bytes, bin));
      }
      const table = encodeDeviceTable(parts);
      assert.deepEqual(canonicalTable(Uint8Array.from(loose)), table);
      const items = sorted(parts).map((part) => [part.device, part.bytes]);
      assert.deepEqual(canonicalTable(encode(items)), table);
      assert.deepEqual(canonicalTable(encode(items, { forceIntegerToFloat: true })), table);
    }),
  );
});

test('a table cut at any byte, or one whose lengths lie, is none', () => {
  const table = encodeDeviceTable([
    { device: 129, bytes: new Uint8Array(7) },
    { device: 130, bytes: new Uint8Array(300) },
  ]);
  for (let end = 0; end < table.length; end++) {
    assert.ok(!checkDeviceTable(table, 0, end), `cut at ${end}`);
    assert.equal(canonicalTable(table.slice(0, end)), undefined, `cut at ${end}`);
  }
  for (const at of [1, 16, 38]) {
    for (const value of [0xffff_ffff, 0x7fff_ffff, 5]) {
      const lying = table.slice();
      viewOf(lying).setUint32(at, value);
      assert.ok(!isTable(lying), `${value} at ${at}`);
      assert.equal(canonicalTable(lying), undefined);
      for (const device of [129, 130]) {
        const place = findPart(lying, 0, lying.length, device);
        assert.ok(place === undefined || place.start + place.length <= lying.length);
      }
    }
  }
});

test('devices out of order, twice or out of range are refused', () => {
  const part = (device: number): number[] => [
    ...writeArray(2, 'fix'),
    ...writeNumber(device, 'u64'),
    ...writeBinary(Uint8Array.of(1), 'bin32'),
  ];
  const tableOf = (...devices: number[]): Uint8Array =>
    Uint8Array.from([...writeArray(devices.length, 'a32'), ...devices.flatMap(part)]);
  const highest = deviceKey(USER_ID_MAX, DEVICE_NUMBER_MAX);
  assert.ok(isTable(tableOf(129, 130, highest)));
  for (const devices of [
    [130, 129],
    [129, 129],
    [0],
    [1],
    [127],
    [128],
    [256],
    [129, 384],
    [highest + 1],
    [2 ** 53 - 1],
  ]) {
    const table = tableOf(...devices);
    assert.ok(!isTable(table), `${devices}`);
    assert.equal(canonicalTable(table), undefined, `${devices}`);
    if (devices[0] !== 130) {
      assert.throws(
        () => encodeDeviceTable(devices.map((device) => ({ device, bytes: new Uint8Array(0) }))),
        DunlinError,
      );
    }
  }
  const beyond = tableOf(129);
  beyond.fill(0xff, 7, 15);
  assert.ok(!isTable(beyond), 'a key of 64 bits');
});

test('a table has its limits in parts and in bytes', () => {
  const parts = Array.from({ length: TABLE_PARTS_MAX + 1 }, (_, n) => ({
    device: deviceKey(n + 1, 1),
    bytes: new Uint8Array(1),
  }));
  const most = encodeDeviceTable(parts.slice(0, TABLE_PARTS_MAX));
  assert.ok(isTable(most));
  assert.throws(() => encodeDeviceTable(parts), /2049 parts.*2048/);
  const items = parts.map((part) => [part.device, part.bytes]);
  assert.equal(canonicalTable(encode(items)), undefined);
  assert.deepEqual(canonicalTable(encode(items.slice(0, TABLE_PARTS_MAX))), most);
  const room = TABLE_PAYLOAD_BYTES_MAX - 20;
  const device = 129;
  assert.equal(encodeDeviceTable([{ device, bytes: new Uint8Array(room) }]).length, TABLE_PAYLOAD_BYTES_MAX);
  assert.throws(() => encodeDeviceTable([{ device, bytes: new Uint8Array(room + 1) }]), DunlinError);
  // Within the limit as it came, over it in canonical form.
  assert.equal(canonicalTable(encode([[device, new Uint8Array(room + 1)]])), undefined);
});
