import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../core/crc32c.js';
import { nativeCrc32c } from './crc32c.js';

test('the native checksum is the one of the core, over any part of plain and of shared memory', () => {
  const part = fc.record({
    bytes: fc.uint8Array({ maxLength: 600 }),
    before: fc.nat(20),
    after: fc.nat(20),
    offset: fc.nat(9),
  });
  fc.assert(
    fc.property(part, ({ bytes, before, after, offset }) => {
      const size = before + bytes.length + after;
      for (const memory of [new ArrayBuffer(offset + size), new SharedArrayBuffer(offset + size)]) {
        // A view that does not begin where its memory does.
        const view = new Uint8Array(memory, offset);
        view.fill(0xa5);
        view.set(bytes, before);
        const end = before + bytes.length;
        assert.equal(nativeCrc32c(view, before, end), crc32c(bytes, 0, bytes.length));
      }
    }),
  );
});

test('the check value of CRC32C', () => {
  const digits = new TextEncoder().encode('123456789');
  assert.equal(nativeCrc32c(digits, 0, 9), 0xe306_9283);
  assert.equal(crc32c(digits, 0, 9), 0xe306_9283);
});
