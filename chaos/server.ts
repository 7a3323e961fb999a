/** The embedded target: one `dunlin up` with its data in a directory of the run's own, started again whenever it has ended. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DunlinError } from '../core/errors.js';
import type { Preload } from './preload.js';
import type { ServerShape } from './scenario.js';

const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const HOST = '127.0.0.1';
const FIRST_PORT = 12_000;
const PORTS = 8_000;
/** A server that is not ready by then does not recover. */
const READY_MS = 60_000;
const STOP_MS = 60_000;
/** Last lines of a server's output that are kept. */
const LINES_MAX = 50;
/** Below this a full disk is not near. */
const DISK_RESERVE = '64m';

/** A port below those that the system hands out, free now: a server comes back on its own port. */
async function fixedPort(from = FIRST_PORT + (process.pid % PORTS)): Promise<number> {
  for (let port = from; ; port++) {
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, HOST, () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
}

interface Life {
  readonly child: ChildProcess;
  readonly ended: Promise<string>;
}

export class EmbeddedServer {
  readonly data: string;
  readonly #shape: ServerShape;
  readonly #preload: Preload | undefined;
  readonly #disk: string;
  readonly lines: string[] = [];
  #port = 0;
  #adminPort = 0;
  #life: Life | undefined;
  #isWanted = false;
  /** How often it was started. */
  starts = 0;
  /** What ended it when nobody had asked for it. */
  readonly deaths: string[] = [];
  /** What ends and starts it, one after the other. */
  #turns: Promise<unknown> = Promise.resolve();

  constructor(directory: string, shape: ServerShape, preload: Preload | undefined) {
    this.#shape = shape;
    this.#preload = preload;
    this.#disk = join(directory, 'disk');
    mkdirSync(this.#disk, { recursive: true });
    this.data = join(this.#disk, 'data');
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    const pid = this.#life?.child.pid;
    if (pid === undefined) throw new Error('the server does not run');
    return pid;
  }

  get admin(): string {
    return `http://${HOST}:${this.#adminPort}`;
  }

  /** Mounts the disk, if the scenario wants one, and starts. Throws a DunlinError with what is in the way. */
  async open(): Promise<void> {
    if (this.#shape.diskBytes > 0) this.#mount(this.#shape.diskBytes);
    this.#port = await fixedPort();
    this.#adminPort = await fixedPort(this.#port + 1);
    await this.start();
  }

  #mount(bytes: number): void {
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', this.#disk], {
      encoding: 'utf8',
    });
    if (mounted.status !== 0) {
      throw new DunlinError(
        `a full disk needs a filesystem of the run's own, and this user may not mount one: ${mounted.error?.message ?? mounted.stderr.trim()}.`,
      );
    }
  }

  #args(): string[] {
    const { gateways, lanes, partitions, diskBytes } = this.#shape;
    const flags: Readonly<Record<string, string | number>> = {
      data: this.data,
      port: this.#port,
      'admin-port': this.#adminPort,
      gateways,
      lanes,
      partitions,
      ...(diskBytes > 0 ? { 'disk-reserve': DISK_RESERVE, retain: 0 } : {}),
    };
    return ['up', '--json', ...Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, String(value)])];
  }

  /** Starts it and waits until it is ready. */
  async start(): Promise<void> {
    this.#isWanted = true;
    this.starts++;
    const child = spawn(process.execPath, [MAIN, ...this.#args()], {
      env: { ...process.env, ...this.#preload?.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ready = new Promise<void>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          this.lines.push(line);
          if (this.lines.length > LINES_MAX) this.lines.shift();
          if (line.startsWith('{"url"')) resolve();
        });
      }
    });
    const ended = once(child, 'close').then(([code, signal]) => this.#ended(String(signal ?? `exit code ${code}`)));
    this.#life = { child, ended };
    const early = ended.then((how) => {
      throw new DunlinError(`the server ended while it started (${how}):\n  ${this.lines.join('\n  ')}`);
    });
    early.catch(() => {});
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new DunlinError(`the server was not ready within ${READY_MS / 1_000} s.`)),
        READY_MS,
      );
    });
    await Promise.race([ready, early, late]).finally(() => clearTimeout(timer));
  }

  #ended(how: string): string {
    this.#life = undefined;
    if (this.#isWanted) {
      this.deaths.push(how);
      this.#isWanted = false;
    }
    return how;
  }

  /** Waits until whoever ends and starts it before has done so. */
  inTurn<Result>(deed: () => Promise<Result>): Promise<Result> {
    const turn = this.#turns.then(deed);
    this.#turns = turn.catch(() => {});
    return turn;
  }

  signal(name: NodeJS.Signals): void {
    this.#life?.child.kill(name);
  }

  /** Ends it by a signal; says how it ended. */
  async end(name: 'SIGKILL' | 'SIGTERM'): Promise<string> {
    const life = this.#life;
    if (life === undefined) return 'it did not run';
    this.#isWanted = false;
    life.child.kill(name);
    const timer = setTimeout(() => life.child.kill('SIGKILL'), STOP_MS);
    const how = await life.ended;
    clearTimeout(timer);
    return how;
  }

  /** `T` stopped, `S` sleeping, `R` running …, as /proc has it; undefined: it is not there. */
  state(): string | undefined {
    try {
      return /^\d+ \(.*\) (\S)/s.exec(readFileSync(`/proc/${this.pid}/stat`, 'utf8'))?.[1];
    } catch {
      return undefined;
    }
  }

  /** Fills the disk to its last byte; what takes the filler away again. */
  fillDisk(): () => void {
    const { bavail, bsize } = statfsSync(this.#disk);
    const filler = join(this.#disk, 'filler');
    try {
      writeFileSync(filler, Buffer.alloc(bavail * bsize));
    } catch (error) {
      // The server writes too: between them they filled the disk, which is what was wanted.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
    return () => rmSync(filler);
  }

  /** Text of the operators' port; undefined if it does not answer. */
  async ask(path: string): Promise<string | undefined> {
    try {
      const response = await fetch(`${this.admin}${path}`);
      return await response.text();
    } catch {
      return undefined;
    }
  }

  async close(): Promise<string> {
    const how = await this.end('SIGTERM');
    if (this.#shape.diskBytes > 0) spawnSync('umount', ['-l', this.#disk]);
    return how;
  }
}

/** A second process on the same data, which must refuse; what it said, or undefined if it served. */
export async function startSecond(server: EmbeddedServer): Promise<string | undefined> {
  const child = spawn(
    process.execPath,
    [MAIN, 'up', '--json', '--data', server.data, '--port', '0', '--admin-port', '0'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      if (line.startsWith('{"url"')) child.kill('SIGKILL');
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  const hasServed = lines.some((line) => line.startsWith('{"url"'));
  return hasServed || code === 0 ? undefined : `refused with exit code ${code}: ${lines.at(-1) ?? ''}`;
}
