/**
 * A world from a plan: people with devices, a network, a backbone. It runs the plan's events, then lets everything heal, and
 * tells what it found. Synchronous from start to end, and a function of the plan alone.
 */
import { describeViolation, type HistoryEvent } from '../core/checks/index.js';
import { Kind } from '../core/frame.js';
import { directConversation } from '../core/ids.js';
import { StageId } from '../core/keys.js';
import { PRESENCE_UPDATES_PER_WINDOW } from '../core/limits.js';
import { AppendOutcome } from '../core/ports.js';
import { withProbes } from '../core/probe.js';
import { MemoryStore } from '../engines/store-memory.js';
import { Lane, LaneState } from '../pipelines/lane.js';
import { type Stage, scatter, tellTruth } from './audience.js';
import { Backbone } from './backbone.js';
import { Context, Happening, type Place } from './context.js';
import { Device, tryTo, userId } from './device.js';
import { Emissions } from './emissions.js';
import { createStage } from './lane-process.js';
import { Network } from './network.js';
import { Observer } from './observer.js';
import { type ConversationPlan, type Deed, devicesOf, type FaultEvent, type Plan } from './plan.js';
import { Sampler } from './samples.js';

/** G15: after the last fault everything must have drained within this. */
const HEAL_MS = 240_000;
/** So long the others are watched when a partition stopped. */
const STOPPED_MS = 40_000;
/** All is quiet when nothing moved for so long. */
const QUIET_MS = 3_000;
const LOOK_MS = 500;
const GROUP_BASE = 5_001;
/** What waits for so long expires, receipts too. */
const QUEUE_DAYS = 30;
/** Everybody is there by then. */
const GATHER_MS = 300_000;

/** Something that was wrong, and where: 0 is nothing of this sort. */
export interface Finding extends Place {
  readonly guarantee: string;
  readonly sentence: string;
  /** Virtual time at which it was seen; null: only the end shows it. */
  readonly atMs: number | null;
}

export interface Outcome {
  readonly seed: number;
  readonly traceHash: string;
  readonly events: number;
  readonly virtualSeconds: number;
  readonly messages: number;
  readonly deliveries: number;
  readonly faults: number;
  readonly marks: ReadonlyMap<string, number>;
  /** Everything that was wrong. */
  readonly violations: readonly Finding[];
}

export interface RunOptions {
  /** True: all of it; or which events. */
  readonly keepsHistory?: boolean | ((event: HistoryEvent) => boolean);
  /** Numbers over virtual time, for a report: `World.sampler`. */
  readonly takesSamples?: boolean;
  /** Whether lanes use the WebAssembly kernels; left out: the seed says so. The run is the same. */
  readonly kernel?: boolean;
}

interface Conversation {
  readonly a: number;
  readonly b: number;
  /** User ids: the first one makes the group. */
  readonly users: readonly number[];
}

/** Users of whom there is nothing but the id. */
const GHOST_BASE = 900_001;

function ghostIds(count: number): number[] {
  return Array.from({ length: count }, (_, index) => GHOST_BASE + index);
}

export class World {
  readonly context: Context;
  readonly observer: Observer;
  readonly backbone: Backbone;
  readonly network = new Network();
  readonly devices: Device[];
  readonly plan: Plan;
  /** Reads only: the run is the same with it and without it. */
  readonly sampler: Sampler | undefined;
  readonly #conversations: Conversation[];
  /** Devices that do not exist yet. */
  readonly #unborn: Set<Device>;

  constructor(plan: Plan, options: RunOptions = {}) {
    this.plan = plan;
    const keeps = options.keepsHistory ?? false;
    const context = new Context(plan.seed, plan.topology.buggify ?? false, keeps !== false, options.kernel);
    this.context = context;
    const emissions = new Emissions((...connection) => this.backbone.deviceOf(...connection));
    const { presenceUpdates } = plan.topology;
    this.observer = new Observer(
      context,
      typeof keeps === 'function' ? keeps : () => keeps,
      emissions,
      presenceUpdates === undefined ? {} : { updatesPerWindow: presenceUpdates },
    );
    this.observer.areReceiptsKept = !plan.faults.some((fault) => fault.fault === 'weeks' && fault.days >= QUEUE_DAYS);
    this.backbone = withProbes(
      context.probes,
      () => new Backbone(context, plan.topology, plan.seed, this.observer.tap, emissions),
    );
    const owners = devicesOf(plan.people);
    const losesState = new Set(
      plan.faults.flatMap((fault) =>
        fault.fault === 'app-restore' || fault.fault === 'app-reinstall' ? [fault.device] : [],
      ),
    );
    this.devices = owners.map((person, index) => {
      const number = 1 + index - owners.indexOf(person);
      const gateways = (): Backbone['gateways'] => this.backbone.gateways;
      return new Device(
        context,
        this.observer,
        gateways,
        index,
        person,
        number,
        plan.seed,
        this.network,
        plan.topology,
        losesState.has(index),
      );
    });
    this.sampler = options.takesSamples === true ? new Sampler(this) : undefined;
    this.#conversations = plan.conversations.map((conversation, index) => this.#conversation(conversation, index));
    this.#unborn = new Set(
      plan.deeds.flatMap((deed) => (deed.do === 'begin' ? (this.devices[deed.device] ?? []) : [])),
    );
    for (const { key, user } of this.#unborn) {
      // A user's first device gets all that waits, as if it had always been there.
      if (this.devices.some((other) => other.user === user && other.key !== key)) this.observer.beginnings.expect(key);
    }
  }

  #conversation(conversation: ConversationPlan, index: number): Conversation {
    if ('members' in conversation) {
      const { members, ghosts = 0 } = conversation;
      return { a: 0, b: GROUP_BASE + index, users: [...members.map(userId), ...ghostIds(ghosts)] };
    }
    const [one, other] = conversation.users;
    return { ...directConversation(userId(one), userId(other)), users: conversation.users.map(userId) };
  }

  /** Runs to the end. */
  run(): Outcome {
    const isQuiet = withProbes(this.context.probes, () => this.#live());
    this.sampler?.finish();
    // Without probes: what is folded for comparison is not part of the world.
    return this.#judge(isQuiet);
  }

  /** All phases; true: all came to rest in time. */
  #live(): boolean {
    const { queue } = this.context;
    this.#gather();
    const startUs = queue.nowUs;
    this.#schedule(startUs);
    this.sampler?.phase('load and faults', startUs);
    const loadUs = startUs + this.plan.loadMs * 1_000;
    while (queue.nextUs <= loadUs) this.#step();
    this.sampler?.phase('healing', queue.nowUs);
    let isQuiet = this.#heal();
    if (isQuiet) {
      this.sampler?.phase('all lanes once more', queue.nowUs);
      this.backbone.restartLanes();
      isQuiet = this.#settle();
    }
    const isOver = !isQuiet || this.plan.topology.watchesAtEnd !== true || this.backbone.stopped > 0;
    if (isOver) return isQuiet;
    this.sampler?.phase('some people go', queue.nowUs);
    return scatter(this.#stage(), this.plan.seed);
  }

  #step(): void {
    const { sampler } = this;
    const { queue } = this.context;
    sampler?.before(queue.nextUs);
    queue.step();
    sampler?.look();
  }

  /** Everybody who is not new later connects before anything else happens. */
  #gather(): void {
    const { queue } = this.context;
    const present = this.devices.filter((device) => !this.#unborn.has(device));
    for (const device of present) queue.at(this.context.delays.below(200_000), () => device.start());
    while (queue.nextUs < GATHER_MS * 1_000 && !present.every(({ isLive }) => isLive)) this.#step();
  }

  #schedule(startUs: number): void {
    const { queue } = this.context;
    this.#conversations.forEach(({ a, b, users }) => {
      if (a !== 0) return;
      queue.at(startUs, () => {
        const [creator, ...others] = users;
        const device = this.devices.find(({ user }) => user === creator);
        device?.change(b, Kind.GROUP_CREATE, others);
      });
    });
    for (const deed of this.plan.deeds) queue.at(startUs + deed.at * 1_000, () => this.#do(deed));
    for (const fault of this.plan.faults) queue.at(startUs + fault.at * 1_000, () => this.#break(fault));
  }

  #do(deed: Deed): void {
    const device = this.devices[deed.device];
    if (device === undefined) return;
    if (deed.do !== 'begin' && this.#unborn.has(device)) return;
    this.context.hash.add(Happening.DEED, deed.device, deed.at);
    if (deed.do === 'begin') this.#begin(device);
    else if (deed.do === 'offline') {
      device.stop();
      this.context.queue.after(deed.for * 1_000, () => device.start());
    } else if (deed.do === 'block') device.block(userId(deed.user), deed.on);
    else if (deed.do === 'watch') device.watch(userId(deed.user));
    else if (deed.do === 'unwatch') device.unwatch(userId(deed.user));
    else tryTo(() => this.#doInConversation(device, deed));
  }

  #begin(device: Device): void {
    if (!this.#unborn.delete(device)) return;
    this.context.mark('a device is new');
    device.start();
  }

  #doInConversation(device: Device, deed: Extract<Deed, { readonly in: number }>): void {
    const conversation = this.#conversations[deed.in];
    if (conversation === undefined) return;
    const { a, b } = conversation;
    // In a conversation of two others the client itself refuses; in a group the server does.
    if (a !== 0 && a !== device.user && b !== device.user) return;
    switch (deed.do) {
      case 'send':
        device.messages(a, b, Math.max(12, deed.bytes), deed.count ?? 1, deed.ttl);
        return;
      case 'read':
        device.read(a, b);
        return;
      case 'typing':
        device.typing(a, b);
        return;
      case 'add':
        device.change(b, Kind.GROUP_ADD, [userId(deed.user)]);
        return;
      case 'remove':
        device.change(b, Kind.GROUP_REMOVE, [userId(deed.user)]);
        return;
      case 'admin':
        device.change(b, Kind.GROUP_ROLE, [userId(deed.user)], 1);
        return;
      case 'leave':
        device.change(b, Kind.GROUP_LEAVE, []);
    }
  }

  #break(fault: FaultEvent): void {
    this.context.mark(`fault ${fault.fault}`);
    this.context.note(`FAULT ${JSON.stringify(fault)}`);
    this.context.hash.add(Happening.FAULT, fault.at);
    if (this.backbone.inject(fault)) return;
    if (fault.fault === 'cut') this.devices[fault.device]?.connection?.cut();
    else if (fault.fault === 'stall') this.devices[fault.device]?.connection?.stall(fault.way, fault.for);
    else if (fault.fault === 'slow-reader') this.devices[fault.device]?.connection?.slow(fault.for);
    else if (fault.fault === 'partition') this.#split(fault);
    else if (fault.fault === 'link') this.#link(fault);
    else if (fault.fault === 'app-crash') this.devices[fault.device]?.die('restart', fault.for);
    else if (fault.fault === 'app-restore') this.devices[fault.device]?.die('restore', fault.for);
    else if (fault.fault === 'app-reinstall') this.devices[fault.device]?.die('reinstall', fault.for);
    else if (fault.fault === 'all-cut') for (const { connection } of this.devices) connection?.cut();
  }

  #split({ device, gateway, way, refuses, for: ms }: Extract<FaultEvent, { readonly fault: 'partition' }>): void {
    this.network.split(device, gateway, this.context.queue.nowUs + ms * 1_000, refuses);
    const connection = this.devices[device]?.connection;
    if (connection?.gatewayNumber === gateway) connection.stall(way, ms);
  }

  #link({ device: index, link, for: ms }: Extract<FaultEvent, { readonly fault: 'link' }>): void {
    const device = this.devices[index];
    if (device === undefined) return;
    device.link = link;
    this.context.queue.after(ms * 1_000, () => {
      device.link = 'any';
    });
  }

  /** Nothing breaks any more, everybody comes online. True: all came to rest in time. */
  #heal(): boolean {
    const { context, backbone } = this;
    context.isHealing = true;
    context.probes.areSitesOff = true;
    backbone.heal();
    this.network.heal();
    for (const device of this.devices) {
      device.link = 'any';
      device.connection?.heal();
      device.start();
    }
    return this.#settle();
  }

  /** True: all came to rest in time. */
  #settle(): boolean {
    const { context } = this;
    const { queue } = context;
    const untilUs = queue.nowUs + HEAL_MS * 1_000;
    let quietSinceUs = queue.nowUs;
    let activity = context.activity;
    for (let lookUs = queue.nowUs; lookUs < untilUs; lookUs += LOOK_MS * 1_000) {
      while (queue.nextUs <= lookUs) this.#step();
      if (context.activity !== activity || !this.#isSettled()) {
        activity = context.activity;
        quietSinceUs = lookUs;
      }
      if (lookUs - quietSinceUs >= QUIET_MS * 1_000) return true;
      // Partitions that stopped since their log lost something never come to rest with the others.
      if (untilUs - lookUs < (HEAL_MS - STOPPED_MS) * 1_000 && this.backbone.stopped > 0) return true;
    }
    return false;
  }

  #isSettled(): boolean {
    return this.backbone.isIdle && this.devices.every(({ core }) => core.isLive && core.outboxSize === 0);
  }

  #stage(): Stage {
    const { context, observer, backbone, devices } = this;
    const passUntil = (untilUs: number): void => {
      context.queue.at(untilUs, () => {});
      while (context.queue.nextUs <= untilUs) this.#step();
    };
    const presenceUpdates = this.plan.topology.presenceUpdates ?? PRESENCE_UPDATES_PER_WINDOW;
    return { context, observer, backbone, devices, passUntil, presenceUpdates };
  }

  #judge(isQuiet: boolean): Outcome {
    for (const device of this.devices) device.finish();
    const isWhole = this.backbone.stopped === 0;
    if (isQuiet && isWhole) tellTruth(this.#stage());
    const { context, observer, plan } = this;
    for (const [name, count] of context.probes.counts()) context.marks.set(name, count);
    const nowhere = { device: 0, convA: 0, convB: 0, seq: 0 };
    const violations: Finding[] = context.flaws.map(({ place, ...flaw }) => ({ ...nowhere, ...place, ...flaw }));
    this.#judgeLosses((sentence) => violations.push({ guarantee: 'G16', sentence, atMs: null, ...nowhere }));
    if (isQuiet) {
      observer.judge(isWhole).violations.kept.forEach((violation, index) => {
        const { guarantee, device, convA, convB, seq } = violation;
        const atMs = observer.foundAtMs[index] ?? null;
        violations.push({ guarantee, sentence: describeViolation(violation), atMs, device, convA, convB, seq });
      });
      const flaw = (guarantee: string, sentence: string, atMs: number | null): void => {
        violations.push({ guarantee, sentence, atMs, ...nowhere });
      };
      if (isWhole) {
        try {
          this.#compareWithFold((sentence) => flaw('G13', sentence, null));
        } catch (error) {
          // What lanes read while they ran, a new reader cannot read again.
          flaw('G13', `the log cannot be read from its beginning: ${String(error)}`, null);
        }
      }
    } else violations.push({ guarantee: 'G15', sentence: this.#whyNotQuiet(), atMs: context.nowMs, ...nowhere });
    return {
      seed: plan.seed,
      traceHash: context.hash.toString(),
      events: context.queue.made,
      virtualSeconds: context.nowMs / 1_000,
      messages: observer.sends,
      deliveries: observer.deliveries,
      faults: plan.faults.length,
      marks: context.marks,
      violations,
    };
  }

  /** G16: what brokers lost was told, and the epoch of whoever read it has changed; what they did not lose was not told as lost. */
  #judgeLosses(report: (sentence: string) => void): void {
    const { backbone, plan } = this;
    for (const { topic, partition, from, through, epoch } of backbone.losses) {
      const told = backbone.lossTold(topic, partition);
      const what = `${from} to ${through} of partition ${partition} of topic ${topic}`;
      if (plan.topology.isBeyondBudget !== true)
        report(`the brokers lost ${what}, though only a minority of them broke`);
      if (!told.isTold) report(`${what} were acknowledged and lost, and nobody said so`);
      else if (told.epoch <= epoch) report(`${what} were lost, and the epoch is still ${epoch}`);
      else this.context.mark('loss told, epoch changed');
    }
    if (backbone.isIdle) for (const sentence of backbone.strayReplicas) report(sentence);
    if (backbone.stopped > 0 && plan.topology.isBeyondBudget !== true)
      report('a partition stopped, though nothing can have been lost');
  }

  #whyNotQuiet(): string {
    const devices = this.devices.filter(({ core }) => !core.isLive || core.outboxSize > 0);
    const lanes = this.backbone.lanes.filter(({ isRunning }) => !isRunning);
    const parts = [
      ...devices.map(({ key, core }) => `device ${key} (link state ${core.state}, ${core.outboxSize} unanswered)`),
      ...lanes.map(({ place }) => `lane ${place.number} does not run`),
      ...this.backbone.lanes.flatMap(({ place, lane }) =>
        (lane?.lagBytes() ?? 0) > 0 ? [`lane ${place.number} is ${lane!.lagBytes()} bytes behind`] : [],
      ),
    ];
    const what = parts.length === 0 ? 'something goes on without end' : parts.join(', ');
    return `${HEAL_MS / 1_000} s after the last fault not all has drained: ${what}`;
  }

  /** G13: each partition's state is what the log makes of nothing. */
  #compareWithFold(report: (sentence: string) => void): void {
    for (const { place, lane } of this.backbone.lanes) {
      const isUser = place.stageId === StageId.USER;
      const fold = new Lane({
        stageId: place.stageId,
        partitions: place.partitions,
        // By the other twin, so that what one made of the log is compared with what the other makes of it.
        createStage: (partition) => createStage(this.plan.topology, isUser, partition, !this.context.usesKernel),
        log: this.backbone.log,
        producer: new Sink(),
        store: new MemoryStore(),
        egress: { offer: () => true },
        clock: { wallMs: () => this.context.wallMs, monotonicMs: () => this.context.nowMs },
        incarnation: 1,
      });
      for (let turns = 0; fold.state === LaneState.RECOVERING || fold.lagBytes() > 0; turns++) {
        fold.turn();
        if (turns > 1_000_000) return report(`the fold of lane ${place.number} comes to no end`);
      }
      for (let turns = 0; fold.turn() && turns < 10_000; turns++);
      fold.partitions.forEach((partition, index) => {
        const live = lane!.partitions[index]!;
        if (partition.stage.stateHash() === live.stage.stateHash()) return;
        report(
          `${isUser ? 'user' : 'conversation'} partition ${partition.number} at offset ${live.offset} is not what its log says (fold at ${partition.offset})`,
        );
      });
    }
  }
}

/** Takes every output as durable: a fold's outputs were said before. */
class Sink {
  readonly #tags: number[] = [];

  append(_topic: number, _partition: number, _batch: Uint8Array, tag: number): boolean {
    this.#tags.push(tag);
    return true;
  }

  outcomes(sink: (tag: number, outcome: number, offset: number, refusal: number) => void): number {
    const tags = this.#tags.splice(0);
    for (const tag of tags) sink(tag, AppendOutcome.DURABLE, 0, 0);
    return tags.length;
  }
}

export function runPlan(plan: Plan, options: RunOptions = {}): Outcome {
  return new World(plan, options).run();
}
