/**
 * The run as a whole: starts the generators, leads them through connecting, founding groups, sending and draining, adds up
 * what they report, and comes to a verdict.
 */
import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { judge, type Verdict } from '../../core/checks/judge.js';
import type { Summary } from '../../core/checks/summary.js';
import { type Fault, Guarantees, Violations } from '../../core/checks/violation.js';
import { DunlinError, errorOfCode } from '../../core/errors.js';
import { formatCount, formatMs, formatShare } from '../../reports/format.js';
import { monotonicMs } from './clock.js';
import { highestRate, type SearchOptions, searchRate } from './find-max.js';
import { populate } from './generator.js';
import { Histogram, summarise } from './histogram.js';
import type { Interval } from './live.js';
import type { Command, GeneratorPort, Report, RunPlan, Stats } from './messages.js';
import type { Population } from './population.js';
import {
  describeMachine,
  emptySeries,
  type FindMaxStep,
  type LoadResult,
  type ShownViolation,
  verdictLine,
} from './result.js';
import { parseTarget } from './socket.js';
import { GENERATOR_CPU_MAX, isBusy, Stepper } from './steps.js';
import { addUp, backlogOf, type Totals } from './totals.js';

const POLL_MS = 1_000;
/** While something is waited for. */
const WAIT_POLL_MS = 200;
/** Less than a second, since polls are not exactly a second apart. */
const SHOW_MS = 900;
/** All devices must be connected, and all groups created, within this and a share for each of them. */
const CONNECT_MS = 30_000;
const FOUND_MS = 60_000;
/** Between the command to start and the first arrival, so that every process has heard it. */
const HEAD_START_MS = 200;
/** Share of the seconds in which that must be so before the run as a whole is called limited by the generator. */
const BOTTLENECK_SHARE = 0.05;
/** Bars of the latency chart to a factor of ten. */
const BARS_PER_DECADE = 12;

export interface RunOptions {
  readonly plan: RunPlan;
  /** Searches for the highest rate, from the workload's on; null: sends at the workload's rate for its duration. */
  readonly findMax: Pick<SearchOptions, 'p99Ms' | 'stepMs'> | null;
  /** Makes steps of its own, in place of both. */
  readonly drive?: (stepper: Stepper) => Promise<void>;
  readonly makePort: () => GeneratorPort;
  /** Once a second, and whenever a phase begins. */
  readonly onInterval?: (interval: Interval) => void;
  /** A line for the reader. */
  readonly say?: (line: string) => void;
  readonly onViolation?: (violation: ShownViolation) => void;
}

/** Fails with a sentence if nothing listens at the address. */
async function probe(url: string): Promise<void> {
  const target = parseTarget(url);
  if (target === undefined)
    throw new DunlinError(`--url '${url}' is not a WebSocket address such as ws://127.0.0.1:8480/socket.`);
  await new Promise<void>((resolve, reject) => {
    const socket = connectTcp({ host: target.host, port: target.port, timeout: 5_000 });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new DunlinError(`cannot connect to ${url}: ${why}. Is the server up? Start it with: dunlin up`));
    };
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('timeout', () => fail('no answer within 5 s'));
    socket.once('error', (error) => fail(error.message));
  });
}

export class LoadRun {
  readonly #options: RunOptions;
  readonly #plan: RunPlan;
  readonly #ports: GeneratorPort[] = [];
  #population!: Population;
  #ready = 0;
  #pollId = 0;
  #stats: Stats[] = [];
  /** Ends the pause that is being made. */
  #endPause: () => void = () => {};
  #failure: Error | undefined;
  #wake: (() => void)[] = [];
  readonly #summaries = new Map<number, Summary>();
  readonly #latencies = {
    all: new Histogram(),
    warmUp: new Histogram(),
    steady: new Histogram(),
    resumed: new Histogram(),
    ack: new Histogram(),
  };
  readonly #outages: number[] = [];
  #finished = 0;
  #stopRequested = false;
  /** Everything was answered and everybody connected when the verdict was reached. */
  #isOver = false;
  #phase = 'connecting';
  #durationMs: number | undefined;
  #startMs = 0;
  #sentUntilMs = 0;
  #lastPollMs = 0;
  #shownPhase = '';
  #shownAtMs = 0;
  #last: Totals = addUp([]);
  #first: ShownViolation | undefined;
  readonly #series = emptySeries();
  readonly #started = new Date();
  readonly #beganMs = monotonicMs();
  #busySeconds = 0;
  #seconds = 0;
  #cpuMax = 0;
  #cpuOfAllMax = 0;
  #lagMaxMs = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#plan = options.plan;
  }

  /** Ends sending; the run drains and comes to its verdict. */
  stop(): void {
    this.#stopRequested = true;
    this.#endPause();
  }

  /** Rejects with a DunlinError if there is no server, or the plan cannot be carried out. */
  async run(): Promise<LoadResult> {
    try {
      return await this.#run();
    } finally {
      await Promise.all(this.#ports.map((port) => port.close()));
    }
  }

  async #run(): Promise<LoadResult> {
    await probe(this.#plan.url);
    this.#population = (await populate(this.#plan)).population;
    await this.#startGenerators();
    await this.#connect();
    await this.#foundGroups();
    const steps = await this.#send();
    const drainFromMs = monotonicMs();
    const verdict = await this.#drain();
    const drainMs = monotonicMs() - drainFromMs;
    await this.#finish();
    return this.#result(verdict, steps, drainMs);
  }

  // --- talking to the generators -----------------------------------------------------------------------------------------------

  #tellAll(command: Command): void {
    for (const port of this.#ports) port.send(command);
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }

  /** Waits until `condition` holds; throws what a generator failed with. */
  async #until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (condition()) return;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  #report(report: Report): void {
    switch (report.type) {
      case 'ready':
        this.#ready++;
        break;
      case 'stats':
        if (report.id === this.#pollId) this.#stats.push(report);
        break;
      case 'violation':
        this.#violation(report.violation);
        break;
      case 'cuts':
        for (let i = 0; i < this.#ports.length; i++) {
          if (i !== report.process) this.#ports[i]!.send({ type: 'cuts', cuts: report.cuts });
        }
        break;
      case 'summary':
        this.#summaries.set(report.process, report.summary);
        break;
      case 'latencies':
        this.#latencies.all.addState(report.latencies.all);
        this.#latencies.warmUp.addState(report.latencies.warmUp);
        this.#latencies.steady.addState(report.latencies.steady);
        this.#latencies.resumed.addState(report.latencies.resumed);
        this.#latencies.ack.addState(report.latencies.ack);
        this.#outages.push(...report.outages);
        this.#finished++;
        break;
      default:
        this.#failure ??= report.usage ? new DunlinError(report.sentence) : new Error(report.sentence);
        this.#endPause();
    }
    this.#notify();
  }

  #violation(violation: ShownViolation): void {
    if (this.#first !== undefined) return;
    this.#first = violation;
    this.#options.onViolation?.(violation);
  }

  async #startGenerators(): Promise<void> {
    for (let i = 0; i < this.#plan.processes; i++) {
      const port = this.#options.makePort();
      port.onReport((report) => this.#report(report));
      this.#ports.push(port);
    }
    this.#lastPollMs = monotonicMs();
    this.#ports.forEach((port, process) => port.send({ type: 'setup', plan: this.#plan, process }));
    await this.#until(() => this.#ready === this.#ports.length);
  }

  /** Asks all generators how they stand. */
  async #poll(): Promise<Totals> {
    this.#pollId++;
    this.#stats = [];
    this.#tellAll({ type: 'poll', id: this.#pollId });
    await this.#until(() => this.#stats.length === this.#ports.length);
    return addUp(this.#stats);
  }

  /** Polls, shows, and keeps the interval in the series while the run is on. */
  async #observe(): Promise<Totals> {
    const totals = await this.#poll();
    const nowMs = monotonicMs();
    const seconds = Math.max(0.001, (nowMs - this.#lastPollMs) / 1_000);
    const rate = (name: 'sent' | 'acked' | 'delivered'): number =>
      (totals.counters[name] - this.#last.counters[name]) / seconds;
    const interval: Interval = {
      phase: this.#phase,
      elapsedMs: Math.max(0, nowMs - (this.#startMs === 0 ? this.#beganMs : this.#startMs)),
      durationMs: this.#durationMs,
      sent: totals.counters.sent,
      acked: totals.counters.acked,
      delivered: totals.counters.delivered,
      sentPerSecond: rate('sent'),
      ackedPerSecond: rate('acked'),
      deliveredPerSecond: rate('delivered'),
      p50Ms: totals.interval.quantileMs(0.5),
      p95Ms: totals.interval.quantileMs(0.95),
      p99Ms: totals.interval.quantileMs(0.99),
      backlog: backlogOf(totals),
      connections: totals.connections,
      connectionsWanted: totals.wanted,
      reconnects: totals.counters.plannedCuts + totals.counters.unplannedCuts,
      violations: totals.violations.total,
      generatorCpu: totals.cpu,
      generatorLagMs: totals.lagMs,
    };
    this.#lastPollMs = nowMs;
    this.#last = totals;
    if (this.#startMs > 0 && nowMs > this.#startMs) this.#keep(interval, totals);
    this.#show(interval, nowMs);
    return totals;
  }

  /** Once a second at most, and whenever a phase begins. */
  #show(interval: Interval, nowMs: number): void {
    if (interval.phase === this.#shownPhase && nowMs - this.#shownAtMs < SHOW_MS) return;
    this.#shownPhase = interval.phase;
    this.#shownAtMs = nowMs;
    this.#options.onInterval?.(interval);
  }

  #keep(interval: Interval, totals: Totals): void {
    const series = this.#series;
    const ms = (value: number): number | null => (totals.interval.count === 0 ? null : round(value));
    series.seconds.push(round(interval.elapsedMs / 1_000));
    series.sent_per_s.push(round(interval.sentPerSecond));
    series.acked_per_s.push(round(interval.ackedPerSecond));
    series.delivered_per_s.push(round(interval.deliveredPerSecond));
    series.p50_ms.push(ms(interval.p50Ms));
    series.p95_ms.push(ms(interval.p95Ms));
    series.p99_ms.push(ms(interval.p99Ms));
    series.accepted_p99_ms.push(ms(totals.accepted.quantileMs(0.99)));
    series.backlog.push(interval.backlog);
    series.connections.push(interval.connections);
    series.generator_lag_ms.push(round(interval.generatorLagMs));
    series.generator_cpu.push(round(interval.generatorCpu));
    if (this.#phase !== 'sending') return;
    this.#seconds++;
    if (isBusy(totals)) this.#busySeconds++;
    this.#cpuOfAllMax = Math.max(this.#cpuOfAllMax, totals.cpuOfAll);
    this.#cpuMax = Math.max(this.#cpuMax, interval.generatorCpu);
    this.#lagMaxMs = Math.max(this.#lagMaxMs, interval.generatorLagMs);
  }

  // --- the phases ------------------------------------------------------------------------------------------------------------------

  /** Waits, unless the run is stopped or fails meanwhile. */
  async #pause(ms: number): Promise<void> {
    if (this.#stopRequested || this.#failure !== undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Polls until `done`; false if `withinMs` passed first. */
  async #waitFor(withinMs: number, done: (totals: Totals) => boolean): Promise<boolean> {
    const untilMs = monotonicMs() + withinMs;
    for (;;) {
      const totals = await this.#observe();
      if (done(totals)) return true;
      if (monotonicMs() >= untilMs) return false;
      await sleep(WAIT_POLL_MS);
      if (this.#failure !== undefined) throw this.#failure;
    }
  }

  async #connect(): Promise<void> {
    this.#phase = 'connecting';
    this.#tellAll({ type: 'connect' });
    const devices = this.#population.devices;
    const withinMs = CONNECT_MS + (2_000 * devices) / this.#plan.connectsPerSecond;
    const isDone = (totals: Totals): boolean => totals.connections === totals.wanted;
    if (await this.#waitFor(withinMs, isDone)) {
      if (!this.#population.online.includes(0)) return;
      this.#phase = 'resting';
      this.#tellAll({ type: 'rest' });
      if (await this.#waitFor(withinMs, isDone)) return;
    }
    const { connections, wanted, counters } = this.#last;
    throw new DunlinError(
      `only ${formatCount(connections)} of ${formatCount(wanted)} devices could connect to ${this.#plan.url} within ${formatMs(withinMs)}; ${formatCount(counters.refused)} attempts were refused.`,
    );
  }

  async #foundGroups(): Promise<void> {
    if (this.#population.groupCount === 0) return;
    this.#phase = 'founding';
    this.#tellAll({ type: 'found' });
    if (await this.#waitFor(FOUND_MS, (totals) => totals.unfounded === 0 && backlogOf(totals) === 0)) return;
    const { unfounded } = this.#last;
    if (unfounded === 0) return;
    throw new DunlinError(
      `${formatCount(unfounded)} of ${formatCount(this.#population.groupCount)} groups could not be created within ${formatMs(FOUND_MS)}${describeRejections(this.#last.rejected)}.`,
    );
  }

  async #send(): Promise<FindMaxStep[]> {
    this.#phase = 'sending';
    this.#startMs = monotonicMs() + HEAD_START_MS;
    this.#tellAll({ type: 'start', atMs: this.#startMs });
    await sleep(HEAD_START_MS);
    let steps: FindMaxStep[] = [];
    const { drive, findMax, say } = this.#options;
    const { ratePerSecond: startRate, durationMs } = this.#plan.workload;
    if (drive !== undefined) await drive(this.#stepper());
    else if (findMax === null) await this.#sendFor(durationMs);
    else steps = await searchRate(this.#stepper(), { ...findMax, startRate, say });
    this.#tellAll({ type: 'stop', atMs: monotonicMs() });
    this.#sentUntilMs = monotonicMs();
    return steps;
  }

  #stepper(): Stepper {
    return new Stepper({
      startMs: this.#startMs,
      workload: this.#plan.workload,
      isStopped: () => this.#stopRequested || this.#failure !== undefined,
      tellAll: (command) => this.#tellAll(command),
      pause: (ms) => this.#pause(ms),
      observe: () => this.#observe(),
      waitFor: (withinMs, done) => this.#waitFor(withinMs, done),
    });
  }

  async #sendFor(durationMs: number): Promise<void> {
    this.#durationMs = durationMs;
    const untilMs = this.#startMs + durationMs;
    while (monotonicMs() < untilMs && !this.#stopRequested) {
      // On whole seconds since the start; one that has passed meanwhile is left out.
      const next = Math.floor((monotonicMs() - this.#startMs) / POLL_MS) + 1;
      await this.#pause(Math.min(untilMs, this.#startMs + next * POLL_MS) - monotonicMs());
      const totals = await this.#observe();
      if (totals.exhausted && totals.waiting === 0) break;
    }
  }

  /** Everybody comes online, and everything must arrive. Judges again and again until it has, or until time is up. */
  async #drain(): Promise<Verdict> {
    this.#phase = 'draining';
    this.#durationMs = undefined;
    this.#tellAll({ type: 'drain' });
    const untilMs = monotonicMs() + this.#plan.workload.drainMs;
    for (;;) {
      const isQuiet = await this.#waitFor(Math.max(0, untilMs - monotonicMs()), (totals) => this.#isQuiet(totals));
      const fromMs = monotonicMs();
      const verdict = await this.#judgeAll(isQuiet);
      // What was seen as it happened stays; what the judge adds may be on its way still.
      const mayComeRight = verdict.violations.total > this.#last.violations.total;
      this.#isOver = isQuiet;
      if (!mayComeRight || !isQuiet || monotonicMs() >= untilMs) return verdict;
      // Judging takes time with millions of messages: at most a fifth of all.
      await sleep(Math.max(WAIT_POLL_MS, 4 * (monotonicMs() - fromMs)));
    }
  }

  #isQuiet(totals: Totals): boolean {
    const pending = totals.inFlight + totals.waiting + totals.readsWaiting;
    return pending === 0 && !totals.isSending && totals.connections === this.#population.devices;
  }

  /** What has not come yet is lost only if nothing is under way any more. */
  async #judgeAll(isQuiescent: boolean): Promise<Verdict> {
    this.#summaries.clear();
    this.#tellAll({ type: 'summarise' });
    await this.#until(() => this.#summaries.size === this.#ports.length);
    return judge([...this.#summaries.values()], { isQuiescent, areReceiptsComplete: isQuiescent });
  }

  async #finish(): Promise<void> {
    this.#last = await this.#poll();
    this.#tellAll({ type: 'finish' });
    await this.#until(() => this.#finished === this.#ports.length);
    const { all, warmUp } = this.#latencies;
    if (all.count > 0) return;
    // Stopped within the warm-up: there are no other figures.
    all.add(warmUp);
    warmUp.reset();
  }

  // --- the verdict -----------------------------------------------------------------------------------------------------------------

  #result(verdict: Verdict, steps: FindMaxStep[], drainMs: number): LoadResult {
    const { counters, rejected } = this.#last;
    const { violations } = verdict;
    if (violations.kept[0] !== undefined) this.#violation({ ...violations.kept[0], frames: [] });
    const ofFaults = (...faults: Fault[]): number =>
      faults.reduce((total, fault) => total + violations.ofFault(fault), 0);
    const population = this.#population;
    const durationS = Math.max(0.001, (this.#sentUntilMs - this.#startMs) / 1_000);
    const { trace, workload } = this.#plan;
    const result: LoadResult = {
      verdict: '',
      ok: verdict.isClean && this.#isOver,
      sent: counters.sent,
      acked: counters.acked,
      delivered: counters.delivered,
      lost: ofFaults('lost'),
      duplicated: ofFaults('double'),
      out_of_order: ofFaults('order', 'disagreement'),
      gaps: ofFaults('gap'),
      invented: ofFaults('invented', 'membership'),
      violations: countByGuarantee(violations),
      first_violation: this.#first ?? null,
      latency_ms: summarise(this.#latencies.all),
      latency_warm_up_ms: summarise(this.#latencies.warmUp),
      latency_steady_ms: summarise(this.#latencies.steady),
      latency_resumed_ms: summarise(this.#latencies.resumed),
      ack_ms: summarise(this.#latencies.ack),
      distribution: this.#latencies.all.count === 0 ? [] : this.#latencies.all.bars(BARS_PER_DECADE),
      rates: {
        intended: trace === null && steps.length === 0 ? workload.ratePerSecond : round(counters.sent / durationS),
        sent: round(counters.sent / durationS),
        acked: round(counters.acked / durationS),
        delivered: round(counters.delivered / durationS),
      },
      group_messages: counters.groupMessages,
      group_changes: counters.groupChanges,
      receipts: counters.receipts,
      reads: counters.reads,
      rejected: nameRejections(rejected),
      unanswered: this.#last.inFlight,
      unsent: this.#last.waiting,
      under_way: backlogOf(this.#last),
      reconnects: { planned: counters.plannedCuts, unplanned: counters.unplannedCuts, refused: counters.refused },
      cut_off_ms: describeOutages(this.#outages),
      connections: {
        users: population.users,
        devices: population.devices,
        online_devices: population.deviceUser.reduce((sum, user) => sum + population.online[user]!, 0),
      },
      conversations: { groups: population.groupCount, directs: population.conversations - population.groupCount },
      generator: this.#describeGenerator(),
      duration_s: round(durationS),
      drain_s: round(drainMs / 1_000),
      series: this.#series,
      find_max:
        this.#options.findMax === null
          ? null
          : { p99_ms: this.#options.findMax.p99Ms, rate: highestRate(steps), steps },
      trace: null,
      machine: describeMachine(),
      workload,
      seed: this.#plan.seed,
      run: this.#plan.run,
      url: this.#plan.url,
      started: this.#started.toISOString(),
    };
    result.verdict = verdictLine(result);
    return result;
  }

  #describeGenerator(): LoadResult['generator'] {
    const share = this.#seconds === 0 ? 0 : this.#busySeconds / this.#seconds;
    const bottleneck = share > BOTTLENECK_SHARE;
    const { processes } = this.#plan;
    const all = processes === 1 ? '' : `, its ${processes} processes together ${formatShare(this.#cpuOfAllMax)}`;
    const facts = `${formatShare(this.#cpuMax)} of a core at most${all}, ${formatMs(this.#lagMaxMs)} late at most`;
    const remedy =
      this.#cpuMax > GENERATOR_CPU_MAX
        ? 'Give it more --processes, or a lower --rate'
        : 'The machine is busy with something else: give it one of its own, or a lower --rate';
    const sentence = bottleneck
      ? `The generator was itself the bottleneck in ${this.#busySeconds} of ${this.#seconds} seconds (${facts}), so the latencies hold its own delay. ${remedy}.`
      : `The generator kept up (${facts}).`;
    return {
      processes,
      cpu: round(this.#cpuMax),
      cpu_of_all: round(this.#cpuOfAllMax),
      lag_ms: Math.round(this.#lagMaxMs * 10) / 10,
      bottleneck,
      sentence,
    };
  }
}

function nameRejections(rejected: ReadonlyMap<number, number>): Record<string, number> {
  return Object.fromEntries([...rejected].map(([code, count]) => [errorOfCode(code)?.name ?? String(code), count]));
}

/** What the server said while nothing went on, as the end of a sentence. */
function describeRejections(rejected: ReadonlyMap<number, number>): string {
  const codes = Object.entries(nameRejections(rejected)).map(([name, count]) => `${name} × ${formatCount(count)}`);
  return codes.length === 0 ? '' : `; the server answered ${codes.join(', ')}`;
}

function countByGuarantee(violations: Violations): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const guarantee of Guarantees) {
    const count = violations.ofGuarantee(guarantee);
    if (count > 0) counts[guarantee] = count;
  }
  return counts;
}

/** To two decimals. */
function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function describeOutages(outages: readonly number[]): LoadResult['cut_off_ms'] {
  if (outages.length === 0) return null;
  const sorted = outages.toSorted((a, b) => a - b);
  return { cuts: sorted.length, median: round(sorted[Math.floor(sorted.length / 2)]!), max: round(sorted.at(-1)!) };
}
