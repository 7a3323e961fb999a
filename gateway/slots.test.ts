import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../core/prng.js';
import { Slots } from './slots.js';

test('each slot keeps its bytes until it is given back; slots are used again', () => {
  const prng = new Prng(3);
  const slots = new Slots(16);
  const kept: { slot: number; bytes: Uint8Array }[] = [];
  let most = 0;
  for (let round = 0; round < 20_000; round++) {
    if (kept.length < 200 && prng.below(2) === 0) {
      const bytes = Uint8Array.from({ length: 1 + prng.below(16) }, () => prng.below(256));
      kept.push({ slot: slots.put(bytes, bytes.length), bytes });
    } else if (kept.length > 0) {
      const [{ slot, bytes } = assert.fail()] = kept.splice(prng.below(kept.length), 1);
      assert.deepEqual(slots.get(slot, bytes.length), bytes);
      slots.giveBack(slot);
    }
    assert.equal(slots.used, kept.length);
    for (const { slot } of kept) most = Math.max(most, slot);
  }
  assert.ok(most < 256, `slot ${most} for at most 200 at a time`);
});
