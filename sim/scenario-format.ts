/** The format of scenarios as text, off the same tables that read them. */
import { AT, REPEAT_FIELDS } from './scenario-events.js';
import {
  DEED_FIELDS,
  describeField,
  FAULT_FIELDS,
  type Fields,
  keyInFile,
  TOPOLOGY_DEFAULTS,
  TOPOLOGY_FIELDS,
} from './scenario-fields.js';
import { DEVICES_MAX, HEAD_FIELDS, LOAD_FIELDS } from './scenario-shape.js';

function fieldLines(fields: Fields, indent: string): string[] {
  const rows = Object.entries(fields).map(([name, field]) => {
    return [keyInFile(name), describeField(field) + (field.optional === true ? '; may be left out' : '')] as const;
  });
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, words]) => `${indent}${name.padEnd(width)}  ${words}`);
}

function kindLines(name: string, table: Readonly<Record<string, Fields>>): string[] {
  return Object.entries(table).flatMap(([kind, fields]) => [`  ${name}: ${kind}`, ...fieldLines(fields, '      ')]);
}

/** Lines of `dunlin sim format`. */
export function describeFormat(): string[] {
  const defaults = Object.entries(TOPOLOGY_DEFAULTS).map(([name, value]) => `${keyInFile(name)} ${value}`);
  return [
    'title, story   texts',
    ...fieldLines(HEAD_FIELDS, ''),
    '',
    `topology: a map; left out: ${defaults.join(', ')}`,
    ...fieldLines(TOPOLOGY_FIELDS, '  '),
    '',
    `people: how many, each with one device; or a list with the number of devices of each, 1 to ${DEVICES_MAX}`,
    'conversations: a list of {users: [0, 1]} and {members: [0, 1, 2]}; the first member makes the group; or {members: all}; ghosts: so many more members without a device',
    '',
    'load: a list of maps; each draws so many deeds at random times, in any of `in`, by any of `by` who is there',
    ...fieldLines(LOAD_FIELDS, '  '),
    '  in     conversations, or all; left out: all',
    '  by     devices, or all; left out: all',
    '',
    'deeds and faults: lists of maps; each event has',
    ...fieldLines({ at: AT, ...REPEAT_FIELDS }, '  '),
    '',
    ...kindLines('do', DEED_FIELDS),
    '',
    ...kindLines('fault', FAULT_FIELDS),
    '',
    'reaches: a list of marks that the run must come by (`dunlin sim run` prints the marks); one that is missing is exit code 2',
    'expect: holds, or violated G4 (what was found when the file was written)',
  ];
}
