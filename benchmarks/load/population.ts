/**
 * Who there is: users with their devices, groups with their members, contacts with their direct conversations. Every
 * process of a run builds the same population from the same seed, so a user, a device or a conversation is an index
 * into typed arrays everywhere, and only what happens has to be told.
 *
 * Ids are fresh for each run (from `run`), so that a server can be loaded again and again and every conversation still
 * starts at sequence 1.
 */

import { mix32 } from '../../core/ids.js';
import { DEVICE_KEY_FACTOR, DEVICES_PER_USER_MAX, GROUP_ID_MAX, USER_ID_MAX } from '../../core/limits.js';
import type { Prng } from '../../core/prng.js';
import { capShares, SizeDraw, shuffle, zipfShares } from './draws.js';
import type { Workload } from './workload.js';

/** A run is a number in 1 .. RUN_MAX. */
export const RUN_MAX = 2 ** 24 - 1;
/** User ids set aside for a run: run × this + index. */
const IDS_PER_RUN = 2 ** 20;

if ((RUN_MAX + 1) * IDS_PER_RUN > USER_ID_MAX || (RUN_MAX + 1) * IDS_PER_RUN > GROUP_ID_MAX) {
  throw new Error('load: the ids of the last run are above their limit');
}

/** Lists of u32, one after the other: list i is values[start[i]] .. values[start[i + 1] − 1]. */
export interface Lists {
  readonly start: Uint32Array;
  readonly values: Uint32Array;
}

export function packLists(lists: readonly ArrayLike<number>[]): Lists {
  const start = new Uint32Array(lists.length + 1);
  for (let i = 0; i < lists.length; i++) start[i + 1] = start[i]! + lists[i]!.length;
  const values = new Uint32Array(start[lists.length]!);
  for (let i = 0; i < lists.length; i++) values.set(lists[i]!, start[i]!);
  return { start, values };
}

export function listOf(lists: Lists, i: number): Uint32Array {
  return lists.values.subarray(lists.start[i]!, lists.start[i + 1]!);
}

export interface PopulationParts {
  run: number;
  /** Devices of each user, 1 .. 10. */
  devices: Uint8Array;
  /** 1 for users whose devices are connected while the run lasts. */
  online: Uint8Array;
  /** How much of what is sent each user sends; 0 for those offline. */
  activity: Float64Array;
  /** Members of each group when it is created; the first creates it. */
  groups: Lists;
  /** Direct conversations as pairs of user indices, the lower first. */
  directs: { low: Uint32Array; high: Uint32Array };
}

export class Population {
  readonly run: number;
  readonly users: number;
  /** First device index of each user; one more at the end. */
  readonly deviceStart: Uint32Array;
  readonly deviceUser: Uint32Array;
  readonly online: Uint8Array;
  readonly activity: Float64Array;
  readonly groups: Lists;
  /** Groups that each user is in at the start. */
  readonly groupsOfUser: Lists;
  /** Direct conversations (as conversation indices) of each user. */
  readonly directsOfUser: Lists;
  readonly directLow: Uint32Array;
  readonly directHigh: Uint32Array;
  readonly #slots: Int32Array;

  constructor(parts: PopulationParts) {
    this.run = parts.run;
    this.users = parts.devices.length;
    this.online = parts.online;
    this.activity = parts.activity;
    this.groups = parts.groups;
    this.directLow = parts.directs.low;
    this.directHigh = parts.directs.high;
    this.deviceStart = new Uint32Array(this.users + 1);
    for (let user = 0; user < this.users; user++) {
      this.deviceStart[user + 1] = this.deviceStart[user]! + parts.devices[user]!;
    }
    this.deviceUser = new Uint32Array(this.devices);
    for (let user = 0; user < this.users; user++) {
      this.deviceUser.fill(user, this.deviceStart[user], this.deviceStart[user + 1]);
    }
    this.groupsOfUser = this.#groupsOfUser();
    this.directsOfUser = this.#directsOfUser();
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(8, this.directLow.length * 2)))).fill(-1);
    for (let i = 0; i < this.directLow.length; i++) {
      this.#slots[this.#slotOf(this.directLow[i]!, this.directHigh[i]!)] = i;
    }
  }

  get devices(): number {
    return this.deviceStart[this.users]!;
  }

  get groupCount(): number {
    return this.groups.start.length - 1;
  }

  /** Conversations 0 .. groupCount − 1 are the groups, the others are direct. */
  get conversations(): number {
    return this.groupCount + this.directLow.length;
  }

  userId(user: number): number {
    return this.run * IDS_PER_RUN + user;
  }

  /** Index of a user id of this run, or −1. */
  userOfId(id: number): number {
    const user = id - this.run * IDS_PER_RUN;
    return user >= 0 && user < this.users ? user : -1;
  }

  deviceKeyOf(device: number): number {
    const user = this.deviceUser[device]!;
    return this.userId(user) * DEVICE_KEY_FACTOR + (device - this.deviceStart[user]!) + 1;
  }

  /** Index of a device key of this run, or −1. */
  deviceOfKey(key: number): number {
    const user = this.userOfId(Math.floor(key / DEVICE_KEY_FACTOR));
    if (user < 0) return -1;
    const device = this.deviceStart[user]! + (key % DEVICE_KEY_FACTOR) - 1;
    return device >= this.deviceStart[user]! && device < this.deviceStart[user + 1]! ? device : -1;
  }

  convA(conversation: number): number {
    return conversation < this.groupCount ? 0 : this.userId(this.directLow[conversation - this.groupCount]!);
  }

  convB(conversation: number): number {
    return conversation < this.groupCount
      ? this.run * IDS_PER_RUN + conversation + 1
      : this.userId(this.directHigh[conversation - this.groupCount]!);
  }

  /** Index of a conversation of this run, or −1. */
  conversationOf(convA: number, convB: number): number {
    if (convA === 0) {
      const group = convB - this.run * IDS_PER_RUN - 1;
      return group >= 0 && group < this.groupCount ? group : -1;
    }
    const low = this.userOfId(convA);
    const high = this.userOfId(convB);
    if (low < 0 || high < 0) return -1;
    const direct = this.#slots[this.#slotOf(low, high)]!;
    return direct < 0 ? -1 : this.groupCount + direct;
  }

  /** Members at the start: both users of a direct conversation, or a group's list. */
  membersOf(conversation: number): Uint32Array {
    if (conversation < this.groupCount) return listOf(this.groups, conversation);
    const direct = conversation - this.groupCount;
    return Uint32Array.of(this.directLow[direct]!, this.directHigh[direct]!);
  }

  /** The other user of a direct conversation. */
  peerOf(conversation: number, user: number): number {
    const direct = conversation - this.groupCount;
    const low = this.directLow[direct]!;
    return low === user ? this.directHigh[direct]! : low;
  }

  #slotOf(low: number, high: number): number {
    const mask = this.#slots.length - 1;
    let slot = mix32(mix32(low) ^ Math.imul(high, 0x9e37_79b9)) & mask;
    for (;;) {
      const direct = this.#slots[slot]!;
      if (direct < 0 || (this.directLow[direct] === low && this.directHigh[direct] === high)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #groupsOfUser(): Lists {
    const lists: number[][] = Array.from({ length: this.users }, () => []);
    for (let group = 0; group < this.groupCount; group++) {
      for (const user of listOf(this.groups, group)) lists[user]!.push(group);
    }
    return packLists(lists);
  }

  #directsOfUser(): Lists {
    const lists: number[][] = Array.from({ length: this.users }, () => []);
    for (let i = 0; i < this.directLow.length; i++) {
      lists[this.directLow[i]!]!.push(this.groupCount + i);
      lists[this.directHigh[i]!]!.push(this.groupCount + i);
    }
    return packLists(lists);
  }
}

/** `count` different users besides those in `taken`, at random. */
function drawUsers(count: number, users: number, prng: Prng, taken: Set<number>): number[] {
  const drawn: number[] = [];
  const wanted = Math.min(count, users - taken.size);
  while (drawn.length < wanted) {
    const user = prng.below(users);
    if (taken.has(user)) continue;
    taken.add(user);
    drawn.push(user);
  }
  return drawn;
}

function drawDevices(workload: Workload, prng: Prng): Uint8Array {
  const devices = new Uint8Array(workload.users);
  const base = Math.floor(workload.devicesPerUser);
  const more = workload.devicesPerUser - base;
  for (let user = 0; user < devices.length; user++) {
    devices[user] = Math.min(DEVICES_PER_USER_MAX, base + (prng.unit() < more ? 1 : 0));
  }
  return devices;
}

function drawOnline(workload: Workload, prng: Prng): Uint8Array {
  const order = Uint32Array.from({ length: workload.users }, (_, user) => user);
  shuffle(order, prng);
  const online = new Uint8Array(workload.users);
  const count = Math.max(1, Math.round(workload.users * workload.onlineShare));
  for (let i = 0; i < count; i++) online[order[i]!] = 1;
  return online;
}

function drawActivity(workload: Workload, online: Uint8Array, prng: Prng): Float64Array {
  const order = Uint32Array.from(online.keys()).filter((user) => online[user] === 1);
  shuffle(order, prng);
  const shares = zipfShares(order.length, workload.activityZipf);
  capShares(shares, workload.userRateMax / workload.ratePerSecond);
  const activity = new Float64Array(workload.users);
  for (let rank = 0; rank < order.length; rank++) activity[order[rank]!] = shares[rank]!;
  return activity;
}

/** Puts a member who is online first, since the first creates the group; false if there is none. */
function leadByOnline(group: number[], online: Uint8Array): boolean {
  const at = group.findIndex((user) => online[user] === 1);
  if (at < 0) return false;
  group.unshift(...group.splice(at, 1));
  return true;
}

/** Groups of which nobody is online are left out: nobody could create them, and nobody would send to them. */
function drawGroups(workload: Workload, online: Uint8Array, prng: Prng): Lists {
  const lists: number[][] = [];
  if (workload.groupShare > 0) {
    const sizes = new SizeDraw(
      workload.groupSizeP50,
      workload.groupSizeP95,
      2,
      Math.min(workload.groupSizeMax, workload.users),
    );
    const memberships = workload.users * workload.groupsPerUser;
    for (let members = 0; members < memberships; ) {
      const group = drawUsers(sizes.draw(prng), workload.users, prng, new Set());
      if (leadByOnline(group, online)) lists.push(group);
      members += group.length;
    }
  }
  return packLists(lists);
}

function drawDirects(workload: Workload, prng: Prng): { low: Uint32Array; high: Uint32Array } {
  const seen = new Set<number>();
  const low: number[] = [];
  const high: number[] = [];
  const picks = Math.max(1, Math.ceil(workload.contactsPerUser / 2));
  for (let user = 0; user < workload.users; user++) {
    for (const peer of drawUsers(picks, workload.users, prng, new Set([user]))) {
      const a = Math.min(user, peer);
      const b = Math.max(user, peer);
      if (seen.has(a * workload.users + b)) continue;
      seen.add(a * workload.users + b);
      low.push(a);
      high.push(b);
    }
  }
  return { low: Uint32Array.from(low), high: Uint32Array.from(high) };
}

/** The population of a workload. The same arguments give the same population in every process. */
export function drawPopulation(workload: Workload, run: number, prng: Prng): Population {
  const online = drawOnline(workload, prng.fork('online'));
  return new Population({
    run,
    devices: drawDevices(workload, prng.fork('devices')),
    online,
    activity: drawActivity(workload, online, prng.fork('activity')),
    groups: drawGroups(workload, online, prng.fork('groups')),
    directs: drawDirects(workload, prng.fork('contacts')),
  });
}
