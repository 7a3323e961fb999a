import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { LinearMemory } from '../../core/memory.js';
import { Pool } from './pool.js';

it('hands out zeroed rows that do not overlap, and takes them back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 9 }), fc.array(fc.nat({ max: 3 }), { maxLength: 3_000 }), (words, acts) => {
      const memory = new LinearMemory();
      const pool = new Pool(memory, words);
      const rows: number[] = [];
      for (const act of acts) {
        if (act === 0 && rows.length > 0) {
          pool.free(rows.pop()!);
          continue;
        }
        const row = pool.alloc();
        assert.ok(row > 0);
        for (let word = 0; word < words; word++) assert.equal(memory.u32[row + word], 0);
        memory.u32.fill(row, row, row + words);
        rows.push(row);
      }
      assert.equal(pool.size, rows.length);
      for (const row of rows) for (let word = 0; word < words; word++) assert.equal(memory.u32[row + word], row);
    }),
    { numRuns: 20 },
  );
});
