/** Load in one line: so many messages, reads or signs of typing over a time, drawn from the scenario's seed. */
import { DunlinError } from '../core/errors.js';
import { PAYLOAD_BYTES_MAX } from '../core/limits.js';
import type { Prng } from '../core/prng.js';
import { type ConversationPlan, type Deed, devicesOf } from './plan.js';

/** Who owns which device, and who is in which conversation from the start. */
export class Members {
  readonly #owners: readonly number[];
  readonly #conversations: readonly ConversationPlan[];

  constructor(people: readonly number[], conversations: readonly ConversationPlan[]) {
    this.#owners = devicesOf(people);
    this.#conversations = conversations;
  }

  owner(device: number): number | undefined {
    return this.#owners[device];
  }

  isGroup(conversation: number): boolean {
    const plan = this.#conversations[conversation];
    return plan !== undefined && 'members' in plan;
  }

  /** Devices of a conversation's people, in order. */
  devicesIn(conversation: number): number[] {
    const plan = this.#conversations[conversation]!;
    const people = new Set('members' in plan ? plan.members : plan.users);
    return this.#owners.flatMap((owner, device) => (people.has(owner) ? [device] : []));
  }
}

export interface LoadPlan {
  readonly messages: number;
  readonly reads: number;
  readonly typing: number;
  readonly from: number;
  readonly over: number;
  /** Conversations; each event is in any of them. */
  readonly in: readonly number[];
  /** Devices; undefined: any device of who is in the conversation. */
  readonly by: readonly number[] | undefined;
  readonly bytes: readonly [low: number, high: number];
}

/** As much as plan.ts draws: nothing is sent before groups can stand. */
export const LOAD_DEFAULTS = { from: 1_500, bytes: [16, 200] } as const;
export const LOAD_BYTES_MAX = PAYLOAD_BYTES_MAX;

/** The deeds of one line of load. Throws a DunlinError without a line if nobody could do them. */
export function expandLoad(load: LoadPlan, members: Members, random: Prng): Deed[] {
  const places = load.in.flatMap((conversation) => {
    const inside = members.devicesIn(conversation);
    const devices = load.by === undefined ? inside : inside.filter((device) => load.by!.includes(device));
    return devices.length === 0 ? [] : [{ conversation, devices }];
  });
  if (places.length === 0) throw new DunlinError('none of these devices is in one of these conversations');
  const any = (): { at: number; device: number; in: number } => {
    const { conversation, devices } = places[random.below(places.length)]!;
    const at = load.from + random.below(load.over + 1);
    return { at, device: devices[random.below(devices.length)]!, in: conversation };
  };
  const deeds: Deed[] = [];
  const [low, high] = load.bytes;
  for (let n = 0; n < load.messages; n++) deeds.push({ do: 'send', ...any(), bytes: random.between(low, high) });
  for (let n = 0; n < load.reads; n++) deeds.push({ do: 'read', ...any() });
  for (let n = 0; n < load.typing; n++) deeds.push({ do: 'typing', ...any() });
  return deeds;
}
