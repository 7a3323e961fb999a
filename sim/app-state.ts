/**
 * What an application keeps, and what of it is safe: the states that its storage took, and what it was handed, sent and read
 * since. When it dies, all that is not in the storage is gone; the checkers are told so much and no more.
 */

import { decodeSnapshot, type Snapshot } from '../client/snapshot.js';
import type { HistoryEvent } from '../core/checks/index.js';
import { isDirect } from '../core/ids.js';
import { conversationKey } from './keys.js';

type Feed = (event: HistoryEvent) => void;

/** Whether a counter of the device was taken. */
type Stands = (a: number, b: number, counter: number) => boolean;

/** Backups that somebody may bring back. */
const STATES_MAX = 16;

/** A state on its way to the storage, and what it makes safe. */
export interface SavedState {
  readonly state: Uint8Array;
  readonly reads: readonly HistoryEvent[];
  readonly blocked: ReadonlySet<number>;
}

/** BLOCK, as far as it came: up to which position everything had come. */
interface BlockChange {
  readonly position: number;
  readonly user: number;
  readonly on: boolean;
}

interface Conversation {
  readonly a: number;
  readonly b: number;
  /** The last sequence that the application was handed, in this life and in any. */
  seen: number;
  seenMax: number;
  /** Sends by counter: content, and whether an outcome is known. */
  readonly sends: Map<number, { readonly content: number; isOpen: boolean }>;
  /** Counters used for something else before: the client must find that out, and use another. */
  readonly doubtful: Set<number>;
}

export class AppState {
  readonly #device: number;
  readonly #feed: Feed;
  readonly #stands: Stands;
  /** What was read may be lost with the state, for good. */
  readonly #losesReads: boolean;
  readonly #conversations = new Map<number, Conversation>();
  /** The last of them is what the storage holds. */
  readonly #states: SavedState[] = [];
  #reads: HistoryEvent[] = [];
  /** Whom the device was told to be blocked; the same as far as the last saved state had processed it, and what came behind. */
  #blocked: ReadonlySet<number> = new Set();
  #processed: ReadonlySet<number> = new Set();
  #unprocessed: readonly BlockChange[] = [];
  /** Everything was lost: where it stands in a conversation shows with the first frame. */
  readonly #unplaced = new Set<Conversation>();

  constructor(device: number, feed: Feed, stands: Stands, losesReads: boolean) {
    this.#device = device;
    this.#feed = feed;
    this.#stands = stands;
    this.#losesReads = losesReads;
  }

  #of(a: number, b: number): Conversation {
    const key = conversationKey(a, b);
    let conversation = this.#conversations.get(key);
    if (conversation === undefined) {
      conversation = { a, b, seen: 0, seenMax: 0, sends: new Map(), doubtful: new Set() };
      this.#conversations.set(key, conversation);
    }
    return conversation;
  }

  seen(a: number, b: number): number {
    return this.#conversations.get(conversationKey(a, b))?.seen ?? 0;
  }

  /** Where what comes next begins: the client itself does not know, if it lost its state or has an old one (`isOld`). */
  firstOf(a: number, b: number, from: number, isOld: boolean): number {
    const conversation = this.#of(a, b);
    return isOld || this.#unplaced.has(conversation) ? Math.max(from, conversation.seenMax + 1) : from;
  }

  /** The application is handed `seq`, or told what will not come up to there. Before the checkers are told. */
  handed(a: number, b: number, seq: number): void {
    const conversation = this.#of(a, b);
    if (this.#unplaced.delete(conversation) && seq <= conversation.seenMax) this.#rewind(conversation, seq - 1);
    conversation.seen = seq;
    conversation.seenMax = Math.max(conversation.seenMax, seq);
  }

  /** True if the application saw all this in an earlier life, so that it may be told that it is lost: a backup is old. */
  skips(a: number, b: number, through: number): boolean {
    const conversation = this.#of(a, b);
    if (through > conversation.seenMax) return false;
    this.#rewind(conversation, through);
    return true;
  }

  /** Somebody adds the user to the group anew at `seq`: what a backup lacks of the time before is not told as lost. */
  rejoins(a: number, b: number, seq: number): void {
    const conversation = this.#of(a, b);
    if (conversation.seen < conversation.seenMax && seq > conversation.seenMax) {
      this.#rewind(conversation, conversation.seenMax);
    }
  }

  /** The end, after a backup was brought back: what had been acknowledged since, and nothing came behind, is not missed. */
  finish(): void {
    for (const conversation of this.#conversations.values()) {
      if (conversation.seen < conversation.seenMax) this.#rewind(conversation, conversation.seenMax);
    }
  }

  #rewind(conversation: Conversation, seq: number): void {
    const { a, b } = conversation;
    conversation.seen = seq;
    this.#feed({ op: 'rewound', device: this.#device, a, b, seq });
  }

  // --- sends --------------------------------------------------------------------------------------------------------------------

  sending(a: number, b: number, counter: number, content: number): void {
    const { sends, doubtful } = this.#of(a, b);
    const before = sends.get(counter);
    if (before !== undefined && before.content !== content) {
      if (!before.isOpen || this.#stands(a, b, counter)) {
        doubtful.add(counter);
        return;
      }
      this.#feed({ op: 'forgotten', device: this.#device, a, b, counter });
    }
    sends.set(counter, { content, isOpen: true });
    this.#feed({ op: 'send', device: this.#device, a, b, counter, content });
  }

  renumbered(a: number, b: number, from: number, to: number, content: number): void {
    this.#of(a, b).doubtful.delete(from);
    this.sending(a, b, to, content);
  }

  /** The send has an outcome. False: it is one that cannot be this send's. */
  settled(a: number, b: number, counter: number): boolean {
    const { sends, doubtful } = this.#of(a, b);
    const send = sends.get(counter);
    if (send !== undefined) send.isOpen = false;
    return !doubtful.has(counter);
  }

  // --- reads --------------------------------------------------------------------------------------------------------------------

  /** `isKept`: there is a storage, and this is not in it yet. */
  read(a: number, b: number, seq: number, isKept: boolean): void {
    const event = { op: 'read', device: this.#device, a, b, seq, sure: 0 } as const;
    // Who leaves a group tells it nothing more.
    const isSure = isDirect(a) && !this.#losesReads;
    if (isSure && isKept) this.#reads.push({ ...event, sure: 1 });
    this.#feed(isSure && !isKept ? { ...event, sure: 1 } : event);
  }

  // --- the storage ----------------------------------------------------------------------------------------------------------------

  /** BLOCK came at a position. */
  block(user: number, on: boolean, position: number): void {
    const change = { position, user, on };
    this.#blocked = changed(this.#blocked, [change]);
    this.#unprocessed = [...this.#unprocessed, change];
    this.#feed({ op: 'block', device: this.#device, user, on: on ? 1 : 0 });
  }

  /** What goes along with a state that was just taken of the client. */
  saving(state: Uint8Array): SavedState {
    if (this.#unprocessed.length > 0) {
      const processed = decodeSnapshot(state).position;
      const isProcessed = ({ position }: BlockChange): boolean => position <= processed;
      this.#processed = changed(this.#processed, this.#unprocessed.filter(isProcessed));
      this.#unprocessed = this.#unprocessed.filter((change) => !isProcessed(change));
    }
    return { state, reads: this.#reads.splice(0), blocked: this.#processed };
  }

  saved(state: SavedState): void {
    this.#states.push(state);
    if (this.#states.length > STATES_MAX) this.#states.shift();
    for (const event of state.reads) this.#feed(event);
  }

  /** The application knows of these blocks only. */
  #goBackToBlocks(blocked: ReadonlySet<number>): void {
    const device = this.#device;
    for (const user of this.#blocked) if (!blocked.has(user)) this.#feed({ op: 'block', device, user, on: 0 });
    for (const user of blocked) if (!this.#blocked.has(user)) this.#feed({ op: 'block', device, user, on: 1 });
    this.#blocked = blocked;
    this.#processed = blocked;
    this.#unprocessed = [];
  }

  /** The application died. `back`: how many states are lost. Returns what the next one starts from. */
  died(back: number): Uint8Array | undefined {
    this.#reads = [];
    const newest = this.#states.at(-1)?.blocked ?? new Set();
    this.#states.splice(Math.max(1, this.#states.length - back));
    const last = this.#states.at(-1);
    this.#goBack(last === undefined ? undefined : decodeSnapshot(last.state), back > 0);
    // Of whom it had been told since that they are not blocked any more, it is not told again.
    this.#goBackToBlocks(new Set([...(last?.blocked ?? [])].filter((user) => newest.has(user))));
    return last?.state;
  }

  /** Everything is lost. */
  reset(): void {
    this.#reads = [];
    this.#states.length = 0;
    this.#goBackToBlocks(new Set());
    for (const conversation of this.#conversations.values()) {
      conversation.doubtful.clear();
      this.#unplace(conversation);
    }
  }

  /** The client takes whatever comes first in a conversation that it does not know. */
  #unplace(conversation: Conversation): void {
    this.#rewind(conversation, conversation.seenMax);
    conversation.seen = 0;
    this.#unplaced.add(conversation);
  }

  /** `isOld`: what was saved later may have left the device. */
  #goBack(snapshot: Snapshot | undefined, isOld: boolean): void {
    const saved = new Map(snapshot?.conversations.map((each) => [conversationKey(each.a, each.b), each]));
    for (const [key, conversation] of this.#conversations) {
      const { seq = 0, lastCounter = 0 } = saved.get(key) ?? {};
      conversation.doubtful.clear();
      if (seq === 0 && (isOld || this.#unplaced.has(conversation))) this.#unplace(conversation);
      else this.#rewind(conversation, seq);
      for (const [counter, send] of conversation.sends) {
        if (!send.isOpen || counter <= lastCounter || isOld) continue;
        conversation.sends.delete(counter);
        const { a, b } = conversation;
        this.#feed({ op: 'forgotten', device: this.#device, a, b, counter });
      }
    }
  }
}

function changed(blocked: ReadonlySet<number>, changes: readonly BlockChange[]): ReadonlySet<number> {
  const after = new Set(blocked);
  for (const { user, on } of changes) {
    if (on) after.add(user);
    else after.delete(user);
  }
  return after;
}
