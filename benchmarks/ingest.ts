/**
 * What a frame costs the thread that receives it: the gateway's (sockets, session, checks, batches handed to the log), against a
 * bare uWebSockets.js receive loop that counts bytes, with the same WebSocket messages of 16 frames.
 *
 * Both take a fixed amount from connections that send as fast as the system takes it; the two come in turns. The figure is CPU
 * time of the receiving thread, since others have the cores as well. The log's writing threads run as in production, over a disk
 * that forgets. The hash is folded from the frames that came out at their end.
 */
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Benchmark,
  type BenchmarkOptions,
  type Figure,
  type Measured,
  makeFigure,
  median,
} from './harness/result.js';
import { type Chunk, FRAMES_A_MESSAGE, makeChunk } from './ingest/messages.js';
import { type Receiver, startBare, startGateway } from './ingest/receivers.js';
import { Sender } from './ingest/sender.js';
import { threadCpuNs } from './ingest/thread-cpu.js';

const SEED = 7;
const REACH = 0.8;
const OBSTACLE =
  'The bare loop looks at no byte. The gateway copies each frame three times, into its kernel’s memory, into its batch and into the log’s ring, checks and routes it, and counts it against its connection’s limits.';
const POLL_MS = 2;

interface Sizes {
  readonly connections: number;
  readonly messagesAChunk: number;
  /**
   * Chunks a connection before the clock runs, and while it does. All of it is within the burst of bytes of a connection; one of
   * each connection is about what the log's queue takes, and they go one after the other, so that nothing is refused.
   */
  readonly warmChunks: number;
  readonly chunks: number;
}

/**
 * Two ways in which they come: sixteen messages of a connection at once, so that one read of its socket takes them all and next to
 * nothing but the messages themselves is left to pay; and one at a time, as from clients that gather for themselves.
 */
const FEEDS: Readonly<Record<'bursts' | 'singly', Sizes>> = {
  bursts: { connections: 256, messagesAChunk: 16, warmChunks: 12, chunks: 60 },
  singly: { connections: 256, messagesAChunk: 1, warmChunks: 100, chunks: 300 },
};
const TINY: Readonly<Record<'bursts' | 'singly', Sizes>> = {
  bursts: { connections: 4, messagesAChunk: 4, warmChunks: 1, chunks: 4 },
  singly: { connections: 4, messagesAChunk: 1, warmChunks: 1, chunks: 4 },
};
const HOW: Readonly<Record<'bursts' | 'singly', string>> = {
  bursts: '16 messages of a connection at once',
  singly: 'messages one at a time',
};

interface Run {
  /** Of the receiving thread, by frame. */
  readonly cpuNs: number;
  readonly framesPerSecond: number;
  /** Share of the time in which the receiving thread ran: near 1 if nothing else was the bottleneck. */
  readonly busy: number;
  readonly hash: number;
}

async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) await pause(POLL_MS);
}

async function run(start: (connections: number) => Promise<Receiver>, sizes: Sizes, chunk: Chunk): Promise<Run> {
  const { connections, messagesAChunk, warmChunks, chunks } = sizes;
  const receiver = await start(connections);
  const sender = new Sender();
  try {
    const { port, tokens } = receiver;
    await sender.order({ open: { port, tokens, messagesAChunk, seed: SEED } });
    await until(() => receiver.messages() >= tokens.filter((token) => token !== '').length);
    const before = receiver.messages();
    let sent = 0;
    const send = async (rounds: number): Promise<void> => {
      for (const end = sent + rounds; sent < end; ) {
        await sender.order({ chunks: 1 });
        sent++;
        await until(() => receiver.messages() >= before + sent * connections * chunk.messages);
        await until(() => (receiver.through()?.frames ?? Infinity) >= sent * connections * chunk.frames);
      }
    };
    await send(warmChunks);
    const thread = receiver.thread();
    const wall = performance.now();
    const cpu = threadCpuNs(thread);
    await send(chunks);
    const usedNs = threadCpuNs(thread) - cpu;
    const wallMs = performance.now() - wall;
    const frames = connections * chunks * chunk.frames;
    const expected = connections * (warmChunks + chunks);
    const hash = Number((BigInt(expected) * BigInt(chunk.hash)) % 2n ** 32n);
    if (receiver.through() !== undefined && receiver.through()!.hash !== hash) {
      throw new Error('other frames came out than were sent');
    }
    return {
      cpuNs: usedNs / frames,
      framesPerSecond: (frames / wallMs) * 1_000,
      busy: usedNs / 1e6 / wallMs,
      hash,
    };
  } finally {
    sender.stop();
    await receiver.stop();
  }
}

async function measureFeed(
  feed: 'bursts' | 'singly',
  sizes: Sizes,
  { runs, progress }: BenchmarkOptions,
): Promise<{ cpu: Figure; rate: Figure }> {
  const chunk = makeChunk(sizes.messagesAChunk, SEED);
  const gateway: Run[] = [];
  const bare: Run[] = [];
  for (let n = 0; n < runs; n++) {
    bare.push(await run(startBare, sizes, chunk));
    gateway.push(await run(startGateway, sizes, chunk));
    const shown = (one: Run): string => `${one.cpuNs.toFixed(0)} ns a frame`;
    progress(`${HOW[feed]}: gateway ${shown(gateway.at(-1)!)}, bare loop ${shown(bare.at(-1)!)}`);
  }
  const hash = gateway[0]!.hash.toString(16);
  const busy = median(gateway.map((one) => one.busy));
  const name = 'bare uWebSockets.js receive loop';
  return {
    cpu: makeFigure({
      name: `CPU time of the gateway’s thread a frame received, 16 frames a message, ${HOW[feed]}`,
      unit: 'ns a frame',
      better: 'lower',
      runs: gateway.map(({ cpuNs }) => cpuNs),
      hash,
      against: { name, runs: bare.map(({ cpuNs }) => cpuNs) },
      reach: { of: 'ratio', bound: REACH },
      note: OBSTACLE,
    }),
    rate: makeFigure({
      name: `frames received a second, 16 frames a message, ${HOW[feed]}`,
      unit: 'frames/s',
      better: 'higher',
      runs: gateway.map(({ framesPerSecond }) => framesPerSecond),
      hash,
      against: { name, runs: bare.map(({ framesPerSecond }) => framesPerSecond) },
      note: `By wall time, with sender and log writers on the same cores, and waiting for them: the receiving thread ran ${Math.round(busy * 100)}% of it.`,
    }),
  };
}

async function measure(options: BenchmarkOptions): Promise<Measured> {
  const feeds = options.isTiny ? TINY : FEEDS;
  const bursts = await measureFeed('bursts', feeds.bursts, options);
  const singly = await measureFeed('singly', feeds.singly, options);
  const chunk = makeChunk(1, SEED);
  return {
    figures: [bursts.cpu, singly.cpu, bursts.rate, singly.rate],
    workload: {
      connections: feeds.bursts.connections,
      frames_a_message: FRAMES_A_MESSAGE,
      frame_bytes: chunk.frameBytes / chunk.frames,
      frames_a_run: feeds.bursts.connections * feeds.bursts.chunks * feeds.bursts.messagesAChunk * FRAMES_A_MESSAGE,
    },
  };
}

export const benchmark: Benchmark = {
  name: 'ingest',
  about: 'What a frame costs the thread that receives it, against a bare uWebSockets.js receive loop.',
  run: measure,
};
