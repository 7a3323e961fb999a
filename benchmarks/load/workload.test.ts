import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { DunlinError } from '../../core/errors.js';
import { Prng } from '../../core/prng.js';
import { DEFAULT_WORKLOAD_FILE, PROFILES, type Profile, readWorkload } from './defaults.js';
import { drawPopulation, listOf, type Population } from './population.js';
import { mergeWorkload, parseWorkload, WORKLOAD_FIELDS } from './workload.js';

const defaults = parseWorkload(await readFile(DEFAULT_WORKLOAD_FILE, 'utf8'), 'default.yaml');

test('the shipped defaults are whole, and say what the design says', () => {
  const workload = mergeWorkload(defaults);
  assert.equal(workload.groupShare, 0.2);
  assert.equal(workload.bytesP50, 43);
  assert.equal(workload.bytesP95, 167);
  assert.equal(workload.durationMs, 60_000);
  assert.equal(workload.arrivals, 'poisson');
});

test('every key of the default file has a comment that says where it comes from, or lies in a section that has', async () => {
  const text = await readFile(DEFAULT_WORKLOAD_FILE, 'utf8');
  assert.ok(text.split('\n').filter((line) => line.includes('#')).length >= 20);
});

test('a file merges over the defaults, and later layers win', () => {
  const file = parseWorkload(
    'users: 2_000\ngroups:\n  size:\n    max: 1024\nreads: { share: 0.25, delay: 250ms }\n',
    'w.yaml',
  );
  const workload = mergeWorkload(defaults, file, { ratePerSecond: 7 });
  assert.equal(workload.users, 2_000);
  assert.equal(workload.groupSizeMax, 1_024);
  assert.equal(workload.readShare, 0.25);
  assert.equal(workload.readDelayMs, 250);
  assert.equal(workload.ratePerSecond, 7);
  assert.equal(workload.groupSizeP50, 4);
});

const refused: [string, string, RegExp][] = [
  ['unknown key', 'users: 10\nuzers: 10\n', /^w\.yaml:2: unknown key 'uzers'; allowed here: users, devices, /],
  [
    'unknown key in a section',
    'groups:\n  share: 20%\n  sise: 3\n',
    /^w\.yaml:3: unknown key 'groups\.sise'; allowed here: share, per_user, size/,
  ],
  [
    'bad share',
    '\ngroups: { share: 120% }\n',
    /^w\.yaml:2: groups\.share: '120%' is not allowed; give a share from 0% to 100%/,
  ],
  [
    'duration without unit',
    'duration: 60\n',
    /^w\.yaml:1: duration: '60' is not allowed; give a duration with its unit/,
  ],
  ['not a number', 'users: many\n', /^w\.yaml:1: users: 'many' is not allowed; give a whole number from 2 to /],
  ['half a user', 'users: 2.5\n', /^w\.yaml:1: users: '2\.5'/],
  ['empty value', 'users:\n', /^w\.yaml:1: users: '' is not allowed/],
  [
    'word out of a list',
    'arrivals: bursty\n',
    /^w\.yaml:1: arrivals: 'bursty' is not allowed; give poisson or constant/,
  ],
  [
    'section as a value',
    'rate: 5\ngroups: 20%\n',
    /^w\.yaml:2: 'groups' is a section with the keys share, per_user, size/,
  ],
  ['value as a section', 'rate:\n  a: 5\n', /^w\.yaml:1: rate: '' is not allowed/],
  ['list', '- users\n', /^w\.yaml:1: a workload is a YAML map/],
  ['not YAML', 'users: 10\nrate: [1, 2\n', /^w\.yaml:\d: not YAML: /],
  ['key twice', 'users: 10\nrate: 4\nusers: 11\n', /^w\.yaml:3: not YAML: /],
  [
    'over a limit',
    'groups: { size: { max: 1025 } }',
    /^w\.yaml:1: groups\.size\.max: '1025' is not allowed; give a whole number from 2 to 1024/,
  ],
];

for (const [name, text, message] of refused) {
  test(`refused with its line: ${name}`, () => {
    assert.throws(
      () => parseWorkload(text, 'w.yaml'),
      (error: unknown) => {
        assert.ok(error instanceof DunlinError);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test('keys that contradict each other are refused', () => {
  assert.throws(
    () => mergeWorkload(defaults, { groupSizeP50: 30 }),
    /groups\.size\.p50 must not be above groups\.size\.p95/,
  );
  assert.throws(() => mergeWorkload(defaults, { bytesP50: 200 }), /bytes\.p50 must not be above bytes\.p95/);
  assert.throws(() => mergeWorkload(defaults, { users: 10, onlineShare: 0 }), /nobody to send/);
});

test('an empty file changes nothing', () => {
  assert.deepEqual(parseWorkload('# nothing\n', 'w.yaml'), {});
});

test('any text is either a workload or a DunlinError that names the file', () => {
  const words = fc.constantFrom(
    ...WORKLOAD_FIELDS.keys(),
    'groups',
    'x',
    ':',
    '  ',
    '\n',
    '20%',
    '60s',
    '[',
    '{',
    '-',
    '"',
    '&a',
    '*a',
    '1',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(words).map((list) => list.join('')),
      ),
      (text) => {
        try {
          parseWorkload(text, 'w.yaml');
        } catch (error) {
          assert.ok(error instanceof DunlinError, String(error));
          assert.match(error.message, /^w\.yaml:\d+: /);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('every profile is a whole workload, and its population is what its first line says', async () => {
  const draw = async (profile: Profile): Promise<Population> =>
    drawPopulation(await readWorkload(profile), 1, new Prng(1).fork('population'));
  const hot = await draw('hot');
  assert.deepEqual([hot.users, hot.groupCount, listOf(hot.groups, 0).length], [16, 1, 16]);
  const group = await draw('group');
  assert.deepEqual([group.users, group.groupCount, listOf(group.groups, 0).length], [1_024, 1, 1_024]);
  for (const profile of PROFILES) {
    const workload = await readWorkload(profile, { ratePerSecond: 3 });
    assert.equal(workload.ratePerSecond, 3);
    assert.equal(workload.stormMs > 0, profile === 'storm');
  }
});
