/**
 * What an idle authenticated session costs: resident memory of a serving process, read from outside in /proc, with and without
 * connections that have said hello, have caught up and do nothing more. Prints one JSON object.
 *
 *   node dist/benchmarks/idle-session.js [--tiny] [--connections N] [--runs N]
 *   node dist/benchmarks/idle-session.js --pid PID --url ws://…/socket --data DIR [--connections N]
 *
 * Without --pid every run starts `dunlin up` in a directory of its own. Then the figure has all that a session costs in any part
 * of the process: TLS is off; socket, session, device and user in their tables, what the rings and the store have touched on the
 * way. The kernel's own memory for a socket is not in it. Clients are processes of their own, since descriptors are capped.
 *
 * The connections come in four parts with a reading after each, taken when the process has stopped shrinking. The figure is the
 * growth from the first reading to the last, by session: the first quarter fills the heaps' slack of the start, which is no
 * session's cost, and would make the figure look better than it is.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { At, encodeFrame, frameLength, Kind, makeFrame, viewOf } from '../core/frame.js';
import { mix32 } from '../core/ids.js';
import { createDevelopmentIssuer } from '../gateway/tokens.js';

const CONNECTIONS_DEFAULT = 18_000;
/** Descriptors of one process are capped at 20,000 here: the server needs some for its files. */
const CONNECTIONS_MAX = 18_000;
const CONNECTIONS_PER_CLIENT = 6_000;
/** Upgrades under way at a time in one client process. */
const OPENING_AT_ONCE = 64;
const PARTS = 4;
const READINGS_MAX = 60;
const DUNLIN = fileURLToPath(new URL('../../cli/bin/dunlin.mjs', import.meta.url));

const isTiny = process.argv.includes('--tiny');
const readingPauseMs = isTiny ? 20 : 500;
/** So many readings in a row without a smaller one end the wait. */
const steadyReadings = isTiny ? 1 : 6;

function flag(name: string): string | undefined {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
}

// --- a client process -----------------------------------------------------------------------------------------------------------

interface Order {
  readonly url: string;
  readonly tokens: readonly string[];
}

/** Opens one connection; resolves when it is live, with the frames up to then folded into a number, or with a time to wait. */
async function open(url: string, token: string): Promise<{ readonly hash: number } | { readonly retryAfterS: number }> {
  const socket = new WebSocket(url, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    skipUTF8Validation: true,
  });
  socket.binaryType = 'nodebuffer';
  return await new Promise((resolve, reject) => {
    let hash = 0;
    socket.once('unexpected-response', (_request, response: IncomingMessage) => {
      response.resume();
      const retryAfterS = Number(response.headers['retry-after']);
      if (retryAfterS > 0) resolve({ retryAfterS });
      else reject(new Error(`an upgrade was answered with ${response.statusCode}`));
    });
    socket.once('error', reject);
    socket.once('close', (code) => reject(new Error(`a connection was closed with ${code}`)));
    socket.once('open', () => socket.send(encodeFrame(makeFrame({ kind: Kind.HELLO, extra: 1 }))));
    socket.on('message', (message: Buffer) => {
      const view = viewOf(message);
      for (let at = 0; at < message.length; at += frameLength(view, at)) {
        const kind = message[at + At.KIND]!;
        hash = mix32(hash ^ kind ^ (view.getUint32(at + At.DEVICE + 4) << 8));
        if (kind === Kind.CAUGHT_UP) resolve({ hash });
      }
    });
  });
}

async function openAtLast(url: string, token: string): Promise<number> {
  for (;;) {
    const outcome = await open(url, token);
    if ('hash' in outcome) return outcome.hash;
    await pause(outcome.retryAfterS * 1_000);
  }
}

function runClient(): void {
  process.on('disconnect', () => process.exit(0));
  process.once('message', (order: Order) => {
    void openAll(order).then(
      (hash) => process.send!({ hash }),
      (error: Error) => process.send!({ failed: error.message }),
    );
  });
}

async function openAll({ url, tokens }: Order): Promise<number> {
  let next = 0;
  let hash = 0;
  const opener = async (): Promise<void> => {
    while (next < tokens.length) {
      const seen = await openAtLast(url, tokens[next++]!);
      hash = (hash + seen) >>> 0;
    }
  };
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, opener));
  return hash;
}

// --- the measuring process --------------------------------------------------------------------------------------------------------

interface Target {
  readonly pid: number;
  readonly url: string;
  readonly data: string;
  stop(): Promise<void>;
}

async function startServer(): Promise<Target> {
  const data = fs.mkdtempSync(join(tmpdir(), 'dunlin-idle-'));
  const args = [DUNLIN, 'up', '--json', '--data', data, '--port', '0', '--admin-port', '0'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };
  return {
    pid: child.pid!,
    url,
    data,
    stop: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
      fs.rmSync(data, { recursive: true });
    },
  };
}

function givenServer(pid: number): Target {
  const url = flag('url');
  const data = flag('data');
  if (url === undefined || data === undefined) throw new Error('--pid needs --url ws://… and --data DIR as well');
  return { pid, url, data, stop: () => Promise.resolve() };
}

interface Memory {
  /** Resident memory that no file backs. */
  readonly anonymousBytes: number;
  readonly residentBytes: number;
}

function readMemory(pid: number): Memory {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)![1]) * 1_024;
  return { anonymousBytes: bytes('RssAnon') + bytes('RssShmem'), residentBytes: bytes('VmRSS') };
}

/** The least of many readings, once it has stopped falling. */
async function settle(pid: number): Promise<Memory> {
  let least = readMemory(pid);
  for (let readings = 0, steady = 0; steady < steadyReadings && readings < READINGS_MAX; readings++) {
    await pause(readingPauseMs);
    const memory = readMemory(pid);
    steady = memory.anonymousBytes < least.anonymousBytes ? 0 : steady + 1;
    if (memory.anonymousBytes < least.anonymousBytes) least = memory;
  }
  return least;
}

/** Opens connections from processes of their own; they stay open until those are ended. */
async function connect(target: Target, tokens: readonly string[], clients: ChildProcess[]): Promise<number> {
  const answers: Promise<number>[] = [];
  for (let from = 0; from < tokens.length; from += CONNECTIONS_PER_CLIENT) {
    const client = fork(fileURLToPath(import.meta.url), ['--client']);
    clients.push(client);
    client.send({ url: target.url, tokens: tokens.slice(from, from + CONNECTIONS_PER_CLIENT) } satisfies Order);
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

async function signAll(data: string, count: number): Promise<string[]> {
  const issuer = await createDevelopmentIssuer(data);
  return await Promise.all(Array.from({ length: count }, (_, n) => issuer.sign({ user: n + 1, device: 1 })));
}

interface Run {
  readonly bytesPerSession: number;
  /** Before the first connection, and after each part. */
  readonly readings: readonly Memory[];
  readonly hash: number;
}

async function run(target: Target, connections: number): Promise<Run> {
  const clients: ChildProcess[] = [];
  try {
    const tokens = await signAll(target.data, connections);
    const readings = [await settle(target.pid)];
    let hash = 0;
    for (let part = 0; part < PARTS; part++) {
      const [from, end] = [part, part + 1].map((n) => Math.round((connections * n) / PARTS));
      hash = (hash + (await connect(target, tokens.slice(from, end), clients))) >>> 0;
      readings.push(await settle(target.pid));
    }
    const grown = readings.at(-1)!.anonymousBytes - readings[1]!.anonymousBytes;
    return { bytesPerSession: Math.round(grown / (connections * (1 - 1 / PARTS))), readings, hash };
  } finally {
    for (const client of clients) client.disconnect();
    await Promise.all(clients.map((client) => once(client, 'exit')));
  }
}

async function measure(): Promise<void> {
  const connections = Number(flag('connections') ?? (isTiny ? 40 : CONNECTIONS_DEFAULT));
  if (!Number.isSafeInteger(connections) || connections < 1 || connections > CONNECTIONS_MAX) {
    throw new Error(`--connections takes a whole number from 1 to ${CONNECTIONS_MAX}`);
  }
  const pid = flag('pid');
  // A process that has had the connections keeps the room for the next ones: it can be measured once.
  const rounds = pid !== undefined ? 1 : Number(flag('runs') ?? (isTiny ? 1 : 5));
  const runs: Run[] = [];
  for (let round = 0; round < rounds; round++) {
    const target = pid === undefined ? await startServer() : givenServer(Number(pid));
    try {
      runs.push(await run(target, connections));
    } finally {
      await target.stop();
    }
  }
  if (new Set(runs.map(({ hash }) => hash)).size > 1) throw new Error('two runs saw different answers');
  const figures = runs.map(({ bytesPerSession }) => bytesPerSession);
  const report = {
    benchmark: 'idle-session',
    figure: figures.toSorted((one, other) => one - other)[Math.floor(figures.length / 2)],
    unit: 'bytes a session',
    runs: figures,
    spread: Math.max(...figures) - Math.min(...figures),
    connections,
    readings: runs[0]!.readings,
    hash: runs[0]!.hash.toString(16),
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
  };
  console.log(JSON.stringify(report, undefined, 2));
}

if (process.argv.includes('--client')) runClient();
else await measure();
