/**
 * Makes a plan smaller while it still fails in the same way: whole kinds of events first, then single ones (delta debugging),
 * then people, devices, conversations and the topology, then times and sizes. Again, until nothing can go any more.
 *
 * What is taken away shifts the delays of what stays, so a plan that does not fail any more may fail with another seed: some
 * are tried.
 */
import { devicesOf, type Plan, type Topology } from './plan.js';
import {
  fieldsOf,
  kindOf,
  type PlanEvent,
  withoutConversation,
  withoutDevice,
  withoutGhosts,
  withoutMember,
  withoutPerson,
  withTopology,
} from './plan-edit.js';
import { type Field, TOPOLOGY_DEFAULTS, TOPOLOGY_FIELDS, whatIsImpossible } from './scenario-fields.js';

export interface ShrinkOptions {
  /** Runs a plan; true: it fails in the way that is looked for. */
  readonly fails: (plan: Plan) => boolean;
  /** Told of every smaller plan. */
  readonly onSmaller?: (plan: Plan, runs: number) => void;
  /** True: what there is will do. */
  readonly isOver?: () => boolean;
}

/** Small enough not to look among many seeds. */
const EVENTS_ENOUGH = 19;
const DEVICES_ENOUGH = 4;
/** Seeds that are tried beside the plan's own, from round to round. */
const OTHER_SEEDS = [0, 3, 12] as const;
const ROUND_MS = [1_000, 100] as const;
const TAIL_MS = 1_000;

export function countEvents({ deeds, faults }: Plan): number {
  return deeds.length + faults.length;
}

function isEnough(plan: Plan): boolean {
  return countEvents(plan) <= EVENTS_ENOUGH && devicesOf(plan.people).length <= DEVICES_ENOUGH;
}

/** The smallest plan that it comes to. `plan` itself must fail. */
export function shrink(plan: Plan, options: ShrinkOptions): Plan {
  const shrinker = new Shrinker(plan, options);
  for (const seeds of OTHER_SEEDS) {
    shrinker.otherSeeds = seeds;
    if (seeds === 0 || !isEnough(shrinker.plan)) shrinker.toTheEnd();
  }
  return shrinker.plan;
}

class Shrinker {
  plan: Plan;
  otherSeeds = 0;
  readonly #options: ShrinkOptions;
  #runs = 0;

  constructor(plan: Plan, options: ShrinkOptions) {
    this.plan = plan;
    this.#options = options;
  }

  toTheEnd(): void {
    for (;;) {
      const before = this.plan;
      this.#kinds();
      this.#list('faults');
      this.#list('deeds');
      this.#world();
      this.#topology();
      if (this.#isOver() || this.plan === before) break;
    }
    this.#values();
    this.#duration();
  }

  #isOver(): boolean {
    return this.#options.isOver?.() ?? false;
  }

  /** Takes a plan over if it fails; true: it did. */
  #take(candidate: Plan | undefined): boolean {
    if (candidate === undefined || this.#isOver()) return false;
    for (let n = 0; n <= this.otherSeeds; n++) {
      const tried = n === 0 ? candidate : { ...candidate, seed: n };
      this.#runs++;
      if (!this.#options.fails(tried)) continue;
      this.plan = tried;
      this.#options.onSmaller?.(tried, this.#runs);
      return true;
    }
    return false;
  }

  /** Most of what is on does not matter. */
  #kinds(): void {
    if (this.plan.faults.length > 0) this.#take({ ...this.plan, faults: [] });
    for (const list of ['faults', 'deeds'] as const) {
      for (const kind of new Set(this.plan[list].map(kindOf))) {
        const events: readonly PlanEvent[] = this.plan[list];
        const others = events.filter((event) => kindOf(event) !== kind);
        if (others.length < events.length) this.#take({ ...this.plan, [list]: others });
      }
    }
  }

  /** Single events: halves, quarters … of the list, then one by one. */
  #list(list: 'faults' | 'deeds'): void {
    for (let size = Math.ceil(this.plan[list].length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      // From the end: what happens after the failure goes first.
      for (let end = this.plan[list].length; end > 0; end -= size) {
        const events: readonly PlanEvent[] = this.plan[list];
        const from = Math.max(0, end - size);
        this.#take({ ...this.plan, [list]: events.toSpliced(from, Math.min(end, events.length) - from) });
      }
    }
  }

  #world(): void {
    for (let n = this.plan.conversations.length - 1; n >= 0; n--) this.#take(withoutConversation(this.plan, n));
    for (let n = this.plan.people.length - 1; n >= 0; n--) this.#take(withoutPerson(this.plan, n));
    for (let n = devicesOf(this.plan.people).length - 1; n >= 0; n--) this.#take(withoutDevice(this.plan, n));
    this.plan.conversations.forEach((conversation, index) => {
      const members = 'members' in conversation ? conversation.members : [];
      this.#take(withoutGhosts(this.plan, index));
      for (const member of members.slice(1)) this.#take(withoutMember(this.plan, index, member));
    });
  }

  #topology(): void {
    this.#tryTopology(TOPOLOGY_DEFAULTS);
    for (const key of Object.keys(TOPOLOGY_FIELDS) as (keyof Topology)[]) {
      const { [key]: _, ...others } = this.plan.topology;
      const usual = key in TOPOLOGY_DEFAULTS ? { [key]: TOPOLOGY_DEFAULTS[key] } : {};
      this.#tryTopology({ ...others, ...usual } as Topology);
    }
  }

  #tryTopology(topology: Topology): void {
    const keys = Object.keys(TOPOLOGY_FIELDS) as (keyof Topology)[];
    const isSame = keys.every((key) => this.plan.topology[key] === topology[key]);
    if (!isSame && whatIsImpossible(topology) === undefined) this.#take(withTopology(this.plan, topology));
  }

  /** Round times, short ones, small numbers: what is easier to read. */
  #values(): void {
    for (const list of ['faults', 'deeds'] as const) {
      for (let index = 0; index < this.plan[list].length; index++) {
        for (const round of ROUND_MS) {
          const { at } = this.plan[list][index]!;
          if (at % round === 0 || this.#change(list, index, 'at', Math.round(at / round) * round)) break;
        }
        for (const [key, field] of Object.entries(fieldsOf(this.plan[list][index]!)))
          this.#value(list, index, key, field);
      }
    }
  }

  #value(list: 'faults' | 'deeds', index: number, key: string, field: Field): void {
    if (field.optional === true && this.#change(list, index, key, undefined)) return;
    if (field.type !== 'time' && field.type !== 'whole') return;
    const value = (this.plan[list][index] as unknown as Readonly<Record<string, unknown>>)[key];
    if (typeof value !== 'number') return;
    const least = Math.max(field.min, 0);
    const rounded = ROUND_MS.map((round) => Math.round(value / round) * round).filter((near) => near > least);
    const smaller = field.type === 'time' ? [least, ...rounded] : [least];
    for (const next of smaller) if (next === value || this.#change(list, index, key, next)) return;
  }

  /** The list stays in the order of time. */
  #change(list: 'faults' | 'deeds', index: number, key: string, value: number | undefined): boolean {
    const events: readonly PlanEvent[] = this.plan[list];
    const { [key]: old, ...others } = events[index] as unknown as Readonly<Record<string, unknown>>;
    if (old === value) return false;
    const changed = events.with(
      index,
      (value === undefined ? others : { ...others, [key]: value }) as unknown as PlanEvent,
    );
    const isInOrder = changed.every(({ at }, n) => n === 0 || changed[n - 1]!.at <= at);
    const last = changed.at(-1)?.at ?? 0;
    return isInOrder && last <= this.plan.loadMs && this.#take({ ...this.plan, [list]: changed });
  }

  /** Nothing happens behind the last event. */
  #duration(): void {
    const { deeds, faults, loadMs } = this.plan;
    const last = [...deeds, ...faults].reduce((latest, { at }) => Math.max(latest, at), 0);
    for (const end of [Math.ceil(last / TAIL_MS) * TAIL_MS, last + TAIL_MS]) {
      if (end < loadMs && this.#take({ ...this.plan, loadMs: end })) return;
    }
  }
}
