/**
 * A client's READs: those that wait until reads may go again, and those of this connection in the order in which they were sent,
 * until the server calls them safe (READS_TAKEN).
 */
import { READ_INTERVAL_MS } from '../core/limits.js';
import { Mark, reached } from '../core/probe.js';
import type { Conversation } from './conversation.js';

/** If the server calls none safe for so long, the older half is forgotten, and sent again after a reconnect. */
const READS_MAX = 2_048;
const NEVER = Number.POSITIVE_INFINITY;

export class Reads {
  readonly #waiting: Conversation[] = [];
  #readyAtMs = 0;
  /** Sequence 0: refused, so whatever the server counts, it is not safe. */
  readonly #sent: { readonly conversation: Conversation; seq: number }[] = [];
  /** How many are off the list, since the connection opened. */
  #taken = 0;

  /** When those that wait may go; infinite: none does. */
  get wakeAtMs(): number {
    return this.#waiting.length > 0 ? this.#readyAtMs : NEVER;
  }

  /** A new connection counts anew. What waited is sent when it is live, as everything that is not confirmed. */
  restart(): void {
    this.#forgetWaiting();
    this.#sent.length = 0;
    this.#taken = 0;
  }

  /** The conversation has a READ to send. */
  wait(conversation: Conversation): void {
    if (conversation.readWaits) {
      reached(Mark.CLIENT_READS_TOGETHER);
      return;
    }
    conversation.readWaits = true;
    this.#waiting.push(conversation);
  }

  /** Hands over all that wait; the next ones wait for READ_INTERVAL_MS. */
  release(nowMs: number, to: (conversation: Conversation) => void): void {
    for (const conversation of this.#waiting) to(conversation);
    this.#forgetWaiting();
    this.#readyAtMs = nowMs + READ_INTERVAL_MS;
  }

  #forgetWaiting(): void {
    for (const conversation of this.#waiting) conversation.readWaits = false;
    this.#waiting.length = 0;
  }

  /** A READ of what the conversation wants was sent. */
  sent(conversation: Conversation): void {
    conversation.readSent = conversation.readWanted;
    if (this.#sent.length === READS_MAX) this.#take(READS_MAX / 2);
    this.#sent.push({ conversation, seq: conversation.readWanted });
  }

  /** A READ of this conversation was refused for now: it is to be sent again. */
  refused(conversation: Conversation): void {
    conversation.readSent = conversation.readConfirmed;
    for (const read of this.#sent) if (read.conversation === conversation) read.seq = 0;
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
    const taken = this.#sent.splice(0, count);
    this.#taken += taken.length;
    return taken;
  }
}
