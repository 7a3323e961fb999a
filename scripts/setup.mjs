/**
 * What `npm start` and `npm test` do before anything else: install what package-lock.json names and compile, both only when
 * something changed. Plain JavaScript without dependencies, since it runs on a fresh clone.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { areKernelsCurrent } from './kernel.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Folders of TypeScript that the build and the rules look at. */
const FOLDERS = JSON.parse(readFileSync(join(root, 'scripts', 'folders.json'), 'utf8'));

function fail(sentence) {
  console.error(`dunlin: ${sentence}`);
  process.exit(1);
}

function run(command, args, what) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.error) fail(`${what} could not be started: ${result.error.message}`);
  if (result.status !== 0) fail(`${what} failed (exit ${result.status ?? result.signal}); see above.`);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    fail(`Node.js ${process.versions.node} is too old: 20.19 or newer is needed.`);
  }
}

function stampOf(text) {
  return createHash('sha256').update(text).digest('hex');
}

function isFresh(stampFile, stamp) {
  return existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
}

export function install() {
  checkNode();
  const stampFile = join(root, 'node_modules', '.dunlin-installed');
  const stamp = stampOf(`${process.version} ${process.arch} ${readFileSync(join(root, 'package-lock.json'), 'utf8')}`);
  if (isFresh(stampFile, stamp)) return;
  console.error('dunlin: installing dependencies (once)…');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], 'npm ci');
  writeFileSync(stampFile, stamp);
}

/** Newest change of any source, as text: cheaper than a hash of contents, and enough. */
function sourceStamp() {
  let newest = 0;
  let files = 0;
  const visit = (directory) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.name === 'node_modules' || entry.name === 'dist') continue;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (entry.name.endsWith('.ts')) {
        files++;
        newest = Math.max(newest, statSync(path).mtimeMs);
      }
    }
  };
  for (const folder of [...FOLDERS, 'kernels']) if (existsSync(join(root, folder))) visit(join(root, folder));
  const config = statSync(join(root, 'tsconfig.json')).mtimeMs;
  return `${process.version} ${files} ${Math.max(newest, config)}`;
}

export function build({ force = false } = {}) {
  const stampFile = join(root, 'dist', '.dunlin-built');
  if (!force && isFresh(stampFile, sourceStamp())) return;
  console.error('dunlin: compiling…');
  if (!areKernelsCurrent()) run(process.execPath, [join(root, 'scripts', 'kernel.mjs')], 'the kernels’ compiler');
  const stamp = sourceStamp();
  run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', root], 'the compiler');
  mkdirSync(dirname(stampFile), { recursive: true });
  writeFileSync(stampFile, stamp);
}
