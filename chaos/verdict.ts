/**
 * What a run comes to: each guarantee, each fault with the time that it took until nobody felt it any more, and whether the run
 * has tested anything. Pure.
 */
import type { LoadResult, Series } from '../benchmarks/load/result.js';
import type { Silence } from './proxy.js';
import type { ChaosScenario } from './scenario.js';
import type { SecondOpinion } from './second-opinion.js';

/** One fault as it came about, ms since sending began. */
export interface FaultSeen {
  readonly text: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** What was seen of it; null: nothing. */
  readonly proof: string | null;
  /** What went wrong while it was made. */
  readonly trouble: string | null;
}

export interface FaultJudged extends FaultSeen {
  /** From its end until all are connected and nothing is behind; null: another fault came first, or never. Seconds are its grain. */
  readonly recovery_ms: number | null;
  /** Longest time in which nothing came to anybody, from its beginning until it was over. */
  readonly longest_silence_ms: number;
  readonly is_last: boolean;
}

export interface Held {
  readonly guarantee: string;
  readonly violations: number;
}

export interface ChaosResult {
  readonly name: string;
  readonly title: string;
  readonly target: 'embedded';
  readonly seed: number;
  /** All held, recovered in time, and really tested. */
  readonly ok: boolean;
  /** False: a fault did not happen, or the load did not run. */
  readonly tested: boolean;
  /** One line. */
  readonly verdict: string;
  readonly guarantees: readonly Held[];
  readonly faults: readonly FaultJudged[];
  readonly unmet: readonly string[];
  readonly untested: readonly string[];
  readonly longest_silence_ms: number;
  readonly silences: readonly Silence[];
  /** What the checker in SQL finds in the run's history; null: DuckDB is not installed, or no history was kept. */
  readonly second_opinion: SecondOpinion | null;
  readonly server: ServerSeen;
  readonly load: LoadResult;
  readonly started: string;
}

export interface ServerSeen {
  readonly starts: number;
  readonly deaths: readonly string[];
  /** How it ended when the run was over. */
  readonly ending: string;
  /** What it said last. */
  readonly lines: readonly string[];
}

export interface RunSeen {
  readonly scenario: ChaosScenario;
  readonly seed: number;
  readonly load: LoadResult;
  readonly faults: readonly FaultSeen[];
  readonly silences: readonly Silence[];
  readonly secondOpinion: SecondOpinion | null;
  readonly server: ServerSeen;
  readonly started: string;
}

/** What the load's checkers look at: docs/guarantees.md. */
const GUARANTEES = ['G1', 'G2', 'G3', 'G4', 'G5', 'G6', 'G7', 'G8', 'G9'];
/** A load that sent less has shown nothing. */
const SENT_MIN_SHARE = 0.5;
/** Behind is who has more than this many seconds' deliveries to come, or this many times what was normal. */
const BEHIND_SECONDS = 0.5;
const BEHIND_TIMES = 3;

export function judgeRun(seen: RunSeen): ChaosResult {
  const { scenario, seed, load, faults, silences, secondOpinion, server, started } = seen;
  const ordered = faults.toSorted((one, other) => one.fromMs - other.fromMs);
  const judged = ordered.map((fault, n) => judgeFault(fault, ordered.slice(n + 1), load.series, silences));
  const guarantees = GUARANTEES.map((guarantee) => ({ guarantee, violations: load.violations[guarantee] ?? 0 }));
  const unmet = whatIsUnmet(seen, judged);
  const untested = whatIsUntested(scenario, load, judged);
  const isHeld = load.ok && guarantees.every(({ violations }) => violations === 0);
  const ok = isHeld && unmet.length === 0 && untested.length === 0;
  return {
    name: scenario.name,
    title: scenario.title,
    target: 'embedded',
    seed,
    ok,
    tested: untested.length === 0,
    verdict: isHeld ? verdictOf(load, judged, unmet, untested) : load.verdict,
    guarantees,
    faults: judged,
    unmet,
    untested,
    longest_silence_ms: longestSilence(silences, 0, Number.POSITIVE_INFINITY),
    silences,
    second_opinion: secondOpinion,
    server,
    load,
    started,
  };
}

function verdictOf(
  load: LoadResult,
  faults: readonly FaultJudged[],
  unmet: readonly string[],
  untested: readonly string[],
): string {
  if (untested.length > 0) return `NOTHING WAS TESTED: ${untested[0]}`;
  if (unmet.length > 0) return `NOT AS EXPECTED: ${unmet[0]}`;
  const count = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
  return `every guarantee held: ${count}, each seen to happen; ${load.verdict}`;
}

function judgeFault(
  fault: FaultSeen,
  later: readonly FaultSeen[],
  series: Series,
  silences: readonly Silence[],
): FaultJudged {
  const nextMs = Math.min(...later.map(({ fromMs }) => fromMs), Number.POSITIVE_INFINITY);
  const recoveredMs = recoveredAt(series, fault.toMs);
  const isBefore = recoveredMs !== null && recoveredMs <= nextMs;
  return {
    ...fault,
    recovery_ms: isBefore ? Math.max(0, Math.round(recoveredMs - fault.toMs)) : null,
    longest_silence_ms: longestSilence(silences, fault.fromMs, Math.min(nextMs, recoveredMs ?? nextMs)),
    is_last: nextMs === Number.POSITIVE_INFINITY,
  };
}

/** End of the first second, after `fromMs`, in which all were connected and nobody was behind. */
function recoveredAt(series: Series, fromMs: number): number | null {
  const connected = Math.max(...series.connections);
  const rates = series.delivered_per_s.toSorted((one, other) => one - other);
  const normal = series.backlog.toSorted((one, other) => one - other)[series.backlog.length >> 2] ?? 0;
  const behind = Math.max(normal * BEHIND_TIMES, (rates[rates.length >> 1] ?? 0) * BEHIND_SECONDS);
  for (const [n, second] of series.seconds.entries()) {
    if (second * 1_000 < fromMs) continue;
    if (series.connections[n]! >= connected && series.backlog[n]! <= behind) return second * 1_000;
  }
  return null;
}

function longestSilence(silences: readonly Silence[], fromMs: number, toMs: number): number {
  const lengths = silences
    .filter((silence) => silence.toMs > fromMs && silence.fromMs < toMs)
    .map((silence) => silence.toMs - silence.fromMs);
  return Math.round(Math.max(0, ...lengths));
}

function whatIsUnmet(
  { scenario: { expect }, load, secondOpinion, server }: RunSeen,
  faults: readonly FaultJudged[],
): string[] {
  const unmet: string[] = [];
  if (secondOpinion !== null && secondOpinion.isClean !== load.ok) {
    const found = Object.keys(secondOpinion.violations).join(', ');
    unmet.push(`the two checkers do not agree: the one in SQL finds ${found === '' ? 'nothing' : found}`);
  }
  for (const fault of faults) {
    const late = fault.recovery_ms === null ? fault.is_last : fault.recovery_ms > expect.recoveryMs;
    if (!late) continue;
    const took = fault.recovery_ms === null ? 'never' : `only after ${(fault.recovery_ms / 1_000).toFixed(1)} s`;
    unmet.push(
      `'${fault.text}' at ${(fault.fromMs / 1_000).toFixed(1)} s: all was well again ${took}, not within ${expect.recoveryMs / 1_000} s`,
    );
  }
  const p99 = load.latency_steady_ms?.p99 ?? 0;
  if (p99 > expect.p99Ms) unmet.push(`p99 without outages was ${Math.round(p99)} ms, not within ${expect.p99Ms} ms`);
  if (server.ending !== 'exit code 0') unmet.push(`at the end the server did not stop cleanly: ${server.ending}`);
  return unmet;
}

function whatIsUntested({ steps }: ChaosScenario, load: LoadResult, faults: readonly FaultJudged[]): string[] {
  const untested: string[] = [];
  if (faults.length < steps.length) untested.push(`only ${faults.length} of ${steps.length} steps came about`);
  for (const { text, proof, trouble } of faults) {
    if (trouble !== null) untested.push(`'${text}' could not be made: ${trouble}`);
    else if (proof === null) untested.push(`'${text}' was not seen to happen`);
  }
  const wanted = load.workload.ratePerSecond * (load.workload.durationMs / 1_000) * SENT_MIN_SHARE;
  if (load.sent < wanted)
    untested.push(`only ${load.sent} messages were sent, of ${Math.round(wanted / SENT_MIN_SHARE)}`);
  if (load.delivered === 0) untested.push('nothing was delivered');
  return untested;
}
