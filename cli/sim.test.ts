import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { drawPlan } from '../sim/plan.js';
import { parseScenario } from '../sim/scenario-read.js';

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'dunlin-sim-'));
after(() => rmSync(directory, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function sim(...args: readonly string[]): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'sim', ...args], {
    encoding: 'utf8',
    cwd: directory,
  });
  return { code: status, out: stdout, err: stderr };
}

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

test('bad input is one clear sentence, with the line where there is one, and exit code 2', () => {
  const broken = file('broken.yaml', 'people: 2\nfaults:\n  - {at: 2s, fault: cut, device: 7}\n');
  const trace = file('broken.csv', 'at_ms,conversation,sender,kind,bytes\n0,1,1,message,9\n5,1,x,message,9\n');
  const wrong: [string[], RegExp][] = [
    [['run', '--seed', 'abc'], /a seed is a whole number from 0 to \d+, not 'abc'\./],
    [['run'], /^dunlin: give either a seed .* or a scenario/],
    [['run', '--scenario', broken], /broken\.yaml:3: there is no device 7; there are 0 to 1\.\n$/],
    [['run', '--scenario', 'nothing-here'], /no shipped scenario has this name/],
    [['run', '--trace', trace], /broken\.csv:3: sender is 'x'/],
    [['replay', '1', '--trace', 'everything'], /there is no kind 'everything'; known are faults, /],
    [['replay', '1', '--conversation', '5'], /expected two users, or 0 and a group/],
  ];
  for (const [args, sentence] of wrong) {
    const { code, err } = sim(...args);
    assert.equal(code, 2, `${args.join(' ')}: ${err}`);
    assert.match(err, sentence);
    assert.ok(!err.includes('    at '), 'no stack');
  }
});

test('a scenario that does not come by what it is about has shown nothing: exit code 2', () => {
  const text = 'people: 2\nconversations: [{users: [0, 1]}]\nload: [{messages: 5, over: 1s}]\nreaches: [fault power]\n';
  const { code, out } = sim('run', '--scenario', file('idle.yaml', text));
  assert.equal(code, 2);
  assert.match(out, /NOT REACHED, so this shows nothing: fault power/);
});

test('the world of a seed goes into a file and comes back', () => {
  const path = join(directory, 'world.yaml');
  assert.equal(sim('plan', '12', '--save', path).code, 0);
  assert.deepEqual(parseScenario(sim('plan', '12').out, 'printed').plan, drawPlan(12));
  const traceOf = ({ out }: Ended): unknown => (JSON.parse(out) as { traceHash: string }).traceHash;
  assert.equal(traceOf(sim('run', '--scenario', path, '--json')), traceOf(sim('run', '--seed', '12', '--json')));
});

test('shipped scenarios are listed', () => {
  const rows = JSON.parse(sim('scenarios', '--json').out) as { name: string; number: number; reaches: string[] }[];
  assert.ok(rows.length >= 11);
  assert.ok(rows.some(({ name, number }) => name === '19-late-commit' && number === 19));
});

test('where nothing is violated there is nothing to shrink', () => {
  const { code, out } = sim('shrink', '12');
  assert.deepEqual([code, out], [0, 'nothing is violated: there is nothing to shrink\n']);
});

test('a replay shows one conversation as a timeline', () => {
  const text =
    'people: 2\nconversations: [{users: [0, 1]}]\ndeeds: [{at: 2s, do: send, device: 0, in: 0, bytes: 20}]\n';
  const { code, out } = sim('replay', '--scenario', file('one.yaml', text), '--conversation', '1001,1002');
  assert.equal(code, 0);
  assert.match(out, /1001\/1 sends its message 1\n.*sequencer: 1 is message 1 of 1001\/1\n/);
});
