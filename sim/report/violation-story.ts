/**
 * What led to a violation. The run that found it need not have kept its history: the plan is run again, to the bit, and only
 * what happened in that conversation, or at that device, is kept.
 */
import type { HistoryEvent } from '../../core/checks/index.js';
import type { Plan } from '../plan.js';
import { type Moment, moments } from '../timeline.js';
import { type Finding, World } from '../world.js';

const BEFORE_MAX = 30;
const AFTER_MAX = 12;

export interface Story {
  /** Where it stands in virtual time. */
  readonly atMs: number;
  /** Why there. */
  readonly reason: string;
  /** What happened around it, in order. */
  readonly moments: readonly Moment[];
}

function touches(event: HistoryEvent, { device, convA, convB }: Finding): boolean {
  if (convB !== 0 && 'a' in event) return event.a === convA && event.b === convB;
  return 'device' in event && event.device === device;
}

/** Connections of other devices are not part of it. */
function isNear({ text }: Moment, { device }: Finding): boolean {
  const named = /^device (\d+)/.exec(text);
  return named === null || device === 0 || Number(named[1]) === device;
}

function placeOf(world: World, { atMs, seq, device }: Finding): Omit<Story, 'moments'> {
  if (atMs !== null) return { atMs, reason: 'seen then' };
  const { history } = world.observer;
  const first = history.find(({ event }) => seq > 0 && 'seq' in event && event.seq === seq);
  if (first !== undefined) return { atMs: first.atMs, reason: `sequence ${seq} is first seen then; the end shows it` };
  const last = history.findLast(({ event }) => 'device' in event && event.device === device);
  if (last !== undefined) return { atMs: last.atMs, reason: 'the device’s last event there; the end shows it' };
  return { atMs: world.context.nowMs, reason: 'the end shows it' };
}

export function tellViolation(plan: Plan, finding: Finding): Story {
  const world = new World(plan, { keepsHistory: (event) => touches(event, finding) });
  world.run();
  const place = placeOf(world, finding);
  const near = moments(world).filter((moment) => isNear(moment, finding));
  const after = near.findIndex(({ atMs }) => atMs > place.atMs);
  const middle = after < 0 ? near.length : after;
  return { ...place, moments: near.slice(Math.max(0, middle - BEFORE_MAX), middle + AFTER_MAX) };
}
