/**
 * From socket to synced disk to socket, everything in one server process: 16 messages in a WebSocket message, each on the disk
 * before anybody gets it, answered, handed to everybody, acknowledged and reported, every guarantee checked. Bytes of messages,
 * counted once each however often they are written and handed on, a second; against the lower of what the disk takes when as many
 * bytes are written from one end to the other and synced once, and what a bare uWebSockets.js echo loop sends back.
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FRAME_HEADER_BYTES } from '../core/limits.js';
import { COPIES } from '../pipelines/copies.js';
import {
  type Benchmark,
  type BenchmarkOptions,
  type Figure,
  type Measured,
  makeFigure,
  median,
  type Table,
} from './harness/result.js';
import { FRAMES_A_MESSAGE, makeChunk } from './ingest/messages.js';
import { startBare } from './ingest/receivers.js';
import { Sender } from './ingest/sender.js';
import { runDisk } from './log.js';
import { type Run, Session, type Workload } from './moonshot/session.js';

const MB = 1e6;
const REACH = 0.6;
const SEED = 7;

type Sizes = Omit<Workload, 'payloadBytes' | 'users' | 'window'>;

interface Length {
  readonly payloadBytes: number;
  readonly users: number;
  /** Of each user, without an answer: all of them together stay well below what makes a server refuse sends. */
  readonly window: number;
  /** WebSocket messages of every device in a run, and before the first. */
  readonly bursts: number;
  readonly warmUpBursts: number;
}

const SIZES: Sizes = {
  groups: 2_000,
  seed: SEED,
  burst: FRAMES_A_MESSAGE,
  groupPercent: 20,
  cuts: 0,
};
const TINY: Sizes = { ...SIZES, groups: 10 };

/** Ciphertexts as most chats have them, and as long as a picture's preview. */
const LENGTHS: readonly Length[] = [
  { payloadBytes: 120, users: 160, window: 128, bursts: 150, warmUpBursts: 100 },
  { payloadBytes: 4_096, users: 80, window: 32, bursts: 40, warmUpBursts: 40 },
];
const TINY_LENGTH = { users: 12, bursts: 3, warmUpBursts: 1 };

/** MB a second of frames that came back, as many as `bytes`. */
async function runEcho(bytes: number, connections: number, payloadBytes: number): Promise<number> {
  const bare = await startBare(connections, true);
  const sender = new Sender();
  try {
    const { frameBytes } = makeChunk(1, SEED, payloadBytes);
    const chunks = Math.max(1, Math.round(bytes / frameBytes / connections));
    await sender.order({ open: { port: bare.port, tokens: bare.tokens, messagesAChunk: 1, seed: SEED, payloadBytes } });
    await sender.order({ chunks, isEcho: true });
    const start = performance.now();
    await sender.order({ chunks, isEcho: true });
    return (chunks * connections * frameBytes) / MB / ((performance.now() - start) / 1_000);
  } finally {
    sender.stop();
    await bare.stop();
  }
}

function runDiskOnce(bytes: number): number {
  const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-durable-'));
  try {
    return runDisk(directory, bytes);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

async function measureWith(
  { bursts, warmUpBursts, ...length }: Length,
  sizes: Sizes,
  { runs, progress }: BenchmarkOptions,
): Promise<{ readonly figures: readonly Figure[]; readonly table: Table }> {
  const { payloadBytes, users } = length;
  const frameBytes = FRAME_HEADER_BYTES + payloadBytes;
  const session = await Session.start({ ...sizes, ...length }, 'disk');
  const ours: number[] = [];
  const done: Run[] = [];
  const disks: number[] = [];
  const echoes: number[] = [];
  let hash = 0;
  try {
    await session.run(warmUpBursts);
    for (let n = 0; n < runs; n++) {
      const run = await session.run(bursts);
      hash = run.hash;
      done.push(run);
      ours.push((run.perSecond * frameBytes) / MB);
      disks.push(runDiskOnce(run.messages * frameBytes));
      echoes.push(await runEcho(run.messages * frameBytes, users, payloadBytes));
      progress(
        `${payloadBytes} bytes: ${ours[n]!.toFixed(1)} MB/s, disk ${disks[n]!.toFixed(1)}, echo ${echoes[n]!.toFixed(1)}`,
      );
    }
  } finally {
    await session.close();
  }
  const what = `messages of ${payloadBytes} bytes, 16 a WebSocket message`;
  const shown = hash.toString(16);
  const figures = [
    makeFigure({
      name: `socket to synced disk to socket, ${what}`,
      unit: 'MB/s',
      better: 'higher',
      runs: ours,
      hash: shown,
      against: {
        name: 'the lower of the disk’s sequential writes and a bare echo loop',
        runs: disks.map((disk, n) => Math.min(disk, echoes[n]!)),
      },
      reach: { of: 'ratio', bound: REACH },
      note: 'Bytes of messages as sent, once each. A message is written twice, as it came and as it goes to its recipients, and is handed to 2.2 people and answered: each of that costs CPU time, of which a message takes the same however long it is.',
    }),
    makeFigure({
      name: `messages a second, ${what}`,
      unit: 'messages/s',
      better: 'higher',
      runs: done.map(({ perSecond }) => perSecond),
      hash: shown,
    }),
  ];
  return { figures, table: copiesTable(what, frameBytes, done) };
}

/** What each message is copied on its way, deliveries, answers and receipts included. */
function copiesTable(what: string, frameBytes: number, runs: readonly Run[]): Table {
  const rows = Object.entries(COPIES).map(([place, sentence]) => [
    sentence,
    Math.round(median(runs.map(({ counters }) => counters.get(`dunlin_copied_bytes_total/${place}`) ?? 0))),
  ]);
  const all = rows.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
  return {
    name: `Bytes copied a message of ${frameBytes} bytes with its deliveries, answer and receipts: ${what}`,
    columns: ['what is copied', 'bytes a message'],
    rows: [...rows, ['all', all]],
  };
}

async function measure(options: BenchmarkOptions): Promise<Measured> {
  const sizes = options.isTiny ? TINY : SIZES;
  const figures: Figure[] = [];
  const tables: Table[] = [];
  for (const length of LENGTHS) {
    const sized = options.isTiny ? { ...length, ...TINY_LENGTH } : length;
    const measured = await measureWith(sized, sizes, options);
    figures.push(...measured.figures);
    tables.push(measured.table);
  }
  const { groups, groupPercent } = sizes;
  return { figures, tables, workload: { groups, groupPercent, frames_a_message: FRAMES_A_MESSAGE } };
}

export const benchmark: Benchmark = {
  name: 'durable',
  about: 'From socket to synced disk to socket, against the lower of the disk’s own writes and a bare echo loop.',
  run: measure,
};
