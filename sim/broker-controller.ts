/**
 * Who leads which partition, in which epoch, and who is in sync. The controller itself never fails (in real ones it is a
 * replicated state machine of its own); what brokers know of it is as old as the last answer that reached them.
 *
 * A leader is elected from the in-sync set. A broker that begins anew leaves all in-sync sets first, since its disk may have less
 * than it said; the last one of a set that comes back after it lost its power is not elected at all, unless that is allowed:
 * then the longest log that is there leads, and the partition counts a loss.
 */
import type { Prng } from '../core/prng.js';
import type { Context } from './context.js';

export interface PartitionView {
  /** −1: none. */
  readonly leader: number;
  readonly leaderEpoch: number;
  readonly inSync: readonly number[];
  /** Grows with every change of the in-sync set. */
  readonly version: number;
  /** Elections of a replica that may not have had everything acknowledged, and where the last one's log ended. */
  readonly losses: number;
  readonly lostFrom: number;
}

export interface Metadata {
  readonly version: number;
  readonly partitions: readonly PartitionView[];
}

export const NO_METADATA: Metadata = { version: 0, partitions: [] };

/** A leader that wants another in-sync set. */
export interface InSyncChange {
  readonly from: number;
  readonly partition: number;
  readonly leaderEpoch: number;
  readonly version: number;
  readonly inSync: readonly number[];
}

export interface ControllerOptions {
  readonly context: Context;
  readonly random: Prng;
  readonly brokers: number;
  readonly partitions: number;
  /** Elects a replica that may have lost something, when there is no other. */
  readonly electsUnclean: boolean;
  /** How far a replica's log goes: its last epoch and its end. */
  readonly reach: (broker: number, partition: number) => { readonly epoch: number; readonly end: number };
  /** Hands the newest metadata to a broker, if it can be reached and is in this life still. */
  readonly tell: (broker: number, life: number, metadata: Metadata) => void;
}

/** Who was not heard of for so long does not lead. */
export const SESSION_US = 1_500_000;
const LOOK_US = 250_000;
/** Replicas that may still come are waited for so long before one that lost something is elected. */
const UNCLEAN_WAIT_US = 2_000_000;

export class Controller {
  readonly #options: ControllerOptions;
  readonly #partitions: PartitionView[];
  readonly #alive: boolean[];
  readonly #heardUs: number[];
  readonly #lives: number[];
  /** Partitions whose last in-sync replica lost its power. */
  readonly #suspect = new Set<number>();
  metadata: Metadata;

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { brokers, partitions, random } = options;
    const all = Array.from({ length: brokers }, (_, broker) => broker);
    this.#alive = all.map(() => true);
    this.#heardUs = all.map(() => 0);
    this.#lives = all.map(() => 1);
    this.#partitions = Array.from({ length: partitions }, () => ({
      leader: random.below(brokers),
      leaderEpoch: 1,
      inSync: all,
      version: 1,
      losses: 0,
      lostFrom: 0,
    }));
    this.metadata = { version: 1, partitions: [...this.#partitions] };
    this.#watch();
  }

  #publish(): void {
    this.metadata = { version: this.metadata.version + 1, partitions: [...this.#partitions] };
    this.#lives.forEach((life, broker) => this.#options.tell(broker, life, this.metadata));
  }

  #watch(): void {
    const { queue } = this.#options.context;
    queue.after(LOOK_US, () => {
      this.#alive.forEach((isAlive, broker) => {
        if (isAlive && queue.nowUs - this.#heardUs[broker]! > SESSION_US) this.#fence(broker);
      });
      this.#watch();
    });
  }

  /** A broker says that it is there. `life` grows when it starts anew. */
  heard(broker: number, life: number, lostPower: boolean): void {
    if (life !== this.#lives[broker]) {
      this.#fence(broker);
      this.#lives[broker] = life;
      if (lostPower) this.#suspectOf(broker);
    }
    this.#heardUs[broker] = this.#options.context.queue.nowUs;
    if (this.#alive[broker] === true) return;
    this.#alive[broker] = true;
    this.#electMissing();
  }

  #suspectOf(broker: number): void {
    this.#partitions.forEach(({ inSync }, partition) => {
      if (inSync.length === 1 && inSync[0] === broker) this.#suspect.add(partition);
    });
  }

  /** It leads nothing any more, and is in sync only where nobody else is. */
  #fence(broker: number): void {
    if (this.#alive[broker] === true) this.#options.context.mark('broker fenced');
    this.#alive[broker] = false;
    this.#partitions.forEach((view, partition) => {
      const others = view.inSync.filter((other) => other !== broker);
      if (others.length > 0 && others.length < view.inSync.length) {
        this.#partitions[partition] = { ...view, inSync: others, version: view.version + 1 };
      }
      if (view.leader === broker) this.#elect(partition);
    });
    this.#publish();
  }

  #elect(partition: number): void {
    const view = this.#partitions[partition]!;
    const candidates = this.#suspect.has(partition) ? [] : view.inSync.filter((broker) => this.#alive[broker] === true);
    const leader = candidates[this.#options.random.below(Math.max(1, candidates.length))] ?? -1;
    this.#partitions[partition] = { ...view, leader, leaderEpoch: view.leaderEpoch + 1 };
    if (leader >= 0) this.#options.context.mark('leader elected');
  }

  #electMissing(): void {
    this.#partitions.forEach(({ leader }, partition) => {
      if (leader >= 0) return;
      if (this.#suspect.has(partition) && this.#options.electsUnclean) {
        this.#options.context.queue.after(UNCLEAN_WAIT_US, () => {
          if (this.#suspect.has(partition)) this.electUnclean(partition, 'longest');
        });
      } else this.#elect(partition);
    });
    this.#publish();
  }

  /** Elects whatever is there: the longest log, or (a careless operator) the shortest. */
  electUnclean(partition: number, which: 'longest' | 'shortest'): void {
    const { reach, context, brokers } = this.#options;
    const view = this.#partitions[partition]!;
    const sign = which === 'longest' ? -1 : 1;
    const [best] = Array.from({ length: brokers }, (_, broker) => broker)
      .filter((broker) => (which === 'shortest' || this.#alive[broker] === true) && broker !== view.leader)
      .map((broker) => ({ broker, ...reach(broker, partition) }))
      .toSorted((one, other) => sign * (one.epoch - other.epoch || one.end - other.end));
    if (best === undefined) return;
    context.mark('unclean election');
    this.#suspect.delete(partition);
    this.#partitions[partition] = {
      leader: best.broker,
      leaderEpoch: view.leaderEpoch + 1,
      inSync: [best.broker],
      version: view.version + 1,
      losses: view.losses + 1,
      lostFrom: best.end,
    };
    this.#publish();
  }

  /** Another in-sync replica leads from now on. */
  moveLeader(partition: number): void {
    const view = this.#partitions[partition]!;
    const next = view.inSync.find((broker) => broker !== view.leader && this.#alive[broker] === true);
    if (next === undefined || view.leader < 0) return;
    this.#options.context.mark('leader moved');
    this.#partitions[partition] = { ...view, leader: next, leaderEpoch: view.leaderEpoch + 1 };
    this.#publish();
  }

  /** Who leads begins a new epoch. */
  renewEpoch(partition: number): void {
    const view = this.#partitions[partition]!;
    this.#partitions[partition] = { ...view, leaderEpoch: view.leaderEpoch + 1 };
    this.#publish();
  }

  /** False: whoever asks does not lead any more, or does not know the present set. */
  changeInSync({ from, partition, leaderEpoch, version, inSync }: InSyncChange): boolean {
    const view = this.#partitions[partition]!;
    if (view.leader !== from || view.leaderEpoch !== leaderEpoch || view.version !== version) {
      this.#options.context.mark('stale leader rejected');
      return false;
    }
    if (inSync.some((broker) => this.#alive[broker] !== true)) return false;
    this.#partitions[partition] = { ...view, inSync, version: version + 1 };
    this.#publish();
    return true;
  }

  /** All brokers are there, lead and follow. */
  get isWhole(): boolean {
    const { brokers } = this.#options;
    return (
      this.#alive.every(Boolean) &&
      this.#partitions.every(({ leader, inSync }) => leader >= 0 && inSync.length === brokers)
    );
  }

  /** Brokers that are not in sync everywhere, or not heard of. */
  get behind(): Set<number> {
    const behind = new Set<number>();
    for (let broker = 0; broker < this.#options.brokers; broker++) {
      const isIn = this.#partitions.every(({ inSync }) => inSync.includes(broker));
      if (!isIn || this.#alive[broker] !== true) behind.add(broker);
    }
    return behind;
  }
}
