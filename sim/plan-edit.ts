/** Smaller plans from plans: what is taken away takes with it what names it, and what comes after it is numbered anew. */
import { type ConversationPlan, type Deed, devicesOf, type FaultEvent, type Plan, type Topology } from './plan.js';
import { type Countable, countsOf, DEED_FIELDS, FAULT_FIELDS, type Fields, whatIsMissing } from './scenario-fields.js';

export type PlanEvent = Deed | FaultEvent;

/** New number of an old one; undefined: it is gone, with the events that name it. */
type Renumbering = (number: number) => number | undefined;
type Renumberings = Partial<Readonly<Record<Countable, Renumbering>>>;

export function fieldsOf(event: PlanEvent): Fields {
  return 'do' in event ? DEED_FIELDS[event.do] : FAULT_FIELDS[event.fault];
}

export function kindOf(event: PlanEvent): string {
  return 'do' in event ? event.do : event.fault;
}

function renumber<Event extends PlanEvent>(events: readonly Event[], by: Renumberings): Event[] {
  return events.flatMap((event) => {
    const values: Record<string, unknown> = { ...event };
    for (const [key, field] of Object.entries(fieldsOf(event))) {
      const own = field.type === 'number of' ? by[field.what] : undefined;
      if (own === undefined || typeof values[key] !== 'number') continue;
      const next = own(values[key]);
      if (next === undefined) return [];
      values[key] = next;
    }
    return [values as unknown as Event];
  });
}

function renumbered(plan: Plan, by: Renumberings): Plan {
  return { ...plan, deeds: renumber(plan.deeds, by), faults: renumber(plan.faults, by) };
}

/** Without one of them: those behind it move up. */
function without(gone: number): Renumbering {
  return (number) => (number === gone ? undefined : number > gone ? number - 1 : number);
}

export function withoutConversation(plan: Plan, gone: number): Plan {
  const conversations = plan.conversations.toSpliced(gone, 1);
  return renumbered({ ...plan, conversations }, { conversation: without(gone) });
}

/** Without one member of a group; undefined: nobody would be left. */
export function withoutMember(plan: Plan, conversation: number, member: number): Plan | undefined {
  const old = plan.conversations[conversation]!;
  if (!('members' in old) || old.members.length < 2) return undefined;
  const members = old.members.filter((person) => person !== member);
  return { ...plan, conversations: plan.conversations.with(conversation, { ...old, members }) };
}

/** A group of those only who have devices. */
export function withoutGhosts(plan: Plan, conversation: number): Plan | undefined {
  const old = plan.conversations[conversation]!;
  if (!('members' in old) || old.ghosts === undefined) return undefined;
  return { ...plan, conversations: plan.conversations.with(conversation, { members: old.members }) };
}

/** Without one device of several that somebody has. */
export function withoutDevice(plan: Plan, gone: number): Plan | undefined {
  const owner = devicesOf(plan.people)[gone]!;
  const devices = plan.people[owner]!;
  if (devices < 2) return undefined;
  return renumbered({ ...plan, people: plan.people.with(owner, devices - 1) }, { device: without(gone) });
}

/** Without a person, their devices, and the conversations that are none without them. */
export function withoutPerson(plan: Plan, gone: number): Plan | undefined {
  if (plan.people.length < 2) return undefined;
  const move = without(gone);
  const keep = (people: readonly number[]): number[] => people.flatMap((person) => move(person) ?? []);
  const places: (number | undefined)[] = [];
  const conversations: ConversationPlan[] = [];
  for (const conversation of plan.conversations) {
    const kept = keep('members' in conversation ? conversation.members : conversation.users);
    const isOne = 'members' in conversation ? kept.length > 0 : kept.length === 2;
    places.push(isOne ? conversations.length : undefined);
    if (!isOne) continue;
    conversations.push(
      'members' in conversation ? { ...conversation, members: kept } : { users: [kept[0]!, kept[1]!] },
    );
  }
  let next = 0;
  const devices = devicesOf(plan.people).map((owner) => (owner === gone ? undefined : next++));
  return renumbered(
    { ...plan, people: plan.people.toSpliced(gone, 1), conversations },
    { person: move, conversation: (number) => places[number], device: (number) => devices[number] },
  );
}

/** On another topology: what names a thing that is no more names the last one that is; lanes stay of their stage. */
export function withTopology(plan: Plan, topology: Topology): Plan {
  const old = plan.topology;
  const counts = countsOf({ ...plan, topology });
  const last = (what: Countable): Renumbering => {
    return (number) => (counts[what] === 0 ? undefined : Math.min(number, counts[what] - 1));
  };
  const lane: Renumbering = (number) =>
    number < old.conversationLanes
      ? Math.min(number, topology.conversationLanes - 1)
      : topology.conversationLanes + Math.min(number - old.conversationLanes, topology.userLanes - 1);
  const countables = Object.keys(counts) as Countable[];
  const by = Object.fromEntries(countables.map((what) => [what, what === 'lane' ? lane : last(what)]));
  const moved = renumbered({ ...plan, topology }, by);
  return { ...moved, faults: moved.faults.filter((fault) => whatIsMissing(fault, topology) === undefined) };
}
