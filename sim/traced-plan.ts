/**
 * A plan whose arrivals are real ones: conversations, people, joins, leaves and messages out of a trace, faster than they were;
 * topology, faults and reads out of the seed.
 */
import { ArrivalKind } from '../benchmarks/load/arrivals.js';
import { listOf } from '../benchmarks/load/population.js';
import { TraceColumns, TraceKind } from '../benchmarks/load/trace.js';
import { countPeople, planTrace, type TracePlan } from '../benchmarks/load/trace-plan.js';
import { DunlinError } from '../core/errors.js';
import { Prng } from '../core/prng.js';
import { type ConversationPlan, type Deed, drawFaults, drawPlan, FIRST_DEED_MS, type Plan } from './plan.js';
import { EVENTS_MAX, PEOPLE_MAX } from './scenario-fields.js';

export interface TracedOptions {
  readonly seed: number;
  /** How many times as fast; undefined: so that it takes LOAD_MS. */
  readonly speed: number | undefined;
  /** The first so many conversations, and the first so many of their messages. */
  readonly conversations: number;
  readonly messages: number;
}

/** What of a trace is in a plan. */
export interface TracedPlan {
  readonly plan: Plan;
  readonly used: Pick<TracePlan, 'messages' | 'joins' | 'leaves' | 'spanMs' | 'membersMax'>;
  readonly conversations: number;
  readonly speed: number;
}

/** How long a part of a trace takes, unless a speed is given. */
const LOAD_MS = 20_000;
/** Who joins to speak at once is added so much earlier: the group must know by then. */
const JOIN_AHEAD_MS = 1_000;
const READ_AFTER_MS = 2_000;

/** The rows of the conversations that come first in the file. */
function firstConversations(columns: TraceColumns, count: number): TraceColumns {
  const taken = new Set<number>();
  const part = new TraceColumns();
  for (let row = 0; row < columns.rows; row++) {
    const id = columns.conversation[row]!;
    if (!taken.has(id) && taken.size === count) continue;
    taken.add(id);
    part.push(columns.atMs[row]!, id, columns.sender[row]!, columns.kind[row]!, columns.bytes[row]!);
  }
  return part;
}

/** The rows up to the message number `messages`, in the order of time. */
function firstMessages(columns: TraceColumns, messages: number): TraceColumns {
  const order = Uint32Array.from({ length: columns.rows }, (_, row) => row).toSorted(
    (one, other) => columns.atMs[one]! - columns.atMs[other]! || one - other,
  );
  const part = new TraceColumns();
  let count = 0;
  for (const row of order) {
    if (count === messages) break;
    if (columns.kind[row] === TraceKind.MESSAGE) count++;
    const { atMs, conversation, sender, kind, bytes } = columns;
    part.push(atMs[row]!, conversation[row]!, sender[row]!, kind[row]!, bytes[row]!);
  }
  return part;
}

/** Throws a DunlinError if it is more than a world can be. */
export function planOfTrace(columns: TraceColumns, options: TracedOptions): TracedPlan {
  const part = firstMessages(firstConversations(columns, options.conversations), options.messages);
  const people = countPeople(part);
  // Everybody of every conversation is somebody else, as long as a world has room for so many.
  const users = Math.min(people.all, PEOPLE_MAX);
  const trace = planTrace(part, { users, limit: options.messages });
  const speed = options.speed ?? Math.max(1, trace.spanMs / LOAD_MS);
  const drawn = drawPlan(options.seed);
  const conversations: ConversationPlan[] = [];
  for (let group = 0; group + 1 < trace.groups.start.length; group++) {
    conversations.push({ members: [...listOf(trace.groups, group)] });
  }
  const shape = {
    seed: options.seed,
    // What sites do to few messages they do to many, at many times the price.
    topology: { ...drawn.topology, buggify: false, tinyLimits: false },
    people: Array.from({ length: users }, () => 1),
    conversations,
    loadMs: Math.ceil(FIRST_DEED_MS + JOIN_AHEAD_MS + trace.spanMs / speed + READ_AFTER_MS),
  };
  const root = new Prng(options.seed).fork('traced');
  const deeds = deedsOf(trace, speed, root.fork('reads'));
  if (deeds.length > EVENTS_MAX) {
    throw new DunlinError(`this part of the trace comes to ${deeds.length} deeds; a world has at most ${EVENTS_MAX}.`);
  }
  const plan = { ...shape, deeds, faults: drawFaults(root, shape) };
  return { plan, used: trace, conversations: conversations.length, speed };
}

function deedsOf(trace: TracePlan, speed: number, random: Prng): Deed[] {
  const deeds: Deed[] = [];
  for (let row = 0; row < trace.atMs.length; row++) {
    const at = FIRST_DEED_MS + JOIN_AHEAD_MS + Math.round(trace.atMs[row]! / speed);
    const device = trace.user[row]!;
    const group = trace.group[row]!;
    const kind = trace.kind[row]!;
    if (kind === ArrivalKind.ADD) {
      deeds.push({ do: 'add', at: at - JOIN_AHEAD_MS, device, in: group, user: trace.subject[row]! });
    } else if (kind === ArrivalKind.LEAVE) deeds.push({ do: 'leave', at, device, in: group });
    else {
      deeds.push({ do: 'send', at, device, in: group, bytes: Math.max(12, trace.bytes[row]!) });
      if (!random.chance(1, 2)) continue;
      const members = listOf(trace.groups, group);
      const reader = members[random.below(members.length)]!;
      deeds.push({ do: 'read', at: at + random.below(READ_AFTER_MS), device: reader, in: group });
    }
  }
  return deeds.toSorted((one, other) => one.at - other.at);
}
