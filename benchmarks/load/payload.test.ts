import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../core/frame.js';
import { makePayload, readPayload, TAG_BYTES, type Tag } from './payload.js';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const tags = fc.record(
  {
    run: u32,
    intendedMs: fc.double({ min: 0, max: 1e12, noNaN: true, noDefaultInfinity: true }).map((ms) => ms + 0),
    sender: u32,
    conversation: u32,
    serial: u32,
  },
  { noNullPrototype: true },
);

function emptyTag(): Tag {
  return { run: 0, intendedMs: 0, sender: 0, conversation: 0, serial: 0 };
}

test('what was made is read back', () => {
  fc.assert(
    fc.property(tags, fc.integer({ min: 0, max: 600 }), (tag, length) => {
      const bytes = makePayload(tag, length);
      assert.equal(bytes.length, Math.max(TAG_BYTES, length));
      const read = emptyTag();
      assert.ok(readPayload(viewOf(bytes), 0, bytes.length, read));
      assert.deepEqual(read, tag);
    }),
  );
});

test('any changed bit, and any other length, is noticed', () => {
  fc.assert(
    fc.property(tags, fc.integer({ min: 28, max: 200 }), fc.nat(), (tag, length, bit) => {
      const bytes = makePayload(tag, length);
      const at = bit % (bytes.length * 8);
      bytes[at >>> 3]! ^= 1 << (at & 7);
      assert.ok(!readPayload(viewOf(bytes), 0, bytes.length, emptyTag()));
      bytes[at >>> 3]! ^= 1 << (at & 7);
      assert.ok(!readPayload(viewOf(bytes), 0, bytes.length - 1, emptyTag()));
    }),
  );
});
