import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../prng.js';
import { checkHistory, type HistoryEvent, readHistoryLine, writeHistoryLine } from './index.js';
import { randomHistory } from './random-history.js';

test('histories survive being written and read back, and are judged alike', () => {
  const ops = new Set<string>();
  for (let seed = 0; seed < 60; seed++) {
    const events = randomHistory(new Prng(seed), { steps: 200 });
    const lines = events.map(writeHistoryLine);
    lines.forEach((line, i) => {
      assert.deepEqual(readHistoryLine(line, i + 1), events[i]);
      ops.add(events[i]!.op);
    });
    assert.ok(checkHistory(['', ...lines, '  ']).isClean);
  }
  const known =
    'host join leave start send ok duplicate fail deliver gap away resume read receipt block watch presence truth';
  assert.deepEqual([...ops].toSorted(), known.split(' ').toSorted());
});

test('a written history with a mistake in it is judged so', () => {
  const lines = [
    '{"op":"host","device":1409}',
    '{"op":"deliver","device":1409,"a":10,"b":11,"seq":1,"sender":1281,"counter":1,"content":7,"time":5,"ttl":0,"at":0}',
    '{"op":"deliver","device":1409,"a":10,"b":11,"seq":3,"sender":1281,"counter":3,"content":9,"time":6,"ttl":0,"at":0}',
  ];
  const verdict = checkHistory(lines);
  assert.equal(verdict.violations.kept[0]!.guarantee, 'G1');
  assert.ok(checkHistory(lines.slice(0, 2)).isClean);
});

test('what is no event is refused with its line and what is wrong', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['{', /line 2: not JSON/],
    ['[]', /line 2: an event is a JSON object/],
    ['null', /line 2: an event is a JSON object/],
    ['{"op":"constructor"}', /line 2: "op" is "constructor"; known are host, /],
    ['{"op":1}', /line 2: "op" is 1/],
    ['{"op":"host"}', /line 2: "device" of host is undefined/],
    ['{"op":"host","device":"1409"}', /"device" of host is "1409"; it is a whole number from 1/],
    ['{"op":"host","device":1.5}', /"device" of host is 1\.5/],
    ['{"op":"host","device":1408}', /"device" is 1408; a device key is/],
    ['{"op":"host","device":5}', /"device" is 5; a device key is/],
    ['{"op":"host","device":1409,"seq":1}', /host has no field "seq"/],
    ['{"op":"join","a":11,"b":10,"user":10,"seq":1}', /\(11, 10\) is neither/],
    ['{"op":"fail","device":1409,"a":10,"b":11,"counter":0}', /"counter" of fail is 0/],
    ['{"op":"fail","device":1409,"a":10,"b":11,"counter":4294967296}', /"counter" of fail is 4294967296/],
  ];
  for (const [line, message] of cases) {
    assert.throws(() => checkHistory(['', line]), { name: 'RangeError', message });
  }
});

test('what is no event is not written', () => {
  const event = { op: 'host', device: -1 } as unknown as HistoryEvent;
  assert.throws(() => writeHistoryLine(event), /history: "device" of host is -1/);
});
