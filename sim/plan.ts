/**
 * What a run is: a topology, people, conversations, and a list of events (what people do, and what breaks) with times. All of
 * it is data: it is drawn from one seed before anything runs, can be written to a file, and can be made smaller.
 *
 * One generator per purpose, so that leaving one kind of event out does not shift the others.
 */
import { Prng } from '../core/prng.js';
import { addBrokers, type BrokerFault } from './broker-plan.js';
import { addShapes } from './shapes.js';

export interface Topology {
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly conversationLanes: number;
  readonly userLanes: number;
  readonly gateways: number;
  /** The embedded log's journal over a virtual disk; else a log in memory. */
  readonly hasDisk: boolean;
  /** Sessions that a gateway lets in: a second, and at once. Left out: as in production. */
  readonly admissionsPerSecond?: number;
  readonly admissionsBurst?: number;
  /** Sends that an application's outbox holds. Left out: as in production. */
  readonly outboxMax?: number;
  /** Presence and typing updates that a watcher is sent in a second. Left out: as in production. */
  readonly presenceUpdates?: number;
  /** Bytes of a user's inbox that stay in memory. Left out: as in production. */
  readonly inboxBytes?: number;
  /** Applications keep their state in a storage, and may die. Left out: they never do. */
  readonly saves?: boolean;
  /** When all has come to rest some people go, some without a word: their watchers must be told. */
  readonly watchesAtEnd?: boolean;
  /** Production code takes the rarer of two legal ways here and there: core/probe.ts. */
  readonly buggify?: boolean;
  /** Limits of users and of clients are so small that they are met. */
  readonly tinyLimits?: boolean;
  /** Brokers with replicas that hold the log. Left out: the embedded log, on the machine of the lanes. */
  readonly brokers?: number;
  /** More brokers may break at once than the design survives: losses must be told (G16), and what is lost need not come. */
  readonly isBeyondBudget?: boolean;
}

/** Two users (their indices, the lower first), or a group: who makes it, and all who are in it from the start. */
export type ConversationPlan =
  | { readonly users: readonly [number, number] }
  /** `ghosts`: so many more members, who never had a device. */
  | { readonly members: readonly number[]; readonly ghosts?: number };

/** What somebody does. `device` counts over all people's devices, `user` over people, `in` over conversations. */
export type Deed =
  | {
      readonly do: 'send';
      readonly at: number;
      readonly device: number;
      readonly in: number;
      readonly bytes: number;
      /** So many at once; default 1. */
      readonly count?: number;
      /** Seconds to live; default: 30 days. */
      readonly ttl?: number;
    }
  | { readonly do: 'read'; readonly at: number; readonly device: number; readonly in: number }
  | { readonly do: 'typing'; readonly at: number; readonly device: number; readonly in: number }
  | { readonly do: 'add'; readonly at: number; readonly device: number; readonly in: number; readonly user: number }
  | { readonly do: 'remove'; readonly at: number; readonly device: number; readonly in: number; readonly user: number }
  | { readonly do: 'admin'; readonly at: number; readonly device: number; readonly in: number; readonly user: number }
  | { readonly do: 'leave'; readonly at: number; readonly device: number; readonly in: number }
  | { readonly do: 'block'; readonly at: number; readonly device: number; readonly user: number; readonly on: boolean }
  | { readonly do: 'watch'; readonly at: number; readonly device: number; readonly user: number }
  | { readonly do: 'unwatch'; readonly at: number; readonly device: number; readonly user: number }
  /** The application says goodbye, and comes back later. */
  | { readonly do: 'offline'; readonly at: number; readonly device: number; readonly for: number }
  /** The device is new: it connects for the first time, and does nothing before. */
  | { readonly do: 'begin'; readonly at: number; readonly device: number };

export const STORE_OUTCOMES = [
  'conflict',
  'too_old',
  'refused',
  'unknown_done',
  'unknown_not_done',
  'unknown_late',
] as const;
/** What a device's connections are like. `any`: each has its own delay of up to 0.1 s. `mobile`: some messages take seconds. */
export const LINKS = ['any', 'lan', 'mobile'] as const;
export type LinkKind = (typeof LINKS)[number];
export const LOG_OUTCOMES = ['refused_failed', 'unknown_done', 'unknown_not_done', 'queue_full'] as const;

/** What breaks. `lane` counts conversation lanes first, then user lanes. Times and lengths in milliseconds. */
export type FaultEvent =
  /** The connection is lost; both sides learn it, each in its time. */
  | { readonly fault: 'cut'; readonly at: number; readonly device: number }
  /** Bytes one way, or both, arrive only when it is over: a half-dead mobile link. */
  | {
      readonly fault: 'stall';
      readonly at: number;
      readonly device: number;
      readonly for: number;
      readonly way: 'up' | 'down' | 'both';
    }
  /** The client reads so slowly that what is sent to it piles up. */
  | { readonly fault: 'slow-reader'; readonly at: number; readonly device: number; readonly for: number }
  | { readonly fault: 'gateway-crash'; readonly at: number; readonly gateway: number }
  | { readonly fault: 'gateway-drain'; readonly at: number; readonly gateway: number }
  | { readonly fault: 'lane-crash'; readonly at: number; readonly lane: number }
  /** A conversation lane dies, and what its partitions had committed reads as nothing, offset and state: worlds do not draw it. */
  | { readonly fault: 'offset-zero'; readonly at: number; readonly lane: number }
  | { readonly fault: 'lane-pause'; readonly at: number; readonly lane: number; readonly for: number }
  /** Another lane takes over while this one hangs; then it goes on as if nothing had happened. */
  | { readonly fault: 'lane-takeover'; readonly at: number; readonly lane: number; readonly for: number }
  /** All threads die at once; what was written stays. */
  | { readonly fault: 'kill'; readonly at: number }
  /** The same, and what was not synced is gone. */
  | { readonly fault: 'power'; readonly at: number }
  | {
      readonly fault: 'store';
      readonly at: number;
      readonly lane: number;
      readonly outcome: (typeof STORE_OUTCOMES)[number];
    }
  | { readonly fault: 'store-read-fails'; readonly at: number; readonly lane: number }
  | { readonly fault: 'store-slow'; readonly at: number; readonly lane: number; readonly for: number }
  | {
      readonly fault: 'log';
      readonly at: number;
      readonly outcome: (typeof LOG_OUTCOMES)[number];
      readonly count: number;
    }
  /** The log takes nothing more of any lane: its ring is full. */
  | { readonly fault: 'ring-full'; readonly at: number; readonly for: number }
  | { readonly fault: 'disk-slow'; readonly at: number; readonly for: number }
  | { readonly fault: 'disk-full'; readonly at: number; readonly for: number }
  | { readonly fault: 'egress-full'; readonly at: number; readonly gateway: number; readonly for: number }
  /** The server's wall clock jumps. */
  | { readonly fault: 'clock'; readonly at: number; readonly by: number }
  /** A bit turns over in a file of the log; after a while the file is brought back from a copy. Needs a disk. */
  | {
      readonly fault: 'bit-flip';
      readonly at: number;
      readonly topic: 0 | 1;
      readonly for: number;
      /** The power fails at the same moment. */
      readonly power: boolean;
    }
  /** A device does not reach a gateway. What is sent one way, or both, arrives when it is over; no new connection comes about. */
  | {
      readonly fault: 'partition';
      readonly at: number;
      readonly device: number;
      readonly gateway: number;
      readonly way: 'up' | 'down' | 'both';
      /** Attempts to connect fail at once; else they hang. */
      readonly refuses: boolean;
      readonly for: number;
    }
  /** Every connection is lost at once. */
  | { readonly fault: 'all-cut'; readonly at: number }
  /** An application dies, and starts again after a while, from what its storage holds. Needs applications that save. */
  | { readonly fault: 'app-crash'; readonly at: number; readonly device: number; readonly for: number }
  /** The same from an older state: a backup that was brought back. */
  | { readonly fault: 'app-restore'; readonly at: number; readonly device: number; readonly for: number }
  /** The same with nothing. */
  | { readonly fault: 'app-reinstall'; readonly at: number; readonly device: number; readonly for: number }
  /** All threads end, and so many days later they start. */
  | { readonly fault: 'weeks'; readonly at: number; readonly days: number }
  /** For a time a device's links are of this sort. */
  | {
      readonly fault: 'link';
      readonly at: number;
      readonly device: number;
      readonly link: LinkKind;
      readonly for: number;
    }
  | BrokerFault;

export type FaultKind = FaultEvent['fault'];

export interface Plan {
  readonly seed: number;
  readonly topology: Topology;
  /** Devices of each person. */
  readonly people: readonly number[];
  readonly conversations: readonly ConversationPlan[];
  readonly deeds: readonly Deed[];
  readonly faults: readonly FaultEvent[];
  /** Nothing new happens after this; then everything must heal. */
  readonly loadMs: number;
}

/** Kinds that every world may have; those of sim/shapes.ts come on top. */
const FAULT_KINDS = [
  'cut',
  'stall',
  'slow-reader',
  'gateway-crash',
  'gateway-drain',
  'lane-crash',
  'lane-pause',
  'lane-takeover',
  'kill',
  'power',
  'store',
  'store-read-fails',
  'store-slow',
  'log',
  'ring-full',
  'disk-slow',
  'disk-full',
  'egress-full',
  'clock',
  'bit-flip',
] as const satisfies readonly FaultKind[];
type CommonKind = (typeof FAULT_KINDS)[number];

/** What goes deepest is on more often, and what is cheap happens more often. */
const HARD: ReadonlySet<FaultKind> = new Set(['power', 'lane-crash']);
const OFTEN: ReadonlySet<FaultKind> = new Set(['cut', 'stall', 'store', 'power', 'lane-crash']);

const HOUR_MS = 3_600_000;

/** Nothing is sent before groups can stand. */
export const FIRST_DEED_MS = 1_500;

export function devicesOf(people: readonly number[]): number[] {
  return people.flatMap((devices, user) => Array.from({ length: devices }, () => user));
}

export function drawPlan(seed: number): Plan {
  const root = new Prng(seed);
  const shape = root.fork('shape');
  const topology: Topology = {
    conversationPartitions: shape.between(1, 4),
    userPartitions: shape.between(1, 4),
    conversationLanes: 0,
    userLanes: 0,
    gateways: shape.between(1, 3),
    hasDisk: root.fork('disk').chance(1, 3),
    buggify: root.fork('buggify').chance(1, 2),
    tinyLimits: root.fork('tiny limits').chance(1, 3),
  };
  const lanes = {
    conversationLanes: shape.between(1, Math.min(2, topology.conversationPartitions)),
    userLanes: shape.between(1, Math.min(2, topology.userPartitions)),
  };
  const people = Array.from({ length: shape.between(2, 8) }, () => (shape.chance(1, 3) ? shape.between(2, 3) : 1));
  const conversations = drawConversations(shape, people.length);
  const loadMs = shape.between(4, 20) * 1_000;
  const plan = { seed, topology: { ...topology, ...lanes }, people, conversations, loadMs };
  const common = { ...plan, deeds: drawDeeds(root, plan), faults: drawFaults(root, plan) };
  return addBrokers(root, addShapes(root, common));
}

function drawConversations(random: Prng, people: number): ConversationPlan[] {
  const conversations: ConversationPlan[] = [];
  for (let a = 0; a < people; a++) {
    for (let b = a + 1; b < people; b++) if (random.chance(1, 2)) conversations.push({ users: [a, b] });
  }
  const groups = random.between(conversations.length === 0 ? 1 : 0, 3);
  for (let group = 0; group < groups; group++) {
    const everybody = Array.from({ length: people }, (_, user) => user);
    const creator = random.below(people);
    const others = everybody.filter((user) => user !== creator && random.chance(2, 3));
    conversations.push({ members: [creator, ...others] });
  }
  return conversations;
}

export type Shape = Omit<Plan, 'deeds' | 'faults'>;

function drawDeeds(root: Prng, shape: Shape): Deed[] {
  const { people, conversations, loadMs } = shape;
  const owners = devicesOf(people);
  const time = (random: Prng): number => random.between(FIRST_DEED_MS, loadMs);
  const any = (random: Prng): { device: number; in: number } => ({
    device: random.below(owners.length),
    in: random.below(conversations.length),
  });
  const deeds: Deed[] = [];
  const sends = root.fork('sends');
  const count = sends.between(50, 600);
  // One conversation is hot, at times.
  const hot = sends.chance(1, 3) ? sends.below(conversations.length) : -1;
  for (let n = 0; n < count; n++) {
    const { device, in: drawn } = any(sends);
    const conversation = hot >= 0 && sends.chance(3, 4) ? hot : drawn;
    const bytes = sends.chance(1, 50) ? sends.between(1_000, 20_000) : sends.between(16, 200);
    deeds.push({ do: 'send', at: time(sends), device, in: conversation, bytes });
  }
  const reads = root.fork('reads');
  for (let n = count >> 1; n > 0; n--) deeds.push({ do: 'read', at: time(reads), ...any(reads) });
  const others = root.fork('others');
  const groups = conversations.flatMap((conversation, index) => ('members' in conversation ? [index] : []));
  const changes = groups.length === 0 ? 0 : others.below(20);
  for (let n = 0; n < changes; n++) {
    const at = time(others);
    const device = others.below(owners.length);
    const group = groups[others.below(groups.length)]!;
    const user = others.below(people.length);
    const what = (['add', 'add', 'remove', 'admin', 'leave'] as const)[others.below(5)]!;
    if (what === 'leave') deeds.push({ do: what, at, device, in: group });
    else deeds.push({ do: what, at, device, in: group, user });
  }
  for (let n = others.below(8); n > 0; n--) {
    const device = others.below(owners.length);
    const user = others.below(people.length);
    if (user !== owners[device]) deeds.push({ do: 'block', at: time(others), device, user, on: others.chance(2, 3) });
  }
  for (let n = others.below(10); n > 0; n--) deeds.push({ do: 'typing', at: time(others), ...any(others) });
  for (let n = others.below(6); n > 0; n--) {
    deeds.push({
      do: 'watch',
      at: time(others),
      device: others.below(owners.length),
      user: others.below(people.length),
    });
  }
  for (let n = others.below(6); n > 0; n--) {
    const device = others.below(owners.length);
    deeds.push({ do: 'offline', at: time(others), device, for: others.between(100, loadMs) });
  }
  return deeds.toSorted((one, other) => one.at - other.at);
}

export function drawFaults(root: Prng, shape: Shape): FaultEvent[] {
  const classes = root.fork('fault classes');
  const faults: FaultEvent[] = [];
  for (const kind of FAULT_KINDS) {
    const isOn = classes.chance(1, HARD.has(kind) ? 2 : 3);
    const random = root.fork(`fault ${kind}`);
    if (!isOn || (kind === 'bit-flip' && !shape.topology.hasDisk)) continue;
    const count = OFTEN.has(kind) ? random.between(1, 10) : random.between(1, 3);
    for (let n = 0; n < count; n++) faults.push(drawFault(kind, random, shape));
  }
  return faults.toSorted((one, other) => one.at - other.at);
}

function drawFault(kind: CommonKind, random: Prng, { topology, people, loadMs }: Shape): FaultEvent {
  const at = random.between(FIRST_DEED_MS, loadMs);
  const device = (): number => random.below(devicesOf(people).length);
  const gateway = (): number => random.below(topology.gateways);
  const lane = (): number => random.below(topology.conversationLanes + topology.userLanes);
  switch (kind) {
    case 'cut':
      return { fault: kind, at, device: device() };
    case 'stall': {
      const way = (['up', 'down', 'both'] as const)[random.below(3)]!;
      return { fault: kind, at, device: device(), for: random.between(100, 90_000), way };
    }
    case 'slow-reader':
      return { fault: kind, at, device: device(), for: random.between(500, 10_000) };
    case 'gateway-crash':
    case 'gateway-drain':
      return { fault: kind, at, gateway: gateway() };
    case 'egress-full':
      return { fault: kind, at, gateway: gateway(), for: random.between(10, 3_000) };
    case 'lane-crash':
    case 'store-read-fails':
      return { fault: kind, at, lane: lane() };
    case 'lane-pause':
    case 'lane-takeover':
      return { fault: kind, at, lane: lane(), for: random.between(50, 20_000) };
    case 'store-slow':
      return { fault: kind, at, lane: lane(), for: random.between(100, 10_000) };
    case 'kill':
    case 'power':
      return { fault: kind, at };
    case 'store':
      return { fault: kind, at, lane: lane(), outcome: STORE_OUTCOMES[random.below(STORE_OUTCOMES.length)]! };
    case 'log':
      return {
        fault: kind,
        at,
        outcome: LOG_OUTCOMES[random.below(LOG_OUTCOMES.length)]!,
        count: random.between(1, 3),
      };
    case 'ring-full':
      return { fault: kind, at, for: random.between(5, 2_000) };
    case 'disk-slow':
    case 'disk-full':
      return { fault: kind, at, for: random.between(100, 5_000) };
    case 'clock':
      return { fault: kind, at, by: random.between(-HOUR_MS, HOUR_MS) };
    case 'bit-flip':
      return {
        fault: kind,
        at,
        topic: random.chance(1, 2) ? 1 : 0,
        for: random.between(100, 5_000),
        power: random.chance(1, 2),
      };
  }
}
