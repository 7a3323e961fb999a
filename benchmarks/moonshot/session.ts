/** One server, one generator, and runs over them: what each costs, a message. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseTarget } from '../load/socket.js';
import { openIssuer } from '../load/tokens.js';
import type { FleetOptions } from './fleet.js';
import type { Command, Counts, Report } from './messages.js';
import { type Cpu, readCounters, readThreads, type Server, startServer, stopServer } from './server.js';

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url));
/** A third of the young generation of a generator: what lives for one burst must die before the collector copies it. */
const SEMI_SPACE_MIB = 32;
export const OTHERS = 'server: main thread, garbage collection, compilers';
const GENERATOR = 'generator';
const GENERATOR_OTHERS = 'generator: garbage collection, compilers';
/** Where the log is; workers in the order in which they start. */
const LOGS = {
  memory: { flags: ['--log', 'memory'], workers: ['user lane', 'conversation lane', 'gateway'] },
  disk: {
    flags: [],
    workers: ['log writer CONVERSATION', 'log writer USER', 'store', 'user lane', 'conversation lane', 'gateway'],
  },
} as const;
/** Of one connection: it is to be the path that limits, not the policy. */
const FRAMES_PER_SECOND = 1_000_000;
const SERVER_FLAGS = ['--partitions', '1', '--frames-per-second', String(FRAMES_PER_SECOND)];

export type Workload = Omit<FleetOptions, 'target' | 'tokens'>;

/** What one run came to. Costs and counts are a message. */
export interface Run {
  readonly messages: number;
  /** Messages that were handed to everybody, checked and reported, over the time from the first send to the last report. */
  readonly perSecond: number;
  readonly hash: number;
  /** Nanoseconds of CPU by thread. */
  readonly threads: ReadonlyMap<string, Cpu>;
  readonly counts: Counts;
  /** The server's own, by name, those of all threads together. */
  readonly counters: ReadonlyMap<string, number>;
}

interface Snapshot {
  readonly threads: ReadonlyMap<string, Cpu>;
  readonly counters: ReadonlyMap<string, number>;
}

export class Session {
  readonly #workload: Workload;
  readonly #server: Server;
  readonly #child: ChildProcess;
  #counts: Counts | undefined;
  conversations = 0;
  pairs = 0;

  private constructor(workload: Workload, server: Server, child: ChildProcess) {
    this.#workload = workload;
    this.#server = server;
    this.#child = child;
  }

  /** Starts both; everybody is connected, and all groups stand. */
  static async start(workload: Workload, log: keyof typeof LOGS = 'memory'): Promise<Session> {
    const { flags, workers } = LOGS[log];
    const server = await startServer([...SERVER_FLAGS, ...flags], workers);
    const child = fork(CHILD, [], {
      serialization: 'advanced',
      execArgv: [`--max-semi-space-size=${SEMI_SPACE_MIB}`],
    });
    const session = new Session(workload, server, child);
    try {
      await session.#connect();
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  async #connect(): Promise<void> {
    const issuer = await openIssuer({ data: this.#server.data });
    const users = Array.from({ length: this.#workload.users }, (_, n) => n + 1);
    const tokens = await Promise.all(users.map((user) => issuer.sign(user, 1)));
    const target = parseTarget(this.#server.url)!;
    const report = await this.#ask({ type: 'connect', options: { ...this.#workload, target, tokens } });
    if (report.type !== 'ready') throw new Error(`the generator answered ${report.type}`);
    this.conversations = report.conversations;
    this.pairs = report.pairs;
    this.#counts = report.counts;
  }

  async #ask(command: Command): Promise<Report> {
    this.#child.send(command);
    const gone = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`the generator ended with ${code as number}`);
    });
    gone.catch(() => {});
    const [report] = (await Promise.race([once(this.#child, 'message'), gone])) as [Report];
    return report;
  }

  async #snapshot(): Promise<Snapshot> {
    const { pid } = this.#child;
    return {
      counters: await readCounters(this.#server),
      threads: new Map([
        ...readThreads(this.#server.pid, this.#server.names, OTHERS),
        ...readThreads(pid!, new Map([[String(pid), GENERATOR]]), GENERATOR_OTHERS),
      ]),
    };
  }

  /** Every device sends so many bursts. Throws if anything that was promised did not hold. */
  async run(bursts: number): Promise<Run> {
    const before = await this.#snapshot();
    const report = await this.#ask({ type: 'run', bursts, isCut: this.#workload.cuts > 0 });
    const after = await this.#snapshot();
    if (report.type !== 'ran') throw new Error(`the generator answered ${report.type}`);
    if (report.violated > 0) {
      const sentences = report.violations.map(({ guarantee, sentence }) => `${guarantee}: ${sentence}`);
      throw new Error(`${report.violated} violations: ${sentences.join('; ')}`);
    }
    const { users, burst } = this.#workload;
    const messages = bursts * users * burst;
    const counts = differences(this.#counts!, report.counts, messages);
    this.#counts = report.counts;
    return {
      messages,
      perSecond: messages / report.seconds,
      hash: report.hash,
      threads: costs(before.threads, after.threads, messages),
      counts,
      counters: new Map(
        [...after.counters].map(([name, value]) => [name, (value - (before.counters.get(name) ?? 0)) / messages]),
      ),
    };
  }

  async close(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) {
      const gone = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await gone;
    }
    await stopServer(this.#server);
  }
}

function differences(before: Counts, after: Counts, messages: number): Counts {
  const entries = Object.entries(after) as [keyof Counts, number][];
  return Object.fromEntries(
    entries.map(([name, value]) => [name, (value - before[name]) / messages]),
  ) as unknown as Counts;
}

function costs(before: ReadonlyMap<string, Cpu>, after: ReadonlyMap<string, Cpu>, messages: number): Map<string, Cpu> {
  return new Map(
    [...after].map(([name, { user, system }]) => {
      const from = before.get(name) ?? { user: 0, system: 0 };
      // A thread that ended takes its time with it.
      const spent = (to: number, since: number): number => Math.max(0, to - since) / messages;
      return [name, { user: spent(user, from.user), system: spent(system, from.system) }];
    }),
  );
}
