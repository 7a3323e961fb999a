/**
 * What some worlds have beside the plan that all have: shapes of load, links, partitions of the network, people who watch each
 * other, weeks that pass, applications that die. Each has generators of its own, and adds to the plan; nothing that was there
 * changes, so that a world without any of it is the same as before there was any.
 */
import { GROUP_MEMBERS_MAX, PAYLOAD_BYTES_MAX } from '../core/limits.js';
import type { Prng } from '../core/prng.js';
import {
  type ConversationPlan,
  type Deed,
  devicesOf,
  type FaultEvent,
  FIRST_DEED_MS,
  LINKS,
  type Plan,
  type Topology,
} from './plan.js';

/** Adds to a plan. */
interface Additions {
  readonly deeds: Deed[];
  readonly faults: FaultEvent[];
  readonly conversations: ConversationPlan[];
  topology: Partial<Topology>;
  /** The load lasts for so long at least. */
  loadMs: number;
}

const DAY_S = 24 * 3_600;

type Draw = (random: Prng, plan: Plan, add: Additions) => void;

/** Shapes, and in how many worlds each is: one of so many. In this order they are drawn: new ones come at the end. */
const SHAPES: readonly (readonly [name: string, oneOf: number, draw: Draw])[] = [
  ['read storm', 12, readStorm],
  ['burst', 16, burst],
  ['crowd', 20, crowd],
  ['admin race', 8, adminRace],
  ['answers lost', 10, answersLost],
  ['block in flight', 10, blockInFlight],
  ['changes while away', 10, changesWhileAway],
  ['largest', 20, largest],
  ['links', 6, links],
  ['partitions', 6, partitions],
  ['all cut', 10, allCut],
  ['admissions', 10, admissions],
  ['audience', 4, audience],
  ['time to live', 6, timeToLive],
  ['weeks', 8, weeks],
  ['small inboxes', 8, smallInboxes],
  ['applications die', 4, applicationsDie],
  ['full socket', 20, fullSocket],
  ['new devices', 3, newDevices],
];

export function addShapes(root: Prng, plan: Plan): Plan {
  const classes = root.fork('shape classes');
  const add: Additions = { deeds: [], faults: [], conversations: [], topology: {}, loadMs: plan.loadMs };
  for (const [name, oneOf, draw] of SHAPES) {
    const isOn = classes.chance(1, oneOf);
    if (isOn) draw(root.fork(`shape ${name}`), plan, add);
  }
  return {
    ...plan,
    conversations: [...plan.conversations, ...add.conversations],
    loadMs: Math.max(plan.loadMs, add.loadMs),
    deeds: inOrder(plan, add, [...plan.deeds, ...add.deeds]),
    faults: inOrder(plan, add, [...plan.faults, ...add.faults]),
    topology: { ...plan.topology, ...add.topology },
  };
}

/** By time; nothing comes after the load. */
function inOrder<Event extends { readonly at: number }>(plan: Plan, add: Additions, events: readonly Event[]): Event[] {
  const loadMs = Math.max(plan.loadMs, add.loadMs);
  return events
    .map((event) => (event.at > loadMs ? { ...event, at: loadMs } : event))
    .toSorted((one, other) => one.at - other.at);
}

// --- helpers ----------------------------------------------------------------------------------------------------------------------

function time(random: Prng, { loadMs }: Plan): number {
  return random.between(FIRST_DEED_MS, loadMs);
}

function deviceCount({ people }: Plan): number {
  return devicesOf(people).length;
}

function pick<T>(random: Prng, from: readonly T[]): T {
  return from[random.below(from.length)]!;
}

/** Indices of the devices of a person. */
function devicesOfUser({ people }: Plan, user: number): number[] {
  return devicesOf(people).flatMap((owner, device) => (owner === user ? [device] : []));
}

function groupsOf({ conversations }: Plan): number[] {
  return conversations.flatMap((conversation, index) => ('members' in conversation ? [index] : []));
}

function some(random: Prng, count: number): number[] {
  const all = Array.from({ length: count }, (_, index) => index);
  const chosen = all.filter(() => random.chance(1, 2));
  return chosen.length === 0 ? [random.below(count)] : chosen;
}

// --- load -------------------------------------------------------------------------------------------------------------------------

/** Everybody reads everything at the same moment. */
function readStorm(random: Prng, plan: Plan, { deeds }: Additions): void {
  for (let storms = random.between(1, 3); storms > 0; storms--) {
    const at = time(random, plan);
    for (let device = 0; device < deviceCount(plan); device++) {
      plan.conversations.forEach((_, index) => deeds.push({ do: 'read', at, device, in: index }));
    }
  }
}

/** Hundreds of sends in one tick, by one device, now and then against an outbox that does not hold so many. */
function burst(random: Prng, plan: Plan, add: Additions): void {
  const device = random.below(deviceCount(plan));
  const conversation = random.below(plan.conversations.length);
  const at = time(random, plan);
  for (let count = random.between(100, 300); count > 0; count--) {
    add.deeds.push({ do: 'send', at, device, in: conversation, bytes: random.between(16, 64) });
  }
  if (random.chance(1, 2)) add.topology = { ...add.topology, outboxMax: random.between(8, 64) };
}

/** A group of very many, most of whom have no device: few messages, for each costs an entry for everybody. */
function crowd(random: Prng, plan: Plan, { conversations, deeds }: Additions): void {
  const index = plan.conversations.length + conversations.length;
  const members = Array.from({ length: plan.people.length }, (_, user) => user);
  const ghosts = random.chance(1, 8) ? GROUP_MEMBERS_MAX - members.length - random.below(2) : random.between(100, 400);
  conversations.push({ members, ghosts });
  for (let count = random.between(2, 6); count > 0; count--) {
    const device = random.below(deviceCount(plan));
    deeds.push({ do: 'send', at: time(random, plan), device, in: index, bytes: random.between(16, 100) });
    deeds.push({ do: 'read', at: time(random, plan), device: random.below(deviceCount(plan)), in: index });
  }
  const device = devicesOfUser(plan, 0)[0]!;
  deeds.push({ do: 'add', at: time(random, plan), device, in: index, user: random.below(plan.people.length) });
  deeds.push({ do: 'remove', at: time(random, plan), device, in: index, user: random.below(plan.people.length) });
}

/** Several admins change the same memberships at the same moment; then the last admin leaves. */
function adminRace(random: Prng, plan: Plan, { deeds }: Additions): void {
  const groups = groupsOf(plan);
  if (groups.length === 0) return;
  const group = pick(random, groups);
  const conversation = plan.conversations[group]!;
  const members = 'members' in conversation ? conversation.members : [];
  const creator = devicesOfUser(plan, members[0]!)[0]!;
  for (const user of members.slice(1)) deeds.push({ do: 'admin', at: FIRST_DEED_MS, device: creator, in: group, user });
  for (let races = random.between(1, 4); races > 0; races--) {
    const at = time(random, plan);
    const user = random.below(plan.people.length);
    for (const member of members) {
      const device = pick(random, devicesOfUser(plan, member));
      const what = pick(random, ['add', 'remove', 'remove', 'admin'] as const);
      deeds.push({ do: what, at: at + random.below(5), device, in: group, user });
    }
  }
  if (!random.chance(1, 3)) return;
  for (const member of members) {
    if (!random.chance(2, 3)) continue;
    deeds.push({
      do: 'leave',
      at: plan.loadMs - random.below(500),
      device: devicesOfUser(plan, member)[0]!,
      in: group,
    });
  }
}

/** The connection is lost while an answer is on its way. */
function answersLost(random: Prng, plan: Plan, { deeds, faults }: Additions): void {
  for (let count = random.between(3, 20); count > 0; count--) {
    const at = time(random, plan);
    const device = random.below(deviceCount(plan));
    for (let sends = random.between(1, 5); sends > 0; sends--) {
      deeds.push({
        do: 'send',
        at,
        device,
        in: random.below(plan.conversations.length),
        bytes: random.between(16, 200),
      });
    }
    faults.push({ fault: 'cut', at: at + random.between(1, 150), device });
  }
}

/** Somebody is blocked, and not any more, while messages of that person are on their way. */
function blockInFlight(random: Prng, plan: Plan, { deeds }: Additions): void {
  const pairs = plan.conversations.flatMap((conversation, index) =>
    'users' in conversation ? [{ index, users: conversation.users }] : [],
  );
  if (pairs.length === 0) return;
  for (let count = random.between(2, 8); count > 0; count--) {
    const { index, users } = pick(random, pairs);
    const [blocker, blocked] = random.chance(1, 2) ? users : [users[1], users[0]];
    const at = time(random, plan);
    const device = pick(random, devicesOfUser(plan, blocked));
    for (let sends = random.between(2, 8); sends > 0; sends--) {
      deeds.push({ do: 'send', at: at + random.below(60), device, in: index, bytes: random.between(16, 100) });
    }
    const block = { do: 'block', device: pick(random, devicesOfUser(plan, blocker)), user: blocked } as const;
    deeds.push({ ...block, at: at + random.below(60), on: true });
    if (random.chance(1, 2)) deeds.push({ ...block, at: at + random.between(60, 2_000), on: false });
  }
}

/** Members go offline, and their memberships change meanwhile. */
function changesWhileAway(random: Prng, plan: Plan, { deeds }: Additions): void {
  const groups = groupsOf(plan);
  if (groups.length === 0) return;
  for (let count = random.between(1, 4); count > 0; count--) {
    const group = pick(random, groups);
    const conversation = plan.conversations[group]!;
    const members = 'members' in conversation ? conversation.members : [];
    const user = pick(random, members);
    const at = time(random, plan);
    for (const device of devicesOfUser(plan, user)) {
      deeds.push({ do: 'offline', at, device, for: random.between(500, plan.loadMs) });
    }
    const admin = devicesOfUser(plan, members[0]!)[0]!;
    const changes = pick(random, [['remove'], ['remove', 'add'], ['remove', 'add', 'remove'], ['add']] as const);
    changes.forEach((change, n) => {
      deeds.push({ do: change, at: at + (n + 1) * random.between(20, 400), device: admin, in: group, user });
      deeds.push({ do: 'send', at: at + (n + 1) * 400 + 1, device: admin, in: group, bytes: 32 });
    });
  }
}

/**
 * Devices that are new in the middle of the run. Of several devices of a person the first is there from the start, so that it is
 * known which one gets all that waits; who makes a group is there too.
 */
function newDevices(random: Prng, plan: Plan, add: Additions): void {
  const owners = devicesOf(plan.people);
  const conversations = [...plan.conversations, ...add.conversations];
  const creators = new Set(conversations.flatMap((each) => ('members' in each ? each.members.slice(0, 1) : [])));
  owners.forEach((person, device) => {
    const isFurther = owners.indexOf(person) < device;
    const mayBeNew = isFurther || (plan.people[person] === 1 && !creators.has(person));
    const at = random.between(0, plan.loadMs);
    if (random.chance(isFurther ? 2 : 1, 3) && mayBeNew) add.deeds.push({ do: 'begin', at, device });
  });
}

function largest(random: Prng, plan: Plan, { deeds }: Additions): void {
  for (let count = random.between(1, 6); count > 0; count--) {
    const device = random.below(deviceCount(plan));
    const bytes = PAYLOAD_BYTES_MAX - random.below(2);
    deeds.push({ do: 'send', at: time(random, plan), device, in: random.below(plan.conversations.length), bytes });
  }
}

// --- network ----------------------------------------------------------------------------------------------------------------------

function links(random: Prng, plan: Plan, add: Additions): void {
  for (let device = 0; device < deviceCount(plan); device++) {
    const link = pick(random, LINKS);
    const at = random.chance(1, 2) ? 0 : time(random, plan);
    if (link !== 'any') add.faults.push({ fault: 'link', at, device, link, for: random.between(5_000, 60_000) });
  }
}

/** Some devices do not reach some gateways. */
function partitions(random: Prng, plan: Plan, { faults }: Additions): void {
  for (let count = random.between(1, 3); count > 0; count--) {
    const { gateways } = plan.topology;
    const split = {
      fault: 'partition',
      at: time(random, plan),
      way: pick(random, ['up', 'down', 'both', 'both'] as const),
      refuses: random.chance(1, 3),
      for: random.chance(1, 2) ? random.between(100, 5_000) : random.between(5_000, 90_000),
    } as const;
    const cutOff = random.chance(1, 3) ? Array.from({ length: gateways }, (_, index) => index) : some(random, gateways);
    for (const device of some(random, deviceCount(plan))) {
      for (const gateway of cutOff) faults.push({ ...split, device, gateway });
    }
  }
}

function allCut(random: Prng, plan: Plan, { faults }: Additions): void {
  for (let count = random.between(1, 2); count > 0; count--) faults.push({ fault: 'all-cut', at: time(random, plan) });
}

/** So few are let in that those who come back together have to wait. */
function admissions(random: Prng, plan: Plan, add: Additions): void {
  const perSecond = random.between(1, 5);
  const letIn = { admissionsPerSecond: perSecond, admissionsBurst: random.between(1, perSecond) };
  add.topology = { ...add.topology, ...letIn };
  add.faults.push({ fault: random.chance(1, 2) ? 'all-cut' : 'kill', at: time(random, plan) });
}

// --- time and presence --------------------------------------------------------------------------------------------------------------

/** Many watch each other, and stop; people come and go; what they watch through dies. */
function audience(random: Prng, plan: Plan, add: Additions): void {
  const { deeds, faults } = add;
  const devices = deviceCount(plan);
  for (let count = random.between(5, 40); count > 0; count--) {
    const watch = { device: random.below(devices), user: random.below(plan.people.length) };
    const at = time(random, plan);
    deeds.push({ do: 'watch', at, ...watch });
    if (random.chance(1, 3)) deeds.push({ do: 'unwatch', at: at + random.between(1, plan.loadMs), ...watch });
  }
  for (let people = random.between(1, 3); people > 0; people--) {
    const device = random.below(devices);
    const at = time(random, plan);
    for (let times = random.between(2, 12); times > 0; times--) {
      deeds.push({ do: 'offline', at: at + random.below(3_000), device, for: random.between(5, 800) });
    }
  }
  for (let count = random.below(30); count > 0; count--) {
    const device = random.below(devices);
    deeds.push({ do: 'typing', at: time(random, plan), device, in: random.below(plan.conversations.length) });
  }
  const { topology } = plan;
  if (random.chance(1, 2))
    faults.push({ fault: 'gateway-crash', at: time(random, plan), gateway: random.below(topology.gateways) });
  const lane = topology.conversationLanes + random.below(topology.userLanes);
  if (random.chance(1, 2)) faults.push({ fault: 'lane-crash', at: time(random, plan), lane });
  add.topology = { ...add.topology, watchesAtEnd: true };
  if (random.chance(1, 2)) add.topology = { ...add.topology, presenceUpdates: random.between(1, 4) };
}

/** Messages that live for seconds, to people who may be away for longer. */
function timeToLive(random: Prng, plan: Plan, { deeds }: Additions): void {
  for (let count = random.between(10, 60); count > 0; count--) {
    const device = random.below(deviceCount(plan));
    const conversation = random.below(plan.conversations.length);
    const ttl = random.chance(2, 3) ? random.between(1, 6) : random.between(60, 4_000);
    deeds.push({ do: 'send', at: time(random, plan), device, in: conversation, bytes: random.between(16, 200), ttl });
  }
  for (let count = random.between(1, 5); count > 0; count--) {
    const device = random.below(deviceCount(plan));
    deeds.push({ do: 'offline', at: time(random, plan), device, for: random.between(1_000, plan.loadMs) });
  }
}

/** Some people are away when the servers stop for days; what they did not get may have expired when they are back. */
function weeks(random: Prng, plan: Plan, { deeds, faults }: Additions): void {
  const at = time(random, plan);
  const days = random.chance(1, 2) ? random.between(29, 45) : random.between(1, 29);
  faults.push({ fault: 'weeks', at, days });
  for (let device = 0; device < deviceCount(plan); device++) {
    if (!random.chance(1, 2)) continue;
    const leaveMs = Math.max(FIRST_DEED_MS, at - random.between(100, 4_000));
    deeds.push({ do: 'offline', at: leaveMs, device, for: at - leaveMs + random.between(1_000, 8_000) });
  }
  const ttls = [DAY_S, 7 * DAY_S, 29 * DAY_S, 30 * DAY_S];
  for (let count = random.between(5, 30); count > 0; count--) {
    const device = random.below(deviceCount(plan));
    const send = {
      do: 'send',
      device,
      in: random.below(plan.conversations.length),
      bytes: random.between(16, 200),
    } as const;
    deeds.push({ ...send, at: Math.max(FIRST_DEED_MS, at - random.below(3_000)), ttl: pick(random, ttls) });
  }
}

/** Inboxes with little room in memory: much is written behind, and read back. */
function smallInboxes(random: Prng, _plan: Plan, add: Additions): void {
  add.topology = { ...add.topology, inboxBytes: random.between(512, 4_096) };
}

// --- applications -------------------------------------------------------------------------------------------------------------------

/** After so long nothing is under way any more of an application that lost its state. */
const LOST_MS_MIN = 15_000;

function applicationsDie(random: Prng, plan: Plan, add: Additions): void {
  add.topology = { ...add.topology, saves: true };
  const devices = deviceCount(plan);
  for (let count = random.between(2, 16); count > 0; count--) {
    const device = random.below(devices);
    add.faults.push({ fault: 'app-crash', at: time(random, plan), device, for: random.between(1, 3_000) });
  }
  for (const fault of ['app-restore', 'app-reinstall'] as const) {
    if (!random.chance(1, 3)) continue;
    for (let count = random.between(1, 2); count > 0; count--) {
      const ms = random.between(LOST_MS_MIN, 25_000);
      add.faults.push({ fault, at: time(random, plan), device: random.below(devices), for: ms });
    }
  }
}

// --- sockets --------------------------------------------------------------------------------------------------------------------------

/** Load goes on for so long at least: a slow socket takes 10 KB a second. */
const FULL_SOCKET_MS = 60_000;

/** What comes for a device is several times what its socket holds, while it sends itself, and waits for its outcomes. */
function fullSocket(random: Prng, plan: Plan, add: Additions): void {
  const pairs = plan.conversations.flatMap((conversation, index) =>
    'users' in conversation ? [{ index, users: conversation.users }] : [],
  );
  if (pairs.length === 0) return;
  const { index, users } = pick(random, pairs);
  const device = pick(random, devicesOfUser(plan, users[1]));
  const sender = pick(random, devicesOfUser(plan, users[0]));
  const at = FIRST_DEED_MS + random.below(1_000);
  add.loadMs = FULL_SOCKET_MS;
  add.faults.push({ fault: 'slow-reader', at, device, for: random.between(28_000, 50_000) });
  add.deeds.push({ do: 'send', at, device: sender, in: index, bytes: 18_000, count: random.between(38, 60) });
  for (let count = random.between(10, 40); count > 0; count--) {
    const atMs = random.between(at, FULL_SOCKET_MS / 2);
    add.deeds.push({ do: 'send', at: atMs, device, in: index, bytes: random.between(16, 100) });
  }
}
