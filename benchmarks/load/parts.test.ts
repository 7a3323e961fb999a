/** The small parts: queues, cuts, the gate of a trace, units, the live table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Arrival, ArrivalKind, emptyArrival } from './arrivals.js';
import { CutKind, CutTable } from './cuts.js';
import { Fifo, InFlight } from './fifo.js';
import { MemberGate } from './gate.js';
import { type Interval, LiveTable, plainLine, tableRows } from './live.js';
import { Population, packLists } from './population.js';
import { parseDurationMs, parseNumber, parseShare } from './units.js';

test('a queue gives back what was put in, in order, whatever its size', () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer())), (steps) => {
      const fifo = new Fifo(2, 2);
      const model: number[] = [];
      for (const step of steps) {
        if (step !== null) {
          fifo.push(step, -step);
          model.push(step);
        } else if (model.length > 0) {
          assert.equal(fifo.first(0), model[0]);
          assert.equal(fifo.first(1), -model[0]!);
          fifo.shift();
          model.shift();
        }
        assert.equal(fifo.length, model.length);
      }
    }),
  );
});

test('slots in flight are different from each other, and keep their values while the table grows', () => {
  const inFlight = new InFlight();
  const slots = Array.from({ length: 3_000 }, () => inFlight.take());
  assert.equal(new Set(slots).size, 3_000);
  for (const slot of slots) inFlight.intendedMs[slot] = slot;
  const more = inFlight.take();
  assert.ok(!slots.includes(more));
  assert.ok(slots.every((slot) => inFlight.intendedMs[slot] === slot));
  inFlight.release(slots[7]!);
  assert.equal(inFlight.take(), slots[7]);
  assert.equal(inFlight.size, 3_001);
});

test('a latency is told apart by what cut the sender or the receiver off', () => {
  const cuts = new CutTable(3);
  assert.equal(cuts.touched(0, 1, 10, 20), CutKind.NONE);
  cuts.record({ device: 0, planned: false, fromMs: 100, toMs: Number.POSITIVE_INFINITY });
  assert.equal(cuts.touched(0, 1, 10, 20), CutKind.NONE, 'arrived before');
  assert.equal(cuts.touched(0, 1, 90, 110), CutKind.OUTAGE, 'was under way');
  assert.equal(cuts.touched(1, 0, 500, 600), CutKind.OUTAGE, 'while it lasts');
  cuts.record({ device: 0, planned: false, fromMs: 100, toMs: 200 });
  assert.equal(cuts.touched(0, 1, 150, 210), CutKind.OUTAGE);
  assert.equal(cuts.touched(0, 1, 201, 210), CutKind.NONE, 'intended afterwards');
  cuts.record({ device: 2, planned: true, fromMs: 100, toMs: 200 });
  assert.equal(cuts.touched(0, 2, 150, 210), CutKind.PLANNED, 'the generator itself did it');
});

function gateOf(): MemberGate {
  return new MemberGate(
    new Population({
      run: 1,
      devices: new Uint8Array(4).fill(1),
      online: new Uint8Array(4).fill(1),
      activity: new Float64Array(4),
      groups: packLists([[0, 1]]),
      directs: { low: new Uint32Array(0), high: new Uint32Array(0) },
    }),
  );
}

function arrival(kind: number, user: number, bytes = 0): Arrival {
  const isAdd = kind === ArrivalKind.ADD;
  return { ...emptyArrival(), kind, user: isAdd ? 0 : user, subject: isAdd ? user : 0, bytes };
}

test('who was added speaks only when told, and in order; who left is added only when gone', () => {
  const gate = gateOf();
  const sent: string[] = [];
  const send = (a: Arrival): void => {
    sent.push(`${a.kind}:${a.user}:${a.bytes}`);
  };
  assert.ok(gate.admit(arrival(ArrivalKind.MESSAGE, 1)));
  assert.ok(gate.admit(arrival(ArrivalKind.ADD, 2)), 'nobody knows user 2 yet');
  assert.ok(!gate.admit(arrival(ArrivalKind.MESSAGE, 2, 10)));
  assert.ok(!gate.admit(arrival(ArrivalKind.LEAVE, 2)));
  assert.ok(!gate.admit(arrival(ArrivalKind.MESSAGE, 2, 20)));
  assert.ok(!gate.admit(arrival(ArrivalKind.ADD, 2)), 'still a member');
  assert.equal(gate.waiting, 4);
  gate.told(2, 0, send);
  assert.deepEqual(sent, ['1:2:10', '3:2:0'], 'up to the leave; the next message waits for the next add');
  gate.gone(2, 0, send);
  assert.deepEqual(sent.slice(2), ['2:0:0']);
  gate.told(2, 0, send);
  assert.deepEqual(sent.slice(3), ['1:2:20']);
  assert.equal(gate.waiting, 0);
});

test('quantities as people write them', () => {
  assert.deepEqual(['500ms', '60s', '1.5m', '2h'].map(parseDurationMs), [500, 60_000, 90_000, 7_200_000]);
  assert.deepEqual(['', '60', '1 s', '-1s', '1d'].map(parseDurationMs), Array(5).fill(undefined));
  assert.deepEqual(['20%', '0.2', '0', '100%'].map(parseShare), [0.2, 0.2, 0, 1]);
  assert.deepEqual(['101%', '1.1', '-5%', '%', 'x'].map(parseShare), Array(5).fill(undefined));
  assert.deepEqual(['20_000', '20,000', '1.25'].map(parseNumber), [20_000, 20_000, 1.25]);
  assert.deepEqual(['1e3', '0x10', '', '1_', '+1'].map(parseNumber), Array(5).fill(undefined));
});

const INTERVAL: Interval = {
  phase: 'sending',
  elapsedMs: 30_000,
  durationMs: 60_000,
  sent: 600_000,
  acked: 599_990,
  delivered: 1_500_000,
  sentPerSecond: 20_000,
  ackedPerSecond: 19_999,
  deliveredPerSecond: 50_000,
  p50Ms: 3.1,
  p95Ms: 8.2,
  p99Ms: 19,
  backlog: 112,
  connections: 2_200,
  connectionsWanted: 2_200,
  reconnects: 12,
  violations: 0,
  generatorCpu: 0.41,
  generatorLagMs: 2.2,
};

test('the table and the line name everything', () => {
  const rows = tableRows('title', INTERVAL).join('\n');
  for (const wanted of [
    '600,000',
    '20,000/s',
    '1,500,000',
    'p99 19 ms',
    '112',
    '2,200 of 2,200, 12 reconnects',
    '41%',
  ]) {
    assert.ok(rows.includes(wanted), `${wanted} in ${rows}`);
  }
  assert.match(rows, /█{14}░{14} {2}30 s of 60 s/);
  assert.ok(!rows.includes('VIOLATIONS'));
  assert.match(plainLine({ ...INTERVAL, violations: 3 }), /^ {2}30 s sending.*p99 19 ms.*VIOLATIONS 3$/);
});

test('on a terminal the table redraws itself in place, and lines stay above it', () => {
  const written: string[] = [];
  const table = new LiveTable({ isTTY: true, columns: 60, write: (text) => written.push(text) }, 'title');
  table.show(INTERVAL);
  table.show(INTERVAL);
  table.say('a line that stays');
  table.show(INTERVAL);
  assert.ok(!written[0]!.includes('\u001b[11F'));
  assert.ok(written[1]!.startsWith('\u001b[11F'));
  assert.ok(written[2]!.startsWith('\u001b[11F\u001b[J') && written[2]!.endsWith('stays\n'));
  assert.ok(!written[3]!.startsWith('\u001b[11F'));
  for (const line of written[0]!.split('\n')) assert.ok(line.replace('\u001b[K', '').length < 60);
});

test('elsewhere it is one line an interval', () => {
  const written: string[] = [];
  const table = new LiveTable({ write: (text) => written.push(text) }, 'title');
  table.show(INTERVAL);
  assert.equal(written.length, 2);
  assert.ok(written.every((text) => text.endsWith('\n') && !text.includes('\u001b')));
});
