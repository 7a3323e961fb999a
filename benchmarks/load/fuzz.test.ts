/**
 * Every parser of the load generator, fuzzed: traces, workloads, quantities, and what a WebSocket reads. Each refuses with a
 * sentence or takes; what it takes is what a plain reference reads, or is the same when it is written again, and does not depend
 * on the pieces in which it came. core/fuzz.fixture.ts tells how a run is repeated.
 */
import { test } from 'node:test';
import { fail, fuzz, type Inputs, refused, SEED } from '../../core/fuzz.fixture.js';
import { Prng } from '../../core/prng.js';
import { CLOSE_ABNORMAL, Opcode, WebSocketReader } from './socket-reader.js';
import { TRACE_HEADER, TraceKind, TraceParser } from './trace.js';
import { parseDurationMs, parseNumber, parseShare } from './units.js';
import { parseWorkload, WORKLOAD_FIELDS } from './workload.js';

function bytesOf(texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => Buffer.from(text));
}

/** The input in 1 to 4 pieces. */
function piecesOf(inputs: Inputs): Buffer[] {
  const { input, random } = inputs;
  const pieces: Buffer[] = [];
  let at = 0;
  for (let cuts = random.u32() & 3; cuts > 0; cuts--) {
    const to = at + random.below(input.length - at + 1);
    pieces.push(input.subarray(at, to));
    at = to;
  }
  pieces.push(input.subarray(at));
  return pieces;
}

// --- traces -------------------------------------------------------------------------------------------------------------------

const LINE_BYTES_MAX = 256;
const LINE = /^(\d+),(\d+),(\d+),(message|join|leave),(\d*)$/;
const KIND_OF: Readonly<Record<string, number>> = {
  message: TraceKind.MESSAGE,
  join: TraceKind.JOIN,
  leave: TraceKind.LEAVE,
};

/** The rows one behind the other, read in the plainest way; undefined: not a trace. */
function plainRows(text: string): number[] | undefined {
  const lines = text.split('\n');
  if (lines.some((line) => line.length > LINE_BYTES_MAX)) return undefined;
  const [header, ...rows] = lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  if (header !== TRACE_HEADER) return undefined;
  const values: number[] = [];
  for (const row of rows) {
    if (row === '') continue;
    const match = LINE.exec(row);
    if (match === null) return undefined;
    const kind = KIND_OF[match[4]!]!;
    const [at, conversation, sender, bytes] = [match[1], match[2], match[3], match[5]].map(Number) as [
      number,
      number,
      number,
      number,
    ];
    if (at > 2 ** 50 || conversation >= 2 ** 32 || sender >= 2 ** 32 || bytes > 65_536) return undefined;
    if (match[5] === '' && kind === TraceKind.MESSAGE) return undefined;
    values.push(at, conversation, sender, kind, bytes);
  }
  return values;
}

function someTraces(random: Prng): string[] {
  return Array.from({ length: 40 }, (_, n) => {
    const end = n % 3 === 0 ? '\r\n' : '\n';
    const rows = Array.from({ length: n % 5 }, (_row, i) => {
      const kind = ['message', 'message', 'join', 'leave'][random.below(4)]!;
      const bytes = kind !== 'message' && random.chance(1, 2) ? '' : random.below(500);
      return `${random.below(2 ** random.between(1, 32))},${1 + i},${random.u32()},${kind},${bytes}`;
    });
    // Just below the longest line, and above it.
    if (n % 8 === 7) rows.push(`7,${'0'.repeat(226 + random.below(20))}1,2,message,5`);
    return [TRACE_HEADER, ...rows].join(end) + (n % 4 === 0 ? '' : end);
  });
}

const TRACE_TOKENS = [
  TRACE_HEADER,
  '\n',
  '\r\n',
  '\r',
  ',',
  ',,',
  'message',
  'join',
  'leave',
  'messages',
  '0',
  '65536',
  '65537',
  '4294967295',
  '4294967296',
  '1125899906842624',
  '1125899906842625',
  '18446744073709551617',
  '-1',
  '1.5',
  '1e3',
  '0x1f',
  ' ',
  '\0',
  '"',
  '0'.repeat(120),
  '١',
  '1,2,3,message,4\n',
  '5,6,7,join,\n',
];

test('traces: TraceParser', (t) => {
  fuzz(
    t,
    'traces',
    bytesOf(someTraces(new Prng(SEED).fork('valid traces'))),
    (inputs) => {
      const expected = plainRows(inputs.input.toString('latin1'));
      const parser = new TraceParser('t.csv', 4);
      try {
        for (const piece of piecesOf(inputs)) parser.write(piece);
        parser.end();
      } catch (error) {
        if (expected !== undefined) fail(inputs, `a trace, but refused (${String(error)})`);
        if (!/^t\.csv:(?:\d+:| the file is empty)/.test((error as Error).message)) fail(inputs, 'no line is named');
        return refused(inputs, error);
      }
      if (expected === undefined) fail(inputs, 'no trace, but taken');
      const { rows, atMs, conversation, sender, kind, bytes } = parser.columns;
      if (rows * 5 !== expected.length) fail(inputs, `${rows} rows instead of ${expected.length / 5}`);
      if (atMs.length > Math.max(4, rows * 2)) fail(inputs, `room for ${atMs.length} rows`);
      for (let row = 0, at = 0; row < rows; row++, at += 5) {
        const isSame =
          atMs[row] === expected[at] &&
          conversation[row] === expected[at + 1] &&
          sender[row] === expected[at + 2] &&
          kind[row] === expected[at + 3] &&
          bytes[row] === expected[at + 4];
        if (!isSame) fail(inputs, `row ${row} is another`);
      }
      return true;
    },
    { tokens: TRACE_TOKENS },
  );
});

// --- quantities ---------------------------------------------------------------------------------------------------------------

const PLAIN_NUMBER = /^\d(?:[_,]?\d)*(?:\.\d(?:[_,]?\d)*)?$/;
const PLAIN_DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function plainNumber(text: string): number {
  const trimmed = text.trim();
  return PLAIN_NUMBER.test(trimmed) ? Number(trimmed.replaceAll(/[_,]/g, '')) : Number.NaN;
}

function plainDuration(text: string): number {
  const match = PLAIN_DURATION.exec(text.trim());
  return match === null ? Number.NaN : Number(match[1]) * UNIT_MS[match[2]!]!;
}

function plainShare(text: string): number {
  const trimmed = text.trim();
  const share = trimmed.endsWith('%') ? plainNumber(trimmed.slice(0, -1)) / 100 : plainNumber(trimmed);
  return share <= 1 ? share : Number.NaN;
}

function checkQuantity(inputs: Inputs, name: string, value: number | undefined, expected: number): boolean {
  if (value !== undefined && !(value >= 0 && value < Number.POSITIVE_INFINITY)) fail(inputs, `${name}: ${value}`);
  if (value !== (Number.isFinite(expected) ? expected : undefined)) {
    fail(inputs, `${name}: ${String(value)} instead of ${expected}`);
  }
  return value !== undefined;
}

const UNIT_TOKENS = [
  '0',
  '1',
  '20',
  '%',
  '.',
  '_',
  ',',
  'ms',
  's',
  'm',
  'h',
  'e',
  '-',
  '+',
  ' ',
  '\t',
  '١',
  'Infinity',
];

test('quantities: parseNumber, parseShare and parseDurationMs', (t) => {
  const random = new Prng(SEED).fork('valid quantities');
  const valid = Array.from({ length: 60 }, (_, n) => {
    const number = n % 3 === 0 ? `${random.below(2_000)}` : `${random.below(100)}.${random.below(1_000)}`;
    return [number, `${random.below(101)}%`, `${number}${['ms', 's', 'm', 'h'][n % 4]}`, '20_000', '1,234,567'][n % 5]!;
  });
  fuzz(
    t,
    'quantities',
    bytesOf([...valid, '9'.repeat(308), `${'9'.repeat(310)}h`]),
    (inputs) => {
      const { text } = inputs;
      const isNumber = checkQuantity(inputs, 'parseNumber', parseNumber(text), plainNumber(text));
      const isShare = checkQuantity(inputs, 'parseShare', parseShare(text), plainShare(text));
      const isDuration = checkQuantity(inputs, 'parseDurationMs', parseDurationMs(text), plainDuration(text));
      return isNumber || isShare || isDuration;
    },
    { tokens: UNIT_TOKENS },
  );
});

// --- workloads ----------------------------------------------------------------------------------------------------------------

/** YAML is dear: 20 to 100 µs an input, however short. */
const WORKLOAD_INPUTS = 150_000;

const PATHS = [...WORKLOAD_FIELDS.keys()];

/** The limits that the fields state in words: lowest, highest, whole; undefined: a word. */
const LIMITS = new Map(
  [...WORKLOAD_FIELDS.values()].map(({ key, allowed }) => {
    const match = /from (\S+)(?: ms)? to (\S+)( h)?$/.exec(allowed);
    const max = match === null ? 0 : Number(match[2]) * (match[3] === undefined ? 1 : 3_600_000);
    const min = match === null ? 0 : Number(match[1]);
    return [key, match === null ? undefined : { min, max, whole: allowed.startsWith('a whole number') }] as const;
  }),
);

function textOf(path: string, value: number | string): string {
  return WORKLOAD_FIELDS.get(path)!.allowed.startsWith('a duration') ? `${value}ms` : String(value);
}

/** Small documents: one to three keys, as blocks or in braces. */
function someWorkloads(random: Prng): string[] {
  return Array.from({ length: 120 }, (_, n) => {
    const path = PATHS[n % PATHS.length]!;
    const limits = LIMITS.get(WORKLOAD_FIELDS.get(path)!.key);
    const value = limits === undefined ? 'poisson' : Math.ceil(limits.min) + random.below(Math.ceil(limits.max / 2));
    const parts = path.split('.');
    const last = `${parts.at(-1)}: ${textOf(path, value)}`;
    const isFlow = random.chance(1, 3);
    const other = path === 'users' ? 'rate: 1.5' : 'users: 2_000 # people';
    if (isFlow) {
      const inner = parts.slice(0, -1).reduceRight((text, part) => `${part}: { ${text} }`, last);
      return n % 2 === 0 ? `${inner}\n` : `{ ${inner}, ${other.replace(/ #.*/, '')} }`;
    }
    const lines = [...parts.slice(0, -1).map((part) => `${part}:`), last].map((line, i) => '  '.repeat(i) + line);
    return n % 2 === 0 ? `${lines.join('\n')}\n` : `${other}\n${lines.join('\n')}`;
  });
}

const WORKLOAD_TOKENS = [
  [...new Set(PATHS.flatMap((path) => path.split('.')))],
  ['\n', '\n  ', ' ', ': ', ':', '{', '}', '[', ']', ', ', '- ', '? ', '# ', '\t', '\r\n', '\uFEFF', '\u2028', '\0'],
  ['&a ', '*a', '<<: *a', '!!binary ', '!!str ', '!!set ', '!!omap ', '!!pairs ', '!!timestamp ', '!x ', '! '],
  ['!!map ', '|', '>-', '|9', '"', "'", '\\', '"\\U00110000"', '"\\xZZ"', '---\n', '...\n', '%YAML 1.1\n---\n'],
  ['%TAG ! a\n', '~', 'null', 'true', '.inf', '.nan', '-1', '0x10', '0o7', '1e3', '1_000', '20%', '0.5', '1h'],
  ['500ms', '2024-01-01', '9'.repeat(400), '__proto__', 'constructor', 'poisson', 'constant', 'users: 3\n'],
  ['groups:\n  size: { max: 5 }\n'],
].flat();

/** Written again with a key a line. Numbers with an exponent, which no workload may have, are left out. */
function writtenAgain(values: ReadonlyMap<string, number | string>): string {
  let text = '';
  let open: string[] = [];
  for (const [path, value] of values) {
    const parts = path.split('.');
    const sections = parts.slice(0, -1);
    let common = 0;
    while (common < sections.length && sections[common] === open[common]) common++;
    for (let depth = common; depth < sections.length; depth++) text += `${'  '.repeat(depth)}${sections[depth]}:\n`;
    open = sections;
    text += `${'  '.repeat(sections.length)}${parts.at(-1)}: ${textOf(path, value)}\n`;
  }
  return text;
}

test('workloads: parseWorkload', (t) => {
  fuzz(
    t,
    'workloads',
    bytesOf(someWorkloads(new Prng(SEED).fork('valid workloads'))),
    (inputs) => {
      let workload: ReturnType<typeof parseWorkload>;
      try {
        workload = parseWorkload(inputs.text, 'w.yaml');
      } catch (error) {
        refused(inputs, error);
        if (!/^w\.yaml:\d+: /.test((error as Error).message)) fail(inputs, 'no line is named');
        return false;
      }
      const values = new Map<string, number | string>();
      for (const path of PATHS) {
        const { key } = WORKLOAD_FIELDS.get(path)!;
        const value = workload[key];
        if (value === undefined) continue;
        const limits = LIMITS.get(key);
        const isWithin =
          limits === undefined || typeof value === 'string'
            ? value === 'poisson' || value === 'constant'
            : value >= limits.min && value <= limits.max && (!limits.whole || Number.isInteger(value));
        if (!isWithin) fail(inputs, `${path} is ${value}`);
        if (!String(value).includes('e-')) values.set(path, value);
      }
      if (Object.keys(workload).some((key) => !LIMITS.has(key as keyof typeof workload))) fail(inputs, 'a strange key');
      if (values.size === 0 || !inputs.random.chance(1, 4)) return true;
      const again = parseWorkload(writtenAgain(values), 'again.yaml');
      for (const [path, value] of values) {
        if (again[WORKLOAD_FIELDS.get(path)!.key] !== value) fail(inputs, `${path} is another when written again`);
      }
      return true;
    },
    { tokens: WORKLOAD_TOKENS, defaultInputs: WORKLOAD_INPUTS },
  );
});

// --- WebSocket ----------------------------------------------------------------------------------------------------------------

const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const ANSWER = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;
const ANSWER_BYTES = Buffer.from(ANSWER);
/** Low, so that inputs reach it. */
const MESSAGE_BYTES_MAX = 300;

/** What a reader did, as one list: opcodes with their payloads, and how it ended. */
class Reading {
  readonly reader: WebSocketReader;
  readonly opcodes: number[] = [];
  readonly payloads: Buffer[] = [];
  isGone = false;
  wasOpened = 0;
  reason: string | undefined;
  code: number | undefined;

  constructor() {
    this.reader = new WebSocketReader(ACCEPT, this, MESSAGE_BYTES_MAX);
  }

  #take(opcode: number, payload: Uint8Array): void {
    this.opcodes.push(opcode);
    this.payloads.push(Buffer.from(payload));
  }

  opened(): void {
    this.wasOpened++;
  }

  message(bytes: Buffer, start: number, end: number): void {
    this.#take(Opcode.BINARY, bytes.subarray(start, end));
  }

  ping(payload: Buffer): void {
    this.#take(Opcode.PING, payload);
  }

  closing(payload: Buffer): void {
    this.#take(Opcode.CLOSE, payload);
  }

  failed(reason: string, code?: number): void {
    this.reason = reason;
    this.code = code;
    this.isGone = true;
  }

  differs(other: Reading): boolean {
    return (
      this.wasOpened !== other.wasOpened ||
      this.isGone !== other.isGone ||
      this.code !== other.code ||
      this.opcodes.length !== other.opcodes.length ||
      this.payloads.some((payload, i) => this.opcodes[i] !== other.opcodes[i] || !payload.equals(other.payloads[i]!))
    );
  }

  /** What was taken, each in a frame of its own. */
  writtenAgain(): Buffer {
    return Buffer.concat(this.payloads.map((payload, i) => frameOf(0x80 | this.opcodes[i]!, payload)));
  }
}

function frameOf(first: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const head = length < 126 ? [first, length] : [first, 126, length >>> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), payload]);
}

/** With the length in 8 bytes, which is allowed for any. */
function wideFrameOf(first: number, payload: Uint8Array): Buffer {
  const head = Buffer.from([first, 127, 0, 0, 0, 0, 0, 0, payload.length >>> 8, payload.length & 0xff]);
  return Buffer.concat([head, payload]);
}

function someStreams(random: Prng): Buffer[] {
  const firsts = [0x82, 0x82, 0x82, 0x02, 0x00, 0x80, 0x81, 0x89, 0x8a, 0x88];
  return Array.from({ length: 80 }, (_, n) => {
    // Every eighth is a long message in fragments, whole or not.
    const isLong = n % 8 === 7;
    const frames = Array.from({ length: isLong ? 1 + random.below(12) : 1 + (n % 5) }, (_frame, i) => {
      const length = random.below(isLong ? 100 : random.chance(1, 4) ? 200 : 12);
      const payload = Uint8Array.from({ length }, () => random.below(256));
      const first = isLong ? (i === 0 ? 0x02 : 0x00) : firsts[random.below(firsts.length)]!;
      return random.chance(1, 8) ? wideFrameOf(first, payload) : frameOf(first, payload);
    });
    if (isLong && random.chance(1, 2)) frames.push(frameOf(0x80, new Uint8Array(40)));
    return Buffer.concat(frames);
  });
}

/** The reader may hold what one frame or one message needs, and no more. */
function checkReading(inputs: Inputs, { reader, payloads, reason, isGone }: Reading): void {
  if (payloads.some(({ length }) => length > MESSAGE_BYTES_MAX)) fail(inputs, 'a message over the limit');
  if (reader.heldBytes > 2 * MESSAGE_BYTES_MAX + 10) fail(inputs, `${reader.heldBytes} bytes are held`);
  if (isGone && (reason === undefined || reason === '')) fail(inputs, 'refused without a reason');
}

test('WebSocket frames: WebSocketReader', (t) => {
  fuzz(t, 'WebSocket frames', someStreams(new Prng(SEED).fork('valid streams')), (inputs) => {
    const whole = new Reading();
    whole.reader.read(ANSWER_BYTES);
    whole.reader.read(inputs.input);
    checkReading(inputs, whole);
    const pieces = new Reading();
    pieces.reader.read(ANSWER_BYTES);
    for (const piece of piecesOf(inputs)) {
      if (pieces.isGone) break;
      pieces.reader.read(piece);
      checkReading(inputs, pieces);
    }
    if (whole.differs(pieces)) fail(inputs, 'in pieces it is another');
    if (inputs.random.chance(1, 4)) {
      const again = new Reading();
      again.reader.read(ANSWER_BYTES);
      again.reader.read(whole.writtenAgain());
      again.isGone ||= whole.isGone;
      if (again.differs(whole) || again.reader.heldBytes > 0) fail(inputs, 'another when written again');
    }
    return !whole.isGone;
  });
});

/** Whether this is the answer that opens: undefined while it is not whole. */
function plainAnswer(text: string): boolean | undefined {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [status, ...headers] = text.slice(0, end).split('\r\n');
  const accept = headers.find((header) => header.toLowerCase().startsWith('sec-websocket-accept:'));
  return /^[^ ]* 101(?: |$)/.test(status!) && accept?.slice(accept.indexOf(':') + 1).trim() === ACCEPT;
}

const ANSWER_TOKENS = [
  ['\r\n', '\r\n\r\n', '\n', '\r', ' ', ':', ': ', 'HTTP/1.1', 'HTTP/1.0 ', '101', '200', '401', '503', '0x65'],
  ['0101', '1.01e2', '1e9', '-1', '99999', '1e400', 'Sec-WebSocket-Accept: ', 'sec-websocket-accept:', ACCEPT],
  ['Retry-After: 3', 'x'.repeat(300), '\0', 'é', 'Upgrade: websocket'],
].flat();

test('WebSocket: the answer to the upgrade', (t) => {
  const valid = [
    ANSWER,
    ANSWER.replace('Sec-WebSocket-Accept', 'sec-websocket-accept'),
    `HTTP/1.1 101\r\nRetry-After: 9\r\nSEC-WEBSOCKET-ACCEPT:${ACCEPT}  \r\n\r\n`,
    'HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\nThe token has expired.\n',
    'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\nBusy.\n',
  ];
  fuzz(
    t,
    'WebSocket answers',
    bytesOf([...valid.slice(0, 3), ...valid]),
    (inputs) => {
      const expected = plainAnswer(inputs.input.toString('latin1'));
      const whole = new Reading();
      whole.reader.read(inputs.input);
      const pieces = new Reading();
      for (const piece of piecesOf(inputs)) if (!pieces.isGone) pieces.reader.read(piece);
      if (whole.differs(pieces)) fail(inputs, 'in pieces it is another');
      if (whole.wasOpened !== (expected === true ? 1 : 0)) fail(inputs, `opened ${whole.wasOpened} times`);
      if (whole.reader.isOpen !== (expected === true)) fail(inputs, 'open, or not');
      if (expected === undefined && whole.reader.heldBytes !== inputs.length) fail(inputs, 'not all is kept');
      if (expected === false && !whole.isGone) fail(inputs, 'it goes on after a bad answer');
      const { code = CLOSE_ABNORMAL } = whole;
      if (!Number.isInteger(code) || code < 100 || code > CLOSE_ABNORMAL) fail(inputs, `the code is ${code}`);
      return expected === true;
    },
    { tokens: ANSWER_TOKENS },
  );
});
