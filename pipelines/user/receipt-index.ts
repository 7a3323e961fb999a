/**
 * The one RECEIPT in memory for each (user, conversation, whose): a hash index over inbox entries, chained through the entries
 * themselves. A newer receipt replaces the older one wherever that lies, and finding it costs one look-up, however long the
 * inbox is. (Looking back over the last entries instead took a fifth of the stage's time, and missed older ones.)
 *
 * Which entries are in it follows from the inbox, so it is rebuilt by linking them again and is not exported. It lies in linear
 * memory (`descriptor`), so that a kernel finds and changes it too.
 */
import { At } from '../../core/frame.js';
import { hashWords } from '../../core/ids.js';
import type { LinearMemory } from '../../core/memory.js';
import { frameAt, sameConversation, sameDevice } from './blobs.js';
import { EntryAt } from './rows.js';
import type { UserState } from './state.js';

const INITIAL_BUCKETS = 1_024;

/** Words of its descriptor: byte offset of the buckets, each the first entry of a chain or 0; how many; entries in it. */
const Descriptor = { BUCKETS: 0, COUNT: 1, SIZE: 2, WORDS: 3 } as const;

export class ReceiptIndex {
  readonly #memory: LinearMemory;
  readonly #at: number;
  /** Word index of the first bucket, and how many there are. */
  #buckets = 0;
  #count = 0;

  constructor(memory: LinearMemory) {
    this.#memory = memory;
    this.#at = memory.alloc(Descriptor.WORDS * 4) >>> 2;
    this.#make(INITIAL_BUCKETS);
  }

  /** Byte offset of the descriptor. */
  get descriptor(): number {
    return this.#at * 4;
  }

  #make(count: number): void {
    this.#buckets = this.#memory.alloc(count * 4) >>> 2;
    this.#count = count;
    const { u32 } = this.#memory;
    u32[this.#at + Descriptor.BUCKETS] = this.#buckets * 4;
    u32[this.#at + Descriptor.COUNT] = count;
    u32[this.#at + Descriptor.SIZE] = 0;
  }

  /** Word index of the bucket. */

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
    return this.#buckets + (hashWords(conversation, whose, user, 0) & (this.#count - 1));
  }

  /** The user's entry that a receipt with the frame in `blob` replaces, or 0. */
  find(state: UserState, user: number, blob: number): number {
    const { u32, view } = state.memory;
    const frame = frameAt(blob);
    let entry = u32[this.#bucketOf(state, user, blob)]!;
    for (; entry !== 0; entry = u32[entry + EntryAt.CHAIN]!) {
      if (u32[entry + EntryAt.OWNER] !== user) continue;
      const other = frameAt(u32[entry + EntryAt.BLOB]!);
      if (sameConversation(view, frame, other) && sameDevice(view, frame, other)) return entry;
    }
    return 0;
  }

  /** Sees to it that so many more entries can be taken up without growing. */
  reserve(state: UserState, more: number): void {
    while (this.size + more > this.#count) this.#grow(state);
  }

  /** Takes up an entry with a RECEIPT. May grow the memory. */
  add(state: UserState, user: number, entry: number): void {
    if (this.size === this.#count) this.#grow(state);
    const { u32 } = state.memory;
    const bucket = this.#bucketOf(state, user, u32[entry + EntryAt.BLOB]!);
    u32[entry + EntryAt.OWNER] = user;
    u32[entry + EntryAt.CHAIN] = u32[bucket]!;
    u32[bucket] = entry;
    u32[this.#at + Descriptor.SIZE]!++;
  }

  /** Forgets an entry that was added and is about to be freed. */
  remove(state: UserState, user: number, entry: number): void {
    const { u32 } = state.memory;
    const bucket = this.#bucketOf(state, user, u32[entry + EntryAt.BLOB]!);
    const next = u32[entry + EntryAt.CHAIN]!;
    u32[this.#at + Descriptor.SIZE]!--;
    if (u32[bucket] === entry) {
      u32[bucket] = next;
      return;
    }
    let before = u32[bucket]!;
    while (u32[before + EntryAt.CHAIN] !== entry) before = u32[before + EntryAt.CHAIN]!;
    u32[before + EntryAt.CHAIN] = next;
  }

  #grow(state: UserState): void {
    const old = this.#buckets;
    const count = this.#count;
    this.#make(count * 2);
    const { u32 } = this.#memory;
    for (let bucket = old; bucket < old + count; bucket++) {
      for (let entry = u32[bucket]!; entry !== 0; ) {
        const next = u32[entry + EntryAt.CHAIN]!;
        this.add(state, u32[entry + EntryAt.OWNER]!, entry);
        entry = next;
      }
    }
    this.#memory.free(old * 4, count * 4);
  }

  /** Entries in it. */
  get size(): number {
    return this.#memory.u32[this.#at + Descriptor.SIZE]!;
  }
}
