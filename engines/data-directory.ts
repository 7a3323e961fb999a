/**
 * The data directory: who uses it, what shape it has, and how often it was opened.
 *
 * ```text
 * meta.json      {"format": 1, "partitions": 4}: fixed when the directory is made
 * boot           how often it was opened, in decimal: numbers incarnations
 * lock           `pid start nonce` of the user; a lock of a process that is gone is taken over
 * log/ store/    the engines' own
 * ```
 */
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { join, resolve } from 'node:path';
import { DunlinError } from '../core/errors.js';
import { PARTITIONS_DEFAULT, PARTITIONS_MAX } from '../core/limits.js';

const DATA_FORMAT = 1;

export interface DataDirectory {
  readonly path: string;
  readonly partitions: number;
  /** 1 at the first start. */
  readonly boot: number;
  /** Gives the lock back. */
  close(): void;
}

function explain(path: string, error: unknown): DunlinError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EROFS')
    return new DunlinError(`the data directory ${path} is on a read-only file system: it cannot be written.`);
  if (code === 'EACCES' || code === 'EPERM')
    return new DunlinError(`the data directory ${path} cannot be written: permission denied.`);
  if (code === 'ENOTDIR' || code === 'EEXIST') return new DunlinError(`${path} is a file, not a data directory.`);
  if (code === 'ENOSPC') return new DunlinError(`the disk of the data directory ${path} is full.`);
  return new DunlinError(`the data directory ${path} cannot be used: ${message}`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Start time of a process in clock ticks since boot (field 22 of its stat), so that a reused id is not taken for its owner. Empty
 * for a process that is gone, or that is dead and only waits to be reaped (state Z): in containers that can be for ever.
 */
function startOf(pid: number): string {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? '' : (fields[19] ?? '');
  } catch {
    return '';
  }
}

/** True if the process that wrote a lock (`pid start nonce`) still runs. */
function ownerLives(content: string): boolean {
  const [pid, start] = content.trim().split(' ');
  const owner = Number(pid);
  return owner > 0 && isAlive(owner) && (start === undefined || startOf(owner) === start);
}

function readLock(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Puts `mine`, a complete file, in the place of `file` if there is none; as one step. */
function link(mine: string, file: string): boolean {
  try {
    fs.linkSync(mine, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

const LOCK_ATTEMPTS_MAX = 100;

/**
 * Makes `file` ours, whose content is in the file `mine`. The lock of a dead process is replaced only by who holds the lock on
 * doing so, a file named after the dead lock's content, and only if that content is still there: of two that find the same
 * dead lock, one wins. Who dies in between leaves a lock that is taken over in the same way.
 */
function acquire(path: string, file: string, mine: string): void {
  for (let attempt = 0; attempt < LOCK_ATTEMPTS_MAX; attempt++) {
    if (link(mine, file)) return;
    const found = readLock(file);
    if (found === undefined) continue;
    if (ownerLives(found)) {
      throw new DunlinError(
        `the data directory ${path} is locked by process ${found.trim().split(' ')[0]}: stop that one, or use another with --data.`,
      );
    }
    const claim = join(
      path,
      `lock.after-${createHash('sha256').update(`${file} ${found}`).digest('hex').slice(0, 32)}`,
    );
    acquire(path, claim, mine);
    try {
      if (readLock(file) !== found) continue;
      // A second name of the same file, since renaming takes one away.
      const second = `${mine}.second`;
      fs.rmSync(second, { force: true });
      fs.linkSync(mine, second);
      fs.renameSync(second, file);
      return;
    } finally {
      fs.rmSync(claim, { force: true });
    }
  }
  throw new DunlinError(`the data directory ${path} cannot be locked: others lock and leave it all the time.`);
}

interface Lock {
  release(): void;
}

function lock(path: string): Lock {
  const file = join(path, 'lock');
  const nonce = randomBytes(8).toString('hex');
  const content = `${process.pid} ${startOf(process.pid)} ${nonce}\n`;
  const mine = join(path, `lock.${nonce}`);
  fs.writeFileSync(mine, content, { flag: 'wx' });
  try {
    acquire(path, file, mine);
  } finally {
    fs.rmSync(mine, { force: true });
  }
  return {
    release: () => {
      if (readLock(file) === content) fs.rmSync(file, { force: true });
    },
  };
}

/** Replaces a file so that a crash leaves the old or the new content. */
function replaceFile(file: string, content: string, mode = 0o644): void {
  const temporary = `${file}.new`;
  const fd = fs.openSync(temporary, 'w', mode);
  try {
    fs.writeSync(fd, content);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, file);
  const directory = fs.openSync(join(file, '..'), 'r');
  try {
    fs.fsyncSync(directory);
  } finally {
    fs.closeSync(directory);
  }
}

function readMeta(path: string): { partitions: number } | undefined {
  const file = join(path, 'meta.json');
  if (!fs.existsSync(file)) return undefined;
  let meta: unknown;
  try {
    meta = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch {
    throw new DunlinError(
      `${file} is damaged: it is no JSON. Bring it back from a copy, e.g. {"format":${DATA_FORMAT},"partitions":${PARTITIONS_DEFAULT}}.`,
    );
  }
  const { format, partitions } = (meta ?? {}) as { format?: unknown; partitions?: unknown };
  if (format !== DATA_FORMAT) {
    throw new DunlinError(
      `${file} says format ${String(format)}, from a newer version; this one knows format ${DATA_FORMAT}.`,
    );
  }
  if (
    typeof partitions !== 'number' ||
    !Number.isInteger(partitions) ||
    partitions < 1 ||
    partitions > PARTITIONS_MAX
  ) {
    throw new DunlinError(`${file} says ${String(partitions)} partitions: expected 1 to ${PARTITIONS_MAX}.`);
  }
  return { partitions };
}

function nextBoot(path: string): number {
  const file = join(path, 'boot');
  const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim() : '0';
  const before = Number(text);
  // An empty file is not zero: boots would be numbered twice.
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(before))
    throw new DunlinError(`${file} is damaged: it holds no number.`);
  replaceFile(file, `${before + 1}\n`);
  return before + 1;
}

/** Opens the directory, makes it if it is not there. Throws a DunlinError with one sentence if it cannot be used. */
export function openDataDirectory(directory: string, wanted: { readonly partitions?: number } = {}): DataDirectory {
  const path = resolve(directory);
  let held: Lock;
  try {
    fs.mkdirSync(path, { recursive: true });
    held = lock(path);
  } catch (error) {
    throw error instanceof DunlinError ? error : explain(path, error);
  }
  try {
    let meta = readMeta(path);
    if (meta !== undefined && wanted.partitions !== undefined && wanted.partitions !== meta.partitions) {
      throw new DunlinError(
        `the data directory ${path} has ${meta.partitions} partitions; --partitions ${wanted.partitions} works for a new directory only.`,
      );
    }
    if (meta === undefined) {
      meta = { partitions: wanted.partitions ?? PARTITIONS_DEFAULT };
      replaceFile(join(path, 'meta.json'), `${JSON.stringify({ format: DATA_FORMAT, ...meta })}\n`);
    }
    const boot = nextBoot(path);
    return { path, partitions: meta.partitions, boot, close: held.release };
  } catch (error) {
    held.release();
    throw error instanceof DunlinError ? error : explain(path, error);
  }
}
