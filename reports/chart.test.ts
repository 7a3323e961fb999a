import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Chart, drawBars, drawChart, drawRow, everyNth, mark, overTime, span, thin } from './chart.js';
import { escape, renderPage, table, tile } from './page.js';

const HOSTILE = '"><script>alert(1)</script>&';
const format = (value: number): string => String(value);

function paths(html: string): string[] {
  return [...html.matchAll(/<path class="line[^>]* d="([^"]*)"/g)].map(([, path]) => path!);
}

test('a line goes through its points, lifts the pen where there is none, and shows a lonely point', () => {
  const chart: Chart = {
    title: 'Rates',
    note: '',
    format,
    lines: [{ name: 'sent', values: [0, 10, null, 5, null, 20, 20], colour: 1 }],
  };
  const html = drawChart(chart, [0, 1, 2, 3, 4, 5, 6], 8);
  assert.deepEqual(paths(html), ['M0 100L1 50M3 75h0M5 0L6 0']);
  assert.match(html, /viewBox="0 0 8 100"/);
  assert.match(html, /<span style="top:50%">10<\/span>/);
});

test('a logarithmic axis has a tick for each power of ten', () => {
  const lines = [{ name: 'p50', values: [0.5, 50], colour: 2 }];
  const html = drawChart({ title: '', note: '', format, lines, logarithmic: true }, [0, 1], 1);
  for (const tick of ['0.1', '1', '10', '100']) assert.ok(html.includes(`>${tick}</span>`), tick);
});

test('names, titles and values are text, wherever they stand', () => {
  const lines = [{ name: HOSTILE, values: [1], colour: 1 }];
  const chart = { title: HOSTILE, note: HOSTILE, format: () => HOSTILE, lines, bound: { value: 2, label: HOSTILE } };
  const look = { look: 'c1', title: HOSTILE, text: HOSTILE };
  const parts = [
    drawChart(chart, [0], 1),
    drawRow(HOSTILE, HOSTILE, span(0, 1, look) + mark(1, look)),
    drawBars(HOSTILE, HOSTILE, [{ from: 1, to: 2, count: 3 }], () => HOSTILE, format),
    tile(HOSTILE, HOSTILE, HOSTILE),
    table([[HOSTILE, HOSTILE]]),
    renderPage({ title: HOSTILE, kicker: HOSTILE, verdict: HOSTILE, isGood: true, body: '' }),
  ];
  for (const part of parts) assert.ok(!part.includes('<script>alert'), part);
  assert.equal(escape(HOSTILE), '&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;');
});

test('nothing at all, and a run of no length, are drawn too', () => {
  const chart = { title: '', note: '', format, lines: [{ name: '', values: [], colour: 1, filled: true }] };
  const html = overTime(0, drawChart(chart, [], 0) + drawBars('', '', [], format, format));
  assert.ok(!/NaN|undefined|Infinity/.test(html), html);
});

test('a long run is thinned: each point stands for its neighbours', () => {
  assert.equal(everyNth(400), 1);
  assert.equal(everyNth(900), 3);
  assert.deepEqual(
    thin([1, null, 5, null, null, 7], 2, (numbers) => Math.max(...numbers)),
    [1, 5, 7],
  );
  assert.deepEqual(
    thin([null, null], 2, () => 1),
    [null],
  );
});
