/** A server as a process of its own: started, waited for, measured from outside, ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

/** A server that does not take connections by then is left out. */
const START_MS_MAX = 60_000;
/** A server that does not go by itself is killed: what it still had to do is thrown away with its directory. */
const STOP_MS_MAX = 2_000;
const PROBE_PAUSE_MS = 20;
/** Of what a server said, kept for the reason of a failure. */
const SAID_BYTES_MAX = 2_000;
/** USER_HZ: Linux has had it at 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

export interface ServerOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly directory: string;
  readonly env?: NodeJS.ProcessEnv;
}

export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #said: string;
  readonly #gone: Promise<void>;
  #ended: string | undefined;

  /** Output goes to a file in the server's directory, as a service's does. */
  constructor({ command, args, directory, env }: ServerOptions) {
    this.#said = join(directory, 'server.log');
    const log = fs.openSync(this.#said, 'a');
    this.#child = spawn(command, args, {
      cwd: directory,
      env: { ...process.env, ...env },
      stdio: ['ignore', log, log],
    });
    fs.closeSync(log);
    this.#gone = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.#ended = error.message;
        resolve();
      });
      this.#child.once('exit', (code, signal) => {
        this.#ended ??= signal === null ? `code ${code}` : signal;
        resolve();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves when `probe` says so; rejects with what the server said if it ends, or takes too long. */
  async until(probe: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + START_MS_MAX;
    while (!(await probe())) {
      if (this.#ended !== undefined) throw new Error(`the server ended (${this.#ended}): ${this.#lastWords()}`);
      if (performance.now() > deadline) throw new Error(`the server was not ready in time: ${this.#lastWords()}`);
      await pause(PROBE_PAUSE_MS);
    }
  }

  untilPort(port: number): Promise<void> {
    return this.until(() => isListening(port));
  }

  #lastWords(): string {
    return fs.readFileSync(this.#said, 'utf8').slice(-SAID_BYTES_MAX).trim();
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX);
    await this.#gone;
    clearTimeout(timer);
  }
}

export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** The processes, and all that they started. */
function withDescendants(pids: readonly number[]): number[] {
  const children = new Map<number, number[]>();
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const fields = statFields(Number(name));
    if (fields === undefined) continue;
    const parent = Number(fields[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const all = [...pids];
  for (let i = 0; i < all.length; i++) all.push(...(children.get(all[i]!) ?? []));
  return all;
}

/** Fields of /proc/PID/stat behind the name: state, parent … (proc(5) counts them from 3 on); undefined if it is gone. */
function statFields(pid: number): string[] | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** CPU seconds, user and system, all threads. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of withDescendants(pids)) {
    const fields = statFields(pid);
    if (fields !== undefined) ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident memory that no file backs. */
export function memoryBytes(pids: readonly number[]): number {
  let bytes = 0;
  for (const pid of withDescendants(pids)) {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
    for (const [, kib] of status.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB$/gm)) bytes += Number(kib) * 1_024;
  }
  return bytes;
}

/** A program without comments and empty lines: what somebody has to write who serves with a library. */
export function programText(file: string): string {
  const text = fs.readFileSync(file, 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  return text.replaceAll(/\n\s*(?=\n)/g, '').trim();
}
