import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Prng } from '../../core/prng.js';
import { nameOf } from '../log.fixture.js';
import { realFiles } from './files.js';
import { openJournal } from './journal.fixture.js';
import { createControl } from './layout.js';
import { JournalReader } from './reader.js';
import { recoverJournal } from './recover.js';

const root = mkdtempSync(join(tmpdir(), 'dunlin-log-kill-'));
after(() => rmSync(root, { recursive: true, force: true }));

/** Runs the process until it has printed so many lines, and kills it; all whole lines that it printed. */
async function killAfter(round: number, count: number): Promise<string[]> {
  const fixture = fileURLToPath(new URL('./kill.fixture.js', import.meta.url));
  const child = spawn(process.execPath, [fixture, root, String(round)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    // The last line may be cut; the number of its parts tells.
    if (/^\d \d \d+ \d+\/\d+$/.test(line)) lines.push(line);
    if (lines.length === count) child.kill('SIGKILL');
  }
  return lines;
}

/** `topic partition offset name` of everything in the log, in a second life of it; each partition's times do not fall. */
function readAll(topic: number): Set<string> {
  const directory = join(root, `topic-${topic}`);
  const start = recoverJournal(realFiles, directory, topic, 2);
  const control = createControl(2);
  const journal = openJournal(realFiles, directory, { start, topic, partitions: 2, control });
  const positions = [0, 1].map((partition) => ({ partition, offset: 0 }));
  const reader = new JournalReader(directory, journal.control, positions);
  const found = new Set<string>();
  const times = [0, 0];
  for (let batch = reader.poll(); batch !== undefined; batch = reader.poll()) {
    const { partition, offset, time } = batch.header;
    assert.ok(time >= times[partition]!);
    times[partition] = time;
    found.add(`${topic} ${partition} ${offset} ${nameOf(batch)}`);
  }
  reader.close();
  journal.close();
  return found;
}

test('killed at any moment, everything that was acknowledged is there, where it was said to be', async (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
  t.diagnostic(`DUNLIN_SEED=${seed}`);
  const random = new Prng(seed);
  const acknowledged: string[] = [];
  for (let round = 0; round < 5; round++) {
    acknowledged.push(...(await killAfter(round, random.between(1, 1_500))));
    const found = new Set([...readAll(0), ...readAll(1)]);
    for (const line of acknowledged) assert.ok(found.has(line), `round ${round}: ${line} is lost`);
  }
  assert.ok(acknowledged.length >= 5);
});
