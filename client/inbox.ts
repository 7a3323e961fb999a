/**
 * Where a client stands in its inbox: up to where it received, up to where the application has processed that, and when the
 * server is to hear of it (ACK). Positions only grow.
 */
import { ACK_ANSWERS_DELAY_MS, ACK_DELAY_MS, ACK_ENTRIES, ACK_INTERVAL_MS } from '../core/limits.js';
import { buggify, Site } from '../core/probe.js';
import type { Conversation, Entry } from './conversation.js';

const NEVER = Number.POSITIVE_INFINITY;

/** A positioned frame that was delivered and is not acknowledged yet. */
interface Delivered {
  readonly position: number;
  /** True if it waits for the application. */
  readonly held: boolean;
  readonly conversation: Conversation | undefined;
  /** The sequence it took; 0: none. */
  readonly seq: number;
  /** The entry whose outcome it was. */
  readonly entry: Entry | undefined;
}

/** When a received frame counts as processed: see the head of core.ts. */
export type AcknowledgeMode = 'auto' | 'messages' | 'all';

export class Inbox {
  readonly #mode: AcknowledgeMode;
  /** Highest position received, and highest position processed. */
  received: number;
  position: number;
  /** When the next ACK is due; infinite: there is nothing to acknowledge. */
  ackAtMs = NEVER;
  /** An ACK that is no more urgent than others waits until then. */
  #notBeforeMs = 0;
  /** Grows whenever something of it changes. */
  revision = 0;
  /** Processed entries since the last ACK. */
  #unackedEntries = 0;
  #delivered: Delivered[] = [];
  #deliveredHead = 0;

  constructor(mode: AcknowledgeMode, position: number) {
    this.#mode = mode;
    this.received = position;
    this.position = position;
  }

  get isAuto(): boolean {
    return this.#mode === 'auto';
  }

  /** A new connection: its HELLO acknowledges. */
  restart(): void {
    this.ackAtMs = NEVER;
    this.#notBeforeMs = 0;
    this.#unackedEntries = 0;
  }

  /** An ACK of `position` was written. */
  acked(nowMs: number): void {
    this.ackAtMs = NEVER;
    this.#notBeforeMs = nowMs + ACK_INTERVAL_MS;
    this.#unackedEntries = 0;
  }

  /** The ACK is due so soon that it goes along with what is sent: a WebSocket message costs far more than a frame in it. */
  mayAckAlong(nowMs: number): boolean {
    return nowMs >= this.ackAtMs - ACK_DELAY_MS;
  }

  /** What is to be acknowledged is due now. */
  hurry(nowMs: number): void {
    if (this.#unackedEntries > 0) this.ackAtMs = nowMs;
  }

  /** A positioned frame was handed over. */
  deliver(position: number, held: boolean, nowMs: number, conversation?: Conversation, seq = 0, entry?: Entry): void {
    const isNew = position > this.received;
    if (isNew) this.received = position;
    if (this.#mode === 'auto') {
      if (seq > 0) conversation!.acknowledgedSeq = seq;
      this.#processed(position, seq > 0 && entry === undefined, nowMs);
    } else if (isNew || conversation !== undefined) {
      this.#delivered.push({ position: this.received, held: held || this.#mode === 'all', conversation, seq, entry });
      if (!held && this.#mode === 'messages') this.acknowledge(0, nowMs);
    }
    this.revision++;
  }

  /** The application has processed everything up to this position. */
  acknowledge(position: number, nowMs: number): void {
    const delivered = this.#delivered;
    while (this.#deliveredHead < delivered.length) {
      const first = delivered[this.#deliveredHead]!;
      if (first.position > position && first.held) break;
      this.#deliveredHead++;
      if (first.seq > 0) first.conversation!.acknowledgedSeq = first.seq;
      this.#processed(first.position, first.seq > 0 && first.entry === undefined, nowMs);
    }
    if (this.#deliveredHead * 2 >= delivered.length) {
      delivered.splice(0, this.#deliveredHead);
      this.#deliveredHead = 0;
    }
  }

  /** `isAwaited`: another device sent it, so somebody waits to see it delivered. */
  #processed(position: number, isAwaited: boolean, nowMs: number): void {
    if (position <= this.position) return;
    this.position = position;
    this.revision++;
    if (++this.#unackedEntries >= ACK_ENTRIES || buggify(Site.CLIENT_ACKS_AT_ONCE)) this.ackAtMs = nowMs;
    else if (isAwaited) {
      const delayMs = buggify(Site.CLIENT_ACKS_LATER) ? 5 * ACK_DELAY_MS : ACK_DELAY_MS;
      this.ackAtMs = Math.min(this.ackAtMs, Math.max(nowMs + delayMs, this.#notBeforeMs));
    } else if (this.ackAtMs === NEVER) this.ackAtMs = nowMs + ACK_ANSWERS_DELAY_MS;
  }

  /** Entries of the outbox whose outcome was delivered, but not acknowledged, by conversation. */
  waitingOutcomes(): Map<Conversation, Entry[]> {
    const waiting = new Map<Conversation, Entry[]>();
    for (let i = this.#deliveredHead; i < this.#delivered.length; i++) {
      const { entry, conversation } = this.#delivered[i]!;
      if (entry === undefined || conversation === undefined) continue;
      const entries = waiting.get(conversation);
      if (entries === undefined) waiting.set(conversation, [entry]);
      else entries.push(entry);
    }
    return waiting;
  }
}
