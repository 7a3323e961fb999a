import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LinearMemory } from './memory.js';

interface Block {
  at: number;
  bytes: number;
  mark: number;
}

/** Fills a block, so that anything that overlaps it shows. */
function fill(memory: LinearMemory, block: Block): void {
  memory.u8.fill(block.mark, block.at, block.at + block.bytes);
}

test('blocks are zeroed, aligned, never overlap, and keep their bytes while others come and go', () => {
  const step = fc.record({ free: fc.boolean(), which: fc.nat(100), bytes: fc.integer({ min: 1, max: 5_000 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const memory = new LinearMemory();
      const blocks: Block[] = [];
      steps.forEach(({ free, which, bytes }, i) => {
        if (free && blocks.length > 0) {
          const [block] = blocks.splice(which % blocks.length, 1);
          memory.free(block!.at, block!.bytes);
        } else {
          const block = { at: memory.alloc(bytes), bytes, mark: 1 + (i % 255) };
          assert.ok(block.at > 0 && block.at % 16 === 0);
          assert.ok(memory.u8.subarray(block.at, block.at + bytes).every((byte) => byte === 0));
          fill(memory, block);
          blocks.push(block);
        }
        for (const { at, bytes: length, mark } of blocks) {
          assert.ok(memory.u8[at] === mark && memory.u8[at + length - 1] === mark, 'a block was overwritten');
        }
      });
      for (const { at, bytes, mark } of blocks) {
        assert.ok(memory.u8.subarray(at, at + bytes).every((byte) => byte === mark));
      }
    }),
    { numRuns: 60 },
  );
});

test('a freed block is used again, and live bytes are counted in whole blocks', () => {
  const memory = new LinearMemory();
  assert.equal(memory.liveBytes, 0);
  const one = memory.alloc(17);
  assert.equal(memory.liveBytes, 32);
  const other = memory.alloc(100);
  assert.equal(memory.liveBytes, 32 + 128);
  memory.free(one, 17);
  assert.equal(memory.liveBytes, 128);
  assert.notEqual(memory.alloc(16), one, 'another size');
  assert.equal(memory.alloc(32), one);
  memory.free(other, 100);
  assert.equal(memory.alloc(65), other);
});

test('sizes at powers of two take exactly one block of that size', () => {
  for (let shift = 4; shift <= 20; shift++) {
    const memory = new LinearMemory();
    memory.alloc(2 ** shift);
    assert.equal(memory.liveBytes, 2 ** shift);
    memory.alloc(2 ** shift + 1);
    assert.equal(memory.liveBytes, 2 ** shift + 2 ** (shift + 1));
  }
});

test('it grows as needed, views follow, and what was there stays', () => {
  const memory = new LinearMemory();
  const at = memory.alloc(16);
  memory.view.setUint32(at, 0xdead_beef, true);
  const before = memory.u8;
  memory.alloc(300_000);
  assert.notEqual(memory.u8, before);
  assert.ok(memory.byteLength >= 300_000);
  assert.equal(memory.u8.length, memory.byteLength);
  assert.equal(memory.u32[at >>> 2], 0xdead_beef);
  assert.equal(memory.view.getUint32(at, true), 0xdead_beef);
});

test('more than 4 GiB is an error, not a wrong block', () => {
  for (const bytes of [2 ** 32, 2 ** 31 + 1, 2 ** 31]) {
    const memory = new LinearMemory();
    assert.throws(() => memory.alloc(bytes) + memory.alloc(bytes), RangeError);
  }
});
