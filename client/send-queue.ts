/** Which conversations have something to send, in order, and which wait until they may try again. */
import type { Prng } from '../core/prng.js';
import type { Conversation } from './conversation.js';

export class SendQueue {
  readonly #random: Prng;
  #ready: Conversation[] = [];
  /** The first of them. */
  #head = 0;
  /** Conversations that wait for their `retryAtMs`. */
  readonly #waiting: Conversation[] = [];

  constructor(random: Prng) {
    this.#random = random;
  }

  get isEmpty(): boolean {
    return this.#head === this.#ready.length;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** The first conversation with something to send. */
  get first(): Conversation | undefined {
    return this.#ready[this.#head];
  }

  /** Everything of the first one was sent. */
  shift(): void {
    this.#ready[this.#head++]!.queued = false;
    if (this.isEmpty) this.#reset();
  }

  push(conversation: Conversation): void {
    if (conversation.queued) return;
    conversation.queued = true;
    this.#ready.push(conversation);
  }

  /** A new connection. `queued` of each conversation is the caller's. */
  clear(): void {
    this.#reset();
    this.#waiting.length = 0;
  }

  #reset(): void {
    this.#ready = [];
    this.#head = 0;
  }

  /** Sends again from this counter on, after a pause. */
  goBack(conversation: Conversation, counter: number, nowMs: number): void {
    const isWaiting = conversation.retryAtMs !== 0;
    conversation.goBack(counter, nowMs, this.#random);
    if (!isWaiting) this.#waiting.push(conversation);
  }

  /** Who has waited long enough is ready again, if the link is `isLive`. */
  endPauses(nowMs: number, isLive: boolean): void {
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      const conversation = this.#waiting[i]!;
      if (conversation.retryAtMs > nowMs) continue;
      conversation.retryAtMs = 0;
      this.#waiting[i] = this.#waiting.at(-1)!;
      this.#waiting.pop();
      if (isLive) this.push(conversation);
    }
  }

  /** When the first pause ends; infinite: nobody waits. */
  get wakeAtMs(): number {
    let wakeAtMs = Number.POSITIVE_INFINITY;
    for (const { retryAtMs } of this.#waiting) if (retryAtMs < wakeAtMs) wakeAtMs = retryAtMs;
    return wakeAtMs;
  }
}
