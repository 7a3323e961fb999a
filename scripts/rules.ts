/**
 * The architecture as rules over the sources. Each rule looks at one file, or at all, and returns a sentence for each breach;
 * rules.test.ts runs them over the repository, and shows on small samples that they bite.
 */
import { importsOf, reachable, type Source, stripComments } from './sources.js';

export const LINES_MAX = 1_100;

/** Where a process begins: started by hand, by a script, by npm or by an importing application. */
export const ENTRY_POINTS: readonly RegExp[] = [
  /^cli\/main\.ts$/,
  /^client\/(node|browser|core)\.ts$/,
  /^benchmarks\/[^/]+\.ts$/,
  /^scripts\/[^/]+\.ts$/,
  /^chaos\/main\.ts$|^sim\/(peak\/)?[^/]+-worker\.ts$/,
];

/** What only tests use, by name or by path, with the reason. It may import what tests may, and need not be reachable. */
const TEST_SUPPORT: readonly (readonly [RegExp, string])[] = [
  [/\.test\.ts$/, 'tests'],
  [/^scripts\/e2e\/|\.e2e\.ts$/, 'end-to-end tests'],
  [/\.fixture\.ts$/, 'inputs and child processes of tests'],
  [/\.contract\.ts$/, 'suites that tests of engines run'],
  [/^pipelines\/user\/(testing|world)\.ts$/, 'the world of the user stage’s model test'],
  [/^pipelines\/conversation\/(testing|model)\.ts$/, 'the conversation stage’s lane and model for tests'],
  [/^client\/reference-(server|socket)\.ts$/, 'a backbone in small, for tests of the client'],
  [/^benchmarks\/load\/fake-server\.ts$/, 'a server that answers wrongly, for tests of the load generator'],
  [/^chaos\/mutants\.ts$/, 'planted bugs, for the chaos suite’s tests'],
  [/^sim\/(mutants|corpus)\.ts$/, 'planted bugs, and seeds that found real ones, for the simulator’s tests'],
  [/^core\/checks\/(mutations|random-history)\.ts$/, 'planted bugs and histories, for tests of the checkers'],
];

/** Product files that no entry point reaches, with the reason. */
const UNREACHABLE: ReadonlyMap<string, string> = new Map([
  ['core/crc32c.ts', 'what the processor’s CRC32C is compared with'],
]);

/** Tests that stand beside no file of their name, with the reason. */
const TESTS_WITHOUT_FILE: ReadonlyMap<string, string> = new Map([
  ['engines/log-disk/kill.test.ts', 'kills a process that appends'],
  ['core/fuzz.test.ts', 'fuzzes every parser of core'],
  ['benchmarks/load/load.test.ts', 'runs the load generator whole'],
  ['benchmarks/load/parts.test.ts', 'small parts of the load generator'],
  ['client/package.test.ts', 'packs client/ and installs it'],
  ['core/checks/mutants.test.ts', 'runs the checkers over planted bugs'],
  ['benchmarks/load/fuzz.test.ts', 'fuzzes every parser of the load generator'],
  ['client/fuzz.test.ts', 'fuzzes saved states and the received stream'],
  ['gateway/fuzz.test.ts', 'fuzzes tokens and key files'],
  ['pipelines/user/fuzz.test.ts', 'fuzzes the whole stage'],
  ['pipelines/user/model.test.ts', 'runs the whole stage against a model'],
]);

export function isTestSupport(path: string): boolean {
  return TEST_SUPPORT.some(([pattern]) => pattern.test(path));
}

function folder(path: string, name: string): boolean {
  return path.startsWith(`${name}/`);
}

/** The protocol core of the client: no runtime. Its shells are for one runtime each. */
const CLIENT_SHELLS = /^client\/(node|browser|shell|emitter)\.ts$/;
const PURE_GATEWAY =
  /^gateway\/(session|hub|replies|outbound|batching|inbound|read-tally|slots|ingest-kernel|kernel-wasm)\.ts$/;
const WIRING =
  /^(cli|benchmarks|sim|chaos|scripts)\/|^pipelines\/(backbone|wire[^/]*|[^/]+-worker)\.ts$|^gateway\/[^/]+-worker\.ts$/;

interface LayerRule {
  readonly from: (path: string) => boolean;
  readonly may: (target: string) => boolean;
  readonly rule: string;
}

const LAYERS: readonly LayerRule[] = [
  {
    from: (path) => folder(path, 'core'),
    may: (target) => folder(target, 'core'),
    rule: 'core imports only core',
  },
  ...['pipelines/conversation', 'pipelines/user'].map((stage) => ({
    from: (path: string) => folder(path, stage),
    may: (target: string) => folder(target, 'core') || folder(target, stage),
    rule: `${stage} imports only core and itself`,
  })),
  {
    from: (path) => /^pipelines\/(lane|partition|checkpoint|loss|acceptance|outbox)\.ts$/.test(path),
    may: (target) =>
      folder(target, 'core') || /^pipelines\/(lane|partition|checkpoint|loss|acceptance|outbox)\.ts$/.test(target),
    rule: 'the lane imports only core and its own parts',
  },
  {
    from: (path) => PURE_GATEWAY.test(path),
    may: (target) => folder(target, 'core') || PURE_GATEWAY.test(target) || target === 'gateway/gateway-metrics.ts',
    rule: 'the middle of the gateway imports only core and itself',
  },
  {
    from: (path) => folder(path, 'gateway'),
    may: (target) => !folder(target, 'pipelines') && !folder(target, 'cli') && !folder(target, 'benchmarks'),
    rule: 'the gateway knows nothing of pipelines and commands',
  },
  {
    from: (path) => folder(path, 'client') && !CLIENT_SHELLS.test(path),
    may: (target) => folder(target, 'core') || folder(target, 'client'),
    rule: 'the client’s protocol core imports only core and client',
  },
  {
    from: (path) => folder(path, 'client'),
    may: (target) => !target.includes('/') || /^(core|client|node:[a-z]+)\//.test(target) || target.startsWith('@'),
    rule: 'the client is a package of its own: of this repository it imports only core',
  },
  {
    from: (path) => /^client\/(browser|shell|emitter)\.ts$/.test(path),
    may: (target) => folder(target, 'core') || folder(target, 'client'),
    rule: 'what runs in a browser imports no package and nothing of Node',
  },
  {
    from: (path) => folder(path, 'engines'),
    may: (target) => !/^(pipelines|gateway|client|cli|benchmarks|sim|chaos|scripts)\//.test(target),
    rule: 'engines import core, engines and packages',
  },
  {
    from: (path) => folder(path, 'reports'),
    may: (target) => folder(target, 'reports'),
    rule: 'parts of reports know nothing of what is reported',
  },
  {
    from: (path) => !folder(path, 'engines') && !WIRING.test(path),
    may: (target) => !folder(target, 'engines'),
    rule: 'engines are imported only where a process is wired',
  },
];

/** Import direction: what one file must not import. */
export function checkImports(source: Source): string[] {
  if (isTestSupport(source.path)) return [];
  const layers = LAYERS.filter((layer) => layer.from(source.path));
  return importsOf(source).flatMap((target) =>
    layers.filter((layer) => !layer.may(target)).map((layer) => `${source.path} imports ${target}: ${layer.rule}`),
  );
}

/** Not one of those that a rule counts, with the reason. */
const NO_IMPORTER: ReadonlyMap<string, string> = new Map([
  ['benchmarks/ingest/bare-worker.ts', 'the bare receive loop that gateways are compared with'],
]);

/** One file speaks to the web server, so that it can be exchanged. */
export function checkSingleImporter(sources: readonly Source[], name: string): string[] {
  const importers = sources
    .filter(({ path }) => !isTestSupport(path) && !NO_IMPORTER.has(path))
    .filter((source) => importsOf(source).includes(name));
  if (importers.length === 1) return [];
  return [
    `${name} is imported by ${importers.length} files, one is right: ${importers.map(({ path }) => path).join(', ')}`,
  ];
}

const PURE =
  /^(core|pipelines\/conversation|pipelines\/user)\/|^pipelines\/(lane|partition|checkpoint|loss|acceptance|outbox)\.ts$|^gateway\/session\.ts$/;
const PURE_CLIENT = /^client\/(core[^/]*|conversation|events|link|output|pace|snapshot|view)\.ts$/;

/** Calls that bring time, chance, the process or another order of events into code whose result must depend on its input alone. */
const BANNED: readonly (readonly [RegExp, string])[] = [
  [/\bDate\b/, 'Date: time comes in as an argument'],
  [/\bMath\s*\.\s*random\b/, 'Math.random: use a seeded Prng'],
  [/\bcrypto\b\s*[.?]/, 'crypto: use a seeded Prng'],
  [/\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\b/, 'timers: say when to be called instead'],
  [/(?<![#.\w])process\b\s*[.?[]/, 'process: options come in as arguments'],
  [/(?<![#.\w])performance\b/, 'performance: time comes in as an argument'],
  [/\bfor\s*\(\s*(?:const|let|var)\s+[\w$]+\s+in\b/, 'for…in: the order of a plain object’s keys is no contract'],
  [/\basync\b/, 'async: everything is synchronous'],
  [/\bawait\b/, 'await: everything is synchronous'],
  [/\bPromise\b/, 'Promise: everything is synchronous'],
  [/\bconsole\s*\./, 'console: results are returned'],
];

/** What runs in a simulated world, its virtual parts included: equal on every version of Node, to the bit. */
const SIMULATED =
  /^(core|sim|gateway)\/|^pipelines\/|^engines\/(log|store)-memory\.ts$|^client\/(?!node|browser|shell|emitter)[^/]+\.ts$/;

/** What the language leaves to the engine, or to its data files: two versions may differ in the last bit, or in a letter. */
const APPROXIMATE: readonly (readonly [RegExp, string])[] = [
  [
    /\bMath\s*\.\s*(?:a?(?:sin|cos|tan)h?|atan2|exp|expm1|log|log2|log10|log1p|pow|cbrt|hypot)\b/,
    'a function of Math that is only approximate: count in whole numbers',
  ],
  [/(?<!\b2 )\*\*(?![*/])/, 'a power of something else than 2, which is only approximate: multiply'],
  [/\bIntl\b|\.toLocale\w+|\.localeCompare\b/, 'a locale: it comes with the engine’s data'],
  [/\.normalize\s*\(/, 'Unicode tables: they come with the engine’s data'],
  [/\bDate\s*\.\s*parse\b|\bnew\s+Date\s*\(\s*[^)\s]/, 'Date with text: what it accepts is the engine’s choice'],
];

/** What only tells about a run, and steers nothing in it. */
const REPORTING: ReadonlyMap<string, string> = new Map([['sim/log-bins.ts', 'bins of a report']]);

export function checkExactness(source: Source): string[] {
  if (isTestSupport(source.path) || REPORTING.has(source.path) || !SIMULATED.test(source.path)) return [];
  const lines = stripComments(source.text, { strings: false }).split('\n');
  return lines.flatMap((line, i) =>
    APPROXIMATE.filter(([pattern]) => pattern.test(line)).map(([, rule]) => `${source.path}:${i + 1} uses ${rule}`),
  );
}

/** What waits for something outside: a world runs from start to end in one call, and its time is its own. */
const WAITS: readonly (readonly [RegExp, string])[] = [
  [/\basync\b|\bawait\b|\bPromise\b/, 'a promise: everything in a world is an entry of its queue'],
  [/\bset(?:Timeout|Interval|Immediate)\b|\bqueueMicrotask\b/, 'a timer of the real clock'],
  [/\bperformance\s*\.\s*now\b|\bDate\s*\.\s*now\b|\bnew\s+Date\s*\(\s*\)/, 'the real clock'],
];

/** Reached from a world, and waits for the real clock, with the reason. */
const WAITING: ReadonlyMap<string, string> = new Map([
  ['gateway/tokens.ts', 'only its types: a world verifies its tokens itself'],
  ['engines/log-disk/fragile-disk.ts', 'syncs of the log writer’s tests; a world holds them and completes them itself'],
]);

/** Where a world begins, and all that it is made of. */
export function checkWorldIsSynchronous(sources: readonly Source[], world = 'sim/world.ts'): string[] {
  const inWorld = reachable(sources, [world]);
  return sources
    .filter(({ path }) => inWorld.has(path) && !WAITING.has(path))
    .flatMap(({ path, text }) => {
      const lines = stripComments(text, { strings: false }).split('\n');
      return lines.flatMap((line, i) =>
        WAITS.filter(([pattern]) => pattern.test(line)).map(([, rule]) => `${path}:${i + 1} waits by ${rule}`),
      );
    });
}

/** Probes (core/probe.ts) are off in production: nobody but the simulator and tests can put them on. */
export function checkProbesOff({ path, text }: Source): string[] {
  if (isTestSupport(path) || folder(path, 'sim') || path === 'core/probe.ts') return [];
  const code = stripComments(text, { strings: false });
  const breaches = /\b(?:withProbes|Probes)\b/.test(code) ? [`${path} names what puts probes on: only sim/ may`] : [];
  // What a step decides is a function of the log alone; recovery would decide otherwise.
  const isStage = folder(path, 'pipelines/conversation') || folder(path, 'pipelines/user');
  if (isStage && /\bbuggify\b/.test(code)) breaches.push(`${path} has a site: a stage may only have marks`);
  return breaches;
}

/** Every mark is set, and every site is asked, by product code. */
export function checkProbesUsed(sources: readonly Source[]): string[] {
  const probes = sources.find(({ path }) => path === 'core/probe.ts')?.text ?? '';
  const code = sources
    .filter(({ path }) => path !== 'core/probe.ts' && !isTestSupport(path) && !folder(path, 'sim'))
    .map(({ text }) => stripComments(text, { strings: false }))
    .join('\n');
  return (['Mark', 'Site'] as const).flatMap((kind) => {
    const body = new RegExp(`export const ${kind} = \\{([^}]*)\\}`).exec(probes)?.[1] ?? '';
    const names = [...body.matchAll(/^\s*([A-Z_]+):/gm)].map(([, name]) => `${kind}.${name}`);
    return names.filter((name) => !new RegExp(`\\b${name}\\b`).test(code)).map((name) => `${name} stands nowhere`);
  });
}

export function isPure(path: string): boolean {
  return !isTestSupport(path) && (PURE.test(path) || PURE_CLIENT.test(path));
}

export function checkBannedCalls(source: Source): string[] {
  if (!isPure(source.path)) return [];
  const lines = stripComments(source.text, { strings: false }).split('\n');
  return lines.flatMap((line, i) =>
    BANNED.filter(([pattern]) => pattern.test(line)).map(([, rule]) => `${source.path}:${i + 1} uses ${rule}`),
  );
}

export function checkLength({ path, text }: Source): string[] {
  const lines = text.split('\n').length - 1;
  return lines > LINES_MAX ? [`${path} has ${lines} lines: ${LINES_MAX} is the most`] : [];
}

/** `foo.test.ts` and `foo.more.test.ts` are about `foo.ts`; those in scripts/ are about the repository and its documents. */
export function checkTestNames(sources: readonly Source[]): string[] {
  const paths = new Set(sources.map(({ path }) => path));
  return sources
    .filter(({ path }) => path.endsWith('.test.ts') && !folder(path, 'scripts') && !TESTS_WITHOUT_FILE.has(path))
    .filter(({ path }) => {
      const stem = path.slice(0, -'.test.ts'.length);
      return !paths.has(`${stem}.ts`) && !paths.has(`${stem.replace(/\.[^./]+$/, '')}.ts`);
    })
    .map(({ path }) => `${path} tests no file of its name: rename it, or list it with a reason`);
}

/** Product files that no entry point reaches, and files that not even a test reaches. */
export function checkDeadFiles(sources: readonly Source[]): string[] {
  const paths = sources.map(({ path }) => path);
  const entries = paths.filter((path) => !isTestSupport(path) && ENTRY_POINTS.some((pattern) => pattern.test(path)));
  const product = reachable(sources, entries);
  const tests = reachable(
    sources,
    paths.filter((path) => /\.(test|e2e)\.ts$/.test(path)),
  );
  return paths.flatMap((path) => {
    if (isTestSupport(path) || UNREACHABLE.has(path)) return tests.has(path) ? [] : [`${path}: no test uses it`];
    return product.has(path) ? [] : [`${path}: no entry point reaches it`];
  });
}

/** Exceptions that name no file any more. */
export function checkExceptions(sources: readonly Source[]): string[] {
  const paths = sources.map(({ path }) => path);
  const patterns = TEST_SUPPORT.map(([pattern]) => pattern).filter(
    (pattern) => !paths.some((path) => pattern.test(path)),
  );
  const listed = [
    ...UNREACHABLE.keys(),
    ...TESTS_WITHOUT_FILE.keys(),
    ...REPORTING.keys(),
    ...WAITING.keys(),
    ...NO_IMPORTER.keys(),
  ].filter((path) => !paths.includes(path));
  return [...patterns.map((pattern) => `${pattern.source}`), ...listed].map(
    (name) => `the exception ${name} names no file`,
  );
}
