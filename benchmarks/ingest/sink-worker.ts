/**
 * The log's writing thread over a disk that forgets: everything that the real one does for a batch, and no disk to wait for. What
 * it is told to write it folds into a hash.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { BatchAt } from '../../core/batch.js';
import { At, frameLength, viewOf } from '../../core/frame.js';
import type { Files } from '../../engines/log-disk/files.js';
import { SEGMENT_HEADER_BYTES } from '../../engines/log-disk/layout.js';
import { type LogWorkerData, LogWriter } from '../../engines/log-disk/log-writer.js';
import { foldFrame } from './messages.js';

export interface SinkData {
  readonly writer: LogWorkerData;
  /** Float64: frames of sends written, their bytes, and the sum of `foldFrame` modulo 2^32. */
  readonly counted: SharedArrayBuffer;
}

const { writer: data, counted } = workerData as SinkData;
const counts = new Float64Array(counted);

function fold(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  let hash = counts[2]!;
  for (let batchAt = 0; batchAt < bytes.length; batchAt += view.getUint32(batchAt + BatchAt.LENGTH, true)) {
    const end = batchAt + view.getUint32(batchAt + BatchAt.LENGTH, true);
    for (let at = batchAt + BatchAt.ENTRIES; at < end; ) {
      const length = frameLength(view, at);
      hash = (hash + foldFrame(view.getUint32(at + At.CONV_B + 4), view.getUint32(at + At.COUNTER), length)) >>> 0;
      counts[0]!++;
      counts[1]! += length;
      at += length;
    }
  }
  counts[2] = hash;
}

const forgetful: Files = {
  open: () => 1,
  openToRead: () => 1,
  close: () => {},
  write: (_fd, bytes, start, length, at) => {
    if (at >= SEGMENT_HEADER_BYTES) fold(bytes.subarray(start, start + length));
    return length;
  },
  read: () => 0,
  size: () => 0,
  truncate: () => {},
  sync: (_fd, done) => {
    setImmediate(done, null);
  },
  syncNow: () => {},
  syncDirectory: () => {},
  remove: () => {},
  list: () => [],
  freeBytes: () => Number.MAX_SAFE_INTEGER,
};

const writer = new LogWriter(data, forgetful, (error) => {
  throw error;
});
parentPort!.on('message', () => writer.stop());
await writer.run();
parentPort!.close();
