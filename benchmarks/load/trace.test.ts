import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { DunlinError } from '../../core/errors.js';
import { ArrivalKind, emptyArrival } from './arrivals.js';
import { listOf } from './population.js';
import { readTrace, TRACE_HEADER, type TraceColumns, TraceKind, TraceParser } from './trace.js';
import { countPeople, planTrace, TraceArrivals, type TracePlan, tracePopulation } from './trace-plan.js';

const KIND_WORDS = ['message', 'join', 'leave'];

interface Row {
  at: number;
  conversation: number;
  sender: number;
  kind: number;
  bytes: number;
}

const rows = fc.array(
  fc.record({
    at: fc.integer({ min: 0, max: 10_000 }),
    conversation: fc.integer({ min: 1, max: 3 }),
    sender: fc.integer({ min: 1, max: 5 }),
    kind: fc.constantFrom(0, 0, 0, 1, 2),
    bytes: fc.integer({ min: 0, max: 469 }),
  }),
  { maxLength: 60 },
);

function csv(list: readonly Row[], end = '\n'): string {
  const lines = list.map((row) => `${row.at},${row.conversation},${row.sender},${KIND_WORDS[row.kind]},${row.bytes}`);
  return [TRACE_HEADER, ...lines].join(end) + end;
}

function parse(text: string, pieces: readonly number[] = []): TraceColumns {
  const bytes = Buffer.from(text);
  const parser = new TraceParser('t.csv');
  let at = 0;
  for (const piece of pieces) {
    parser.write(bytes.subarray(at, at + piece));
    at = Math.min(bytes.length, at + piece);
  }
  parser.write(bytes.subarray(at));
  return parser.end();
}

test('what was written is read, in pieces of any size', () => {
  fc.assert(
    fc.property(rows, fc.array(fc.integer({ min: 1, max: 30 })), fc.constantFrom('\n', '\r\n'), (list, pieces, end) => {
      const columns = parse(csv(list, end), pieces);
      assert.equal(columns.rows, list.length);
      list.forEach((row, i) => {
        assert.equal(columns.atMs[i], row.at);
        assert.equal(columns.conversation[i], row.conversation);
        assert.equal(columns.sender[i], row.sender);
        assert.equal(columns.kind[i], row.kind);
        assert.equal(columns.bytes[i], row.bytes);
      });
    }),
  );
});

test('more rows than the first allocation', () => {
  const list = Array.from({ length: 10_000 }, (_, i) => ({
    at: i,
    conversation: 1,
    sender: 1 + (i % 3),
    kind: 0,
    bytes: i % 400,
  }));
  const columns = parse(csv(list));
  assert.equal(columns.rows, 10_000);
  assert.equal(columns.atMs[9_999], 9_999);
});

const bad: [string, string, RegExp][] = [
  ['no header', '0,1,1,message,5\n', /^t\.csv:1: the header is '0,1,1,message,5'/],
  ['empty file', '', /^t\.csv: the file is empty/],
  ['four fields', `${TRACE_HEADER}\n0,1,1,message,5\n0,1,1,message\n`, /^t\.csv:3: a line has 5 fields, this one 4/],
  ['six fields', `${TRACE_HEADER}\n0,1,1,message,5,6\n`, /^t\.csv:2: a line has 5 fields, this one 6/],
  ['a word for a number', `${TRACE_HEADER}\nsoon,1,1,message,5\n`, /^t\.csv:2: at_ms is 'soon'/],
  ['a negative number', `${TRACE_HEADER}\n-1,1,1,message,5\n`, /^t\.csv:2: at_ms is '-1'/],
  ['a fraction', `${TRACE_HEADER}\n1.5,1,1,message,5\n`, /^t\.csv:2: at_ms is '1\.5'/],
  ['an empty field', `${TRACE_HEADER}\n1,,1,message,5\n`, /^t\.csv:2: conversation is ''/],
  [
    'an unknown kind',
    `${TRACE_HEADER}\n1,1,1,shout,5\n`,
    /^t\.csv:2: the kind is 'shout', allowed are message, join, leave/,
  ],
  ['a message too large', `${TRACE_HEADER}\n1,1,1,message,70000\n`, /^t\.csv:2: bytes is '70000'/],
  ['a number too large', `${TRACE_HEADER}\n1,4294967296,1,message,5\n`, /^t\.csv:2: conversation is '4294967296'/],
  ['a line without end', `${TRACE_HEADER}\n${'1'.repeat(5_000)}`, /^t\.csv:2: the line is longer than 256 bytes/],
  ['something else', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 0, 0]).toString('latin1').repeat(200), /^t\.csv:1: /],
];

for (const [name, text, message] of bad) {
  test(`refused with its line: ${name}`, () => {
    assert.throws(
      () => parse(text),
      (error: unknown) => {
        assert.ok(error instanceof DunlinError);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test('any bytes are a trace or a DunlinError', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(TRACE_HEADER, '\n', ',', '1', '22', 'message', 'join', '\r', '\0', 'x')),
      fc.uint8Array(),
      (words, tail) => {
        const parser = new TraceParser('t.csv');
        try {
          parser.write(Buffer.from(words.join('')));
          parser.write(tail);
          parser.end();
        } catch (error) {
          assert.ok(error instanceof DunlinError, String(error));
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test('files are read, gzip or not, and a broken one is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'dunlin-trace-'));
  const text = csv([{ at: 5, conversation: 1, sender: 1, kind: TraceKind.MESSAGE, bytes: 9 }]);
  const plain = join(folder, 'a.csv');
  const zipped = join(folder, 'b.csv.gz');
  const torn = join(folder, 'c.csv.gz');
  await writeFile(plain, text);
  await writeFile(zipped, gzipSync(text));
  await writeFile(torn, gzipSync(text).subarray(0, 30));
  assert.equal((await readTrace(plain)).rows, 1);
  assert.equal((await readTrace(zipped)).rows, 1);
  await assert.rejects(readTrace(torn), DunlinError);
  await assert.rejects(readTrace(join(folder, 'none.csv')), /cannot be read/);
  await assert.rejects(readTrace(folder), /cannot be read/);
  await rm(folder, { recursive: true });
});

/** Replays a plan and checks what must hold: nobody speaks, joins or leaves out of turn. */
function checkPlan(plan: TracePlan): void {
  const members = Array.from(
    { length: plan.groups.start.length - 1 },
    (_, group) => new Set(listOf(plan.groups, group)),
  );
  for (const set of members) assert.ok(set.size >= 2);
  let messages = 0;
  let last = 0;
  for (let row = 0; row < plan.atMs.length; row++) {
    assert.ok(plan.atMs[row]! >= last);
    last = plan.atMs[row]!;
    const set = members[plan.group[row]!]!;
    assert.ok(set.has(plan.user[row]!), 'who acts is a member');
    if (plan.kind[row] === ArrivalKind.ADD) {
      assert.ok(!set.has(plan.subject[row]!), 'who is added was not there');
      assert.equal(plan.user[row], listOf(plan.groups, plan.group[row]!)[0], 'the creator adds');
      set.add(plan.subject[row]!);
    } else if (plan.kind[row] === ArrivalKind.LEAVE) set.delete(plan.user[row]!);
    else messages++;
  }
  assert.equal(messages, plan.messages);
}

test('a plan never contradicts itself, whatever the trace says', () => {
  fc.assert(
    fc.property(rows, fc.integer({ min: 5, max: 12 }), fc.integer({ min: 1, max: 80 }), (list, users, limit) => {
      const columns = parse(csv(list));
      let plan: TracePlan;
      try {
        plan = planTrace(columns, { users, limit });
      } catch (error) {
        assert.match(String(error), /no conversation with two senders/);
        return;
      }
      checkPlan(plan);
      assert.ok(plan.messages <= limit);
    }),
  );
});

test('who speaks before a recorded join was there from the start', () => {
  const text = `${TRACE_HEADER}\n0,7,1,message,5\n10,7,2,message,5\n20,7,3,join,0\n30,7,3,message,5\n40,7,2,leave,0\n50,7,2,message,5\n60,7,1,join,0\n`;
  const plan = planTrace(parse(text), { users: 10, limit: 1_000 });
  assert.deepEqual([...listOf(plan.groups, 0)], [0, 1]);
  const kinds = [...plan.kind];
  assert.deepEqual(kinds, [1, 1, ArrivalKind.ADD, 1, ArrivalKind.LEAVE, ArrivalKind.ADD, 1]);
  assert.equal(plan.messages, 4);
  assert.equal(plan.joins, 2);
  assert.equal(plan.leaves, 1);
  assert.equal(plan.ignored, 1);
});

test('too few users are refused with the number that is needed', () => {
  const text = `${TRACE_HEADER}\n${[1, 2, 3, 4].map((sender) => `0,7,${sender},message,5`).join('\n')}\n`;
  const columns = parse(text);
  assert.deepEqual(countPeople(columns), { largest: 4, all: 4 });
  assert.throws(
    () => planTrace(columns, { users: 3, limit: 10 }),
    /has 4 people, but there are 3 users; give --users 4/,
  );
});

test('replay goes by time, each process its own users, at the speed asked for', () => {
  const list = [
    { at: 4_000, conversation: 1, sender: 1, kind: 0, bytes: 1 },
    { at: 9_000, conversation: 1, sender: 2, kind: 0, bytes: 2 },
    { at: 1_000, conversation: 2, sender: 1, kind: 0, bytes: 3 },
    { at: 5_000, conversation: 2, sender: 2, kind: 0, bytes: 4 },
  ];
  const plan = planTrace(parse(csv(list)), { users: 4, limit: 100 });
  const population = tracePopulation(plan, 4, 3);
  const seen: [number, number][] = [];
  for (const own of [Uint32Array.of(0, 1), Uint32Array.of(2, 3)]) {
    const arrivals = new TraceArrivals(plan, population, 10, own);
    const arrival = emptyArrival();
    while (arrivals.next(arrival)) seen.push([arrival.atMs, arrival.bytes]);
  }
  assert.deepEqual(
    seen.toSorted((a, b) => a[0] - b[0]),
    [
      [100, 3],
      [400, 1],
      [500, 4],
      [900, 2],
    ],
  );
});
