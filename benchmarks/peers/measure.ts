/** What is measured of one rival: each in a fresh directory, with a server of its own that is gone afterwards. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Faults, Fleet, type OpenLoop, type Saturation } from './fleet.js';
import { type Peer, type PeerServer, PORTS_PER_SERVER } from './peer.js';
import type { Replay } from './replay.js';
import { isListening, memoryBytes, pause } from './server-process.js';

/** Below those that the system hands to outgoing connections. */
const PORT_MIN = 24_000;
const PORT_MAX = 24_900;
const FIRST_CONNECTIONS = 20;
const READING_MS = 100;
const SETTLE_MS_MAX = 10_000;

export interface Sizes {
  readonly users: number;
  /** Messages of each user that all rivals exchange, for the hash. */
  readonly exchanged: number;
  /** No rival gets more of each user's messages under way. */
  readonly windowMax: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly openLoopSeconds: number;
  /** Messages of one user that are due at the same moment. */
  readonly burst: number;
  readonly idleConnections: number;
  /** How long memory must not fall before it is read: garbage of the start and of the handshakes goes by itself. */
  readonly settleMs: number;
}

export interface Round extends Saturation {
  readonly version: string;
  readonly configuration: string;
  readonly hash: string;
  readonly latency: OpenLoop | undefined;
  readonly faults: Faults;
}

/** The first of PORTS_PER_SERVER free ports. */
export async function freePorts(): Promise<number> {
  const start = PORT_MIN + (process.pid % (PORT_MAX - PORT_MIN));
  for (let n = 0; ; n += PORTS_PER_SERVER) {
    if (n > PORT_MAX - PORT_MIN) throw new Error(`no ${PORTS_PER_SERVER} free ports from ${PORT_MIN} to ${PORT_MAX}`);
    const port = PORT_MIN + ((start - PORT_MIN + n) % (PORT_MAX - PORT_MIN));
    const ports = Array.from({ length: PORTS_PER_SERVER }, (_, i) => port + i);
    if (!(await Promise.all(ports.map(isListening))).includes(true)) return port;
  }
}

async function withServer<T>(peer: Peer, use: (server: PeerServer) => Promise<T>): Promise<T> {
  const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-peers-'));
  try {
    const server = await peer.start({ directory, port: await freePorts() });
    try {
      return await use(server);
    } finally {
      await server.stop();
    }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function withFleet<T>(
  server: PeerServer,
  users: number,
  use: (fleet: Fleet) => Promise<T>,
  first?: number,
): Promise<T> {
  const fleet = await Fleet.open(server, users, first);
  try {
    return await use(fleet);
  } finally {
    fleet.close();
  }
}

/** Messages a second, from a fresh start; then, if `isLast`, latency at half of that. */
export async function measureRound(peer: Peer, sizes: Sizes, isLast: boolean): Promise<Round> {
  return await withServer(peer, async (server) => {
    const { version, configuration } = server;
    return await withFleet(server, sizes.users, async (fleet) => {
      const hash = await fleet.exchange(sizes.exchanged);
      const saturation = await fleet.saturate(
        Math.min(peer.window, sizes.windowMax),
        sizes.warmUpSeconds,
        sizes.seconds,
      );
      const rate = saturation.messages / saturation.seconds / 2;
      const latency = isLast ? await fleet.openLoop(rate, sizes.openLoopSeconds, sizes.burst) : undefined;
      return { version, configuration, hash, ...saturation, latency, faults: fleet.faults() };
    });
  });
}

/** The least of many readings, once it has not fallen for `settleMs`. */
async function settledMemory(server: PeerServer, settleMs: number): Promise<number> {
  let least = memoryBytes(server.pids);
  const deadline = performance.now() + SETTLE_MS_MAX;
  for (let steadyMs = 0; steadyMs < settleMs && performance.now() < deadline; steadyMs += READING_MS) {
    await pause(READING_MS);
    const bytes = memoryBytes(server.pids);
    if (bytes < least) {
      least = bytes;
      steadyMs = 0;
    }
  }
  return least;
}

/** Bytes of memory that a connection without traffic takes. */
export async function measureIdle(peer: Peer, { idleConnections, settleMs }: Sizes): Promise<number> {
  const readings: number[] = [];
  const read = async (server: PeerServer): Promise<void> => {
    readings.push(await settledMemory(server, settleMs));
  };
  // The first connections make what all share.
  await withServer(peer, (server) =>
    withFleet(server, FIRST_CONNECTIONS, async () => {
      await read(server);
      await withFleet(server, idleConnections, () => read(server), FIRST_CONNECTIONS + 1);
    }),
  );
  return (readings[1]! - readings[0]!) / idleConnections;
}

export async function measureReplay(peer: Peer, users: number, plan: Replay): Promise<OpenLoop & { faults: Faults }> {
  return await withServer(peer, async (server) =>
    withFleet(server, users, async (fleet) => {
      const latency = await fleet.replay(plan);
      return { ...latency, faults: fleet.faults() };
    }),
  );
}
