/** The server that is measured: `dunlin up`, embedded and durable, in a process and a data directory of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const DUNLIN = fileURLToPath(new URL('../../../cli/bin/dunlin.mjs', import.meta.url));
/** Of /proc/…/stat, unless the kernel was built in an unusual way. */
export const TICKS_PER_SECOND = 100;

export interface Server {
  readonly url: string;
  /** Where the operators ask. */
  readonly admin: string;
  readonly data: string;
  /** Processor time of all its threads so far, in seconds. */
  cpuSeconds(): number;
  residentBytes(): number;
  /** WebSocket messages that it has sent to clients so far. */
  writes(): Promise<number>;
  stop(): Promise<void>;
}

/** Starts one with the flags of `dunlin up` besides; resolves when it serves. */
export async function startServer(flags: readonly string[] = []): Promise<Server> {
  const data = mkdtempSync(join(tmpdir(), 'dunlin-server-'));
  const own = ['--json', '--data', data, '--port', '0', '--admin-port', '0'];
  const child = spawn(process.execPath, [DUNLIN, 'up', ...own, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const line = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line').then(([first]) => String(first)),
    exited.then(() => undefined),
  ]);
  if (line === undefined) throw new Error('the server ended before it served');
  const { url, admin, pid } = JSON.parse(line) as { url: string; admin: string; pid: number };
  return {
    url,
    admin,
    data,
    cpuSeconds: () => cpuSecondsOf(readFileSync(`/proc/${pid}/stat`, 'latin1')),
    residentBytes: () => residentBytesOf(readFileSync(`/proc/${pid}/status`, 'latin1')),
    writes: async () => writesOf(await (await fetch(`${admin}/metrics`)).text()),
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** Behind the name, which is in brackets and may have any character: state is field 3, utime 14, stime 15. */
export function cpuSecondsOf(stat: string): number {
  const fields = stat.replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Of all gateways, out of what `/metrics` says. */
export function writesOf(metrics: string): number {
  const counts = metrics.matchAll(/^dunlin_gateway_writes_out_total\{.*\} (\d+)$/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

export function residentBytesOf(status: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1_024;
}
