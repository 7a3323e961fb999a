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
const GROUP_ROW_WORDS = 4;

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
  /** By group, four words, so that one cache line has it all: first pair, first member, size, nothing. */
  readonly #groupRows: Uint32Array;

  constructor({ users, groups, seed }: PopulationOptions) {
    this.users = users;
    this.groups = groups;
    this.directs = (users * (users - 1)) / 2;
    this.conversations = this.directs + groups;
    this.firstPair = new Uint32Array(this.conversations + 1);
    this.#first = new Uint32Array(this.conversations);
    this.#higher = new Uint32Array(this.directs);
    this.#groupRows = new Uint32Array(groups * GROUP_ROW_WORDS);
    let conversation = 0;
    for (let lower = 1; lower < users; lower++) {
      for (let higher = lower + 1; higher <= users; higher++, conversation++) {
        this.#first[conversation] = lower;
        this.#higher[conversation] = higher;
        this.firstPair[conversation + 1] = 2 * (conversation + 1);
      }
    }
    const random = new Prng(seed).fork('groups');
    for (; conversation < this.conversations; conversation++) {
      this.#first[conversation] = 1 + random.below(users);
      const size = Math.min(users, drawGroupSize(random));
      const firstPair = this.firstPair[conversation]!;
      this.firstPair[conversation + 1] = firstPair + size;
      const row = [firstPair, this.#first[conversation]!, size];
      this.#groupRows.set(row, (conversation - this.directs) * GROUP_ROW_WORDS);
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
    if (convA >= convB || convB > this.users) return -1;
    // Those before the first of `convA`: users − 1 of user 1, one less of each after it. No memory is touched.
    return ((convA - 1) * (2 * this.users - convA)) / 2 + convB - convA - 1;
  }

  /** Number of its first pair. */
  firstPairOf(conversation: number): number {
    const group = conversation - this.directs;
    return group < 0 ? 2 * conversation : this.#groupRows[group * GROUP_ROW_WORDS]!;
  }

  /** Number of the pair, −1: the user is no member. `convA`, `convB` name the conversation. */
  pair(conversation: number, convA: number, convB: number, user: number): number {
    if (convA !== 0) {
      if (user === convA) return 2 * conversation;
      return user === convB ? 2 * conversation + 1 : -1;
    }
    const row = (conversation - this.directs) * GROUP_ROW_WORDS;
    const first = this.#groupRows[row + 1]!;
    const place = user >= first ? user - first : user - first + this.users;
    const isMember = user >= 1 && user <= this.users && place < this.#groupRows[row + 2]!;
    return isMember ? this.#groupRows[row]! + place : -1;
  }

  pairOf(conversation: number, user: number): number {
    return this.pair(conversation, this.convA(conversation), this.convB(conversation), user);
  }
}
