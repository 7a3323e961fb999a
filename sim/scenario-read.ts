/**
 * A scenario: a world written by hand, or a plan that was written to a file. One YAML file: topology, people, conversations,
 * load, deeds and faults with times, and what must be reached. Whatever is wrong is one sentence with the file and the line.
 */
import { DunlinError } from '../core/errors.js';
import { GROUP_MEMBERS_MAX } from '../core/limits.js';
import type { ConversationPlan, Deed, Plan, Topology } from './plan.js';
import {
  type EventScope,
  loadRandom,
  readDeeds,
  readFaults,
  readNumberOf,
  readValue,
  type Value,
} from './scenario-events.js';
import {
  CONVERSATIONS_MAX,
  type Countable,
  countsOf,
  describeField,
  EVENTS_MAX,
  type Field,
  keyInFile,
  PEOPLE_MAX,
  TIME_MS_MAX,
  TOPOLOGY_DEFAULTS,
  TOPOLOGY_FIELDS,
  whatIsImpossible,
} from './scenario-fields.js';
import { expandLoad, LOAD_DEFAULTS, type LoadPlan, Members } from './scenario-load.js';
import { DEVICES_MAX, GUARANTEES, HEAD_FIELDS, LOAD_FIELDS, SCENARIO_KEYS } from './scenario-shape.js';
import { type YamlEntry, YamlFile, type YamlNode } from './scenario-yaml.js';

export interface Scenario {
  readonly plan: Plan;
  readonly title: string | undefined;
  /** In the list of design scenarios. */
  readonly number: number | undefined;
  readonly story: string | undefined;
  /** Marks that a run must come by; without them it has shown nothing. */
  readonly reaches: readonly string[];
  /** Guarantees that were violated when the file was written; empty: all must hold. */
  readonly violated: readonly string[];
}

/** A larger file is none that somebody reads. */
export const SCENARIO_BYTES_MAX = 8 * 2 ** 20;

type Entries = ReadonlyMap<string, YamlEntry>;

/** Parses a scenario. `name` is named in errors. Throws a DunlinError with the line. */
export function parseScenario(text: string, name: string): Scenario {
  if (Buffer.byteLength(text) > SCENARIO_BYTES_MAX) {
    throw new DunlinError(`${name}:1: the file is larger than ${SCENARIO_BYTES_MAX / 2 ** 20} MiB.`);
  }
  const file = new YamlFile(text, name);
  return new ScenarioReader(file).read();
}

class ScenarioReader {
  readonly #file: YamlFile;
  readonly #record: Entries;

  constructor(file: YamlFile) {
    this.#file = file;
    this.#record = file.record(file.root, 'a scenario', SCENARIO_KEYS);
  }

  read(): Scenario {
    const shape = {
      seed: this.#number('seed') ?? 1,
      topology: this.#topology(),
      people: this.#people(),
      conversations: [] as ConversationPlan[],
    };
    shape.conversations = this.#conversations(shape.people);
    const duration = this.#number('duration');
    const members = new Members(shape.people, shape.conversations);
    const counts = countsOf({ ...shape, loadMs: 0 });
    const scope: EventScope = { topology: shape.topology, counts, members, loadMs: duration };
    const deeds = [...this.#events('deeds', readDeeds, scope), ...this.#load(shape.seed, scope)];
    const faults = this.#events('faults', readFaults, scope);
    if (deeds.length + faults.length > EVENTS_MAX) {
      this.#file.fail(this.#file.root, `it comes to more than ${EVENTS_MAX} events`);
    }
    const loadMs = duration ?? [...deeds, ...faults].reduce((last, { at }) => Math.max(last, at), 0) + 1_000;
    const inOrder = <T extends { readonly at: number }>(events: T[]): T[] =>
      events.toSorted((one, other) => one.at - other.at);
    return {
      plan: { ...shape, deeds: inOrder(deeds), faults: inOrder(faults), loadMs },
      number: this.#number('number'),
      title: this.#text('title'),
      story: this.#text('story'),
      reaches: this.#reaches(),
      violated: this.#expected(),
    };
  }

  #number(key: keyof typeof HEAD_FIELDS): number | undefined {
    const entry = this.#record.get(key);
    return entry === undefined ? undefined : (readValue(this.#file, entry, HEAD_FIELDS[key]) as number);
  }

  #text(key: string): string | undefined {
    const entry = this.#record.get(key);
    if (entry === undefined) return undefined;
    const text = this.#file.text(entry.value);
    if (text === undefined) this.#file.fail(entry.at, `${key} is a text`);
    return text.trim();
  }

  #list(entry: YamlEntry, what: string): YamlNode[] {
    return (
      this.#file.items(entry.value) ?? this.#file.fail(entry.value ?? entry.at, `${entry.key} is a list of ${what}`)
    );
  }

  #topology(): Topology {
    const entry = this.#record.get('topology');
    if (entry === undefined) return TOPOLOGY_DEFAULTS;
    const names = Object.keys(TOPOLOGY_FIELDS) as (keyof Topology)[];
    const record = this.#file.record(entry.value, 'topology', names.map(keyInFile), entry.at);
    const read: Record<string, Value> = {};
    for (const name of names) {
      const own = record.get(keyInFile(name));
      if (own !== undefined) read[name] = readValue(this.#file, own, TOPOLOGY_FIELDS[name]);
    }
    const topology = { ...TOPOLOGY_DEFAULTS, ...read };
    const impossible = whatIsImpossible(topology);
    if (impossible !== undefined) this.#file.fail(entry.at, `this topology is impossible: ${impossible}`);
    return topology;
  }

  #people(): number[] {
    const field: Field = { type: 'whole', min: 1, max: DEVICES_MAX };
    const entry = this.#record.get('people');
    if (entry === undefined)
      this.#file.fail(this.#file.root, 'people is missing: a number of them, or a list of how many devices each has');
    const items = this.#file.items(entry.value);
    if (items === undefined) {
      const count = readValue(this.#file, entry, { type: 'whole', min: 1, max: PEOPLE_MAX }) as number;
      return Array.from({ length: count }, () => 1);
    }
    if (items.length === 0 || items.length > PEOPLE_MAX) {
      this.#file.fail(entry.at, `people has ${items.length} entries; there are 1 to ${PEOPLE_MAX} people`);
    }
    return items.map((value) => readValue(this.#file, { ...entry, value }, field) as number);
  }

  #conversations(people: readonly number[]): ConversationPlan[] {
    const entry = this.#record.get('conversations');
    if (entry === undefined) return [];
    const items = this.#list(entry, '{users: [0, 1]} and {members: [0, 1, 2]}');
    if (items.length > CONVERSATIONS_MAX) {
      this.#file.fail(entry.at, `there are ${items.length} conversations; ${CONVERSATIONS_MAX} is the most`);
    }
    return items.map((item) => this.#conversation(item, entry, people.length));
  }

  #conversation(node: YamlNode, list: YamlEntry, people: number): ConversationPlan {
    const record = this.#file.record(node, 'a conversation', ['users', 'members', 'ghosts'], list.at);
    const entry = record.get('users') ?? record.get('members');
    const ghosts = record.get('ghosts');
    if (entry === undefined || record.size !== (ghosts === undefined ? 1 : 2))
      this.#file.fail(node, 'a conversation has either users or members');
    const counts = { device: 0, person: people, conversation: 0, lane: 0, gateway: 0, broker: 0 };
    const users = this.#numbers(entry, 'person', counts);
    if (new Set(users).size !== users.length) this.#file.fail(entry.value, 'somebody is named twice');
    if (entry.key === 'users') {
      if (ghosts !== undefined) this.#file.fail(ghosts.at, 'only a group has ghosts');
      if (users.length !== 2) this.#file.fail(entry.value, `users are two people, not ${users.length}`);
      return { users: [Math.min(...users), Math.max(...users)] };
    }
    if (users.length === 0 || users.length > GROUP_MEMBERS_MAX) {
      this.#file.fail(entry.value, `a group has 1 to ${GROUP_MEMBERS_MAX} members, not ${users.length}`);
    }
    if (ghosts === undefined) return { members: users };
    const max = GROUP_MEMBERS_MAX - users.length;
    return { members: users, ghosts: readValue(this.#file, ghosts, { type: 'whole', min: 0, max }) as number };
  }

  /** `all`, or a list. */
  #numbers(entry: YamlEntry, what: Countable, counts: Readonly<{ [Key in Countable]: number }>): number[] {
    if (this.#file.text(entry.value) === 'all') return Array.from({ length: counts[what] }, (_, index) => index);
    const items = this.#list(entry, `numbers of a ${what}, or all`);
    return items.map((value) => readNumberOf(this.#file, { ...entry, value: value ?? entry.value }, what, counts));
  }

  #events<T>(key: string, read: (file: YamlFile, entry: YamlEntry, scope: EventScope) => T[], scope: EventScope): T[] {
    const entry = this.#record.get(key);
    return entry === undefined ? [] : read(this.#file, entry, scope);
  }

  #load(seed: number, scope: EventScope): Deed[] {
    const entry = this.#record.get('load');
    if (entry === undefined) return [];
    const items = this.#list(entry, '{messages: 2000, over: 10s}');
    let count = 0;
    return items.flatMap((node, index) => {
      const load = this.#loadLine(node, entry, scope);
      count += load.messages + load.reads + load.typing;
      if (count > EVENTS_MAX) this.#file.fail(node, `it comes to more than ${EVENTS_MAX} events`);
      try {
        return expandLoad(load, scope.members, loadRandom(seed, index));
      } catch (error) {
        if (!(error instanceof DunlinError)) throw error;
        return this.#file.fail(node, error.message);
      }
    });
  }

  #loadLine(node: YamlNode, list: YamlEntry, { counts, loadMs }: EventScope): LoadPlan {
    const file: YamlFile = this.#file;
    const record = file.record(node, 'load', [...Object.keys(LOAD_FIELDS), 'in', 'by', 'bytes'], list.at);
    const read = (key: string, otherwise: number): number => {
      const entry = record.get(key);
      return entry === undefined ? otherwise : (readValue(file, entry, LOAD_FIELDS[key]!) as number);
    };
    const from = read('from', LOAD_DEFAULTS.from);
    const over = read('over', Math.max(0, (loadMs ?? from) - from));
    if (from + over > Math.min(loadMs ?? TIME_MS_MAX, TIME_MS_MAX)) {
      file.fail(node, `this load ends at ${from + over} ms, after the duration`);
    }
    const [inside, by] = (['in', 'by'] as const).map((key) => {
      const entry = record.get(key);
      return entry === undefined ? undefined : this.#numbers(entry, key === 'in' ? 'conversation' : 'device', counts);
    });
    const load: LoadPlan = {
      messages: read('messages', 0),
      reads: read('reads', 0),
      typing: read('typing', 0),
      from,
      over,
      in: inside ?? Array.from({ length: counts.conversation }, (_, index) => index),
      by,
      bytes: this.#bytes(record.get('bytes')),
    };
    if (load.messages + load.reads + load.typing === 0)
      file.fail(node, 'this load has neither messages, reads nor typing');
    return load;
  }

  #bytes(entry: YamlEntry | undefined): readonly [number, number] {
    if (entry === undefined) return LOAD_DEFAULTS.bytes;
    const field = LOAD_FIELDS['bytes']!;
    const items = this.#file.items(entry.value) ?? [entry.value, entry.value];
    const sizes = items.map((value) => readValue(this.#file, { ...entry, value }, field) as number);
    const [low, high] = sizes;
    if (sizes.length !== 2 || low! > high!) {
      this.#file.fail(entry.at, `bytes is ${describeField(field)}, or two of them, the lower first`);
    }
    return [low!, high!];
  }

  #reaches(): string[] {
    const entry = this.#record.get('reaches');
    if (entry === undefined) return [];
    return this.#list(entry, 'marks').map((node) => {
      return this.#file.text(node) ?? this.#file.fail(node ?? entry.at, 'a mark is a text');
    });
  }

  #expected(): string[] {
    const entry = this.#record.get('expect');
    if (entry === undefined) return [];
    const text = this.#file.text(entry.value) ?? '';
    if (text === 'holds') return [];
    const names = /^violated (.+)$/.exec(text)?.[1]?.split(/\s*,\s*/) ?? [''];
    const wrong = names.some((name) => !GUARANTEES.includes(name));
    if (wrong)
      this.#file.fail(
        entry.value ?? entry.at,
        `expect: '${text}' is not allowed; give holds, or violated G4, or violated G4, G13`,
      );
    return names;
  }
}
