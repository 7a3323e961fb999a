/**
 * What an idle authenticated session costs: resident memory of serving processes, read from outside in /proc, with and without
 * connections that have said hello, have caught up and do nothing more.
 *
 * The figure has all that a session costs in any part of the process: TLS is off; socket, session, device and user in their tables,
 * what the rings and the store have touched on the way. The kernel's own memory for a socket is not in it. Descriptors are capped
 * at 20,000 a process, so clients are processes of their own, and more sessions need more servers: a second one is filled while the
 * first holds what it has, and what both hold then is the other figure.
 *
 * Connections come in four parts with a reading after each, taken when the process has stopped shrinking. The figure is the growth
 * from the first reading to the last, by session: the first quarter fills the heaps' slack of the start, which is no session's
 * cost, and would make the figure look better than it is. centrifuge gets its connections in the same way.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createDevelopmentIssuer } from '../gateway/tokens.js';
import { type Benchmark, type BenchmarkOptions, type Measured, makeFigure, type Table } from './harness/result.js';
import type { Order } from './idle/client.js';
import { centrifuge } from './peers/centrifuge.js';
import { freePorts } from './peers/measure.js';
import type { PeerConnection } from './peers/peer.js';
import { memoryBytes } from './peers/server-process.js';

/** Of one server: it needs some of its descriptors for its files. */
const CONNECTIONS = 18_000;
const CONNECTIONS_TINY = 40;
const CONNECTIONS_PER_CLIENT = 6_000;
const SERVERS = 2;
const PARTS = 4;
/** 3 KB. */
const REACH_BYTES = 3_000;
const READINGS_MAX = 60;
/** Rivals are given so many connections at a time. */
const OPENING_AT_ONCE = 64;
const DUNLIN = fileURLToPath(new URL('../../cli/bin/dunlin.mjs', import.meta.url));

interface Sizes {
  readonly connections: number;
  readonly readingPauseMs: number;
  /** So many readings in a row without a smaller one end the wait. */
  readonly steadyReadings: number;
}

const SIZES: Sizes = { connections: CONNECTIONS, readingPauseMs: 500, steadyReadings: 6 };
const TINY: Sizes = { connections: CONNECTIONS_TINY, readingPauseMs: 20, steadyReadings: 1 };

// --- servers and clients ----------------------------------------------------------------------------------------------------------

interface Target {
  readonly pid: number;
  /** Opens so many more connections; returns a number folded from what they were answered. */
  open(count: number): Promise<number>;
  stop(): Promise<void>;
}

async function startDunlin(): Promise<Target> {
  const data = fs.mkdtempSync(join(tmpdir(), 'dunlin-idle-'));
  const args = [DUNLIN, 'up', '--json', '--data', data, '--port', '0', '--admin-port', '0'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };
  const issuer = await createDevelopmentIssuer(data);
  const clients: ChildProcess[] = [];
  let users = 0;
  return {
    pid: child.pid!,
    open: async (count) => {
      const first = users + 1;
      users += count;
      const tokens = await Promise.all(
        Array.from({ length: count }, (_, n) => issuer.sign({ user: first + n, device: 1 })),
      );
      return await connect(url, tokens, clients);
    },
    stop: async () => {
      for (const client of clients) client.disconnect();
      await Promise.all(clients.map((client) => once(client, 'exit')));
      child.kill('SIGKILL');
      await once(child, 'exit');
      fs.rmSync(data, { recursive: true });
    },
  };
}

/** Opens connections from processes of their own; they stay open until those are ended. */
async function connect(url: string, tokens: readonly string[], clients: ChildProcess[]): Promise<number> {
  const answers: Promise<number>[] = [];
  for (let from = 0; from < tokens.length; from += CONNECTIONS_PER_CLIENT) {
    const client = fork(fileURLToPath(new URL('./idle/client.js', import.meta.url)));
    clients.push(client);
    client.send({ url, tokens: tokens.slice(from, from + CONNECTIONS_PER_CLIENT) } satisfies Order);
    answers.push(
      once(client, 'message').then(([message]) => {
        const { hash, failed } = message as { hash?: number; failed?: string };
        if (hash === undefined) throw new Error(failed ?? 'a client process said nothing');
        return hash;
      }),
    );
  }
  return (await Promise.all(answers)).reduce((sum, hash) => (sum + hash) >>> 0, 0);
}

/** Its clients are in this process. */
async function startCentrifuge(): Promise<Target> {
  const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-idle-'));
  const server = await centrifuge.start({ directory, port: await freePorts() });
  const connections: PeerConnection[] = [];
  let users = 0;
  let isOver = false;
  const events = {
    acked: () => {},
    delivered: () => {},
    failed: (sentence: string) => {
      if (!isOver) throw new Error(`centrifuge: ${sentence}`);
    },
  };
  return {
    pid: server.pids[0]!,
    open: async (count) => {
      for (let left = count; left > 0; left -= OPENING_AT_ONCE) {
        const first = users + 1;
        const now = Math.min(OPENING_AT_ONCE, left);
        users += now;
        const opening = Array.from({ length: now }, (_, n) => server.connect(first + n, events));
        connections.push(...(await Promise.all(opening)));
      }
      return connections.length;
    },
    stop: async () => {
      isOver = true;
      for (const connection of connections) connection.close();
      await server.stop();
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

// --- measuring ------------------------------------------------------------------------------------------------------------------

/** The least of many readings, once it has stopped falling: bytes of resident memory that no file backs. */
async function settle(pid: number, { readingPauseMs, steadyReadings }: Sizes): Promise<number> {
  let least = memoryBytes([pid]);
  for (let readings = 0, steady = 0; steady < steadyReadings && readings < READINGS_MAX; readings++) {
    await pause(readingPauseMs);
    const bytes = memoryBytes([pid]);
    steady = bytes < least ? 0 : steady + 1;
    least = Math.min(least, bytes);
  }
  return least;
}

interface Filled {
  /** Before the first connection, and after each part. */
  readonly readings: readonly number[];
  readonly hash: number;
}

async function fill(target: Target, sizes: Sizes): Promise<Filled> {
  const readings = [await settle(target.pid, sizes)];
  let hash = 0;
  for (let part = 0; part < PARTS; part++) {
    const [from, end] = [part, part + 1].map((n) => Math.round((sizes.connections * n) / PARTS)) as [number, number];
    hash = (hash + (await target.open(end - from))) >>> 0;
    readings.push(await settle(target.pid, sizes));
  }
  return { readings, hash };
}

/** Bytes a session, behind the first part. */
function costOf(first: number, last: number, { connections }: Sizes): number {
  return Math.round((last - first) / (connections * (1 - 1 / PARTS)));
}

interface Run {
  readonly one: number;
  readonly several: number;
  readonly readings: readonly number[];
  readonly hash: number;
}

async function run(sizes: Sizes): Promise<Run> {
  const servers: Target[] = [];
  try {
    const filled: Filled[] = [];
    for (let n = 0; n < SERVERS; n++) {
      servers.push(await startDunlin());
      filled.push(await fill(servers[n]!, sizes));
    }
    // All of them hold theirs now.
    const held = await Promise.all(servers.map(({ pid }) => settle(pid, sizes)));
    const costs = held.map((bytes, n) => costOf(filled[n]!.readings[1]!, bytes, sizes));
    if (new Set(filled.map(({ hash }) => hash)).size > 1) throw new Error('two servers answered differently');
    const [first] = filled as [Filled];
    return {
      one: costOf(first.readings[1]!, first.readings.at(-1)!, sizes),
      several: Math.round(costs.reduce((sum, cost) => sum + cost, 0) / SERVERS),
      readings: first.readings,
      hash: first.hash,
    };
  } finally {
    for (const server of servers) await server.stop();
  }
}

async function runRival(sizes: Sizes): Promise<number> {
  const target = await startCentrifuge();
  try {
    const { readings } = await fill(target, sizes);
    return costOf(readings[1]!, readings.at(-1)!, sizes);
  } finally {
    await target.stop();
  }
}

function readingsTable({ connections }: Sizes, runs: readonly Run[]): Table {
  return {
    name: 'Resident memory of the first server, by connections',
    columns: ['connections', ...runs.map((_, n) => `run ${n + 1}, MB`)],
    rows: Array.from({ length: PARTS + 1 }, (_, part) => [
      Math.round((connections * part) / PARTS),
      ...runs.map(({ readings }) => Number((readings[part]! / 1e6).toFixed(1))),
    ]),
  };
}

async function measure({ isTiny, runs, progress }: BenchmarkOptions): Promise<Measured> {
  const sizes = isTiny ? TINY : SIZES;
  // Compiling it, and Go itself, are nothing for a test.
  const leftOut = isTiny ? 'not in small' : await centrifuge.prepare(progress);
  const done: Run[] = [];
  const rival: number[] = [];
  for (let n = 0; n < runs; n++) {
    done.push(await run(sizes));
    if (leftOut === undefined) rival.push(await runRival(sizes));
    const { one, several } = done.at(-1)!;
    progress(`${one} bytes a session, ${several} over ${SERVERS} processes, centrifuge ${rival.at(-1) ?? '-'}`);
  }
  if (new Set(done.map(({ hash }) => hash)).size > 1) throw new Error('two runs saw different answers');
  const against = leftOut === undefined ? { against: { name: 'centrifuge', runs: rival } } : {};
  const common = {
    unit: 'bytes',
    better: 'lower',
    hash: done[0]!.hash.toString(16),
    reach: { of: 'figure', bound: REACH_BYTES },
    ...against,
    ...(leftOut === undefined ? {} : { note: `centrifuge is left out: ${leftOut}.` }),
  } as const;
  return {
    figures: [
      makeFigure({
        ...common,
        name: `user-space memory of an idle authenticated session, ${sizes.connections.toLocaleString('en')} in one process`,
        runs: done.map(({ one }) => one),
      }),
      makeFigure({
        ...common,
        name: `the same with ${(SERVERS * sizes.connections).toLocaleString('en')} sessions at once over ${SERVERS} processes`,
        runs: done.map(({ several }) => several),
      }),
    ],
    tables: [readingsTable(sizes, done)],
    workload: { connections_a_process: sizes.connections, processes: SERVERS, parts: PARTS },
  };
}

export const benchmark: Benchmark = {
  name: 'idle-session',
  about: 'User-space memory of an idle authenticated session, in one process and over several.',
  run: measure,
};
