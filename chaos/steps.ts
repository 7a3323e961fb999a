/**
 * The sentences of a scenario's steps: `partition half of clients from server, both ways, for 15s`. Each verb is a template with
 * its quantities; reading, `dunlin chaos format` and the messages about mistakes all go by this one table.
 */
import { parseDurationMs, parseNumber, parseShare } from '../benchmarks/load/units.js';
import { DunlinError } from '../core/errors.js';

export type Way = 'both ways' | 'to server' | 'to clients';

/** What a step does. Times in milliseconds, shares from 0 to 1. */
export type Deed =
  | { readonly do: 'kill' }
  | { readonly do: 'restart' }
  | { readonly do: 'pause'; readonly forMs: number }
  | { readonly do: 'slow'; readonly share: number; readonly forMs: number }
  | { readonly do: 'partition'; readonly share: number; readonly way: Way; readonly forMs: number }
  | { readonly do: 'reset'; readonly share: number }
  | { readonly do: 'refuse'; readonly forMs: number }
  | { readonly do: 'delay'; readonly byMs: number; readonly forMs: number }
  | { readonly do: 'limit'; readonly bytesPerSecond: number; readonly forMs: number }
  | { readonly do: 'stall'; readonly share: number; readonly forMs: number }
  | { readonly do: 'fill-disk'; readonly forMs: number }
  | { readonly do: 'slow-disk'; readonly byMs: number; readonly forMs: number }
  | { readonly do: 'fail-sync' }
  | { readonly do: 'tear-write' }
  | { readonly do: 'step-clock'; readonly byMs: number }
  | { readonly do: 'second-server' }
  | { readonly do: 'attack'; readonly connections: number; readonly forMs: number };

export type Verb = Deed['do'];

export interface Step {
  readonly atMs: number;
  readonly deed: Deed;
  /** As it stands in the file. */
  readonly text: string;
}

type Quantity = 'time' | 'signed time' | 'share' | 'size' | 'number' | 'way';

interface Template {
  readonly verb: Verb;
  /** Quantities in braces. */
  readonly words: string;
  readonly about: string;
  /** From the quantities, in the order of the words. */
  readonly make: (values: readonly (number | Way)[]) => Deed;
}

const number = (value: number | Way | undefined): number => value as number;

export const TEMPLATES: readonly Template[] = [
  { verb: 'kill', words: 'kill server', about: 'SIGKILL; it is started again at once', make: () => ({ do: 'kill' }) },
  {
    verb: 'restart',
    words: 'restart server',
    about: 'SIGTERM, wait until it has drained, start it again',
    make: () => ({ do: 'restart' }),
  },
  {
    verb: 'pause',
    words: 'pause server for {time}',
    about: 'SIGSTOP, then SIGCONT',
    make: ([forMs]) => ({ do: 'pause', forMs: number(forMs) }),
  },
  {
    verb: 'slow',
    words: 'slow server to {share} for {time}',
    about: 'it runs only this share of the time, in slices of 50 ms',
    make: ([share, forMs]) => ({ do: 'slow', share: number(share), forMs: number(forMs) }),
  },
  {
    verb: 'partition',
    words: 'partition {share} of clients from server, {way}, for {time}',
    about: 'bytes stop on their way and no connection breaks: half-open; new connections get no answer',
    make: ([share, way, forMs]) => ({
      do: 'partition',
      share: number(share),
      way: way as Way,
      forMs: number(forMs),
    }),
  },
  {
    verb: 'reset',
    words: 'reset {share} of clients',
    about: 'connections end with RST, in the middle of whatever they carry',
    make: ([share]) => ({ do: 'reset', share: number(share) }),
  },
  {
    verb: 'refuse',
    words: 'refuse clients for {time}',
    about: 'new connections are reset at once; those that stand go on',
    make: ([forMs]) => ({ do: 'refuse', forMs: number(forMs) }),
  },
  {
    verb: 'delay',
    words: 'delay clients by {time} for {time}',
    about: 'bytes come so much later, in both directions',
    make: ([byMs, forMs]) => ({ do: 'delay', byMs: number(byMs), forMs: number(forMs) }),
  },
  {
    verb: 'limit',
    words: 'limit clients to {size} a second for {time}',
    about: 'each connection carries no more, in each direction',
    make: ([size, forMs]) => ({ do: 'limit', bytesPerSecond: number(size), forMs: number(forMs) }),
  },
  {
    verb: 'stall',
    words: 'stall {share} of clients for {time}',
    about: 'these read nothing more: the server’s socket buffers fill up',
    make: ([share, forMs]) => ({ do: 'stall', share: number(share), forMs: number(forMs) }),
  },
  {
    verb: 'fill-disk',
    words: 'fill disk for {time}',
    about: 'to the last byte; the scenario names the size of the disk (`server: { disk: 256m }`)',
    make: ([forMs]) => ({ do: 'fill-disk', forMs: number(forMs) }),
  },
  {
    verb: 'slow-disk',
    words: 'slow disk by {time} for {time}',
    about: 'each sync takes so much longer',
    make: ([byMs, forMs]) => ({ do: 'slow-disk', byMs: number(byMs), forMs: number(forMs) }),
  },
  {
    verb: 'fail-sync',
    words: 'fail sync',
    about: 'the next sync fails with EIO; if the server ends, it is started again',
    make: () => ({ do: 'fail-sync' }),
  },
  {
    verb: 'tear-write',
    words: 'tear write',
    about: 'of the next large write the first half is written, and the process is gone; it is started again',
    make: () => ({ do: 'tear-write' }),
  },
  {
    verb: 'step-clock',
    words: 'step clock by {signed time}',
    about: 'the server’s wall clock jumps, and stays there',
    make: ([byMs]) => ({ do: 'step-clock', byMs: number(byMs) }),
  },
  {
    verb: 'second-server',
    words: 'start second server',
    about: 'on the same data, while the first one serves: it must refuse',
    make: () => ({ do: 'second-server' }),
  },
  {
    verb: 'attack',
    words: 'attack with {number} connections for {time}',
    about: 'hostile clients: rubbish, broken frames, replayed tokens, counters that go back, readers that do not read',
    make: ([connections, forMs]) => ({ do: 'attack', connections: number(connections), forMs: number(forMs) }),
  },
];

const PATTERNS: Readonly<Record<Quantity, string>> = {
  time: '(\\S+)',
  'signed time': '(\\S+)',
  share: '(\\S+)',
  size: '(\\S+)',
  number: '(\\S+)',
  way: '(both ways|to server|to clients)',
};

const SHARES: ReadonlyMap<string, number> = new Map([
  ['all', 1],
  ['half', 0.5],
]);
const SIZE = /^(\d+)([km]?)b?$/i;
const CONNECTIONS_MAX = 5_000;
const TIME_MS_MAX = 24 * 3_600_000;

interface Reader {
  readonly words: string;
  readonly pattern: RegExp;
  readonly quantities: readonly Quantity[];
  readonly template: Template;
}

const readers: readonly Reader[] = TEMPLATES.map((template) => {
  const quantities: Quantity[] = [];
  const pattern = template.words.replaceAll(/\{([^}]+)\}/g, (_, name: string) => {
    quantities.push(name as Quantity);
    return PATTERNS[name as Quantity];
  });
  return { words: template.words, pattern: new RegExp(`^${pattern}$`), quantities, template };
});

const READ: Readonly<Record<Quantity, (text: string) => number | Way | undefined>> = {
  time: (text) => atMost(parseDurationMs(text), TIME_MS_MAX),
  'signed time': (text) => {
    const ms = parseDurationMs(text.replace(/^[+-]/, ''));
    return ms === undefined || ms > TIME_MS_MAX ? undefined : text.startsWith('-') ? -ms : ms;
  },
  share: (text) => SHARES.get(text) ?? parseShare(text),
  size: (text) => {
    const match = SIZE.exec(text);
    return match === null ? undefined : Number(match[1]) * { '': 1, k: 2 ** 10, m: 2 ** 20 }[match[2]!.toLowerCase()]!;
  },
  number: (text) => {
    const value = parseNumber(text);
    return value !== undefined && Number.isInteger(value) && value >= 1 && value <= CONNECTIONS_MAX ? value : undefined;
  },
  way: (text) => text as Way,
};

const EXPECTED: Readonly<Record<Quantity, string>> = {
  time: 'a time such as 500ms, 15s or 2m',
  'signed time': 'a time such as 1h or -30m',
  share: 'a share such as 20%, half or all',
  size: 'a size such as 2k or 1m',
  number: `a whole number from 1 to ${CONNECTIONS_MAX}`,
  way: 'both ways, to server or to clients',
};

function atMost(value: number | undefined, most: number): number | undefined {
  return value !== undefined && value <= most ? value : undefined;
}

const REPETITION = /^(.*), (\d+) times, every (\S+)$/;
const TIMES_MAX = 1_000;

/** One sentence as the steps it stands for; `where` begins an error: `file:line: `. */
export function readStep(text: string, atMs: number, where: string): Step[] {
  const repeated = REPETITION.exec(text);
  if (repeated === null) return [{ atMs, deed: readDeed(text, where), text }];
  const [, sentence, timesText, everyText] = repeated;
  const times = Number(timesText);
  const everyMs = atMost(parseDurationMs(everyText!), TIME_MS_MAX);
  if (times < 1 || times > TIMES_MAX || everyMs === undefined || everyMs === 0) {
    throw new DunlinError(
      `${where}'${text}': a repetition is ', N times, every TIME' with N from 1 to ${TIMES_MAX}, e.g. ', 5 times, every 4s'.`,
    );
  }
  const deed = readDeed(sentence!, where);
  return Array.from({ length: times }, (_, n) => ({ atMs: atMs + n * everyMs, deed, text: sentence! }));
}

function readDeed(text: string, where: string): Deed {
  for (const { pattern, quantities, template } of readers) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const values = quantities.map((quantity, n) => {
      const value = READ[quantity](match[n + 1]!);
      if (value === undefined) {
        throw new DunlinError(`${where}'${match[n + 1]}' in '${text}' is not allowed; give ${EXPECTED[quantity]}.`);
      }
      return value;
    });
    return template.make(values);
  }
  const first = text.split(' ')[0]!;
  const near = TEMPLATES.filter(({ words }) => words.split(' ')[0] === first).map(({ words }) => `'${words}'`);
  const known = near.length > 0 ? near.join(' or ') : TEMPLATES.map(({ words }) => `'${words}'`).join(', ');
  throw new DunlinError(`${where}'${text}' is no step; ${near.length > 0 ? 'did you mean' : 'known are'} ${known}?`);
}

/** How long a deed lasts; 0: it is a moment. */
export function durationOf(deed: Deed): number {
  return 'forMs' in deed ? deed.forMs : 0;
}
