/**
 * Plans for deep worlds: ten thousand to a million messages of dozens of people, in bursts, with all the faults of a small
 * world. What is dear at its start, and what a message costs when it travels alone, weighs little there.
 */
import { Prng } from '../core/prng.js';
import { type ConversationPlan, type Deed, devicesOf, drawFaults, drawPlan, type Plan, type Shape } from './plan.js';

/** Messages of one burst at most: as many as the performance bars say for one WebSocket message. */
const BURST_MAX = 64;
const MESSAGES_PER_MS = 40;
const LOAD_MS_MIN = 5_000;
const FIRST_DEED_MS = 1_500;
const DIRECT_PER_PERSON = 3;

/** A world of about `messages` messages. A function of both numbers. */
export function drawDeepPlan(seed: number, messages: number): Plan {
  const root = new Prng(seed).fork('deep');
  const random = root.fork('shape');
  const people = Array.from({ length: random.between(24, 64) }, () => random.between(1, 3));
  const loadMs = FIRST_DEED_MS + Math.max(LOAD_MS_MIN, Math.ceil(messages / MESSAGES_PER_MS));
  const conversations = drawConversations(random, people.length);
  // What sites do to few messages they do to many, at many times the price; small worlds have them.
  const topology = { ...drawPlan(seed).topology, buggify: false, tinyLimits: false };
  const shape: Shape = { seed, topology, people, conversations, loadMs };
  return { ...shape, deeds: drawDeeds(root, shape, messages), faults: drawFaults(root, shape) };
}

function drawConversations(random: Prng, people: number): ConversationPlan[] {
  const conversations: ConversationPlan[] = [];
  for (let user = 0; user < people; user++) {
    for (let n = 0; n < DIRECT_PER_PERSON; n++) {
      const other = random.below(people);
      if (other !== user) conversations.push({ users: [Math.min(user, other), Math.max(user, other)] });
    }
  }
  for (let groups = random.between(2, 6); groups > 0; groups--) {
    const members = Array.from({ length: people }, (_, user) => user).filter(() => random.chance(1, groups + 1));
    if (members.length > 1) conversations.push({ members });
  }
  return conversations;
}

/** Who is in each conversation. */
function membersOf(conversation: ConversationPlan): readonly number[] {
  return 'members' in conversation ? conversation.members : conversation.users;
}

function drawDeeds(root: Prng, { people, conversations, loadMs }: Shape, messages: number): Deed[] {
  const owners = devicesOf(people);
  const firstDevice = people.map((_, user) => owners.indexOf(user));
  const random = root.fork('sends');
  const deeds: Deed[] = [];
  const at = (): number => random.between(FIRST_DEED_MS, loadMs);
  for (let left = messages; left > 0; ) {
    const index = random.below(conversations.length);
    const members = membersOf(conversations[index]!);
    const user = members[random.below(members.length)]!;
    const device = firstDevice[user]! + random.below(people[user]!);
    const count = Math.min(left, random.between(1, BURST_MAX));
    deeds.push({ do: 'send', at: at(), device, in: index, bytes: random.between(16, 200), count });
    left -= count;
    if (random.chance(1, 4)) deeds.push({ do: 'read', at: at(), device, in: index });
  }
  return deeds.toSorted((one, other) => one.at - other.at);
}
