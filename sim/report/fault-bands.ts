/** Faults as a report shows them: when, how long, on whom. By the names of their fields alone, so that every kind is shown. */
import type { FaultEvent } from '../plan.js';

/** Whom a fault is about, by the field that names it. */
export const FAULT_TARGETS = ['device', 'gateway', 'lane', 'broker'] as const;
export type FaultTarget = (typeof FAULT_TARGETS)[number] | 'everything';

export interface FaultBand {
  readonly kind: string;
  readonly target: FaultTarget;
  /** Virtual time. */
  readonly fromMs: number;
  /** Undefined: it is a moment. */
  readonly toMs: number | undefined;
  /** Its other fields in words. */
  readonly what: string;
}

export interface FaultTimes {
  /** Virtual time from which the plan's times count. */
  readonly startMs: number;
  /** When everything heals: no fault is longer. */
  readonly healMs: number;
  /** By index. */
  readonly deviceKeys: readonly number[];
}

function words(name: string, value: unknown, deviceKeys: readonly number[]): string {
  if (name === 'device' && typeof value === 'number') return `device ${deviceKeys[value] ?? `number ${value}`}`;
  if (typeof value === 'string') return `${name} ${value.replaceAll('_', ' ')}`;
  return `${name} ${JSON.stringify(value)}`;
}

function bandOf(fault: FaultEvent, { startMs, healMs, deviceKeys }: FaultTimes): FaultBand {
  const { fault: kind, at, ...rest } = fault;
  const fields = Object.entries(rest as Readonly<Record<string, unknown>>);
  const forMs = fields.find(([name]) => name === 'for')?.[1];
  const fromMs = startMs + at;
  return {
    kind,
    target: FAULT_TARGETS.find((target) => target in rest) ?? 'everything',
    fromMs,
    toMs: typeof forMs === 'number' ? Math.max(fromMs, Math.min(fromMs + forMs, healMs)) : undefined,
    what: fields.flatMap(([name, value]) => (name === 'for' ? [] : [words(name, value, deviceKeys)])).join(', '),
  };
}

/** In order of time. */
export function faultBands(faults: readonly FaultEvent[], times: FaultTimes): FaultBand[] {
  return faults.map((fault) => bandOf(fault, times)).toSorted((one, other) => one.fromMs - other.fromMs);
}
