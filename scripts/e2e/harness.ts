/** What the end-to-end suites share: a real server process, real client processes, and their output line by line. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';

/** A suite that fails in the middle leaves nothing behind that keeps it from ending. */
const children = new Set<ChildProcess>();
const directories: string[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const dunlin = join(root, 'cli', 'bin', 'dunlin.mjs');

/** A child process whose lines can be waited for. Lines seen are kept, so waiting never comes too late. */
export class Program {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly exit: Promise<number | null>;
  readonly #waiters = new Set<() => void>();
  #ended = false;

  constructor(command: string, args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
    this.child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    children.add(this.child);
    this.child.once('close', () => children.delete(this.child));
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line);
        for (const wake of this.#waiters) wake();
      });
    }
    this.exit = once(this.child, 'close').then(([code]) => {
      this.#ended = true;
      for (const wake of this.#waiters) wake();
      return code as number | null;
    });
  }

  /** The first line, from `from` on, that matches; rejects with everything printed if the program ends without it. */
  async line(pattern: RegExp, from = 0): Promise<string> {
    let next = from;
    for (;;) {
      for (; next < this.lines.length; next++) if (pattern.test(this.lines[next]!)) return this.lines[next]!;
      if (this.#ended) throw new Error(`the program ended without a line like ${pattern}:\n${this.text()}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.#waiters.delete(wake);
          resolve();
        };
        this.#waiters.add(wake);
      });
    }
  }

  write(text: string): void {
    this.child.stdin!.write(text);
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  text(): string {
    return this.lines.join('\n');
  }
}

export function runDunlin(args: readonly string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Program {
  return new Program(process.execPath, [dunlin, ...args], options);
}

export function temporaryDirectory(name: string): string {
  const directory = mkdtempSync(join(tmpdir(), `dunlin-${name}-`));
  directories.push(directory);
  return directory;
}

/** A copy of some parts of the compiled program, to be changed: what it needs of node_modules is there. */
export function copyOfProgram(name: string, parts: readonly string[]): string {
  const copy = temporaryDirectory(name);
  for (const part of parts) {
    cpSync(join(root, 'dist', part), join(copy, part), {
      recursive: true,
      filter: (path) => !/\.(test|fixture|contract)\.js|\.map$|\.d\.ts$/.test(path),
    });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  writeFileSync(join(copy, 'package.json'), '{"type":"module"}');
  return copy;
}

/** Puts other code in the place of what stands in a file once; returns what puts it back. */
export function plantChange(path: string, from: string, to: string): () => void {
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2) throw new Error(`${path} has not exactly once: ${from}`);
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  return () => writeFileSync(path, text);
}

/**
 * A free port below those that the system hands to outgoing connections: a server that comes back on its port must not find it
 * taken by a client that tries to reach it.
 */
export async function fixedPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    probe.close();
    return port;
  }
}

export interface Server {
  readonly program: Program;
  readonly url: string;
  readonly admin: string;
  readonly port: number;
  readonly adminPort: number;
  readonly data: string;
  /** kill -9, and wait until it is gone. */
  murder(): Promise<void>;
  /** SIGTERM, and wait; the exit code. */
  stop(): Promise<number | null>;
}

/** Starts `dunlin up` and waits until it is ready. Ports are free ones unless given. */
export async function startServer(
  options: { data?: string; port?: number; adminPort?: number; args?: readonly string[] } = {},
): Promise<Server> {
  const data = options.data ?? temporaryDirectory('data');
  const port = options.port ?? (await fixedPort());
  const adminPort = options.adminPort ?? (await fixedPort());
  const ports = ['--port', String(port), '--admin-port', String(adminPort)];
  const program = runDunlin(['up', '--json', '--data', data, ...ports, ...(options.args ?? [])]);
  const ready = JSON.parse(await program.line(/^\{"url"/)) as { url: string; admin: string };
  return {
    program,
    url: ready.url,
    admin: ready.admin,
    port: Number(new URL(ready.url).port),
    adminPort: Number(new URL(ready.admin).port),
    data,
    murder: async () => {
      program.kill('SIGKILL');
      await program.exit;
    },
    stop: async () => {
      program.kill('SIGTERM');
      return await program.exit;
    },
  };
}

/** The same server again: same data, same ports. */
export async function restartServer(server: Server, args: readonly string[] = []): Promise<Server> {
  return await startServer({ data: server.data, port: server.port, adminPort: server.adminPort, args });
}

/** Runs to the end; what it printed, and its exit code. */
export async function finish(program: Program): Promise<{ code: number | null; text: string }> {
  const code = await program.exit;
  return { code, text: program.text() };
}

export interface LoadResult {
  readonly sent: number;
  readonly delivered: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly out_of_order: number;
  readonly gaps: number;
  readonly rejected: Readonly<Record<string, number>>;
}

/** Flags of a load run, and where its JSON result goes. */
export function loadFlags(options: {
  url: string;
  data: string;
  users: number;
  rate: number;
  seconds: number;
  drainSeconds?: number;
}): { flags: string[]; file: string } {
  const file = join(temporaryDirectory('load'), 'load.json');
  const { url, data, users, rate, seconds, drainSeconds = 60 } = options;
  const flags = ['--url', url, '--data', data, '--users', String(users), '--rate', String(rate)];
  flags.push('--duration', `${seconds}s`, '--drain', `${drainSeconds}s`, '--json', file);
  return { flags, file };
}

export function readResult(file: string): LoadResult {
  return JSON.parse(readFileSync(file, 'utf8')) as LoadResult;
}
