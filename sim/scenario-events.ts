/** The deeds and faults of a scenario file: one line may stand for several events, for `all` devices or `times` over. */
import { Prng } from '../core/prng.js';
import type { Deed, FaultEvent, Topology } from './plan.js';
import {
  type Countable,
  DEED_FIELDS,
  describeField,
  EVENTS_MAX,
  FAULT_FIELDS,
  type Field,
  type Fields,
  GROUP_DEEDS,
  keyInFile,
  readField,
  TIME_MS_MAX,
  whatIsMissing,
} from './scenario-fields.js';
import type { Members } from './scenario-load.js';
import type { YamlEntry, YamlFile, YamlNode } from './scenario-yaml.js';

export const AT: Field = { type: 'time', min: 0, max: TIME_MS_MAX };
/** What any deed and fault may have besides its own fields. */
export const REPEAT_FIELDS: Fields = {
  times: { type: 'whole', min: 1, max: 100_000, optional: true },
  every: { type: 'time', min: 1, max: TIME_MS_MAX, optional: true },
};

export type Value = number | string | boolean;
type Values = Readonly<Record<string, Value>>;

/** A value of a plain field, or a sentence with the line. */
export function readValue(file: YamlFile, { key, value, at }: YamlEntry, field: Field): Value {
  const text = file.text(value);
  const read = text === undefined ? undefined : readField(field, text);
  if (read === undefined)
    file.fail(value ?? at, `${key}: '${text ?? ''}' is not allowed; give ${describeField(field)}`);
  return read;
}

/** A number of something that exists. */
export function readNumberOf(
  file: YamlFile,
  { key, value, at }: YamlEntry,
  what: Countable,
  counts: Readonly<Record<Countable, number>>,
): number {
  const read = readValue(file, { key, value, at }, { type: 'number of', what }) as number;
  const count = counts[what];
  if (read < count) return read;
  const known = count === 0 ? 'there is none' : `there ${count === 1 ? 'is only 0' : `are 0 to ${count - 1}`}`;
  file.fail(value ?? at, `there is no ${what} ${read}; ${known}`);
}

class EventReader {
  readonly #file: YamlFile;
  readonly #counts: Readonly<Record<Countable, number>>;
  readonly #name: 'do' | 'fault';
  readonly #table: Readonly<Record<string, Fields>>;
  readonly #check: (values: Values, node: YamlNode) => boolean;
  readonly events: Values[] = [];

  constructor(
    file: YamlFile,
    counts: Readonly<Record<Countable, number>>,
    name: 'do' | 'fault',
    check: (values: Values, node: YamlNode) => boolean,
  ) {
    this.#file = file;
    this.#counts = counts;
    this.#name = name;
    this.#table = name === 'do' ? DEED_FIELDS : FAULT_FIELDS;
    this.#check = check;
  }

  list({ key, value, at }: YamlEntry): void {
    const items = this.#file.items(value);
    if (items === undefined) {
      this.#file.fail(value ?? at, `${key} is a list, one event a line: - {at: 2s, ${this.#name}: …}`);
    }
    for (const item of items) this.#event(item, at);
  }

  #event(node: YamlNode, where: YamlNode): void {
    const file: YamlFile = this.#file;
    const name = this.#name;
    const kinds = Object.keys(this.#table);
    const entries = file.entries(node);
    if (entries === undefined) file.fail(node ?? where, `an event is a map with at, ${name} and what that needs`);
    const named = entries.find(({ key }) => key === name);
    const kind = named === undefined ? undefined : file.text(named.value);
    const fields = kind !== undefined && Object.hasOwn(this.#table, kind) ? this.#table[kind] : undefined;
    if (kind === undefined || fields === undefined) {
      const found = named === undefined ? `an event needs '${name}'` : `unknown ${name} '${kind ?? ''}'`;
      file.fail(named?.value ?? named?.at ?? node, `${found}; known are ${kinds.join(', ')}`);
    }
    const names = Object.keys(fields).map(keyInFile);
    const record = file.record(node, `${name}: ${kind}`, ['at', name, ...names, ...Object.keys(REPEAT_FIELDS)]);
    const at = record.get('at');
    if (at === undefined) file.fail(node, `${name}: ${kind} needs at, the time at which it happens`);
    const first: Values = { [name]: kind, at: readValue(file, at, AT) };
    let events = [first];
    for (const [own, field] of Object.entries(fields)) events = this.#field(events, record, own, field, node);
    this.#repeat(events, record, node);
  }

  #field(events: Values[], record: Map<string, YamlEntry>, own: string, field: Field, node: YamlNode): Values[] {
    const file: YamlFile = this.#file;
    const entry = record.get(keyInFile(own));
    if (entry === undefined) {
      if (field.optional === true) return events;
      file.fail(node, `${keyInFile(own)} is missing; give ${describeField(field)}`);
    }
    if (field.type !== 'number of') {
      const value = readValue(file, entry, field);
      return events.map((event) => ({ ...event, [own]: value }));
    }
    if (file.text(entry.value) !== 'all') {
      const value = readNumberOf(file, entry, field.what, this.#counts);
      return events.map((event) => ({ ...event, [own]: value }));
    }
    const all = Array.from({ length: this.#counts[field.what] }, (_, value) => value);
    this.#bound(events.length * all.length, entry.value);
    return events.flatMap((event) => all.map((value) => ({ ...event, [own]: value })));
  }

  #repeat(events: Values[], record: Map<string, YamlEntry>, node: YamlNode): void {
    const file: YamlFile = this.#file;
    const [times, every] = ['times', 'every'].map((key) => {
      const entry = record.get(key);
      return entry === undefined ? undefined : (readValue(file, entry, REPEAT_FIELDS[key]!) as number);
    });
    if ((times === undefined) !== (every === undefined)) file.fail(node, 'times and every go together');
    this.#bound(events.length * (times ?? 1), node);
    for (let n = 0; n < (times ?? 1); n++) {
      for (const event of events) {
        const one = { ...event, at: (event['at'] as number) + n * (every ?? 0) };
        if (this.#check(one, node)) this.events.push(one);
      }
    }
  }

  #bound(more: number, node: YamlNode): void {
    if (this.events.length + more <= EVENTS_MAX) return;
    this.#file.fail(node, `these are more than ${EVENTS_MAX} events; a scenario has no more`);
  }
}

/** What the events of a file are about. */
export interface EventScope {
  readonly topology: Topology;
  readonly counts: Readonly<Record<Countable, number>>;
  readonly members: Members;
  /** Undefined: as long as its events. */
  readonly loadMs: number | undefined;
}

function checkTime(file: YamlFile, { loadMs }: EventScope, at: number, node: YamlNode): void {
  if (loadMs !== undefined && at > loadMs) {
    file.fail(node, `it happens at ${at} ms, after the duration of ${loadMs} ms; from then on all heals`);
  }
}

/** The deeds that a file lists, in its order. */
export function readDeeds(file: YamlFile, entry: YamlEntry, scope: EventScope): Deed[] {
  const reader = new EventReader(file, scope.counts, 'do', (values, node) => {
    const deed = values as unknown as Deed;
    checkTime(file, scope, deed.at, node);
    if (GROUP_DEEDS.has(deed.do) && 'in' in deed && !scope.members.isGroup(deed.in)) {
      file.fail(node, `conversation ${deed.in} is of two people; do: ${deed.do} is for groups`);
    }
    return deed.do !== 'block' || scope.members.owner(deed.device) !== deed.user;
  });
  reader.list(entry);
  return reader.events as unknown as Deed[];
}

export function readFaults(file: YamlFile, entry: YamlEntry, scope: EventScope): FaultEvent[] {
  const reader = new EventReader(file, scope.counts, 'fault', (values, node) => {
    const fault = values as unknown as FaultEvent;
    checkTime(file, scope, fault.at, node);
    const missing = whatIsMissing(fault, scope.topology);
    if (missing !== undefined) file.fail(node, missing);
    return true;
  });
  reader.list(entry);
  return reader.events as unknown as FaultEvent[];
}

/** One generator a purpose, as in plan.ts. */
export function loadRandom(seed: number, index: number): Prng {
  return new Prng(seed).fork(`load ${index}`);
}
