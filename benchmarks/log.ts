/**
 * The embedded log alone: bytes made durable a second, against what the same disk takes when a file is written from one end to
 * the other and synced once at the end. Both in turn, in the same run.
 *
 * One producer fills four partitions with batches of one size and waits for the last outcome. The hash folds partition and
 * offset of every outcome, in order: it depends on nothing but the numbers of bytes.
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchBuilder, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { encodeFrame, Kind, makeFrame } from '../core/frame.js';
import { mix32 } from '../core/ids.js';
import { AppendOutcome, Durability, Topic } from '../core/ports.js';
import { createDoorbell, Doorbell } from '../engines/doorbell.js';
import { openProducer } from '../engines/log-disk/handles.js';
import { createLog } from '../engines/log-disk/log.js';
import { type Benchmark, type Figure, makeFigure } from './harness/result.js';

const KIB = 1_024;
const MB = 1e6;
const PARTITIONS = 4;
const PAYLOAD_BYTES = 1_000;
const BATCHES_BYTES = [256 * KIB, 16 * KIB] as const;
/** Log alone: of what the disk takes. */
const RATIO_MIN = 0.7;

interface Run {
  readonly mbPerSecond: number;
  readonly hash: number;
}

function makeBatch(bytes: number): Uint8Array {
  const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(PAYLOAD_BYTES).fill(0x5a) }));
  const builder = new BatchBuilder(bytes);
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 0);
  while (builder.byteLength + frame.length <= bytes) builder.frame(frame, 0, frame.length);
  return builder.finish().slice();
}

function rate(bytes: number, startNs: bigint): number {
  return bytes / MB / (Number(process.hrtime.bigint() - startNs) / 1e9);
}

async function runLog(directory: string, batch: Uint8Array, count: number): Promise<Run> {
  const shared = createDoorbell();
  const bell = new Doorbell(shared);
  const log = await createLog({
    directory,
    topics: [{ name: 'log', partitions: PARTITIONS, durability: Durability.BEFORE_READ, guarded: false, readers: [] }],
    producers: [{ guarded: false, doorbell: shared }],
    warn: (sentence) => console.error(sentence),
    fatal: (error) => {
      throw error;
    },
  });
  const producer = openProducer(log.producers[0]!);
  let hash = 0;
  let told = 0;
  const start = process.hrtime.bigint();
  let sent = 0;
  for (;;) {
    const seen = bell.read();
    const news = producer.outcomes((tag, outcome, offset) => {
      if (outcome !== AppendOutcome.DURABLE) throw new Error(`outcome ${outcome}`);
      hash = mix32(hash ^ (tag % PARTITIONS) ^ (offset << 2));
      told++;
    });
    if (told >= count) break;
    const before = sent;
    while (sent < count && producer.append(Topic.CONVERSATION, sent % PARTITIONS, batch, sent)) sent++;
    // The writer rings for outcomes only: a full queue empties before they come.
    if (news === 0 && sent === before) await bell.waitAsync(seen);
  }
  const mbPerSecond = rate(batch.length * count, start);
  await log.close();
  return { mbPerSecond, hash };
}

/** The disk's own figure: one file, writes of 1 MiB, one fdatasync at the end. */
export function runDisk(directory: string, bytes: number): number {
  fs.mkdirSync(directory, { recursive: true });
  const block = new Uint8Array(1_024 * KIB).fill(0x5a);
  const fd = fs.openSync(join(directory, 'sequential'), 'w');
  const start = process.hrtime.bigint();
  for (let left = bytes; left > 0; ) left -= fs.writeSync(fd, block, 0, Math.min(block.length, left));
  fs.fdatasyncSync(fd);
  const mbPerSecond = rate(bytes, start);
  fs.closeSync(fd);
  return mbPerSecond;
}

async function measure(batchBytes: number, totalBytes: number, runs: number): Promise<Figure> {
  const batch = makeBatch(batchBytes);
  const count = Math.ceil(totalBytes / batch.length);
  const logs: Run[] = [];
  const disks: number[] = [];
  for (let run = 0; run < runs; run++) {
    const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-bench-log-'));
    try {
      logs.push(await runLog(join(directory, 'log'), batch, count));
      disks.push(runDisk(join(directory, 'disk'), batch.length * count));
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  }
  const hashes = new Set(logs.map(({ hash }) => hash));
  if (hashes.size !== 1) throw new Error('outcomes differ between runs');
  return makeFigure({
    name: `log, batches of ${batchBytes / KIB} KiB`,
    unit: 'MB/s durable',
    better: 'higher',
    runs: logs.map(({ mbPerSecond }) => mbPerSecond),
    against: { name: 'one file from end to end, one fdatasync', unit: 'MB/s', runs: disks },
    reach: { of: 'ratio', bound: RATIO_MIN },
    hash: logs[0]!.hash.toString(16),
  });
}

export const benchmark: Benchmark = {
  name: 'log',
  about: 'The embedded log alone: bytes made durable a second, against the disk’s own sequential writes.',
  async run({ isTiny, runs, progress }) {
    const totalBytes = (isTiny ? 2 : 512) * MB;
    const figures: Figure[] = [];
    for (const batchBytes of BATCHES_BYTES) {
      progress(`batches of ${batchBytes / KIB} KiB, ${totalBytes / MB} MB a run`);
      figures.push(await measure(batchBytes, totalBytes, runs));
    }
    return { figures, workload: { partitions: PARTITIONS, bytes_a_run: totalBytes, payload_bytes: PAYLOAD_BYTES } };
  },
};
