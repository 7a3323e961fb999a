/** A plan as a scenario file that reads back as the same plan: one line an event. */
import { deviceKey } from '../core/ids.js';
import { userId } from './device.js';
import { type ConversationPlan, devicesOf, type Plan, type Topology } from './plan.js';
import {
  DEED_FIELDS,
  FAULT_FIELDS,
  type Fields,
  keyInFile,
  TOPOLOGY_FIELDS,
  writeField,
  writeTime,
} from './scenario-fields.js';
import type { Scenario } from './scenario-read.js';

export type WritableScenario = Partial<Omit<Scenario, 'plan'>> & { readonly plan: Plan };

type Value = number | string | boolean;

export function writeScenario({ plan, title, number, story, reaches = [], violated = [] }: WritableScenario): string {
  return [
    ...(title === undefined ? [] : [`title: ${textOf(title)}`]),
    ...(number === undefined ? [] : [`number: ${number}`]),
    ...(story === undefined ? [] : [`story: ${textOf(story)}`]),
    `seed: ${plan.seed}`,
    `topology: ${flow(topologyEntries(plan.topology))}`,
    ...peopleLines(plan.people),
    ...listLines('conversations', plan.conversations.map(conversationLine)),
    `duration: ${writeTime(plan.loadMs)}`,
    ...listLines(
      'deeds',
      plan.deeds.map((deed) => eventLine('do', deed, DEED_FIELDS[deed.do])),
    ),
    ...listLines(
      'faults',
      plan.faults.map((fault) => eventLine('fault', fault, FAULT_FIELDS[fault.fault])),
    ),
    ...listLines('reaches', reaches.map(textOf)),
    ...(violated.length === 0 ? [] : [`expect: violated ${violated.join(', ')}`]),
    '',
  ].join('\n');
}

/** JSON's texts are YAML's. */
function textOf(text: string): string {
  return /^[A-Z][\w ,.()’-]*\w$/i.test(text) && text !== 'null' ? text : JSON.stringify(text);
}

function flow(entries: readonly (readonly [string, string])[]): string {
  return `{${entries.map(([key, value]) => `${key}: ${value}`).join(', ')}}`;
}

function topologyEntries(topology: Topology): [string, string][] {
  return (Object.keys(TOPOLOGY_FIELDS) as (keyof Topology)[]).flatMap((name) => {
    const value = topology[name];
    return value === undefined ? [] : [[keyInFile(name), writeField(TOPOLOGY_FIELDS[name], value)]];
  });
}

/** The comment says who the numbers of devices are: histories and timelines name device keys. */
function peopleLines(people: readonly number[]): string[] {
  const owners = devicesOf(people);
  const keys = owners.map((person, device) => deviceKey(userId(person), 1 + device - owners.indexOf(person)));
  const comment = owners.length > 64 ? [] : [`# devices 0 to ${owners.length - 1}: ${keys.join(', ')}`];
  return [...comment, `people: [${people.join(', ')}]`];
}

function conversationLine(conversation: ConversationPlan): string {
  return 'members' in conversation
    ? `{members: [${conversation.members.join(', ')}]${conversation.ghosts === undefined ? '' : `, ghosts: ${conversation.ghosts}`}}`
    : `{users: [${conversation.users.join(', ')}]}`;
}

function listLines(key: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${key}:`, ...lines.map((line) => `  - ${line}`)];
}

function eventLine(name: 'do' | 'fault', event: { readonly at: number }, fields: Fields): string {
  const values = event as unknown as Readonly<Record<string, Value | undefined>>;
  const own = Object.entries(fields).flatMap(([key, field]): [string, string][] => {
    const value = values[key];
    return value === undefined ? [] : [[keyInFile(key), writeField(field, value)]];
  });
  return flow([['at', writeTime(event.at)], [name, String(values[name])], ...own]);
}
