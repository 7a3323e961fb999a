/** A run as text: one line an event, in order, with the virtual time. */
import { writeHistoryLine } from '../core/checks/index.js';
import type { World } from './world.js';

export interface TimelineOptions {
  /** Virtual milliseconds: only what lies between. */
  readonly fromMs: number;
  readonly untilMs: number;
  /** Conversation or device; undefined: all. */
  readonly only: string | undefined;
}

/** Lines of a world that was run with its history kept. */
export function* timeline(world: World, { fromMs, untilMs, only }: TimelineOptions): Generator<string> {
  const notes = (world.context.journal ?? []).map(({ atMs, text }) => ({ atMs, text }));
  const seen = world.observer.history.flatMap(({ atMs, event }) => {
    const text = writeHistoryLine(event);
    return only === undefined || text.includes(only) ? [{ atMs, text }] : [];
  });
  const lines = [...notes, ...seen].toSorted((one, other) => one.atMs - other.atMs);
  for (const { atMs, text } of lines) {
    if (atMs >= fromMs && atMs <= untilMs) yield `${(atMs / 1_000).toFixed(4).padStart(10)} s  ${text}`;
  }
}
