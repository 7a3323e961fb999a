import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DunlinError } from '../core/errors.js';
import type { Plan } from './plan.js';
import { parseScenario, SCENARIO_BYTES_MAX, type Scenario } from './scenario-read.js';
import { runPlan } from './world.js';

const HEAD = `people: [1, 2]
conversations:
  - users: [0, 1]
  - members: all
duration: 10s
`;

function read(text: string): Scenario {
  return parseScenario(text, 'a.yaml');
}

function refused(text: string, sentence: RegExp): void {
  assert.throws(
    () => read(text),
    (error) => {
      assert.ok(error instanceof DunlinError, String(error));
      assert.match(error.message, sentence);
      assert.equal(error.message.split('\n').length, 1);
      return true;
    },
    text.slice(0, 200),
  );
}

test('a scenario is read: what is left out has a default', () => {
  const { plan, violated, reaches, title } = read(`title: two people
people: 2
conversations:
  - users: [1, 0]
deeds:
  - {at: 2s, do: send, device: 0, in: 0, bytes: 20}
faults:
  - {at: 1500ms, fault: clock, by: -1h}
reaches: [fault clock]
expect: violated G4, crash
`);
  const expected: Plan = {
    seed: 1,
    topology: {
      gateways: 1,
      conversationPartitions: 1,
      userPartitions: 1,
      conversationLanes: 1,
      userLanes: 1,
      hasDisk: false,
    },
    people: [1, 1],
    conversations: [{ users: [0, 1] }],
    deeds: [{ do: 'send', at: 2_000, device: 0, in: 0, bytes: 20 }],
    faults: [{ fault: 'clock', at: 1_500, by: -3_600_000 }],
    loadMs: 3_000,
  };
  assert.deepEqual(plan, expected);
  assert.deepEqual([violated, reaches, title], [['G4', 'crash'], ['fault clock'], 'two people']);
});

test('all, times and every: one line is several events, in the order of time', () => {
  const { plan } = read(`${HEAD}deeds:
  - {at: 5s, do: read, device: all, in: 0}
  - {at: 2s, do: typing, device: 1, in: all, times: 2, every: 500ms}
  - {at: 3s, do: block, device: 1, user: all, on: true}
`);
  const short = plan.deeds.map((deed) => [deed.do, deed.at, deed.device, 'in' in deed ? deed.in : -1].join(' '));
  assert.deepEqual(short, [
    'typing 2000 1 0',
    'typing 2000 1 1',
    'typing 2500 1 0',
    'typing 2500 1 1',
    // Nobody blocks themselves.
    'block 3000 1 -1',
    'read 5000 0 0',
    'read 5000 1 0',
    'read 5000 2 0',
  ]);
});

test('load is drawn from the seed: as much as asked, within its time, by people who are there', () => {
  const text = `${HEAD}load:
  - {messages: 300, reads: 20, from: 2s, over: 3s, in: [0], by: [0, 2], bytes: [40, 50]}
  - {typing: 5}
`;
  const { plan } = read(text);
  assert.deepEqual(plan, read(text).plan);
  assert.notDeepEqual(plan.deeds, read(`seed: 2\n${text}`).plan.deeds);
  const sends = plan.deeds.flatMap((deed) => (deed.do === 'send' ? [deed] : []));
  assert.equal(sends.length, 300);
  for (const { at, device, in: conversation, bytes } of sends) {
    assert.ok(at >= 2_000 && at <= 5_000 && (device === 0 || device === 2) && conversation === 0);
    assert.ok(bytes >= 40 && bytes <= 50);
  }
  assert.equal(plan.deeds.length, 325);
  const outcome = runPlan(plan);
  assert.deepEqual(outcome.violations, []);
  assert.equal(outcome.messages, 301);
});

test('what is wrong is one sentence with its line', () => {
  refused('', /^a\.yaml:1: a scenario is a map of title, /);
  refused('people: [1\n', /^a\.yaml:\d: not YAML: /);
  refused('people: 2\npeople: 3\n', /^a\.yaml:\d: not YAML: /);
  refused('seed: 1\n', /^a\.yaml:1: people is missing/);
  refused('people: 2\nlanes: 3\n', /^a\.yaml:2: unknown key 'lanes' in a scenario; allowed are title, /);
  refused('people: 2\nseed: abc\n', /^a\.yaml:2: seed: 'abc' is not allowed; give a whole number from 0 to /);
  refused('people: 0\n', /^a\.yaml:1: people: '0' is not allowed/);
  refused('people: [1, 11]\n', /^a\.yaml:1: people: '11' is not allowed; give a whole number from 1 to 10/);
  refused('people: 2\n\ntopology: {gateways: 0}\n', /^a\.yaml:3: gateways: '0' is not allowed/);
  refused(
    'people: 2\ntopology:\n  user_lanes: 2\n',
    /^a\.yaml:2: this topology is impossible: 2 user lanes share 1 user partitions/,
  );
  refused('people: 2\ntopology: {nodes: 2}\n', /^a\.yaml:2: unknown key 'nodes' in topology/);
  refused('people: 2\ntopology: 7\n', /^a\.yaml:2: topology is a map of gateways, /);
  refused('people: 2\nduration: 10\n', /^a\.yaml:2: duration: '10' is not allowed; give a time with its unit/);
  refused('people: 2\nduration: 0.5ms\n', /^a\.yaml:2: duration: '0.5ms' is not allowed/);
  refused('people: 2\nexpect: G4\n', /^a\.yaml:2: expect: 'G4' is not allowed; give holds/);
  refused('people: 2\nreaches: fault cut\n', /^a\.yaml:2: reaches is a list of marks/);
  refused('people: &a 2\nseed: *a\n', /^a\.yaml:2: seed: '' is not allowed/);
  refused(`people: 2\n#${'x'.repeat(SCENARIO_BYTES_MAX)}`, /^a\.yaml:1: the file is larger than 8 MiB/);
});

test('a conversation that cannot be is refused', () => {
  const of = (text: string): string => `people: 3\nconversations:\n  - ${text}\n`;
  refused(of('users: [0, 3]'), /^a\.yaml:3: there is no person 3; there are 0 to 2/);
  refused(of('users: [0, 0]'), /^a\.yaml:3: somebody is named twice/);
  refused(of('users: [0, 1, 2]'), /^a\.yaml:3: users are two people, not 3/);
  refused(of('members: []'), /^a\.yaml:3: a group has 1 to 1024 members, not 0/);
  refused(of('{users: [0, 1], members: all}'), /^a\.yaml:3: a conversation has either users or members/);
  refused(of('people: [0, 1]'), /^a\.yaml:3: unknown key 'people' in a conversation/);
});

test('an event that cannot be is refused', () => {
  const of = (list: string, text: string): string => `${HEAD}${list}:\n  - ${text}\n`;
  const deed = (text: string): string => of('deeds', text);
  const fault = (text: string): string => of('faults', text);
  refused(fault('{at: 2s, fault: cut, device: 3}'), /^a\.yaml:7: there is no device 3; there are 0 to 2/);
  refused(fault('{at: 2s, fault: lane-crash, lane: 2}'), /^a\.yaml:7: there is no lane 2; there are 0 to 1/);
  refused(fault('{at: 2s, fault: gateway-crash, gateway: 1}'), /^a\.yaml:7: there is no gateway 1; there is only 0/);
  refused(fault('{at: 2, fault: kill}'), /^a\.yaml:7: at: '2' is not allowed; give a time with its unit/);
  refused(fault('{fault: kill}'), /^a\.yaml:7: fault: kill needs at/);
  refused(fault('{at: 2s, fault: meteor}'), /^a\.yaml:7: unknown fault 'meteor'; known are cut, /);
  refused(fault('{at: 2s, fault: toString}'), /^a\.yaml:7: unknown fault 'toString'/);
  refused(fault('{at: 2s}'), /^a\.yaml:7: an event needs 'fault'/);
  refused(fault('kill'), /^a\.yaml:7: an event is a map/);
  refused(fault('{at: 2s, fault: kill, lane: 0}'), /^a\.yaml:7: unknown key 'lane' in fault: kill/);
  refused(fault('{at: 2s, fault: lane-pause, lane: 0}'), /^a\.yaml:7: for is missing; give a time/);
  refused(fault('{at: 11s, fault: kill}'), /^a\.yaml:7: it happens at 11000 ms, after the duration of 10000 ms/);
  refused(fault('{at: 2s, fault: kill, times: 3}'), /^a\.yaml:7: times and every go together/);
  refused(fault('{at: 2s, fault: store, lane: 0, outcome: lost}'), /^a\.yaml:7: outcome: 'lost' .* one of conflict, /);
  refused(fault('{at: 2s, fault: bit-flip, topic: 0, for: 1s, power: no}'), /^a\.yaml:7: power: 'no' is not allowed/);
  refused(fault('{at: 2s, fault: bit-flip, topic: 0, for: 1s, power: true}'), /^a\.yaml:7: a bit-flip needs a disk/);
  refused(`${HEAD}faults: {at: 2s}\n`, /^a\.yaml:6: faults is a list/);
  refused(deed('{at: 2s, do: send, device: 0, in: 2, bytes: 20}'), /^a\.yaml:7: there is no conversation 2/);
  refused(deed('{at: 2s, do: send, device: 0, in: 0, bytes: 1}'), /^a\.yaml:7: bytes: '1' is not allowed/);
  refused(deed('{at: 2s, do: leave, device: 0, in: 0}'), /^a\.yaml:7: conversation 0 is of two people/);
  refused(
    deed('{at: 0s, do: read, device: all, in: all, times: 100000, every: 1ms}').replace('10s', '10h') +
      '  - {at: 0s, do: read, device: all, in: all, times: 100000, every: 1ms}\n',
    /^a\.yaml:8: these are more than 1000000 events/,
  );
});

test('load that cannot be is refused', () => {
  const of = (text: string): string => `${HEAD}load:\n  - ${text}\n`;
  refused(of('{messages: 5, in: [2]}'), /^a\.yaml:7: there is no conversation 2/);
  refused(of('{messages: 5, by: [7]}'), /^a\.yaml:7: there is no device 7/);
  refused(of('{messages: 5, from: 5s, over: 6s}'), /^a\.yaml:7: this load ends at 11000 ms, after the duration/);
  refused(of('{over: 5s}'), /^a\.yaml:7: this load has neither messages, reads nor typing/);
  refused(of('{messages: 2000000}'), /^a\.yaml:7: messages: '2000000' is not allowed/);
  refused(of('{messages: 5, bytes: [50, 40]}'), /^a\.yaml:7: bytes is a whole number from 12 to 65536, or two/);
  const apart = `people: 3\nconversations: [{users: [0, 1]}]\nduration: 5s\nload:\n  - {messages: 5, by: [2]}\n`;
  refused(apart, /^a\.yaml:5: none of these devices is in one of these conversations/);
});
