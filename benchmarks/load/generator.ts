/**
 * One generator process: its users' devices, their schedule, and what they see. A loop of 2 ms sends what is due; sockets
 * bring what arrives. It does as its coordinator says, and reports.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FrameView } from '../../client/core.js';
import { exportSummary } from '../../core/checks/summary.js';
import type { Violation } from '../../core/checks/violation.js';
import { DunlinError, errorOfCode } from '../../core/errors.js';
import { At, type Frame, isSequenced, Kind, type KindName, readFrame, scanFrame, viewOf } from '../../core/frame.js';
import { CLIENT_OUTBOX_MAX, GROUP_MEMBERS_MAX } from '../../core/limits.js';
import { encodeMembers, readMembers } from '../../core/members.js';
import { Prng } from '../../core/prng.js';
import { type Arrival, ArrivalKind, DrawnArrivals, emptyArrival, type Schedule } from './arrivals.js';
import { monotonicMs } from './clock.js';
import { CutKind, CutTable } from './cuts.js';
import { Device, type DeviceHost } from './device.js';
import { drawExponential } from './draws.js';
import { Fifo, InFlight } from './fifo.js';
import { ArrivalQueue, MemberGate } from './gate.js';
import { Histogram } from './histogram.js';
import { HistoryFile } from './history-file.js';
import { type Command, type Cut, emptyCounters, type Report, type RunPlan } from './messages.js';
import { makePayload, readPayload, type Tag } from './payload.js';
import { drawPopulation, listOf, type Population } from './population.js';
import type { ShownFrame } from './result.js';
import { parseTarget, type SocketTarget } from './socket.js';
import { openIssuer, type TokenIssuer } from './tokens.js';
import { readTrace } from './trace.js';
import { planTrace, TraceArrivals, tracePopulation } from './trace-plan.js';
import { contentOf, type MemberChange, Verifier } from './verify.js';
import { WakeQueue } from './wake-queue.js';
import { warmUpOf } from './workload.js';

/** What is due is sent this often; also the worst that the loop itself adds to a latency when it is idle. */
const LOOP_MS = 2;
const IDLE_LOOP_MS = 10;
/** Cores are called when something is due, or up to this much later: acks wait 200 ms, so this is fine enough. */
const SCAN_MS = 10;
/** Frames of a message shown with a violation. */
const FRAMES_SHOWN_MAX = 8;
/** Tokens signed at one time. */
const SIGNING_MAX = 64;

/** Sequences at which the number of members of a group changed, as this process saw it. */
interface MemberCounts {
  readonly seqs: number[];
  readonly counts: number[];
}

/** The population of a plan, the same in every process. */
export async function populate(
  plan: RunPlan,
): Promise<{ population: Population; schedule: (own: Uint32Array, prng: Prng) => Schedule }> {
  const { workload, trace, run } = plan;
  if (trace === null) {
    const population = drawPopulation(workload, run, new Prng(plan.seed).fork('population'));
    return { population, schedule: (own, prng) => new DrawnArrivals(workload, population, own, prng) };
  }
  const columns = await readTrace(trace.file);
  const tracePlan = planTrace(columns, { users: workload.users, limit: trace.limit });
  const population = tracePopulation(tracePlan, workload.users, run);
  return { population, schedule: (own) => new TraceArrivals(tracePlan, population, trace.speed, own) };
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

const kindNames = new Map<number, KindName>(Object.entries(Kind).map(([name, kind]) => [kind, name as KindName]));

function describeFrame(frame: Frame): string {
  const name = kindNames.get(frame.kind) ?? `kind ${frame.kind}`;
  const { flags, convA, convB, device, counter, seq, inbox, time, extra, payload } = frame;
  return `${name} flags ${flags} conversation (${convA}, ${convB}) device ${device} counter ${counter} seq ${seq} inbox ${inbox} time ${time} extra ${extra} payload ${payload.length} bytes`;
}

export class Generator implements DeviceHost {
  readonly #report: (report: Report) => void;
  #plan!: RunPlan;
  #process = 0;
  #population!: Population;
  #verifier!: Verifier;
  #history: HistoryFile | undefined;
  #schedule!: Schedule;
  #issuer!: TokenIssuer;
  #target!: SocketTarget;
  #ca: string | undefined;
  #prng!: Prng;
  #cutPrng!: Prng;
  #readPrng!: Prng;
  /** By device index; undefined for devices of other processes. */
  #devices: (Device | undefined)[] = [];
  #own: Device[] = [];
  #tokens = new Map<number, string>();
  #signing = new Set<number>();
  /** Devices that may have something to send; those whose socket is full come again. */
  #dirty: Device[] = [];
  #flushed: Device[] = [];
  #wakes!: WakeQueue<Device>;
  #serials!: Uint32Array;
  #cuts!: CutTable;
  #cutsToTell: Cut[] = [];
  #outages: number[] = [];
  readonly #inFlight = new InFlight();
  /** Receptions that a message to a conversation should come to, at devices that are online. */
  #fanout!: Uint32Array;
  readonly #counts = new Map<number, MemberCounts>();
  #gate: MemberGate | undefined;
  readonly #overflow = new ArrivalQueue();
  /** Due time, device, conversation, sequence. */
  readonly #reads = new Fifo(4);
  readonly #tag: Tag = { run: 0, intendedMs: 0, sender: 0, conversation: 0, serial: 0 };

  readonly #counters = emptyCounters();
  readonly #rejected = new Map<number, number>();
  #unfounded = 0;
  #live = 0;
  #wanted = 0;
  readonly #interval = new Histogram();
  readonly #accepted = new Histogram();
  readonly #all = new Histogram();
  readonly #warmUp = new Histogram();
  readonly #steady = new Histogram();
  readonly #resumed = new Histogram();
  readonly #ack = new Histogram();

  #startMs = Number.POSITIVE_INFINITY;
  #warmUntilMs = 0;
  readonly #next: Arrival = emptyArrival();
  #hasNext = false;
  #sending = false;
  /** Arrivals due by then are the last. */
  #stopMs = Number.POSITIVE_INFINITY;
  #exhausted = false;
  #draining = false;
  #finished = false;
  #nowMs = 0;
  /** Server's times are those of the wall clock. */
  readonly #wallLessMonotonicMs = Date.now() - monotonicMs();
  #loopDueMs = 0;
  #scanDueMs = 0;
  #cutDueMs = Number.POSITIVE_INFINITY;
  #stormDueMs = Number.POSITIVE_INFINITY;
  /** Of this process; 0: any number. */
  #outstandingMax = 0;
  #connectTokens = 0;
  #connectTokensMax = 0;
  #connectFilledMs = 0;
  #lagMs = 0;
  #cpuSince = process.cpuUsage();
  #cpuSinceMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(report: (report: Report) => void) {
    this.#report = report;
  }

  // --- what the coordinator says ----------------------------------------------------------------------------------------------

  handle(command: Command): void {
    switch (command.type) {
      case 'setup':
        this.#setUp(command.plan, command.process).catch((error: unknown) => this.#fail(error));
        return;
      case 'connect':
        for (const device of this.#own) this.#connect(device);
        return;
      case 'rest':
        this.#rest();
        return;
      case 'found':
        this.#foundGroups();
        return;
      case 'start':
        this.#begin(command.atMs);
        return;
      case 'rate':
        this.#schedule.setRate(command.ratePerSecond, command.fromMs);
        this.#outstandingMax = Math.ceil(command.outstandingMax / this.#plan.processes);
        this.#exhausted = false;
        this.#sending = true;
        this.#stopMs = Number.POSITIVE_INFINITY;
        this.#advance();
        return;
      case 'stop':
        this.#stopMs = command.atMs;
        return;
      case 'drain':
        this.#drain();
        return;
      case 'cuts':
        for (const cut of command.cuts) this.#cuts.record(cut);
        return;
      case 'poll':
        this.#answerPoll(command.id);
        return;
      case 'summarise':
        this.#report({ type: 'summary', process: this.#process, summary: exportSummary(this.#verifier.checker) });
        return;
      case 'finish':
        this.#history?.close();
        this.#finish();
        return;
      default:
    }
  }

  #fail(error: unknown): void {
    const usage = error instanceof DunlinError;
    const sentence = error instanceof Error ? (usage ? error.message : (error.stack ?? error.message)) : String(error);
    this.#report({ type: 'failed', sentence, usage });
  }

  async #setUp(plan: RunPlan, index: number): Promise<void> {
    this.#plan = plan;
    this.#process = index;
    this.#target = parseTarget(plan.url)!;
    this.#ca = plan.caBundle === null ? undefined : await readFile(plan.caBundle, 'utf8');
    this.#issuer = await openIssuer(plan.key);
    const { population, schedule } = await populate(plan);
    this.#population = population;
    const users = Uint32Array.from({ length: population.users }, (_, user) => user);
    const ownUsers = users.filter((user) => user % plan.processes === index);
    this.#prng = new Prng(plan.seed).fork(`process ${index}`);
    this.#cutPrng = this.#prng.fork('cuts');
    this.#readPrng = this.#prng.fork('reads');
    this.#schedule = schedule(ownUsers, this.#prng.fork('arrivals'));
    this.#gate = plan.trace === null ? undefined : new MemberGate(population);
    this.#cuts = new CutTable(population.devices);
    this.#serials = new Uint32Array(population.devices);
    if (plan.historyDirectory !== null) {
      this.#history = new HistoryFile(join(plan.historyDirectory, `${index}.ndjson`));
    }
    this.#verifier = new Verifier(population, (violation) => this.#found(violation), this.#history);
    this.#verifier.founded();
    this.#countFanout();
    this.#makeDevices(ownUsers);
    this.#nowMs = monotonicMs();
    this.#connectTokensMax = Math.max(1, plan.connectsPerSecond / plan.processes / 10);
    this.#connectFilledMs = this.#nowMs;
    this.#outstandingMax = Math.ceil(plan.workload.outstandingMax / plan.processes);
    this.#wakes = new WakeQueue(SCAN_MS, this.#nowMs);
    this.#cpuSince = process.cpuUsage();
    this.#cpuSinceMs = this.#nowMs;
    this.#loopDueMs = this.#nowMs + LOOP_MS;
    this.#timer = setTimeout(() => this.#loop(), LOOP_MS);
    this.#report({ type: 'ready', process: index });
  }

  #countFanout(): void {
    const population = this.#population;
    this.#fanout = new Uint32Array(population.conversations);
    for (let c = 0; c < population.conversations; c++) {
      for (const user of population.membersOf(c)) {
        if (population.online[user] === 1) {
          this.#fanout[c]! += population.deviceStart[user + 1]! - population.deviceStart[user]!;
        }
      }
    }
  }

  #makeDevices(users: Uint32Array): void {
    const population = this.#population;
    this.#devices = Array.from({ length: population.devices });
    for (const user of users) {
      for (let d = population.deviceStart[user]!; d < population.deviceStart[user + 1]!; d++) {
        const prng = this.#prng.fork(`device ${d}`);
        const device = new Device(d, population.deviceKeyOf(d), this, prng);
        this.#devices[d] = device;
        this.#own.push(device);
        this.#verifier.host(d);
      }
    }
  }

  #isOnline(device: Device): boolean {
    return this.#population.online[this.#population.deviceUser[device.index]!] === 1;
  }

  #rest(): void {
    for (const device of this.#own) {
      if (this.#isOnline(device)) continue;
      this.#wanted--;
      device.stop(this.#nowMs);
    }
  }

  #connect(device: Device): void {
    this.#wanted++;
    device.start(this.#nowMs);
  }

  #foundGroups(): void {
    const population = this.#population;
    for (let group = 0; group < population.groupCount; group++) {
      const members = listOf(population.groups, group);
      const device = this.#devices[population.deviceStart[members[0]!]!];
      if (device === undefined) continue;
      const others = Array.from(members.subarray(1), (user) => population.userId(user));
      this.#unfounded++;
      this.#send(device, group, Kind.GROUP_CREATE, encodeMembers(others), this.#nowMs, 0);
    }
  }

  #begin(atMs: number): void {
    this.#startMs = atMs;
    this.#warmUntilMs = atMs + warmUpOf(this.#plan.workload);
    this.#sending = true;
    for (const histogram of [
      this.#interval,
      this.#accepted,
      this.#all,
      this.#warmUp,
      this.#steady,
      this.#resumed,
      this.#ack,
    ])
      histogram.reset();
    this.#advance();
    this.#planCut(Math.max(atMs, this.#nowMs));
    const { stormMs } = this.#plan.workload;
    if (stormMs > 0) this.#stormDueMs = atMs + stormMs;
  }

  #advance(): void {
    this.#hasNext = this.#schedule.next(this.#next);
    if (!this.#hasNext) this.#exhausted = true;
  }

  #planCut(fromMs: number): void {
    const perMs = (this.#plan.workload.reconnectsPerMinute * this.#wanted) / 60_000;
    this.#cutDueMs = perMs > 0 ? fromMs + drawExponential(this.#cutPrng) / perMs : Number.POSITIVE_INFINITY;
  }

  #drain(): void {
    this.#draining = true;
    this.#cutDueMs = Number.POSITIVE_INFINITY;
    this.#stormDueMs = Number.POSITIVE_INFINITY;
    for (const device of this.#own) if (!this.#isOnline(device)) this.#connect(device);
  }

  #finish(): void {
    this.#finished = true;
    this.#report({
      type: 'latencies',
      process: this.#process,
      outages: Float64Array.from(this.#outages),
      latencies: {
        all: this.#all.state(),
        warmUp: this.#warmUp.state(),
        steady: this.#steady.state(),
        resumed: this.#resumed.state(),
        ack: this.#ack.state(),
      },
    });
    clearTimeout(this.#timer);
    for (const device of this.#own) {
      device.stop(this.#nowMs);
      device.cut();
    }
  }

  #answerPoll(id: number): void {
    const nowMs = this.now();
    const cpu = process.cpuUsage(this.#cpuSince);
    const wallMs = Math.max(1, nowMs - this.#cpuSinceMs);
    this.#cpuSince = process.cpuUsage();
    this.#cpuSinceMs = nowMs;
    this.#report({
      type: 'stats',
      process: this.#process,
      id,
      counters: { ...this.#counters },
      rejected: new Map(this.#rejected),
      tally: this.#verifier.checker.violations.tally,
      interval: this.#interval.state(),
      accepted: this.#accepted.state(),
      connections: this.#live,
      wanted: this.#wanted,
      unfounded: this.#unfounded,
      inFlight: this.#inFlight.size,
      isSending: this.#sending,
      waiting: this.#overflow.length + (this.#gate?.waiting ?? 0),
      exhausted: this.#exhausted,
      readsWaiting: this.#reads.length,
      lagMs: this.#lagMs,
      cpu: (cpu.user + cpu.system) / 1_000 / wallMs,
    });
    this.#interval.reset();
    this.#accepted.reset();
    this.#lagMs = 0;
  }

  // --- the loop -----------------------------------------------------------------------------------------------------------------

  #loop(): void {
    if (this.#finished) return;
    const nowMs = this.now();
    const late = nowMs - this.#loopDueMs;
    if (late > this.#lagMs && this.#sending) this.#lagMs = late;
    if (this.#sending) this.#sendDue(nowMs);
    this.#retryOverflow();
    this.#readDue(nowMs);
    if (nowMs >= this.#cutDueMs) this.#cutOne(nowMs);
    if (nowMs >= this.#stormDueMs) this.#cutAll();
    if (nowMs >= this.#scanDueMs) this.#scan(nowMs);
    this.#flush(nowMs);
    if (this.#cutsToTell.length > 0) {
      this.#report({ type: 'cuts', process: this.#process, cuts: this.#cutsToTell });
      this.#cutsToTell = [];
    }
    // While nothing is to be sent, what answers and acknowledgements there are can wait a little.
    const pauseMs = this.#sending ? LOOP_MS : IDLE_LOOP_MS;
    this.#loopDueMs = monotonicMs() + pauseMs;
    this.#timer = setTimeout(() => this.#loop(), pauseMs);
  }

  #sendDue(nowMs: number): void {
    const untilMs = Math.min(nowMs, this.#stopMs);
    while (this.#hasNext && this.#startMs + this.#next.atMs <= untilMs) {
      if (this.#outstandingMax > 0) {
        if (this.#inFlight.size >= this.#outstandingMax) break;
        this.#next.atMs = nowMs - this.#startMs;
      }
      const late = nowMs - (this.#startMs + this.#next.atMs);
      if (late > this.#lagMs) this.#lagMs = late;
      if (this.#gate === undefined || this.#gate.admit(this.#next)) this.#act(this.#next);
      this.#advance();
    }
    if (nowMs >= this.#stopMs) this.#sending = false;
  }

  #retryOverflow(): void {
    for (let left = this.#overflow.length; left > 0; left--) this.#act(this.#overflow.shift());
  }

  #scan(nowMs: number): void {
    this.#scanDueMs = nowMs + SCAN_MS;
    const { connectsPerSecond, processes } = this.#plan;
    const isFree = this.#connectTokensMax === Number.POSITIVE_INFINITY;
    const filled = this.#connectTokens + ((nowMs - this.#connectFilledMs) * connectsPerSecond) / processes / 1_000;
    this.#connectTokens = isFree ? this.#connectTokensMax : Math.min(this.#connectTokensMax, filled);
    this.#connectFilledMs = nowMs;
    this.#wakes.wake(nowMs, (device) => {
      if (device.core.wakeAtMs <= nowMs) device.tick(nowMs);
      else this.#wakes.schedule(device, device.core.wakeAtMs);
    });
  }

  #flush(nowMs: number): void {
    const dirty = this.#dirty;
    this.#dirty = this.#flushed;
    this.#flushed = dirty;
    for (const device of dirty) {
      device.isDirty = false;
      device.flush(nowMs);
      this.#wakes.schedule(device, device.core.wakeAtMs);
    }
    dirty.length = 0;
  }

  #readDue(nowMs: number): void {
    const reads = this.#reads;
    while (reads.length > 0 && (this.#draining || reads.first(0) <= nowMs)) {
      const device = this.#devices[reads.first(1)]!;
      const conversation = reads.first(2);
      const seq = reads.first(3);
      reads.shift();
      // Who has left meanwhile has nothing to tell any more.
      const user = this.#population.deviceUser[device.index]!;
      if (this.#gate !== undefined && !this.#gate.isInside(user, conversation)) continue;
      device.core.read(this.#population.convA(conversation), this.#population.convB(conversation), seq);
      this.#verifier.read(device.index, conversation, seq);
      this.#counters.reads++;
      this.changed(device);
    }
  }

  #cutOne(nowMs: number): void {
    const device = this.#own[this.#cutPrng.below(this.#own.length)]!;
    if (device.isLive) {
      device.cutPlanned = true;
      device.cut();
    }
    this.#planCut(nowMs);
  }

  /** Everybody at once, and all may come back at once. It counts as an outage: what it does to latencies is of interest. */
  #cutAll(): void {
    this.#stormDueMs = Number.POSITIVE_INFINITY;
    this.#connectTokensMax = Number.POSITIVE_INFINITY;
    for (const device of this.#own) device.cut();
  }

  // --- sending --------------------------------------------------------------------------------------------------------------------

  #act(arrival: Arrival): void {
    const population = this.#population;
    const device = this.#devices[arrival.device]!;
    const intendedMs = this.#startMs + arrival.atMs;
    const { conversation } = arrival;
    if (device.core.outboxSize >= CLIENT_OUTBOX_MAX) {
      this.#overflow.push(arrival);
      return;
    }
    if (arrival.kind === ArrivalKind.ADD) {
      const users = encodeMembers([population.userId(arrival.subject)]);
      this.#send(device, conversation, Kind.GROUP_ADD, users, intendedMs, arrival.subject);
    } else if (arrival.kind === ArrivalKind.LEAVE) {
      this.#send(device, conversation, Kind.GROUP_LEAVE, new Uint8Array(0), intendedMs, 0);
    } else {
      const serial = this.#serials[device.index]! + 1;
      const tag = this.#tag;
      tag.run = this.#plan.run;
      tag.intendedMs = intendedMs;
      tag.sender = device.index;
      tag.conversation = conversation;
      tag.serial = serial;
      this.#send(device, conversation, Kind.MESSAGE, makePayload(tag, arrival.bytes), intendedMs, serial);
    }
  }

  /**
   * Puts a frame into the device's outbox, which has room. `serial` is that of a message, or the user whom a GROUP_ADD
   * adds.
   */
  #send(
    device: Device,
    conversation: number,
    kind: number,
    payload: Uint8Array,
    intendedMs: number,
    serial: number,
  ): void {
    const population = this.#population;
    const slot = this.#inFlight.take();
    const convA = population.convA(conversation);
    const convB = population.convB(conversation);
    const counter = device.core.send(convA, convB, payload, this.#nowMs, { kind, tag: slot });
    this.#verifier.sending(device.index, conversation, counter, contentOf(kind, 0, payload));
    const fanout = this.#fanout[conversation]!;
    this.#inFlight.intendedMs[slot] = intendedMs;
    this.#inFlight.conversation[slot] = conversation;
    this.#inFlight.serial[slot] = serial;
    this.#inFlight.fanout[slot] = fanout;
    this.#inFlight.kind[slot] = kind;
    this.#counters.expected += fanout;
    if (kind === Kind.MESSAGE) {
      this.#serials[device.index] = serial;
      this.#counters.sent++;
      if (conversation < population.groupCount) this.#counters.groupMessages++;
    } else this.#counters.groupChanges++;
    this.changed(device);
  }

  // --- what devices say ---------------------------------------------------------------------------------------------------------

  get target(): SocketTarget {
    return this.#target;
  }

  get caBundle(): string | undefined {
    return this.#ca;
  }

  now(): number {
    this.#nowMs = monotonicMs();
    return this.#nowMs;
  }

  tokenOf(device: Device): string | undefined {
    const token = this.#tokens.get(device.index);
    if (token !== undefined || this.#signing.has(device.index) || this.#signing.size >= SIGNING_MAX) return token;
    const population = this.#population;
    const user = population.deviceUser[device.index]!;
    const number = device.index - population.deviceStart[user]! + 1;
    this.#signing.add(device.index);
    this.#issuer.sign(population.userId(user), number).then(
      (signed) => {
        this.#tokens.set(device.index, signed);
        this.#signing.delete(device.index);
        if (!this.#finished) device.tick(this.now());
      },
      (error: unknown) => this.#fail(error),
    );
    return undefined;
  }

  mayConnect(): boolean {
    if (this.#connectTokens < 1) return false;
    this.#connectTokens--;
    return true;
  }

  waits(device: Device): void {
    this.#wakes.schedule(device, device.core.wakeAtMs);
  }

  changed(device: Device): void {
    if (device.isDirty) return;
    device.isDirty = true;
    this.#dirty.push(device);
  }

  liveChanged(device: Device, isLive: boolean): void {
    this.#live += isLive ? 1 : -1;
    if (this.#finished) return;
    const nowMs = this.#nowMs;
    if (!isLive) {
      device.cutAtMs = nowMs;
      if (device.stopped) device.cutPlanned = true;
      else if (device.cutPlanned) this.#counters.plannedCuts++;
      else this.#counters.unplannedCuts++;
      this.#tellCut({
        device: device.index,
        planned: device.cutPlanned,
        fromMs: nowMs,
        toMs: Number.POSITIVE_INFINITY,
      });
      return;
    }
    if (device.cutAtMs > 0) {
      if (!device.cutPlanned) this.#outages.push(nowMs - device.cutAtMs);
      this.#tellCut({ device: device.index, planned: device.cutPlanned, fromMs: device.cutAtMs, toMs: nowMs });
      this.#verifier.resumed(device.index);
    }
    device.cutAtMs = 0;
    device.cutPlanned = false;
  }

  #tellCut(cut: Cut): void {
    this.#cuts.record(cut);
    if (this.#plan.processes > 1) this.#cutsToTell.push(cut);
  }

  refused(_device: Device, code: number, reason: string): void {
    this.#counters.refused++;
    if (code === 401) {
      this.#fail(
        new DunlinError(`the server does not take the token: ${reason}. Give its --data directory, or --key.`),
      );
    } else if (code === 404 || code === 200) {
      this.#fail(new DunlinError(`${this.#plan.url} is not the server's socket: ${reason}.`));
    }
  }

  ended(device: Device, code: number, reason: string): void {
    if (this.#finished) return;
    const sentence = `the server closed device ${this.#population.deviceKeyOf(device.index)} for good: ${code} ${reason}`;
    this.#verifier.wrong('G8', 'lost', sentence, device.index, -1, 0);
  }

  message(device: Device, frame: FrameView): void {
    const conversation = this.#population.conversationOf(frame.convA, frame.convB);
    const sender = this.#population.deviceOfKey(frame.device);
    const { seq, bytes, payloadStart, payloadEnd } = frame;
    this.#counters.seen++;
    this.#counters.delivered++;
    if (conversation < 0 || sender < 0) {
      this.#foundForeign(device, frame);
      return;
    }
    const tag = this.#tag;
    const why = this.#whatIsWrong(frame, tag, sender, conversation);
    if (why !== undefined) this.#verifier.wrong('G5', 'invented', why, device.index, conversation, seq);
    const content = contentOf(frame.kind, frame.extra, bytes, payloadStart, payloadEnd);
    this.#verifier.delivered(device.index, conversation, seq, sender, frame.counter, content);
    if (why !== undefined) return;
    this.#recordLatency(device, sender, tag.intendedMs, frame.time);
    const isFirst = device.index === this.#population.deviceStart[this.#population.deviceUser[device.index]!];
    const { readShare, readDelayMs } = this.#plan.workload;
    if (isFirst && !this.#draining && readShare > 0 && this.#readPrng.unit() < readShare) {
      this.#reads.push(this.#nowMs + readDelayMs, device.index, conversation, seq);
    }
  }

  #whatIsWrong(frame: FrameView, tag: Tag, sender: number, conversation: number): string | undefined {
    if (!readPayload(frame.view, frame.payloadStart, frame.payloadEnd, tag))
      return 'the payload is not what anybody sent: its checksum is wrong';
    if (tag.run !== this.#plan.run) return `the message is of another run, ${tag.run}`;
    if (tag.sender !== sender) return 'the frame names another sender than the payload';
    if (tag.conversation !== conversation) return 'the message was sent to another conversation';
    return undefined;
  }

  #foundForeign(device: Device, frame: FrameView): void {
    const sentence = `a frame that is not of this run: conversation (${frame.convA}, ${frame.convB}), sender ${frame.device}`;
    this.#verifier.wrong('G5', 'invented', sentence, device.index, -1, frame.seq);
  }

  #recordLatency(device: Device, sender: number, intendedMs: number, loggedMs: number): void {
    const nowMs = this.#nowMs;
    const ms = nowMs - intendedMs;
    const touched = this.#cuts.touched(sender, device.index, intendedMs, nowMs);
    if (touched === CutKind.PLANNED) {
      this.#resumed.recordMs(ms);
      return;
    }
    this.#interval.recordMs(ms);
    this.#accepted.recordMs(Math.max(0, nowMs + this.#wallLessMonotonicMs - loggedMs));
    if (intendedMs < this.#warmUntilMs) {
      this.#warmUp.recordMs(ms);
      return;
    }
    this.#all.recordMs(ms);
    if (touched === CutKind.NONE) this.#steady.recordMs(ms);
  }

  groupChange(device: Device, frame: FrameView): void {
    const conversation = this.#population.conversationOf(frame.convA, frame.convB);
    const sender = this.#population.deviceOfKey(frame.device);
    this.#counters.seen++;
    if (conversation < 0 || sender < 0) {
      this.#foundForeign(device, frame);
      return;
    }
    const { seq, kind, payload } = frame;
    const change = this.#readChange(conversation, seq, kind, sender, payload);
    if (seq > 1) this.#verifier.changed(change);
    const content = contentOf(kind, frame.extra, payload);
    this.#verifier.delivered(device.index, conversation, seq, sender, frame.counter, content);
    this.#membersChanged(device, change);
  }

  #readChange(conversation: number, seq: number, kind: number, sender: number, payload: Uint8Array): MemberChange {
    if (kind === Kind.GROUP_LEAVE) {
      return { conversation, seq, joined: false, users: [this.#population.deviceUser[sender]!] };
    }
    const ids = readMembers(payload, 0, payload.length, GROUP_MEMBERS_MAX) ?? [];
    const users = ids.map((id) => this.#population.userOfId(id)).filter((user) => user >= 0);
    return { conversation, seq, joined: kind !== Kind.GROUP_REMOVE, users };
  }

  #membersChanged(device: Device, change: MemberChange): void {
    const { conversation, seq, joined, users } = change;
    this.#countMembers(conversation, seq, joined, users);
    const gate = this.#gate;
    if (gate === undefined) return;
    const user = this.#population.deviceUser[device.index]!;
    const send = (arrival: Arrival): void => this.#act(arrival);
    if (joined && users.includes(user)) gate.told(user, conversation, send);
    const creator = listOf(this.#population.groups, conversation)[0]!;
    if (!joined && user === creator) for (const gone of users) gate.gone(gone, conversation, send);
  }

  /** Everybody in a trace has one device, and is online: members are devices. */
  #countMembers(conversation: number, seq: number, joined: boolean, users: readonly number[]): void {
    if (this.#gate === undefined || seq === 1) return;
    let counts = this.#counts.get(conversation);
    if (counts === undefined) {
      counts = { seqs: [1], counts: [this.#fanout[conversation]!] };
      this.#counts.set(conversation, counts);
    }
    if (seq <= counts.seqs.at(-1)!) return;
    counts.seqs.push(seq);
    counts.counts.push(counts.counts.at(-1)! + (joined ? users.length : -users.length));
    this.#fanout[conversation] = counts.counts.at(-1)!;
  }

  /** Receptions of what stands at `seq`, as far as this process has seen the members change. */
  #fanoutAt(conversation: number, seq: number, kind: number): number {
    const counts = this.#counts.get(conversation);
    if (counts === undefined || seq === 0) return this.#fanout[conversation]!;
    let at = counts.seqs.length - 1;
    while (at > 0 && counts.seqs[at]! > seq) at--;
    return counts.counts[at]! + (kind === Kind.GROUP_LEAVE ? 1 : 0);
  }

  sent(device: Device, convA: number, convB: number, counter: number, seq: number, slot: number): void {
    const inFlight = this.#inFlight;
    const conversation = this.#population.conversationOf(convA, convB);
    const kind = inFlight.kind[slot]!;
    const change = kind === Kind.MESSAGE ? undefined : this.#changeOfSlot(device, conversation, seq, kind, slot);
    this.#counters.seen++;
    if (change !== undefined && seq > 1) this.#verifier.changed(change);
    this.#verifier.sent(device.index, conversation, counter, seq);
    if (change === undefined) {
      this.#counters.acked++;
      const intendedMs = inFlight.intendedMs[slot]!;
      const touched = this.#cuts.touched(device.index, device.index, intendedMs, this.#nowMs);
      if (touched !== CutKind.PLANNED && intendedMs >= this.#warmUntilMs) {
        this.#ack.recordMs(this.#nowMs - intendedMs);
      }
    } else {
      if (kind === Kind.GROUP_CREATE) this.#unfounded--;
      this.#membersChanged(device, change);
    }
    this.#counters.expected += this.#fanoutAt(conversation, seq, kind) - inFlight.fanout[slot]!;
    inFlight.release(slot);
  }

  /** What an own group change did: its payload is gone, so it was noted when it was sent. */
  #changeOfSlot(device: Device, conversation: number, seq: number, kind: number, slot: number): MemberChange {
    const user = this.#population.deviceUser[device.index]!;
    if (kind === Kind.GROUP_LEAVE) return { conversation, seq, joined: false, users: [user] };
    if (kind === Kind.GROUP_CREATE) {
      return { conversation, seq, joined: true, users: Array.from(listOf(this.#population.groups, conversation)) };
    }
    return { conversation, seq, joined: true, users: [this.#inFlight.serial[slot]!] };
  }

  rejected(
    device: Device,
    convA: number,
    convB: number,
    counter: number,
    code: number,
    text: string,
    final: boolean,
    slot: number,
  ): void {
    this.#rejected.set(code, (this.#rejected.get(code) ?? 0) + 1);
    if (!final || counter === 0) return;
    const conversation = this.#population.conversationOf(convA, convB);
    const inFlight = this.#inFlight;
    const kind = inFlight.kind[slot]!;
    this.#counters.expected -= inFlight.fanout[slot]!;
    this.#verifier.rejected(device.index, conversation, counter);
    if (kind === Kind.GROUP_CREATE) {
      const name = errorOfCode(code)?.name ?? code;
      this.#fail(new DunlinError(`the server refused to create a group: ${name}: ${text}`));
    }
    inFlight.release(slot);
  }

  gap(device: Device, convA: number, convB: number, through: number, reason: number): void {
    const conversation = this.#population.conversationOf(convA, convB);
    if (conversation >= 0) this.#verifier.gap(device.index, conversation, through, reason);
  }

  receipt(device: Device, convA: number, convB: number, user: number, delivered: number, read: number): void {
    this.#counters.receipts++;
    const conversation = this.#population.conversationOf(convA, convB);
    if (conversation >= 0) this.#verifier.receipt(device.index, conversation, user, delivered, read);
  }

  protocolViolation(device: Device, text: string): void {
    this.#verifier.wrong('G1', 'gap', text.replace(/\.$/, ''), device.index, -1, 0);
  }

  // --- violations --------------------------------------------------------------------------------------------------------------

  #found(violation: Violation): void {
    const device = this.#devices[this.#population.deviceOfKey(violation.device)];
    const frames =
      device?.current === undefined
        ? []
        : showFrames(device.current.subarray(device.currentStart, device.currentEnd), violation);
    this.#report({ type: 'violation', violation: { ...violation, frames } });
  }
}

/** Frames of the message in which it was seen: the one that is wrong, then others of the conversation. */
function showFrames(bytes: Uint8Array, { convA, convB, seq }: Violation): ShownFrame[] {
  const view = viewOf(bytes);
  const frames: ShownFrame[] = [];
  for (let at = 0, n = 0; at < bytes.length && frames.length < FRAMES_SHOWN_MAX; n++) {
    const length = scanFrame(bytes, view, at, bytes.length);
    if (length <= 0) {
      const label = `frame ${n} of the received message, which is not canonical`;
      frames.push({ label, hex: hexOf(bytes.subarray(at, at + At.PAYLOAD)), fields: `scan code ${length}` });
      break;
    }
    const frame = readFrame(bytes, view, at);
    if (convB === 0 || (frame.convA === convA && frame.convB === convB)) {
      const label = `frame ${n} of the received message`;
      const shown = { label, hex: hexOf(bytes.subarray(at, at + length)), fields: describeFrame(frame) };
      const isIt = seq > 0 && frame.seq === seq && (isSequenced(frame.kind) || frame.kind === Kind.SENT);
      if (isIt) frames.unshift(shown);
      else frames.push(shown);
    }
    at += length;
  }
  return frames;
}
