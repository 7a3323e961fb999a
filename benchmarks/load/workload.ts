/**
 * The workload: what kind of load, as numbers. Read from YAML, merged over the defaults (benchmarks/workloads/default.yaml,
 * where each default names its source). An unknown key or a bad value is refused with its line and what is allowed.
 */
import { type Document, isMap, isScalar, LineCounter, parseDocument, type YAMLMap } from 'yaml';
import { DunlinError } from '../../core/errors.js';
import { DEVICES_PER_USER_MAX, GROUP_MEMBERS_MAX, PAYLOAD_BYTES_MAX } from '../../core/limits.js';
import { TAG_BYTES } from './payload.js';
import { parseDurationMs, parseNumber, parseShare } from './units.js';

export type ArrivalProcess = 'poisson' | 'constant';

export interface Workload {
  users: number;
  devicesPerUser: number;
  onlineShare: number;
  ratePerSecond: number;
  arrivals: ArrivalProcess;
  /** Above 0: no more messages than this are without an outcome at a time, and latency counts from when there was room. */
  outstandingMax: number;
  durationMs: number;
  /** At most WARM_UP_SHARE of the duration: `warmUpOf`. */
  warmUpMs: number;
  drainMs: number;
  activityZipf: number;
  userRateMax: number;
  contactsPerUser: number;
  contactsZipf: number;
  groupShare: number;
  groupsPerUser: number;
  groupSizeP50: number;
  groupSizeP95: number;
  groupSizeMax: number;
  bytesP50: number;
  bytesP95: number;
  bytesMax: number;
  readShare: number;
  readDelayMs: number;
  reconnectsPerMinute: number;
  /** How long after the start all connections are cut at once, ms; 0: never. */
  stormMs: number;
}

interface Field {
  readonly key: keyof Workload;
  /** What is allowed, in words. */
  readonly allowed: string;
  /** The value, or undefined if the text is not allowed. */
  read(text: string): number | string | undefined;
}

/** The warm-up is never more than this share of the duration. */
const WARM_UP_SHARE = 0.1;

/** How long after the start latencies are counted apart, ms. */
export function warmUpOf({ warmUpMs, durationMs }: Workload): number {
  return Math.min(warmUpMs, durationMs * WARM_UP_SHARE);
}

/** Highest number of users in one run: the base of a run's user ids leaves this much room. */
const USERS_MAX = 1_000_000;

function whole(key: keyof Workload, min: number, max: number): Field {
  const allowed = `a whole number from ${min} to ${max}`;
  return { key, allowed, read: (text) => within(parseNumber(text), min, max, Number.isInteger) };
}

function number(key: keyof Workload, min: number, max: number): Field {
  return { key, allowed: `a number from ${min} to ${max}`, read: (text) => within(parseNumber(text), min, max) };
}

function share(key: keyof Workload): Field {
  return { key, allowed: 'a share from 0% to 100%, or from 0 to 1', read: parseShare };
}

function duration(key: keyof Workload, minMs: number, maxMs: number): Field {
  const allowed = `a duration with its unit (500ms, 60s, 2m, 1h), from ${minMs} ms to ${maxMs / 3_600_000} h`;
  return { key, allowed, read: (text) => within(parseDurationMs(text), minMs, maxMs) };
}

function within(
  value: number | undefined,
  min: number,
  max: number,
  also: (value: number) => boolean = () => true,
): number | undefined {
  return value !== undefined && value >= min && value <= max && also(value) ? value : undefined;
}

const DAY_MS = 24 * 3_600_000;

/** Every key of a workload file, with its dotted path. The flags of `dunlin load` use the same readers. */
export const WORKLOAD_FIELDS: ReadonlyMap<string, Field> = new Map<string, Field>([
  ['users', whole('users', 2, USERS_MAX)],
  ['devices', number('devicesPerUser', 1, DEVICES_PER_USER_MAX)],
  ['online', share('onlineShare')],
  ['rate', number('ratePerSecond', 0.001, 10_000_000)],
  [
    'arrivals',
    {
      key: 'arrivals',
      allowed: 'poisson or constant',
      read: (text) => (text === 'poisson' || text === 'constant' ? text : undefined),
    },
  ],
  ['outstanding', whole('outstandingMax', 0, 10_000_000)],
  ['duration', duration('durationMs', 100, 7 * DAY_MS)],
  ['warm_up', duration('warmUpMs', 0, DAY_MS)],
  ['drain', duration('drainMs', 0, DAY_MS)],
  ['activity.zipf', number('activityZipf', 0, 5)],
  ['activity.user_rate_max', number('userRateMax', 0.001, 1_000_000)],
  ['contacts.per_user', whole('contactsPerUser', 1, 1_000)],
  ['contacts.zipf', number('contactsZipf', 0, 5)],
  ['groups.share', share('groupShare')],
  ['groups.per_user', number('groupsPerUser', 0.001, 1_000)],
  ['groups.size.p50', number('groupSizeP50', 2, GROUP_MEMBERS_MAX)],
  ['groups.size.p95', number('groupSizeP95', 2, GROUP_MEMBERS_MAX)],
  ['groups.size.max', whole('groupSizeMax', 2, GROUP_MEMBERS_MAX)],
  ['bytes.p50', number('bytesP50', 1, PAYLOAD_BYTES_MAX)],
  ['bytes.p95', number('bytesP95', 1, PAYLOAD_BYTES_MAX)],
  ['bytes.max', whole('bytesMax', TAG_BYTES, PAYLOAD_BYTES_MAX)],
  ['reads.share', share('readShare')],
  ['reads.delay', duration('readDelayMs', 0, DAY_MS)],
  ['reconnects.per_minute', share('reconnectsPerMinute')],
  ['reconnects.storm', duration('stormMs', 0, 7 * DAY_MS)],
]);

const SECTIONS: ReadonlySet<string> = new Set(
  [...WORKLOAD_FIELDS.keys()].flatMap((path) => {
    const parts = path.split('.');
    return parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join('.'));
  }),
);

function keysUnder(section: string): string {
  const prefix = section === '' ? '' : `${section}.`;
  const names = [...WORKLOAD_FIELDS.keys()]
    .filter((path) => path.startsWith(prefix))
    .map((path) => path.slice(prefix.length).split('.')[0]!);
  return [...new Set(names)].join(', ');
}

/** Reads one value as a workload key would be read; throws a DunlinError that starts with `where`. */
export function readField(path: string, text: string, where: string): Partial<Workload> {
  const field = WORKLOAD_FIELDS.get(path)!;
  const value = field.read(text);
  if (value === undefined) throw new DunlinError(`${where}: '${text}' is not allowed; give ${field.allowed}.`);
  return { [field.key]: value };
}

class WorkloadReader {
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly values: Partial<Workload> = {};

  constructor(file: string, lines: LineCounter) {
    this.#file = file;
    this.#lines = lines;
  }

  where(offset: number | undefined): string {
    return `${this.#file}:${this.#lines.linePos(offset ?? 0).line}`;
  }

  section(map: YAMLMap, section: string): void {
    for (const { key, value } of map.items) {
      if (!isScalar(key)) throw new DunlinError(`${this.where(0)}: a key must be a plain word.`);
      const where = this.where(key.range?.[0]);
      const path = section === '' ? String(key.value) : `${section}.${String(key.value)}`;
      if (SECTIONS.has(path)) {
        if (!isMap(value)) throw new DunlinError(`${where}: '${path}' is a section with the keys ${keysUnder(path)}.`);
        this.section(value, path);
      } else if (!WORKLOAD_FIELDS.has(path)) {
        throw new DunlinError(`${where}: unknown key '${path}'; allowed here: ${keysUnder(section)}.`);
      } else {
        const text = isScalar(value) && value.value !== null ? (value.source ?? String(value.value)) : '';
        Object.assign(this.values, readField(path, text, `${where}: ${path}`));
      }
    }
  }
}

/** The library collects what is wrong, but throws at some of it: escapes of no character, nesting beyond the stack. */
function documentOf(text: string, file: string, lines: LineCounter): Document.Parsed {
  try {
    return parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  } catch (error) {
    throw new DunlinError(`${file}:${Math.max(lines.lineStarts.length, 1)}: not YAML: ${(error as Error).message}.`);
  }
}

/** Parses a workload file. `file` is named in errors. What the file does not set is not in the result. */
export function parseWorkload(text: string, file: string): Partial<Workload> {
  const lines = new LineCounter();
  const document = documentOf(text, file, lines);
  const reader = new WorkloadReader(file, lines);
  const [error] = document.errors;
  if (error) throw new DunlinError(`${reader.where(error.pos[0])}: not YAML: ${error.message.split('\n')[0]}.`);
  if (document.contents === null) return {};
  if (!isMap(document.contents)) throw new DunlinError(`${file}:1: a workload is a YAML map of ${keysUnder('')}.`);
  reader.section(document.contents, '');
  return reader.values;
}

function isWhole(values: Partial<Workload>): values is Workload {
  return [...WORKLOAD_FIELDS.values()].every((field) => values[field.key] !== undefined);
}

/** Merges, later over earlier, and checks what concerns several keys. */
export function mergeWorkload(...layers: readonly Partial<Workload>[]): Workload {
  const merged: Partial<Workload> = Object.assign({}, ...layers);
  if (!isWhole(merged)) throw new DunlinError('workload: the defaults are incomplete.');
  const rules: [boolean, string][] = [
    [merged.groupSizeP50 <= merged.groupSizeP95, 'groups.size.p50 must not be above groups.size.p95'],
    [merged.groupSizeP50 <= merged.groupSizeMax, 'groups.size.p50 must not be above groups.size.max'],
    [merged.bytesP50 <= merged.bytesP95, 'bytes.p50 must not be above bytes.p95'],
    [merged.bytesP50 <= merged.bytesMax, 'bytes.p50 must not be above bytes.max'],
    [merged.users * merged.onlineShare >= 1, 'online leaves nobody to send'],
  ];
  for (const [holds, rule] of rules) if (!holds) throw new DunlinError(`workload: ${rule}.`);
  return merged;
}
