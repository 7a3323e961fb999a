import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertPage } from '../../reports/page.fixture.js';
import { MUST_REACH, type SeedReport, type SwarmFailure, type SwarmResult } from '../swarm.js';
import { renderSwarmReport } from './swarm-report.js';
import { SwarmStatistics } from './swarm-statistics.js';

const HOSTILE = '"><script>alert(1)</script>';

function seedReport(seed: number, failure?: SwarmFailure): SeedReport {
  const counts = { messages: 100, deliveries: 200, events: 5_000, virtualSeconds: 25, wallMs: 40 };
  return {
    seed,
    ...counts,
    marks: ['fault cut', 'gap 2'],
    failure,
    faults: [
      ['cut', 3],
      [HOSTILE, 1],
    ],
  };
}

function resultOf(reports: readonly SeedReport[]): SwarmResult {
  const failures = reports.flatMap(({ failure }) => (failure === undefined ? [] : [failure]));
  const marks = new Map([
    ['fault cut', reports.length],
    [HOSTILE, 1],
  ]);
  const neverReached = MUST_REACH.filter((mark) => !marks.has(mark));
  return { seeds: reports.length, messages: 100 * reports.length, deliveries: 7, failures, neverReached, marks };
}

function pageOf(reports: readonly SeedReport[], pages = new Map<number, string>()): string {
  const statistics = new SwarmStatistics();
  reports.forEach((report, n) => statistics.add(report, n * 400));
  statistics.finish(reports.length * 400);
  const command = 'dunlin sim swarm --from 1 --seeds 30';
  return renderSwarmReport({ result: resultOf(reports), statistics, from: 1, count: 30, command, pages });
}

test('the page of a clean swarm has its rates, distributions, marks with those never reached, and faults', () => {
  const html = pageOf(Array.from({ length: 30 }, (_, n) => seedReport(1 + n)));
  assertPage(html);
  assert.ok(!html.includes('<script>alert'), 'everything is escaped');
  assert.match(html, /<h1>30 seeds without a violation: 3,000 messages<\/h1>/);
  assert.ok(!html.includes('What was violated'));
  for (const mark of MUST_REACH) {
    const isReached = mark === 'fault cut';
    assert.ok(html.includes(`<tr${isReached ? '' : ' class="bad"'}><th scope="row">${mark}</th>`), mark);
  }
  for (const title of ['Worlds a second', 'Virtual time by wall time', 'Marks reached so far', 'Events a world']) {
    assert.ok(html.includes(`<h3>${title}</h3>`), title);
  }
  assert.match(html, /<th scope="row">cut<\/th>.*?<td>30<\/td><td>100%<\/td><td>90<\/td>/);
});

test('violated seeds are listed with what, how to see it again, and their page', () => {
  const failure = { seed: 3, guarantee: 'G6', sentence: `G6 violated: ${HOSTILE}\n  at device 5` };
  const other = { seed: 4, guarantee: 'G13', sentence: 'the state is another' };
  const reports = [seedReport(2), seedReport(3, failure), seedReport(4, other)];
  const html = pageOf(reports, new Map([[3, 'swarm-seed-3.html']]));
  assertPage(html);
  assert.ok(!html.includes('<script>alert'), 'everything is escaped');
  assert.match(html, /<h1>2 of 3 seeds \(of 30 asked for\) violated: G6 × 1, G13 × 1<\/h1>/);
  assert.match(html, /<a href="swarm-seed-3\.html">3<\/a>/);
  assert.match(html, /<code>dunlin sim replay 4<\/code>/);
  assert.match(html, /<h3>Seeds violated so far<\/h3>/);
  assert.ok(!html.includes('at device 5'), 'one line a seed');
});

test('a swarm that did nothing has a page', () => assertPage(pageOf([])));
