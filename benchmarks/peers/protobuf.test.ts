import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ProtobufReader, ProtobufWriter } from './protobuf.js';

const fields = fc.array(
  fc.tuple(
    fc.integer({ min: 1, max: 1_000 }),
    fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.uint8Array({ maxLength: 600 })),
  ),
);

test('fields are read as they were written', () => {
  const writer = new ProtobufWriter();
  const reader = new ProtobufReader();
  fc.assert(
    fc.property(fields, (all) => {
      writer.reset();
      for (const [field, value] of all) {
        if (typeof value === 'number') writer.varintField(field, value);
        else writer.bytesField(field, value);
      }
      const { bytes } = writer;
      reader.read(bytes, 0, bytes.length);
      for (const [field, value] of all) {
        assert.ok(reader.next());
        assert.equal(reader.field, field);
        if (typeof value === 'number') assert.equal(reader.value, value);
        else assert.deepEqual(new Uint8Array(bytes.subarray(reader.from, reader.to)), value);
      }
      assert.ok(!reader.next());
    }),
  );
});

test('the bytes of the format’s own description, and bytes that are none', () => {
  const writer = new ProtobufWriter();
  writer.varintField(1, 150);
  writer.bytesField(2, Buffer.from('testing'));
  assert.equal(writer.bytes.toString('hex'), '089601120774657374696e67');
  const reader = new ProtobufReader();
  for (const [hex, message] of [
    ['0a05aa', /ends behind/],
    ['0896', /no end/],
    ['0d00000000', /wire type 5/],
  ] as const) {
    const bytes = Buffer.from(hex, 'hex');
    reader.read(bytes, 0, bytes.length);
    assert.throws(() => reader.next(), message);
  }
});
