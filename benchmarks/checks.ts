/**
 * How fast the checkers judge deliveries: one process's share of a run, G1–G6 on each message, then the summary and the
 * verdict. `node dist/benchmarks/checks.js [--tiny]` prints one JSON object; the hash says that all was judged.
 *
 * The floor beside it is the least that any order check does: the same pairs in the same order, one comparison and one
 * store in a typed array.
 */
import { Checker, exportSummary, judge } from '../core/checks/index.js';
import { deviceKey, mix32 } from '../core/ids.js';
import { Prng } from '../core/prng.js';

const isTiny = process.argv.includes('--tiny');
const MESSAGES = isTiny ? 2_000 : 2_000_000;
const ROUNDS = isTiny ? 2 : 5;
/** Conversations taken at random: so few that their rows stay in the processor's caches, and so many that none does. */
const NARROW = isTiny ? 10 : 1_000;
const WIDE = isTiny ? 100 : 50_000;

/** Direct conversations; each message is a send, a SENT and two deliveries: the receiver's device and the sender's other one. */
interface Workload {
  readonly checker: Checker;
  /** Pair numbers of each conversation: sender, receiver, sender's other device. */
  readonly pairs: Uint32Array;
  readonly order: Uint32Array;
}

function prepare(conversations: number): Workload {
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
  return { checker, pairs, order: Uint32Array.from({ length: MESSAGES }, () => prng.below(conversations)) };
}

/** Rates are by processor time, so that a busy machine does not blur them. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

function perSecond(events: number, startedMs: number): number {
  return Math.round(events / ((cpuMs() - startedMs) / 1_000));
}

interface Round {
  readonly deliveriesPerSecond: number;
  readonly floorPerSecond: number;
  readonly summaryMs: number;
  readonly verdictMs: number;
  readonly hash: number;
}

function round(conversations: number): Round {
  const { checker, pairs, order } = prepare(conversations);
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
  if (!verdict.isClean || verdict.deliveries !== 2 * MESSAGES) throw new Error('the benchmark judged something else');
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

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

function measure(conversations: number): Readonly<Record<string, number | string>> {
  const rounds = Array.from({ length: ROUNDS }, () => round(conversations));
  const deliveries = median(rounds.map((one) => one.deliveriesPerSecond));
  const floorRate = median(rounds.map((one) => one.floorPerSecond));
  return {
    conversations,
    deliveries_per_cpu_second: deliveries,
    floor_per_cpu_second: floorRate,
    ratio: Number((deliveries / floorRate).toFixed(3)),
    summary_ms: Math.round(median(rounds.map((one) => one.summaryMs))),
    verdict_ms: Math.round(median(rounds.map((one) => one.verdictMs))),
    hash: rounds[0]!.hash.toString(16),
  };
}

console.log(
  JSON.stringify({
    benchmark: 'checks',
    messages: MESSAGES,
    rounds: ROUNDS,
    narrow: measure(NARROW),
    wide: measure(WIDE),
  }),
);
