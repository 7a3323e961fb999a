/**
 * A replicated log: brokers, their controller, and the network between them and everybody. It stands behind the same ports as the
 * embedded log. It also keeps what no broker knows: everything that was ever acknowledged, to tell what was lost (G16).
 */
import { BatchAt, openBatch, stampBatch } from '../core/batch.js';
import { viewOf } from '../core/frame.js';
import type { LogConsumer, LogPosition } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import { Broker } from './broker.js';
import { BrokerClient, type ClientPlace } from './broker-client.js';
import { Controller, type InSyncChange, type Metadata, NO_METADATA, type PartitionView } from './broker-controller.js';
import { ANYBODY, Network } from './broker-network.js';
import type { Entry, Replica } from './broker-replica.js';
import type { Context } from './context.js';

export interface ClusterOptions {
  readonly context: Context;
  readonly seed: number;
  readonly brokers: number;
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  /** More may break than the design survives: then acknowledged records may be lost, and that must be told (G16). */
  readonly isBeyondBudget: boolean;
  /** Acknowledged records of a partition are gone. */
  readonly lost: (loss: ClusterLoss) => void;
}

export interface ClusterLoss {
  readonly topic: number;
  readonly partition: number;
  /** Offsets, both included. */
  readonly from: number;
  readonly through: number;
}

const FLUSH_US_MAX = [20_000, 300_000, 2_000_000] as const;
const IN_FLIGHT_MAX = [1, 2, 5, 5, 5, 8] as const;
const CLOCK_SKEW_MS = 400;

export class BrokerCluster {
  readonly context: Context;
  readonly random: Prng;
  readonly network: Network;
  readonly brokers: Broker[] = [];
  readonly controller: Controller;
  /** Appends of one producer to one partition that are on their way at once. */
  readonly inFlightMax: number;
  readonly #options: ClusterOptions;
  readonly #partitions: number;
  /** By partition: everything that readers could have, ever. */
  readonly #acknowledged: Entry[][];
  readonly #skewsMs: number[];
  #baseMs: number;
  readonly #clients = new Set<BrokerClient>();
  /** By broker. */
  readonly #isolatedUntilUs: number[] = [];
  #lostAcks = 0;
  #lateAcksUntilUs = 0;

  constructor(options: ClusterOptions) {
    const { context, seed, brokers, conversationPartitions, userPartitions, isBeyondBudget } = options;
    this.#options = options;
    this.context = context;
    this.random = new Prng(seed).fork('brokers');
    this.network = new Network(context, this.random.fork('links'));
    this.inFlightMax = IN_FLIGHT_MAX[this.random.below(IN_FLIGHT_MAX.length)]!;
    const flushUsMax = FLUSH_US_MAX[this.random.below(FLUSH_US_MAX.length)]!;
    this.#partitions = conversationPartitions + userPartitions;
    this.#acknowledged = Array.from({ length: this.#partitions }, () => []);
    this.#skewsMs = Array.from({ length: brokers }, () => this.random.below(CLOCK_SKEW_MS));
    this.#baseMs = context.wallMs - context.nowMs;
    this.controller = new Controller({
      context,
      random: this.random.fork('controller'),
      brokers,
      partitions: this.#partitions,
      electsUnclean: isBeyondBudget,
      reach: (broker, partition) => {
        const replica = this.brokers[broker]!.replicas[partition]!;
        return { epoch: replica.epochBefore(replica.end), end: replica.end };
      },
      tell: (broker, life, metadata) => this.#tell(broker, life, metadata),
    });
    for (let id = 0; id < brokers; id++) this.brokers.push(this.#newBroker(id, flushUsMax));
  }

  #newBroker(id: number, flushUsMax: number): Broker {
    const { context, network } = this;
    return new Broker(id, this.#partitions, {
      context,
      network,
      random: this.random.fork(`broker ${id}`),
      replicasInSyncMin: (this.#options.brokers >> 1) + 1,
      flushUsMax,
      stamp: (partition, offset, lastTimeMs, bytes) => this.#stamp(id, partition, offset, lastTimeMs, bytes),
      peer: (broker) => this.brokers[broker]!,
      heartbeat: (broker, answered) => this.#heartbeat(broker, answered),
      changeInSync: (change, refused) => this.#changeInSync(change, refused),
      committed: (partition, replica, end) => this.#committed(partition, replica, end),
      leads: (broker, partition, view) => this.#leads(broker, partition, view),
    });
  }

  #stamp(broker: number, index: number, offset: number, lastTimeMs: number, bytes: Uint8Array): Entry['batch'] {
    const { topic, partition } = this.placeOf(index);
    const timeMs = Math.floor(this.#baseMs + this.context.nowMs + this.#skewsMs[broker]!);
    const copy = bytes.slice();
    const view = viewOf(copy);
    stampBatch(view, 0, topic, partition, offset, Math.max(lastTimeMs, timeMs));
    view.setUint32(BatchAt.MARK, 0, true);
    view.setUint8(BatchAt.FLAGS, 0);
    return openBatch(copy);
  }

  // --- the controller -----------------------------------------------------------------------------------------------------------

  /** Who began anew must say so first: what it led before may not be its to lead any more. */
  #tell(id: number, life: number, metadata: Metadata): void {
    const broker = this.brokers[id]!;
    this.network.send('controller', broker.name, () => {
      if (broker.life === life) broker.receive(() => broker.learn(metadata));
    });
  }

  #heartbeat(broker: Broker, answered: (metadata: Metadata) => void): void {
    const { controller, network } = this;
    const { life, lostPower } = broker;
    network.send(broker.name, 'controller', () => {
      controller.heard(broker.id, life, lostPower);
      const { metadata } = controller;
      network.send('controller', broker.name, () =>
        broker.receive(() => {
          if (broker.life === life) answered(metadata);
        }),
      );
    });
  }

  #changeInSync(change: InSyncChange, refused: (metadata: Metadata) => void): void {
    const { controller, network } = this;
    const broker = this.brokers[change.from]!;
    const { life } = broker;
    network.send(broker.name, 'controller', () => {
      if (controller.changeInSync(change)) return;
      const { metadata } = controller;
      network.send('controller', broker.name, () =>
        broker.receive(() => {
          if (broker.life === life) refused(metadata);
        }),
      );
    });
  }

  // --- what was acknowledged --------------------------------------------------------------------------------------------------------

  #committed(index: number, { entries }: Replica, end: number): void {
    const acknowledged = this.#acknowledged[index]!;
    for (let offset = acknowledged.length; offset < end; offset++) acknowledged.push(entries[offset]!);
  }

  #leads(broker: Broker, index: number, { leaderEpoch }: PartitionView): void {
    // It learns late that it was to lead: somebody else does by now.
    if (this.controller.metadata.partitions[index]!.leaderEpoch !== leaderEpoch) return;
    const { entries } = broker.replicas[index]!;
    const acknowledged = this.#acknowledged[index]!;
    this.context.note(`${broker.name} leads partition ${index} in epoch ${leaderEpoch}, from ${entries.length} on`);
    const from = acknowledged.findIndex((entry, offset) => entries[offset] !== entry);
    if (from < 0) return;
    const through = acknowledged.length - 1;
    acknowledged.length = from;
    this.context.mark('acknowledged records lost');
    this.#options.lost({ ...this.placeOf(index), from, through });
  }

  // --- the port, for audits -----------------------------------------------------------------------------------------------------------

  partitions(topic: number): number {
    return topic === 0 ? this.#options.conversationPartitions : this.#options.userPartitions;
  }

  indexOf(topic: number, partition: number): number {
    return topic === 0 ? partition : this.#options.conversationPartitions + partition;
  }

  placeOf(index: number): { readonly topic: number; readonly partition: number } {
    const { conversationPartitions } = this.#options;
    if (index < conversationPartitions) return { topic: 0, partition: index };
    return { topic: 1, partition: index - conversationPartitions };
  }

  /** Reads what is acknowledged at once, past the network. */
  consumer(topic: number, positions: readonly LogPosition[]): LogConsumer {
    const readings = positions.map(({ partition, offset }) => ({
      entries: this.#acknowledged[this.indexOf(topic, partition)]!,
      offset,
    }));
    const endOf = (partition: number): number => this.#acknowledged[this.indexOf(topic, partition)]!.length;
    return {
      poll: () => {
        const reading = readings.find(({ entries, offset }) => offset < entries.length);
        return reading?.entries[reading.offset++]!.batch;
      },
      durableEnd: endOf,
      readableEnd: endOf,
      lagBytes: () => readings.reduce((sum, { entries, offset }) => sum + entries.length - offset, 0),
      release: () => {},
      close: () => {},
    };
  }

  client(place: Omit<ClientPlace, 'cluster'>): BrokerClient {
    const client = new BrokerClient({ ...place, cluster: this });
    for (const other of this.#clients) if (other.isClosed) this.#clients.delete(other);
    this.#clients.add(client);
    return client;
  }

  // --- what breaks --------------------------------------------------------------------------------------------------------------------

  /** Microseconds that the next acknowledgement comes late; Infinity: never. */
  ackFate(): number {
    if (this.#lostAcks > 0) {
      this.#lostAcks--;
      this.context.mark('acknowledgement lost');
      return Infinity;
    }
    if (this.context.queue.nowUs >= this.#lateAcksUntilUs) return 0;
    this.context.mark('acknowledgement late');
    return this.random.below(4_000_000);
  }

  /** The brokers' clocks are that much later: nobody was there meanwhile. */
  pass(ms: number): void {
    this.#baseMs += ms;
    for (const client of this.#clients) client.vanish();
  }

  loseAcks(count: number): void {
    this.#lostAcks += count;
  }

  delayAcks(ms: number): void {
    this.#lateAcksUntilUs = this.context.queue.nowUs + ms * 1_000;
  }

  /** Within the budget a minority of brokers may be down, hang, or be behind; more is left out. */
  #allows(broker: number): boolean {
    if (this.#options.isBeyondBudget) return true;
    const affected = this.controller.behind.add(broker);
    const { nowUs } = this.context.queue;
    for (const { id, isUp, pausedUntilUs, view } of this.brokers) {
      // One that has just begun anew is not known to be behind yet.
      const isAbsent = !isUp || view === NO_METADATA || pausedUntilUs > nowUs;
      if (isAbsent || (this.#isolatedUntilUs[id] ?? 0) > nowUs) affected.add(id);
    }
    if (affected.size <= (this.brokers.length - 1) >> 1) return true;
    this.context.mark('broker fault left out: beyond the budget');
    return false;
  }

  crash(id: number, ms: number, losesPower: boolean): void {
    const broker = this.brokers[id];
    if (broker?.isUp !== true || !this.#allows(id)) return;
    broker.crash(losesPower);
    this.context.queue.after(ms * 1_000, () => {
      if (!broker.isUp) broker.start();
    });
  }

  pause(id: number, ms: number): void {
    if (this.brokers[id]?.isUp === true && this.#allows(id)) this.brokers[id]!.pause(ms);
  }

  /** Cuts what goes from one node to another. Whoever is cut off from everybody counts as a broker that is down. */
  cut(from: string, to: string, way: 'both' | 'there' | 'back', ms: number): void {
    const isolated = /^broker-(\d+)$/.exec(to === ANYBODY ? from : from === ANYBODY ? to : '');
    if (isolated !== null) {
      const id = Number(isolated[1]);
      if (!this.#allows(id)) return;
      const untilUs = this.context.queue.nowUs + ms * 1_000;
      this.#isolatedUntilUs[id] = Math.max(untilUs, this.#isolatedUntilUs[id] ?? 0);
    }
    if (way !== 'back') this.network.cut(from, to, ms);
    if (way !== 'there') this.network.cut(to, from, ms);
  }

  /** All replicas lose their power at once. */
  losePower(ms: number): void {
    this.brokers.forEach((broker, id) => {
      if (broker.isUp) this.crash(id, ms + this.random.below(1_000), true);
    });
  }

  forgetProducers(index: number): void {
    for (const { replicas } of this.brokers) replicas[index % this.#partitions]!.forgetProducers();
  }

  moveLeader(index: number): void {
    this.controller.moveLeader(index % this.#partitions);
  }

  electUnclean(index: number): void {
    this.controller.electUnclean(index % this.#partitions, 'shortest');
  }

  /** The partition ends at `end` from now on, on every broker, and no broker knows that it was longer. */
  restore(index: number, end: number): void {
    this.context.mark('log brought back from an old copy');
    for (const broker of this.brokers) broker.restore(index, end);
    this.controller.renewEpoch(index);
  }

  heal(): void {
    this.network.heal();
    this.#isolatedUntilUs.length = 0;
    this.#lostAcks = 0;
    this.#lateAcksUntilUs = 0;
    for (const broker of this.brokers) {
      broker.pause(0);
      if (!broker.isUp) broker.start();
    }
  }

  /** When all is in sync: replicas that hold something else than what was acknowledged. */
  get strays(): string[] {
    return this.brokers.flatMap(({ name, replicas }) =>
      replicas.flatMap(({ entries }, index) => {
        const offset = this.#acknowledged[index]!.findIndex((entry, place) => entries[place] !== entry);
        return offset < 0
          ? []
          : [`${name} holds another batch at ${offset} of partition ${index} than was acknowledged`];
      }),
    );
  }

  /** Everybody is in sync, and every append has its outcome. */
  get isSettled(): boolean {
    if (!this.controller.isWhole) return false;
    for (const client of this.#clients) if (!client.isClosed && client.producer.unsettled > 0) return false;
    return this.#acknowledged.every((entries, index) => {
      const leader = this.brokers[this.controller.metadata.partitions[index]!.leader]!;
      return leader.replicas[index]!.end === entries.length;
    });
  }
}
