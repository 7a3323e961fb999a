/**
 * One broker: replicas, of which it leads some and follows the others. It acknowledges when every in-sync replica has a batch
 * (in memory: disks are flushed behind), readers get what is acknowledged, and what it had that the leader of a later epoch has
 * not is cut off when it comes back.
 *
 * It keeps to what it knows of the controller, which may be old. Then it leads on without effect: nobody fetches from it any
 * more, so nothing is acknowledged.
 */
import type { Prng } from '../core/prng.js';
import { type InSyncChange, type Metadata, NO_METADATA, type PartitionView, SESSION_US } from './broker-controller.js';
import type { Network } from './broker-network.js';
import { type Entry, Replica } from './broker-replica.js';
import type { Context } from './context.js';

export interface ProduceRequest {
  readonly partition: number;
  readonly producer: number;
  readonly producerEpoch: number;
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** `retry`: later, perhaps at another broker. `gap`: one before it is missing. The others are final. */
export type ProduceAnswer =
  | { readonly is: 'ok'; readonly offset: number }
  | { readonly is: 'retry' | 'gap' | 'too_old' | 'fenced'; readonly metadata: Metadata };

export interface ReadRequest {
  readonly partition: number;
  readonly offset: number;
  /** Epoch of the entry that was read before; −1: nothing was. */
  readonly epoch: number;
}

export type ReadAnswer =
  | {
      readonly is: 'entries';
      readonly entries: readonly Entry[];
      readonly end: number;
      /** Nothing that was acknowledged before lies behind the end. */
      readonly isWhole: boolean;
      readonly view: PartitionView;
    }
  /** What was read before is not in the log any more, from this offset on. */
  | { readonly is: 'lost'; readonly from: number }
  | { readonly is: 'retry'; readonly metadata: Metadata };

interface FetchRequest extends ReadRequest {
  readonly from: number;
  readonly leaderEpoch: number;
}

type FetchAnswer =
  | { readonly is: 'entries'; readonly entries: readonly Entry[]; readonly highWatermark: number }
  | { readonly is: 'diverged'; readonly epoch: number; readonly end: number }
  | { readonly is: 'retry'; readonly metadata: Metadata };

/** What a broker needs of all others. */
export interface Surroundings {
  readonly context: Context;
  readonly network: Network;
  readonly random: Prng;
  readonly replicasInSyncMin: number;
  /** A batch is flushed this late at most. */
  readonly flushUsMax: number;
  /** Stamps a batch as the log does. */
  stamp(partition: number, offset: number, lastTimeMs: number, bytes: Uint8Array): Entry['batch'];
  peer(broker: number): Broker;
  heartbeat(broker: Broker, answered: (metadata: Metadata) => void): void;
  /** `refused`: surely not done. If it is done, or nobody knows, no answer comes but the next metadata. */
  changeInSync(change: InSyncChange, refused: (metadata: Metadata) => void): void;
  /** Everything below `end` is acknowledged now, or may be. */
  committed(partition: number, replica: Replica, end: number): void;
  leads(broker: Broker, partition: number, view: PartitionView): void;
}

const HEARTBEAT_US = 400_000;
/** A leader that heard the controller within this is surely the only one. */
const LEASE_US = SESSION_US - 300_000;
const FETCH_TIMEOUT_US = 1_000_000;
const RETRY_US = 50_000;
/** A fetch that finds nothing waits so long for something. */
const PARK_US = 400_000;
/** A follower that did not have all for so long is not in sync. */
const LAG_US = 1_500_000;
const LOOK_US = 200_000;
const FETCH_ENTRIES_MAX = 32;

interface Waiting {
  readonly offset: number;
  readonly answer: () => void;
}

/** A fetch that waits until there is something, or for a while. */
interface Parked {
  readonly untilUs: number;
  readonly answer: () => void;
}

/** What a leader knows, for one epoch. */
interface Leadership {
  readonly epoch: number;
  /** Where its log ended when it began to lead: as long as its high watermark is below, more may have been acknowledged. */
  readonly from: number;
  /** By broker: end of its log, and when it last had all. */
  readonly ends: number[];
  readonly completeUs: number[];
  /** The in-sync set that was asked for and not answered yet. */
  proposed: readonly number[] | undefined;
  waiting: Waiting[];
  readonly fetches: Parked[];
  readonly readers: Parked[];
}

export class Broker {
  readonly id: number;
  readonly name: string;
  readonly replicas: Replica[];
  readonly #around: Surroundings;
  view: Metadata = NO_METADATA;
  isUp = false;
  /** Grows with every start. */
  life = 0;
  lostPower = false;
  pausedUntilUs = 0;
  #heardUs = -Infinity;
  #leads: (Leadership | undefined)[] = [];
  readonly #fetchTokens: number[];
  /** By partition: when it was asked for last. */
  readonly #fetchedUs: number[] = [];
  readonly #isFlushDue: boolean[] = [];

  constructor(id: number, partitions: number, around: Surroundings) {
    this.id = id;
    this.name = `broker-${id}`;
    this.#around = around;
    this.replicas = Array.from({ length: partitions }, () => new Replica());
    this.#fetchTokens = this.replicas.map(() => 0);
    this.start();
  }

  // --- life -------------------------------------------------------------------------------------------------------------------

  start(): void {
    const { random } = this.#around;
    this.isUp = true;
    this.life++;
    this.view = NO_METADATA;
    this.#heardUs = -Infinity;
    this.#leads = [];
    this.#isFlushDue.length = 0;
    // The watermark on the disk is an older one.
    for (const replica of this.replicas) replica.highWatermark -= random.below(Math.min(20, replica.highWatermark) + 1);
    this.#heartbeat();
    this.#watch();
  }

  /** The process ends; what it wrote is in the page cache, which a loss of power takes. */
  crash(losesPower: boolean): void {
    this.isUp = false;
    this.pausedUntilUs = 0;
    this.#leads = [];
    if (!losesPower) return;
    this.lostPower = true;
    for (const replica of this.replicas) {
      if (replica.flushed < replica.end) this.#around.context.mark('broker lost what was not flushed');
      replica.truncate(replica.flushed);
    }
  }

  /** Somebody exchanges the files of a partition: what was on its way to it means nothing any more. */
  restore(partition: number, end: number): void {
    const lead = this.#leads[partition];
    if (lead !== undefined) this.#stepDown(partition, lead);
    this.#fetchTokens[partition]!++;
    this.replicas[partition]!.truncate(end);
  }

  pause(ms: number): void {
    this.pausedUntilUs = this.#around.context.queue.nowUs + ms * 1_000;
  }

  /** Something arrives: a broker that is down takes nothing, one that hangs takes it when it goes on. */
  receive(action: () => void): void {
    const { queue } = this.#around.context;
    const { life } = this;
    if (!this.isUp) return;
    if (this.pausedUntilUs <= queue.nowUs) return action();
    queue.at(this.pausedUntilUs, () => {
      if (life === this.life) this.receive(action);
    });
  }

  #later(delayUs: number, action: () => void): void {
    const { life } = this;
    this.#around.context.queue.after(delayUs, () => {
      if (life === this.life) this.receive(action);
    });
  }

  #ask(peer: Broker, action: (peer: Broker) => void): void {
    this.#around.network.send(this.name, peer.name, () => peer.receive(() => action(peer)));
  }

  // --- the controller -----------------------------------------------------------------------------------------------------------

  #heartbeat(): void {
    const sentUs = this.#around.context.queue.nowUs;
    this.#around.heartbeat(this, (metadata) => {
      this.#heardUs = sentUs;
      this.lostPower = false;
      this.learn(metadata);
    });
    this.#later(HEARTBEAT_US, () => this.#heartbeat());
  }

  /** True while nobody else can have been elected. */
  get #holdsLease(): boolean {
    return this.#around.context.queue.nowUs - this.#heardUs < LEASE_US;
  }

  learn(metadata: Metadata): void {
    if (metadata.version <= this.view.version) return;
    const before = this.view;
    this.view = metadata;
    metadata.partitions.forEach((view, partition) => {
      const lead = this.#leads[partition];
      if (view.leader !== this.id) {
        if (lead !== undefined) this.#stepDown(partition, lead);
        if (before.partitions[partition]?.leaderEpoch !== view.leaderEpoch) this.#fetch(partition);
      } else if (lead?.epoch === view.leaderEpoch) {
        if (before.partitions[partition]?.version !== view.version) lead.proposed = undefined;
        this.#advance(partition, lead);
      } else {
        if (lead !== undefined) this.#stepDown(partition, lead);
        this.#lead(partition, view);
      }
    });
  }

  #lead(partition: number, view: PartitionView): void {
    const { nowUs } = this.#around.context.queue;
    this.#fetchTokens[partition]!++;
    this.#leads[partition] = {
      epoch: view.leaderEpoch,
      from: this.replicas[partition]!.end,
      ends: [],
      completeUs: view.inSync.reduce<number[]>((times, broker) => ((times[broker] = nowUs), times), []),
      proposed: undefined,
      waiting: [],
      fetches: [],
      readers: [],
    };
    this.#around.leads(this, partition, view);
    this.#advance(partition, this.#leads[partition]);
  }

  /** Who waits is answered, and finds out that somebody else leads. */
  #stepDown(partition: number, lead: Leadership): void {
    this.#leads[partition] = undefined;
    for (const { answer } of lead.waiting) answer();
    for (const { answer } of [...lead.fetches, ...lead.readers]) answer();
  }

  // --- following ------------------------------------------------------------------------------------------------------------------

  #fetch(partition: number): void {
    const token = ++this.#fetchTokens[partition]!;
    const view = this.view.partitions[partition];
    if (view === undefined || view.leader < 0 || view.leader === this.id) return;
    const replica = this.replicas[partition]!;
    const { leaderEpoch } = view;
    const request = {
      from: this.id,
      partition,
      leaderEpoch,
      offset: replica.end,
      epoch: replica.epochBefore(replica.end),
    };
    this.#ask(this.#around.peer(view.leader), (leader) =>
      leader.onFetch(request, (answer) => leader.#ask(this, () => this.#onFetched(partition, token, answer))),
    );
    this.#fetchedUs[partition] = this.#around.context.queue.nowUs;
  }

  #onFetched(partition: number, token: number, answer: FetchAnswer): void {
    if (token !== this.#fetchTokens[partition]) return;
    const replica = this.replicas[partition]!;
    if (answer.is === 'retry') {
      this.learn(answer.metadata);
      if (token !== this.#fetchTokens[partition]) return;
      this.#fetchTokens[partition] = token + 1;
      this.#later(RETRY_US, () => {
        if (token + 1 === this.#fetchTokens[partition]) this.#fetch(partition);
      });
      return;
    }
    if (answer.is === 'diverged') {
      const end = Math.min(answer.end, replica.endOfEpoch(answer.epoch).end);
      this.#around.context.mark('tail truncated');
      this.#around.context.note(`${this.name} cuts partition ${partition} from ${replica.end} to ${end}`);
      replica.truncate(end);
    } else {
      for (const entry of answer.entries) replica.append(entry);
      replica.highWatermark = Math.max(replica.highWatermark, Math.min(replica.end, answer.highWatermark));
      if (answer.entries.length > 0) this.#flushSoon(partition);
    }
    this.#fetch(partition);
  }

  #flushSoon(partition: number): void {
    if (this.#isFlushDue[partition] === true) return;
    this.#isFlushDue[partition] = true;
    this.#later(this.#around.random.between(500, this.#around.flushUsMax), () => {
      this.#isFlushDue[partition] = false;
      const replica = this.replicas[partition]!;
      replica.flushed = replica.end;
    });
  }

  // --- leading --------------------------------------------------------------------------------------------------------------------

  onFetch(request: FetchRequest, answer: (answer: FetchAnswer) => void): void {
    const { partition, from, offset } = request;
    const lead = this.#leads[partition];
    if (lead === undefined || lead.epoch !== request.leaderEpoch) return answer({ is: 'retry', metadata: this.view });
    const replica = this.replicas[partition]!;
    if (offset > replica.end || replica.epochBefore(offset) !== request.epoch) {
      return answer({ is: 'diverged', ...replica.endOfEpoch(request.epoch) });
    }
    const { nowUs } = this.#around.context.queue;
    lead.ends[from] = offset;
    if (offset === replica.end) lead.completeUs[from] = nowUs;
    this.#admit(partition, lead, from);
    this.#advance(partition, lead);
    const reply = (): void => {
      if (this.#leads[partition] !== lead) return answer({ is: 'retry', metadata: this.view });
      const entries = replica.entries.slice(offset, offset + FETCH_ENTRIES_MAX);
      answer({ is: 'entries', entries, highWatermark: replica.highWatermark });
    };
    if (offset < replica.end) return reply();
    this.#park(lead.fetches, reply);
  }

  #park(where: Parked[], answer: () => void): void {
    where.push({ untilUs: this.#around.context.queue.nowUs + PARK_US, answer });
  }

  /** Who has waited for long enough hears that there is nothing. */
  #unpark(where: Parked[]): void {
    const { nowUs } = this.#around.context.queue;
    while (where.length > 0 && where[0]!.untilUs <= nowUs) where.shift()!.answer();
  }

  #view(partition: number): PartitionView {
    return this.view.partitions[partition]!;
  }

  /** A follower that has everything acknowledged is in sync again. */
  #admit(partition: number, lead: Leadership, broker: number): void {
    const view = this.#view(partition);
    if (view.inSync.includes(broker) || lead.proposed !== undefined) return;
    if (lead.ends[broker]! < this.replicas[partition]!.highWatermark || lead.completeUs[broker] === undefined) return;
    this.#propose(partition, lead, [...view.inSync, broker]);
  }

  /** Until it is known what became of it, both sets count. */
  #propose(partition: number, lead: Leadership, inSync: readonly number[]): void {
    lead.proposed = inSync;
    const { leaderEpoch, version } = this.#view(partition);
    this.#around.changeInSync({ from: this.id, partition, leaderEpoch, version, inSync }, (metadata) => {
      this.learn(metadata);
      if (this.#leads[partition] === lead && lead.proposed === inSync) lead.proposed = undefined;
    });
    this.#later(FETCH_TIMEOUT_US, () => {
      if (this.#leads[partition] === lead && lead.proposed === inSync) this.#propose(partition, lead, inSync);
    });
  }

  /** All that is not told by a message: fetches without an answer, fetches that wait, followers that lag. */
  #watch(): void {
    this.#later(LOOK_US, () => {
      const { nowUs } = this.#around.context.queue;
      for (let partition = 0; partition < this.replicas.length; partition++) {
        const lead = this.#leads[partition];
        if (lead === undefined) {
          if (nowUs - (this.#fetchedUs[partition] ?? 0) > FETCH_TIMEOUT_US) this.#fetch(partition);
          continue;
        }
        this.#unpark(lead.fetches);
        this.#unpark(lead.readers);
        if (lead.proposed === undefined) this.#dropWhoLags(partition, lead);
      }
      this.#watch();
    });
  }

  #dropWhoLags(partition: number, lead: Leadership): void {
    const { nowUs } = this.#around.context.queue;
    const { inSync } = this.#view(partition);
    const { end } = this.replicas[partition]!;
    const isFresh = (broker: number): boolean =>
      broker === this.id || lead.ends[broker] === end || nowUs - (lead.completeUs[broker] ?? 0) < LAG_US;
    const fresh = inSync.filter(isFresh);
    if (fresh.length < inSync.length) this.#propose(partition, lead, fresh);
  }

  /** Moves the watermark to what every replica has that is in sync, or may be already. */
  #advance(partition: number, lead: Leadership | undefined): void {
    if (lead === undefined) return;
    const replica = this.replicas[partition]!;
    const { inSync } = this.#view(partition);
    if (inSync.length < this.#around.replicasInSyncMin) return;
    let { end } = replica;
    for (const broker of [...inSync, ...(lead.proposed ?? [])]) {
      if (broker !== this.id) end = Math.min(end, lead.ends[broker] ?? 0);
    }
    if (end <= replica.highWatermark) return;
    replica.highWatermark = end;
    this.#around.committed(partition, replica, end);
    const { waiting } = lead;
    lead.waiting = waiting.filter(({ offset }) => offset >= end);
    for (const { offset, answer } of waiting) if (offset < end) answer();
    for (const reader of lead.readers.splice(0)) reader.answer();
  }

  onProduce(request: ProduceRequest, answer: (answer: ProduceAnswer) => void): void {
    const { context } = this.#around;
    const { partition, producer, producerEpoch, sequence } = request;
    const lead = this.#leads[partition];
    const retry = (): void => answer({ is: 'retry', metadata: this.view });
    if (lead === undefined) return retry();
    if (this.#view(partition).inSync.length < this.#around.replicasInSyncMin) {
      context.mark('too few replicas in sync');
      return retry();
    }
    const replica = this.replicas[partition]!;
    const verdict = replica.judge(producer, producerEpoch, sequence);
    if (verdict.is === 'gap' || verdict.is === 'too_old' || verdict.is === 'fenced') {
      context.mark(`append answered ${verdict.is}`);
      return answer({ is: verdict.is, metadata: this.view });
    }
    if (verdict.is === 'repeated') context.mark('retry deduplicated');
    else if (verdict.offset >= 0) context.mark('retry of a forgotten producer: there twice');
    const offset = verdict.is === 'repeated' ? verdict.offset : this.#append(request);
    const { waiting } = lead;
    const reply = (): void => (this.#leads[partition] === lead ? answer({ is: 'ok', offset }) : retry());
    if (offset < replica.highWatermark) return reply();
    waiting.push({ offset, answer: reply });
    this.#advance(partition, lead);
    for (const fetch of lead.fetches.splice(0)) fetch.answer();
  }

  #append({ partition, producer, producerEpoch, sequence, bytes }: ProduceRequest): number {
    const replica = this.replicas[partition]!;
    const offset = replica.end;
    const lastTimeMs = replica.entries[offset - 1]?.batch.header.time ?? 0;
    const batch = this.#around.stamp(partition, offset, lastTimeMs, bytes);
    replica.append({ batch, leaderEpoch: this.#view(partition).leaderEpoch, producer, producerEpoch, sequence });
    this.#flushSoon(partition);
    return offset;
  }

  onRead({ partition, offset, epoch }: ReadRequest, answer: (answer: ReadAnswer) => void): void {
    const lead = this.#leads[partition];
    if (lead === undefined) return answer({ is: 'retry', metadata: this.view });
    const replica = this.replicas[partition]!;
    if (offset > replica.end || (epoch >= 0 && replica.epochBefore(offset) !== epoch)) {
      // Only who surely leads may say that something is not there: a reader may know more than a leader of the past.
      if (!this.#holdsLease) return answer({ is: 'retry', metadata: this.view });
      const end = epoch < 0 ? replica.end : replica.endOfEpoch(epoch).end;
      return answer({ is: 'lost', from: Math.min(offset, end) });
    }
    const reply = (): void => {
      if (this.#leads[partition] !== lead) return answer({ is: 'retry', metadata: this.view });
      const { highWatermark: end } = replica;
      const entries = replica.entries.slice(offset, Math.min(end, offset + FETCH_ENTRIES_MAX));
      const isWhole = this.#holdsLease && end >= lead.from;
      answer({ is: 'entries', entries, end, isWhole, view: this.#view(partition) });
    };
    if (offset < replica.highWatermark) return reply();
    this.#park(lead.readers, reply);
  }
}
