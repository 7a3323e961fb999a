/**
 * Brings rivals onto this machine, once: what Go, Maven and Debian's packages have, into a directory of the user's cache or, for Debian's
 * packages, into the system. Never in `npm test`. Everything is in a fixed version, and nothing is built of what is not published.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** A build that takes longer hangs. */
const COMMAND_MS_MAX = 10 * 60_000;
const OUTPUT_BYTES_MAX = 16 * 1_024 * 1_024;
const REASON_CHARACTERS_MAX = 300;

/** Where rivals are kept: a directory a rival and version. */
export function cacheDirectory(name: string): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(cache, 'dunlin-peers', name);
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** What a command printed; rejects with one sentence if it fails or is not there. */
export function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...options.env };
    const all = { ...options, env, timeout: COMMAND_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX };
    execFile(command, args, all, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === 'ENOENT') reject(new Error(`there is no '${command}' on this machine`));
      else reject(new Error(`'${command} ${args[0] ?? ''}' failed: ${lastLine(stderr) || error.message}`));
    });
  });
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)!.slice(0, REASON_CHARACTERS_MAX);
}

/**
 * Makes `path` if it is not there, by `make`, which gets a path beside it: a setup that was cut off leaves nothing behind that looks
 * whole. The reason if it cannot be.
 */
export async function once(path: string, make: (to: string) => Promise<void>): Promise<string | undefined> {
  if (fs.existsSync(path)) return undefined;
  const unfinished = `${path}.${process.pid}`;
  try {
    fs.mkdirSync(dirname(path), { recursive: true });
    await make(unfinished);
    fs.renameSync(unfinished, path);
    return undefined;
  } catch (error) {
    fs.rmSync(unfinished, { recursive: true, force: true });
    return error instanceof Error ? error.message : String(error);
  }
}
