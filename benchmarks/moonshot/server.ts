/** The server of `socket-to-socket`: `dunlin up` in a process of its own, and what each of its threads takes, read from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../../cli/bin/dunlin.mjs', import.meta.url));
/** Of /proc/…/stat, unless the kernel was built in an unusual way. */
const NS_PER_TICK = 10_000_000;

/** Nanoseconds of CPU since a thread began. */
export interface Cpu {
  readonly user: number;
  readonly system: number;
}

export interface Server {
  readonly pid: number;
  readonly url: string;
  readonly admin: string;
  readonly data: string;
  /** By thread id. */
  readonly names: ReadonlyMap<string, string>;
  readonly child: ChildProcess;
}

/** `workers`: names of the worker threads in the order in which they start. */
export async function startServer(flags: readonly string[], workers: readonly string[]): Promise<Server> {
  const data = fs.mkdtempSync(join(tmpdir(), 'dunlin-moonshot-'));
  const fixed = ['up', '--json', '--data', data, '--port', '0', '--admin-port', '0'];
  const child = spawn(process.execPath, [PROGRAM, ...fixed, ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, 'line'), once(child, 'exit')]);
  if (typeof first[0] !== 'string') throw new Error(`the server ended with ${first[0]}`);
  const { url, admin } = JSON.parse(first[0]) as { url: string; admin: string };
  const ids = fs.readdirSync(`/proc/${child.pid}/task`).toSorted((one, other) => Number(one) - Number(other));
  const names = new Map(ids.slice(-workers.length).map((id, n) => [id, workers[n]!]));
  return { pid: child.pid!, url, admin, data, names, child };
}

export async function stopServer({ child, data }: Server): Promise<void> {
  if (child.exitCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  fs.rmSync(data, { recursive: true });
}

/** Threads that ended meanwhile count as nothing. */
function cpuOf(directory: string): Cpu {
  try {
    // Behind the name, which is in brackets and may have any character: state is field 3, utime 14, stime 15.
    const stat = fs
      .readFileSync(`${directory}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    const [userTicks, systemTicks] = [Number(stat[11]), Number(stat[12])];
    const all = Number(fs.readFileSync(`${directory}/schedstat`, 'latin1').split(' ')[0]);
    const share = userTicks + systemTicks === 0 ? 1 : userTicks / (userTicks + systemTicks);
    // The first is exact, and does not tell one from the other.
    return Number.isFinite(all) && all > 0
      ? { user: all * share, system: all * (1 - share) }
      : { user: userTicks * NS_PER_TICK, system: systemTicks * NS_PER_TICK };
  } catch {
    return { user: 0, system: 0 };
  }
}

/** CPU time of a process by thread; those without a name go together. */
export function readThreads(pid: number, names: ReadonlyMap<string, string>, others: string): Map<string, Cpu> {
  const threads = new Map<string, Cpu>();
  for (const id of fs.readdirSync(`/proc/${pid}/task`)) {
    const name = names.get(id) ?? others;
    const { user, system } = cpuOf(`/proc/${pid}/task/${id}`);
    const sum = threads.get(name) ?? { user: 0, system: 0 };
    threads.set(name, { user: sum.user + user, system: sum.system + system });
  }
  return threads;
}

/** The server's own counters: Prometheus text as sums by name; those by place as `name/place`, too. */
export async function readCounters(server: Server): Promise<Map<string, number>> {
  const text = await (await fetch(`${server.admin}/metrics`)).text();
  const sums = new Map<string, number>();
  for (const [, name, labels, value] of text.matchAll(/^(\w+)(?:\{([^}]*)\})? (\S+)$/gm)) {
    sums.set(name!, (sums.get(name!) ?? 0) + Number(value));
    const place = /where="(\w+)"/.exec(labels ?? '')?.[1];
    if (place !== undefined) sums.set(`${name}/${place}`, Number(value));
  }
  return sums;
}
