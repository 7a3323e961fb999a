/**
 * Mutants: random correct histories pass, judged whole and in parts; each planted mistake is caught by a guarantee that
 * names it, also when the parts are judged apart.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from '../prng.js';
import {
  describeViolation,
  HistoryChecker,
  type HistoryEvent,
  type HistoryOptions,
  judgeHistory,
  type Verdict,
} from './index.js';
import { MUTATIONS } from './mutations.js';
import { randomHistory } from './random-history.js';

const STEPS = 250;
const PLACES_PER_MUTATION = 8;
const SEEDS_PER_MUTATION = 600;

/** Feeds events to `parts` checkers by device; what no device tells goes to all. */
function verdictOf(events: readonly HistoryEvent[], parts: number, options: HistoryOptions = {}): Verdict {
  const checkers = Array.from({ length: parts }, () => new HistoryChecker(options));
  for (const event of events) {
    if ('device' in event) checkers[event.device % parts]!.feed(event);
    else for (const checker of checkers) checker.feed(event);
  }
  return judgeHistory(checkers, options);
}

function firstOf(verdict: Verdict): string {
  const first = verdict.violations.kept[0];
  return first === undefined ? 'no violation' : describeViolation(first);
}

test('random correct histories pass, whole, and in two or three parts', () => {
  let deliveries = 0;
  for (let seed = 0; seed < 1_000; seed++) {
    const events = randomHistory(new Prng(seed), { steps: STEPS });
    for (const parts of [1, 2 + (seed % 2)]) {
      const verdict = verdictOf(events, parts);
      deliveries += verdict.deliveries;
      assert.ok(verdict.isClean, `seed ${seed}, ${parts} parts: ${firstOf(verdict)}`);
      assert.equal(verdict.missing, 0, `seed ${seed}`);
    }
  }
  assert.ok(deliveries > 100_000, `the histories are worth judging: ${deliveries} deliveries`);
});

for (const mutation of MUTATIONS) {
  test(`caught: ${mutation.name}`, () => {
    let applied = 0;
    for (let seed = 0; applied < PLACES_PER_MUTATION; seed++) {
      assert.ok(seed < SEEDS_PER_MUTATION, `only ${applied} of ${seed} histories have a place for it`);
      const prng = new Prng(seed).fork(mutation.name);
      const hasGaps = mutation.hasGaps ?? true;
      const events = mutation.apply(randomHistory(new Prng(seed), { steps: STEPS, hasGaps }), prng);
      if (events === undefined) continue;
      applied++;
      for (let parts = 1; parts <= 3; parts++) {
        const verdict = verdictOf(events, parts, { gapsAllowed: hasGaps });
        const isNamed = mutation.guarantees.some((guarantee) => verdict.violations.ofGuarantee(guarantee) > 0);
        assert.ok(
          isNamed,
          `seed ${seed}, ${parts} parts: ${mutation.guarantees.join(' or ')} expected; ${firstOf(verdict)}`,
        );
      }
    }
  });
}
