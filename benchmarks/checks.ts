/**
 * How fast the checkers judge deliveries: one process's share of a run, G1–G6 on each message, then the summary and the
 * verdict. The hash says that all was judged.
 *
 * The floor beside it is the least that any order check does: the same pairs in the same order, one comparison and one
 * store in a typed array.
 */
import { Checker, exportSummary, judge } from '../core/checks/index.js';
import { deviceKey, mix32 } from '../core/ids.js';
import { Prng } from '../core/prng.js';
import { type Benchmark, type Figure, makeFigure } from './harness/result.js';

interface Sizes {
  readonly messages: number;
  /** Conversations taken at random: so few that their rows stay in the processor's caches, and so many that none does. */
  readonly narrow: number;
  readonly wide: number;
}

const FULL: Sizes = { messages: 2_000_000, narrow: 1_000, wide: 50_000 };
const TINY: Sizes = { messages: 20_000, narrow: 10, wide: 100 };

/** Direct conversations; each message is a send, a SENT and two deliveries: the receiver's device and the sender's other one. */
interface Workload {
  readonly checker: Checker;
  /** Pair numbers of each conversation: sender, receiver, sender's other device. */
  readonly pairs: Uint32Array;
  readonly order: Uint32Array;
}

function prepare(conversations: number, messages: number): Workload {
  const checker = new Checker();
  const pairs = new Uint32Array(conversations * 3);
  for (let i = 0; i < conversations; i++) {
    const a = 2 * i + 1;
    const devices = [deviceKey(a, 1), deviceKey(a + 1, 1), deviceKey(a, 2)];
    devices.forEach((device, k) => {
      checker.host(device);
      pairs[i * 3 + k] = checker.pair(device, a, a + 1);
    });
  }
  const prng = new Prng(1);
  return { checker, pairs, order: Uint32Array.from({ length: messages }, () => prng.below(conversations)) };
}

/** Rates are by processor time, so that a busy machine does not blur them. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

function perSecond(events: number, startedMs: number): number {
  return events / ((cpuMs() - startedMs) / 1_000);
}

interface Round {
  readonly deliveriesPerSecond: number;
  readonly floorPerSecond: number;
  readonly summaryMs: number;
  readonly verdictMs: number;
  readonly hash: number;
}

function round(conversations: number, messages: number): Round {
  const { checker, pairs, order } = prepare(conversations, messages);
  const counters = new Uint32Array(conversations);
  // Sends and SENT first: they are the generator's own part, and not what is measured.
  for (const conversation of order) {
    const sender = pairs[conversation * 3]!;
    const counter = ++counters[conversation]!;
    checker.sending(sender, counter, mix32(counter) || 1);
    checker.sent(sender, counter, counter);
  }
  counters.fill(0);
  const startedMs = cpuMs();
  for (let i = 0; i < order.length; i++) {
    const conversation = order[i]!;
    const at = conversation * 3;
    const counter = ++counters[conversation]!;
    const content = mix32(counter) || 1;
    checker.delivered(pairs[at + 1]!, counter, pairs[at]!, counter, content);
    checker.delivered(pairs[at + 2]!, counter, pairs[at]!, counter, content);
  }
  const deliveriesPerSecond = perSecond(2 * order.length, startedMs);
  const floorPerSecond = floor(order, conversations);
  const summaryStartedMs = cpuMs();
  const summary = exportSummary(checker);
  const summaryMs = cpuMs() - summaryStartedMs;
  const verdictStartedMs = cpuMs();
  const verdict = judge([summary], { isQuiescent: true });
  const verdictMs = cpuMs() - verdictStartedMs;
  if (!verdict.isClean || verdict.deliveries !== 2 * messages) throw new Error('the benchmark judged something else');
  return { deliveriesPerSecond, floorPerSecond, summaryMs, verdictMs, hash: hashOf(summary.conversations.log) };
}

/** One comparison and one store an event, over the same places. */
function floor(order: Uint32Array, conversations: number): number {
  const last = new Uint32Array(conversations * 2);
  const counters = new Uint32Array(conversations);
  let wrong = 0;
  const startedMs = cpuMs();
  for (let i = 0; i < order.length; i++) {
    const conversation = order[i]!;
    const seq = ++counters[conversation]!;
    for (let k = 0; k < 2; k++) {
      const at = conversation * 2 + k;
      if (seq !== last[at]! + 1) wrong++;
      last[at] = seq;
    }
  }
  const rate = perSecond(2 * order.length, startedMs);
  if (wrong > 0) throw new Error('the floor judged something else');
  return rate;
}

function hashOf(words: Uint32Array): number {
  let hash = 0;
  for (let i = 0; i < words.length; i++) hash = mix32(hash ^ words[i]!);
  return hash;
}

function figuresOf(name: string, rounds: readonly Round[]): Figure[] {
  const hash = rounds[0]!.hash.toString(16);
  const millions = (part: 'deliveriesPerSecond' | 'floorPerSecond'): number[] => rounds.map((one) => one[part] / 1e6);
  const ms = { unit: 'ms of CPU', better: 'lower', hash } as const;
  return [
    makeFigure({
      name: `deliveries judged, ${name}`,
      unit: 'M deliveries a second of CPU',
      better: 'higher',
      runs: millions('deliveriesPerSecond'),
      against: { name: 'one comparison and one store a delivery', runs: millions('floorPerSecond') },
      hash,
    }),
    makeFigure({ ...ms, name: `summary of one process, ${name}`, runs: rounds.map((one) => one.summaryMs) }),
    makeFigure({ ...ms, name: `verdict, ${name}`, runs: rounds.map((one) => one.verdictMs) }),
  ];
}

export const benchmark: Benchmark = {
  name: 'checks',
  about: 'Deliveries judged by the checkers that load and simulator use, in one thread.',
  run({ isTiny, runs, progress }) {
    const { messages, narrow, wide } = isTiny ? TINY : FULL;
    const figures = [wide, narrow].flatMap((conversations) => {
      const name = `${conversations.toLocaleString('en')} conversations`;
      progress(name);
      const rounds = Array.from({ length: runs }, () => round(conversations, messages));
      return figuresOf(name, rounds);
    });
    return { figures, workload: { messages, deliveries: 2 * messages } };
  },
};
