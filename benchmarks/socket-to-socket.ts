/**
 * How many messages a second go from socket to socket on this machine, generator and checks included: `dunlin up` with the log in
 * memory in one process, devices that send 64 frames in a WebSocket message in another. Every device's every delivery, answer and
 * receipt is judged (moonshot/columns.ts), over cut connections, too. The unit is the design's world at its peak.
 *
 * And where each nanosecond goes: CPU a message by thread, from outside, and bytes by part, from the server's own counters.
 */
import {
  type Benchmark,
  type BenchmarkOptions,
  type Measured,
  makeFigure,
  median,
  type Table,
} from './harness/result.js';
import { type Run, Session, type Workload } from './moonshot/session.js';

const PEAK = 3_500_000;
const NS_PER_SECOND = 1e9;

interface Sizes extends Workload {
  /** Of every device, in each run and before the first. */
  readonly bursts: number;
  readonly warmUpBursts: number;
}

const SIZES: Sizes = {
  users: 160,
  groups: 2_000,
  seed: 7,
  payloadBytes: 50,
  burst: 64,
  window: 128,
  groupPercent: 20,
  cuts: 8,
  bursts: 150,
  warmUpBursts: 100,
};

const TINY: Sizes = { ...SIZES, users: 12, groups: 10, cuts: 2, bursts: 3, warmUpBursts: 1 };

/** What is looked at in the server's counters, and what it says. */
const BYTES: readonly (readonly [counter: string, part: string])[] = [
  ['dunlin_gateway_bytes_in_total', 'from clients, in WebSocket messages'],
  ['dunlin_lane_bytes_total', 'into lanes, in batches: frames, recipients, acknowledgements, receipts'],
  ['dunlin_gateway_bytes_out_total', 'to clients, in WebSocket messages'],
];

function nsOf(run: Run, thread: string): number {
  const { user, system } = run.threads.get(thread) ?? { user: 0, system: 0 };
  return user + system;
}

function totalNs(run: Run): number {
  let total = 0;
  for (const { user, system } of run.threads.values()) total += user + system;
  return total;
}

function threadTable(runs: readonly Run[]): Table {
  const total = median(runs.map(totalNs));
  const rows = [...runs[0]!.threads.keys()].map((thread) => {
    const part = (of: 'user' | 'system'): number =>
      Math.round(median(runs.map((run) => run.threads.get(thread)?.[of] ?? 0)));
    const all = median(runs.map((run) => nsOf(run, thread)));
    return [thread, part('user'), part('system'), Math.round(all), Math.round((100 * all) / total)];
  });
  rows.sort((one, other) => Number(other[3]) - Number(one[3]));
  return {
    name: 'CPU a message, by thread',
    columns: ['thread', 'user ns', 'system ns', 'ns', '% of all'],
    rows: [...rows, ['all', null, null, Math.round(total), 100]],
  };
}

function bytesTable(runs: readonly Run[]): Table {
  const rows = BYTES.map(([counter, part]) => [
    part,
    round(median(runs.map((run) => run.counters.get(counter) ?? 0)), 0),
  ]);
  return { name: 'Bytes a message, by part', columns: ['part', 'bytes'], rows };
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function countsTable(runs: readonly Run[]): Table {
  const of = (count: (run: Run) => number): number => round(median(runs.map(count)), 3);
  return {
    name: 'What a message is',
    columns: ['a message', 'count'],
    rows: [
      ['deliveries to others', of(({ counts }) => counts.delivered)],
      ['receipts to its sender', of(({ counts }) => counts.receipts)],
      ['frames to clients', of(({ counts }) => counts.framesIn)],
      ['WebSocket messages to clients', of(({ counts }) => counts.messagesIn)],
      ['frames from clients', of(({ counters }) => counters.get('dunlin_gateway_frames_in_total') ?? 0)],
      ['WebSocket messages from clients', of(({ counters }) => counters.get('dunlin_gateway_messages_in_total') ?? 0)],
    ],
  };
}

/** The thread that takes most: with one core of its own it could do no more than that. */
function obstacle(runs: readonly Run[]): string {
  const threads = [...runs[0]!.threads.keys()].map((thread) => ({
    thread,
    ns: median(runs.map((run) => nsOf(run, thread))),
  }));
  const first = threads.reduce((most, one) => (one.ns > most.ns ? one : most));
  const total = median(runs.map(totalNs));
  const floor = Math.round(NS_PER_SECOND / first.ns);
  return (
    `The next obstacle is the ${first.thread}: ${Math.round(first.ns)} of ${Math.round(total)} ns of CPU a message, so alone on a ` +
    `core it could do no more than ${floor.toLocaleString('en')} messages a second. The peak on two cores leaves 571 ns to all threads.`
  );
}

async function measure({ isTiny, runs, progress }: BenchmarkOptions): Promise<Measured> {
  const { bursts, warmUpBursts, ...workload } = isTiny ? TINY : SIZES;
  const session = await Session.start(workload);
  const done: Run[] = [];
  try {
    await session.run(warmUpBursts);
    for (let n = 0; n < runs; n++) {
      const one = await session.run(bursts);
      done.push(one);
      progress(
        `run ${n + 1}: ${Math.round(one.perSecond)} messages a second, ${Math.round(totalNs(one))} ns of CPU a message`,
      );
    }
  } finally {
    await session.close();
  }
  const hash = done.at(-1)!.hash.toString(16);
  return {
    figures: [
      makeFigure({
        name: 'messages a second from socket to socket, log in memory, generator and checks included',
        unit: 'messages/s',
        better: 'higher',
        runs: done.map(({ perSecond }) => perSecond),
        hash,
        against: { name: "the world's peak", runs: done.map(() => PEAK) },
        reach: { of: 'figure', bound: PEAK },
        note: obstacle(done),
      }),
      makeFigure({
        name: 'CPU of all threads a message, server and generator',
        unit: 'ns',
        better: 'lower',
        runs: done.map(totalNs),
        hash,
        note: 'What else the machine does meets the first figure in full, and this one by half.',
      }),
    ],
    tables: [threadTable(done), bytesTable(done), countsTable(done)],
    workload: {
      ...workload,
      conversations: session.conversations,
      members_in_all: session.pairs,
      messages_a_run: done[0]!.messages,
    },
  };
}

export const benchmark: Benchmark = {
  name: 'socket-to-socket',
  about:
    'messages a second from socket to socket with the log in memory, every guarantee checked, and where each nanosecond goes',
  run: measure,
};
