/**
 * Brokers in a plan: a third of all worlds has them (the others have the log in memory, or its journal on a disk), with faults of
 * their own. All comes from generators of its own, after everything else is drawn.
 *
 * The budget: a minority of the brokers may be down, hang, be cut off or be behind at any moment. What would be more is left out
 * while the world runs (broker-cluster.ts). In some worlds it is not, and what only G16 covers happens on top.
 */
import type { Prng } from '../core/prng.js';
import { FIRST_DEED_MS, type Plan } from './plan.js';

/** Which way a link is cut: both, from the first to the second, from the second to the first. */
export const WAYS = ['both', 'there', 'back'] as const;
/** Who may be cut off from a broker. */
export const LINKED = ['gateway', 'lane', 'broker'] as const;

type At = { readonly at: number };

/** What breaks about brokers, and about links other than those of devices. What lasts for a time heals by itself. */
export type BrokerFault =
  /** Its process dies; what it wrote is there when it starts again. */
  | (At & { readonly fault: 'broker-crash'; readonly broker: number; readonly for: number })
  /** The same, and what was not flushed is gone. */
  | (At & { readonly fault: 'broker-power'; readonly broker: number; readonly for: number })
  | (At & { readonly fault: 'broker-pause'; readonly broker: number; readonly for: number })
  /** `there`: it reaches nobody; `back`: nobody reaches it. */
  | (At & {
      readonly fault: 'broker-isolated';
      readonly broker: number;
      readonly way: (typeof WAYS)[number];
      readonly for: number;
    })
  /** One node and one broker do not reach each other. */
  | (At & {
      readonly fault: 'link-cut';
      readonly who: (typeof LINKED)[number];
      readonly number: number;
      readonly broker: number;
      readonly way: (typeof WAYS)[number];
      readonly for: number;
    })
  /** A lane and the store: requests are lost, or answers are. */
  | (At & {
      readonly fault: 'store-cut';
      readonly lane: number;
      readonly way: 'there' | 'back';
      readonly for: number;
    })
  /** Another in-sync replica is made the leader. */
  | (At & { readonly fault: 'leader-move'; readonly topic: 0 | 1; readonly partition: number })
  | (At & { readonly fault: 'ack-lost'; readonly count: number })
  | (At & { readonly fault: 'ack-late'; readonly for: number })
  /** The brokers forget what producers wrote last to a partition. */
  | (At & { readonly fault: 'producer-evicted'; readonly topic: 0 | 1; readonly partition: number })
  /** Beyond the budget: a replica leads that has not everything acknowledged. */
  | (At & { readonly fault: 'unclean-election'; readonly topic: 0 | 1; readonly partition: number })
  /** Beyond the budget: all brokers lose their power at once. */
  | (At & { readonly fault: 'brokers-power'; readonly for: number })
  /**
   * Beyond the budget: a partition is brought back from an old copy while its readers are down, and the brokers know nothing of it.
   * It ends before what was committed.
   */
  | (At & { readonly fault: 'log-restored'; readonly topic: 0 | 1; readonly partition: number });

type Kind = BrokerFault['fault'];

const KINDS: readonly Kind[] = [
  'broker-crash',
  'broker-power',
  'broker-pause',
  'broker-isolated',
  'link-cut',
  'store-cut',
  'leader-move',
  'ack-lost',
  'ack-late',
  'producer-evicted',
];
export const BEYOND_BUDGET: readonly Kind[] = ['unclean-election', 'brokers-power', 'log-restored'];
/** Most worlds with brokers have as many as real ones. */
const BROKERS = [1, 3, 3, 3, 3, 5] as const;

export function addBrokers(root: Prng, plan: Plan): Plan {
  const random = root.fork('log on brokers');
  const hasBrokers = random.chance(1, 2) && !plan.topology.hasDisk;
  const brokers = BROKERS[random.below(BROKERS.length)]!;
  const isBeyondBudget = random.chance(1, 4);
  if (!hasBrokers) return plan;
  const topology = { ...plan.topology, brokers, ...(isBeyondBudget ? { isBeyondBudget } : {}) };
  const world = { ...plan, topology };
  const faults = [...plan.faults, ...drawFaults(root, world), ...(isBeyondBudget ? drawBeyond(root, world) : [])];
  return { ...world, faults: faults.toSorted((one, other) => one.at - other.at) };
}

function drawFaults(root: Prng, plan: Plan): BrokerFault[] {
  const classes = root.fork('broker fault classes');
  const faults: BrokerFault[] = [];
  for (const kind of KINDS) {
    const isOn = classes.chance(1, 2);
    const random = root.fork(`fault ${kind}`);
    if (isOn) for (let n = random.between(1, 4); n > 0; n--) faults.push(drawFault(kind, random, plan));
  }
  return faults;
}

function drawBeyond(root: Prng, plan: Plan): BrokerFault[] {
  const random = root.fork('beyond the budget');
  const faults: BrokerFault[] = [];
  const kind = BEYOND_BUDGET[random.below(BEYOND_BUDGET.length)]!;
  for (let n = random.between(1, 2); n > 0; n--) {
    const fault = drawFault(kind, random, plan);
    // A replica that is behind is what an unclean election loses by.
    const at = fault.at - random.between(100, 3_000);
    const broker = random.below(plan.topology.brokers ?? 1);
    faults.push(fault);
    if (kind === 'unclean-election') faults.push({ fault: 'broker-isolated', at, broker, way: 'both', for: 4_000 });
  }
  return faults;
}

function drawFault(fault: Kind, random: Prng, { topology, loadMs }: Plan): BrokerFault {
  const at = random.between(FIRST_DEED_MS, loadMs);
  const { brokers = 1, conversationPartitions, userPartitions, conversationLanes, userLanes, gateways } = topology;
  const lanes = conversationLanes + userLanes;
  const broker = random.below(brokers);
  const way = WAYS[random.below(WAYS.length)]!;
  const topic = random.chance(1, 2) ? 1 : 0;
  const partition = random.below(topic === 0 ? conversationPartitions : userPartitions);
  switch (fault) {
    case 'broker-crash':
    case 'broker-power':
    case 'broker-pause':
      return { fault, at, broker, for: random.between(100, 8_000) };
    case 'broker-isolated':
      return { fault, at, broker, way, for: random.between(100, 8_000) };
    case 'link-cut': {
      const who = LINKED[random.below(LINKED.length)]!;
      const number = random.below({ gateway: gateways, lane: lanes, broker: brokers }[who]);
      return { fault, at, who, number, broker, way, for: random.between(100, 15_000) };
    }
    case 'store-cut': {
      const lane = random.below(lanes);
      return { fault, at, lane, way: way === 'back' ? 'back' : 'there', for: random.between(100, 8_000) };
    }
    case 'leader-move':
    case 'producer-evicted':
    case 'unclean-election':
    case 'log-restored':
      return { fault, at, topic, partition };
    case 'ack-lost':
      return { fault, at, count: random.between(1, 6) };
    case 'ack-late':
      return { fault, at, for: random.between(100, 5_000) };
    case 'brokers-power':
      return { fault, at, for: random.between(100, 3_000) };
  }
}
