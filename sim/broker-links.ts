/** Gateways and lanes of a world with brokers: each start of one has a client of its own, and the one before is dead or fenced. */
import type { Log, LogProducer } from '../core/ports.js';
import type { InjectedAppend } from '../engines/append-queues.js';
import type { BrokerClient } from './broker-client.js';
import type { BrokerCluster } from './broker-cluster.js';

/** Whose log and producer it is. */
export interface LinkPlace {
  readonly kind: 'gateway' | 'lane';
  readonly number: number;
  readonly ring: () => void;
  /** What is to become of an append; `queue_full`: nothing is taken. */
  readonly fate: (batch: Uint8Array) => InjectedAppend;
  /** It was taken. */
  readonly taken: (topic: number, partition: number, batch: Uint8Array) => void;
}

/** What stays when a process ends and another takes its place. */
export interface BrokerLink {
  readonly log: Log;
  readonly producer: LogProducer & { begin(): void };
  /** The process ended. */
  close(): void;
}

/** Identities of producers: gateways, then lanes. */
const LANES_FROM = 1_000;

export class BrokerLinks {
  readonly #cluster: BrokerCluster;
  /** By producer: how often it began. Whoever is deposed has an older one than its successor. */
  readonly #epochs = new Map<number, number>();

  constructor(cluster: BrokerCluster) {
    this.#cluster = cluster;
  }

  link({ kind, number, ring, fate, taken }: LinkPlace): BrokerLink {
    const producer = kind === 'lane' ? LANES_FROM + number : number;
    let client: BrokerClient | undefined;
    const current = (): BrokerClient => {
      if (client !== undefined) return client;
      const producerEpoch = (this.#epochs.get(producer) ?? 0) + 1;
      this.#epochs.set(producer, producerEpoch);
      client = this.#cluster.client({
        name: `${kind}-${number}`,
        producer,
        producerEpoch,
        isLane: kind === 'lane',
        ring,
      });
      return client;
    };
    const close = (): void => {
      client?.close();
      client = undefined;
    };
    return {
      log: {
        partitions: (topic) => this.#cluster.partitions(topic),
        consumer: (topic, positions) => current().log.consumer(topic, positions),
      },
      producer: {
        append: (topic, partition, batch, tag) => {
          if (!current().producer.append(topic, partition, batch, tag, fate(batch))) return false;
          taken(topic, partition, batch);
          return true;
        },
        outcomes: (sink) => client?.producer.outcomes(sink) ?? 0,
        begin: close,
      },
      close,
    };
  }
}
