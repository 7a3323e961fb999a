/** The keys of a scenario file beside its events, with what is allowed; for the reader and for the schema. */
import { DEVICES_PER_USER_MAX } from '../core/limits.js';
import { EVENTS_MAX, type Field, type Fields, SEED_MAX, TIME_MS_MAX } from './scenario-fields.js';
import { LOAD_BYTES_MAX } from './scenario-load.js';

export const DEVICES_MAX = DEVICES_PER_USER_MAX;

export const HEAD_FIELDS = {
  number: { type: 'whole', min: 1, max: 1_000 },
  seed: { type: 'whole', min: 0, max: SEED_MAX },
  duration: { type: 'time', min: 0, max: TIME_MS_MAX },
} as const satisfies Fields;

export const SCENARIO_KEYS: readonly string[] = [
  'title',
  'number',
  'story',
  'seed',
  'topology',
  'people',
  'conversations',
  'duration',
  'load',
  'deeds',
  'faults',
  'reaches',
  'expect',
];

const amount: Field = { type: 'whole', min: 0, max: EVENTS_MAX };

export const LOAD_FIELDS: Fields = {
  messages: amount,
  reads: amount,
  typing: amount,
  from: { type: 'time', min: 0, max: TIME_MS_MAX },
  over: { type: 'time', min: 0, max: TIME_MS_MAX },
  bytes: { type: 'whole', min: 12, max: LOAD_BYTES_MAX },
};

/** `crash`: production code threw what it should not; `protocol`: a client was told what cannot be. */
export const GUARANTEES: readonly string[] = [
  ...Array.from({ length: 16 }, (_, index) => `G${index + 1}`),
  'crash',
  'protocol',
];
