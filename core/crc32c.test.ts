import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c as native } from '@node-rs/crc32';
import fc from 'fast-check';
import { crc32c } from './crc32c.js';

test('the vectors of RFC 3720 B.4', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  const vectors: [Uint8Array, number][] = [
    [new Uint8Array(32), 0x8a91_36aa],
    [new Uint8Array(32).fill(0xff), 0x62a8_ab43],
    [ascending, 0x46dd_794e],
    [ascending.toReversed(), 0x113f_db5c],
    [Buffer.from('123456789'), 0xe306_9283],
    [new Uint8Array(0), 0],
  ];
  for (const [bytes, crc] of vectors) assert.equal(crc32c(bytes, 0, bytes.length), crc);
});

test('it is the function that processors have', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), fc.nat(300), (bytes, one, other) => {
      const start = Math.min(one, other, bytes.length);
      const end = Math.min(Math.max(one, other), bytes.length);
      assert.equal(crc32c(bytes, start, end), native(Buffer.from(bytes.subarray(start, end))));
    }),
  );
});

test('every flipped bit changes it', () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i * 7);
  const crc = crc32c(bytes, 0, bytes.length);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    bytes[bit >>> 3]! ^= 1 << (bit & 7);
    assert.notEqual(crc32c(bytes, 0, bytes.length), crc);
    bytes[bit >>> 3]! ^= 1 << (bit & 7);
  }
});
