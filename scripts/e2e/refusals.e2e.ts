/** What `dunlin up` refuses, each with one sentence that says what to do, and without harm to what is there. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { finish, restartServer, runDunlin, startServer, temporaryDirectory } from './harness.js';

const FREE = ['--port', '0', '--admin-port', '0'];

async function refused(args: readonly string[], sentence: RegExp): Promise<void> {
  const { code, text } = await finish(runDunlin(args));
  assert.match(text, sentence);
  assert.ok(code === 1 || code === 2, `exit ${code}: ${text}`);
  assert.doesNotMatch(text, /^\s+at /m, 'no stack');
}

test('bad flags', async () => {
  await refused(['up', '--port', '99999'], /--port.*whole number from 0 to 65535/);
  await refused(['up', '--prot', '1'], /unknown option.*--prot/);
  await refused(['fly'], /unknown command|too many arguments/);
  await refused(['load', '--rate', 'many'], /--rate/);
  await refused(['token', '--user', 'ada', '--device', '128'], /whole number from 1 to 127/);
});

test('a port in use', async () => {
  const blocker = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => blocker.once('listening', resolve));
  const { port } = blocker.address() as { port: number };
  const data = temporaryDirectory('port');
  await refused(['up', '--data', data, '--port', String(port), '--admin-port', '0'], new RegExp(`${port}.*in use`));
  await refused(['up', '--data', data, '--port', '0', '--admin-port', String(port)], new RegExp(`${port}.*in use`));
  blocker.close();
});

test('a data directory that another process serves, and then not any more', async () => {
  const server = await startServer();
  await refused(['up', ...FREE, '--data', server.data], /locked|in use/);
  await server.murder();
  const again = await restartServer(server);
  assert.equal(await again.stop(), 0);
});

test('a data directory of a newer version, of another shape, half-written, or no directory at all', async () => {
  const server = await startServer();
  await server.stop();
  await refused(['up', ...FREE, '--data', server.data, '--partitions', '7'], /partitions/);
  const meta = join(server.data, 'meta.json');
  const good = readFileSync(meta, 'utf8');
  writeFileSync(meta, JSON.stringify({ ...(JSON.parse(good) as object), format: 999 }));
  await refused(['up', ...FREE, '--data', server.data], /999|newer/);
  writeFileSync(meta, good.slice(0, good.length / 2));
  await refused(['up', ...FREE, '--data', server.data], /meta\.json/);
  writeFileSync(meta, good);
  const file = join(temporaryDirectory('file'), 'a-file');
  writeFileSync(file, '');
  await refused(['up', ...FREE, '--data', file], /a-file/);
  const again = await restartServer(server);
  assert.equal(await again.stop(), 0);
});

test('a torn tail is cut with a report, and the server starts', async () => {
  const server = await startServer();
  const load = runDunlin([
    'load',
    '--url',
    server.url,
    '--data',
    server.data,
    '--users',
    '20',
    '--rate',
    '200',
    '--duration',
    '2s',
  ]);
  assert.equal(await load.exit, 0, load.text());
  await server.murder();
  const journal = readdirSync(server.data, { recursive: true, withFileTypes: true })
    .filter(
      (entry) =>
        entry.isFile() &&
        /segment|\.log$|\.seg/.test(entry.name) &&
        /conversation/.test(entry.parentPath ?? entry.path),
    )
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .toSorted()
    .at(-1);
  assert.ok(journal !== undefined, 'there is a segment file');
  const bytes = readFileSync(journal);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  truncateSync(journal, end - 1);
  const again = await restartServer(server);
  assert.match(again.program.text(), /torn|cut/);
  assert.equal(await again.stop(), 0);
});

test('a read-only data directory', {
  skip: process.getuid?.() === 0 ? false : 'needs root to mount',
}, async (context) => {
  const directory = temporaryDirectory('readonly');
  mkdirSync(join(directory, 'data'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,ro', 'tmpfs', join(directory, 'data')]);
  if (mounted.status !== 0) return context.skip('this machine allows no mounts');
  try {
    await refused(['up', ...FREE, '--data', join(directory, 'data')], /read-only|EROFS|cannot be written/);
  } finally {
    spawnSync('umount', [join(directory, 'data')]);
  }
});
