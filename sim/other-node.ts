/** The other Node that runs must be the same under: the newest line with long-term support, as a package of the npm registry. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DunlinError } from '../core/errors.js';

/** The line that has been under long-term support since October 2026. Pinned here, and nowhere else. */
export const NEWEST_NODE = '26.10.0';

const PLATFORMS: ReadonlySet<string> = new Set(['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64']);

/** The binary; fetched when it is not there yet, into `node_modules/.cache`, where `npm ci` clears it away. */
export function newestNode(): string {
  const platform = `${process.platform}-${process.arch}`;
  if (!PLATFORMS.has(platform)) {
    throw new DunlinError(`there is no package with Node ${NEWEST_NODE} for ${platform}: name a binary by --node PATH`);
  }
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const directory = join(root, 'node_modules', '.cache', `node-${NEWEST_NODE}`);
  const binary = join(directory, 'node_modules', `node-${platform}`, 'bin', 'node');
  if (!existsSync(binary)) fetchNode(directory, `node-${platform}@${NEWEST_NODE}`);
  return binary;
}

function fetchNode(directory: string, name: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{"private":true}\n');
  const flags = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, error, stderr } = spawnSync('npm', ['install', ...flags, '--prefix', directory, name], {
    cwd: directory,
    encoding: 'utf8',
  });
  if (error === undefined && status === 0) return;
  const why = error?.message ?? stderr.trim().split('\n').at(-1) ?? `exit code ${status}`;
  throw new DunlinError(`${name} could not be fetched: ${why}. Name a binary by --node PATH instead.`);
}
