/** The JSON schema of scenario files, for editors, off the same tables that read them; kept in sim/scenarios/schema.json. */
import { GROUP_MEMBERS_MAX } from '../core/limits.js';
import { AT, REPEAT_FIELDS } from './scenario-events.js';
import {
  CONVERSATIONS_MAX,
  DEED_FIELDS,
  describeField,
  FAULT_FIELDS,
  type Field,
  type Fields,
  keyInFile,
  PEOPLE_MAX,
  TOPOLOGY_FIELDS,
} from './scenario-fields.js';
import { DEVICES_MAX, GUARANTEES, HEAD_FIELDS, LOAD_FIELDS } from './scenario-shape.js';

type Schema = Readonly<Record<string, unknown>>;

const TIME_PATTERN = '^-?\\d+(\\.\\d+)?(ms|s|m|h)$';
const NUMBER: Schema = { type: 'integer', minimum: 0 };
const SCHEMA_OF_NUMBERS: Schema = { oneOf: [{ const: 'all' }, { type: 'array', items: NUMBER, uniqueItems: true }] };

function schemaOf(field: Field): Schema {
  const description = describeField(field);
  switch (field.type) {
    case 'number of':
      return { description, oneOf: [NUMBER, { const: 'all' }] };
    case 'whole':
      return { description, type: 'integer', minimum: field.min, maximum: field.max };
    case 'time':
      return { description, type: 'string', pattern: TIME_PATTERN };
    case 'word':
      return { enum: field.words };
    case 'flag':
      return { type: 'boolean' };
  }
}

function properties(fields: Fields): Readonly<Record<string, Schema>> {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [keyInFile(name), schemaOf(field)]));
}

function map(known: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema {
  return { type: 'object', properties: known, required, additionalProperties: false };
}

function list(items: Schema, more: Schema = {}): Schema {
  return { type: 'array', items, ...more };
}

function events(name: string, table: Readonly<Record<string, Fields>>): Schema {
  const kinds = Object.entries(table).map(([kind, fields]) => {
    const needed = Object.keys(fields).filter((key) => fields[key]!.optional !== true);
    const known = { at: schemaOf(AT), [name]: { const: kind }, ...properties(fields), ...properties(REPEAT_FIELDS) };
    return map(known, ['at', name, ...needed.map(keyInFile)]);
  });
  return list({ oneOf: kinds });
}

export function scenarioSchema(): Schema {
  const person = schemaOf({ type: 'whole', min: 1, max: DEVICES_MAX });
  const size = schemaOf(LOAD_FIELDS['bytes']!);
  const load = { ...properties(LOAD_FIELDS), in: SCHEMA_OF_NUMBERS, by: SCHEMA_OF_NUMBERS };
  const members = { oneOf: [{ const: 'all' }, list(NUMBER, { minItems: 1, maxItems: GROUP_MEMBERS_MAX })] };
  const conversation = {
    oneOf: [
      map({ users: list(NUMBER, { minItems: 2, maxItems: 2 }) }, ['users']),
      map({ members, ghosts: schemaOf({ type: 'whole', min: 0, max: GROUP_MEMBERS_MAX }) }, ['members']),
    ],
  };
  const known = {
    title: { type: 'string' },
    story: { type: 'string' },
    ...properties(HEAD_FIELDS),
    topology: map(properties(TOPOLOGY_FIELDS)),
    people: {
      oneOf: [
        schemaOf({ type: 'whole', min: 1, max: PEOPLE_MAX }),
        list(person, { minItems: 1, maxItems: PEOPLE_MAX }),
      ],
    },
    conversations: list(conversation, { maxItems: CONVERSATIONS_MAX }),
    load: list(map({ ...load, bytes: { oneOf: [size, list(size, { minItems: 2, maxItems: 2 })] } })),
    deeds: events('do', DEED_FIELDS),
    faults: events('fault', FAULT_FIELDS),
    reaches: list({ type: 'string' }),
    expect: { type: 'string', pattern: `^(holds|violated (${GUARANTEES.join('|')})(, *(${GUARANTEES.join('|')}))*)$` },
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'A scenario of dunlin sim',
    ...map(known, ['people']),
  };
}
