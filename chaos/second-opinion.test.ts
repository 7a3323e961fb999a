/** Two checkers that share no code, over the same histories: right ones, and ones with a planted mistake. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkHistory, type HistoryEvent, writeHistoryLine } from '../core/checks/index.js';
import { MUTATIONS } from '../core/checks/mutations.js';
import { randomHistory } from '../core/checks/random-history.js';
import { Prng } from '../core/prng.js';
import { historyFiles, linesOf } from './history-lines.js';
import { secondOpinion, writeParquet } from './second-opinion.js';

const SEEDS = 12;
/** What the second checker says that it does not look at: presence, blocks, expiry, and the last receipts. */
const OUT_OF_SCOPE = new Set([
  "a group's aggregate says that everybody read what somebody did not",
  'no receipt comes to a sender',
  'the last presence is suppressed',
  'one update more than a window may have',
]);

const directory = mkdtempSync(join(tmpdir(), 'dunlin-history-'));
const file = join(directory, 'a.ndjson');
after(() => rmSync(directory, { recursive: true }));

function history(seed: number): HistoryEvent[] {
  return randomHistory(new Prng(seed), { steps: 250, hasGaps: false });
}

async function both(events: readonly HistoryEvent[]): Promise<{ first: boolean; second: boolean | undefined }> {
  writeFileSync(file, events.map((event) => `${writeHistoryLine(event)}\n`).join(''));
  const opinion = await secondOpinion([file]);
  return { first: checkHistory(linesOf(file), { gapsAllowed: false }).isClean, second: opinion?.isClean };
}

test('both find right histories right', async () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    assert.deepEqual(await both(history(seed)), { first: true, second: true }, `seed ${seed}`);
  }
});

for (const mutation of MUTATIONS) {
  if (OUT_OF_SCOPE.has(mutation.name)) continue;
  const broken = findBroken(mutation);
  if (broken === undefined) continue;
  test(`both see: ${mutation.name}`, async () => {
    assert.deepEqual(await both(broken), { first: false, second: false });
  });
}

/** The first history with a place for the mistake; those of blocks and expiry have none here. */
function findBroken(mutation: (typeof MUTATIONS)[number]): HistoryEvent[] | undefined {
  for (let seed = 0; seed < 200; seed++) {
    const broken = mutation.apply(history(seed), new Prng(seed).fork(mutation.name));
    if (broken !== undefined) return broken;
  }
  return undefined;
}

test('lines are read whole, whatever the pieces', () => {
  const text = 'ä'.repeat(700_000);
  writeFileSync(file, `${text}\nb\n\nc`);
  assert.deepEqual([...linesOf(file)], [text, 'b', '', 'c']);
  assert.deepEqual(historyFiles(directory), [file]);
  assert.throws(() => historyFiles(join(directory, 'none')), /there is no such history/);
});

test('Parquet is written', async () => {
  await both(history(1));
  const parquet = join(directory, "it's.parquet");
  await writeParquet([file], parquet);
  assert.ok(statSync(parquet).size > 1_000);
});
