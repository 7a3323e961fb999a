import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  deviceKey,
  directConversation,
  fromWords,
  groupConversation,
  hashConversation,
  hashUser,
  hashWords,
  highWord,
  isConversation,
  isDeviceNumber,
  isDirect,
  isGroupId,
  isUserId,
  lowWord,
  mix32,
  numberOfDevice,
  partitionOfConversation,
  partitionOfHash,
  partitionOfUser,
  userOfDevice,
} from './ids.js';
import { DEVICE_NUMBER_MAX, GROUP_ID_MAX, USER_ID_MAX } from './limits.js';

const anyUser = fc.integer({ min: 1, max: USER_ID_MAX });
const anyGroup = fc.integer({ min: 1, max: GROUP_ID_MAX });

test('an id comes back from its words', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (id) => {
      assert.ok(lowWord(id) >= 0 && lowWord(id) < 2 ** 32);
      assert.equal(fromWords(lowWord(id), highWord(id)), id);
    }),
  );
  assert.equal(highWord(Number.MAX_SAFE_INTEGER), 0x1f_ffff);
});

test('a device key names its user and its number, and fits in 53 bits', () => {
  fc.assert(
    fc.property(anyUser, fc.integer({ min: 0, max: DEVICE_NUMBER_MAX }), (user, number) => {
      const device = deviceKey(user, number);
      assert.ok(Number.isSafeInteger(device));
      assert.equal(userOfDevice(device), user);
      assert.equal(numberOfDevice(device), number);
    }),
  );
});

test('ids have their ranges, and nothing else is one', () => {
  const cases: [(value: number) => boolean, number][] = [
    [isUserId, USER_ID_MAX],
    [isGroupId, GROUP_ID_MAX],
    [isDeviceNumber, DEVICE_NUMBER_MAX],
  ];
  for (const [isId, max] of cases) {
    assert.ok(isId(1) && isId(max));
    for (const wrong of [0, -1, max + 1, 1.5, NaN, Infinity, -Infinity])
      assert.ok(!isId(wrong), `${isId.name}(${wrong})`);
  }
});

test('a conversation is two different users in order, or a group', () => {
  fc.assert(
    fc.property(anyUser, anyUser, (one, other) => {
      const { a, b } = directConversation(one, other);
      assert.deepEqual(directConversation(other, one), { a, b });
      assert.equal(isConversation(a, b), one !== other);
      assert.equal(isConversation(b, a), false);
      assert.ok(isDirect(a));
    }),
  );
  fc.assert(
    fc.property(anyGroup, (group) => {
      const { a, b } = groupConversation(group);
      assert.ok(isConversation(a, b) && !isDirect(a));
    }),
  );
  assert.ok(!isConversation(0, 0) && !isConversation(0, GROUP_ID_MAX + 1) && !isConversation(1, USER_ID_MAX + 1));
});

test('hashes and partitions are the same on every machine and in every version', () => {
  assert.deepEqual([0, 1, 0xffff_ffff].map(mix32), [0, 0x514e_28b7, 0x81f1_6f39]);
  assert.equal(hashWords(1, 2, 3, 4), 0x479a_f16b);
  assert.equal(hashConversation(5, 2 ** 40), hashWords(5, 0, 0, 256));
  assert.equal(hashUser(2 ** 40 + 7), hashWords(7, 256, 0, 0));
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, USER_ID_MAX].map((user) => partitionOfUser(user, 256)),
    [244, 188, 41, 58, 201, 51, 184, 184],
  );
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, GROUP_ID_MAX].map((group) => partitionOfConversation(0, group, 256)),
    [106, 235, 190, 244, 78, 194, 122, 15],
  );
});

test('a partition is in range, for any hash', () => {
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), fc.integer({ min: 1, max: 256 }), (hash, partitions) => {
      const partition = partitionOfHash(hash, partitions);
      assert.ok(Number.isInteger(partition) && partition >= 0 && partition < partitions);
    }),
  );
  assert.equal(partitionOfHash(0xffff_ffff, 256), 255);
  assert.equal(partitionOfHash(0, 256), 0);
});

/** Highest deviation of a bin from the mean, as a share of the mean. */
function unevenness(counts: readonly number[]): number {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return Math.max(...counts.map((count) => Math.abs(count - mean))) / mean;
}

test('neighbouring ids spread evenly over partitions, and over table slots within one partition', () => {
  const partitions = Array.from({ length: 16 }, () => 0);
  const slots = Array.from({ length: 16 }, () => 0);
  const groups = Array.from({ length: 16 }, () => 0);
  for (let user = 1; user <= 64_000; user++) {
    const partition = partitionOfUser(user, 16);
    partitions[partition]!++;
    if (partition === 3) slots[hashUser(user) & 15]!++;
    groups[partitionOfConversation(0, user * 1_000, 16)]!++;
  }
  assert.ok(unevenness(partitions) < 0.06, `partitions: ${partitions}`);
  assert.ok(unevenness(groups) < 0.06, `groups: ${groups}`);
  // 4,000 ids over 16 slots: three standard deviations are 19%.
  assert.ok(unevenness(slots) < 0.25, `slots: ${slots}`);
});
