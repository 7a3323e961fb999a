import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { ALL_WIDTHS, type ArrayWidth, hexOf, writeArray, writeNumber } from './frame.fixture.js';
import { DEVICES_PER_USER_MAX, GROUP_MEMBERS_MAX, PAYLOAD_BYTES_MAX, SEQUENCE_MAX, USER_ID_MAX } from './limits.js';
import {
  type DeviceRow,
  encodeDeviceRows,
  encodeMemberRows,
  encodeMembers,
  type MemberRow,
  Role,
  readDeviceRows,
  readMemberRows,
  readMembers,
} from './members.js';

const anyUser = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: USER_ID_MAX }));
const anyUsers = fc.uniqueArray(anyUser, { minLength: 1, maxLength: 40 });
const anySeq = fc.nat(SEQUENCE_MAX);

function read(bytes: Uint8Array, max = GROUP_MEMBERS_MAX): number[] | undefined {
  return readMembers(bytes, 0, bytes.length, max);
}

test('lists have the bytes they always had', () => {
  assert.equal(hexOf(encodeMembers([1, USER_ID_MAX])), 'dd00000002cf0000000000000001cf00001fffffffffff');
  assert.equal(
    hexOf(encodeMemberRows([{ user: 5, role: Role.ADMIN, joinedSeq: 1, delivered: 0x0102_0304, read: 2 }])),
    'dd0000000195cf0000000000000005cc01ce00000001ce01020304ce00000002',
  );
  assert.equal(
    hexOf(encodeDeviceRows([{ number: 3, online: true, lastSeenMs: 1_700_000_000_000 }])),
    'dd0000000193cc03cc01cf0000018bcfe56800',
  );
});

test('members come back in their order, from anywhere in a buffer, and any msgpack library reads them', () => {
  fc.assert(
    fc.property(anyUsers, fc.nat(9), (users, offset) => {
      const list = encodeMembers(users);
      assert.deepEqual(decode(list), users);
      const bytes = new Uint8Array(offset + list.length + 4).fill(1);
      bytes.set(list, offset);
      assert.deepEqual(readMembers(bytes, offset, offset + list.length, users.length), users);
      assert.equal(readMembers(bytes, offset, offset + list.length + 1, 1_024), undefined, 'a byte follows');
      assert.equal(readMembers(bytes, offset, offset + list.length, users.length - 1), undefined, 'one too many');
    }),
  );
});

test('members in any encoding are read the same', () => {
  const anyWidth = fc.constantFrom(...ALL_WIDTHS);
  const anyArray = fc.constantFrom<ArrayWidth>('fix', 'a16', 'a32');
  fc.assert(
    fc.property(anyUsers, anyWidth, anyArray, (users, width, array) => {
      const loose = [...writeArray(users.length, array), ...users.flatMap((user) => writeNumber(user, width))];
      assert.deepEqual(read(Uint8Array.from(loose)), users);
      assert.deepEqual(read(encode(users)), users);
      assert.deepEqual(read(encode(users, { forceIntegerToFloat: true })), users);
      assert.deepEqual(read(encode(users.map(BigInt), { useBigInt64: true })), users);
    }),
  );
});

test('what is no member list is refused', () => {
  const wrong: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['empty', encode([])],
    ['twice', encode([5, 6, 5])],
    ['twice in different widths', Uint8Array.of(0x92, 5, 0xcc, 5)],
    ['user 0', encode([1, 0])],
    ['a negative user', encode([1, -1])],
    ['a user above the highest', encode([USER_ID_MAX + 1])],
    ['a fraction', encode([1.5])],
    ['a string', encode(['5'])],
    ['nil', encode([null])],
    ['a nested list', encode([[5]])],
    ['a map', encode({ 1: 2 })],
    ['a number', encode(5)],
    ['bytes', encode(Uint8Array.of(1, 2))],
    ['two lists', Uint8Array.of(0x91, 1, 0x91, 2)],
    ['a count that lies', Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff, 1)],
    ['a thousand deep', new Uint8Array(1_000).fill(0x91)],
  ];
  for (const [what, bytes] of wrong) assert.equal(read(bytes), undefined, what);
  const list = encodeMembers([1, 2, 3]);
  for (let end = 0; end < list.length; end++) assert.equal(readMembers(list, 0, end, 9), undefined, `cut at ${end}`);
});

test('the largest group fits into a payload, as a list and as rows', () => {
  const users = Array.from({ length: GROUP_MEMBERS_MAX }, (_, n) => USER_ID_MAX - n);
  const list = encodeMembers(users);
  assert.ok(list.length <= PAYLOAD_BYTES_MAX);
  assert.deepEqual(read(list), users);
  assert.equal(read(encodeMembers([...users, 1])), undefined);
  const rows = users.map((user) => ({
    user,
    role: Role.MEMBER,
    joinedSeq: 1,
    delivered: SEQUENCE_MAX,
    read: SEQUENCE_MAX,
  }));
  const bytes = encodeMemberRows(rows);
  assert.ok(bytes.length <= PAYLOAD_BYTES_MAX);
  assert.deepEqual(readMemberRows(bytes), rows);
});

const anyMemberRow: fc.Arbitrary<MemberRow> = fc.record(
  {
    user: anyUser,
    role: fc.constantFrom(Role.MEMBER, Role.ADMIN),
    joinedSeq: anySeq,
    delivered: anySeq,
    read: anySeq,
  },
  { noNullPrototype: true },
);
const anyDeviceRow: fc.Arbitrary<DeviceRow> = fc.record(
  { number: fc.integer({ min: 1, max: 127 }), online: fc.boolean(), lastSeenMs: fc.maxSafeNat() },
  { noNullPrototype: true },
);

test('rows come back, also from another encoder, and any msgpack library reads them', () => {
  fc.assert(
    fc.property(fc.array(anyMemberRow, { maxLength: 20 }), (rows) => {
      const items = rows.map((row) => [row.user, row.role, row.joinedSeq, row.delivered, row.read]);
      const bytes = encodeMemberRows(rows);
      assert.deepEqual(decode(bytes), items);
      assert.deepEqual(readMemberRows(bytes), rows);
      assert.deepEqual(readMemberRows(encode(items)), rows);
    }),
  );
  fc.assert(
    fc.property(fc.array(anyDeviceRow, { maxLength: DEVICES_PER_USER_MAX }), (rows) => {
      const items = rows.map((row) => [row.number, row.online ? 1 : 0, row.lastSeenMs]);
      const bytes = encodeDeviceRows(rows);
      assert.deepEqual(decode(bytes), items);
      assert.deepEqual(readDeviceRows(bytes), rows);
      assert.deepEqual(readDeviceRows(encode(items)), rows);
    }),
  );
});

test('rows that are cut, too many, or of another shape are refused', () => {
  const member = { user: 1, role: Role.ADMIN, joinedSeq: 1, delivered: 1, read: 1 };
  const members = encodeMemberRows([member, { ...member, user: 2 }]);
  for (let end = 0; end < members.length; end++) assert.equal(readMemberRows(members, 0, end), undefined);
  for (const row of [[1, 0, 1, 1], [1, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 2, 1, 1, 1], [1, 0, -1, 1, 1], 7]) {
    assert.equal(readMemberRows(encode([row])), undefined, `${row}`);
  }
  const device = { number: 1, online: false, lastSeenMs: 0 };
  const devices = encodeDeviceRows([device]);
  for (let end = 0; end < devices.length; end++) assert.equal(readDeviceRows(devices, 0, end), undefined);
  for (const row of [
    [1, 0],
    [1, 0, 1, 1],
    [0, 0, 1],
    [128, 0, 1],
    [1, 2, 1],
    [1, 0, -1],
  ]) {
    assert.equal(readDeviceRows(encode([row])), undefined, `${row}`);
  }
  assert.equal(
    readDeviceRows(encodeDeviceRows(Array.from({ length: DEVICES_PER_USER_MAX + 1 }, () => device))),
    undefined,
  );
});
