/** A client's conversations, by their ids. */
import { DunlinError } from '../core/errors.js';
import { isConversation } from '../core/ids.js';
import { buggify, Site } from '../core/probe.js';
import { Conversation } from './conversation.js';

/** Slots, less one, of the cache in front of the maps: numbers of 53 bits are slow keys. */
const RECENT_MASK = 63;

export class Conversations {
  readonly #user: number;
  /** Counters of a new conversation are known: the device was never used before. */
  readonly #isFresh: boolean;
  /** Direct conversations by the other user, groups by their id. */
  readonly #direct = new Map<number, Conversation>();
  readonly #groups = new Map<number, Conversation>();
  readonly #recent: (Conversation | undefined)[] = Array.from({ length: RECENT_MASK + 1 });

  constructor(user: number, isFresh: boolean) {
    this.#user = user;
    this.#isFresh = isFresh;
  }

  /** Direct ones first, each kind in the order in which they came to be known. */
  *[Symbol.iterator](): Generator<Conversation> {
    yield* this.#direct.values();
    yield* this.#groups.values();
  }

  /** The conversation with these ids if this user has it already, else undefined. */
  known(convA: number, convB: number): Conversation | undefined {
    const slot = (convA ^ convB) & RECENT_MASK;
    const recent = this.#recent[slot];
    const isIt = recent !== undefined && recent.a === convA && recent.b === convB;
    if (isIt && !buggify(Site.CLIENT_FORGETS_RECENT)) return recent;
    const known = convA === 0 ? this.#groups.get(convB) : this.#direct.get(convA === this.#user ? convB : convA);
    if (known === undefined || known.a !== convA || known.b !== convB) return undefined;
    this.#recent[slot] = known;
    return known;
  }

  /** Known, or new; undefined if it cannot be one of this user's. */
  open(convA: number, convB: number): Conversation | undefined {
    const known = this.known(convA, convB);
    if (known !== undefined) return known;
    const isOwn = convA === 0 || convA === this.#user || convB === this.#user;
    return isOwn && isConversation(convA, convB) ? this.#add(convA, convB) : undefined;
  }

  /** Known, or new: what the application means. Throws a DunlinError if it cannot be one of this user's. */
  mustOpen(convA: number, convB: number): Conversation {
    const conversation = this.open(convA, convB);
    if (conversation !== undefined) return conversation;
    throw new DunlinError(
      `(${convA}, ${convB}) is not a conversation of user ${this.#user}: give the two users in ascending order, or 0 and a group.`,
    );
  }

  #add(convA: number, convB: number): Conversation {
    const conversation = new Conversation(convA, convB);
    conversation.countersKnown = this.#isFresh;
    if (convA === 0) this.#groups.set(convB, conversation);
    else this.#direct.set(convA === this.#user ? convB : convA, conversation);
    return conversation;
  }
}
