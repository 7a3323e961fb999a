/**
 * What becomes of throughput when something grows: conversations, partitions, members of a group, connections. End to end over
 * durable servers (benchmarks/end-to-end/sweep.ts), and for what no load generator of this size can bring about, in the
 * conversation stage alone with its state in memory (benchmarks/growth/stage.ts), by processor time.
 */

import { formatCount } from '../reports/format.js';
import { type Sweep, type SweepOptions, sweep } from './end-to-end/sweep.js';
import { VARIES } from './end-to-end/world.js';
import { realisticSize, Shape, type StageRun, StageWorld } from './growth/stage.js';
import { type Benchmark, type BenchmarkOptions, type Measured, makeFigure, median } from './harness/result.js';

/** At the large end, so much of the small end's throughput must be left. */
const SHARE_MIN = 0.7;
const CONVERSATIONS = [10_000, 100_000, 1_000_000, 10_000_000] as const;
const MEMBERS = [2, 16, 128, 1_024] as const;
const PARTITIONS = [1, 4, 16, 64] as const;
const CONNECTIONS = [100, 1_000, 4_000, 18_000] as const;
/** By contacts of each of 2,000 users: so many direct conversations. */
const CONTACTS = [10, 100, 1_000] as const;
const CONTACT_USERS = 2_000;

interface StageSweep {
  readonly name: string;
  readonly unit: string;
  readonly per: 'message' | 'delivery';
  readonly sizes: readonly number[];
  readonly shapeOf: (size: number) => Shape;
  readonly messagesOf: (size: number) => number;
}

const STAGE_CONVERSATIONS: StageSweep = {
  name: 'conversations, conversation stage alone',
  unit: 'conversations',
  per: 'message',
  sizes: CONVERSATIONS,
  shapeOf: (conversations) => new Shape({ conversations, groupEvery: 5, sizeOf: realisticSize }),
  messagesOf: () => 200_000,
};

/** As many memberships in all, however they are spread over groups; and about as many deliveries. */
const STAGE_MEMBERS: StageSweep = {
  name: 'members of a group, conversation stage alone',
  unit: 'members',
  per: 'delivery',
  sizes: MEMBERS,
  shapeOf: (members) => {
    const conversations = Math.max(64, Math.round(200_000 / members));
    return new Shape({ conversations, groupEvery: 1, sizeOf: () => members });
  },
  messagesOf: (members) => Math.round(1_000_000 / members),
};

function stageSweep(given: StageSweep, { isTiny, runs, progress }: BenchmarkOptions): Sweep {
  const { name, unit, per } = given;
  const sizes = isTiny ? given.sizes.slice(0, 2).map((size) => (unit === 'members' ? size : size / 10)) : given.sizes;
  const worlds = sizes.map((size) => {
    const world = new StageWorld(given.shapeOf(size));
    progress(`${name}: ${size} are there`);
    return world;
  });
  const messagesOf = (size: number): number => (isTiny ? 500 : given.messagesOf(size));
  // The first run is the compilers', and is left out.
  const all = worlds.map((): StageRun[] => []);
  for (let run = -1; run < runs; run++) {
    for (const [n, world] of worlds.entries()) {
      const one = world.run(messagesOf(sizes[n]!));
      if (run >= 0) all[n]!.push(one);
    }
  }
  const nsOf = (of: readonly StageRun[]): number[] =>
    of.map(({ ns, messages, deliveries }) => ns / (per === 'message' ? messages : deliveries));
  const ns = all.map(nsOf);
  const [small, large] = [sizes[0]!, sizes.at(-1)!];
  const plural = per === 'message' ? 'messages' : 'deliveries';
  return {
    figures: [
      makeFigure({
        name: `${name}: at ${formatCount(large)}`,
        unit: `ns of processor time a ${per}`,
        better: 'lower',
        runs: ns.at(-1)!,
        against: { name: `at ${formatCount(small)}`, runs: ns[0]! },
        reach: { of: 'ratio', bound: SHARE_MIN },
        hash: all
          .flat()
          .reduce((hash, run) => (hash ^ run.hash) >>> 0, 0)
          .toString(16),
        ...(per === 'message'
          ? {
              note: 'what is few lies in the processor’s caches, and what is many does not: a message waits for memory',
            }
          : { note: 'a recipient costs less in a large group: what is done once a message is shared by more' }),
      }),
    ],
    curves: [
      {
        name,
        x: { name: unit, unit, isLogarithmic: true },
        y: { name: 'throughput of one core', unit: `${plural} a second` },
        series: [{ name: 'kernel', points: sizes.map((size, n) => [size, Math.round(1e9 / median(ns[n]!))]) }],
      },
    ],
    tables: [
      {
        name: `${name}, medians of the runs`,
        columns: [unit, 'ns a message', 'ns a delivery'],
        rows: sizes.map((size, n) => [
          size,
          Math.round(median(all[n]!.map((run) => run.ns / run.messages))),
          Math.round(median(all[n]!.map((run) => run.ns / run.deliveries))),
        ]),
      },
    ],
  };
}

type Growth = Pick<SweepOptions, 'name' | 'unit' | 'counts' | 'points' | 'note'>;

/** Nobody is in many groups that are large: so many deliveries are outstanding at a time, whatever the members. */
const DELIVERIES_OUTSTANDING = 16_000;

function growths(isTiny: boolean): Growth[] {
  // In small, one comparison is enough.
  const some = <T>(sizes: readonly T[], count = 1): readonly T[] => (isTiny ? sizes.slice(0, count) : sizes);
  const users = isTiny ? 40 : 2_000;
  return [
    {
      name: 'conversations, end to end',
      unit: 'conversations',
      counts: 'messages',
      points: some(CONTACTS, 2).map((contactsPerUser) => ({
        size: (CONTACT_USERS * contactsPerUser) / 2,
        workload: { users: isTiny ? 300 : CONTACT_USERS, contactsPerUser, contactsZipf: 0, groupShare: 0 },
      })),
    },
    {
      name: 'partitions, end to end',
      unit: 'partitions',
      counts: 'messages',
      points: some(PARTITIONS).map((size) => ({ size, workload: { users }, flags: ['--partitions', `${size}`] })),
    },
    {
      name: 'members of a group, end to end',
      unit: 'members',
      counts: 'deliveries',
      points: some(MEMBERS).map((size) => ({
        size,
        workload: {
          users: isTiny ? 40 : 1_024,
          contactsPerUser: 1,
          groupShare: 1,
          groupsPerUser: 1,
          groupSizeP50: size,
          groupSizeP95: size,
          groupSizeMax: size,
          outstandingMax: Math.max(16, Math.round(DELIVERIES_OUTSTANDING / size)),
        },
      })),
    },
    {
      name: 'connections, end to end',
      note: 'the more connections share a rate, the fewer frames share a write to a socket: see writes in the table',
      unit: 'connections',
      counts: 'messages',
      points: some(CONNECTIONS).map((size) => ({ size, workload: { users: isTiny ? Math.min(size, 200) : size } })),
    },
  ];
}

async function measure(options: BenchmarkOptions): Promise<Measured> {
  const tasks = growths(options.isTiny).map((growth) => () => sweep({ ...growth, ...options }));
  // In small nothing is compared, and waiting for one another takes most of the time.
  const endToEnd: Sweep[] = options.isTiny ? await Promise.all(tasks.map((task) => task())) : [];
  if (!options.isTiny) for (const task of tasks) endToEnd.push(await task());
  const parts = [...endToEnd, ...[STAGE_CONVERSATIONS, STAGE_MEMBERS].map((given) => stageSweep(given, options))];
  return {
    figures: parts.flatMap(({ figures }) => figures),
    curves: parts.flatMap(({ curves }) => curves),
    tables: parts.flatMap(({ tables }) => tables),
    workload: { payload_bytes_stage: 120, users: 2_000 },
  };
}

export const benchmark: Benchmark = {
  name: 'growth',
  about: 'throughput as conversations, partitions, members of a group and connections grow',
  varies: VARIES,
  run: measure,
};
