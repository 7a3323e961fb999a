/**
 * One conversation of a run as a timeline: who sent what, what the sequencer made of it, which device saw it when, with the
 * faults, deaths and lost connections between. What is missing or comes again is marked.
 */
import type { HistoryEvent } from '../core/checks/index.js';
import { userOfDevice } from '../core/ids.js';
import { DEVICE_KEY_FACTOR } from '../core/limits.js';
import type { Moment } from './timeline.js';
import type { World } from './world.js';

type ConversationEvent = Extract<HistoryEvent, { readonly a: number; readonly b: number }>;

/** `1002/1`: user 1002's device 1. */
function nameOf(device: number): string {
  return `${userOfDevice(device)}/${device % DEVICE_KEY_FACTOR}`;
}

class Teller {
  /** By device: the last sequence that it was handed, or told to pass over. */
  readonly #last = new Map<number, number>();

  /** Where a device stands now; what lies between is marked. */
  #stands(device: number, from: number, to: number): string {
    const last = this.#last.get(device);
    this.#last.set(device, Math.max(to, last ?? 0));
    if (last === undefined || from === last + 1) return '';
    return from <= last ? `   <== AGAIN: it had come to ${last}` : `   <== GAP: ${last + 1} to ${from - 1} are missing`;
  }

  tell(event: ConversationEvent): string {
    switch (event.op) {
      case 'send':
        return `${nameOf(event.device)} sends its message ${event.counter}`;
      case 'ok':
        return `${nameOf(event.device)} is told: its message ${event.counter} is ${event.seq}${this.#own(event)}`;
      case 'duplicate':
        return `${nameOf(event.device)} is told: its message ${event.counter} was taken before, as ${event.seq}`;
      case 'fail':
        return `${nameOf(event.device)} is told: its message ${event.counter} is rejected`;
      case 'deliver': {
        const mark = this.#stands(event.device, event.seq, event.seq);
        return `${nameOf(event.device)} sees ${event.seq}, which is message ${event.counter} of ${nameOf(event.sender)}${mark}`;
      }
      case 'gap': {
        const last = this.#last.get(event.device) ?? 0;
        this.#last.set(event.device, Math.max(last, event.through));
        return `${nameOf(event.device)} is told to pass over ${last + 1} to ${event.through} (reason ${event.reason})`;
      }
      case 'start':
        this.#last.set(event.device, event.seq - 1);
        return `${nameOf(event.device)} begins at ${event.seq}`;
      case 'rewound':
        this.#last.set(event.device, event.seq);
        return `${nameOf(event.device)} lost its state: its application stands at ${event.seq}`;
      case 'forgotten':
        return `${nameOf(event.device)} lost its message ${event.counter} with its state: it never left`;
      case 'read':
        return `${nameOf(event.device)} has read up to ${event.seq}`;
      case 'receipt':
        return `${nameOf(event.device)} is told: delivered ${event.delivered}, read ${event.read} (${event.whose === 0 ? 'the group' : event.whose})`;
      case 'join':
        return `${event.user} is a member from ${event.seq} on`;
      case 'leave':
        return `${event.user} is a member up to ${event.seq}`;
    }
  }

  /** A sender sees its own message when it is told of it: there is no gap, if what lies between comes later. */
  #own({ device, seq }: { readonly device: number; readonly seq: number }): string {
    const last = this.#last.get(device);
    if (last === undefined || last + 1 === seq) {
      this.#last.set(device, seq);
      return '';
    }
    return this.#stands(device, seq, seq);
  }
}

type BlockEvent = Extract<HistoryEvent, { readonly op: 'block' }>;

/** A block between the two of a direct conversation. */
function isBlockOf(event: HistoryEvent, a: number, b: number): event is BlockEvent {
  if (event.op !== 'block') return false;
  const own = userOfDevice(event.device);
  return (own === a && event.user === b) || (own === b && event.user === a);
}

function tellBlock({ device, user, on }: BlockEvent): string {
  return `${nameOf(device)} is told: ${user} is ${on === 1 ? '' : 'not '}blocked`;
}

/** Lines of the conversation (a, b) of a world that was run with its history kept. */
export function conversationMoments(world: World, a: number, b: number): Moment[] {
  const teller = new Teller();
  const own = (event: HistoryEvent): event is ConversationEvent => {
    return 'a' in event && 'b' in event && event.a === a && event.b === b;
  };
  const seen = world.observer.history.flatMap(({ atMs, event }) => {
    if (own(event)) return [{ atMs, text: `    ${teller.tell(event)}` }];
    return isBlockOf(event, a, b) ? [{ atMs, text: `    ${tellBlock(event)}` }] : [];
  });
  const sequenced = world.observer.sequenced
    .filter((frame) => frame.a === a && frame.b === b)
    .map(({ atMs, seq, device, counter }) => ({
      atMs,
      text: `  sequencer: ${seq} is message ${counter} of ${nameOf(device)}`,
    }));
  return [...(world.context.journal ?? []), ...sequenced, ...seen].toSorted((one, other) => one.atMs - other.atMs);
}
