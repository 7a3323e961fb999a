import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Kind, makeFrame } from '../../core/frame.js';
import { makeBlob, releaseBlob, retainBlob } from './blobs.js';
import { appendEntry, freeEntry, replaceOlder } from './inbox.js';
import { EntryAt } from './rows.js';
import { UserState } from './state.js';

/** Receipts of a few users, conversations and owners come and go; a map says which entry of each is the one. */
test('one receipt a user, conversation and owner stays, the newest, and is found', () => {
  const step = fc.record({
    user: fc.integer({ min: 1, max: 40 }),
    conversation: fc.integer({ min: 1, max: 60 }),
    owner: fc.integer({ min: 0, max: 3 }),
    isFree: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 4_000, minLength: 2_000 }), (steps) => {
      const state = new UserState({ partition: 0, conversationPartitions: 1, userPartitions: 1 });
      const live = new Map<string, number>();
      for (const { user, conversation, owner, isFree } of steps) {
        const key = `${user} ${conversation} ${owner}`;
        const row = state.ensureUser(user, 0);
        const frame = makeFrame({ kind: Kind.RECEIPT, convB: conversation, device: owner * 128 });
        const before = live.get(key);
        const blob = makeBlob(state, frame, 0);
        retainBlob(state, blob);
        assert.equal(state.receipts.find(state, row, blob), before ?? 0);
        if (isFree && before !== undefined) {
          freeEntry(state, row, before);
          live.delete(key);
        } else {
          replaceOlder(state, row, blob);
          const entry = appendEntry(state, row, blob);
          assert.equal(state.memory.u32[entry + EntryAt.OWNER], row);
          live.set(key, entry);
        }
        releaseBlob(state, blob);
        assert.equal(state.receipts.size, live.size);
      }
      assert.equal(state.entries.size, live.size);
    }),
    { numRuns: 20 },
  );
});
