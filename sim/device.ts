/** A device: the production client core, its connection, and the person who uses it. */

import {
  ClientCore,
  type ClientEvents,
  type FrameView,
  GapReason,
  LinkState,
  type SendOptions,
} from '../client/core.js';
import { WriteAhead } from '../client/write-ahead.js';
import { contentOf, type HistoryEvent } from '../core/checks/index.js';
import { DunlinError, errorOfCode } from '../core/errors.js';
import { Kind } from '../core/frame.js';
import { deviceKey, userOfDevice } from '../core/ids.js';
import { encodeMembers } from '../core/members.js';
import { Prng } from '../core/prng.js';
import { AppState, type SavedState } from './app-state.js';
import { Connection } from './connection.js';
import { type Context, Happening } from './context.js';
import type { GatewayProcess } from './gateway-process.js';
import type { Network } from './network.js';
import type { Observer } from './observer.js';
import type { LinkKind, Topology } from './plan.js';

/** User id of a person. */
export function userId(person: number): number {
  return 1_001 + person;
}

function nameOfCode(code: number): string {
  return errorOfCode(code)?.name ?? String(code);
}

/** As in client/shell.ts. */
const SAVING_CHECK_MS = 20;
/** A connection stands after this at most. */
const CONNECT_US_MAX = 200_000;

/** With `tinyLimits`: sends that an outbox holds. */
const TINY_OUTBOX = 8;

export class Device {
  readonly index: number;
  readonly user: number;
  readonly number: number;
  readonly key: number;
  core: ClientCore;
  connection: Connection | undefined;
  link: LinkKind = 'any';
  readonly #context: Context;
  readonly #observer: Observer;
  readonly #gateways: () => readonly GatewayProcess[];
  readonly #network: Network;
  readonly #random: Prng;
  readonly #topology: Topology;
  /** When a received frame counts as processed. */
  readonly #mode: 'auto' | 'messages' | 'all';
  readonly #app: AppState;
  /** Only if applications keep a state. */
  #ahead: WriteAhead | undefined;
  /** The state that is on its way to the storage. */
  #saving: SavedState | undefined;
  /** Grows when the application dies. */
  #life = 0;
  #isDown = false;
  /** A backup was brought back: the server cannot give what it had freed since. */
  #isOld = false;
  #dueUs = Infinity;
  #attempt = 0;
  #payloads = 0;
  /** The person wants to be online. */
  isWanted = false;
  /** Users whom the application watches. */
  readonly #watched = new Set<number>();
  #isInside = false;

  constructor(
    context: Context,
    observer: Observer,
    gateways: () => readonly GatewayProcess[],
    index: number,
    person: number,
    number: number,
    seed: number,
    network: Network,
    topology: Topology,
    losesState: boolean,
  ) {
    this.#context = context;
    this.#observer = observer;
    this.#gateways = gateways;
    this.index = index;
    this.user = userId(person);
    this.number = number;
    this.key = deviceKey(this.user, number);
    this.#network = network;
    this.#random = new Prng(seed).fork(`device ${index}`);
    this.#topology = topology;
    const modes = ['auto', 'auto', 'messages', 'all'] as const;
    this.#mode = topology.saves === true ? modes[this.#random.fork('mode').below(modes.length)]! : 'auto';
    const stands = (a: number, b: number, counter: number): boolean => observer.record.has(a, b, this.key, counter);
    this.#app = new AppState(this.key, (event) => observer.feed(event), stands, losesState);
    this.core = this.#newCore(undefined, true);
    observer.feed({ op: 'host', device: this.key });
  }

  get isLive(): boolean {
    return this.core.isLive;
  }

  #newCore(snapshot: Uint8Array | undefined, freshDevice: boolean): ClientCore {
    const life = this.#life;
    const random = this.#random.fork(life === 0 ? 'core' : `core ${life}`);
    const { outboxMax, tinyLimits, saves } = this.#topology;
    const most = outboxMax ?? (tinyLimits === true ? TINY_OUTBOX : undefined);
    const options = {
      device: this.key,
      random,
      snapshot,
      freshDevice,
      outboxMax: most,
      acknowledge: this.#mode,
    } as const;
    const core = new ClientCore(options, this.#events());
    if (saves === true) this.#ahead = new WriteAhead(core);
    return core;
  }

  // --- the shell ----------------------------------------------------------------------------------------------------------------

  /** Calls into the core, then does whatever it wants. */
  #enter(call: (nowMs: number) => void): void {
    const wasInside = this.#isInside;
    this.#isInside = true;
    try {
      call(this.#context.nowMs);
    } finally {
      this.#isInside = wasInside;
    }
    this.pump();
  }

  pump(): void {
    if (this.#isInside || this.#isDown) return;
    const { core } = this;
    const { nowMs } = this.#context;
    this.#isInside = true;
    if (nowMs >= core.wakeAtMs) core.tick(nowMs);
    this.#isInside = false;
    if (core.wantsConnection(nowMs)) this.#connect();
    const { connection } = this;
    if (this.#ahead !== undefined) this.#saveAndTransmit(this.#ahead, nowMs);
    else if (connection !== undefined) {
      for (let output = core.takeOutput(nowMs); output !== undefined; output = core.takeOutput(nowMs)) {
        connection.clientSends(output);
      }
    }
    // What is due may wait for the storage, as in the real shell.
    const wakeAtMs = this.#ahead?.isSaving === true ? Math.max(core.wakeAtMs, nowMs + SAVING_CHECK_MS) : core.wakeAtMs;
    this.#wakeAt(wakeAtMs * 1_000);
  }

  /** As the real shell does it: what goes out is in the storage before it goes. */
  #saveAndTransmit(ahead: WriteAhead, nowMs: number): void {
    const { connection } = this;
    const step = ahead.next(nowMs, () => connection !== undefined);
    if (step === undefined) return;
    const { outputs, state } = step;
    if (state === undefined) {
      for (const output of outputs) connection?.clientSends(output);
      return;
    }
    const life = this.#life;
    const saving = this.#app.saving(state);
    this.#saving = saving;
    this.#context.queue.after(this.#context.delayUs(50, 40_000), () => {
      if (life !== this.#life) return;
      this.#saving = undefined;
      this.#app.saved(saving);
      ahead.saved();
      if (connection === this.connection) for (const output of outputs) connection?.clientSends(output);
      this.pump();
    });
  }

  /** What must be acknowledged is, after a while. */
  #acknowledgeLater(): void {
    if (this.#mode === 'auto') return;
    const life = this.#life;
    const { queue } = this.#context;
    queue.after(this.#context.delayUs(100, 600_000), () => {
      if (life !== this.#life) return;
      this.#enter((nowMs) => {
        this.core.acknowledge(this.core.receivedPosition, nowMs);
        this.#ahead?.due();
      });
    });
  }

  /**
   * The application dies, and starts again after a while: from what its storage holds (`restart`), from what it held `back`
   * states before (`restore`), or with nothing (`reinstall`).
   */
  die(how: 'restart' | 'restore' | 'reinstall', ms: number): void {
    if (this.#ahead === undefined || this.#isDown) return;
    const { queue, delays } = this.#context;
    // What is being saved is, or is not.
    if (this.#saving !== undefined && delays.chance(1, 2)) this.#app.saved(this.#saving);
    this.#saving = undefined;
    this.#life++;
    const { connection } = this;
    this.#disconnect();
    // With a state lost, nothing of the old life is under way when the new one begins: docs/simulator.md says why.
    if (how !== 'restart' || delays.chance(1, 2)) connection?.cut();
    this.#observer.feed({ op: 'away', device: this.key });
    this.#context.note(`the application of device ${this.key} died: ${how}`);
    if (how === 'reinstall') {
      this.#app.reset();
      this.core = this.#newCore(undefined, false);
    } else {
      const back = how === 'restore' ? 1 + delays.below(12) : 0;
      this.#isOld ||= how === 'restore';
      const state = this.#app.died(back);
      this.core = this.#newCore(state, state === undefined);
    }
    this.#isDown = true;
    queue.after(ms * 1_000, () => {
      this.#isDown = false;
      for (const user of this.#watched) this.core.watch(user);
      if (this.isWanted) this.start();
    });
  }

  /** Before all is judged. */
  finish(): void {
    if (this.#isOld) this.#app.finish();
  }

  #wakeAt(atUs: number): void {
    if (atUs === Infinity || atUs >= this.#dueUs) return;
    const dueUs = Math.max(Math.ceil(atUs), this.#context.queue.nowUs + 1);
    this.#dueUs = dueUs;
    this.#context.queue.at(dueUs, () => {
      if (this.#dueUs !== dueUs) return;
      this.#dueUs = Infinity;
      this.pump();
    });
  }

  #connect(): void {
    const { queue } = this.#context;
    const attempt = ++this.#attempt;
    this.#enter((nowMs) => this.core.connecting(nowMs));
    queue.after(this.#context.delayUs(300, CONNECT_US_MAX), () => {
      const up = this.#gateways().filter(({ isListening }) => isListening);
      const gateway = up[this.#random.below(Math.max(1, up.length))];
      if (gateway === undefined) this.#refused(attempt, 0);
      else this.#reach(gateway, attempt);
    });
  }

  /** Across a partition nothing answers: the network tries again until it gets through, or the client gives up. */
  #reach(gateway: GatewayProcess, attempt: number): void {
    const { queue, delays } = this.#context;
    if (attempt !== this.#attempt) return;
    const blocked = this.#network.blocked(this.index, gateway.place.number, queue.nowUs);
    if (blocked === undefined) this.#handshake(gateway, attempt);
    else if (blocked.refuses) {
      this.#context.mark('connection refused across a partition');
      this.#refused(attempt, 0);
    } else {
      this.#context.mark('connection hangs across a partition');
      queue.at(blocked.untilUs + delays.between(1_000, 3_000_000), () => this.#reach(gateway, attempt));
    }
  }

  #handshake(gateway: GatewayProcess, attempt: number): void {
    const { queue, delays } = this.#context;
    const end = {
      link: () => this.link,
      received: (from: Connection, bytes: Uint8Array) => {
        if (from === this.connection) this.#enter((nowMs) => this.core.received(bytes, nowMs));
      },
      ended: (from: Connection, code: number) => this.#ended(from, attempt, code),
    };
    const connection = new Connection(this.#context, this.index, gateway, end);
    const result = gateway.accept(this.user, this.number, connection);
    if (typeof result === 'number') {
      this.#refused(attempt, result);
      return;
    }
    connection.session = result;
    if (this.#context.isTroubled(30)) connection.stall('up', this.#context.trouble!.between(5_000, 30_000));
    queue.after(delays.between(100, 50_000), () => {
      if (attempt !== this.#attempt || this.core.state !== LinkState.CONNECTING) connection.clientCloses();
      else if (!connection.isClientDone) {
        this.connection = connection;
        this.#context.hash.add(Happening.LINK, this.index, 1);
        this.#context.note(`device ${this.key} is connected to gateway ${gateway.place.number}`);
        this.#enter((nowMs) => this.core.opened(nowMs));
      }
    });
  }

  #refused(attempt: number, retryAfterMs: number): void {
    this.#context.queue.after(this.#context.delays.between(100, 50_000), () => {
      if (attempt === this.#attempt) this.#enter((nowMs) => this.core.closed(1006, nowMs, retryAfterMs));
    });
  }

  /** The connection, or the attempt, is over. */
  #ended(connection: Connection, attempt: number, code: number): void {
    if (attempt !== this.#attempt || (this.connection !== undefined && this.connection !== connection)) return;
    this.connection = undefined;
    this.#attempt++;
    this.#context.hash.add(Happening.LINK, this.index, 0, code);
    this.#context.note(`device ${this.key} lost its connection: ${code}`);
    this.#enter((nowMs) => this.core.closed(code, nowMs));
  }

  // --- what its person does -------------------------------------------------------------------------------------------------------

  start(): void {
    this.isWanted = true;
    if (this.#isDown) return;
    this.#enter((nowMs) => this.core.start(nowMs));
  }

  stop(): void {
    this.isWanted = false;
    if (this.#isDown) return;
    this.#enter((nowMs) => this.core.stop(nowMs));
  }

  /** The application dies, and nobody starts it again: the server learns of the connection's end when it does. */
  vanish(): void {
    this.isWanted = false;
    const { connection } = this;
    if (connection !== undefined) {
      this.#disconnect();
      connection.cut();
      this.#enter((nowMs) => this.core.closed(1006, nowMs));
    }
    this.#enter((nowMs) => this.core.stop(nowMs));
  }

  /** Puts a frame into the outbox; false: there is no room. */
  send(a: number, b: number, payload: Uint8Array, options: SendOptions): boolean {
    if (this.#isDown) return false;
    let counter = 0;
    const kind = options.kind ?? Kind.MESSAGE;
    const extra = kind === Kind.GROUP_ROLE ? (options.role ?? 0) : (options.ttlSeconds ?? 0);
    this.#enter((nowMs) => {
      counter = this.core.send(a, b, payload, nowMs, { ...options, tag: contentOf(kind, extra, payload) });
      if (counter === 0) {
        this.#context.mark('outbox full');
        return;
      }
      this.#observer.sends++;
      this.#app.sending(a, b, counter, contentOf(kind, extra, payload));
      this.#ahead?.due();
    });
    return counter > 0;
  }

  /** So many at once: they leave together. */
  messages(a: number, b: number, bytes: number, count: number, ttl?: number): void {
    if (count === 1) {
      this.message(a, b, bytes, ttl);
      return;
    }
    this.#enter(() => {
      for (let n = 0; n < count; n++) this.message(a, b, bytes, ttl);
    });
  }

  message(a: number, b: number, bytes: number, ttlSeconds = 0): boolean {
    const payload = new Uint8Array(bytes);
    new DataView(payload.buffer).setUint32(0, this.key);
    new DataView(payload.buffer).setUint32(4, ++this.#payloads);
    new DataView(payload.buffer).setUint32(8, this.#random.u32());
    return this.send(a, b, payload, { ttlSeconds });
  }

  change(b: number, kind: number, users: readonly number[], role = 0): boolean {
    const payload = kind === Kind.GROUP_LEAVE ? new Uint8Array(0) : encodeMembers(users);
    return this.send(0, b, payload, { kind, role });
  }

  read(a: number, b: number): void {
    const seq = this.#app.seen(a, b);
    if (seq === 0 || this.#isDown) return;
    this.#app.read(a, b, seq, this.#ahead !== undefined);
    this.#enter(() => {
      this.core.read(a, b, seq);
      this.#ahead?.due();
    });
  }

  typing(a: number, b: number): void {
    if (!this.#isDown) this.#enter(() => this.core.typing(a, b, true));
  }

  block(user: number, on: boolean): void {
    if (on) this.#observer.blocks.add(`${this.user} ${user}`);
    if (this.#isDown) return;
    this.#enter((nowMs) => {
      this.core.block(user, on, nowMs);
      this.#ahead?.due();
    });
  }

  watch(user: number): void {
    this.#watched.add(user);
    if (this.#isDown) return;
    this.#enter(() => this.core.watch(user));
    if (this.isLive) this.#tellWatch(user, true);
  }

  unwatch(user: number): void {
    this.#watched.delete(user);
    if (this.#isDown) return;
    this.#enter(() => this.core.unwatch(user));
    this.#tellWatch(user, false);
  }

  /** The client renews its watches by itself: they last. */
  renewWatches(): void {
    if (this.isLive) for (const user of this.#watched) this.#tellWatch(user, true);
  }

  #tellWatch(user: number, on: boolean): void {
    this.#observer.feed({ op: 'watch', device: this.key, user, on: on ? 1 : 0, at: this.#context.steadyMs });
  }

  // --- what the core says -----------------------------------------------------------------------------------------------------------

  #events(): ClientEvents {
    const device = this.key;
    const tell = (event: HistoryEvent): void => this.#observer.feed(event);
    return {
      disconnect: () => this.#disconnect(),
      closed: (code, final) => {
        if (!final) return;
        this.#context.mark(`closed for good ${code}`);
        if (this.isWanted) this.#context.queue.after(1_000, () => this.start());
      },
      state: (state) => {
        if (state === LinkState.CATCHING_UP) tell({ op: 'resume', device });
        if (state <= LinkState.OFFLINE) tell({ op: 'away', device });
        if (state === LinkState.LIVE) this.renewWatches();
      },
      message: (frame) => this.#saw(frame),
      groupChange: (frame) => this.#saw(frame),
      sent: (a, b, counter, seq) => this.#sent(a, b, counter, seq),
      rejected: (a, b, counter, code, _text, final) => {
        this.#context.mark(`rejected ${nameOfCode(code)}`);
        this.#acknowledgeLater();
        if (final && counter > 0 && this.#app.settled(a, b, counter)) tell({ op: 'fail', device, a, b, counter });
      },
      renumbered: (a, b, from, to, tag) => {
        this.#context.mark('renumbered');
        this.#app.renumbered(a, b, from, to, tag);
      },
      gap: (a, b, from, through, reason) => this.#gap(a, b, from, through, reason),
      receipt: (a, b, whose, delivered, read) => {
        this.#acknowledgeLater();
        tell({ op: 'receipt', device, a, b, whose, delivered, read });
      },
      block: (user, on) => {
        this.#acknowledgeLater();
        this.#app.block(user, on, this.core.receivedPosition);
      },
      presence: (user, online) => {
        this.#context.mark('presence');
        const at = this.#observer.emissions.takePresence(device, user, online);
        tell({ op: 'presence', device, user, on: online ? 1 : 0, at });
      },
      typing: (a, b, sender, started) => {
        this.#context.mark('typing');
        const at = this.#observer.emissions.takeTyping(device, a, b, sender, started);
        tell({ op: 'typing', device, user: userOfDevice(sender), at });
      },
      violation: (text) => {
        if (this.#isOld) this.#context.mark('a backup is older than what the server keeps');
        else this.#context.flaw('protocol', `device ${device}: ${text}`, { device });
      },
    };
  }

  #disconnect(): void {
    const { connection } = this;
    this.connection = undefined;
    this.#attempt++;
    connection?.clientCloses();
  }

  #saw(frame: FrameView): void {
    const { convA: a, convB: b, seq, device: sender, counter, time, inbox } = frame;
    if (this.#isOld && frame.kind === Kind.GROUP_ADD) this.#app.rejoins(a, b, seq);
    this.#app.handed(a, b, seq);
    this.#acknowledgeLater();
    this.#context.hash.add(Happening.SEEN, this.index, inbox, seq);
    const content = contentOf(frame.kind, frame.extra, frame.payload);
    const ttl = frame.kind === Kind.MESSAGE ? frame.extra : 0;
    const at = this.#observer.emissions.takeEntry(this.key, inbox);
    this.#observer.feed({ op: 'deliver', device: this.key, a, b, seq, sender, counter, content, time, ttl, at });
  }

  #sent(a: number, b: number, counter: number, seq: number): void {
    const place = { device: this.key, convA: a, convB: b, seq };
    this.#acknowledgeLater();
    if (!this.#app.settled(a, b, counter)) {
      const sentence = `device ${this.key} was told that its counter ${counter} of (${a}, ${b}) was taken, which stands for another message`;
      this.#context.flaw('G4', sentence, place);
    } else if (seq > this.#app.seen(a, b)) {
      this.#app.handed(a, b, seq);
      this.#observer.feed({ op: 'ok', device: this.key, a, b, counter, seq });
    } else {
      // A backup may hold a send that was refused since it was made.
      if (seq === 0 && this.#isOld) return;
      if (seq === 0 && !this.#observer.record.has(a, b, this.key, counter)) {
        const sentence = `device ${this.key} was told that its counter ${counter} of (${a}, ${b}) was taken, but it stands nowhere`;
        this.#context.flaw('G4', sentence, place);
      }
      this.#observer.feed({ op: 'duplicate', device: this.key, a, b, counter, seq });
    }
  }

  #gap(a: number, b: number, from: number, through: number, reason: number): void {
    this.#context.mark(`gap ${reason}`);
    this.#acknowledgeLater();
    if (reason === GapReason.FORGOTTEN && this.#wasSent(a, b, through)) return;
    if (reason === GapReason.LOST && this.#isOld && this.#app.skips(a, b, through)) return;
    if (reason === GapReason.LOST || reason === GapReason.FORGOTTEN) {
      const sentence = `device ${this.key} was told that ${from} to ${through} of (${a}, ${b}) are lost (${reason})`;
      this.#context.flaw('G4', sentence, { device: this.key, convA: a, convB: b, seq: from });
      return;
    }
    const first = this.#app.firstOf(a, b, from, this.#isOld);
    if (reason === GapReason.EXPIRED) this.#observer.toldExpired(this.key, a, b, first, through);
    this.#app.handed(a, b, through);
    this.#observer.feed({ op: 'gap', device: this.key, a, b, through, reason });
  }

  /** What this device sent before its state was lost comes back to it: it must have been sent, and it stands there. */
  #wasSent(a: number, b: number, seq: number): boolean {
    const standing = this.#observer.record.at(a, b, seq);
    if (standing?.device !== this.key) return false;
    this.#app.settled(a, b, standing.counter);
    this.#app.handed(a, b, seq);
    this.#observer.feed({ op: 'ok', device: this.key, a, b, counter: standing.counter, seq });
    return true;
  }
}

/** A person may try what the core refuses at once. */
export function tryTo(deed: () => void): void {
  try {
    deed();
  } catch (error) {
    if (!(error instanceof DunlinError)) throw error;
  }
}
