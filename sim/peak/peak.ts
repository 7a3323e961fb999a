/**
 * The world at its peak, cut into cells that have nothing to do with each other, one a core: rate, users and conversations are
 * shared out evenly. What is simulated (virtual time) and how fast that went (wall time) are told apart.
 */
import { Worker } from 'node:worker_threads';
import { mix32 } from '../../core/ids.js';
import type { CellOptions, CellResult, Part } from './cell.js';

export interface PeakOptions extends Omit<CellOptions, 'seed'> {
  readonly seed: number;
  readonly workers: number;
  /** Virtual seconds that the slowest cell has done. */
  readonly onProgress?: (virtualSeconds: number) => void;
}

export type PeakMessage = { readonly virtualSeconds: number } | { readonly result: CellResult };

/** Sums over the cells; of times the longest. */
export interface PeakResult extends Omit<CellResult, 'parts' | 'carriedBytes' | 'bufferBytes' | 'hash'> {
  /** Messages a virtual second: what was simulated. */
  readonly simulatedPerSecond: number;
  /** Messages a wall second: how fast that went. */
  readonly wallPerSecond: number;
  /** Wall nanoseconds a message in one thread, by part. */
  readonly nsPerMessage: Readonly<Record<Part, number>>;
  readonly carriedBytesPerMessage: number;
  readonly residentBytes: number;
  readonly hash: string;
}

function share(whole: number, workers: number): number {
  return Math.max(1, Math.ceil(whole / workers));
}

export async function peak(options: PeakOptions): Promise<PeakResult> {
  const { workers, onProgress, seed, ...rest } = options;
  const done = Array.from({ length: workers }, () => 0);
  let told = 0;
  const cells = await Promise.all(
    done.map((_, number) => {
      const cell: CellOptions = {
        ...rest,
        seed: mix32(seed + number) >>> 0,
        rate: rest.rate / workers,
        directs: share(rest.directs, workers),
        groups: share(rest.groups, workers),
      };
      return runCell(cell, (virtualSeconds) => {
        done[number] = virtualSeconds;
        const slowest = Math.min(...done);
        if (slowest > told) onProgress?.(slowest);
        told = Math.max(told, slowest);
      });
    }),
  );
  return merge(cells);
}

function runCell(workerData: CellOptions, onProgress: (virtualSeconds: number) => void): Promise<CellResult> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./peak-worker.js', import.meta.url), { workerData });
    worker.on('message', (message: PeakMessage) => {
      if ('result' in message) resolve(message.result);
      else onProgress(message.virtualSeconds);
    });
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('a cell ended without a result')));
  });
}

function merge(cells: readonly CellResult[]): PeakResult {
  const sum = (of: (cell: CellResult) => number): number => cells.reduce((total, cell) => total + of(cell), 0);
  const most = (of: (cell: CellResult) => number): number => Math.max(...cells.map(of));
  const messages = sum((cell) => cell.messages);
  const virtualSeconds = most((cell) => cell.virtualSeconds);
  const wallSeconds = most((cell) => cell.wallSeconds);
  const part = (name: Part): number => Math.round(sum((cell) => cell.parts[name]) / messages);
  return {
    messages,
    deliveries: sum((cell) => cell.deliveries),
    receipts: sum((cell) => cell.receipts),
    acks: sum((cell) => cell.acks),
    virtualSeconds,
    wallSeconds,
    setUpSeconds: most((cell) => cell.setUpSeconds),
    simulatedPerSecond: Math.round(messages / virtualSeconds),
    wallPerSecond: Math.round(messages / wallSeconds),
    nsPerMessage: {
      generate: part('generate'),
      conversation: part('conversation'),
      user: part('user'),
      devices: part('devices'),
    },
    carriedBytesPerMessage: Math.round(sum((cell) => cell.carriedBytes) / messages),
    residentBytes: process.memoryUsage().rss,
    checkBytes: sum((cell) => cell.checkBytes),
    hash: cells
      .reduce((hash, cell) => mix32(hash ^ cell.hash) >>> 0, 0)
      .toString(16)
      .padStart(8, '0'),
    violated: sum((cell) => cell.violated),
    violations: cells.flatMap((cell) => cell.violations),
  };
}
