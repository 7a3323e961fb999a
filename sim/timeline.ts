/** A run as text: one line an event, in order, with the virtual time. */
import { writeHistoryLine } from '../core/checks/index.js';
import type { World } from './world.js';

/** Something that happened, in words. */
export interface Moment {
  readonly atMs: number;
  readonly text: string;
}

/** All that a world's run kept, in order. */
export function moments(world: World, only?: string): Moment[] {
  const notes = (world.context.journal ?? []).map(({ atMs, text }) => ({ atMs, text }));
  const seen = world.observer.history.flatMap(({ atMs, event }) => {
    const text = writeHistoryLine(event);
    return only === undefined || text.includes(only) ? [{ atMs, text }] : [];
  });
  return [...notes, ...seen].toSorted((one, other) => one.atMs - other.atMs);
}

function writeMoment({ atMs, text }: Moment): string {
  return `${(atMs / 1_000).toFixed(4).padStart(10)} s  ${text}`;
}

/** Lines of what lies between two virtual times. */
export function* timeline(all: readonly Moment[], fromMs: number, untilMs: number): Generator<string> {
  for (const moment of all) {
    if (moment.atMs >= fromMs && moment.atMs <= untilMs) yield writeMoment(moment);
  }
}
