/** What happens in a run, by kind, in words: for `dunlin sim replay --trace`. */
import { writeHistoryLine } from '../core/checks/index.js';
import { Happening } from './context.js';
import type { Moment } from './timeline.js';
import type { World } from './world.js';

export const TRACE_KINDS = [
  'faults',
  'lanes',
  'gateways',
  'links',
  'store',
  'log',
  'frames',
  'deeds',
  'seen',
  'others',
] as const;
export type TraceKind = (typeof TRACE_KINDS)[number];

/** What is told of the events that the trace hash takes; the others are told in the journal and in the history. */
const OF_HASH: ReadonlyMap<number, readonly [TraceKind, (a: number, b: number, c: number) => string]> = new Map([
  [
    Happening.LANE_TURN,
    [
      'lanes',
      (lane, progress, entries) =>
        `lane ${lane} turns: ${progress === 1 ? 'goes on' : 'nothing to do'}, ${entries} entries so far`,
    ],
  ],
  [
    Happening.APPEND,
    ['log', (topic, partition, bytes) => `append to topic ${topic}, partition ${partition}: ${bytes} bytes`],
  ],
  [Happening.COMMIT, ['store', (tag, puts) => `commit ${tag} with ${puts} puts`]],
  [Happening.TO_CLIENT, ['frames', (device, bytes) => `${bytes} bytes come to device number ${device}`]],
  [Happening.TO_SERVER, ['frames', (device, bytes) => `${bytes} bytes of device number ${device} come to its gateway`]],
  [Happening.GATEWAY, ['gateways', (gateway, sessions) => `gateway ${gateway} turns, ${sessions} sessions`]],
]);

/** The journal is text; its lines begin with what they are about. */
const OF_JOURNAL: readonly (readonly [RegExp, TraceKind])[] = [
  [/^(FAULT|WRONG) /, 'faults'],
  [/^lane /, 'lanes'],
  [/^gateway /, 'gateways'],
  [/^device /, 'links'],
];

const DEEDS: ReadonlySet<string> = new Set(['send', 'read', 'watch']);

/** Listens to a world from before it runs. */
export class Tracer {
  readonly #world: World;
  readonly #kinds: ReadonlySet<TraceKind>;
  readonly #moments: Moment[] = [];

  constructor(world: World, kinds: ReadonlySet<TraceKind>) {
    this.#world = world;
    this.#kinds = kinds;
    world.context.hash.watch = (_event, kind, a, b, c) => {
      const told = OF_HASH.get(kind);
      if (told === undefined || !kinds.has(told[0])) return;
      this.#moments.push({ atMs: world.context.nowMs, text: told[1](a, b, c) });
    };
  }

  /** All of the kinds, in order; of what devices did and saw only what has the text. */
  moments(only?: string): Moment[] {
    const journal = (this.#world.context.journal ?? []).filter(({ text }) => {
      return this.#kinds.has(OF_JOURNAL.find(([pattern]) => pattern.test(text))?.[1] ?? 'others');
    });
    const history = this.#world.observer.history.flatMap(({ atMs, event }) => {
      if (!this.#kinds.has(DEEDS.has(event.op) ? 'deeds' : 'seen')) return [];
      const text = writeHistoryLine(event);
      return only === undefined || text.includes(only) ? [{ atMs, text }] : [];
    });
    return [...this.#moments, ...journal, ...history].toSorted((one, other) => one.atMs - other.atMs);
  }
}
