/**
 * What a gateway or a lane has of the brokers: connections, what it knows of leaders, an idempotent producer, and consumers.
 * It dies with its process; what it had sent may still arrive.
 */
import type { Batch } from '../core/batch.js';
import { DunlinError, LogLossError } from '../core/errors.js';
import { RING_BYTES } from '../core/limits.js';
import {
  AppendOutcome,
  type AppendSink,
  type Log,
  type LogConsumer,
  type LogLoss,
  type LogPosition,
  type LogProducer,
  Refusal,
} from '../core/ports.js';
import type { InjectedAppend } from '../engines/append-queues.js';
import type { Broker, ProduceAnswer, ReadAnswer } from './broker.js';
import type { BrokerCluster } from './broker-cluster.js';
import { type Metadata, NO_METADATA } from './broker-controller.js';
import { Stream } from './broker-network.js';
import type { Entry } from './broker-replica.js';

/** No answer for so long: the connection is taken for dead. */
const REQUEST_TIMEOUT_US = 1_500_000;
/** An append is given up after this; what became of it is unknown then. */
const DELIVERY_TIMEOUT_US = 12_000_000;
const RETRY_US_MAX = 150_000;
const METADATA_TIMEOUT_US = 400_000;
const QUEUE_BATCHES_MAX = 400;
/** Batches that a consumer holds of a partition before it asks for more. */
const READ_AHEAD = 32;

/** Whose client it is. */
export interface ClientPlace {
  readonly cluster: BrokerCluster;
  /** Node name. */
  readonly name: string;
  /** Identity of its producer, and how often it began: an earlier one is fenced. */
  readonly producer: number;
  readonly producerEpoch: number;
  /** What it appends is durable as a prefix: after one failure it takes nothing more. */
  readonly isLane: boolean;
  /** Something came. */
  readonly ring: () => void;
}

interface Connection {
  readonly life: number;
  readonly up: Stream;
  readonly down: Stream;
}

export class BrokerClient {
  readonly place: ClientPlace;
  readonly producer: BrokerProducer;
  metadata: Metadata = NO_METADATA;
  isClosed = false;
  readonly #connections = new Map<number, Connection>();
  readonly #waiting: (() => void)[] = [];
  #isAsking = false;
  #nextAsked: number;

  constructor(place: ClientPlace) {
    this.place = place;
    this.#nextAsked = place.cluster.random.below(place.cluster.brokers.length);
    this.producer = new BrokerProducer(this);
  }

  /** Its process ended. */
  close(): void {
    this.isClosed = true;
  }

  /** So did its machine: what it had sent does not arrive either. */
  vanish(): void {
    this.close();
    for (const { up, down } of this.#connections.values()) {
      up.isBroken = true;
      down.isBroken = true;
    }
  }

  /** The log as this client sees it. */
  get log(): Log {
    const { cluster } = this.place;
    return {
      partitions: (topic) => cluster.partitions(topic),
      consumer: (topic, positions) => new BrokerConsumer(this, topic, positions),
    };
  }

  later(delayUs: number, action: () => void): void {
    this.place.cluster.context.queue.after(delayUs, () => {
      if (!this.isClosed) action();
    });
  }

  /** The connection to a broker; a new one if the last one broke. */
  connectionTo(broker: Broker): Connection {
    const { cluster, name } = this.place;
    const known = this.#connections.get(broker.id);
    if (known?.life === broker.life && !known.up.isBroken && !known.down.isBroken) return known;
    const up = new Stream(cluster.network, name, broker.name);
    const down = new Stream(cluster.network, broker.name, name);
    const connection = { life: broker.life, up, down };
    this.#connections.set(broker.id, connection);
    return connection;
  }

  /** Sends a request; the answer comes unless something is lost. */
  request<Answer>(
    broker: Broker,
    ask: (broker: Broker, answer: (answer: Answer) => void) => void,
    take: (answer: Answer) => void,
    isAck = false,
  ): void {
    const { life, up, down } = this.connectionTo(broker);
    up.send(() => {
      // It began anew: it does not know this connection.
      if (broker.life !== life) up.isBroken = true;
      else
        broker.receive(() =>
          ask(broker, (answer) => this.#answer(broker, { life, up, down }, isAck, () => take(answer))),
        );
    });
  }

  #answer(broker: Broker, { life, down }: Connection, isAck: boolean, take: () => void): void {
    if (broker.life !== life || !broker.isUp) return;
    const fate = isAck ? this.place.cluster.ackFate() : 0;
    if (fate === Infinity) down.isBroken = true;
    down.send(() => {
      if (!this.isClosed) take();
    }, fate);
  }

  /** The connection is given up: what comes over it is too late. */
  drop(broker: number): void {
    this.#connections.delete(broker);
  }

  learn(metadata: Metadata): void {
    if (metadata.version > this.metadata.version) this.metadata = metadata;
  }

  /** Asks one broker after the other who leads, then goes on. */
  refresh(then: () => void): void {
    this.#waiting.push(then);
    if (!this.#isAsking) this.#askNext();
  }

  #askNext(): void {
    const { brokers } = this.place.cluster;
    this.#isAsking = true;
    const broker = brokers[this.#nextAsked++ % brokers.length]!;
    let isDone = false;
    const goOn = (): void => {
      if (isDone) return;
      isDone = true;
      this.#isAsking = false;
      for (const then of this.#waiting.splice(0)) then();
    };
    this.request<Metadata>(
      broker,
      ({ view }, answer) => answer(view),
      (metadata) => {
        this.learn(metadata);
        goOn();
      },
    );
    this.later(METADATA_TIMEOUT_US, () => {
      if (!isDone) this.drop(broker.id);
      goOn();
    });
  }

  leaderOf(partition: number): Broker | undefined {
    return this.place.cluster.brokers[this.metadata.partitions[partition]?.leader ?? -1];
  }

  retryUs(): number {
    return this.place.cluster.random.between(5_000, RETRY_US_MAX);
  }
}

interface Pending {
  readonly tag: number;
  readonly bytes: Uint8Array;
  readonly sequence: number;
  readonly deadlineUs: number;
  wasSent: boolean;
  outcome: number;
  offset: number;
  refusal: number;
}

/** What a producer has for one partition. */
interface Channel {
  readonly partition: number;
  epoch: number;
  nextSequence: number;
  /** Not answered yet, in order. */
  pending: Pending[];
  /** How many of them are on their way. */
  sent: number;
  /** Grows when everything is sent again: answers to what was sent before do not count. */
  attempt: number;
  /** Over which they go. */
  connection: Connection | undefined;
  isWaiting: boolean;
}

const UNSETTLED = -1;

/**
 * An idempotent producer that waits for all in-sync replicas: some batches a partition are on their way at once, and when one
 * fails all from it on are sent again, in order, with the sequences they had.
 */
class BrokerProducer implements LogProducer {
  readonly #client: BrokerClient;
  readonly #channels: Channel[] = [];
  /** By topic: what was taken, in order, until its outcome is told. */
  readonly #order: Pending[][] = [[], []];
  #hasFailed = false;
  #bytes = 0;

  constructor(client: BrokerClient) {
    this.#client = client;
  }

  /** Appends that have no outcome yet. */
  get unsettled(): number {
    return this.#channels.reduce((sum, channel) => sum + (channel?.pending.length ?? 0), 0);
  }

  append(topic: number, partition: number, batch: Uint8Array, tag: number, fate: InjectedAppend = 'pass'): boolean {
    const { cluster, isLane, producerEpoch } = this.#client.place;
    if (fate === 'queue_full' || this.#bytes + batch.length > RING_BYTES) return false;
    const index = cluster.indexOf(topic, partition);
    const channel = (this.#channels[index] ??= {
      partition: index,
      epoch: producerEpoch * 1_000,
      nextSequence: 0,
      pending: [],
      sent: 0,
      attempt: 0,
      connection: undefined,
      isWaiting: false,
    });
    if (channel.pending.length >= QUEUE_BATCHES_MAX) return false;
    const isWritten = !this.#hasFailed && (fate === 'pass' || fate === 'unknown_done');
    const pending: Pending = {
      tag,
      bytes: batch.slice(),
      sequence: isWritten ? channel.nextSequence++ : -1,
      deadlineUs: cluster.context.queue.nowUs + DELIVERY_TIMEOUT_US,
      wasSent: false,
      outcome: isWritten ? UNSETTLED : AppendOutcome.UNKNOWN,
      offset: 0,
      refusal: Refusal.NONE,
    };
    if (fate === 'refused_full' || fate === 'refused_failed') {
      pending.outcome = AppendOutcome.REFUSED;
      pending.refusal = fate === 'refused_full' ? Refusal.DISK_FULL : Refusal.FAILED;
    }
    this.#order[topic]!.push(pending);
    if (isLane && fate !== 'pass') this.#hasFailed = true;
    if (!isWritten) {
      this.#client.later(1_000, () => this.#client.place.ring());
      return true;
    }
    // The answer is lost, whatever it is.
    if (fate === 'unknown_done') pending.outcome = AppendOutcome.UNKNOWN;
    channel.pending.push(pending);
    this.#bytes += pending.bytes.length;
    this.#pump(channel);
    return true;
  }

  outcomes(sink: AppendSink): number {
    let count = 0;
    for (const order of this.#order) {
      for (let first = order[0]; first !== undefined && first.outcome !== UNSETTLED; first = order[0]) {
        order.shift();
        sink(first.tag, first.outcome, first.offset, first.refusal);
        count++;
      }
    }
    return count;
  }

  #pump(channel: Channel): void {
    if (channel.isWaiting) return;
    const { cluster } = this.#client.place;
    const leader = this.#client.leaderOf(channel.partition);
    if (leader === undefined) return this.#again(channel);
    while (channel.sent < Math.min(channel.pending.length, cluster.inFlightMax)) {
      const connection = this.#client.connectionTo(leader);
      if (channel.sent === 0) channel.connection = connection;
      // What was on its way is lost with its connection: nothing may come before it.
      else if (channel.connection !== connection) return this.#again(channel);
      this.#send(channel, channel.pending[channel.sent++]!, leader);
    }
  }

  #send(channel: Channel, pending: Pending, leader: Broker): void {
    const { producer } = this.#client.place;
    const { attempt, partition, epoch } = channel;
    if (pending.wasSent) this.#client.place.cluster.context.mark('append sent again');
    pending.wasSent = true;
    const request = { partition, producer, producerEpoch: epoch, sequence: pending.sequence, bytes: pending.bytes };
    this.#client.request<ProduceAnswer>(
      leader,
      (broker, answer) => broker.onProduce(request, answer),
      (answer) => {
        if (attempt === channel.attempt && channel.pending.includes(pending)) this.#answered(channel, pending, answer);
      },
      true,
    );
    this.#client.later(REQUEST_TIMEOUT_US, () => {
      if (attempt !== channel.attempt || !channel.pending.includes(pending)) return;
      this.#client.drop(leader.id);
      this.#again(channel);
    });
  }

  /** Everything that is not answered is sent again, to whoever leads then. */
  #again(channel: Channel): void {
    if (channel.isWaiting) return;
    channel.attempt++;
    channel.sent = 0;
    channel.isWaiting = true;
    const { queue } = this.#client.place.cluster.context;
    this.#client.later(this.#client.retryUs(), () =>
      this.#client.refresh(() => {
        channel.isWaiting = false;
        const first = channel.pending[0];
        if (first === undefined) return;
        if (queue.nowUs > first.deadlineUs) this.#fail(channel, 'append given up');
        else this.#pump(channel);
      }),
    );
  }

  #answered(channel: Channel, pending: Pending, answer: ProduceAnswer): void {
    if (answer.is === 'ok') {
      // Answers come in order: one that is missing was lost, and so is its connection.
      if (channel.pending[0] !== pending) return this.#again(channel);
      channel.pending.shift();
      channel.sent--;
      this.#bytes -= pending.bytes.length;
      this.#settle(pending, AppendOutcome.DURABLE, answer.offset, Refusal.NONE);
      this.#client.place.ring();
      return this.#pump(channel);
    }
    this.#client.learn(answer.metadata);
    const isFirst = channel.pending[0] === pending;
    if (answer.is === 'retry' || (answer.is === 'gap' && !isFirst)) return this.#again(channel);
    this.#fail(channel, answer.is === 'too_old' ? 'retry beyond the dedupe window' : `producer failed: ${answer.is}`);
  }

  /** The producer cannot go on as it is: nobody knows what became of what was sent. A lane's takes nothing more. */
  #fail(channel: Channel, why: string): void {
    const { isLane, ring, cluster } = this.#client.place;
    cluster.context.mark(why);
    channel.attempt++;
    channel.sent = 0;
    channel.epoch++;
    channel.nextSequence = 0;
    const fenced = why === 'producer failed: fenced';
    for (const pending of channel.pending.splice(0)) {
      this.#bytes -= pending.bytes.length;
      const outcome = pending.wasSent && !fenced ? AppendOutcome.UNKNOWN : AppendOutcome.REFUSED;
      this.#settle(pending, outcome, 0, fenced ? Refusal.FENCED : Refusal.FAILED);
    }
    if (isLane) this.#hasFailed = true;
    ring();
  }

  #settle(pending: Pending, outcome: number, offset: number, refusal: number): void {
    if (pending.outcome !== UNSETTLED) return;
    pending.outcome = outcome;
    pending.offset = offset;
    pending.refusal = refusal;
  }
}

/** What a consumer has of one partition. */
interface Reading {
  readonly number: number;
  readonly index: number;
  /** Read, and not handed out yet. */
  readonly entries: Entry[];
  /** Where it reads next, and the epoch of what lies before; −1: not known. */
  offset: number;
  epoch: number;
  end: number;
  /** The end is that of all that was acknowledged. */
  isEndKnown: boolean;
  loss: LogLoss | undefined;
  lostFrom: number;
  token: number;
}

class BrokerConsumer implements LogConsumer {
  readonly #client: BrokerClient;
  readonly #readings: Reading[];
  #turn = 0;
  #isClosed = false;

  constructor(client: BrokerClient, topic: number, positions: readonly LogPosition[]) {
    this.#client = client;
    this.#readings = positions.map(({ partition, offset }) => ({
      number: partition,
      index: client.place.cluster.indexOf(topic, partition),
      entries: [],
      offset,
      epoch: -1,
      end: 0,
      isEndKnown: false,
      loss: undefined,
      lostFrom: -1,
      token: 0,
    }));
    for (const reading of this.#readings) this.#read(reading);
  }

  #read(reading: Reading): void {
    if (this.#isClosed || reading.lostFrom >= 0) return;
    const token = ++reading.token;
    const leader = this.#client.leaderOf(reading.index);
    const again = (): void => {
      if (token === reading.token) this.#again(reading);
    };
    if (leader === undefined) return again();
    const request = { partition: reading.index, offset: reading.offset, epoch: reading.epoch };
    this.#client.request<ReadAnswer>(
      leader,
      (broker, answer) => broker.onRead(request, answer),
      (answer) => {
        if (token === reading.token) this.#took(reading, answer);
      },
    );
    this.#client.later(REQUEST_TIMEOUT_US, () => {
      if (token !== reading.token) return;
      this.#client.drop(leader.id);
      again();
    });
  }

  #again(reading: Reading): void {
    const token = ++reading.token;
    this.#client.later(this.#client.retryUs(), () =>
      this.#client.refresh(() => {
        if (token === reading.token) this.#read(reading);
      }),
    );
  }

  #took(reading: Reading, answer: ReadAnswer): void {
    const { context } = this.#client.place.cluster;
    reading.token++;
    if (answer.is === 'retry') {
      this.#client.learn(answer.metadata);
      return this.#again(reading);
    }
    if (answer.is === 'lost') {
      context.mark('reader beyond the end');
      reading.lostFrom = answer.from;
      this.#client.place.ring();
      return;
    }
    const { losses, lostFrom } = answer.view;
    const isEndKnown = reading.isEndKnown || answer.isWhole;
    const isMore = answer.end > reading.end || answer.entries.length > 0;
    const hasNews = isMore || isEndKnown !== reading.isEndKnown || reading.loss?.count !== losses;
    reading.isEndKnown = isEndKnown;
    reading.loss = { count: losses, from: lostFrom };
    reading.end = Math.max(reading.end, answer.end);
    reading.entries.push(...answer.entries);
    reading.offset += answer.entries.length;
    reading.epoch = answer.entries.at(-1)?.leaderEpoch ?? reading.epoch;
    if (answer.entries.length > 0) context.activity++;
    if (hasNews) this.#client.place.ring();
    if (reading.entries.length < READ_AHEAD) this.#read(reading);
  }

  poll(): Batch | undefined {
    const count = this.#readings.length;
    for (let n = 0; n < count; n++) {
      const reading = this.#readings[this.#turn++ % count]!;
      if (reading.lostFrom >= 0) throw new LogLossError(reading.number, reading.lostFrom);
      const entry = reading.entries.shift();
      if (entry === undefined) continue;
      // One request at a time: if none is on its way, it was because enough was here.
      if (reading.entries.length === READ_AHEAD - 1) this.#read(reading);
      return entry.batch;
    }
    return undefined;
  }

  #reading(partition: number): Reading {
    const reading = this.#readings.find(({ number }) => number === partition);
    if (reading === undefined) throw new DunlinError(`partition ${partition} is not read here`);
    return reading;
  }

  durableEnd(partition: number): number {
    return this.#reading(partition).end;
  }

  readableEnd(partition: number): number | undefined {
    const { end, isEndKnown } = this.#reading(partition);
    return isEndKnown ? end : undefined;
  }

  loss(partition: number): LogLoss | undefined {
    return this.#reading(partition).loss;
  }

  lagBytes(): number {
    let lag = 0;
    for (const { entries, end, offset } of this.#readings) {
      for (const { batch } of entries) lag += batch.bytes.length;
      lag += Math.max(0, end - offset);
    }
    return lag;
  }

  release(_partition: number, _offset: number): void {}

  close(): void {
    this.#isClosed = true;
    for (const reading of this.#readings) reading.token++;
  }
}
