/**
 * What a trace becomes: each of its conversations a group, its senders users out of a pool, its lines arrivals in the
 * order of time. Someone who speaks or leaves before a recorded join was there from the start. What contradicts itself is
 * straightened out and counted: joining twice, leaving twice, speaking after having left (joins again first).
 *
 * The member who is there first and never leaves creates the group and adds the others. If everybody leaves, the first
 * stays, and its leaves are left out.
 */
import { DunlinError } from '../../core/errors.js';
import { GROUP_MEMBERS_MAX } from '../../core/limits.js';
import { type Arrival, ArrivalKind, type Schedule } from './arrivals.js';
import { type Lists, Population, packLists } from './population.js';
import { type TraceColumns, TraceKind } from './trace.js';

export interface TraceOptions {
  /** Users in the pool; sender k of a conversation is the pool's next user. */
  users: number;
  /** Messages to replay, in the order of time. */
  limit: number;
}

export interface TracePlan {
  readonly groups: Lists;
  /** Parallel arrays, one entry an arrival, in the order of time. */
  readonly atMs: Float64Array;
  readonly kind: Uint8Array;
  readonly group: Uint32Array;
  /** Who acts: the sender, the leaver, or the creator who adds. */
  readonly user: Uint32Array;
  /** Who is added. */
  readonly subject: Uint32Array;
  readonly bytes: Uint32Array;
  readonly messages: number;
  readonly joins: number;
  readonly leaves: number;
  /** Lines that changed nothing: joined twice, left twice, or left as the creator. */
  readonly ignored: number;
  /** Conversations with one sender only, which are left out. */
  readonly lonely: number;
  /** Time of the last arrival, in the trace's own time. */
  readonly spanMs: number;
  /** Highest number of different people in one group. */
  readonly membersMax: number;
}

const Presence = { UNSEEN: 0, IN: 1, OUT: 2 } as const;

interface Person {
  /** Place among the group's people, in the order of appearance. */
  readonly place: number;
  fromStart: boolean;
  leaves: boolean;
  state: number;
}

interface Chat {
  readonly people: Map<number, Person>;
  /** First user of the pool. */
  firstUser: number;
  group: number;
  creator: Person | undefined;
  members: number;
}

/** Rows in the order of time; rows of one time keep their order in the file. */
function orderByTime(columns: TraceColumns): Uint32Array {
  const order = Uint32Array.from({ length: columns.rows }, (_, row) => row);
  const atMs = columns.atMs;
  return order.toSorted((one, other) => atMs[one]! - atMs[other]! || one - other);
}

/** The rows up to and including the message number `limit`. */
function limitRows(columns: TraceColumns, order: Uint32Array, limit: number): Uint32Array {
  let messages = 0;
  for (let i = 0; i < order.length; i++) {
    if (columns.kind[order[i]!] === TraceKind.MESSAGE && ++messages === limit) return order.subarray(0, i + 1);
  }
  return order;
}

function meet(columns: TraceColumns, order: Uint32Array): Map<number, Chat> {
  const chats = new Map<number, Chat>();
  for (const row of order) {
    const id = columns.conversation[row]!;
    let chat = chats.get(id);
    if (!chat) {
      chat = { people: new Map(), firstUser: 0, group: -1, creator: undefined, members: 0 };
      chats.set(id, chat);
    }
    const sender = columns.sender[row]!;
    const kind = columns.kind[row]!;
    let person = chat.people.get(sender);
    if (!person) {
      const fromStart = kind !== TraceKind.JOIN;
      person = { place: chat.people.size, fromStart, leaves: false, state: Presence.UNSEEN };
      chat.people.set(sender, person);
    }
    if (kind === TraceKind.LEAVE) person.leaves = true;
  }
  return chats;
}

/** Gives each chat its group, its place in the pool, its creator and its first members; returns the lists of members. */
function found(chats: Map<number, Chat>, users: number): number[][] {
  const lists: number[][] = [];
  let nextUser = 0;
  for (const [id, chat] of chats) {
    if (chat.people.size < 2) continue;
    if (chat.people.size > users) {
      throw new DunlinError(
        `conversation ${id} of the trace has ${chat.people.size} people, but there are ${users} users; give --users ${chat.people.size} or more.`,
      );
    }
    const people = [...chat.people.values()];
    const creator =
      people.find((person) => person.fromStart && !person.leaves) ??
      people.find((person) => !person.leaves) ??
      people.find((person) => person.fromStart) ??
      people[0]!;
    creator.fromStart = true;
    const members = people.filter((person) => person.fromStart && person !== creator);
    // A group is created with at least one other member.
    if (members.length === 0) members.push(people.find((person) => person !== creator)!);
    for (const person of [creator, ...members]) person.state = Presence.IN;
    chat.creator = creator;
    chat.group = lists.length;
    chat.firstUser = nextUser;
    chat.members = members.length + 1;
    checkSize(id, chat);
    lists.push([creator, ...members].map((person) => (nextUser + person.place) % users));
    nextUser = (nextUser + people.length) % users;
  }
  return lists;
}

function checkSize(id: number, chat: Chat): void {
  if (chat.members <= GROUP_MEMBERS_MAX) return;
  throw new DunlinError(`conversation ${id} of the trace has more than ${GROUP_MEMBERS_MAX} members at one time.`);
}

class PlanWriter {
  readonly #users: number;
  readonly atMs: Float64Array;
  readonly kind: Uint8Array;
  readonly group: Uint32Array;
  readonly user: Uint32Array;
  readonly subject: Uint32Array;
  readonly bytes: Uint32Array;
  rows = 0;
  readonly counts = { messages: 0, joins: 0, leaves: 0, ignored: 0 };

  /** A row becomes at most two arrivals. */
  constructor(users: number, rows: number) {
    this.#users = users;
    this.atMs = new Float64Array(rows * 2);
    this.kind = new Uint8Array(rows * 2);
    this.group = new Uint32Array(rows * 2);
    this.user = new Uint32Array(rows * 2);
    this.subject = new Uint32Array(rows * 2);
    this.bytes = new Uint32Array(rows * 2);
  }

  #put(atMs: number, kind: number, chat: Chat, person: Person, subject: Person, bytes: number): void {
    const row = this.rows++;
    this.atMs[row] = atMs;
    this.kind[row] = kind;
    this.group[row] = chat.group;
    this.user[row] = (chat.firstUser + person.place) % this.#users;
    this.subject[row] = (chat.firstUser + subject.place) % this.#users;
    this.bytes[row] = bytes;
  }

  join(atMs: number, id: number, chat: Chat, person: Person): void {
    if (person.state === Presence.IN) {
      this.counts.ignored++;
      return;
    }
    person.state = Presence.IN;
    chat.members++;
    checkSize(id, chat);
    this.counts.joins++;
    this.#put(atMs, ArrivalKind.ADD, chat, chat.creator!, person, 0);
  }

  leave(atMs: number, chat: Chat, person: Person): void {
    if (person.state !== Presence.IN || person === chat.creator) {
      this.counts.ignored++;
      return;
    }
    person.state = Presence.OUT;
    chat.members--;
    this.counts.leaves++;
    this.#put(atMs, ArrivalKind.LEAVE, chat, person, person, 0);
  }

  message(atMs: number, id: number, chat: Chat, person: Person, bytes: number): void {
    if (person.state !== Presence.IN) this.join(atMs, id, chat, person);
    this.counts.messages++;
    this.#put(atMs, ArrivalKind.MESSAGE, chat, person, person, bytes);
  }
}

export function planTrace(columns: TraceColumns, options: TraceOptions): TracePlan {
  const order = limitRows(columns, orderByTime(columns), options.limit);
  const chats = meet(columns, order);
  const lists = found(chats, options.users);
  const writer = new PlanWriter(options.users, order.length);
  for (const row of order) {
    const id = columns.conversation[row]!;
    const chat = chats.get(id)!;
    if (chat.group < 0) continue;
    const person = chat.people.get(columns.sender[row]!)!;
    const atMs = columns.atMs[row]!;
    const kind = columns.kind[row]!;
    if (kind === TraceKind.JOIN) writer.join(atMs, id, chat, person);
    else if (kind === TraceKind.LEAVE) writer.leave(atMs, chat, person);
    else writer.message(atMs, id, chat, person, columns.bytes[row]!);
  }
  const rows = writer.rows;
  if (writer.counts.messages === 0) throw new DunlinError('the trace has no conversation with two senders.');
  return {
    groups: packLists(lists),
    atMs: writer.atMs.subarray(0, rows),
    kind: writer.kind.subarray(0, rows),
    group: writer.group.subarray(0, rows),
    user: writer.user.subarray(0, rows),
    subject: writer.subject.subarray(0, rows),
    bytes: writer.bytes.subarray(0, rows),
    ...writer.counts,
    lonely: chats.size - lists.length,
    spanMs: rows === 0 ? 0 : writer.atMs[rows - 1]!,
    membersMax: Math.max(...[...chats.values()].map((chat) => chat.people.size)),
  };
}

/** Highest number of people in one conversation, and of all: the least and the most users that a replay can use. */
export function countPeople(columns: TraceColumns): { largest: number; all: number } {
  const chats = new Map<number, Set<number>>();
  for (let row = 0; row < columns.rows; row++) {
    const id = columns.conversation[row]!;
    let people = chats.get(id);
    if (!people) {
      people = new Set();
      chats.set(id, people);
    }
    people.add(columns.sender[row]!);
  }
  let largest = 0;
  let all = 0;
  for (const people of chats.values()) {
    largest = Math.max(largest, people.size);
    all += people.size;
  }
  return { largest, all };
}

/** The population of a trace: a pool of users with one device each, all online, and the trace's groups. */
export function tracePopulation(plan: TracePlan, users: number, run: number): Population {
  return new Population({
    run,
    devices: new Uint8Array(users).fill(1),
    online: new Uint8Array(users).fill(1),
    activity: new Float64Array(users).fill(1 / users),
    groups: plan.groups,
    directs: { low: new Uint32Array(0), high: new Uint32Array(0) },
  });
}

/** A trace's arrivals of some users, `speed` times as fast as they were. */
export class TraceArrivals implements Schedule {
  readonly #plan: TracePlan;
  readonly #population: Population;
  readonly #speed: number;
  readonly #isOwn: Uint8Array;
  #row = 0;

  constructor(plan: TracePlan, population: Population, speed: number, users: Uint32Array) {
    this.#plan = plan;
    this.#population = population;
    this.#speed = speed;
    this.#isOwn = new Uint8Array(population.users);
    for (const user of users) this.#isOwn[user] = 1;
  }

  /** A trace has its own rate. */
  setRate(): void {}

  next(arrival: Arrival): boolean {
    const plan = this.#plan;
    while (this.#row < plan.atMs.length && this.#isOwn[plan.user[this.#row]!] === 0) this.#row++;
    if (this.#row >= plan.atMs.length) return false;
    const row = this.#row++;
    arrival.atMs = plan.atMs[row]! / this.#speed;
    arrival.kind = plan.kind[row]!;
    arrival.user = plan.user[row]!;
    arrival.device = this.#population.deviceStart[arrival.user]!;
    arrival.conversation = plan.group[row]!;
    arrival.bytes = plan.bytes[row]!;
    arrival.subject = plan.subject[row]!;
    return true;
  }
}
