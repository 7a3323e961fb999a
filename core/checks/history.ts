/**
 * A history: everything that devices did and saw, in an order in which it can have happened, one JSON object a line. So a
 * run can be judged later, elsewhere, or by another tool, and a tool's histories can be judged here.
 *
 * Each line has `op` and the fields that its operation needs, all whole numbers, no others; see `Fields`. `device` and
 * `sender` are device keys, `user`, `whose` user ids, `a`, `b` a conversation, flags 0 or 1, times milliseconds.
 */
import { isConversation, userOfDevice } from '../ids.js';
import { DEVICE_KEY_FACTOR, MESSAGE_TTL_S_MAX, SEQUENCE_MAX, USER_ID_MAX } from '../limits.js';
import { BlockChecker } from './blocks.js';
import { Checker, type CheckerOptions } from './checker.js';
import { ExpiryChecker, type ExpiryOptions } from './expiry.js';
import { type JudgeOptions, judge, type Verdict } from './judge.js';
import { PresenceChecker, type PresenceOptions } from './presence.js';
import { exportSummary, type Summary } from './summary.js';

const DEVICE_MAX = USER_ID_MAX * DEVICE_KEY_FACTOR + (DEVICE_KEY_FACTOR - 1);
const TIME_MAX = Number.MAX_SAFE_INTEGER;

/** A field: its name, and its lowest and highest value. */
type Field<Name extends string = string> = readonly [name: Name, low: number, high: number];

function field<const Name extends string>(name: Name, low: number, high: number): Field<Name> {
  return [name, low, high];
}

const device = field('device', 1, DEVICE_MAX);
const a = field('a', 0, USER_ID_MAX);
const b = field('b', 1, Number.MAX_SAFE_INTEGER);
const user = field('user', 1, USER_ID_MAX);
const seq = field('seq', 1, SEQUENCE_MAX);
const seqOrZero = field('seq', 0, SEQUENCE_MAX);
const counter = field('counter', 1, SEQUENCE_MAX);
const content = field('content', 1, SEQUENCE_MAX);
const at = field('at', 0, TIME_MAX);
const on = field('on', 0, 1);

/** Operations and their fields, in the order in which they are written. */
const FIELDS = {
  /** The device's events are in this history: it must get what its user is due. Before its first event. */
  host: [device],
  /** The user sees the group from `seq` on; up to and including `seq`. */
  join: [a, b, user, seq],
  leave: [a, b, user, seq],
  /** The device, new to its user, sees the conversation from `seq` on. */
  start: [device, a, b, seq],
  /** The device's application lost its state, wholly or since it was saved: it stands at `seq`, and sees again what comes behind. */
  rewound: [device, a, b, seqOrZero],
  /** With its state the device lost this send, which had never left it: the counter is free again. */
  forgotten: [device, a, b, counter],
  /** Invocation, repeated as often as the frame is sent again, and its outcomes; none: unknown. */
  send: [device, a, b, counter, content],
  ok: [device, a, b, counter, seq],
  /** It had been taken before, as `seq`, or 0 if that is not known. */
  duplicate: [device, a, b, counter, seqOrZero],
  fail: [device, a, b, counter],
  /** Handed to the application. `time`: the message's server time; `ttl`: seconds or 0; `at`: server time of the delivery, or 0. */
  deliver: [
    device,
    a,
    b,
    seq,
    field('sender', 1, DEVICE_MAX),
    counter,
    content,
    field('time', 0, TIME_MAX),
    field('ttl', 0, MESSAGE_TTL_S_MAX),
    at,
  ],
  /** `reason` 0: none was told, a hole. */
  gap: [device, a, b, field('through', 1, SEQUENCE_MAX), field('reason', 0, 4)],
  /** The connection is lost; stands again. */
  away: [device],
  resume: [device],
  read: [device, a, b, seq, field('sure', 0, 1)],
  receipt: [
    device,
    a,
    b,
    field('whose', 0, USER_ID_MAX),
    field('delivered', 0, SEQUENCE_MAX),
    field('read', 0, SEQUENCE_MAX),
  ],
  /** BLOCK came to the device. */
  block: [device, user, on],
  watch: [device, user, on, at],
  /** PRESENCE, TYPING came to the device; `at` is the server time at which it was sent, or 0: it is not counted. */
  presence: [device, user, on, at],
  typing: [device, user, at],
  /** Whether the user really is online from now on. */
  truth: [user, on, at],
  /** Nothing has changed for a while, and all has arrived: what watchers were told must be true now. */
  settled: [at],
} as const satisfies Readonly<Record<string, readonly Field[]>>;

export type HistoryOp = keyof typeof FIELDS;
type FieldsOf<Op extends HistoryOp> = { readonly [Name in (typeof FIELDS)[Op][number][0]]: number };
export type HistoryEvent = { readonly [Op in HistoryOp]: { readonly op: Op } & FieldsOf<Op> }[HistoryOp];

const fieldsOf = new Map<string, readonly Field[]>(Object.entries(FIELDS));

/** One line without its line end. Throws a RangeError with a sentence if the event is not one. */
export function writeHistoryLine(event: HistoryEvent): string {
  const wrong = whatIsWrong(event);
  if (wrong !== undefined) throw new RangeError(`history: ${wrong}`);
  const values = event as unknown as Readonly<Record<string, number>>;
  const fields = fieldsOf.get(event.op)!.map(([name]) => `"${name}":${values[name]!}`);
  return `{"op":"${event.op}",${fields.join(',')}}`;
}

/** Reads one line. Throws a RangeError that names the line and what is wrong with it. */
export function readHistoryLine(line: string, lineNumber: number): HistoryEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new RangeError(`history line ${lineNumber}: not JSON: ${line.slice(0, 60)}`);
  }
  const wrong = whatIsWrong(value);
  if (wrong !== undefined) throw new RangeError(`history line ${lineNumber}: ${wrong}`);
  return value as HistoryEvent;
}

/** A sentence, or undefined if the value is an event. */
function whatIsWrong(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'an event is a JSON object';
  const record = value as Readonly<Record<string, unknown>>;
  const op = record['op'];
  const fields = typeof op === 'string' ? fieldsOf.get(op) : undefined;
  if (fields === undefined) return `"op" is ${JSON.stringify(op)}; known are ${[...fieldsOf.keys()].join(', ')}`;
  for (const [name, low, high] of fields) {
    const found = record[name];
    if (typeof found === 'number' && Number.isSafeInteger(found) && found >= low && found <= high) continue;
    return `"${name}" of ${op as string} is ${JSON.stringify(found)}; it is a whole number from ${low} to ${high}`;
  }
  for (const name of Object.keys(record)) {
    if (name === 'op' || fields.some(([known]) => known === name)) continue;
    return `${op as string} has no field ${JSON.stringify(name)}`;
  }
  return whatIsWrongWithIds(record);
}

function whatIsWrongWithIds(record: Readonly<Record<string, unknown>>): string | undefined {
  const { a: convA, b: convB } = record;
  if (typeof convA === 'number' && typeof convB === 'number' && !isConversation(convA, convB)) {
    return `(${convA}, ${convB}) is neither two users in ascending order nor (0, group)`;
  }
  for (const name of ['device', 'sender']) {
    const key = record[name];
    if (typeof key === 'number' && (userOfDevice(key) === 0 || key % DEVICE_KEY_FACTOR === 0)) {
      return `"${name}" is ${key}; a device key is user × 128 + a number from 1 to 127`;
    }
  }
  return undefined;
}

export interface HistoryOptions extends CheckerOptions, ExpiryOptions, PresenceOptions {
  /** Default: true. */
  readonly isQuiescent?: boolean;
  readonly areReceiptsComplete?: boolean;
}

/** All checkers behind one feed. */
export class HistoryChecker {
  readonly #options: HistoryOptions;
  readonly #checker: Checker;
  readonly #blocks: BlockChecker;
  readonly #expiry: ExpiryChecker;
  readonly #presence: PresenceChecker;
  #lastMs = 0;

  constructor(options: HistoryOptions = {}) {
    this.#options = options;
    this.#checker = new Checker(options);
    this.#blocks = new BlockChecker(this.#checker.violations);
    this.#expiry = new ExpiryChecker(options, this.#checker.violations);
    this.#presence = new PresenceChecker(options, this.#checker.violations);
  }

  /** Violations so far: those that an event showed; the end may show more. */
  get found(): number {
    return this.#checker.violations.total;
  }

  feed(event: HistoryEvent): void {
    if ('at' in event) this.#lastMs = Math.max(this.#lastMs, event.at);
    switch (event.op) {
      case 'host':
        this.#checker.host(event.device);
        return;
      case 'away':
        this.#checker.away(this.#checker.host(event.device));
        this.#presence.away(event.device);
        return;
      case 'resume':
        this.#checker.resumed(this.#checker.host(event.device));
        return;
      case 'join':
        return this.#checker.joined(event.a, event.b, event.user, event.seq);
      case 'leave':
        return this.#checker.left(event.a, event.b, event.user, event.seq);
      case 'block':
        if (event.on === 1 && event.user !== userOfDevice(event.device))
          this.#checker.blocked(userOfDevice(event.device), event.user);
        return this.#blocks.acknowledged(event.device, event.user, event.on === 1);
      case 'watch':
        return this.#presence.watch(event.device, event.user, event.on === 1, event.at);
      case 'presence':
        return this.#presence.told(event.device, event.user, event.on === 1, event.at);
      case 'typing':
        return this.#presence.typing(event.device, event.user, event.at);
      case 'truth':
        return this.#presence.truth(event.user, event.on === 1, event.at);
      case 'settled':
        return this.#presence.finish(event.at);
      default:
        this.#feedConversation(event);
    }
  }

  #feedConversation(event: Extract<HistoryEvent, { readonly device: number; readonly a: number }>): void {
    const pair = this.#checker.pair(event.device, event.a, event.b);
    switch (event.op) {
      case 'rewound':
        this.#blocks.rewound(event.device);
        return this.#checker.rewound(pair, event.seq);
      case 'forgotten':
        return this.#checker.forgotten(pair, event.counter);
      case 'start':
        return this.#checker.startsAt(pair, event.seq);
      case 'send':
        return this.#checker.sending(pair, event.counter, event.content);
      case 'ok':
        return this.#checker.sent(pair, event.counter, event.seq);
      case 'duplicate':
        return this.#checker.answered(pair, event.counter, event.seq);
      case 'fail':
        return this.#checker.rejected(pair, event.counter);
      case 'deliver':
        return this.#deliver(pair, event);
      case 'gap':
        return this.#checker.gap(pair, event.through, event.reason);
      case 'read':
        return this.#checker.read(pair, event.seq, event.sure === 1);
      default:
        this.#checker.receipt(pair, event.whose, event.delivered, event.read);
    }
  }

  #deliver(pair: number, event: Extract<HistoryEvent, { readonly op: 'deliver' }>): void {
    const { device: key, a: convA, b: convB, sender, time, ttl, at: nowMs } = event;
    this.#checker.delivered(pair, event.seq, this.#checker.pair(sender, convA, convB), event.counter, event.content);
    if (ttl !== 0) this.#checker.mortal(pair, event.seq);
    this.#blocks.delivered(key, convA, convB, event.seq, sender);
    if (nowMs !== 0) this.#expiry.delivered(key, convA, convB, event.seq, time, ttl, nowMs);
  }

  /** This part, to be judged with others. Presence is judged here, at the last time that any event named. */
  summary(isQuiescent = this.#options.isQuiescent ?? true): Summary {
    if (isQuiescent) this.#presence.finish(this.#lastMs);
    return exportSummary(this.#checker);
  }
}

/** Judges the parts of one history, each fed by events of other devices; memberships are told to all. */
export function judgeHistory(parts: readonly HistoryChecker[], options: HistoryOptions = {}): Verdict {
  const { isQuiescent = true, areReceiptsComplete, keptMax } = options;
  const judgeOptions: JudgeOptions = {
    isQuiescent,
    ...(areReceiptsComplete === undefined ? {} : { areReceiptsComplete }),
    ...(keptMax === undefined ? {} : { keptMax }),
  };
  return judge(
    parts.map((part) => (isQuiescent ? part.summary() : part.summary(false))),
    judgeOptions,
  );
}

/** Judges a history as text, line by line; empty lines are skipped. Throws a RangeError that names the first line that is none. */
export function checkHistory(lines: Iterable<string>, options: HistoryOptions = {}): Verdict {
  const checker = new HistoryChecker(options);
  let lineNumber = 0;
  for (const line of lines) {
    lineNumber++;
    if (line.trim() !== '') checker.feed(readHistoryLine(line, lineNumber));
  }
  return judgeHistory([checker], options);
}
