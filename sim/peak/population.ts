/**
 * Who is there at the peak, by dense numbers, so that a check is a look into an array: conversation 0 … D − 1 are direct ones,
 * D … D + G − 1 groups; a pair is a member of a conversation, and has a number too.
 *
 * Users 2d + 1 and 2d + 2 share the direct conversation d. The members of a group have consecutive user ids.
 */
import { deviceKey } from '../../core/ids.js';
import { Prng } from '../../core/prng.js';

export interface PopulationOptions {
  readonly directs: number;
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
  readonly directs: number;
  readonly groups: number;
  readonly users: number;
  readonly conversations: number;
  readonly pairs: number;
  /** By conversation: number of its first pair; the one behind the last conversation's is `pairs`. */
  readonly firstPair: Uint32Array;
  /** By group: user id of its first member. */
  readonly #firstMember: Uint32Array;

  constructor({ directs, groups, seed }: PopulationOptions) {
    this.directs = Math.max(directs, GROUP_SIZE_MAX);
    this.groups = groups;
    this.users = 2 * this.directs;
    this.conversations = this.directs + groups;
    const random = new Prng(seed).fork('groups');
    this.firstPair = new Uint32Array(this.conversations + 1);
    this.#firstMember = new Uint32Array(groups);
    let pairs = 0;
    for (let c = 0; c < this.conversations; c++) {
      this.firstPair[c] = pairs;
      if (c < this.directs) pairs += 2;
      else {
        const size = drawGroupSize(random);
        this.#firstMember[c - this.directs] = 1 + random.below(this.users - size);
        pairs += size;
      }
    }
    this.firstPair[this.conversations] = pairs;
    this.pairs = pairs;
  }

  size(conversation: number): number {
    return this.firstPair[conversation + 1]! - this.firstPair[conversation]!;
  }

  /** The lower user of a direct conversation, 0 for a group. */
  convA(conversation: number): number {
    return conversation < this.directs ? 2 * conversation + 1 : 0;
  }

  convB(conversation: number): number {
    return conversation < this.directs ? 2 * conversation + 2 : conversation - this.directs + 1;
  }

  member(conversation: number, place: number): number {
    if (conversation < this.directs) return 2 * conversation + 1 + place;
    return this.#firstMember[conversation - this.directs]! + place;
  }

  /** Everybody has one device. */
  device(user: number): number {
    return deviceKey(user, 1);
  }

  /** Number of the conversation, −1: there is none like it. */
  conversation(convA: number, convB: number): number {
    if (convA !== 0) {
      const direct = (convA - 1) / 2;
      return Number.isInteger(direct) && direct < this.directs && convB === convA + 1 ? direct : -1;
    }
    return convB >= 1 && convB <= this.groups ? this.directs + convB - 1 : -1;
  }

  /** Number of the pair, −1: the user is no member. */
  pair(conversation: number, user: number): number {
    const place = user - this.member(conversation, 0);
    return place >= 0 && place < this.size(conversation) ? this.firstPair[conversation]! + place : -1;
  }
}
