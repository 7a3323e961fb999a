import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { Marks } from './marks.js';

it('keeps the highest sequence of each conversation, in order of first mention, and forgets all', () => {
  const mention = fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 200 }), fc.nat({ max: 9 }));
  const marks = new Marks();
  fc.assert(
    fc.property(fc.array(mention, { maxLength: 400 }), (mentions) => {
      const expected = new Map<string, number>();
      for (const [a, b, seq] of mentions) {
        marks.raise(a, b, seq);
        expected.set(`${a} ${b}`, Math.max(seq, expected.get(`${a} ${b}`) ?? 0));
      }
      const read = Array.from({ length: marks.size }, (_, i) => [`${marks.convA(i)} ${marks.convB(i)}`, marks.seq(i)]);
      assert.deepEqual(read, [...expected]);
      marks.clear();
      assert.equal(marks.size, 0);
    }),
  );
});
