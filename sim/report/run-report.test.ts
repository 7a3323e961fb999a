import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertPage } from '../../reports/page.fixture.js';
import { escape } from '../../reports/page.js';
import { drawPlan, type Plan } from '../plan.js';
import { type Finding, World } from '../world.js';
import { renderRunReport } from './run-report.js';

const HOSTILE = '"><script>alert(1)</script>';

function pageOf(plan: Plan, findings: (world: World) => Finding[] = () => []): string {
  const world = new World(plan, { takesSamples: true, keepsHistory: true });
  const ran = world.run();
  const outcome = { ...ran, violations: [...ran.violations, ...findings(world)] };
  const name = `seed ${plan.seed}`;
  const command = `dunlin sim replay ${plan.seed}`;
  return renderRunReport({ name, description: ['a world'], command, plan, world, outcome, wallSeconds: 1 });
}

test('the page of a seed has every section, every fault, every owner and every mark', () => {
  for (const seed of [2, 6, 4_711]) {
    const plan = drawPlan(seed);
    const html = pageOf(plan);
    assertPage(html);
    for (const title of ['What broke', 'Who owned which partition', 'All faults', 'Marks reached']) {
      assert.ok(html.includes(`<h2>${title}</h2>`), title);
    }
    for (const title of ['Throughput', 'Latency', 'Backlog', 'Unanswered sends', 'Connected devices']) {
      assert.match(html, new RegExp(`<h3>${title}`));
    }
    const world = new World(plan);
    const { traceHash, marks, messages, violations } = world.run();
    for (const text of [traceHash, `dunlin sim replay ${seed}`, `<div class="value">${messages}</div>`]) {
      assert.ok(html.includes(text), text);
    }
    for (const mark of marks.keys()) assert.ok(html.includes(`<li>${escape(mark)} `), mark);
    const [, faultTable] = html.split('<h2>All faults</h2>');
    assert.equal(faultTable!.split('<tr><td>').length - 1, plan.faults.length);
    const drawn = html.match(/<b class="(?:span|mark) fault c\d"/g) ?? [];
    assert.equal(drawn.length, plan.faults.length);
    const { conversationPartitions, userPartitions, gateways } = plan.topology;
    const rows = html.match(/<span class="name">(?:conversation partition|user partition|gateway) \d+<\/span>/g) ?? [];
    assert.equal(rows.length, conversationPartitions + userPartitions + gateways);
    assert.equal(html.includes('id="violation"'), violations.length > 0);
  }
});

function isSameConversation(one: object, other: object): boolean {
  return 'a' in one && 'a' in other && one.a === other.a && 'b' in one && 'b' in other && one.b === other.b;
}

test('a violation stands in its place: in every chart and row of an owner, with what happened around it', () => {
  const plan = drawPlan(6);
  let place = '';
  let sequence = 0;
  const html = pageOf(plan, (world) => {
    const { history } = world.observer;
    // More happens at this very moment: the line must be found by its sequence.
    const { atMs, event } = history.find(({ atMs: thenMs, event: { op, ...then } }, n) => {
      const next = history[n + 1];
      return op === 'deliver' && next?.event.op === op && next.atMs === thenMs && isSameConversation(then, next.event);
    })!;
    assert.ok(event.op === 'deliver');
    sequence = event.seq;
    const { device, a: convA, b: convB, seq } = event;
    place = `<time>${(atMs / 1_000).toFixed(4)} s</time>`;
    return [{ guarantee: 'G6', sentence: `G6 violated: ${HOSTILE}`, atMs, device, convA, convB, seq }];
  });
  assertPage(html);
  assert.ok(!html.includes('<script>alert'), 'everything is escaped');
  assert.match(html, /<header class="bad">/);
  assert.match(html, /around the violation/);
  const { conversationPartitions, userPartitions } = plan.topology;
  assert.equal(html.match(/class="mark wrong "/g)!.length, 5, 'the charts');
  assert.equal(html.match(/class="mark wrong thin"/g)!.length, conversationPartitions + userPartitions);
  const [, here] = /<li class="own here">(.*?)<\/li>/.exec(html)!;
  assert.ok(here!.startsWith(place) && here!.includes(`&quot;seq&quot;:${sequence},`), here);
});

test('what only the end shows is told where its message first was; what has no place at the end', () => {
  const plan = drawPlan(6);
  const nowhere = { device: 0, convA: 0, convB: 0, seq: 0 };
  const late = pageOf(plan, (world) => {
    const found = world.observer.history.find(({ event: { op } }) => op === 'ok')!.event;
    assert.ok(found.op === 'ok');
    return [
      {
        ...nowhere,
        guarantee: 'G2',
        sentence: 'it is lost',
        atMs: null,
        convA: found.a,
        convB: found.b,
        seq: found.seq,
      },
    ];
  });
  assert.match(late, /is first seen then; the end shows it/);
  assert.match(late, /G2 violated: it is lost/);
  const none = pageOf(plan, () => [
    { ...nowhere, guarantee: 'G13', sentence: 'the state is another', atMs: null },
    { ...nowhere, guarantee: 'G15', sentence: 'something goes on', atMs: null },
  ]);
  assertPage(none);
  assert.match(none, /the state is another \(and 1 more\)/);
  assert.match(none, /Also violated/);
});

test('where brokers are the log, their terms and lives are rows; else there are none', () => {
  const base = drawPlan(7);
  const { conversationPartitions, userPartitions } = base.topology;
  const rows = (brokers: object): number => {
    const html = pageOf({ ...base, topology: { ...base.topology, hasDisk: false, ...brokers }, faults: [] });
    assertPage(html);
    return (html.match(/<span class="name">(?:conversation log|user log|broker) \d+<\/span>/g) ?? []).length;
  };
  assert.equal(rows({ brokers: 3 }), conversationPartitions + userPartitions + 3);
  assert.equal(rows({}), 0);
});

test('a world in which nothing happens has a page', () => {
  const html = pageOf({ ...drawPlan(7), faults: [], deeds: [] });
  assertPage(html);
  assert.match(html, /<p class="note">None\.<\/p>/);
});
