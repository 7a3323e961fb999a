/** A stranger's first minutes: clone, `npm start`, and again. Prints how long each took; the times are no test. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Program, root, temporaryDirectory } from './harness.js';

test('npm start on a fresh clone installs, builds and serves; a later start only serves', async (context) => {
  const clone = join(temporaryDirectory('fresh'), 'dunlin');
  assert.equal(spawnSync('git', ['clone', '--quiet', '--depth=1', `file://${root}`, clone]).status, 0);
  for (const which of ['first', 'later']) {
    const began = performance.now();
    const start = new Program('npm', ['start', '--', '--port', '0', '--admin-port', '0'], { cwd: clone });
    await start.line(/dunlin is ready/);
    context.diagnostic(`${which} start: ${((performance.now() - began) / 1000).toFixed(1)} s`);
    await start.line(/clients +ws:\/\/127\.0\.0\.1:\d+\/socket/);
    await start.line(/npx dunlin load/);
    await start.line(/npx dunlin chat/);
    // npm does not hand a signal on to what it started: the server itself is asked, by the id in its lock.
    process.kill(Number(readFileSync(join(clone, '.dunlin', 'lock'), 'utf8').split(' ')[0]), 'SIGTERM');
    await start.exit;
  }
});
