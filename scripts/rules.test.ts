import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  checkBannedCalls,
  checkDeadFiles,
  checkExactness,
  checkExceptions,
  checkImports,
  checkLength,
  checkProbesOff,
  checkProbesUsed,
  checkSingleImporter,
  checkTestNames,
  checkWorldIsSynchronous,
  isPure,
  LINES_MAX,
} from './rules.js';
import { importsOf, readSources, type Source, stripComments } from './sources.js';

const root = fileURLToPath(new URL('../../', import.meta.url)).replaceAll('\\', '/');
const sources = readSources(root);

function assertNone(breaches: readonly string[]): void {
  assert.equal(breaches.length, 0, `\n  ${breaches.join('\n  ')}\n`);
}

// --- the repository ---------------------------------------------------------------------------------------------------------

test('there are sources to look at, in all the folders', () => {
  assert.ok(sources.length > 100);
  for (const path of [
    'core/frame.ts',
    'pipelines/lane.ts',
    'pipelines/user/stage.ts',
    'gateway/session.ts',
    'cli/main.ts',
  ]) {
    assert.ok(
      sources.some((source) => source.path === path),
      path,
    );
  }
  assert.ok(sources.filter(({ path }) => isPure(path)).length > 50);
});

test('imports go one way', () => assertNone(sources.flatMap(checkImports)));

test('one file imports uWebSockets.js', () => assertNone(checkSingleImporter(sources, 'uWebSockets.js')));

test('pure code has no clock, no chance, no process and no promises', () =>
  assertNone(sources.flatMap(checkBannedCalls)));

test('nothing in a world waits', () => assertNone(checkWorldIsSynchronous(sources)));
test('what runs in a simulated world is the same on every engine', () => assertNone(sources.flatMap(checkExactness)));

test('probes are off in production, and each stands somewhere', () => {
  assertNone(sources.flatMap(checkProbesOff));
  assertNone(checkProbesUsed(sources));
});

test('no file is too long', () => assertNone(sources.flatMap(checkLength)));

test('every test stands beside the file it tests', () => assertNone(checkTestNames(sources)));

test('no file is dead', () => assertNone(checkDeadFiles(sources)));

test('no exception outlives its file', () => assertNone(checkExceptions(sources)));

// --- the rules bite ---------------------------------------------------------------------------------------------------------

function file(path: string, text = ''): Source {
  return { path, text };
}

test('an import in the wrong direction is found, however it is written', () => {
  const wrong: [string, string][] = [
    ['core/a.ts', "import { x } from '../engines/ring.js';"],
    ['core/a.ts', "import type { X } from 'lmdb';"],
    ['core/a.ts', "import fs from 'node:fs';"],
    ['core/a.ts', "export * from '../pipelines/lane.js';"],
    ['core/a.ts', "import '../gateway/hub.js';"],
    ['core/a.ts', "const x = await import('../gateway/hub.js');"],
    ['core/checks/a.ts', "import {\n  x,\n} from '../../engines/ring.js';"],
    ['pipelines/user/a.ts', "import { x } from '../conversation/rows.js';"],
    ['pipelines/conversation/a.ts', "import { x } from '../user/rows.js';"],
    ['pipelines/user/a.ts', "import { x } from '../lane.js';"],
    ['pipelines/user/a.ts', "import { x } from 'node:fs';"],
    ['pipelines/lane.ts', "import { x } from './user/stage.js';"],
    ['pipelines/supervise.ts', "import { x } from '../engines/ring.js';"],
    ['gateway/session.ts', "import { x } from './sockets.js';"],
    ['gateway/gateway.ts', "import { x } from '../engines/ring.js';"],
    ['gateway/gateway.ts', "import { x } from '../pipelines/lane.js';"],
    ['engines/ring.ts', "import { x } from '../pipelines/lane.js';"],
    ['client/core.ts', "import WebSocket from 'ws';"],
    ['client/browser.ts', "import fs from 'node:fs';"],
    ['client/node.ts', "import { x } from '../gateway/tokens.js';"],
  ];
  for (const [path, text] of wrong) assert.equal(checkImports(file(path, text)).length > 0, true, `${path}: ${text}`);
  const right: [string, string][] = [
    ['core/a.ts', "import { x } from './b.js'; // from '../engines/ring.js'"],
    ['core/a.test.ts', "import { x } from 'fast-check';"],
    ['pipelines/user/a.ts', "import { x } from '../../core/frame.js';\nimport { y } from './rows.js';"],
    ['pipelines/lane-worker.ts', "import { x } from '../engines/ring.js';"],
    ['gateway/gateway-worker.ts', "import { x } from '../engines/ring.js';"],
    ['engines/log/a.ts', "import { x } from 'lmdb';\nimport { y } from '../../core/frame.js';"],
    ['client/node.ts', "import WebSocket from 'ws';\nimport fs from 'node:fs/promises';"],
    ['cli/up.ts', "import { x } from '../engines/ring.js';"],
  ];
  for (const [path, text] of right) assert.deepEqual(checkImports(file(path, text)), [], path);
});

test('a second file that imports the web server is found, and so is none', () => {
  const one = file('gateway/sockets.ts', "import uWS from 'uWebSockets.js';");
  const other = file('gateway/upgrade.ts', "import { App } from 'uWebSockets.js';");
  assert.deepEqual(checkSingleImporter([one, file('gateway/a.test.ts', other.text)], 'uWebSockets.js'), []);
  assert.match(checkSingleImporter([one, other], 'uWebSockets.js')[0]!, /2 files.*sockets\.ts, gateway\/upgrade\.ts/);
  assert.equal(checkSingleImporter([], 'uWebSockets.js').length, 1);
});

test('a banned call is found in pure code, with its line, and nowhere else', () => {
  const calls = [
    'const t = Date.now();',
    'const t = new Date();',
    'const r = Math.random();',
    'crypto.getRandomValues(bytes);',
    'setTimeout(run, 5);',
    'const timer = setInterval;',
    'queueMicrotask(run);',
    'const p = process.env;',
    "const p = process['env'];",
    'const t = performance.now();',
    'for (const key in object) use(key);',
    'async function f() {}',
    'const x = await y;',
    'return Promise.resolve(1);',
    'console.log(1);',
    'const text = `at ${Date.now()}`;',
  ];
  const pure = [
    'core/a.ts',
    'core/checks/a.ts',
    'pipelines/user/a.ts',
    'pipelines/lane.ts',
    'gateway/session.ts',
    'client/core-more.ts',
  ];
  for (const call of calls) {
    for (const path of pure) {
      const breaches = checkBannedCalls(file(path, `const fine = 1;\n/* two\nlines */\n${call}\n`));
      assert.equal(breaches.length, 1, `${path}: ${call}`);
      assert.ok(breaches[0]!.startsWith(`${path}:4 uses `), breaches[0]);
    }
    for (const path of ['core/a.test.ts', 'gateway/gateway.ts', 'client/node.ts', 'engines/a.ts']) {
      assert.deepEqual(checkBannedCalls(file(path, call)), [], path);
    }
  }
  const fine = [
    '// Date.now() is not used',
    '/** await nothing */',
    "throw new Error('no Date here, and no await');",
    'this.#process(frame);',
    'stage.process(frame);',
    'const dateOf = updates;',
    'for (const key of keys) use(key);',
    'const pattern = /await Date/;',
    'const half = a / b; const c = `Date ${d / e} await`;',
  ];
  for (const code of fine) assert.deepEqual(checkBannedCalls(file('core/a.ts', code)), [], code);
});

test('what engines may do differently is found where worlds run, and nowhere else', () => {
  const wrong = [
    'const x = Math.exp(1);',
    'const x = Math.sinh(y) + 1;',
    'const x = Math.log2(y);',
    'const x = Math.pow(2, y);',
    'const x = 1.5 ** y;',
    'x **= 2;',
    'a.localeCompare(b);',
    'x.toLocaleString();',
    'new Intl.Collator();',
    "text.normalize('NFC');",
    'const t = Date.parse(text);',
    'const t = new Date(text);',
  ];
  for (const path of ['core/a.ts', 'sim/a.ts', 'pipelines/user/a.ts', 'gateway/a.ts', 'client/link.ts']) {
    for (const code of wrong) assert.equal(checkExactness(file(path, code)).length, 1, `${path}: ${code}`);
  }
  for (const path of ['sim/a.test.ts', 'client/node.ts', 'benchmarks/a.ts', 'engines/ring.ts']) {
    for (const code of wrong) assert.deepEqual(checkExactness(file(path, code)), [], path);
  }
  const fine = ['const x = 2 ** 32;', '/** a ** b */', 'const x = Math.floor(y) + Math.sqrt(z);', 'Date.now();'];
  for (const code of fine) assert.deepEqual(checkExactness(file('sim/a.ts', code)), [], code);
});

test('what waits is found in a world and in all that it imports, and nowhere else', () => {
  const wrong = [
    'async function f() {}',
    'await x;',
    'new Promise(f);',
    'setTimeout(f, 1);',
    'Date.now();',
    'new Date();',
  ];
  for (const code of wrong) {
    const inside = [file('sim/world.ts', "import './a.js';"), file('sim/a.ts', code), file('sim/swarm.ts', code)];
    assert.equal(checkWorldIsSynchronous(inside).length, 1, code);
  }
  const fine = [file('sim/world.ts', '// await\nconst ms = new Date(0); context.nowMs;')];
  assert.deepEqual(checkWorldIsSynchronous(fine), []);
});

test('probes that production code puts on, a site in a stage, and probes that stand nowhere are found', () => {
  const puts = "import { withProbes } from '../core/probe.js';\nwithProbes(probes, run);";
  assert.equal(checkProbesOff(file('pipelines/lane.ts', puts)).length, 1);
  assert.equal(checkProbesOff(file('cli/sim.ts', "import * as x from '../core/probe.js';\nnew x.Probes();")).length, 1);
  for (const path of ['sim/world.ts', 'core/probe.test.ts']) assert.deepEqual(checkProbesOff(file(path, puts)), []);
  const site = 'if (buggify(Site.A)) reached(Mark.A);';
  assert.deepEqual(checkProbesOff(file('pipelines/lane.ts', site)), []);
  assert.equal(checkProbesOff(file('pipelines/user/acks.ts', site)).length, 1);
  const probes = 'export const Mark = {\n  A: 0,\n  A_B: 1,\n} as const;\nexport const Site = {\n  A: 0,\n} as const;';
  assert.deepEqual(checkProbesUsed([file('core/probe.ts', probes), file('gateway/hub.ts', `// Mark.A_B\n${site}`)]), [
    'Mark.A_B stands nowhere',
  ]);
});

test('a file that is too long, a test of nothing and a dead file are found', () => {
  assert.deepEqual(checkLength(file('core/a.ts', 'x\n'.repeat(LINES_MAX))), []);
  assert.match(checkLength(file('core/a.ts', 'x\n'.repeat(LINES_MAX + 1)))[0]!, /lines/);
  const names = ['core/a.ts', 'core/a.test.ts', 'core/a.model.test.ts', 'core/b.test.ts'].map((path) => file(path));
  assert.deepEqual(
    checkTestNames(names).map((sentence) => sentence.split(' ')[0]),
    ['core/b.test.ts'],
  );
  const tree = [
    file('cli/main.ts', "const up = await import('./up.js');"),
    file('cli/up.ts', "new Worker(new URL('../pipelines/lane-worker.js', import.meta.url));"),
    file('pipelines/lane-worker.ts', "import { x } from '../core/used.js';"),
    file('core/used.ts'),
    file('core/tested.ts'),
    file('core/tested.test.ts', "import { x } from './tested.js';\nimport { y } from './used.fixture.js';"),
    file('core/used.fixture.ts'),
    file('core/unused.fixture.ts'),
    file('core/dead.ts', "import { x } from './used.js';"),
  ];
  assert.deepEqual(checkDeadFiles(tree), [
    'core/tested.ts: no entry point reaches it',
    'core/unused.fixture.ts: no test uses it',
    'core/dead.ts: no entry point reaches it',
  ]);
});

// --- reading sources --------------------------------------------------------------------------------------------------------

test('comments, strings and templates are told apart', () => {
  const cases: [string, string][] = [
    ['a // b\nc', 'a  \nc'],
    ['a /* b\nc */ d', 'a \n d'],
    ["a = '// no comment';", "a = '';"],
    ['a = "/* no comment */";', 'a = "";'],
    ["a = 'it\\'s'; // gone", "a = '';  "],
    ['a = `x // ${b /* c */ + `y${d}`} z`;', 'a = `${b   + `${d}`}`;'],
    ['a = /[/"]\\/*/g; b', 'a = /g; b'],
    ['a / b; "c" / d', 'a / b; "" / d'],
    ['if (a) { b = `}`; } // c', 'if (a) { b = ``; }  '],
  ];
  for (const [text, code] of cases) assert.equal(stripComments(text, { strings: false }), code);
  assert.equal(stripComments("a = '// b'; // c", { strings: true }), "a = '// b';  ");
});

test('imports are resolved to sources, and packages keep their names', () => {
  const text = `
    import a from './b.js'; // import x from './no.js';
    import { c,
      d } from "../core/e.js";
    export * from 'pkg';
    export { f } from './g/h.js';
    import type { I } from 'node:fs';
    import './side.js';
    const j = await import('./k.js');
    const worker = new URL('./worker.js', import.meta.url);
    const text = new URL('./file.txt', import.meta.url);
    const not = "import m from './n.js'";
  `;
  assert.deepEqual(
    importsOf({ path: 'gateway/a.ts', text }).filter((name) => !name.endsWith('n.ts')),
    [
      'core/e.ts',
      'gateway/b.ts',
      'gateway/g/h.ts',
      'gateway/k.ts',
      'gateway/side.ts',
      'gateway/worker.ts',
      'node:fs',
      'pkg',
    ],
  );
});
