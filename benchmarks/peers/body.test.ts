import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Body, HEAD_BYTES, makeBody, readBody } from './body.js';

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const bodies = fc.record({
  sender: word,
  conversation: word,
  serial: word,
  dueMs: fc.integer({ min: 0, max: 2 ** 40 }).map((us) => us / 1_000),
});

function empty(): Body {
  return { sender: 0, conversation: 0, serial: 0, dueMs: 0 };
}

test('a body is read as it was written, and is digits alone', () => {
  fc.assert(
    fc.property(bodies, fc.integer({ min: 0, max: 1_000 }), (body, length) => {
      const bytes = makeBody(body, length);
      assert.equal(bytes.length, Math.max(HEAD_BYTES, length));
      assert.match(bytes.toString('latin1'), /^[0-9a-f]+$/);
      const read = empty();
      assert.ok(readBody(bytes, read));
      assert.deepEqual(read, { ...body });
    }),
  );
});

test('a body of which one byte is another one, or that ends early, is not taken', () => {
  fc.assert(
    fc.property(bodies, fc.nat(119), fc.integer({ min: 1, max: 255 }), (body, at, change) => {
      const bytes = makeBody(body);
      bytes[at]! ^= change;
      const read = empty();
      assert.ok(!readBody(bytes, read));
    }),
  );
  const zeros = makeBody({ sender: 0, conversation: 0, serial: 0, dueMs: 0 });
  zeros[0] = 0x3a;
  assert.ok(!readBody(zeros, empty()));
  assert.ok(!readBody(makeBody({ sender: 1, conversation: 1, serial: 1, dueMs: 1 }).subarray(0, 43), empty()));
});
