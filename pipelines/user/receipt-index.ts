/**
 * The one RECEIPT in memory for each (user, conversation, whose): a hash index over inbox entries, chained through the entries
 * themselves. A newer receipt replaces the older one wherever that lies, and finding it costs one look-up, however long the
 * inbox is. (Looking back over the last entries instead took a fifth of the stage's time, and missed older ones.)
 *
 * Which entries are in it follows from the inbox, so it is rebuilt by linking them again and is not exported.
 */
import { At } from '../../core/frame.js';
import { hashWords } from '../../core/ids.js';
import { frameAt, sameConversation, sameDevice } from './blobs.js';
import { EntryAt } from './rows.js';
import type { UserState } from './state.js';

const INITIAL_BUCKETS = 1_024;

export class ReceiptIndex {
  /** First entry of each chain; 0: none. */
  #buckets = new Uint32Array(INITIAL_BUCKETS);
  #size = 0;

  #bucketOf(state: UserState, user: number, blob: number): number {
    const { view } = state.memory;
    const at = frameAt(blob);
    const conversation = hashWords(
      view.getUint32(at + At.CONV_A + 4),
      view.getUint32(at + At.CONV_A),
      view.getUint32(at + At.CONV_B + 4),
      view.getUint32(at + At.CONV_B),
    );
    const whose = view.getUint32(at + At.DEVICE + 4) ^ view.getUint32(at + At.DEVICE);
    return hashWords(conversation, whose, user, 0) & (this.#buckets.length - 1);
  }

  /** The user's entry that a receipt with the frame in `blob` replaces, or 0. */
  find(state: UserState, user: number, blob: number): number {
    const { u32, view } = state.memory;
    const frame = frameAt(blob);
    let entry = this.#buckets[this.#bucketOf(state, user, blob)]!;
    for (; entry !== 0; entry = u32[entry + EntryAt.CHAIN]!) {
      if (u32[entry + EntryAt.OWNER] !== user) continue;
      const other = frameAt(u32[entry + EntryAt.BLOB]!);
      if (sameConversation(view, frame, other) && sameDevice(view, frame, other)) return entry;
    }
    return 0;
  }

  /** Takes up an entry with a RECEIPT. */
  add(state: UserState, user: number, entry: number): void {
    if (this.#size === this.#buckets.length) this.#grow(state);
    const { u32 } = state.memory;
    const bucket = this.#bucketOf(state, user, u32[entry + EntryAt.BLOB]!);
    u32[entry + EntryAt.OWNER] = user;
    u32[entry + EntryAt.CHAIN] = this.#buckets[bucket]!;
    this.#buckets[bucket] = entry;
    this.#size++;
  }

  /** Forgets an entry that was added and is about to be freed. */
  remove(state: UserState, user: number, entry: number): void {
    const { u32 } = state.memory;
    const bucket = this.#bucketOf(state, user, u32[entry + EntryAt.BLOB]!);
    const next = u32[entry + EntryAt.CHAIN]!;
    this.#size--;
    if (this.#buckets[bucket] === entry) {
      this.#buckets[bucket] = next;
      return;
    }
    let before = this.#buckets[bucket]!;
    while (u32[before + EntryAt.CHAIN] !== entry) before = u32[before + EntryAt.CHAIN]!;
    u32[before + EntryAt.CHAIN] = next;
  }

  #grow(state: UserState): void {
    const { u32 } = state.memory;
    const old = this.#buckets;
    this.#buckets = new Uint32Array(old.length * 2);
    this.#size = 0;
    for (const head of old) {
      for (let entry = head; entry !== 0; ) {
        const next = u32[entry + EntryAt.CHAIN]!;
        this.add(state, u32[entry + EntryAt.OWNER]!, entry);
        entry = next;
      }
    }
  }

  /** Entries in it. */
  get size(): number {
    return this.#size;
  }
}
