/** docs/protocol.md says what the code does: tables in both directions, and every byte of the worked example. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decodeMulti, encode } from '@msgpack/msgpack';
import { CloseCodes, ErrorCodes } from '../core/errors.js';
import { At, type Frame, Kind, readFrame, scanFrame, viewOf } from '../core/frame.js';
import {
  CONNECTION_BYTES_BURST,
  CONNECTION_BYTES_PER_SECOND,
  CONNECTION_FRAMES_BURST,
  CONNECTION_FRAMES_PER_SECOND,
  FRAMES_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  PAYLOAD_BYTES_MAX,
  QUEUE_TTL_MS,
  SESSION_GRACE_MS,
  TABLE_PAYLOAD_BYTES_MAX,
  WATCH_TTL_MS,
} from '../core/limits.js';
import { readLooseFrame } from '../core/msgpack.js';

const page = readFileSync(fileURLToPath(new URL('../../docs/protocol.md', import.meta.url)), 'utf8');

/** The text between a heading and the next one of its level or above. */
function section(heading: string): string {
  const start = page.indexOf(`\n${heading}\n`);
  assert.ok(start >= 0, `the page has the section ${heading}`);
  const level = heading.split(' ', 1)[0]!.length;
  const end = page.slice(start + 1).search(new RegExp(`\\n#{1,${level}} `));
  return end < 0 ? page.slice(start) : page.slice(start, start + 1 + end);
}

/** The cells of a section's table rows, without the head. */
function rows(heading: string): string[][] {
  const lines = section(heading)
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
  return lines.slice(2);
}

function blocks(language: string): string[] {
  return [...page.matchAll(new RegExp(`\`\`\`${language}\\n([^]*?)\`\`\``, 'g'))].map((match) => match[1]!);
}

const NAMES = [
  'kind',
  'flags',
  'convA',
  'convB',
  'device',
  'counter',
  'seq',
  'inbox',
  'time',
  'extra',
  'payload',
] as const;

test('the frame table has the offsets and types of the code', () => {
  const offsets = [At.KIND, At.FLAGS, At.CONV_A, At.CONV_B, At.DEVICE, At.COUNTER, At.SEQ, At.INBOX, At.TIME, At.EXTRA];
  const items = rows('## The frame').slice(1);
  assert.deepEqual(
    items.map(([item, name]) => [Number(item), name]),
    NAMES.map((name, item) => [item, name]),
  );
  assert.deepEqual(
    items.slice(0, 10).map((cells) => Number(cells[3])),
    offsets,
  );
  assert.equal(items[10]![3], `length ${At.LENGTH}, bytes ${At.PAYLOAD}`);
  const types: Readonly<Record<number, string>> = { 0xcc: 'uint8', 0xce: 'uint32', 0xcf: 'uint64' };
  const bytes = bytesOf(blocks('hex')[0]!);
  items.slice(0, 10).forEach((cells, item) => {
    const type = bytes[offsets[item]! - 1]!;
    assert.equal(cells[2], `\`${type.toString(16)}\` ${types[type]}`);
  });
});

/** Kinds in a table's first two columns. */
function documentedKinds(heading: string): [kind: number, name: string][] {
  return rows(heading).flatMap(([kind, name]) => {
    if (kind !== '1–6') return [[Number(kind), name!] as [number, string]];
    return Object.entries(Kind).flatMap(([one, value]) => (value <= 6 ? [[value, one] as [number, string]] : []));
  });
}

test('the tables of kinds name every kind that crosses the wire, and no other', () => {
  const codeOf = new Map<string, number>(Object.entries(Kind));
  const documented = [...documentedKinds('## What a client sends'), ...documentedKinds('## What a client receives')];
  for (const [kind, name] of documented) assert.equal(codeOf.get(name), kind, name);
  const known = new Set(documented.map(([, name]) => name));
  const isInternal = (kind: number): boolean => kind >= Kind.CONNECT || kind === Kind.DELIVERED;
  const missing = Object.entries(Kind).filter(([name, kind]) => known.has(name) === isInternal(kind));
  assert.deepEqual(missing, []);
});

test('the table of error codes is that of the code', () => {
  const expected = Object.values(ErrorCodes).map(({ code, name, canRetry, sentence }) => [
    String(code),
    name,
    canRetry ? 'yes' : 'no',
    sentence,
  ]);
  assert.deepEqual(rows('## Error codes'), expected);
});

test('the table of close codes is that of the code', () => {
  const documented = rows('## Heartbeat and closing').map(([code, name, reconnect]) => [
    Number(code),
    name,
    reconnect!.startsWith('yes'),
  ]);
  const expected = Object.entries(CloseCodes).map(([name, { code, reconnect }]) => [code, name, reconnect]);
  assert.deepEqual(documented, expected);
});

test('limits that the page names are those of the code', () => {
  const mib = 2 ** 20;
  const sentences = [
    `${FRAMES_PER_MESSAGE_MAX.toLocaleString('en')} frames`,
    `at most ${MESSAGE_BYTES_MAX / mib} MiB`,
    `at most ${PAYLOAD_BYTES_MAX / 1_024} KiB`,
    `at most ${TABLE_PAYLOAD_BYTES_MAX / 1_024} KiB`,
    `${CONNECTION_FRAMES_PER_SECOND.toLocaleString('en')} frames a second (${CONNECTION_FRAMES_BURST.toLocaleString('en')} at once)`,
    `${CONNECTION_BYTES_PER_SECOND / mib} MiB a second (${CONNECTION_BYTES_BURST / mib} MiB at once)`,
    `${QUEUE_TTL_MS / 86_400_000} days`,
    `for ${SESSION_GRACE_MS / 1_000} s`,
    `ends after ${WATCH_TTL_MS / 60_000} minutes`,
  ];
  for (const sentence of sentences) assert.ok(page.includes(sentence), `the page says "${sentence}"`);
});

/** One line of a hex block: bytes, and behind two blanks the name and the value of the item. */
const LINE = /^((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2,}(.*))?$/;

function bytesOf(block: string): Uint8Array {
  const lines = block.trimEnd().split('\n');
  const pairs = lines.flatMap((line) => {
    const match = LINE.exec(line);
    assert.ok(match !== null, `a line of hex pairs: ${line}`);
    return match[1]!.split(' ');
  });
  return Uint8Array.from(pairs, (pair) => Number.parseInt(pair, 16));
}

/** A block's frame, as both decoders read it. */
function frameOf(block: string): { frame: Frame; isCanonical: boolean } {
  const bytes = bytesOf(block);
  const loose = readLooseFrame(bytes, 0, bytes.length);
  assert.ok(loose !== undefined && loose.end === bytes.length, 'the core reads it, to its end');
  const { frame } = loose;
  const decoded = [...decodeMulti(bytes)];
  assert.deepEqual(decoded, [NAMES.map((name) => (name === 'payload' ? Uint8Array.from(frame.payload) : frame[name]))]);
  const isCanonical = scanFrame(bytes, viewOf(bytes), 0, bytes.length) === bytes.length;
  if (isCanonical) assert.deepEqual(readFrame(bytes, viewOf(bytes), 0), frame);
  return { frame, isCanonical };
}

test('each line of the worked example states what its bytes are', () => {
  const annotated = blocks('hex').filter((block) => block.includes('array of 11'));
  assert.ok(annotated.length >= 5);
  for (const block of annotated) {
    const { frame, isCanonical } = frameOf(block);
    assert.ok(isCanonical, block);
    const lines = block.trimEnd().split('\n');
    assert.equal(lines.length, 1 + NAMES.length);
    lines.slice(1).forEach((line, item) => {
      const name = NAMES[item]!;
      const value = name === 'payload' ? JSON.stringify(new TextDecoder().decode(frame.payload)) : String(frame[name]);
      const [, hex, stated] = LINE.exec(line)!;
      assert.match(stated!, new RegExp(`^${name} ${value}(: |$)`), line);
      // The line's bytes are this item's, and no more: a foreign library reads just that value out of them.
      const item1 = [...decodeMulti(bytesOf(hex!))];
      assert.deepEqual(item1, [name === 'payload' ? Uint8Array.from(frame.payload) : frame[name]]);
    });
    const kindName = Object.entries(Kind).find(([, kind]) => kind === frame.kind)![0];
    assert.ok(lines[1]!.endsWith(`kind ${frame.kind}: ${kindName}`), lines[1]);
  }
});

test('the worked example is one story', () => {
  const frames = blocks('hex').map((block) => frameOf(block).frame);
  const kinds = frames.map(({ kind }) => kind);
  const { HELLO, MESSAGE, SENT, ACK, RECEIPT } = Kind;
  assert.deepEqual(kinds, [HELLO, MESSAGE, SENT, MESSAGE, ACK, RECEIPT, MESSAGE]);
  const [, sent, answer, delivered, ack, receipt, compact] = frames as [
    Frame,
    Frame,
    Frame,
    Frame,
    Frame,
    Frame,
    Frame,
  ];
  assert.deepEqual(compact, sent, 'the short form is the same frame');
  const { device, seq, inbox, time } = delivered;
  assert.deepEqual(delivered, { ...sent, device, seq, inbox, time }, 'only the fields of the server were filled in');
  assert.deepEqual([answer.counter, answer.seq, answer.device, answer.time], [sent.counter, seq, device, time]);
  assert.equal(ack.inbox, inbox);
  assert.ok(receipt.seq === seq && receipt.inbox > answer.inbox);
});

test('the examples for other libraries make those bytes', () => {
  const short = blocks('hex').at(-1)!;
  assert.ok(!frameOf(short).isCanonical);
  const bytes = bytesOf(short);
  assert.ok(page.includes(`the same frame in ${bytes.length} bytes`));
  for (const [language, payload] of [
    ['python', 'b"hello"'],
    ['js', 'new TextEncoder().encode("hello")'],
  ] as const) {
    const [example] = blocks(language);
    const numbers = /\[((?:\d+, ){10})/.exec(example!)![1]!;
    assert.ok(example!.includes(`[${numbers}${payload}]`), example);
    const items = numbers.split(', ').slice(0, 10).map(Number);
    assert.deepEqual(encode([...items, new TextEncoder().encode('hello')]), bytes, language);
  }
});
