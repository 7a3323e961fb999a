/**
 * The end-to-end suites: real processes, one suite after the other, since they share two cores. `node scripts/e2e.mjs
 * [TAP file] [PATTERN…]`: those whose names have all patterns, and none that is written as `!PATTERN`.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build, install, root } from './setup.mjs';

install();
build();
const [tap, ...patterns] = process.argv.slice(2);
const isMeant = (file, pattern) =>
  pattern.startsWith('!') ? !file.includes(pattern.slice(1)) : file.includes(pattern);
const directory = join(root, 'dist', 'scripts', 'e2e');
const files = readdirSync(directory)
  .filter((file) => file.endsWith('.e2e.js') && patterns.every((pattern) => isMeant(file, pattern)))
  .toSorted()
  .map((file) => join(directory, file));
const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
if (tap !== undefined && tap !== '-') reporters.push('--test-reporter=tap', `--test-reporter-destination=${tap}`);
const args = ['--enable-source-maps', '--test', '--test-concurrency=1', ...reporters, ...files];
const result = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
process.exit(result.status ?? 1);
