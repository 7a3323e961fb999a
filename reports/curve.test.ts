import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CURVE_STYLE, type CurveChart, drawCurve, valuesOfX } from './curve.js';
import { assertPage } from './page.fixture.js';
import { renderPage } from './page.js';

const HOSTILE = '"><script>alert(1)</script>&';
const format = (value: number): string => String(value);

function chart(change: Partial<CurveChart> = {}): CurveChart {
  return {
    title: 'rate',
    x: { name: 'members', isLogarithmic: false },
    y: { name: 'messages/s' },
    lines: [
      {
        name: 'one',
        points: [
          [0, 10],
          [5, 20],
          [10, 0],
        ],
      },
    ],
    format,
    ...change,
  };
}

function ticksOf(html: string): string[] {
  return [...html.matchAll(/<span style="--a:([\d.]+)">([^<]*)</g)].map(([, at, text]) => `${text}@${at}`);
}

test('points lie where their values are, from 0 to the highest', () => {
  const html = drawCurve(chart());
  assert.match(html, /<path class="line c1" d="M0 50L50 0L100 100"\/>/);
  assert.match(html, /style="left:50%;top:0%" title="one: 20 at 5"/);
  assert.deepEqual(ticksOf(html), ['0@0', '5@0.5', '10@1']);
});

test('on a logarithmic axis the same ratio is the same distance', () => {
  const points = [10, 100, 1_000].map((x) => [x, 1] as const);
  const html = drawCurve(chart({ x: { name: 'a', isLogarithmic: true }, lines: [{ name: 'one', points }] }));
  assert.deepEqual(ticksOf(html), ['10@0.03', '100@0.5', '1000@0.97']);
});

test('the last tick is shown, and none that would lie over another', () => {
  const points = Array.from({ length: 101 }, (_, x) => [x, 1] as const);
  const html = drawCurve(chart({ lines: [{ name: 'one', points }] }));
  const shown = ticksOf(html).map((tick) => Number(tick.split('@')[0]));
  assert.deepEqual([shown[0], shown.at(-1)], [0, 100]);
  for (const [n, x] of shown.slice(1).entries()) assert.ok(x - shown[n]! >= 10);
  assert.ok(!html.includes('class="dot'), 'a hundred points are a line');
});

test('lines with different points are one table, and a single point is a dot', () => {
  const lines = [
    { name: 'one', points: [[1, 5]] },
    { name: 'two', points: [[2, 7]] },
  ] as const;
  assert.deepEqual(valuesOfX(lines), [1, 2]);
  const html = drawCurve(chart({ lines }));
  assert.ok(!html.includes('class="line'));
  assert.match(html, /<th scope="row">1<\/th><td>5<\/td><td>–<\/td>/);
  assert.match(html, /<th scope="row">2<\/th><td>–<\/td><td>7<\/td>/);
});

test('a page of curves is whole, whatever their names', () => {
  const lines = Array.from({ length: 6 }, () => ({ name: HOSTILE, points: [[0, 0] as const, [0, 0] as const] }));
  const axis = { name: HOSTILE, isLogarithmic: true };
  const body = drawCurve(chart({ title: HOSTILE, x: axis, y: axis, lines, format: () => HOSTILE }));
  const html = renderPage({ title: 'a', kicker: 'b', verdict: 'c', isGood: true, body, style: CURVE_STYLE });
  assertPage(html);
  assert.ok(!html.includes('<script>alert'));
  assert.match(html, /class="line c2 dashed"/);
});
