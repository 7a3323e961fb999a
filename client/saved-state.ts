/** What of a client's conversations goes into its saved state (snapshot.ts), and how it comes back. */
import { DunlinError } from '../core/errors.js';
import type { Conversation, Entry } from './conversation.js';
import type { Conversations } from './conversations.js';
import type { SavedConversation, SavedEntry } from './snapshot.js';

function savedEntry({ kind, flags, extra, payload, tag, counter, transmissions }: Entry): SavedEntry {
  return { kind, flags, extra, payload, tag, counter, wasSent: transmissions > 0 };
}

/** `waiting`: entries whose outcome the application has not acknowledged. */
export function saveConversations(
  conversations: Iterable<Conversation>,
  waiting: ReadonlyMap<Conversation, readonly Entry[]>,
): SavedConversation[] {
  const saved: SavedConversation[] = [];
  for (const conversation of conversations) {
    const { a, b, lastCounter, countersKnown, acknowledgedSeq: seq, readWanted, readConfirmed } = conversation;
    const read = readWanted > readConfirmed ? readWanted : 0;
    // One entry a counter: if the server lost counters, the one of a delivered outcome may be given to another since then, and
    // what waits for its outcome matters more.
    const byCounter = new Map<number, Entry>();
    for (const entry of waiting.get(conversation) ?? []) byCounter.set(entry.counter, entry);
    for (const entry of conversation.unsettled()) byCounter.set(entry.counter, entry);
    const entries = [...byCounter.values()];
    entries.sort((one, other) => one.counter - other.counter);
    if (lastCounter + seq + read === 0) continue;
    saved.push({ a, b, lastCounter, countersKnown, seq, read, entries: entries.map(savedEntry) });
  }
  return saved;
}

/** Puts saved conversations back; returns how many entries wait in them. Throws a DunlinError for what cannot be this user's. */
export function restoreConversations(conversations: Conversations, saved: readonly SavedConversation[]): number {
  let restored = 0;
  for (const { a, b, lastCounter, countersKnown, seq, read, entries } of saved) {
    if (conversations.known(a, b) !== undefined) {
      throw new DunlinError(`The saved client state has (${a}, ${b}) twice.`);
    }
    const conversation = conversations.mustOpen(a, b);
    conversation.countersKnown = countersKnown;
    conversation.lastSeq = seq;
    conversation.acknowledgedSeq = seq;
    conversation.readWanted = read;
    conversation.restore(
      entries.map(({ wasSent, ...entry }) => ({ ...entry, transmissions: wasSent ? 1 : 0, settled: false })),
      lastCounter,
    );
    restored += entries.length;
  }
  return restored;
}
