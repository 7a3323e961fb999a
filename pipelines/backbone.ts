/**
 * The whole backbone in one process on the embedded engines: opens the data directory, starts the threads in order (logs,
 * store, lanes, gateways), keeps them alive, knows how they are, and ends them in the reverse order.
 */

import { Worker } from 'node:worker_threads';
import { DunlinError } from '../core/errors.js';
import { StageId } from '../core/keys.js';
import { RING_BYTES, YOUNG_GENERATION_MIB } from '../core/limits.js';
import { type DataDirectory, openDataDirectory } from '../engines/data-directory.js';
import { createDoorbell, Doorbell } from '../engines/doorbell.js';
import type { ProducerHandle } from '../engines/open-log.js';
import { createRing } from '../engines/ring.js';
import { ThreadOrder } from '../engines/thread-order.js';
import { GATEWAY_METRICS_BYTES } from '../gateway/gateway-metrics.js';
import type { GatewayWorkerData } from '../gateway/gateway-worker.js';
import { Backlog } from './backlog.js';
import { describeCopies } from './copies.js';
import { LANE_STATUS_BYTES, LaneFieldIndex } from './lane-status.js';
import type { GatewayRing, LaneWorkerData } from './lane-worker.js';
import { describeGateway, describeLane, type Metric } from './metrics.js';
import { Supervised } from './supervise.js';
import { type Bells, type Engines, openForgetful, openKept } from './wire-engines.js';

export interface BackboneOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly dataDirectory: string;
  /** Fixed when the data directory is made. */
  readonly partitions?: number;
  readonly lanes: number;
  readonly gateways: number;
  /** JWKS file or URL, or a public key file; none: the development issuer, on loopback only. */
  readonly keys?: string;
  readonly tls?: { readonly keyFile: string; readonly certFile: string };
  /** `memory`: nothing is kept, neither log nor state (engines/log-rings/handles.ts). */
  readonly log?: 'disk' | 'memory';
  readonly diskReserveBytes: number;
  readonly retainBytes: number;
  readonly framesPerSecond: number;
  readonly connectionsPerAddress: number;
  readonly admissionsPerSecond: number;
  /** False: lanes and gateways do without the WebAssembly kernels. */
  readonly kernel?: boolean;
  /** Gets sentences that an operator should see. */
  readonly warn: (sentence: string) => void;
}

export interface BackboneStatus {
  /** Nothing is beyond repair. */
  readonly healthy: boolean;
  /** Takes traffic. */
  readonly ready: boolean;
  /** Why not, in sentences. */
  readonly problems: readonly string[];
}

export interface Backbone {
  readonly port: number;
  readonly dataDirectory: string;
  status(): BackboneStatus;
  metrics(): Metric[];
  /** Resolves with the reason when something is beyond repair. */
  readonly failed: Promise<Error>;
  /** For failure tests: lets a thread throw at its next turn. */
  failLane(stage: 'conversation' | 'user', lane: number): void;
  failGateway(gateway: number): void;
  /** Stops taking traffic, finishes what was accepted, commits, ends. */
  close(drainMs: number): Promise<void>;
}

interface LaneThread {
  readonly stage: 'conversation' | 'user';
  readonly stageId: typeof StageId.CONVERSATION | typeof StageId.USER;
  readonly number: number;
  readonly partitions: readonly number[];
  readonly doorbell: SharedArrayBuffer;
  readonly status: Float64Array;
  readonly order: Int32Array;
  readonly producer: ProducerHandle;
  readonly backlog: Backlog;
  supervised: Supervised | undefined;
  /** Sentences about partitions that are stopped since their log lost something. */
  losses: readonly string[];
}

interface GatewayThread {
  readonly number: number;
  readonly doorbell: SharedArrayBuffer;
  /** By user lane: the ring in which that lane's batches arrive. */
  readonly rings: readonly SharedArrayBuffer[];
  readonly producer: ProducerHandle;
  readonly metrics: SharedArrayBuffer;
  readonly order: Int32Array;
  supervised: Supervised | undefined;
  listening: boolean;
}

/** Incarnations of threads grow over all starts of the process: boot × 2^8 + restarts. */
const RESTARTS_PER_BOOT = 256;
const ADMISSION_CHECK_MS = 100;

function shared(bytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(bytes);
}

function shareOf(count: number, lanes: number, lane: number): number[] {
  return Array.from({ length: count }, (_, partition) => partition).filter((partition) => partition % lanes === lane);
}

const now = (): number => performance.now();
const later = (run: () => void, ms: number): void => {
  setTimeout(run, ms);
};

class EmbeddedBackbone implements Backbone {
  readonly failed: Promise<Error>;
  readonly #options: BackboneOptions;
  readonly #directory: DataDirectory;
  readonly #lanes: LaneThread[];
  readonly #gateways: GatewayThread[];
  readonly #gatewaysUp: Int32Array;
  /** Int32: 1 while new sends are refused because a lane is too far behind. */
  readonly #admission = new Int32Array(shared(4));
  readonly #engines: Engines;
  readonly #fail: (error: Error) => void;
  #admissionTimer: NodeJS.Timeout | undefined;
  #port = 0;
  #stopping = false;
  #broken: Error | undefined;

  private constructor(
    options: BackboneOptions,
    directory: DataDirectory,
    engines: Engines,
    threads: { lanes: LaneThread[]; gateways: GatewayThread[] },
    failure: { promise: Promise<Error>; fail: (error: Error) => void },
  ) {
    this.#options = options;
    this.#directory = directory;
    this.#engines = engines;
    this.#lanes = threads.lanes;
    this.#gateways = threads.gateways;
    this.#gatewaysUp = new Int32Array(shared(4 * threads.gateways.length));
    this.failed = failure.promise;
    this.#fail = (error) => {
      this.#broken ??= error;
      failure.fail(error);
    };
  }

  static async start(options: BackboneOptions): Promise<EmbeddedBackbone> {
    const directory = openDataDirectory(
      options.dataDirectory,
      options.partitions === undefined ? {} : { partitions: options.partitions },
    );
    let engines: Engines | undefined;
    let backbone: EmbeddedBackbone | undefined;
    try {
      let fail: (error: Error) => void = () => {};
      const promise = new Promise<Error>((resolve) => {
        fail = resolve;
      });
      const failure = { promise, fail };
      const { bells, plan } = planThreads(options, directory.partitions);
      engines =
        options.log === 'memory' ? openForgetful(directory, bells) : await openKept(directory, bells, options, fail);
      backbone = new EmbeddedBackbone(options, directory, engines, plan(engines.producers), failure);
      await backbone.#startLanes();
      await backbone.#startGateways();
      backbone.#watchAdmission();
      return backbone;
    } catch (error) {
      if (backbone !== undefined) await backbone.close(0);
      else {
        await engines?.close();
        directory.close();
      }
      throw error;
    }
  }

  get port(): number {
    return this.#port;
  }

  get dataDirectory(): string {
    return this.#directory.path;
  }

  #supervise(
    name: string,
    start: (restart: number) => Worker,
    onMessage: (message: unknown) => void,
    restarts = true,
  ): Supervised {
    return new Supervised({
      name,
      start,
      onMessage,
      restarts,
      warn: this.#options.warn,
      fatal: this.#fail,
      nowMs: now,
      later,
    });
  }

  // --- lanes --------------------------------------------------------------------------------------------------------------

  async #startLanes(): Promise<void> {
    // A power failure may have taken the tail of the USER topic, with inbox positions that devices have seen. User lanes begin a
    // new generation of positions; nothing may be appended before it, least of all what conversation lanes say again.
    for (const stage of ['user', 'conversation']) {
      await Promise.all(this.#lanes.filter((lane) => lane.stage === stage).map((lane) => this.#untilRunning(lane)));
    }
  }

  async #untilRunning(lane: LaneThread): Promise<void> {
    const running = new Promise<void>((resolve) => {
      const onMessage = (message: unknown): void => {
        const { running: isRunning, losses = [] } = message as { running?: boolean; losses?: readonly string[] };
        for (const sentence of losses) if (!lane.losses.includes(sentence)) this.#options.warn(sentence);
        lane.losses = losses;
        if (isRunning === true) resolve();
      };
      lane.supervised = this.#supervise(
        `${lane.stage} lane ${lane.number}`,
        (n) => this.#laneWorker(lane, n),
        onMessage,
        this.#engines.isKept,
      );
    });
    const broken = await Promise.race([running, this.failed]);
    if (broken !== undefined) throw broken;
  }

  #laneWorker(lane: LaneThread, restart: number): Worker {
    const store = this.#engines.storePort(lane.doorbell);
    lane.status.fill(0);
    Atomics.store(lane.order, 0, ThreadOrder.RUN);
    const gateways: GatewayRing[] =
      lane.stage === 'user'
        ? this.#gateways.map((gateway) => ({ ring: gateway.rings[lane.number]!, doorbell: gateway.doorbell }))
        : [];
    const data: LaneWorkerData = {
      stageId: lane.stageId,
      partitions: lane.partitions,
      conversationPartitions: this.#directory.partitions,
      userPartitions: this.#directory.partitions,
      kernel: this.#options.kernel ?? true,
      incarnation: this.#incarnation(restart),
      doorbell: lane.doorbell,
      log: this.#engines.log,
      isLogKept: this.#engines.isKept,
      producer: lane.producer,
      store,
      gateways,
      gatewaysUp: this.#gatewaysUp.buffer as SharedArrayBuffer,
      status: lane.status.buffer as SharedArrayBuffer,
      order: lane.order.buffer as SharedArrayBuffer,
    };
    const name = `${lane.stage}-${lane.number}`;
    return new Worker(new URL('./lane-worker.js', import.meta.url), {
      workerData: data,
      transferList: store === undefined ? [] : [store.port],
      name,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB },
    });
  }

  #incarnation(restart: number): number {
    return this.#directory.boot * RESTARTS_PER_BOOT + (restart % RESTARTS_PER_BOOT);
  }

  // --- gateways -----------------------------------------------------------------------------------------------------------

  async #startGateways(): Promise<void> {
    // One after the other: the first finds a free port if none was asked for, the others share it.
    for (const gateway of this.#gateways) {
      await new Promise<void>((resolve, reject) => {
        const onMessage = (message: unknown): void => {
          const { listening, failed } = message as { listening?: number; failed?: string };
          if (failed !== undefined) reject(new DunlinError(failed));
          if (listening === undefined) return;
          this.#port = listening;
          gateway.listening = true;
          resolve();
        };
        gateway.supervised = this.#supervise(
          `gateway ${gateway.number}`,
          (n) => this.#gatewayWorker(gateway, n),
          onMessage,
        );
      });
    }
  }

  #gatewayWorker(gateway: GatewayThread, restart: number): Worker {
    gateway.listening = false;
    Atomics.store(gateway.order, 0, 0);
    // What lanes had sent to the connections of the one before is dropped by the new one: its incarnation differs.
    Atomics.store(this.#gatewaysUp, gateway.number, 1);
    const data: GatewayWorkerData = {
      gatewayNumber: gateway.number,
      incarnation: this.#incarnation(restart),
      host: this.#options.host,
      port: this.#port === 0 ? this.#options.port : this.#port,
      isFirst: this.#port === 0,
      dataDirectory: this.#directory.path,
      ...(this.#options.keys === undefined ? {} : { keys: this.#options.keys }),
      ...(this.#options.tls === undefined ? {} : { tls: this.#options.tls }),
      conversationPartitions: this.#directory.partitions,
      userPartitions: this.#directory.partitions,
      kernel: this.#options.kernel ?? true,
      framesPerSecond: this.#options.framesPerSecond,
      connectionsPerAddress: this.#options.connectionsPerAddress,
      admissionsPerSecond: this.#options.admissionsPerSecond,
      doorbell: gateway.doorbell,
      rings: gateway.rings,
      producer: gateway.producer,
      admission: this.#admission.buffer as SharedArrayBuffer,
      metrics: gateway.metrics,
      order: gateway.order.buffer as SharedArrayBuffer,
    };
    const url = new URL('../gateway/gateway-worker.js', import.meta.url);
    const worker = new Worker(url, {
      workerData: data,
      name: `gateway-${gateway.number}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB },
    });
    worker.once('exit', () => {
      gateway.listening = false;
      Atomics.store(this.#gatewaysUp, gateway.number, 0);
    });
    return worker;
  }

  #watchAdmission(): void {
    this.#admissionTimer = setInterval(() => {
      const nowMs = now();
      for (const { backlog, status } of this.#lanes) {
        backlog.note(nowMs, status[LaneFieldIndex.bytes]!, status[LaneFieldIndex.lag_bytes]!);
      }
      Atomics.store(this.#admission, 0, this.#lanes.some(({ backlog }) => backlog.isTooFar) ? 1 : 0);
    }, ADMISSION_CHECK_MS);
    this.#admissionTimer.unref();
  }

  // --- how it is ----------------------------------------------------------------------------------------------------------

  status(): BackboneStatus {
    const problems: string[] = [];
    if (this.#broken !== undefined) problems.push(this.#broken.message);
    for (const lane of this.#lanes) {
      const name = `${lane.stage} lane ${lane.number}`;
      if (lane.status[LaneFieldIndex.running] === 0) problems.push(`${name} recovers.`);
      problems.push(...lane.losses);
      if (lane.status[LaneFieldIndex.refused_commits]! > 0)
        problems.push(`the store refuses commits of ${name}: is the disk full?`);
    }
    for (const gateway of this.#gateways)
      if (!gateway.listening) problems.push(`gateway ${gateway.number} does not listen.`);
    if (this.#engines.isRefusing()) problems.push('the disk is nearly full: new sends are refused.');
    if (Atomics.load(this.#admission, 0) === 1) problems.push('the lanes are too far behind: new sends are refused.');
    if (this.#stopping) problems.push('draining.');
    return { healthy: this.#broken === undefined, ready: problems.length === 0, problems };
  }

  metrics(): Metric[] {
    const metrics = this.#lanes.flatMap((lane) =>
      describeLane(lane.stage, lane.number, lane.supervised?.restarts ?? 0, lane.status, lane.backlog.ageMs),
    );
    for (const gateway of this.#gateways)
      metrics.push(...describeGateway(gateway.number, gateway.supervised?.restarts ?? 0, gateway.metrics));
    ['conversation', 'user'].forEach((topic, number) => {
      const help = 'bytes appended to the log since the process started';
      const value = this.#engines.appendedBytes(number);
      if (value !== undefined)
        metrics.push({ name: 'dunlin_log_appended_bytes_total', help, labels: { topic }, value });
    });
    metrics.push(
      ...describeCopies({
        gateways: this.#gateways.map((gateway) => gateway.metrics),
        lanes: this.#lanes,
        appendedBytes: ['conversation', 'user'].map((_, topic) => this.#engines.appendedBytes(topic)),
        usesKernel: this.#options.kernel ?? true,
      }),
    );
    const { ready } = this.status();
    metrics.push({ name: 'dunlin_ready', help: '1 while it takes traffic', labels: {}, value: ready ? 1 : 0 });
    return metrics;
  }

  failLane(stage: 'conversation' | 'user', number: number): void {
    const lane = this.#lanes.find((candidate) => candidate.stage === stage && candidate.number === number);
    if (lane === undefined) throw new RangeError(`there is no ${stage} lane ${number}`);
    this.#order(lane, ThreadOrder.FAIL);
  }

  failGateway(number: number): void {
    const gateway = this.#gateways[number];
    if (gateway === undefined) throw new RangeError(`there is no gateway ${number}`);
    this.#order(gateway, ThreadOrder.FAIL);
  }

  // --- the end --------------------------------------------------------------------------------------------------------------

  #order(thread: { readonly order: Int32Array; readonly doorbell: SharedArrayBuffer }, order: number): void {
    Atomics.store(thread.order, 0, order);
    new Doorbell(thread.doorbell).ring();
  }

  async close(drainMs: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#admissionTimer);
    const order = drainMs > 0 && this.#broken === undefined ? ThreadOrder.DRAIN : ThreadOrder.STOP;
    await this.#stopAll(this.#gateways, order, drainMs);
    // The conversation lanes first: what they still emit is work for the user lanes.
    await this.#stopAll(
      this.#lanes.filter((lane) => lane.stage === 'conversation'),
      order,
      drainMs,
    );
    await this.#stopAll(
      this.#lanes.filter((lane) => lane.stage === 'user'),
      order,
      drainMs,
    );
    await this.#engines.close();
    this.#directory.close();
  }

  async #stopAll(
    threads: readonly { supervised: Supervised | undefined; order: Int32Array; doorbell: SharedArrayBuffer }[],
    order: number,
    drainMs: number,
  ): Promise<void> {
    const stops = threads.map(async (thread) => {
      const end = setTimeout(() => this.#order(thread, ThreadOrder.STOP), drainMs);
      await thread.supervised?.stop(() => this.#order(thread, order));
      clearTimeout(end);
    });
    await Promise.all(stops);
  }
}

type Plan = (producers: readonly ProducerHandle[]) => { lanes: LaneThread[]; gateways: GatewayThread[] };

/** Which threads there will be. Producers are numbered: gateways, then conversation lanes, then user lanes. */
function planThreads(options: BackboneOptions, partitions: number): { bells: Bells; plan: Plan } {
  const laneCount = Math.min(options.lanes, partitions);
  const bells = (count: number): SharedArrayBuffer[] => Array.from({ length: count }, () => createDoorbell());
  const gatewayBells = bells(options.gateways);
  const conversationBells = bells(laneCount);
  const userBells = bells(laneCount);
  const makeLane = (
    stage: 'conversation' | 'user',
    number: number,
    doorbell: SharedArrayBuffer,
    producer: ProducerHandle,
  ): LaneThread => ({
    stage,
    stageId: stage === 'user' ? StageId.USER : StageId.CONVERSATION,
    number,
    partitions: shareOf(partitions, laneCount, number),
    doorbell,
    status: new Float64Array(shared(LANE_STATUS_BYTES)),
    order: new Int32Array(shared(4)),
    producer,
    supervised: undefined,
    backlog: new Backlog(),
    losses: [],
  });
  const plan = (producers: readonly ProducerHandle[]): { lanes: LaneThread[]; gateways: GatewayThread[] } => ({
    gateways: gatewayBells.map((doorbell, number) => ({
      number,
      doorbell,
      rings: userBells.map(() => createRing(RING_BYTES)),
      producer: producers[number]!,
      metrics: shared(GATEWAY_METRICS_BYTES),
      order: new Int32Array(shared(4)),
      supervised: undefined,
      listening: false,
    })),
    lanes: [
      ...conversationBells.map((bell, n) => makeLane('conversation', n, bell, producers[options.gateways + n]!)),
      ...userBells.map((bell, n) => makeLane('user', n, bell, producers[options.gateways + laneCount + n]!)),
    ],
  });
  return { bells: { gateways: gatewayBells, conversationLanes: conversationBells, userLanes: userBells }, plan };
}

export async function startBackbone(options: BackboneOptions): Promise<Backbone> {
  return await EmbeddedBackbone.start(options);
}
