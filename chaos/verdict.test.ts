import assert from 'node:assert/strict';
import { test } from 'node:test';
import { emptySeries, type LoadResult } from '../benchmarks/load/result.js';
import { parseChaosScenario } from './scenario.js';
import { type FaultSeen, judgeRun, type RunSeen } from './verdict.js';

const scenario = parseChaosScenario(
  'title: t\nstory: s\nsource: x\nsteps:\n  - at 3s: kill server\nexpect: { recovery: 4s, p99: 200ms }\n',
  'f.yaml',
  'f',
);

/** Ten seconds at 100 deliveries a second; from second 4 to `backAt` all are away and the backlog grows. */
function load(backAt: number, changes: Partial<LoadResult> = {}): LoadResult {
  const series = emptySeries();
  for (let second = 1; second <= 10; second++) {
    const isAway = second >= 4 && second < backAt;
    series.seconds.push(second);
    series.delivered_per_s.push(isAway ? 0 : 100);
    series.backlog.push(isAway ? 400 : 3);
    series.connections.push(isAway ? 0 : 20);
  }
  return {
    ok: true,
    verdict: 'fine',
    sent: 1_000,
    delivered: 2_000,
    violations: {},
    latency_steady_ms: { p99: 50 },
    workload: { ratePerSecond: 100, durationMs: 10_000 },
    series,
    ...changes,
  } as unknown as LoadResult;
}

const KILL: FaultSeen = { text: 'kill server', fromMs: 3_000, toMs: 3_500, proof: 'gone', trouble: null };

function judge(changes: Partial<RunSeen> = {}): ReturnType<typeof judgeRun> {
  return judgeRun({
    scenario,
    seed: 1,
    load: load(6),
    faults: [KILL],
    silences: [{ fromMs: 3_100, toMs: 5_100 }],
    secondOpinion: { violations: {}, isClean: true },
    server: { starts: 2, deaths: [], ending: 'exit code 0', lines: [] },
    started: '',
    ...changes,
  });
}

test('a fault is over when all are connected and nobody is behind', () => {
  const result = judge();
  assert.equal(result.ok, true, result.verdict);
  assert.deepEqual(
    result.faults.map(({ recovery_ms, longest_silence_ms }) => [recovery_ms, longest_silence_ms]),
    [[2_500, 2_000]],
  );
  assert.match(result.verdict, /every guarantee held: 1 fault/);
});

test('too slow a recovery, or none, is not as expected', () => {
  assert.match(judge({ load: load(9) }).verdict, /NOT AS EXPECTED: 'kill server' at 3.0 s: .* only after 5.5 s/);
  const never = judge({ load: load(99) });
  assert.deepEqual([never.ok, never.tested], [false, true]);
  assert.match(never.verdict, /never/);
});

test('who is overtaken by the next fault is not judged by its recovery; the last one is', () => {
  const later = { ...KILL, fromMs: 4_500, toMs: 5_000 };
  const { faults } = judge({ faults: [later, KILL] });
  assert.deepEqual(
    faults.map(({ recovery_ms, is_last }) => [recovery_ms, is_last]),
    [
      [null, false],
      [1_000, true],
    ],
  );
});

for (const [what, changes, expected] of [
  ['a fault that was not seen', { faults: [{ ...KILL, proof: null }] }, /'kill server' was not seen to happen/],
  ['a fault that failed', { faults: [{ ...KILL, proof: null, trouble: 'no cc' }] }, /could not be made: no cc/],
  ['a step that never came', { faults: [] }, /only 0 of 1 steps/],
  ['a load that hardly ran', { load: load(6, { sent: 400 }) }, /only 400 messages were sent, of 1000/],
] as const) {
  test(`nothing was tested: ${what}`, () => {
    const result = judge(changes);
    assert.deepEqual([result.ok, result.tested], [false, false]);
    assert.match(result.verdict, expected);
  });
}

test('violations, a slow p99, a bad end and a second opinion that differs are no success', () => {
  const violated = judge({ load: load(6, { ok: false, verdict: 'VIOLATION G4', violations: { G4: 2 } }) });
  assert.deepEqual([violated.ok, violated.tested, violated.verdict], [false, true, 'VIOLATION G4']);
  assert.equal(violated.guarantees.find(({ guarantee }) => guarantee === 'G4')?.violations, 2);
  const slow = { latency_steady_ms: { p99: 300 } } as unknown as Partial<LoadResult>;
  assert.match(judge({ load: load(6, slow) }).verdict, /p99 without outages was 300 ms/);
  const ended = { starts: 1, deaths: [], ending: 'SIGKILL', lines: [] };
  assert.match(judge({ server: ended }).verdict, /did not stop cleanly: SIGKILL/);
  const other = { violations: { G1: 1 }, isClean: false };
  assert.match(judge({ secondOpinion: other }).verdict, /do not agree: the one in SQL finds G1/);
});
