/** A full disk refuses new sends, says so, loses nothing, and takes them again when there is room. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { loadFlags, readResult, runDunlin, startServer, temporaryDirectory } from './harness.js';

const MIB = 2 ** 20;

function fill(directory: string, leaveBytes: number): string {
  const { bavail, bsize } = statfsSync(directory);
  const filler = join(directory, 'filler');
  try {
    writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  } catch (error) {
    // The server writes too: between them they filled the disk, which is what was wanted.
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  }
  return filler;
}

async function ready(admin: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`${admin}/ready`);
  return { status: response.status, text: await response.text() };
}

for (const { name, leaveBytes } of [
  { name: 'below the reserve', leaveBytes: 30 * MIB },
  { name: 'down to the last byte', leaveBytes: 0 },
]) {
  test(`the disk is full ${name}, under load`, async (context) => {
    const directory = temporaryDirectory('disk');
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', directory]);
    if (mounted.status !== 0) return context.skip('this machine allows no mounts');
    try {
      const server = await startServer({
        data: join(directory, 'data'),
        args: ['--disk-reserve', '64m', '--retain', '0'],
      });
      const { flags, file } = loadFlags({
        url: server.url,
        data: server.data,
        users: 100,
        rate: 500,
        seconds: 10,
        drainSeconds: 40,
      });
      const load = runDunlin(['load', ...flags]);
      await load.line(/sending/);
      const filler = fill(directory, leaveBytes);
      let seen = await ready(server.admin);
      for (let tries = 0; seen.status === 200 && tries < 50; tries++) {
        await pause(100);
        seen = await ready(server.admin);
      }
      assert.match(seen.text, /the disk is nearly full/);
      assert.equal(seen.status, 503);
      await pause(3_000);
      rmSync(filler);
      assert.equal(await load.exit, 0, load.text());
      const result = readResult(file);
      assert.deepEqual([result.lost, result.duplicated, result.out_of_order, result.gaps], [0, 0, 0, 0]);
      assert.ok((result.rejected['DISK_FULL'] ?? 0) > 0, JSON.stringify(result.rejected));
      assert.equal((await ready(server.admin)).status, 200);
      assert.equal(await server.stop(), 0, server.program.text());
    } finally {
      spawnSync('umount', ['-l', directory]);
    }
  });
}
