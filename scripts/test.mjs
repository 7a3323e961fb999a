/**
 * `npm test`: install, compile, check format and lint, run every test. `npm test -- PATTERN…` runs only the test files whose
 * path contains a pattern.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { build, install, root } from './setup.mjs';

function testFiles(directory) {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .toSorted();
}

function run(args) {
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

install();
build({ force: true });
const patterns = process.argv.slice(2);
const files = testFiles(join(root, 'dist')).filter((file) => patterns.every((pattern) => file.includes(pattern)));
if (files.length === 0) {
  console.error(`no test file matches ${patterns.join(' ')}`);
  process.exit(1);
}
if (patterns.length === 0) {
  run([join(root, 'node_modules', '@biomejs', 'biome', 'bin', 'biome'), 'ci', '--log-level=error', '.']);
  run([join(root, 'node_modules', 'oxlint', 'bin', 'oxlint'), '--deny-warnings']);
}
const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
const tap = process.env['DUNLIN_TAP'];
if (tap !== undefined) reporters.push('--test-reporter=tap', `--test-reporter-destination=${tap}`);
run(['--enable-source-maps', '--test', ...reporters, ...files]);
