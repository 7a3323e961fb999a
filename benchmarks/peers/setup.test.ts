import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { once, run } from './setup.js';

test('what is there is not made again, and what failed leaves nothing behind', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'dunlin-setup-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'a', 'b');
  const broken = async (to: string): Promise<void> => {
    writeFileSync(to, 'half');
    throw new Error('no space');
  };
  assert.equal(await once(path, broken), 'no space');
  assert.ok(!existsSync(path));
  assert.deepEqual(readdirSync(join(directory, 'a')), []);
  assert.equal(await once(path, async (to) => writeFileSync(to, 'whole')), undefined);
  assert.equal(await once(path, broken), undefined);
});

test('a command that is not there, or fails, is told in one sentence', async () => {
  await assert.rejects(
    run('dunlin-no-such-command', []),
    /^Error: there is no 'dunlin-no-such-command' on this machine$/,
  );
  const script = 'console.error("first\\nlast line"); process.exit(3)';
  await assert.rejects(run(process.execPath, ['-e', script]), /failed: last line$/);
  assert.equal(await run(process.execPath, ['-e', 'console.log(process.env.SOME)'], { env: { SOME: 'x' } }), 'x\n');
});
