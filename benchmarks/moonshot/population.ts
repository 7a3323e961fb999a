/**
 * Who talks to whom in `socket-to-socket`, by dense numbers, so that a check is a look into an array: users 1 … U have one device
 * and one connection each; conversations 0 … D − 1 are the direct ones of every two of them, D … D + G − 1 groups. A *pair* is a
 * member of a conversation and has a number too: those of one conversation lie together, in the order of `place`.
 *
 * Few users, since 64 frames in a message are many for one connection, and many conversations all the same: every user talks
 * with every other.
 */
import { Prng } from '../../core/prng.js';

export interface PopulationOptions {
  readonly users: number;
  readonly groups: number;
  readonly seed: number;
}

const GROUP_SIZE_MAX = 64;

/** Half of all groups have at most 4 members, 95 in 100 at most 12. */
function drawGroupSize(random: Prng): number {
  const percent = random.below(100);
  if (percent < 50) return random.between(2, 4);
  return percent < 95 ? random.between(5, 12) : random.between(13, GROUP_SIZE_MAX);
}

export class Population {
  readonly users: number;
  readonly directs: number;
  readonly groups: number;
  readonly conversations: number;
  readonly pairs: number;
  /** By conversation: number of its first pair; the one behind the last conversation's is `pairs`. */
  readonly firstPair: Uint32Array;
  /** By user: its conversations of either sort; a group the more often the fewer others could write to it as well. */
  readonly directsOf: readonly Uint32Array[];
  readonly groupsOf: readonly Uint32Array[];
  /** By conversation: the lower user of a direct one, the first member of a group. */
  readonly #first: Uint32Array;
  /** By direct conversation: its higher user. */
  readonly #higher: Uint32Array;
  /** By lower user × (users + 1) + higher user. */
  readonly #directOf: Int32Array;

  constructor({ users, groups, seed }: PopulationOptions) {
    this.users = users;
    this.groups = groups;
    this.directs = (users * (users - 1)) / 2;
    this.conversations = this.directs + groups;
    this.firstPair = new Uint32Array(this.conversations + 1);
    this.#first = new Uint32Array(this.conversations);
    this.#higher = new Uint32Array(this.directs);
    this.#directOf = new Int32Array((users + 1) * (users + 1)).fill(-1);
    let conversation = 0;
    for (let lower = 1; lower < users; lower++) {
      for (let higher = lower + 1; higher <= users; higher++, conversation++) {
        this.#first[conversation] = lower;
        this.#higher[conversation] = higher;
        this.#directOf[lower * (users + 1) + higher] = conversation;
        this.firstPair[conversation + 1] = 2 * (conversation + 1);
      }
    }
    const random = new Prng(seed).fork('groups');
    for (; conversation < this.conversations; conversation++) {
      this.#first[conversation] = 1 + random.below(users);
      const size = Math.min(users, drawGroupSize(random));
      this.firstPair[conversation + 1] = this.firstPair[conversation]! + size;
    }
    this.pairs = this.firstPair[this.conversations]!;
    [this.directsOf, this.groupsOf] = this.#byUser();
  }

  #byUser(): [Uint32Array[], Uint32Array[]] {
    const directs = Array.from({ length: this.users + 1 }, (): number[] => []);
    const groups = Array.from({ length: this.users + 1 }, (): number[] => []);
    for (let conversation = 0; conversation < this.conversations; conversation++) {
      const size = this.size(conversation);
      const isGroup = conversation >= this.directs;
      const times = isGroup ? Math.round(GROUP_SIZE_MAX / size) : 1;
      for (let place = 0; place < size; place++) {
        const list = (isGroup ? groups : directs)[this.member(conversation, place)]!;
        for (let n = 0; n < times; n++) list.push(conversation);
      }
    }
    return [directs.map((list) => Uint32Array.from(list)), groups.map((list) => Uint32Array.from(list))];
  }

  size(conversation: number): number {
    return this.firstPair[conversation + 1]! - this.firstPair[conversation]!;
  }

  /** The lower user of a direct conversation, 0 for a group. */
  convA(conversation: number): number {
    return conversation < this.directs ? this.#first[conversation]! : 0;
  }

  convB(conversation: number): number {
    return conversation < this.directs ? this.#higher[conversation]! : conversation - this.directs + 1;
  }

  /** Members of a group have consecutive user ids, the first one behind the last. */
  member(conversation: number, place: number): number {
    const first = this.#first[conversation]!;
    if (conversation < this.directs) return place === 0 ? first : this.#higher[conversation]!;
    return ((first - 1 + place) % this.users) + 1;
  }

  /** Number of the conversation, −1: there is none like it. */
  conversation(convA: number, convB: number): number {
    if (convA === 0) return convB >= 1 && convB <= this.groups ? this.directs + convB - 1 : -1;
    return convA <= this.users && convB <= this.users ? this.#directOf[convA * (this.users + 1) + convB]! : -1;
  }

  /** Number of the pair, −1: the user is no member. */
  pair(conversation: number, user: number): number {
    const first = this.firstPair[conversation]!;
    const from = this.#first[conversation]!;
    if (conversation < this.directs) {
      if (user === from) return first;
      return user === this.#higher[conversation] ? first + 1 : -1;
    }
    const place = user >= from ? user - from : user - from + this.users;
    return user >= 1 && user <= this.users && place < this.size(conversation) ? first + place : -1;
  }
}
