/** READs of a connection in the order in which they were sent, until the server calls them safe (READS_TAKEN). */
import type { Conversation } from './conversation.js';

/** If the server calls none safe for so long, the older half is forgotten, and sent again after a reconnect. */
const READS_MAX = 2_048;

export class ReadsSent {
  /** Sequence 0: refused, so whatever the server counts, it is not safe. */
  readonly #reads: { readonly conversation: Conversation; seq: number }[] = [];
  /** How many are off the list, since the connection opened. */
  #taken = 0;

  /** A new connection counts anew. */
  restart(): void {
    this.#reads.length = 0;
    this.#taken = 0;
  }

  add(conversation: Conversation, seq: number): void {
    if (this.#reads.length === READS_MAX) this.#take(READS_MAX / 2);
    this.#reads.push({ conversation, seq });
  }

  refused(conversation: Conversation): void {
    for (const read of this.#reads) if (read.conversation === conversation) read.seq = 0;
  }

  /** The first `count` of the connection are safe. Returns of how many that was not known. */
  confirm(count: number): number {
    const taken = this.#take(Math.max(0, count - this.#taken));
    for (const { conversation, seq } of taken) {
      if (seq > conversation.readConfirmed) conversation.readConfirmed = seq;
    }
    return taken.length;
  }

  #take(count: number): { readonly conversation: Conversation; readonly seq: number }[] {
    const taken = this.#reads.splice(0, count);
    this.#taken += taken.length;
    return taken;
  }
}
