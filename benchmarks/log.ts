/**
 * What the log on disk makes of the disk: durable MB/s of the CONVERSATION log against the same bytes written to one file in
 * the same run, with one fdatasync at the end, and with one every 8 MiB. Prints one JSON object.
 *
 *   node dist/benchmarks/log.js [--tiny] [--data DIR]
 *
 * A round measures each way once, and every round begins with another one: disks that others use, or that are fast only for a
 * while, change from one second to the next. A batch counts when its outcome DURABLE has arrived; the first ones of a log, in
 * which its thread and its rings get warm, are not counted. Afterwards everything is read back; the hash says that all of it was
 * there, in order.
 */
import fs from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchBuilder, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { Kind, makeFrame, writeFrame } from '../core/frame.js';
import { mix32 } from '../core/ids.js';
import { BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, GROUP_COMMIT_BYTES_MAX } from '../core/limits.js';
import { AppendOutcome, type LogConsumer, type LogProducer } from '../core/ports.js';
import { createDoorbell, Doorbell } from '../engines/doorbell.js';
import { openLog, openProducer } from '../engines/log-disk/handles.js';
import { Durability } from '../engines/log-disk/journal.js';
import { createLog, type EmbeddedLog } from '../engines/log-disk/log.js';

const KIB = 1_024;
const MIB = 1_024 * KIB;
const PARTITIONS = 4;
/** Payload of a frame: with its header, about a message of the world's mix. */
const PAYLOAD_BYTES = 122;
const WRITE_BYTES = MIB;

const isTiny = process.argv.includes('--tiny');
const totalBytes = isTiny ? MIB : 1_024 * MIB;
const warmUpBytes = isTiny ? 64 * KIB : 64 * MIB;
const rounds = isTiny ? 2 : 7;
const dataFlag = process.argv.indexOf('--data');
const directory = fs.mkdtempSync(join(dataFlag > 0 ? process.argv[dataFlag + 1]! : tmpdir(), 'dunlin-log-'));

interface Measured {
  readonly mbPerSecond: number;
  /** Of what was read back; 0 for plain files. */
  readonly hash: number;
}

interface Way {
  readonly name: string;
  run(): Promise<Measured>;
}

function rate(bytes: number, startedMs: number): number {
  return bytes / 1e6 / ((performance.now() - startedMs) / 1_000);
}

// --- the disk itself ------------------------------------------------------------------------------------------------------

function writeFile(syncBytes: number): Measured {
  const path = join(directory, 'file');
  const bytes = new Uint8Array(WRITE_BYTES).fill(0x5a);
  const fd = fs.openSync(path, 'wx');
  const startedMs = performance.now();
  for (let at = 0; at < totalBytes; at += WRITE_BYTES) {
    fs.writeSync(fd, bytes, 0, WRITE_BYTES, at);
    if ((at + WRITE_BYTES) % syncBytes === 0) fs.fdatasyncSync(fd);
  }
  fs.fdatasyncSync(fd);
  const mbPerSecond = rate(totalBytes, startedMs);
  fs.closeSync(fd);
  fs.rmSync(path);
  return { mbPerSecond, hash: 0 };
}

// --- the log ----------------------------------------------------------------------------------------------------------------

/** Messages up to a batch of so many bytes. */
function makeBatch(bytes: number): Uint8Array {
  const builder = new BatchBuilder(bytes);
  const frameBytes = FRAME_HEADER_BYTES + PAYLOAD_BYTES;
  const frame = makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(PAYLOAD_BYTES).fill(0x5a) });
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 1);
  for (let left = bytes - BATCH_HEADER_BYTES; left >= frameBytes; left -= frameBytes) {
    writeFrame(builder.bytes, builder.view, builder.open(frameBytes), frame);
  }
  return builder.finish().slice();
}

/** Appends so many bytes and a bit, until all is acknowledged; returns how many. */
async function appendAll(producer: LogProducer, bell: Doorbell, batch: Uint8Array, wanted: number): Promise<number> {
  const batches = Math.ceil(wanted / batch.length);
  let appended = 0;
  let acknowledged = 0;
  while (acknowledged < batches) {
    const seen = bell.read();
    while (appended < batches && producer.append(0, appended % PARTITIONS, batch, appended)) appended++;
    const told = producer.outcomes((tag, outcome) => {
      if (outcome !== AppendOutcome.DURABLE) throw new Error(`append ${tag} had outcome ${outcome}`);
    });
    acknowledged += told;
    if (told === 0) await bell.waitAsync(seen);
  }
  return batches * batch.length;
}

function hashOf(consumer: LogConsumer, expectedBytes: number): number {
  let hash = 0;
  let bytes = 0;
  for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) {
    const { partition, offset, byteLength, count } = batch.header;
    hash = mix32(hash ^ mix32(offset * PARTITIONS + partition) ^ byteLength ^ count);
    bytes += byteLength;
  }
  consumer.close();
  if (bytes !== expectedBytes) throw new Error(`${bytes} bytes were read back, ${expectedBytes} were appended`);
  return hash;
}

async function openEmbedded(doorbell: SharedArrayBuffer): Promise<EmbeddedLog> {
  const fail = (reason: Error | string): void => {
    throw new Error(`the log said: ${String(reason)}`);
  };
  return await createLog({
    directory: join(directory, 'log'),
    topics: [
      {
        name: 'conversation',
        partitions: PARTITIONS,
        durability: Durability.BEFORE_READ,
        guarded: true,
        readers: [],
      },
    ],
    producers: [{ guarded: true, doorbell }],
    retainBytes: 2 * totalBytes,
    warn: fail,
    fatal: fail,
  });
}

async function writeLog(batchBytes: number): Promise<Measured> {
  const doorbell = createDoorbell();
  const log = await openEmbedded(doorbell);
  const producer = openProducer(log.producers[0]!);
  const batch = makeBatch(batchBytes);
  const bell = new Doorbell(doorbell);
  const warmUp = await appendAll(producer, bell, batch, warmUpBytes);
  const startedMs = performance.now();
  const bytes = await appendAll(producer, bell, batch, totalBytes);
  const mbPerSecond = rate(bytes, startedMs);
  const positions = Array.from({ length: PARTITIONS }, (_, partition) => ({ partition, offset: 0 }));
  const hash = hashOf(openLog(log.handle).consumer(0, positions), warmUp + bytes);
  await log.close();
  fs.rmSync(join(directory, 'log'), { recursive: true });
  return { mbPerSecond, hash };
}

// --- the comparison -----------------------------------------------------------------------------------------------------------

const ways: readonly Way[] = [
  { name: 'file, one fdatasync', run: () => Promise.resolve(writeFile(Infinity)) },
  { name: 'file, fdatasync every 8 MiB', run: () => Promise.resolve(writeFile(GROUP_COMMIT_BYTES_MAX)) },
  { name: 'log, batches of 256 KiB', run: () => writeLog(256 * KIB) },
  { name: 'log, batches of 16 KiB', run: () => writeLog(16 * KIB) },
];

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Median over the rounds of the one against the other within a round. */
function ratio(one: readonly Measured[], other: readonly Measured[]): number {
  return Number(median(one.map((measured, i) => measured.mbPerSecond / other[i]!.mbPerSecond)).toFixed(3));
}

function describe(measured: readonly Measured[]): Readonly<Record<string, unknown>> {
  const rates = measured.map(({ mbPerSecond }) => mbPerSecond);
  return {
    median: round1(median(rates)),
    runs: rates.map(round1),
    spread: [round1(Math.min(...rates)), round1(Math.max(...rates))],
  };
}

const results = ways.map((): Measured[] => []);
try {
  for (let n = 0; n < rounds; n++) {
    for (let i = 0; i < ways.length; i++) {
      const which = (n + i) % ways.length;
      results[which]!.push(await ways[which]!.run());
    }
  }
} finally {
  fs.rmSync(directory, { recursive: true, force: true });
}

const [once, every8, large, small] = results as [Measured[], Measured[], Measured[], Measured[]];
if (new Set(large.map(({ hash }) => hash)).size > 1 || new Set(small.map(({ hash }) => hash)).size > 1) {
  throw new Error('two runs of the same appends were read back differently');
}
const summary = describe(large);
console.log(
  JSON.stringify(
    {
      benchmark: 'log',
      figure: summary['median'],
      unit: 'MB/s',
      against: describe(once)['median'],
      ratio: ratio(large, once),
      runs: summary['runs'],
      spread: summary['spread'],
      ways: Object.fromEntries(ways.map(({ name }, i) => [name, describe(results[i]!)])),
      ratios: {
        'batches of 256 KiB to one fdatasync': ratio(large, once),
        'batches of 256 KiB to fdatasync every 8 MiB': ratio(large, every8),
        'batches of 16 KiB to one fdatasync': ratio(small, once),
        'batches of 16 KiB to fdatasync every 8 MiB': ratio(small, every8),
      },
      hash: mix32(large[0]!.hash ^ small[0]!.hash).toString(16),
      bytes: totalBytes,
      rounds,
      machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
    },
    undefined,
    2,
  ),
);
