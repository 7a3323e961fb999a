/**
 * Dunlin and what else one could take, in the same run: the same users, the same messages, the same checks, one after the other
 * and round by round. What is compared is the CPU that the servers' processes take, so that the driver, which has the other core,
 * does not count. How each rival is set: docs/peers.md.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Benchmark, type Figure, makeFigure, median, type Table } from './harness/result.js';
import { readTrace } from './load/trace.js';
import { PEERS, TINY_PEERS } from './peers/all.js';
import { BODY_BYTES } from './peers/body.js';
import { dunlin } from './peers/dunlin.js';
import { DRAIN_MS_MAX, type Faults, type OpenLoop } from './peers/fleet.js';
import { KAFKA, KAFKA_LINES, type KafkaRun, measureKafka, prepareKafka } from './peers/kafka.js';
import { freePorts, measureIdle, measureReplay, measureRound, type Round, type Sizes } from './peers/measure.js';
import type { Peer } from './peers/peer.js';
import { planReplay } from './peers/replay.js';

const RATIO_MIN = 10;
const UNIT = 'messages a second a core';
/** Of real chats: the one beside the repository, unless another one is named. */
const TRACE_FILE =
  process.env['DUNLIN_TRACE'] ?? fileURLToPath(new URL('../../../shared/data/chat-trace.csv.gz', import.meta.url));
const REPLAYED = 2_000;
const REPLAY_SECONDS = 4;
const KAFKA_RECORDS = 500_000;

const SIZES: Sizes = {
  users: 400,
  exchanged: 10,
  windowMax: 1_024,
  warmUpSeconds: 1,
  seconds: 2,
  openLoopSeconds: 3,
  burst: 16,
  idleConnections: 3_000,
  settleMs: 1_500,
};

const TINY_SIZES: Sizes = {
  users: 8,
  exchanged: 4,
  windowMax: 4,
  warmUpSeconds: 0.1,
  seconds: 0.2,
  openLoopSeconds: 0.2,
  burst: 4,
  idleConnections: 20,
  settleMs: 50,
};

/** What came of one rival. */
interface Outcome {
  readonly peer: Peer;
  readonly rounds: Round[];
  replay?: OpenLoop;
  idleBytes?: number;
  readonly faults: Faults;
  /** Why it, or a part of it, is missing. */
  readonly reasons: string[];
}

type Progress = (sentence: string) => void;

function ratePerCore({ messages, serverCpuSeconds }: Round): number {
  return messages / serverCpuSeconds;
}

function wallRate({ rounds }: Outcome): number {
  return median(rounds.map(({ messages, seconds }) => messages / seconds));
}

function addFaults(sum: Faults, faults: Faults): void {
  for (const key of Object.keys(sum) as (keyof Faults)[]) sum[key] += faults[key];
}

/** Runs a part of one rival's measurement; if it fails the reason is kept, and the others go on. */
async function attempt(outcome: Outcome, what: string, progress: Progress, run: () => Promise<void>): Promise<void> {
  progress(`${outcome.peer.name}: ${what}`);
  try {
    await run();
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error);
    outcome.reasons.push(`${what}: ${sentence}`);
    progress(`${outcome.peer.name}: ${what} failed: ${sentence}`);
  }
}

async function prepareAll(peers: readonly Peer[], progress: Progress): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const peer of peers) {
    const faults = { lost: 0, doubled: 0, misordered: 0, damaged: 0, unacked: 0 };
    const outcome: Outcome = { peer, rounds: [], faults, reasons: [] };
    outcomes.push(outcome);
    const reason = await peer.prepare(progress);
    if (reason !== undefined) outcome.reasons.push(reason);
  }
  return outcomes;
}

async function replayAll(outcomes: readonly Outcome[], users: number, progress: Progress): Promise<string> {
  if (!existsSync(TRACE_FILE)) return 'left out: no ../shared/data/chat-trace.csv.gz, and DUNLIN_TRACE names no other';
  const plan = planReplay(await readTrace(TRACE_FILE), REPLAYED, users, REPLAY_SECONDS);
  for (const outcome of outcomes.filter(({ peer }) => peer.hasGroups)) {
    await attempt(outcome, 'replay', progress, async () => {
      const replay = await measureReplay(outcome.peer, users, plan);
      outcome.replay = replay;
      addFaults(outcome.faults, replay.faults);
    });
  }
  return `${plan.messages.length} messages to ${plan.groups.length} groups, ${plan.deliveries} deliveries, ${Math.round(plan.speed)} × as fast`;
}

/** The broker's ceiling, and why it is missing. */
interface Ceiling {
  readonly runs: readonly KafkaRun[];
  readonly reason?: string;
}

async function measureCeiling(runs: number, progress: Progress): Promise<Ceiling> {
  try {
    const reason = await prepareKafka(progress);
    if (reason !== undefined) return { runs: [], reason };
    progress(`${KAFKA.name}: ${runs} runs`);
    return { runs: await measureKafka(await freePorts(), KAFKA_RECORDS, runs) };
  } catch (error) {
    return { runs: [], reason: error instanceof Error ? error.message : String(error) };
  }
}

function kafkaRate({ records, serverCpuSeconds }: KafkaRun): number {
  return records / serverCpuSeconds;
}

/** The rival that acknowledges only what is synced and takes the least CPU for it. */
function bestDurable(outcomes: readonly Outcome[]): Outcome | undefined {
  return outcomes
    .filter(({ peer }) => peer !== dunlin && peer.durability === 'synced')
    .toSorted((one, other) => median(other.rounds.map(ratePerCore)) - median(one.rounds.map(ratePerCore)))[0];
}

function headline(own: Outcome, rival: Outcome | undefined): Figure {
  return makeFigure({
    name: 'durable acknowledged 1:1 messages',
    unit: UNIT,
    better: 'higher',
    runs: own.rounds.map(ratePerCore),
    hash: own.rounds[0]!.hash,
    ...(rival === undefined
      ? { note: 'No rival that acknowledges only what is synced ran here.' }
      : {
          against: { name: rival.peer.name, runs: rival.rounds.map(ratePerCore) },
          reach: { of: 'ratio', bound: RATIO_MIN },
        }),
  });
}

/** A figure, if it ran, and a row for it. */
function ceilingFigures({ runs }: Ceiling): Figure[] {
  if (runs.length === 0) return [];
  const { name, setting, durability } = KAFKA;
  const hash = `${runs[0]!.records} records`;
  return [
    makeFigure({
      name: `${name} (${durability})`,
      unit: UNIT,
      better: 'higher',
      runs: runs.map(kafkaRate),
      hash,
      note: setting,
    }),
  ];
}

function ceilingRow({ runs }: Ceiling): (string | number | null)[] {
  const wall = median(runs.map(({ records, seconds }) => records / seconds));
  const empty = PROPERTIES.slice(5).map(() => null);
  const row = [
    KAFKA.name,
    KAFKA.version,
    KAFKA.durability,
    rounded(median(runs.map(kafkaRate))),
    rounded(wall),
    ...empty,
  ];
  row[PROPERTIES.indexOf(LINES)] = KAFKA_LINES;
  return row;
}

function figureOf({ peer, rounds }: Outcome): Figure {
  const { name, setting, durability } = peer;
  return makeFigure({
    name: `${name} (${durability})`,
    unit: UNIT,
    better: 'higher',
    runs: rounds.map(ratePerCore),
    hash: rounds[0]!.hash,
    note: setting,
  });
}

/** A fault as a person reads it. */
const FAULT_WORDS: Readonly<Record<keyof Faults, string>> = {
  lost: `undelivered after ${DRAIN_MS_MAX / 1_000} s`,
  unacked: `unacknowledged after ${DRAIN_MS_MAX / 1_000} s`,
  doubled: 'doubled',
  misordered: 'out of order',
  damaged: 'damaged',
};

function describeFaults(faults: Faults): string {
  const found = (Object.keys(FAULT_WORDS) as (keyof Faults)[]).filter((fault) => faults[fault] > 0);
  return found.map((fault) => `${faults[fault]} ${FAULT_WORDS[fault]}`).join(', ') || 'none';
}

function lineCount({ configuration }: Round): number {
  return configuration.split('\n').filter((line) => line.trim() !== '').length;
}

function rounded(value: number | undefined, digits = 0): number | null {
  return value === undefined || !Number.isFinite(value) ? null : Number(value.toFixed(digits));
}

const LINES = 'lines to the first message';
const PROPERTIES = [
  'rival',
  'version',
  'acknowledged when',
  'messages a second a core',
  'messages a second',
  'driver’s share of a core',
  'p50, half load, ms',
  'p99, half load, ms',
  'bytes an idle connection',
  LINES,
  'real chats, p99, ms',
  'faults seen',
];

function properties(outcomes: readonly Outcome[], ceiling: Ceiling): Table {
  const rows = outcomes.map((outcome) => {
    const { peer, rounds, replay, idleBytes, faults } = outcome;
    const latency = rounds.at(-1)!.latency;
    return [
      peer.name,
      rounds[0]!.version,
      peer.durability,
      rounded(median(rounds.map(ratePerCore))),
      rounded(wallRate(outcome)),
      rounded(median(rounds.map(({ driverCpuSeconds, seconds }) => driverCpuSeconds / seconds)), 2),
      rounded(latency?.p50Ms, 1),
      rounded(latency?.p99Ms, 1),
      rounded(idleBytes),
      lineCount(rounds[0]!),
      rounded(replay?.p99Ms, 1),
      describeFaults(faults),
    ];
  });
  if (ceiling.runs.length > 0) rows.push(ceilingRow(ceiling));
  return { name: 'Rivals, by property', columns: PROPERTIES, rows };
}

function settings(outcomes: readonly Outcome[], { runs }: Ceiling): Table {
  const all = [...outcomes.map(({ peer }) => peer), ...(runs.length > 0 ? [KAFKA] : [])];
  return {
    name: 'How each is set, and what it does not do',
    columns: ['rival', 'setting', 'does not do'],
    rows: all.map(({ name, setting, lacks }) => [name, setting, lacks.join('; ') || '–']),
  };
}

function leftOut(outcomes: readonly Outcome[], ceiling: Ceiling): Table {
  const rows = outcomes.flatMap(({ peer, reasons }) => reasons.map((reason) => [peer.name, reason]));
  if (ceiling.reason !== undefined) rows.push([KAFKA.name, ceiling.reason]);
  return { name: 'Left out', columns: ['rival', 'reason'], rows };
}

export const benchmark: Benchmark = {
  name: 'peers',
  about:
    'Rivals, in the same run: durable acknowledged 1:1 messages a second of a core, latency, memory, configuration.',
  async run({ isTiny, runs, progress }) {
    const sizes = isTiny ? TINY_SIZES : SIZES;
    const all = await prepareAll(isTiny ? TINY_PEERS : PEERS, progress);
    for (let run = 0; run < runs; run++) {
      for (const outcome of all.filter(({ reasons }) => reasons.length === 0)) {
        await attempt(outcome, `round ${run + 1} of ${runs}`, progress, async () => {
          const round = await measureRound(outcome.peer, sizes, run === runs - 1);
          outcome.rounds.push(round);
          addFaults(outcome.faults, round.faults);
        });
      }
    }
    const complete = all.filter(({ rounds }) => rounds.length === runs);
    const own = complete.find(({ peer }) => peer === dunlin);
    if (own === undefined) throw new Error(all.find(({ peer }) => peer === dunlin)?.reasons.join('; '));
    for (const outcome of complete) {
      await attempt(outcome, 'idle connections', progress, async () => {
        outcome.idleBytes = await measureIdle(outcome.peer, sizes);
      });
    }
    const ceiling: Ceiling = isTiny ? { runs: [] } : await measureCeiling(runs, progress);
    const replayed = isTiny ? 'left out' : await replayAll(complete, sizes.users, progress);
    return {
      figures: [headline(own, bestDurable(complete)), ...complete.map(figureOf), ...ceilingFigures(ceiling)],
      tables: [properties(complete, ceiling), settings(complete, ceiling), leftOut(all, ceiling)],
      workload: {
        users: sizes.users,
        body_bytes: BODY_BYTES,
        burst_at_half_load: sizes.burst,
        idle_connections: sizes.idleConnections,
        replay: replayed,
      },
    };
  },
};
