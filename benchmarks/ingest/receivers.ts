/** What receives, as a thread of this process: the gateway's own, as in production, and the bare loop. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  DISK_RESERVE_BYTES,
  RETAIN_BYTES,
  RING_BYTES,
  SEGMENT_BYTES,
  YOUNG_GENERATION_MIB,
} from '../../core/limits.js';
import { Durability } from '../../core/ports.js';
import { createDoorbell, Doorbell } from '../../engines/doorbell.js';
import { createControl } from '../../engines/log-disk/layout.js';
import { createRing } from '../../engines/ring.js';
import { ThreadOrder } from '../../engines/thread-order.js';
import { GATEWAY_METRICS_BYTES, GatewayMetrics } from '../../gateway/gateway-metrics.js';
import type { GatewayWorkerData } from '../../gateway/gateway-worker.js';
import { createDevelopmentIssuer } from '../../gateway/tokens.js';
import type { BareData } from './bare-worker.js';
import type { SinkData } from './sink-worker.js';
import { busiestSince, threadIds } from './thread-cpu.js';

const PARTITIONS = 4;
const OUTCOME_RING_BYTES = 256 * 1024;
/** Rates are bounded by connection; few connections stand for many here. */
const FRAMES_PER_SECOND = 100_000_000;

export interface Receiver {
  readonly port: number;
  readonly tokens: readonly string[];
  /** Id of the receiving thread, known when it has worked. */
  thread(): string;
  /** WebSocket messages that came so far. */
  messages(): number;
  /** Frames that are through, and the sum of `foldFrame` over them; for the bare loop, which knows no frames, undefined. */
  through(): { readonly frames: number; readonly hash: number } | undefined;
  stop(): Promise<void>;
}

async function listening(worker: Worker): Promise<number> {
  return await new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', ({ listening: port, failed }: { listening?: number; failed?: string }) => {
      if (port === undefined) reject(new Error(failed ?? 'a receiver said nothing'));
      else resolve(port);
    });
  });
}

async function ended(worker: Worker, tell: () => void): Promise<void> {
  const exit = new Promise((resolve) => {
    worker.once('exit', resolve);
  });
  tell();
  await exit;
}

export async function startBare(connections: number, echo = false): Promise<Receiver> {
  const counted = new SharedArrayBuffer(16);
  const counts = new Float64Array(counted);
  const before = threadIds();
  const worker = new Worker(new URL('./bare-worker.js', import.meta.url), {
    workerData: { echo, counted } satisfies BareData,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB },
  });
  return {
    port: await listening(worker),
    tokens: Array.from({ length: connections }, () => ''),
    thread: () => busiestSince(before),
    messages: () => counts[0]!,
    through: () => undefined,
    stop: () => ended(worker, () => worker.postMessage('stop')),
  };
}

export async function startGateway(connections: number): Promise<Receiver> {
  const dataDirectory = fs.mkdtempSync(join(tmpdir(), 'dunlin-ingest-'));
  const issuer = await createDevelopmentIssuer(dataDirectory);
  const tokens = await Promise.all(
    Array.from({ length: connections }, (_, n) => issuer.sign({ user: n + 1, device: 1 })),
  );
  const bell = createDoorbell();
  const topics = ['conversation', 'user'].map((_, topic) => {
    const ring = createRing(RING_BYTES);
    const outcomes = createRing(OUTCOME_RING_BYTES);
    const doorbell = createDoorbell();
    const counted = new SharedArrayBuffer(24);
    const writer = {
      directory: dataDirectory,
      topic,
      partitions: PARTITIONS,
      durability: topic === 0 ? Durability.BEFORE_READ : Durability.LAZY,
      start: {
        segments: [],
        sizes: [],
        end: 0,
        offsets: Array.from({ length: PARTITIONS }, () => 0),
        timesMs: Array.from({ length: PARTITIONS }, () => 0),
        reports: [],
      },
      control: createControl(PARTITIONS),
      doorbell,
      producers: [{ ring, outcomes, doorbell: bell, guarded: topic === 0 }],
      readers: [],
      segmentBytes: SEGMENT_BYTES,
      retainBytes: RETAIN_BYTES,
      diskReserveBytes: DISK_RESERVE_BYTES,
    };
    const sink = new Worker(new URL('./sink-worker.js', import.meta.url), {
      workerData: { writer, counted } satisfies SinkData,
    });
    return { handle: { ring, outcomes, doorbell }, counts: new Float64Array(counted), sink };
  });
  const shared = new SharedArrayBuffer(GATEWAY_METRICS_BYTES);
  const metrics = new GatewayMetrics(shared);
  const order = new Int32Array(new SharedArrayBuffer(4));
  const before = threadIds();
  const worker = new Worker(new URL('../../gateway/gateway-worker.js', import.meta.url), {
    workerData: {
      gatewayNumber: 0,
      incarnation: 1,
      host: '127.0.0.1',
      port: 0,
      isFirst: true,
      dataDirectory,
      conversationPartitions: PARTITIONS,
      userPartitions: PARTITIONS,
      kernel: true,
      framesPerSecond: FRAMES_PER_SECOND,
      connectionsPerAddress: connections,
      admissionsPerSecond: connections,
      doorbell: bell,
      rings: [createRing(RING_BYTES)],
      producer: topics.map(({ handle }) => handle),
      admission: new SharedArrayBuffer(4),
      metrics: shared,
      order: order.buffer,
    } satisfies GatewayWorkerData,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB },
  });
  return {
    port: await listening(worker),
    tokens,
    thread: () => busiestSince(before),
    messages: () => metrics.get('messages_in_total'),
    through: () => ({ frames: topics[0]!.counts[0]!, hash: topics[0]!.counts[2]! }),
    stop: async () => {
      for (const { sink } of topics) await sink.terminate();
      await ended(worker, () => {
        Atomics.store(order, 0, ThreadOrder.STOP);
        new Doorbell(bell).ring();
      });
      fs.rmSync(dataDirectory, { recursive: true, force: true });
    },
  };
}
