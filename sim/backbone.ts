/**
 * The server of a world: the production lanes and gateways over a log and a store in memory, a supervisor that starts again
 * what died, and all that can happen to them.
 */
import { type Batch, BatchAt, BatchFlag } from '../core/batch.js';
import { fenceKey, lossKey, metaKey, StageId } from '../core/keys.js';
import { BACKLOG_BYTES_MAX } from '../core/limits.js';
import { Durability, type Log, type LogProducer, Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import type { InjectedAppend } from '../engines/append-queues.js';
import { MemoryLog } from '../engines/log-memory.js';
import { MemoryContents } from '../engines/store-memory.js';
import { decodeEpoch, decodeMeta, keyAfter } from '../pipelines/checkpoint.js';
import { BrokerCluster, type ClusterLoss } from './broker-cluster.js';
import { type BrokerLink, BrokerLinks } from './broker-links.js';
import { ANYBODY } from './broker-network.js';
import type { BrokerFault } from './broker-plan.js';
import { type Context, Happening } from './context.js';
import { DiskLog, type WorldLog } from './disk-log.js';
import type { Emissions } from './emissions.js';
import { GatewayProcess } from './gateway-process.js';
import { LaneProcess } from './lane-process.js';
import type { FaultEvent, Topology } from './plan.js';

/** Told about every batch that the log took, in order: what the pipelines say before anybody hears it. */
export type Tap = (topic: number, batch: Uint8Array) => void;

/** The USER topic is synced this late at most, if the disk is not slow: one for each world. */
const LAZY_US_MAX = [30_000, 250_000, 2_000_000] as const;
const DAY_MS = 24 * 3_600_000;
/** Whoever brings a log back from a copy lets lanes start again within this. */
const RESTORE_US_MAX = 5_000_000;
/** How often somebody looks whether all lanes stand. */
const LOOK_US = 5_000;

/** A lane that starts again begins a new prefix. */
export interface LaneProducer extends LogProducer {
  begin(): void;
}

export class Backbone {
  readonly lanes: LaneProcess[] = [];
  readonly gateways: GatewayProcess[] = [];
  readonly contents = new MemoryContents();
  /** Undefined: the log is the embedded one. */
  readonly #cluster: BrokerCluster | undefined;
  readonly #brokerLinks: BrokerLinks | undefined;
  readonly #links = new Map<LaneProcess | number, BrokerLink>();
  /** Acknowledged records that brokers lost, and the epoch of their reader at that moment. */
  readonly losses: (ClusterLoss & { readonly epoch: number })[] = [];
  #embedded: WorldLog;
  readonly #context: Context;
  readonly #topology: Topology;
  readonly #tap: Tap;
  readonly #emissions: Emissions;
  /** Lanes that another one has replaced, while they do not know it. */
  readonly #deposed: LaneProcess[] = [];
  #incarnation = 0;
  #isWriteDue = false;
  /** By topic. */
  readonly #isSyncDue = [false, false];
  #slowDiskUntilMs = 0;
  #fullDiskUntilMs = 0;
  #fullRingUntilMs = 0;
  readonly #injected: InjectedAppend[] = [];
  /** Grows when all threads die. */
  #life = 0;
  /** Between the death of all and their start. */
  #isDown = false;
  #areUsersUp = false;
  /** No lane starts again before that. */
  #lanesDownUntilUs = 0;
  /** Logged time less monotonic time, and the last time that was logged. */
  readonly #lazyUsMax: number;
  #logBaseMs: number;
  #loggedMs = 0;

  constructor(context: Context, topology: Topology, seed: number, tap: Tap, emissions: Emissions) {
    this.#context = context;
    this.#topology = topology;
    this.#tap = tap;
    this.#emissions = emissions;
    this.#lazyUsMax = LAZY_US_MAX[new Prng(seed).fork('lazy').below(LAZY_US_MAX.length)]!;
    this.#logBaseMs = context.wallMs - context.nowMs;
    this.#embedded = this.#newLog(seed);
    this.#cluster = this.#newCluster(seed);
    this.#brokerLinks = this.#cluster === undefined ? undefined : new BrokerLinks(this.#cluster);
    for (let number = 0; number < topology.conversationLanes + topology.userLanes; number++) {
      this.lanes.push(this.#newLane(number));
    }
    for (let number = 0; number < topology.gateways; number++) {
      const random = new Prng(seed).fork(`gateway ${number}`);
      const isBusy = (): boolean => this.lanes.some(({ lane }) => (lane?.lagBytes() ?? 0) > BACKLOG_BYTES_MAX);
      const producer = this.#gatewayProducer(number);
      this.gateways.push(new GatewayProcess({ context, topology, number, random, isBusy }, producer));
    }
    this.#startAll();
  }

  #newLog(seed: number): WorldLog {
    const context = this.#context;
    const { conversationPartitions, userPartitions, hasDisk } = this.#topology;
    const topics = [
      { partitions: conversationPartitions, durability: Durability.BEFORE_READ },
      { partitions: userPartitions, durability: Durability.LAZY },
    ];
    const nowMs = (): number => this.#logTime();
    if (!hasDisk) return new MemoryLog({ topics, nowMs, retainBytes: 2 ** 40 });
    return new DiskLog({
      topics,
      nowMs,
      random: new Prng(seed).fork('disk'),
      report: (what, sentence) => {
        context.mark(what);
        context.note(sentence);
      },
      missed: (sentence) => context.flaw('G13', sentence),
    });
  }

  #newCluster(seed: number): BrokerCluster | undefined {
    const { brokers, conversationPartitions, userPartitions, isBeyondBudget = false } = this.#topology;
    if (brokers === undefined) return undefined;
    return new BrokerCluster({
      context: this.#context,
      seed,
      brokers,
      conversationPartitions,
      userPartitions,
      isBeyondBudget,
      lost: (loss) => this.#lost(loss),
    });
  }

  /** Undefined: the log is an embedded one. */
  get cluster(): BrokerCluster | undefined {
    return this.#cluster;
  }

  /** The log, for audits: as it is now, past threads and network. */
  get log(): Log {
    return this.#cluster ?? this.#embedded;
  }

  #logOf(lane: LaneProcess): Log {
    return this.#links.get(lane)?.log ?? this.#embedded;
  }

  #newLane(number: number): LaneProcess {
    const { conversationPartitions, userPartitions, conversationLanes, userLanes } = this.#topology;
    const isUser = number >= conversationLanes;
    const [partitions, lanes, index] = isUser
      ? [userPartitions, userLanes, number - conversationLanes]
      : [conversationPartitions, conversationLanes, number];
    const place = {
      context: this.#context,
      topology: this.#topology,
      stageId: isUser ? StageId.USER : StageId.CONVERSATION,
      number,
      partitions: Array.from({ length: partitions }, (_, partition) => partition).filter((p) => p % lanes === index),
      egress: {
        offer: (gateway: number, batch: Uint8Array) => this.gateways[gateway]?.offer(batch) ?? true,
      },
      emissions: this.#emissions,
      died: (lane: LaneProcess, reason: string) => this.#laneDied(lane, reason),
    };
    if (this.#brokerLinks === undefined) return new LaneProcess(place, this.#producer(true));
    const link = this.#brokerLinks.link({
      kind: 'lane',
      number,
      ring: () => lane.ring(),
      fate: (batch) => (this.#isRingFull() ? 'queue_full' : this.#fate(batch)),
      taken: this.#taken,
    });
    const lane: LaneProcess = new LaneProcess(place, link.producer);
    this.#links.set(lane, link);
    return lane;
  }

  #gatewayProducer(number: number): LogProducer {
    const link = this.#brokerLinks?.link({
      kind: 'gateway',
      number,
      ring: () => this.gateways[number]?.ring(),
      fate: (batch) => this.#fate(batch),
      taken: this.#taken,
    });
    if (link === undefined) return this.#producer();
    this.#links.set(number, link);
    return link.producer;
  }

  /** User lanes first, then conversation lanes, then gateways, as pipelines/backbone.ts does it. */
  #startAll(): void {
    const life = this.#life;
    const { queue, delays } = this.#context;
    this.#isDown = false;
    const users = this.lanes.filter(({ isUser }) => isUser);
    for (const lane of users) if (!lane.isUp) lane.start(this.#logOf(lane), this.contents, ++this.#incarnation);
    const goOn = (): void => {
      if (life !== this.#life) return;
      if (!this.lanes.every((lane) => !lane.isUser || lane.lane?.isAnnounced === true)) {
        queue.after(LOOK_US, goOn);
        return;
      }
      this.#areUsersUp = true;
      for (const lane of this.lanes) if (!lane.isUp) lane.start(this.#logOf(lane), this.contents, ++this.#incarnation);
      for (const gateway of this.gateways) this.#startGateway(gateway);
    };
    queue.after(delays.between(100, LOOK_US), goOn);
  }

  #startGateway(gateway: GatewayProcess): void {
    const { context } = gateway.place;
    const life = this.#life;
    // Gateways open when the lanes run, as `dunlin up` does it.
    context.queue.after(context.delays.between(1_000, 300_000), () => {
      if (life !== this.#life || gateway.isUp) return;
      this.#links.get(gateway.place.number)?.close();
      gateway.start(++this.#incarnation);
    });
  }

  #laneDied(lane: LaneProcess, reason: string): void {
    const { queue, delays } = this.#context;
    this.#links.get(lane)?.close();
    this.#context.note(`lane ${lane.place.number} died: ${reason}`);
    this.#context.mark(`lane died: ${reason.replaceAll(/\d+/g, 'N').slice(0, 60)}`);
    if (lane.isDeposed) return;
    const life = this.#life;
    queue.at(Math.max(this.#lanesDownUntilUs, queue.nowUs + delays.between(1_000, 1_000_000)), () => {
      if (life !== this.#life || this.#isDown || lane.isUp || lane.isDeposed) return;
      if (!lane.isUser && !this.#areUsersUp) return;
      lane.start(this.#logOf(lane), this.contents, ++this.#incarnation);
    });
  }

  /** Everybody looks whether there is something for them. */
  #ringAll(): void {
    for (const lane of this.lanes) lane.ring();
    for (const lane of this.#deposed) lane.ring();
    for (const gateway of this.gateways) gateway.ring();
  }

  /** As engines/log-disk/log-writer.ts: the wall clock is asked when the log is opened, and then only the monotonic one. */
  #logTime(): number {
    this.#loggedMs = Math.floor(this.#logBaseMs + this.#context.nowMs);
    return this.#loggedMs;
  }

  // --- the log ------------------------------------------------------------------------------------------------------------------

  /** A producer of the log of the moment: rings outlive the threads that fill them. */
  #producer(isLane = false): LaneProducer {
    // What a lane appends is durable as a prefix (core/ports.ts).
    let hasHole = false;
    let log: WorldLog | undefined;
    let producer: LogProducer | undefined;
    const current = (): LogProducer => {
      if (log !== this.#embedded || producer === undefined) {
        log = this.#embedded;
        producer = log.producer();
      }
      return producer;
    };
    return {
      append: (topic, partition, batch, tag) => {
        if (isLane && this.#isRingFull()) return false;
        const injected = hasHole ? 'unknown_not_done' : this.#fate(batch);
        if (injected !== 'pass') this.#embedded.inject(injected);
        if (!current().append(topic, partition, batch, tag)) return false;
        hasHole = isLane && injected !== 'pass' && injected !== 'unknown_done';
        this.#taken(topic, partition, batch);
        this.#writeSoon();
        return true;
      },
      outcomes: (sink) => current().outcomes(sink),
      begin: () => {
        hasHole = false;
      },
    };
  }

  readonly #taken = (topic: number, partition: number, batch: Uint8Array): void => {
    this.#context.activity++;
    this.#context.hash.add(Happening.APPEND, topic, partition, batch.length);
    this.#tap(topic, batch);
  };

  #isRingFull(): boolean {
    if (this.#context.nowMs >= this.#fullRingUntilMs) return false;
    this.#context.mark('ring full');
    return true;
  }

  /** A full disk takes no new sends; the reserve takes the rest. Other faults are the plan's. */
  #fate(batch: Uint8Array): InjectedAppend {
    if (this.#context.nowMs < this.#fullDiskUntilMs && (batch[BatchAt.FLAGS]! & BatchFlag.SENDS) !== 0) {
      this.#context.mark('send refused: disk full');
      return 'refused_full';
    }
    return this.#injected.shift() ?? 'pass';
  }

  #writeSoon(): void {
    if (this.#isWriteDue) return;
    this.#isWriteDue = true;
    const life = this.#life;
    this.#context.queue.after(this.#context.delayUs(20, 800), () => {
      if (life !== this.#life) return;
      this.#isWriteDue = false;
      this.#embedded.write();
      this.#ringAll();
      this.#syncSoon(Topic.CONVERSATION);
      this.#syncSoon(Topic.USER);
    });
  }

  /** The USER topic is synced behind: what a power failure takes of it is much. */
  #syncSoon(topic: number): void {
    if (this.#isSyncDue[topic] === true) return;
    this.#isSyncDue[topic] = true;
    const life = this.#life;
    const isSlow = this.#context.nowMs < this.#slowDiskUntilMs;
    const lazyUs = topic === Topic.USER ? this.#context.delays.between(1_000, this.#lazyUsMax) : 0;
    const delay = isSlow ? this.#context.delayUs(50_000, 3_000_000) : this.#context.delayUs(100, 12_000);
    this.#context.queue.after(lazyUs + delay, () => {
      if (life !== this.#life) return;
      this.#isSyncDue[topic] = false;
      this.#embedded.sync(topic);
      this.#ringAll();
    });
  }

  // --- what breaks --------------------------------------------------------------------------------------------------------------

  /** True if it was one of the server's faults. */
  inject(event: FaultEvent): boolean {
    switch (event.fault) {
      case 'gateway-crash':
        this.#gatewayEnds(event.gateway, (gateway) => {
          gateway.die();
          this.#startGateway(gateway);
        });
        return true;
      case 'gateway-drain':
        this.#gatewayEnds(event.gateway, (gateway) => gateway.drain(() => this.#startGateway(gateway)));
        return true;
      case 'egress-full': {
        const gateway = this.gateways[event.gateway];
        if (gateway !== undefined) gateway.fullUntilMs = this.#context.nowMs + event.for;
        // The lane tries again when its ring has room: somebody must tell it.
        this.#context.queue.after(event.for * 1_000, () => this.#ringAll());
        return true;
      }
      case 'ring-full':
        this.#fullRingUntilMs = this.#context.nowMs + event.for;
        this.#context.queue.after(event.for * 1_000, () => this.#ringAll());
        return true;
      case 'lane-crash':
        this.lanes[event.lane]?.die('told to');
        return true;
      case 'offset-zero':
        this.#forgetOffset(event.lane);
        return true;
      case 'lane-pause':
        this.lanes[event.lane]?.pause(event.for);
        return true;
      case 'lane-takeover':
        this.#takeOver(event.lane, event.for);
        return true;
      case 'kill':
        this.#embedded.sync();
        this.#allDie();
        return true;
      case 'power':
        this.#allDie();
        return true;
      case 'weeks':
        this.#embedded.sync();
        this.#cluster?.pass(event.days * DAY_MS);
        this.#context.clockOffMs += event.days * DAY_MS;
        this.#allDie();
        return true;
      case 'store':
        this.lanes[event.lane]?.injectCommit(event.outcome);
        return true;
      case 'store-read-fails':
        this.lanes[event.lane]?.failRead();
        return true;
      case 'store-slow':
        this.lanes[event.lane]?.slowStore(event.for);
        return true;
      case 'log':
        for (let n = 0; n < event.count; n++) this.#injected.push(event.outcome);
        return true;
      case 'disk-slow':
        this.#slowDiskUntilMs = this.#context.nowMs + event.for;
        return true;
      case 'disk-full':
        this.#fullDiskUntilMs = this.#context.nowMs + event.for;
        return true;
      case 'clock':
        this.#context.clockOffMs += event.by;
        return true;
      case 'bit-flip':
        this.#flipBit(event.topic, event.for);
        if (event.power) this.#allDie();
        return true;
      case 'store-cut':
        this.lanes[event.lane]?.cutStore(event.way, event.for);
        return true;
      case 'log-restored':
        if (this.#cluster !== undefined) this.#restoreLog(this.#cluster, event.topic, event.partition);
        return true;
      default:
        return this.#cluster !== undefined && breakBroker(this.#cluster, event as BrokerFault);
    }
  }

  /** User lanes have cold data besides, which the log alone does not bring back. */
  #forgetOffset(number: number): void {
    const lane = this.lanes[number];
    if (lane === undefined || lane.isUser) return;
    lane.die('its offset reads as zero');
    for (const partition of lane.place.partitions) {
      const begin = metaKey(StageId.CONVERSATION, partition);
      this.contents.apply({ expect: [], clear: [{ begin, end: keyAfter(begin) }], puts: [] });
    }
  }

  /** Not below what nobody had committed: what a lane says between two commits is not known to its successor. */
  #restoreLog(cluster: BrokerCluster, topic: number, partition: number): void {
    const stageId = topic === Topic.CONVERSATION ? StageId.CONVERSATION : StageId.USER;
    const meta = this.contents.get(metaKey(stageId, partition));
    const committed = meta === undefined ? 0 : decodeMeta(meta).offset;
    if (committed === 0) return;
    // Gateways go on meanwhile: the log grows past what was committed, with other batches.
    this.#lanesDownUntilUs = this.#context.queue.nowUs + this.#context.delays.between(0, RESTORE_US_MAX);
    for (const lane of [...this.#deposed.splice(0), ...this.lanes]) lane.die('its log was exchanged');
    cluster.restore(cluster.indexOf(topic, partition), Math.max(0, committed - this.#context.delays.between(1, 4)));
  }

  /** Whoever reads the partition must find it out, in an epoch of its own. */
  #lost(loss: ClusterLoss): void {
    const { isTold, epoch } = this.lossTold(loss.topic, loss.partition);
    // Once it is stopped, nothing reads it any more.
    if (!isTold) this.losses.push({ ...loss, epoch });
    this.#context.note(
      `brokers lost ${loss.from} to ${loss.through} of partition ${loss.partition} of topic ${loss.topic}`,
    );
  }

  /** G16: what of the losses was told: the partitions that a record in the store says are stopped. */
  lossTold(topic: number, partition: number): { readonly isTold: boolean; readonly epoch: number } {
    const stageId = topic === Topic.CONVERSATION ? StageId.CONVERSATION : StageId.USER;
    const isTold = this.contents.get(lossKey(stageId, partition)) !== undefined;
    return { isTold, epoch: decodeEpoch(this.contents.get(fenceKey(stageId, partition))) };
  }

  /** G16: what brokers hold at the end, where they differ from what they acknowledged. */
  get strayReplicas(): readonly string[] {
    return this.#cluster?.strays ?? [];
  }

  /** Partitions that stopped since their log lost something. */
  get stopped(): number {
    const { conversationPartitions, userPartitions } = this.#topology;
    let count = 0;
    for (let n = 0; n < conversationPartitions; n++) if (this.lossTold(Topic.CONVERSATION, n).isTold) count++;
    for (let n = 0; n < userPartitions; n++) if (this.lossTold(Topic.USER, n).isTold) count++;
    return count;
  }

  #gatewayEnds(number: number, end: (gateway: GatewayProcess) => void): void {
    const gateway = this.gateways[number];
    if (gateway?.isUp === true && gateway.isListening) end(gateway);
  }

  #flipBit(topic: number, ms: number): void {
    if (!(this.#embedded instanceof DiskLog) || !this.#embedded.flip(topic)) return;
    this.#context.mark('bit flipped');
    this.#context.queue.after(ms * 1_000, () => this.#restoreDisk());
  }

  #restoreDisk(): void {
    if (this.#embedded instanceof DiskLog) this.#embedded.restore();
  }

  #takeOver(number: number, ms: number): void {
    const old = this.lanes[number];
    if (old?.isUp !== true) return;
    old.pause(ms);
    old.isDeposed = true;
    if (this.#context.isTroubled(2)) old.injectCommit('unknown_not_done');
    this.#deposed.push(old);
    const next = this.#newLane(number);
    this.lanes[number] = next;
    next.start(this.#logOf(next), this.contents, ++this.#incarnation);
  }

  /** Written and not synced is what a kill leaves and a power failure takes; what waits in rings neither leaves. */
  #allDie(): void {
    this.#life++;
    this.#isDown = true;
    this.#areUsersUp = false;
    this.#isWriteDue = false;
    this.#isSyncDue.fill(false);
    for (const lane of this.#deposed.splice(0)) lane.die('all died');
    for (const lane of this.lanes) lane.die('all died');
    for (const gateway of this.gateways) gateway.die();
    this.#embedded = this.#embedded.powerFailure();
    this.#logBaseMs = Math.max(this.#context.wallMs, this.#loggedMs) - this.#context.nowMs;
    const life = this.#life;
    this.#context.queue.after(this.#context.delays.between(200_000, 3_000_000), () => {
      if (life === this.#life) this.#startAll();
    });
  }

  /** From now on nothing breaks any more. */
  heal(): void {
    this.#slowDiskUntilMs = 0;
    this.#fullDiskUntilMs = 0;
    this.#fullRingUntilMs = 0;
    this.#injected.length = 0;
    this.#restoreDisk();
    this.#cluster?.heal();
    for (const lane of this.lanes) {
      lane.cutStore('there', 0);
      lane.pause(0);
      lane.ring();
    }
    for (const lane of this.#deposed) lane.pause(0);
    for (const gateway of this.gateways) gateway.fullUntilMs = 0;
    this.#ringAll();
  }

  /** Every lane dies once more, so that what it comes back with is what it had committed. */
  restartLanes(): void {
    for (const lane of this.lanes) lane.die('told to, at the end');
  }

  /** The device of a connection, if it stands. */
  deviceOf(number: number, incarnation: number, connection: number): number | undefined {
    const process = this.gateways[number];
    return process?.incarnation === incarnation ? process.gateway?.hub.connection(connection)?.device : undefined;
  }

  /** Time as the log has it. */
  get loggedMs(): number {
    return this.#loggedMs;
  }

  /** All run, and have nothing left to read. */
  get isIdle(): boolean {
    return (
      this.lanes.every((lane) => lane.isRunning && lane.lane!.lagBytes() === 0) &&
      this.gateways.every((gateway) => gateway.isUp && gateway.gateway!.isSettled) &&
      (this.#cluster?.isSettled ?? true)
    );
  }

  /** All batches of a topic, from the first one on. */
  *batches(topic: number): Generator<Batch> {
    const partitions =
      topic === Topic.CONVERSATION ? this.#topology.conversationPartitions : this.#topology.userPartitions;
    const positions = Array.from({ length: partitions }, (_, partition) => ({ partition, offset: 0 }));
    const consumer = this.log.consumer(topic, positions);
    for (let batch = consumer.poll(); batch !== undefined; batch = consumer.poll()) yield batch;
  }
}

/** True if it was one of the brokers' faults. */
function breakBroker(cluster: BrokerCluster, event: BrokerFault): boolean {
  switch (event.fault) {
    case 'broker-crash':
    case 'broker-power':
      cluster.crash(event.broker, event.for, event.fault === 'broker-power');
      return true;
    case 'broker-pause':
      cluster.pause(event.broker, event.for);
      return true;
    case 'broker-isolated':
      cluster.cut(`broker-${event.broker}`, ANYBODY, event.way, event.for);
      return true;
    case 'link-cut':
      cluster.cut(`${event.who}-${event.number}`, `broker-${event.broker}`, event.way, event.for);
      return true;
    case 'leader-move':
      cluster.moveLeader(cluster.indexOf(event.topic, event.partition));
      return true;
    case 'ack-lost':
      cluster.loseAcks(event.count);
      return true;
    case 'ack-late':
      cluster.delayAcks(event.for);
      return true;
    case 'producer-evicted':
      cluster.forgetProducers(cluster.indexOf(event.topic, event.partition));
      return true;
    case 'unclean-election':
      cluster.electUnclean(cluster.indexOf(event.topic, event.partition));
      return true;
    case 'brokers-power':
      cluster.losePower(event.for);
      return true;
    default:
      return false;
  }
}
