/**
 * Mistakes to plant into correct histories, each with the guarantees that must catch it. A mutation returns the broken
 * history, or undefined if this one has no place for it. For tests of the checkers.
 */
import { userOfDevice } from '../ids.js';
import { PRESENCE_UPDATES_PER_WINDOW, PRESENCE_WINDOW_MS } from '../limits.js';
import type { Prng } from '../prng.js';
import { GapReason } from './checker.js';
import type { HistoryEvent } from './history.js';
import type { Guarantee } from './violation.js';

type EventOf<Op extends HistoryEvent['op']> = Extract<HistoryEvent, { readonly op: Op }>;
type Deliver = EventOf<'deliver'>;
type Events = readonly HistoryEvent[];
type Broken = HistoryEvent[] | undefined;

export interface Mutation {
  readonly name: string;
  /** Any of these is a right name for it. */
  readonly guarantees: readonly Guarantee[];
  /** False: for histories in which nothing expires and nobody is blocked, and a checker that knows it. */
  readonly hasGaps?: false;
  apply(events: Events, prng: Prng): Broken;
}

// --- looking around in a history -----------------------------------------------------------------------------------------------

interface Place<E> {
  readonly index: number;
  readonly event: E;
}

function places<Op extends HistoryEvent['op']>(events: Events, op: Op): Place<EventOf<Op>>[] {
  const found: Place<EventOf<Op>>[] = [];
  events.forEach((event, index) => {
    if (event.op === op) found.push({ index, event: event as EventOf<Op> });
  });
  return found;
}

function pick<T>(prng: Prng, list: readonly T[]): T | undefined {
  return list.length === 0 ? undefined : list[prng.below(list.length)];
}

interface InConversation {
  readonly device: number;
  readonly a: number;
  readonly b: number;
}

function isSamePair(one: InConversation, other: InConversation): boolean {
  return one.device === other.device && one.a === other.a && one.b === other.b;
}

/** The sequence that an event takes a device to, or 0. */
function seqOf(event: HistoryEvent): number {
  return event.op === 'deliver' || event.op === 'ok' ? event.seq : event.op === 'gap' ? event.through : 0;
}

/** Places of the events that move a device on in a conversation. */
function stepsOf(events: Events, pair: InConversation): number[] {
  const found: number[] = [];
  events.forEach((event, index) => {
    if (seqOf(event) !== 0 && isSamePair(event as HistoryEvent & InConversation, pair)) found.push(index);
  });
  return found;
}

function isAwayAtEnd(events: Events, device: number): boolean {
  let isAway = false;
  for (const event of events) {
    if ((event.op === 'away' || event.op === 'resume') && event.device === device) isAway = event.op === 'away';
  }
  return isAway;
}

/** Deliveries behind which the same device is handed the next sequence of the same stay. */
function deliveriesWithNext(events: Events): { first: Place<Deliver>; next: number }[] {
  const found: { first: Place<Deliver>; next: number }[] = [];
  for (const first of places(events, 'deliver')) {
    const next = events.findIndex(
      (event, index) =>
        index > first.index && seqOf(event) === first.event.seq + 1 && isSamePair(event as Deliver, first.event),
    );
    if (next >= 0 && events[next]!.op !== 'gap') found.push({ first, next });
  }
  return found;
}

function without(events: Events, ...indices: number[]): HistoryEvent[] {
  return events.filter((_, index) => !indices.includes(index));
}

function replaced(events: Events, index: number, event: HistoryEvent): HistoryEvent[] {
  return events.map((old, i) => (i === index ? event : old));
}

function inserted(events: Events, index: number, ...added: HistoryEvent[]): HistoryEvent[] {
  return [...events.slice(0, index), ...added, ...events.slice(index)];
}

/** A delivery at the end of the history, right behind the last sequence that its device saw, that was never made. */
function atHead(events: Events, prng: Prng, isSender: (delivery: Deliver) => boolean): Place<Deliver> | undefined {
  const lasts = places(events, 'deliver').filter(({ index, event }) => {
    const steps = stepsOf(events, event);
    const hasLeft = events.some(
      (other) =>
        other.op === 'leave' && other.a === event.a && other.b === event.b && other.user === userOfDevice(event.device),
    );
    return steps.at(-1) === index && !hasLeft && isSender(event);
  });
  return pick(prng, lasts);
}

/** Replaces every delivery and SENT of one send, by what `change` makes of it. */
function changedEverywhere(
  events: Events,
  send: { a: number; b: number; sender: number; counter: number },
  change: (event: Deliver | EventOf<'ok'>) => HistoryEvent,
): HistoryEvent[] {
  return events.map((event) => {
    if (event.op !== 'deliver' && event.op !== 'ok') return event;
    const sender = event.op === 'deliver' ? event.sender : event.device;
    const isIt = event.a === send.a && event.b === send.b && sender === send.sender && event.counter === send.counter;
    return isIt ? change(event) : event;
  });
}

function asSend(counter: number, content: number) {
  return (event: Deliver | EventOf<'ok'>): HistoryEvent =>
    event.op === 'ok' ? { ...event, counter } : { ...event, counter, content };
}

/** Two sends of one device that somebody saw, the later one right behind the earlier by counter. */
function twoSends(events: Events, prng: Prng): { first: Deliver; second: Deliver } | undefined {
  const all = places(events, 'deliver').map(({ event }) => event);
  const found: { first: Deliver; second: Deliver }[] = [];
  for (const first of all) {
    const second = all.find(
      (event) =>
        event.sender === first.sender &&
        event.a === first.a &&
        event.b === first.b &&
        event.counter === first.counter + 1,
    );
    if (second !== undefined) found.push({ first, second });
  }
  return pick(prng, found);
}

// --- the mutations ----------------------------------------------------------------------------------------------------------------

const order: Mutation[] = [
  {
    name: 'a delivery is dropped',
    guarantees: ['G1', 'G8'],
    apply(events, prng) {
      const place = pick(prng, deliveriesWithNext(events));
      return place && without(events, place.first.index);
    },
  },
  {
    name: 'two deliveries are swapped',
    guarantees: ['G1', 'G8'],
    apply(events, prng) {
      const place = pick(prng, deliveriesWithNext(events));
      if (place === undefined) return undefined;
      const { first, next } = place;
      return replaced(replaced(events, first.index, events[next]!), next, first.event);
    },
  },
  {
    name: 'a delivery has the sequence after its own',
    guarantees: ['G1', 'G8'],
    apply(events, prng) {
      const place = pick(prng, deliveriesWithNext(events));
      if (place === undefined) return undefined;
      const { index, event } = place.first;
      return replaced(events, index, { ...event, seq: event.seq + 1 });
    },
  },
  {
    name: 'a sequence is absurdly high',
    guarantees: ['G1', 'G8', 'G9'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'deliver'));
      return place && replaced(events, place.index, { ...place.event, seq: 4_000_000_000 });
    },
  },
  {
    name: 'the first delivery after a reconnect is left out',
    guarantees: ['G8'],
    apply(events, prng) {
      const found = deliveriesWithNext(events).filter(({ first }) => {
        const steps = stepsOf(events, first.event);
        const before = steps[steps.indexOf(first.index) - 1] ?? -1;
        return events.some(
          (event, i) => i > before && i < first.index && event.op === 'resume' && event.device === first.event.device,
        );
      });
      const place = pick(prng, found);
      return place && without(events, place.first.index);
    },
  },
  {
    name: 'a delivery comes twice',
    guarantees: ['G6'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'deliver'));
      return place && inserted(events, place.index + 1, place.event);
    },
  },
  {
    name: 'an old delivery comes again much later',
    guarantees: ['G6'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'deliver'));
      return place && [...events, place.event];
    },
  },
];

const agreement: Mutation[] = [
  {
    name: 'one device is handed another content',
    guarantees: ['G2'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'deliver'));
      if (place === undefined) return undefined;
      return replaced(events, place.index, { ...place.event, content: (place.event.content ^ 0x0001_0000) >>> 0 || 1 });
    },
  },
  {
    name: 'one device sees two messages of different senders the other way round',
    guarantees: ['G2'],
    apply(events, prng) {
      const found = deliveriesWithNext(events).filter(({ first, next }) => {
        const other = events[next]!;
        const isSeenElsewhere = events.some(
          (event) =>
            seqOf(event) === first.event.seq &&
            (event as Deliver).a === first.event.a &&
            (event as Deliver).b === first.event.b &&
            event.op !== 'gap' &&
            (event as Deliver).device !== first.event.device,
        );
        return other.op === 'deliver' && other.sender !== first.event.sender && isSeenElsewhere;
      });
      const place = pick(prng, found);
      if (place === undefined) return undefined;
      const { first, next } = place;
      const other = events[next] as Deliver;
      const swapped = replaced(events, first.index, { ...other, seq: first.event.seq, at: first.event.at });
      return replaced(swapped, next, { ...first.event, seq: other.seq, at: other.at });
    },
  },
  {
    name: 'one sender is replaced by another',
    guarantees: ['G2', 'G5'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'deliver'));
      if (place === undefined) return undefined;
      const sender = place.event.sender === 1281 ? 1409 : 1281;
      return replaced(events, place.index, { ...place.event, sender });
    },
  },
];

const sends: Mutation[] = [
  {
    name: "a sender's two messages are sequenced the other way round, for all to see",
    guarantees: ['G3'],
    apply(events, prng) {
      const two = twoSends(events, prng);
      if (two === undefined) return undefined;
      const { first, second } = two;
      // By way of a counter that nobody uses, so that the second change does not undo the first.
      const parked = changedEverywhere(events, first, asSend(1_000_000, first.content));
      const moved = changedEverywhere(parked, second, asSend(first.counter, first.content));
      return changedEverywhere(moved, { ...first, counter: 1_000_000 }, asSend(second.counter, second.content));
    },
  },
  {
    name: 'one counter stands at two sequences',
    guarantees: ['G6'],
    apply(events, prng) {
      const two = twoSends(events, prng);
      if (two === undefined) return undefined;
      const { first, second } = two;
      const { counter, content } = first;
      return changedEverywhere(events, second, asSend(counter, content));
    },
  },
  {
    name: 'one counter is used for two messages',
    guarantees: ['G6'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'send'));
      return place && inserted(events, place.index + 1, { ...place.event, content: place.event.content === 1 ? 2 : 1 });
    },
  },
  {
    name: 'a duplicate is answered with another sequence',
    guarantees: ['G6'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'ok'));
      if (place === undefined) return undefined;
      const { device, a, b, counter, seq } = place.event;
      return inserted(events, place.index + 1, { op: 'duplicate', device, a, b, counter, seq: seq + 1 });
    },
  },
  {
    name: 'a message that nobody sent is delivered',
    guarantees: ['G5'],
    apply(events, prng) {
      const place = atHead(events, prng, () => true);
      if (place === undefined) return undefined;
      const { event } = place;
      const counters = places(events, 'send').filter(({ event: send }) =>
        isSamePair(send, { ...event, device: event.sender }),
      );
      const counter = Math.max(...counters.map(({ event: send }) => send.counter)) + 1;
      return [...events, { ...event, seq: event.seq + 1, counter, ttl: 0 }];
    },
  },
  {
    name: 'a rejected message is delivered',
    guarantees: ['G5'],
    apply(events, prng) {
      const fails = places(events, 'fail').map(({ event }) => event);
      const place = atHead(events, prng, (delivery) =>
        fails.some((fail) => isSamePair(fail, { ...delivery, device: delivery.sender })),
      );
      if (place === undefined) return undefined;
      const { event } = place;
      const fail = fails.find((one) => isSamePair(one, { ...event, device: event.sender }))!;
      const sent = places(events, 'send').find(
        ({ event: send }) => isSamePair(send, fail) && send.counter === fail.counter,
      )!;
      return [...events, { ...event, seq: event.seq + 1, counter: fail.counter, content: sent.event.content, ttl: 0 }];
    },
  },
  {
    name: 'a message is refused after it was acknowledged',
    guarantees: ['G5'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'ok'));
      if (place === undefined) return undefined;
      const { device, a, b, counter } = place.event;
      return inserted(events, place.index + 1, { op: 'fail', device, a, b, counter });
    },
  },
  {
    name: 'a rejected message is acknowledged later',
    guarantees: ['G5'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'fail'));
      if (place === undefined) return undefined;
      const { device, a, b, counter } = place.event;
      return inserted(events, place.index + 1, { op: 'duplicate', device, a, b, counter, seq: 0 });
    },
  },
  {
    name: 'what was never sent is acknowledged',
    guarantees: ['G5'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'ok'));
      if (place === undefined) return undefined;
      const { event } = place;
      return events.filter(
        (other) => other.op !== 'send' || !isSamePair(other, event) || other.counter !== event.counter,
      );
    },
  },
];

const loss: Mutation[] = [
  {
    name: 'the last deliveries never come to a connected device',
    guarantees: ['G4'],
    apply(events, prng) {
      const lasts = places(events, 'deliver').filter(({ index, event }) => {
        const isSeenElsewhere = events.some(
          (other) =>
            other !== event &&
            seqOf(other) === event.seq &&
            (other as Deliver).a === event.a &&
            (other as Deliver).b === event.b,
        );
        return stepsOf(events, event).at(-1) === index && isSeenElsewhere && !isAwayAtEnd(events, event.device);
      });
      const place = pick(prng, lasts);
      return place && without(events, place.index);
    },
  },
  {
    name: 'a message is acknowledged and then gone for everybody',
    guarantees: ['G4', 'G8'],
    apply(events, prng) {
      const heads = places(events, 'ok').filter(
        ({ event }) =>
          !events.some(
            (other) => seqOf(other) > event.seq && (other as Deliver).a === event.a && (other as Deliver).b === event.b,
          ) &&
          events.some(
            (other) =>
              seqOf(other) === event.seq && isSamePairConversation(other as Deliver, event) && other.op === 'deliver',
          ),
      );
      const place = pick(prng, heads);
      if (place === undefined) return undefined;
      const { a, b, seq, device, counter } = place.event;
      const kept = events.filter(
        (other) => seqOf(other) !== seq || (other as Deliver).a !== a || (other as Deliver).b !== b,
      );
      return [...kept, { op: 'duplicate', device, a, b, counter, seq }, { op: 'resume', device }];
    },
  },
  {
    name: "a device's own acknowledged message never comes back to it",
    guarantees: ['G8'],
    apply(events, prng) {
      const lasts = places(events, 'ok').filter(
        ({ index, event }) => stepsOf(events, event).at(-1) === index && !isAwayAtEnd(events, event.device),
      );
      const place = pick(prng, lasts);
      if (place === undefined) return undefined;
      const { device, a, b, counter, seq } = place.event;
      return replaced(events, place.index, { op: 'duplicate', device, a, b, counter, seq });
    },
  },
  {
    name: 'a message is acknowledged at a sequence where another stands',
    guarantees: ['G4', 'G6'],
    apply(events, prng) {
      const lasts = places(events, 'ok').filter(
        ({ index, event }) => stepsOf(events, event).at(-1) === index && event.seq > 1,
      );
      const place = pick(prng, lasts);
      if (place === undefined) return undefined;
      const { device, a, b, counter, seq } = place.event;
      return replaced(events, place.index, { op: 'duplicate', device, a, b, counter, seq: seq - 1 });
    },
  },
  {
    name: 'SENT names the sequence after its own',
    guarantees: ['G1', 'G8', 'G6', 'G9'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'ok'));
      return place && replaced(events, place.index, { ...place.event, seq: place.event.seq + 1 });
    },
  },
  {
    name: 'a GAP where nothing can expire',
    guarantees: ['G4'],
    hasGaps: false,
    apply(events, prng) {
      const place = pick(prng, places(events, 'deliver'));
      if (place === undefined) return undefined;
      const { device, a, b, seq } = place.event;
      return replaced(events, place.index, { op: 'gap', device, a, b, through: seq, reason: GapReason.EXPIRED });
    },
  },
];

function isSamePairConversation(one: { a: number; b: number }, other: { a: number; b: number }): boolean {
  return one.a === other.a && one.b === other.b;
}

const receipts: Mutation[] = [
  {
    name: 'a receipt goes back',
    guarantees: ['G7'],
    apply(events, prng) {
      const place = pick(
        prng,
        places(events, 'receipt').filter(({ event }) => event.delivered > 0),
      );
      if (place === undefined) return undefined;
      const { event } = place;
      const delivered = event.delivered - 1;
      return inserted(events, place.index + 1, { ...event, delivered, read: Math.min(event.read, delivered) });
    },
  },
  {
    name: 'read is beyond delivered',
    guarantees: ['G7'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'receipt'));
      return place && replaced(events, place.index, { ...place.event, read: place.event.delivered + 1 });
    },
  },
  {
    name: 'a receipt is beyond the head',
    guarantees: ['G7'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'receipt'));
      if (place === undefined) return undefined;
      const { a, b } = place.event;
      const head = Math.max(
        ...events.map((event) => ('a' in event && event.a === a && event.b === b ? seqOf(event) : 0)),
      );
      return [...events, { ...place.event, delivered: head + 1 }];
    },
  },
  {
    name: "a group's aggregate says that everybody read what somebody did not",
    guarantees: ['G7'],
    apply(events, prng) {
      const groups = places(events, 'receipt').filter(({ event }) => {
        if (event.whose !== 0 || event.delivered === 0) return false;
        return !events.some(
          (other) => (other.op === 'read' || other.op === 'leave' || other.op === 'gap') && other.b === event.b,
        );
      });
      const place = pick(prng, groups);
      if (place === undefined) return undefined;
      const { a, b } = place.event;
      const head = Math.max(
        ...events.map((event) => ('a' in event && event.a === a && event.b === b ? seqOf(event) : 0)),
      );
      const senders = new Set(
        events
          .filter((event) => event.op === 'deliver' && event.a === a && event.b === b)
          .map((event) => userOfDevice((event as Deliver).sender)),
      );
      if (senders.size < 2) return undefined;
      return [...events, { ...place.event, delivered: head, read: head }];
    },
  },
  {
    name: 'no receipt comes to a sender',
    guarantees: ['G7'],
    apply(events, prng) {
      const told = places(events, 'receipt').filter(({ event }) => {
        const own = places(events, 'ok').map((place) => place.event);
        const user = userOfDevice(event.device);
        const isConcerned = own.some(
          (sent) => isSamePairConversation(sent, event) && sent.device === event.device && sent.seq <= event.delivered,
        );
        const isDisturbed = events.some(
          (other) =>
            ('a' in other &&
              isSamePairConversation(other, event) &&
              (other.op === 'gap' || other.op === 'start' || other.op === 'leave')) ||
            (other.op === 'away' && isAwayAtEnd(events, other.device)) ||
            // Of two users of whom one blocked the other, neither need be told.
            (other.op === 'block' && event.a !== 0),
        );
        return isConcerned && !isDisturbed && event.whose !== user;
      });
      const place = pick(prng, told);
      if (place === undefined) return undefined;
      return events.filter((event) => event.op !== 'receipt' || !isSamePair(event, place.event));
    },
  },
];

const membership: Mutation[] = [
  {
    name: 'a message is delivered after its receiver left',
    guarantees: ['G9'],
    apply(events, prng) {
      const found = places(events, 'deliver').filter(({ index, event }) => {
        const user = userOfDevice(event.device);
        const leaves = events.some(
          (other) =>
            other.op === 'leave' &&
            isSamePairConversation(other, event) &&
            other.user === user &&
            other.seq === event.seq,
        );
        const isLast = stepsOf(events, event).at(-1) === index;
        const comesBack = events.some(
          (other) =>
            other.op === 'join' && isSamePairConversation(other, event) && other.user === user && other.seq > event.seq,
        );
        return leaves && isLast && !comesBack;
      });
      const place = pick(prng, found);
      return place && inserted(events, place.index + 1, { ...place.event, seq: place.event.seq + 1, ttl: 0 });
    },
  },
  {
    name: 'a message is delivered before its receiver joined',
    guarantees: ['G9'],
    apply(events, prng) {
      const found = places(events, 'deliver').filter(({ index, event }) => {
        const user = userOfDevice(event.device);
        const joins = events.some(
          (other) =>
            other.op === 'join' &&
            isSamePairConversation(other, event) &&
            other.user === user &&
            other.seq === event.seq,
        );
        const isEarlier = events.some(
          (other) =>
            other.op === 'join' && isSamePairConversation(other, event) && other.user === user && other.seq < event.seq,
        );
        return joins && !isEarlier && event.seq > 1 && stepsOf(events, event)[0] === index;
      });
      const place = pick(prng, found);
      return place && inserted(events, place.index, { ...place.event, seq: place.event.seq - 1, ttl: 0 });
    },
  },
  {
    name: 'a direct message is delivered to a third',
    guarantees: ['G9'],
    apply(events, prng) {
      const place = pick(
        prng,
        places(events, 'deliver').filter(({ event }) => event.a !== 0 && event.seq === 1),
      );
      if (place === undefined) return undefined;
      const { a, b } = place.event;
      const third = places(events, 'host').find(({ event }) => ![a, b].includes(userOfDevice(event.device)));
      return third && inserted(events, place.index + 1, { ...place.event, device: third.event.device });
    },
  },
];

const rest: Mutation[] = [
  {
    name: 'a message of a blocked sender is delivered',
    guarantees: ['G10'],
    apply(events, prng) {
      const blocks = places(events, 'block').filter(({ event }) => event.on === 1);
      const place = pick(prng, blocks);
      if (place === undefined) return undefined;
      const { device, user } = place.event;
      const late = places(events, 'deliver').find(
        ({ index, event }) => index < place.index && event.device === device && userOfDevice(event.sender) === user,
      );
      // The very message, but after the block: order is right, since it is taken from where it stood.
      return late && inserted(without(events, late.index), place.index, late.event);
    },
  },
  {
    name: 'an expired message is delivered',
    guarantees: ['G11'],
    apply(events, prng) {
      const found = places(events, 'deliver').filter(({ event }) => event.ttl > 0);
      const place = pick(prng, found);
      if (place === undefined) return undefined;
      const { event } = place;
      return replaced(events, place.index, { ...event, at: event.time + event.ttl * 1_000 + 1 });
    },
  },
  {
    name: 'the last presence is suppressed',
    guarantees: ['G12'],
    apply(events, prng) {
      const found = places(events, 'presence').filter(({ index, event }) => {
        const isIt = (other: HistoryEvent): other is EventOf<'presence'> =>
          other.op === 'presence' && other.device === event.device && other.user === event.user;
        const isLast = !events.slice(index + 1).some(isIt);
        const before = events.slice(0, index).findLast(isIt);
        const start = events.findLastIndex(
          (other) => other.op === 'watch' && other.device === event.device && other.user === event.user,
        );
        const isEnded =
          (events[start] as EventOf<'watch'>).on === 0 ||
          events.slice(start).some((other) => other.op === 'away' && other.device === event.device);
        const truth = events.findLast(
          (other): other is EventOf<'truth'> => other.op === 'truth' && other.user === event.user,
        );
        const isSettled = events.some(
          (other) => 'at' in other && other.at >= (truth?.at ?? 0) + 2 * PRESENCE_WINDOW_MS,
        );
        return isLast && !isEnded && isSettled && before?.on !== event.on;
      });
      const place = pick(prng, found);
      return place && without(events, place.index);
    },
  },
  {
    name: 'one update more than a window may have',
    guarantees: ['G12'],
    apply(events, prng) {
      const place = pick(prng, places(events, 'presence'));
      if (place === undefined) return undefined;
      const more = Array.from({ length: PRESENCE_UPDATES_PER_WINDOW }, () => place.event);
      return inserted(events, place.index + 1, ...more);
    },
  },
];

export const MUTATIONS: readonly Mutation[] = [
  ...order,
  ...agreement,
  ...sends,
  ...loss,
  ...receipts,
  ...membership,
  ...rest,
];
