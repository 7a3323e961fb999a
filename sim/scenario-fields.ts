/**
 * What a scenario may say, as tables: every kind of deed and of fault with its fields, and the topology. Reading, writing,
 * the JSON schema and `dunlin sim format` all go by them. A kind that is new in plan.ts does not compile until it is here.
 */
import {
  CLIENT_OUTBOX_MAX,
  MESSAGE_TTL_S_MAX,
  PAYLOAD_BYTES_MAX,
  PRESENCE_UPDATES_PER_WINDOW,
  SPILL_BYTES,
  USER_ID_MAX,
} from '../core/limits.js';
import { BEYOND_BUDGET, LINKED, WAYS } from './broker-plan.js';
import { type Deed, type FaultEvent, LINKS, LOG_OUTCOMES, type Plan, STORE_OUTCOMES, type Topology } from './plan.js';

/** What a number can be the number of. All count from 0. */
export type Countable = 'device' | 'person' | 'conversation' | 'lane' | 'gateway' | 'broker';

interface FieldBase {
  readonly optional?: true;
}

export type Field = FieldBase &
  (
    | { readonly type: 'number of'; readonly what: Countable }
    | { readonly type: 'whole'; readonly min: number; readonly max: number }
    /** With its unit in a file, in milliseconds in a plan. */
    | { readonly type: 'time'; readonly min: number; readonly max: number }
    | { readonly type: 'word'; readonly words: readonly string[] }
    | { readonly type: 'flag' }
  );

export type Fields = Readonly<Record<string, Field>>;

const HOUR_MS = 3_600_000;
/** Longest time that a scenario can name. */
export const TIME_MS_MAX = 24 * HOUR_MS;
/** Below it there is no room for who sent a message and which one it is. */
const MESSAGE_BYTES_MIN = 12;
const COUNT_MAX = 1_000;

const numberOf = (what: Countable): Field => ({ type: 'number of', what });
const whole = (min: number, max: number): Field => ({ type: 'whole', min, max });
const time = (min: number, max: number): Field => ({ type: 'time', min, max });
const word = (words: readonly string[]): Field => ({ type: 'word', words });

const flag: Field = { type: 'flag' };
const device = numberOf('device');
const user = numberOf('person');
const lane = numberOf('lane');
const gateway = numberOf('gateway');
const broker = numberOf('broker');
const partitionFields = { topic: whole(0, 1), partition: whole(0, 63) };
const length = time(0, TIME_MS_MAX);
const conversation = numberOf('conversation');

/** The fields of one kind, without its name and its time. */
type FieldsOf<Event, Name extends string, Kind> =
  Event extends Readonly<Record<Name, infer Own>>
    ? Kind extends Own
      ? { readonly [Key in Exclude<keyof Event, Name | 'at'>]-?: Field }
      : never
    : never;

export const DEED_FIELDS: { readonly [Kind in Deed['do']]: FieldsOf<Deed, 'do', Kind> } = {
  send: {
    device,
    in: conversation,
    bytes: whole(MESSAGE_BYTES_MIN, PAYLOAD_BYTES_MAX),
    ttl: { ...whole(1, MESSAGE_TTL_S_MAX), optional: true },
    count: { ...whole(1, COUNT_MAX), optional: true },
  },
  read: { device, in: conversation },
  typing: { device, in: conversation },
  add: { device, in: conversation, user },
  remove: { device, in: conversation, user },
  admin: { device, in: conversation, user },
  leave: { device, in: conversation },
  block: { device, user, on: flag },
  watch: { device, user },
  unwatch: { device, user },
  offline: { device, for: length },
  begin: { device },
};

export const FAULT_FIELDS: {
  readonly [Kind in FaultEvent['fault']]: FieldsOf<FaultEvent, 'fault', Kind>;
} = {
  cut: { device },
  stall: { device, for: length, way: word(['up', 'down', 'both']) },
  'slow-reader': { device, for: length },
  'gateway-crash': { gateway },
  'gateway-drain': { gateway },
  'lane-crash': { lane },
  'offset-zero': { lane },
  'lane-pause': { lane, for: length },
  'lane-takeover': { lane, for: length },
  kill: {},
  power: {},
  store: { lane, outcome: word(STORE_OUTCOMES) },
  'store-read-fails': { lane },
  'store-slow': { lane, for: length },
  log: { outcome: word(LOG_OUTCOMES), count: whole(1, COUNT_MAX) },
  'ring-full': { for: length },
  'disk-slow': { for: length },
  'disk-full': { for: length },
  'egress-full': { gateway, for: length },
  clock: { by: time(-TIME_MS_MAX, TIME_MS_MAX) },
  'bit-flip': { topic: whole(0, 1), for: length, power: flag },
  partition: { device, gateway, way: word(['up', 'down', 'both']), refuses: flag, for: length },
  'all-cut': {},
  weeks: { days: whole(1, 55) },
  'app-crash': { device, for: length },
  'app-restore': { device, for: length },
  'app-reinstall': { device, for: length },
  link: { device, link: word(LINKS), for: length },
  'broker-crash': { broker, for: length },
  'broker-power': { broker, for: length },
  'broker-pause': { broker, for: length },
  'broker-isolated': { broker, way: word(WAYS), for: length },
  'link-cut': { who: word(LINKED), number: whole(0, 63), broker, way: word(WAYS), for: length },
  'store-cut': { lane, way: word(['there', 'back']), for: length },
  'leader-move': partitionFields,
  'ack-lost': { count: whole(1, 1_000) },
  'ack-late': { for: length },
  'producer-evicted': partitionFields,
  'unclean-election': partitionFields,
  'brokers-power': { for: length },
  'log-restored': partitionFields,
};

/** Deeds that only a group knows. */
export const GROUP_DEEDS: ReadonlySet<Deed['do']> = new Set(['add', 'remove', 'admin', 'leave']);

const THREADS_MAX = 64;
const PARTITIONS_MAX = 64;
const BROKERS_MAX = 9;

/** What is left out in a file: `TOPOLOGY_DEFAULTS`. */
export const TOPOLOGY_FIELDS: { readonly [Key in keyof Topology]-?: Field } = {
  gateways: whole(1, THREADS_MAX),
  conversationPartitions: whole(1, PARTITIONS_MAX),
  userPartitions: whole(1, PARTITIONS_MAX),
  conversationLanes: whole(1, THREADS_MAX),
  userLanes: whole(1, THREADS_MAX),
  hasDisk: flag,
  admissionsPerSecond: { ...whole(1, 1_000_000), optional: true },
  admissionsBurst: { ...whole(1, 1_000_000), optional: true },
  outboxMax: { ...whole(1, CLIENT_OUTBOX_MAX), optional: true },
  presenceUpdates: { ...whole(1, PRESENCE_UPDATES_PER_WINDOW), optional: true },
  inboxBytes: { ...whole(256, SPILL_BYTES), optional: true },
  watchesAtEnd: { ...flag, optional: true },
  buggify: { ...flag, optional: true },
  tinyLimits: { ...flag, optional: true },
  brokers: { ...whole(1, BROKERS_MAX), optional: true },
  isBeyondBudget: { ...flag, optional: true },
  saves: { ...flag, optional: true },
};

export const TOPOLOGY_DEFAULTS: Topology = {
  gateways: 1,
  conversationPartitions: 1,
  userPartitions: 1,
  conversationLanes: 1,
  userLanes: 1,
  hasDisk: false,
};

/** What must hold between the numbers of a topology: a sentence if it does not. */
export function whatIsImpossible(topology: Topology): string | undefined {
  const { brokers, hasDisk, isBeyondBudget } = topology;
  if (brokers !== undefined && hasDisk) return 'the log is on brokers or on a disk of the lanes; give one of the two';
  if (isBeyondBudget === true && brokers === undefined) return 'only brokers break beyond the budget; give brokers: 3';
  const { conversationLanes, conversationPartitions, userLanes, userPartitions } = topology;
  const lanes = [
    ['conversation', conversationLanes, conversationPartitions],
    ['user', userLanes, userPartitions],
  ] as const;
  for (const [name, count, partitions] of lanes) {
    if (count > partitions) {
      return `${count} ${name} lanes share ${partitions} ${name} partitions; each lane needs one of its own at least`;
    }
  }
  return undefined;
}

const NEED_BROKERS: ReadonlySet<FaultEvent['fault']> = new Set([
  'broker-crash',
  'broker-power',
  'broker-pause',
  'broker-isolated',
  'link-cut',
  'leader-move',
  'ack-lost',
  'ack-late',
  'producer-evicted',
  ...BEYOND_BUDGET,
]);

/** Faults that only some topologies have: a sentence if this one has not. */
export function whatIsMissing(event: FaultEvent, topology: Topology): string | undefined {
  const { fault } = event;
  if (fault === 'bit-flip' && !topology.hasDisk) return 'a bit-flip needs a disk; give topology: {has_disk: true}';
  if (NEED_BROKERS.has(fault) && topology.brokers === undefined) {
    return `${fault} needs brokers; give topology: {brokers: 3}`;
  }
  if (isBeyond(fault) && topology.isBeyondBudget !== true) {
    return `${fault} is more than what is survived; give topology: {is_beyond_budget: true}`;
  }
  if (!('partition' in event)) return undefined;
  const count = event.topic === 0 ? topology.conversationPartitions : topology.userPartitions;
  return event.partition < count ? undefined : `topic ${event.topic} has no partition ${event.partition}`;
}

function isBeyond(fault: FaultEvent['fault']): boolean {
  return BEYOND_BUDGET.some((kind) => kind === fault);
}

/** How many there are of each in a world. */
export function countsOf({
  topology,
  people,
  conversations,
}: Omit<Plan, 'deeds' | 'faults'>): Record<Countable, number> {
  return {
    device: people.reduce((sum, devices) => sum + devices, 0),
    person: people.length,
    conversation: conversations.length,
    lane: topology.conversationLanes + topology.userLanes,
    gateway: topology.gateways,
    broker: topology.brokers ?? 0,
  };
}

export const SEED_MAX = Number.MAX_SAFE_INTEGER;
/** Events of one scenario, generated ones included. */
export const EVENTS_MAX = 1_000_000;
export const PEOPLE_MAX = 5_000;
export const CONVERSATIONS_MAX = 10_000;

if (PEOPLE_MAX > USER_ID_MAX) throw new Error('a scenario has more people than there are user ids');

/** `conversationLanes` in a plan is `conversation_lanes` in a file. */
export function keyInFile(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: HOUR_MS };

/** `20s`, `1500ms`, `-2h` → milliseconds, if they are whole. */
export function readTime(text: string): number | undefined {
  const match = /^(-?\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h)$/.exec(text.trim());
  if (match === null) return undefined;
  const ms = Number(match[1]) * UNIT_MS[match[2]!]!;
  const rounded = Math.round(ms);
  return Math.abs(ms - rounded) < 1e-6 ? rounded + 0 : undefined;
}

export function writeTime(ms: number): string {
  if (ms !== 0 && ms % 1_000 === 0) return `${ms / 1_000}s`;
  return `${ms}ms`;
}

function within(value: number | undefined, min: number, max: number): number | undefined {
  return value !== undefined && value >= min && value <= max ? value : undefined;
}

function wholeOf(text: string): number | undefined {
  return /^-?\d{1,16}$/.test(text) ? Number(text) : undefined;
}

const FLAGS: Readonly<Record<string, boolean>> = { true: true, false: false };

/** The value that a file's word stands for; undefined: it is not allowed. Numbers of things are checked elsewhere. */
export function readField(field: Field, text: string): number | string | boolean | undefined {
  switch (field.type) {
    case 'number of':
      return within(wholeOf(text), 0, Number.MAX_SAFE_INTEGER);
    case 'whole':
      return within(wholeOf(text), field.min, field.max);
    case 'time':
      return within(readTime(text), field.min, field.max);
    case 'word':
      return field.words.includes(text) ? text : undefined;
    case 'flag':
      return FLAGS[text];
  }
}

export function writeField(field: Field, value: number | string | boolean): string {
  return field.type === 'time' ? writeTime(value as number) : String(value);
}

/** What is allowed, in words that go on after "give". */
export function describeField(field: Field): string {
  switch (field.type) {
    case 'number of':
      return `the number of a ${field.what}, counted from 0, or all`;
    case 'whole':
      return `a whole number from ${field.min} to ${field.max}`;
    case 'time':
      return `a time with its unit, in whole milliseconds (20s, 1500ms), from ${writeTime(field.min)} to ${writeTime(field.max)}`;
    case 'word':
      return `one of ${field.words.join(', ')}`;
    case 'flag':
      return 'true or false';
  }
}
