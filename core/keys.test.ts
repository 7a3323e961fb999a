import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { baseKey, compareKeys, deltaKey, fenceKey, inboxKey, metaKey, StageId } from './keys.js';
import { USER_ID_MAX } from './limits.js';

const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);
const u53 = fc.maxSafeNat();
const stage = fc.constantFrom(StageId.CONVERSATION, StageId.USER);

function hex(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}

test('keys have the bytes they always had', () => {
  assert.equal(hex(fenceKey(1, 0x0203)), '01020365');
  assert.equal(hex(metaKey(2, 255)), '0200ff6d');
  assert.equal(hex(baseKey(1, 3, 0x0102_0304, 5)), '010003620102030400000005');
  assert.equal(hex(deltaKey(2, 3, 2 ** 40 + 1, 6)), '02000364000001000000000100000006');
  assert.equal(hex(inboxKey(4, USER_ID_MAX, 2 ** 32 + 9)), '0200046900001fffffffffff0000000100000009');
});

test('keys compare as bytes, and a prefix comes first', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 6, max: 3 }), fc.uint8Array({ maxLength: 6, max: 3 }), (one, other) => {
      assert.equal(Math.sign(compareKeys(one, other)), Buffer.compare(one, other));
    }),
  );
  assert.ok(compareKeys(Uint8Array.of(127), Uint8Array.of(128)) < 0);
  assert.ok(compareKeys(Uint8Array.of(1), Uint8Array.of(1, 0)) < 0);
});

/** Order of the numbers, the first difference deciding. */
function compareNumbers(one: readonly number[], other: readonly number[]): number {
  for (const [i, value] of one.entries()) if (value !== other[i]) return Math.sign(value - other[i]!);
  return 0;
}

test('keys of a family sort as their numbers do, and no two are the same', () => {
  const families: [(...numbers: number[]) => Uint8Array, fc.Arbitrary<number[]>][] = [
    [(s, p) => fenceKey(s!, p!), fc.tuple(stage, u16)],
    [(s, p) => metaKey(s!, p!), fc.tuple(stage, u16)],
    [(s, p, base, n) => baseKey(s!, p!, base!, n!), fc.tuple(stage, u16, u32, u32)],
    [(s, p, commit, n) => deltaKey(s!, p!, commit!, n!), fc.tuple(stage, u16, u53, u32)],
    [(p, user, position) => inboxKey(p!, user!, position!), fc.tuple(u16, u53, u53)],
  ];
  for (const [make, numbers] of families) {
    fc.assert(
      fc.property(numbers, numbers, fc.nat(3), (one, other, shared) => {
        // Sharing the first numbers makes the later ones decide.
        const mixed = other.map((number, i) => (i < shared ? one[i]! : number));
        assert.equal(Math.sign(compareKeys(make(...one), make(...mixed))), compareNumbers(one, mixed));
      }),
    );
  }
});

test('all keys of one partition lie together, and families do not mix', () => {
  const keysOf = (s: number, p: number): Uint8Array[] => [
    fenceKey(s, p),
    metaKey(s, p),
    baseKey(s, p, 0xffff_ffff, 0xffff_ffff),
    deltaKey(s, p, Number.MAX_SAFE_INTEGER, 1),
  ];
  const partitions = [keysOf(1, 0), keysOf(1, 1), keysOf(1, 256), [...keysOf(2, 0), inboxKey(0, 1, 1)], keysOf(2, 1)];
  const all = partitions.flatMap((keys) => keys.toSorted(compareKeys));
  assert.deepEqual(all, all.toSorted(compareKeys));
  assert.equal(new Set(all.map(hex)).size, all.length);
});
