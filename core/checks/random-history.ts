/**
 * Makes random correct histories from a seed: a small model of the backbone with direct conversations, groups whose members
 * change, users with several devices that come and go, retries, rejections, receipts, blocks, expiry and presence. For tests
 * of the checkers.
 */
import { deviceKey, isDirect, mix32, userOfDevice } from '../ids.js';
import { PRESENCE_UPDATES_PER_WINDOW, PRESENCE_WINDOW_MS } from '../limits.js';
import type { Prng } from '../prng.js';
import { GapReason } from './checker.js';
import type { HistoryEvent } from './history.js';

interface Change {
  readonly user: number;
  readonly isJoin: boolean;
}

interface Send {
  readonly counter: number;
  readonly content: number;
  readonly ttl: number;
  readonly change: Change | undefined;
}

interface Entry extends Send {
  readonly seq: number;
  readonly sender: number;
  readonly time: number;
}

interface Receipt {
  readonly whose: number;
  readonly delivered: number;
  readonly read: number;
}

/** What stands in an inbox: exactly one of the optional fields is there. */
interface Item {
  readonly conversation?: Conversation;
  readonly entry?: Entry;
  readonly isBlocked?: boolean;
  readonly rejected?: { readonly device: number; readonly counter: number };
  readonly receipt?: Receipt;
  readonly block?: { readonly user: number; readonly isOn: boolean };
}

interface Member {
  readonly joinedSeq: number;
  delivered: number;
  read: number;
  sentLast: number;
}

interface Conversation {
  readonly a: number;
  readonly b: number;
  head: number;
  readonly members: Map<number, Member>;
  /** By device: sends on their way, and the sequences of those that were taken, by counter. */
  readonly inFlight: Map<number, Send[]>;
  readonly taken: Map<number, Map<number, number>>;
  aggregate: { delivered: number; read: number };
}

interface Device {
  readonly key: number;
  /** Items of the inbox that it has seen, and acked. */
  cursor: number;
  acked: number;
  isConnected: boolean;
  readonly last: Map<Conversation, number>;
  readonly counters: Map<Conversation, number>;
  /** Presence: subjects watched, those whose latest state has not been told, and updates in the window. */
  readonly watched: Set<number>;
  readonly untold: Set<number>;
  window: number;
  updates: number;
}

interface User {
  readonly id: number;
  readonly inbox: Item[];
  readonly devices: Device[];
  readonly blocked: Set<number>;
  isOnline: boolean;
}

export interface RandomHistoryOptions {
  readonly steps: number;
  /** False: nothing expires, nobody is blocked, no device is new, so that no GAP comes. Default true. */
  readonly hasGaps?: boolean;
}

/** One correct history. The same generator state gives the same history. */
export function randomHistory(prng: Prng, options: RandomHistoryOptions): HistoryEvent[] {
  const model = new Model(prng, options.hasGaps ?? true);
  for (let i = 0; i < options.steps; i++) model.step();
  model.settle();
  return model.events;
}

class Model {
  readonly events: HistoryEvent[] = [];
  readonly #prng: Prng;
  readonly #users: User[] = [];
  readonly #conversations: Conversation[] = [];
  /** Memberships are told when something is sequenced, or when a device is handed it. */
  readonly #isTruthTold: boolean;
  readonly #hasGaps: boolean;
  #nowMs = 1_000_000;

  constructor(prng: Prng, hasGaps: boolean) {
    this.#prng = prng;
    this.#hasGaps = hasGaps;
    this.#isTruthTold = prng.chance(1, 2);
    const users = prng.between(2, 5);
    for (let i = 0; i < users; i++) {
      this.#users.push({ id: 10 + i, inbox: [], devices: [], blocked: new Set(), isOnline: false });
    }
    for (const user of this.#users) {
      const devices = prng.between(1, 2);
      for (let number = 1; number <= devices; number++) this.#addDevice(user, number);
    }
    for (let a = 0; a < users; a++) {
      for (let b = a + 1; b < users; b++)
        if (prng.chance(1, 2)) this.#addConversation(10 + a, 10 + b, [10 + a, 10 + b]);
    }
    const groups = prng.between(1, 2);
    for (let group = 1; group <= groups; group++) {
      const members = this.#users.filter(() => prng.chance(2, 3)).map((user) => user.id);
      const conversation = this.#addConversation(0, group, members);
      for (const user of members) this.events.push({ op: 'join', a: 0, b: group, user, seq: conversation.head + 1 });
    }
  }

  #addConversation(a: number, b: number, members: readonly number[]): Conversation {
    const conversation: Conversation = {
      a,
      b,
      head: 0,
      members: new Map(members.map((user) => [user, { joinedSeq: 1, delivered: 0, read: 0, sentLast: 0 }])),
      inFlight: new Map(),
      taken: new Map(),
      aggregate: { delivered: 0, read: 0 },
    };
    this.#conversations.push(conversation);
    return conversation;
  }

  #addDevice(user: User, number: number): void {
    const at = user.inbox.length;
    const device: Device = {
      key: deviceKey(user.id, number),
      cursor: at,
      acked: at,
      isConnected: true,
      last: new Map(),
      counters: new Map(),
      watched: new Set(),
      untold: new Set(),
      window: 0,
      updates: 0,
    };
    user.devices.push(device);
    this.events.push({ op: 'host', device: device.key });
    for (const conversation of this.#conversations) {
      const { a, b, head } = conversation;
      if (head === 0 || (isDirect(a) && user.id !== a && user.id !== b)) continue;
      device.last.set(conversation, head);
      const member = conversation.members.get(user.id);
      if (!isDirect(a) && member !== undefined)
        this.events.push({ op: 'join', a, b, user: user.id, seq: member.joinedSeq });
      if (this.#prng.chance(1, 2)) this.events.push({ op: 'start', device: device.key, a, b, seq: head + 1 });
      else this.events.push({ op: 'gap', device: device.key, a, b, through: head, reason: GapReason.BEFORE_JOIN });
    }
  }

  #any<T>(list: readonly T[]): T {
    return list[this.#prng.below(list.length)]!;
  }

  #userOf(device: number): User {
    return this.#users[userOfDevice(device) - 10]!;
  }

  step(): void {
    const prng = this.#prng;
    this.#nowMs += prng.below(300);
    const user = this.#any(this.#users);
    const device = this.#any(user.devices);
    const choice = prng.below(100);
    if (choice < 22) this.#send(device);
    else if (choice < 45) this.#sequence(this.#any(this.#conversations));
    else if (choice < 75) this.#hand(user, device, prng.between(1, 6));
    else if (choice < 82) this.#ack(user, device);
    else if (choice < 87) this.#read(user, device);
    else if (choice < 91) this.#reconnect(user, device);
    else if (choice < 92 && this.#hasGaps) this.#block(user);
    else if (choice === 92 && this.#hasGaps && user.devices.length < 3) this.#addDevice(user, user.devices.length + 1);
    else if (choice < 96) this.#changePresence(user);
    else if (choice < 98) this.#watch(device);
    else this.#tellAll();
  }

  /** Everybody comes back (but for a few), all is taken, handed and acked. */
  settle(): void {
    for (const conversation of this.#conversations) while (this.#sequence(conversation));
    for (const user of this.#users) for (const device of user.devices) this.#comeBack(device);
    for (let round = 0; round < 4; round++) {
      for (const user of this.#users) {
        for (const device of user.devices) {
          this.#hand(user, device, Number.MAX_SAFE_INTEGER);
          this.#ack(user, device);
        }
      }
    }
    for (let round = 0; round < 4; round++) {
      this.#nowMs += PRESENCE_WINDOW_MS;
      this.#tellAll();
    }
    const user = this.#any(this.#users);
    this.events.push({ op: 'truth', user: user.id, on: user.isOnline ? 1 : 0, at: this.#nowMs });
  }

  #comeBack(device: Device): void {
    if (device.isConnected || this.#prng.chance(1, 4)) return;
    device.isConnected = true;
    this.events.push({ op: 'resume', device: device.key });
  }

  // --- sends ---------------------------------------------------------------------------------------------------------------

  #send(device: Device): void {
    const prng = this.#prng;
    const conversation = this.#any(this.#conversations);
    const { a, b, inFlight, taken } = conversation;
    const user = userOfDevice(device.key);
    if (isDirect(a) && user !== a && user !== b) return;
    const waiting = inFlight.get(device.key) ?? [];
    const known = taken.get(device.key);
    const again = prng.below(10);
    if (again === 0 && waiting.length > 0) {
      const { counter, content } = this.#any(waiting);
      this.events.push({ op: 'send', device: device.key, a, b, counter, content });
      return;
    }
    if (again === 1 && known !== undefined && known.size > 0) {
      const [counter, seq] = this.#any([...known]);
      this.events.push({ op: 'duplicate', device: device.key, a, b, counter, seq: prng.chance(1, 4) ? 0 : seq });
      return;
    }
    const counter = (device.counters.get(conversation) ?? 0) + 1;
    const content = mix32(mix32(device.key) ^ mix32(a * 31 + b) ^ counter) || 1;
    const ttl = this.#hasGaps && prng.chance(1, 6) ? prng.between(1, 4) : 0;
    device.counters.set(conversation, counter);
    inFlight.set(device.key, [...waiting, { counter, content, ttl, change: this.#changeOf(conversation, user) }]);
    this.events.push({ op: 'send', device: device.key, a, b, counter, content });
  }

  #changeOf(conversation: Conversation, sender: number): Change | undefined {
    if (isDirect(conversation.a) || !this.#prng.chance(1, 8)) return undefined;
    const user = this.#any(this.#users).id;
    const isJoin = !conversation.members.has(user);
    return user === sender && isJoin ? undefined : { user, isJoin };
  }

  /** The backbone takes the next send of a device. False: there is none. */
  #sequence(conversation: Conversation): boolean {
    const devices = [...conversation.inFlight].filter(([, sends]) => sends.length > 0);
    if (devices.length === 0) return false;
    const [device, sends] = this.#any(devices);
    const send = sends.shift()!;
    const sender = this.#userOf(device);
    const isMember = conversation.members.has(sender.id);
    const { change } = send;
    const isVoid = change !== undefined && change.isJoin === conversation.members.has(change.user);
    if (!isMember || isVoid) {
      sender.inbox.push({ conversation, rejected: { device, counter: send.counter } });
      return true;
    }
    this.#accept(conversation, sender, device, send);
    return true;
  }

  #accept(conversation: Conversation, sender: User, device: number, send: Send): void {
    const seq = ++conversation.head;
    const entry: Entry = { ...send, seq, sender: device, time: this.#nowMs };
    const taken = conversation.taken.get(device) ?? new Map<number, number>();
    conversation.taken.set(device, taken.set(send.counter, seq));
    const { change } = send;
    if (change?.isJoin === true)
      conversation.members.set(change.user, { joinedSeq: seq, delivered: seq - 1, read: seq - 1, sentLast: 0 });
    if (this.#isTruthTold) this.#tellMembership(conversation, entry);
    for (const id of conversation.members.keys()) {
      const user = this.#users[id - 10]!;
      user.inbox.push({ conversation, entry, isBlocked: user.blocked.has(sender.id) });
    }
    if (change?.isJoin === false) conversation.members.delete(change.user);
    const member = conversation.members.get(sender.id);
    if (member !== undefined) {
      member.sentLast = seq;
      if (member.read === seq - 1) this.#advance(conversation, sender.id, member.delivered, seq);
    }
    if (change !== undefined) this.#aggregate(conversation);
  }

  #tellMembership({ a, b }: Conversation, { change, seq }: Entry): void {
    if (change === undefined) return;
    this.events.push({ op: change.isJoin ? 'join' : 'leave', a, b, user: change.user, seq });
  }

  // --- what devices are handed -----------------------------------------------------------------------------------------------

  #hand(user: User, device: Device, count: number): void {
    if (!device.isConnected) return;
    for (let i = 0; i < count && device.cursor < user.inbox.length; i++)
      this.#handItem(device, user.inbox[device.cursor++]!);
  }

  #handItem(device: Device, item: Item): void {
    const { conversation, entry, rejected, receipt, block } = item;
    const { key } = device;
    if (block !== undefined) {
      this.events.push({ op: 'block', device: key, user: block.user, on: block.isOn ? 1 : 0 });
      return;
    }
    const { a, b } = conversation!;
    if (entry !== undefined) this.#handEntry(device, conversation!, entry, item.isBlocked === true);
    else if (receipt !== undefined) this.events.push({ op: 'receipt', device: key, a, b, ...receipt });
    else if (rejected?.device === key) this.events.push({ op: 'fail', device: key, a, b, counter: rejected.counter });
  }

  #handEntry(device: Device, conversation: Conversation, entry: Entry, isBlocked: boolean): void {
    const { a, b } = conversation;
    const { seq, sender, counter, content, time, ttl } = entry;
    if (seq <= (device.last.get(conversation) ?? 0)) return;
    device.last.set(conversation, seq);
    if (!this.#isTruthTold) this.#tellMembership(conversation, entry);
    if (sender === device.key) {
      this.events.push({ op: 'ok', device: sender, a, b, counter, seq });
      return;
    }
    const isExpired = ttl > 0 && this.#nowMs > time + ttl * 1_000;
    if (isBlocked || isExpired) {
      const reason = isBlocked ? GapReason.BLOCKED : GapReason.EXPIRED;
      this.events.push({ op: 'gap', device: device.key, a, b, through: seq, reason });
      return;
    }
    const at = this.#nowMs;
    this.events.push({ op: 'deliver', device: device.key, a, b, seq, sender, counter, content, time, ttl, at });
  }

  #reconnect(user: User, device: Device): void {
    device.isConnected = !device.isConnected;
    this.events.push({ op: device.isConnected ? 'resume' : 'away', device: device.key });
    if (device.isConnected) return;
    device.watched.clear();
    device.untold.clear();
    if (this.#prng.chance(1, 2)) this.#changePresence(user);
  }

  // --- receipts --------------------------------------------------------------------------------------------------------------

  #ack(user: User, device: Device): void {
    if (!device.isConnected) return;
    for (; device.acked < device.cursor; device.acked++) {
      const { conversation, entry } = user.inbox[device.acked]!;
      const member = conversation?.members.get(user.id);
      if (entry !== undefined && member !== undefined) this.#advance(conversation!, user.id, entry.seq, member.read);
    }
  }

  #read(user: User, device: Device): void {
    const conversation = this.#any(this.#conversations);
    const last = device.last.get(conversation) ?? 0;
    const member = conversation.members.get(user.id);
    if (!device.isConnected || last === 0 || member === undefined) return;
    const seq = this.#prng.between(1, last);
    this.events.push({ op: 'read', device: device.key, a: conversation.a, b: conversation.b, seq, sure: 1 });
    this.#advance(conversation, user.id, Math.max(seq, member.delivered), seq);
  }

  #advance(conversation: Conversation, user: number, delivered: number, read: number): void {
    const member = conversation.members.get(user)!;
    const before = { ...member };
    member.read = Math.max(member.read, read);
    member.delivered = Math.max(member.delivered, delivered, member.read);
    if (member.read === before.read && member.delivered === before.delivered) return;
    const { a, b } = conversation;
    if (!isDirect(a)) return this.#aggregate(conversation);
    const receipt: Receipt = { whose: user, delivered: member.delivered, read: member.read };
    this.#users[(user === a ? b : a) - 10]!.inbox.push({ conversation, receipt });
  }

  #aggregate(conversation: Conversation): void {
    const { members, aggregate } = conversation;
    if (isDirect(conversation.a) || members.size === 0) return;
    const delivered = Math.min(...[...members.values()].map((member) => member.delivered));
    const read = Math.min(...[...members.values()].map((member) => member.read));
    if (delivered <= aggregate.delivered && read <= aggregate.read) return;
    const receipt: Receipt = { whose: 0, delivered, read };
    for (const [user, member] of members) {
      const isConcerned = member.sentLast > aggregate.delivered || member.sentLast > aggregate.read;
      if (isConcerned) this.#users[user - 10]!.inbox.push({ conversation, receipt });
    }
    conversation.aggregate = { delivered, read };
  }

  // --- blocks and presence -----------------------------------------------------------------------------------------------------

  #block(user: User): void {
    const other = this.#any(this.#users);
    if (other === user) return;
    const isOn = !user.blocked.has(other.id);
    if (isOn) user.blocked.add(other.id);
    else user.blocked.delete(other.id);
    user.inbox.push({ block: { user: other.id, isOn } });
  }

  #changePresence(user: User): void {
    user.isOnline = !user.isOnline;
    this.events.push({ op: 'truth', user: user.id, on: user.isOnline ? 1 : 0, at: this.#nowMs });
    for (const { devices } of this.#users) {
      for (const device of devices) if (device.watched.has(user.id)) device.untold.add(user.id);
    }
    this.#tellAll();
  }

  #watch(device: Device): void {
    if (!device.isConnected) return;
    const user = this.#any(this.#users).id;
    const isOn = !device.watched.has(user) || this.#prng.chance(1, 2);
    this.events.push({ op: 'watch', device: device.key, user, on: isOn ? 1 : 0, at: this.#nowMs });
    if (isOn) device.watched.add(user);
    else device.watched.delete(user);
    if (isOn) device.untold.add(user);
    else device.untold.delete(user);
    this.#tellAll();
  }

  #tellAll(): void {
    const window = Math.floor(this.#nowMs / PRESENCE_WINDOW_MS);
    for (const { devices } of this.#users) {
      for (const device of devices) {
        if (device.window !== window) device.updates = 0;
        device.window = window;
        for (const user of device.untold) {
          if (device.updates >= PRESENCE_UPDATES_PER_WINDOW) break;
          device.updates++;
          device.untold.delete(user);
          const on = this.#users[user - 10]!.isOnline ? 1 : 0;
          this.events.push({ op: 'presence', device: device.key, user, on, at: this.#nowMs });
        }
      }
    }
  }
}
