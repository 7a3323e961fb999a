/** The package as a stranger gets it: packed, unpacked into an empty project, imported in plain Node, type-checked. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const repository = join(dirname(fileURLToPath(import.meta.url)), '../..');
let project = '';

before(async () => {
  project = await mkdtemp(join(tmpdir(), 'dunlin-package-'));
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project], {
    cwd: join(repository, 'client'),
  });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  const target = join(project, 'node_modules/@dunlin/client');
  await mkdir(target, { recursive: true });
  await run('tar', ['-xzf', join(project, filename), '--strip-components=1', '-C', target]);
  // What npm would install beside it.
  await symlink(join(repository, 'node_modules/ws'), join(project, 'node_modules/ws'));
  await mkdir(join(project, 'node_modules/@types'));
  await symlink(join(repository, 'node_modules/@types/node'), join(project, 'node_modules/@types/node'));
  await writeFile(join(project, 'package.json'), '{ "type": "module" }');
});

after(async () => {
  await rm(project, { recursive: true });
});

test('plain Node imports every entry of the packed package', async () => {
  await writeFile(
    join(project, 'use.js'),
    `import { DunlinClient, ErrorCodes } from '@dunlin/client';
     import { DunlinClient as Browser } from '@dunlin/client/browser';
     import { ClientCore } from '@dunlin/client/core';
     console.log([DunlinClient, Browser, ClientCore].map((one) => typeof one).join(), ErrorCodes.BUSY.canRetry);`,
  );
  const { stdout } = await run(process.execPath, ['use.js'], { cwd: project });
  assert.equal(stdout.trim(), 'function,function,function true');
});

test('a bundler for browsers gets the browser client, which imports nothing of Node', async () => {
  const code = "console.log(import.meta.resolve('@dunlin/client'))";
  const { stdout } = await run(process.execPath, ['-C', 'browser', '--input-type=module', '-e', code], {
    cwd: project,
  });
  assert.match(stdout, /client\/browser\.js/);
  const target = join(project, 'node_modules/@dunlin/client');
  const seen = new Set<string>();
  const look = async (path: string): Promise<void> => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const [, from] of (await readFile(path, 'utf8')).matchAll(/from '([^']+)'/g)) {
      assert.ok(from!.startsWith('.'), `${path} imports ${from}`);
      await look(join(dirname(path), from!));
    }
  };
  await look(join(target, 'dist/client/browser.js'));
  assert.ok(seen.size > 5);
});

test('a strict consumer type-checks against its types', async () => {
  await writeFile(
    join(project, 'use.ts'),
    `import { DunlinClient, type ReceivedMessage, type Sent } from '@dunlin/client';
     const client = new DunlinClient({ url: 'ws://localhost/socket', token: async () => 'x', storage: 'file' });
     client.on('message', (message: ReceivedMessage) => client.read(message.conversation, message.seq));
     export const sent: Promise<Sent> = client.send({ a: 1, b: 2 }, 'hello', { ttlSeconds: 60 });
     // @ts-expect-error no such event
     client.on('nonsense', () => undefined);`,
  );
  const flags = ['--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2023', '--types', 'node', 'use.ts'];
  await run(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), ...flags], { cwd: project });
});
