/**
 * A scenario: what runs, what load it is under, what is done to it when, and what must hold. One YAML file; everything unknown or
 * impossible in it is refused with its line.
 */
import { parseDurationMs } from '../benchmarks/load/units.js';
import { parseWorkload, type Workload } from '../benchmarks/load/workload.js';
import { DunlinError } from '../core/errors.js';
import { type YamlEntry, YamlFile, type YamlNode } from '../sim/scenario-yaml.js';
import { durationOf, readStep, type Step } from './steps.js';

export interface ServerShape {
  readonly gateways: number;
  readonly lanes: number;
  readonly partitions: number;
  /** Size of a filesystem of the run's own; 0: the directory for temporary files is used as it is. */
  readonly diskBytes: number;
}

export interface Expectations {
  /** A fault must be over for its users within this, ms. */
  readonly recoveryMs: number;
  /** Highest p99 of the deliveries that no fault touched, ms; Infinity: none is asked for. */
  readonly p99Ms: number;
}

export interface ChaosScenario {
  /** Of the file, without its ending. */
  readonly name: string;
  readonly title: string;
  /** Of the twenty-five in docs/guarantees.md; undefined: one of our own. */
  readonly number: number | undefined;
  readonly story: string;
  /** Where this has happened to others, or which rule it comes from. */
  readonly source: string;
  readonly targets: readonly Target[];
  readonly server: ServerShape;
  /** Laid over the default workload. */
  readonly load: Partial<Workload>;
  readonly steps: readonly Step[];
  readonly expect: Expectations;
}

export const TARGETS = ['embedded'] as const;
export type Target = (typeof TARGETS)[number];

export const SCENARIO_BYTES_MAX = 2 ** 20;
const KEYS = ['title', 'number', 'story', 'source', 'targets', 'server', 'load', 'steps', 'expect'];
const SERVER_KEYS = ['gateways', 'lanes', 'partitions', 'disk'];
const EXPECT_KEYS = ['recovery', 'p99'];
const DEFAULT_RECOVERY_MS = 10_000;
const SERVER_DEFAULTS: ServerShape = { gateways: 1, lanes: 1, partitions: 4, diskBytes: 0 };
const DISK = /^(\d+)m$/;
const DISK_MIB = { min: 128, max: 4_096 };
const AT = /^at (\S+)$/;

/** Reads a scenario; throws a DunlinError that begins with `file:line:`. */
export function parseChaosScenario(text: string, file: string, name: string): ChaosScenario {
  const yaml = new YamlFile(text, file);
  const root = yaml.record(yaml.root, 'a scenario', KEYS);
  const sentence = (key: string): string => {
    const entry = root.get(key);
    const value = entry === undefined ? undefined : yaml.text(entry.value);
    if (value === undefined || value.trim() === '') return yaml.fail(entry?.at ?? yaml.root, `'${key}' is missing`);
    return value.trim();
  };
  const load = readLoad(yaml, root.get('load'), file);
  const steps = readSteps(yaml, root.get('steps'), file, load);
  const server = readServer(yaml, root.get('server'));
  const disk = steps.find(({ deed }) => deed.do === 'fill-disk');
  if (disk !== undefined && server.diskBytes === 0) {
    yaml.fail(root.get('steps')!.at, `'${disk.text}' needs a disk of the run's own: server: { disk: 256m }`);
  }
  return {
    name,
    title: sentence('title'),
    number: readNumber(yaml, root.get('number')),
    story: sentence('story'),
    source: sentence('source'),
    targets: readTargets(yaml, root.get('targets')),
    server,
    load,
    steps,
    expect: readExpect(yaml, root.get('expect')),
  };
}

function readNumber(yaml: YamlFile, entry: YamlEntry | undefined): number | undefined {
  return entry === undefined ? undefined : whole(yaml, entry, 1, 25);
}

function whole(yaml: YamlFile, entry: YamlEntry, low: number, high: number): number {
  const value = Number(yaml.text(entry.value));
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  return yaml.fail(entry.at, `'${entry.key}' is a whole number from ${low} to ${high}`);
}

function readTargets(yaml: YamlFile, entry: YamlEntry | undefined): Target[] {
  if (entry === undefined) return [...TARGETS];
  const nodes = yaml.items(entry.value);
  if (nodes === undefined || nodes.length === 0) yaml.fail(entry.at, `'targets' is a list of ${TARGETS.join(', ')}`);
  return nodes.map((node) => {
    const target = TARGETS.find((known) => known === yaml.text(node));
    return target ?? yaml.fail(node, `'${yaml.text(node) ?? ''}' is no target; known are ${TARGETS.join(', ')}`);
  });
}

function readServer(yaml: YamlFile, entry: YamlEntry | undefined): ServerShape {
  if (entry === undefined) return SERVER_DEFAULTS;
  const map = yaml.record(entry.value, "'server'", SERVER_KEYS, entry.at);
  const count = (key: 'gateways' | 'lanes' | 'partitions'): number => {
    const found = map.get(key);
    return found === undefined ? SERVER_DEFAULTS[key] : whole(yaml, found, 1, 16);
  };
  return {
    gateways: count('gateways'),
    lanes: count('lanes'),
    partitions: count('partitions'),
    diskBytes: readDisk(yaml, map.get('disk')),
  };
}

function readDisk(yaml: YamlFile, entry: YamlEntry | undefined): number {
  if (entry === undefined) return 0;
  const mib = Number(DISK.exec(yaml.text(entry.value) ?? '')?.[1]);
  if (mib >= DISK_MIB.min && mib <= DISK_MIB.max) return mib * 2 ** 20;
  return yaml.fail(entry.at, `'disk' is a size from ${DISK_MIB.min}m to ${DISK_MIB.max}m, e.g. 256m`);
}

/** The workload's own reader reads it; its lines are those within the section. */
function readLoad(yaml: YamlFile, entry: YamlEntry | undefined, file: string): Partial<Workload> {
  if (entry === undefined) return {};
  if (yaml.entries(entry.value) === undefined) yaml.fail(entry.at, "'load' is a map with the keys of a workload");
  return parseWorkload(JSON.stringify(plain(yaml, entry.value)), `${file}, load`);
}

function plain(yaml: YamlFile, node: YamlNode): unknown {
  const entries = yaml.entries(node);
  if (entries === undefined) return yaml.text(node) ?? null;
  return Object.fromEntries(entries.map(({ key, value }) => [key, plain(yaml, value)]));
}

function readSteps(yaml: YamlFile, entry: YamlEntry | undefined, file: string, load: Partial<Workload>): Step[] {
  const nodes = entry === undefined ? undefined : yaml.items(entry.value);
  if (nodes === undefined) return yaml.fail(entry?.at ?? yaml.root, "'steps' is a list such as '- at 5s: kill server'");
  const durationMs = load.durationMs ?? 60_000;
  const steps = nodes.flatMap((node) => {
    const [step, ...more] = yaml.entries(node) ?? [];
    const at = AT.exec(step?.key ?? '')?.[1];
    const atMs = at === undefined ? undefined : parseDurationMs(at);
    const text = step === undefined ? undefined : yaml.text(step.value);
    if (atMs === undefined || text === undefined || more.length > 0) {
      return yaml.fail(node, "a step is 'at TIME: WHAT', e.g. 'at 5s: kill server'");
    }
    const line = yaml.lineOf(step!.at);
    const read = readStep(text.trim(), atMs, `${file}:${line}: `);
    const last = read.at(-1)!;
    if (last.atMs + durationOf(last.deed) > durationMs) {
      yaml.fail(step!.at, `'${text}' is not over when sending ends, after ${durationMs / 1_000} s (load: duration)`);
    }
    return read;
  });
  return steps.toSorted((one, other) => one.atMs - other.atMs);
}

function readExpect(yaml: YamlFile, entry: YamlEntry | undefined): Expectations {
  const map = entry === undefined ? undefined : yaml.record(entry.value, "'expect'", EXPECT_KEYS, entry.at);
  const time = (key: string, without: number): number => {
    const found = map?.get(key);
    if (found === undefined) return without;
    const ms = parseDurationMs(yaml.text(found.value) ?? '');
    return ms ?? yaml.fail(found.at, `'${key}' is a time such as 500ms or 10s`);
  };
  return { recoveryMs: time('recovery', DEFAULT_RECOVERY_MS), p99Ms: time('p99', Number.POSITIVE_INFINITY) };
}

/** Refuses what the target cannot do. */
export function checkTarget(scenario: ChaosScenario, target: Target): void {
  if (scenario.targets.includes(target)) return;
  throw new DunlinError(`${scenario.name} is for ${scenario.targets.join(', ')}, not for ${target}.`);
}
