import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../core/prng.js';
import { DrawnArrivals, emptyArrival } from './arrivals.js';
import { DEFAULT_WORKLOAD_FILE } from './defaults.js';
import { capShares, drawExponential, SizeDraw, WeightedDraw, zipfShares } from './draws.js';
import { drawPopulation, listOf, type Population } from './population.js';
import { mergeWorkload, parseWorkload, type Workload } from './workload.js';

const defaults = mergeWorkload(parseWorkload(await readFile(DEFAULT_WORKLOAD_FILE, 'utf8'), 'default.yaml'));

function everyone(population: Population): Uint32Array {
  return Uint32Array.from({ length: population.users }, (_, user) => user);
}

function within(value: number, wanted: number, share: number, what: string): void {
  assert.ok(Math.abs(value - wanted) <= wanted * share, `${what}: ${value}, wanted ${wanted} ± ${share * 100}%`);
}

test('exponential gaps have mean 1 and the variance of a Poisson process', () => {
  const prng = new Prng(1);
  let sum = 0;
  let squares = 0;
  const draws = 50_000;
  for (let i = 0; i < draws; i++) {
    const gap = drawExponential(prng);
    sum += gap;
    squares += gap * gap;
  }
  within(sum / draws, 1, 0.03, 'mean');
  within(squares / draws - (sum / draws) ** 2, 1, 0.06, 'variance');
});

test('sizes go through their percentiles', () => {
  const prng = new Prng(2);
  const sizes = new SizeDraw(43, 167, 1, 100_000);
  const drawn = Array.from({ length: 20_000 }, () => sizes.draw(prng)).toSorted((a, b) => a - b);
  within(drawn[10_000]!, 43, 0.04, 'p50');
  within(drawn[19_000]!, 167, 0.05, 'p95');
});

test('Zipf shares fall as 1 / rank^s, and add up', () => {
  const shares = zipfShares(1_000, 0.7);
  within(shares[0]! / shares[9]!, 10 ** 0.7, 1e-9, 'first to tenth');
  within(
    shares.reduce((sum, share) => sum + share, 0),
    1,
    1e-9,
    'sum',
  );
});

test('capped shares stay below the cap, keep their sum and their order', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 0, max: 300 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (n, s, max) => {
        const shares = zipfShares(n, s / 100);
        capShares(shares, max);
        within(
          shares.reduce((sum, share) => sum + share, 0),
          1,
          1e-6,
          'sum',
        );
        for (let i = 0; i < n; i++) assert.ok(shares[i]! <= Math.max(max, 1 / n) + 1e-9);
        for (let i = 1; i < n; i++) assert.ok(shares[i]! <= shares[i - 1]! + 1e-9);
      },
    ),
  );
});

test('drawing by weight follows the weights', () => {
  const prng = new Prng(3);
  const weights = Float64Array.of(5, 0, 1, 3, 1);
  const draw = new WeightedDraw(weights);
  const counts = new Float64Array(5);
  for (let i = 0; i < 50_000; i++) counts[draw.draw(prng)]!++;
  assert.equal(counts[1], 0);
  for (const i of [0, 2, 3, 4]) within(counts[i]! / 50_000, weights[i]! / 10, 0.06, `weight ${i}`);
});

function measure(workload: Workload, seconds: number): { sent: number; group: number; perUser: Float64Array } {
  const population = drawPopulation(workload, 7, new Prng(11));
  const arrivals = new DrawnArrivals(workload, population, everyone(population), new Prng(12));
  const arrival = emptyArrival();
  const perUser = new Float64Array(workload.users);
  let sent = 0;
  let group = 0;
  let last = 0;
  while (arrivals.next(arrival) && arrival.atMs < seconds * 1_000) {
    assert.ok(arrival.atMs >= last, 'in the order of time');
    last = arrival.atMs;
    sent++;
    perUser[arrival.user]!++;
    if (arrival.conversation < population.groupCount) group++;
    assert.ok(population.membersOf(arrival.conversation).includes(arrival.user), 'a member sends');
    assert.equal(population.deviceUser[arrival.device], arrival.user);
  }
  return { sent, group, perUser };
}

test('the rate, the share of groups and the activity are what the workload says', () => {
  for (const arrivals of ['poisson', 'constant'] as const) {
    const workload = { ...defaults, users: 200, ratePerSecond: 5_000, userRateMax: 1e6, arrivals };
    const { sent, group, perUser } = measure(workload, 10);
    within(sent, 50_000, arrivals === 'constant' ? 0.001 : 0.02, `${arrivals} rate`);
    within(group / sent, 0.2, 0.05, 'group share');
    const sorted = perUser.toSorted((a, b) => b - a);
    const shares = zipfShares(200, 0.7);
    within(sorted[0]! / sent, shares[0]!, 0.06, 'the most active');
    within(
      sorted.slice(0, 20).reduce((sum, n) => sum + n, 0) / sent,
      shares.slice(0, 20).reduce((sum, n) => sum + n, 0),
      0.05,
      'the first tenth',
    );
  }
});

test('nobody sends more than the cap', () => {
  const { perUser, sent } = measure({ ...defaults, users: 200, ratePerSecond: 5_000, userRateMax: 50 }, 10);
  within(sent, 50_000, 0.02, 'rate');
  assert.ok(Math.max(...perUser) < 50 * 10 * 1.25);
});

test('processes together send what one would', () => {
  const workload = { ...defaults, users: 100, ratePerSecond: 3_000 };
  const population = drawPopulation(workload, 7, new Prng(11));
  let sent = 0;
  for (let process = 0; process < 3; process++) {
    const own = everyone(population).filter((user) => user % 3 === process);
    const arrivals = new DrawnArrivals(workload, population, own, new Prng(process));
    const arrival = emptyArrival();
    while (arrivals.next(arrival) && arrival.atMs < 10_000) {
      assert.equal(arrival.user % 3, process);
      sent++;
    }
  }
  within(sent, 30_000, 0.03, 'rate');
});

test('a new rate holds from its moment on', () => {
  const workload = { ...defaults, users: 100, ratePerSecond: 100 };
  const population = drawPopulation(workload, 7, new Prng(11));
  const arrivals = new DrawnArrivals(workload, population, everyone(population), new Prng(5));
  arrivals.setRate(4_000, 1_000);
  const arrival = emptyArrival();
  let sent = 0;
  while (arrivals.next(arrival) && arrival.atMs < 6_000) {
    assert.ok(arrival.atMs >= 1_000);
    sent++;
  }
  within(sent, 20_000, 0.03, 'rate');
});

test('those offline do not send, and groups are led by somebody online', () => {
  const workload = { ...defaults, users: 100, onlineShare: 0.3 };
  const population = drawPopulation(workload, 7, new Prng(21));
  assert.equal(
    population.online.reduce((sum, online) => sum + online, 0),
    30,
  );
  const arrivals = new DrawnArrivals(workload, population, everyone(population), new Prng(5));
  const arrival = emptyArrival();
  for (let i = 0; i < 2_000 && arrivals.next(arrival); i++) assert.equal(population.online[arrival.user], 1);
  for (let group = 0; group < population.groupCount; group++) {
    assert.equal(population.online[listOf(population.groups, group)[0]!], 1);
  }
});

test('a population finds its ids again, and only its own', () => {
  const workload = { ...defaults, users: 60, devicesPerUser: 1.5 };
  const population = drawPopulation(workload, 9, new Prng(31));
  const other = drawPopulation(workload, 10, new Prng(31));
  assert.ok(population.groupCount > 3 && population.directLow.length > 60);
  for (let c = 0; c < population.conversations; c++) {
    assert.equal(population.conversationOf(population.convA(c), population.convB(c)), c);
    assert.equal(other.conversationOf(population.convA(c), population.convB(c)), -1);
    const members = population.membersOf(c);
    assert.equal(new Set(members).size, members.length);
    assert.ok(members.length >= 2);
  }
  for (let d = 0; d < population.devices; d++) assert.equal(population.deviceOfKey(population.deviceKeyOf(d)), d);
  assert.equal(population.deviceOfKey(other.deviceKeyOf(0)), -1);
});

function drawText(): string {
  const population = drawPopulation(defaults, 9, new Prng(77));
  const arrivals = new DrawnArrivals(defaults, population, everyone(population), new Prng(78));
  const arrival = emptyArrival();
  const rows: string[] = [];
  for (let i = 0; i < 500; i++) {
    arrivals.next(arrival);
    rows.push(JSON.stringify(arrival));
  }
  return rows.join('\n');
}

test('the same seed gives the same population and arrivals', () => {
  assert.equal(drawText(), drawText());
});
