/**
 * The whole client against the reference server over a hostile network. Everything random comes from one seed: which
 * piece of work happens next, connections that break with frames under way in either direction, restarts of the server,
 * refusals, doubled appends, and crashes of the client process, which goes on from its last saved state.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Kind } from '../core/frame.js';
import { deviceKey } from '../core/ids.js';
import { encodeMembers } from '../core/members.js';
import { Prng } from '../core/prng.js';
import { ClientCore, type ClientEvents, GapReason, LinkState } from './core.js';
import { ReferenceServer, type ServerConnection } from './reference-server.js';

/** What one application keeps: saved and restored together with its client's state. */
interface Application {
  /** By conversation: what it saw, in order: `seq:text`. */
  readonly seen: Map<string, string[]>;
  /** By conversation and tag. */
  readonly outcomes: Map<string, string>;
  readonly sends: Map<string, number>;
}

function copyOf(application: Application): Application {
  return structuredClone(application);
}

type Mode = 'auto' | 'messages' | 'all';

const CONVERSATIONS = [
  [1, 2],
  [1, 3],
  [0, 77],
  [0, 78],
] as const;

class Device {
  readonly #world: World;
  readonly device: number;
  readonly #mode: Mode;
  core!: ClientCore;
  application: Application = { seen: new Map(), outcomes: new Map(), sends: new Map() };
  connection: ServerConnection | undefined;
  #saved: { snapshot: Uint8Array | undefined; application: Application };
  violations: string[] = [];
  /** Counts losses of its storage; part of every text it sends. */
  life = 0;

  constructor(world: World, device: number, mode: Mode) {
    this.#world = world;
    this.device = device;
    this.#mode = mode;
    this.#saved = { snapshot: undefined, application: copyOf(this.application) };
    this.start();
  }

  /** A new process, from what was saved. */
  start(): void {
    const { snapshot, application } = this.#saved;
    this.application = copyOf(application);
    const random = this.#world.random.fork(`core ${this.device} ${this.#world.random.u32()}`);
    const options = { device: this.device, random, snapshot, acknowledge: this.#mode };
    this.core = new ClientCore(options, this.#events());
    this.core.start(this.#world.nowMs);
  }

  #events(): ClientEvents {
    const see = (a: number, b: number, seq: number, text: string): void => {
      const key = `${a}:${b}`;
      const seen = this.application.seen.get(key) ?? [];
      seen.push(`${seq}:${text}`);
      this.application.seen.set(key, seen);
    };
    const settle = (a: number, b: number, tag: number, outcome: string): void => {
      const key = `${a}:${b}:${tag}`;
      assert.equal(this.application.outcomes.get(key), undefined, `a second outcome of ${key}: ${outcome}`);
      this.application.outcomes.set(key, outcome);
    };
    return {
      message: (frame) => see(frame.convA, frame.convB, frame.seq, new TextDecoder().decode(frame.payload)),
      groupChange: (frame) => see(frame.convA, frame.convB, frame.seq, `kind ${frame.kind}`),
      sent: (a, b, _counter, seq, _time, tag) => {
        settle(a, b, tag, `sent ${seq}`);
        if (seq > 0) see(a, b, seq, `own ${tag}`);
      },
      rejected: (a, b, _counter, code, _text, final, tag) => {
        if (final && tag > 0) settle(a, b, tag, `rejected ${code}`);
      },
      gap: (a, b, from, through, reason) => {
        if (reason !== GapReason.FORGOTTEN) this.violations.push(`gap (${a}, ${b}) ${from} to ${through}`);
        for (let seq = from; seq <= through; seq++) see(a, b, seq, `gap ${reason}`);
      },
      violation: (text) => this.violations.push(text),
      disconnect: () => this.lose(0),
    };
  }

  send(a: number, b: number, kind: number, payload?: Uint8Array): void {
    const key = `${a}:${b}`;
    const tag = (this.application.sends.get(key) ?? 0) + 1;
    const bytes = payload ?? new TextEncoder().encode(`${this.device} ${this.life} ${tag}`);
    if (this.core.send(a, b, bytes, this.#world.nowMs, { kind, tag }) > 0) this.application.sends.set(key, tag);
  }

  /**
   * The application's transaction: its effects and the client's state, together. With 'all' it may save the client's state
   * for what it sends, and leave what it has received for later.
   */
  save(): void {
    if (this.#mode === 'all' && this.#world.random.chance(1, 2)) {
      const { seen, outcomes } = this.#saved.application;
      const { sends } = this.application;
      this.#saved = { snapshot: this.core.snapshot(), application: copyOf({ seen, outcomes, sends }) };
      return;
    }
    this.core.acknowledge(this.core.receivedPosition, this.#world.nowMs);
    this.#saved = { snapshot: this.core.snapshot(), application: copyOf(this.application) };
  }

  crash(lateFrames: number): void {
    this.lose(lateFrames);
    this.start();
  }

  /** A new process that knows nothing. */
  loseStorage(): void {
    this.life++;
    this.#saved = { snapshot: undefined, application: { seen: new Map(), outcomes: new Map(), sends: new Map() } };
    this.crash(0);
  }

  lose(lateFrames: number): void {
    if (this.connection === undefined) return;
    this.#world.server.lose(this.connection, lateFrames);
    this.connection = undefined;
    this.core.closed(1006, this.#world.nowMs);
  }

  /** Lets the shell do what it does: connect, tick, save and transmit. True if anything happened. */
  pump(): boolean {
    const { nowMs, server } = this.#world;
    if (this.connection !== undefined && this.connection.closeCode !== 0) this.lose(0);
    this.core.tick(nowMs);
    let active = false;
    if (this.core.wantsConnection(nowMs)) {
      this.core.connecting(nowMs);
      this.connection = server.connect(this.device);
      this.core.opened(nowMs);
      active = true;
    }
    for (;;) {
      const output = this.core.takeOutput(nowMs)?.slice();
      if (output === undefined) return active;
      active = true;
      this.save();
      this.connection!.receive(output);
    }
  }

  receive(count: number): boolean {
    if (this.connection === undefined || this.connection.toClient.length === 0) return false;
    this.core.received(this.connection.take(count), this.#world.nowMs);
    return true;
  }
}

class World {
  readonly random: Prng;
  readonly server: ReferenceServer;
  readonly devices: Device[];
  /** Frames of a lost connection that still arrive. */
  readonly lateFramesMax: number;
  nowMs = 0;

  constructor(seed: number, mode: Mode, lateFramesMax: number) {
    this.lateFramesMax = lateFramesMax;
    this.random = new Prng(seed);
    const percent = (): number => (this.random.chance(1, 2) ? 0 : this.random.between(1, 20));
    this.server = new ReferenceServer(this.random.fork('server'), {
      refuse: percent(),
      unknown: percent(),
      double: percent(),
    });
    const keys = [deviceKey(1, 1), deviceKey(1, 2), deviceKey(2, 1), deviceKey(3, 1)];
    for (const key of keys) this.server.register(key);
    this.devices = keys.map((key) => new Device(this, key, mode));
  }

  act(): void {
    const device = this.devices[this.random.below(this.devices.length)]!;
    const what = this.random.below(100);
    if (what < 15) this.#send(device);
    else if (what < 50) this.server.step();
    else if (what < 75) device.receive(this.random.between(1, 8));
    else if (what < 92) device.pump();
    else if (what < 94) device.lose(this.random.between(0, this.lateFramesMax));
    else if (what < 95) device.crash(this.random.between(0, this.lateFramesMax));
    else if (what < 96 && this.random.chance(1, 3)) this.server.restart(6, this.lateFramesMax);
    else this.nowMs += this.random.between(1, 2_000);
  }

  #send(device: Device): void {
    const user = Math.floor(device.device / 128);
    const own = CONVERSATIONS.filter(([a, b]) => a === 0 || a === user || b === user);
    const [a, b] = own[this.random.below(own.length)]!;
    const kind = a === 0 && this.random.chance(1, 4) ? this.random.between(Kind.GROUP_CREATE, Kind.GROUP_LEAVE) : 1;
    const others = encodeMembers([1, 2, 3].filter((one) => one !== user && this.random.chance(1, 2)));
    if (kind === Kind.MESSAGE || kind === Kind.GROUP_LEAVE) device.send(a, b, kind);
    else device.send(a, b, kind, others);
    const seen = device.application.seen.get(`${a}:${b}`)?.length ?? 0;
    if (seen > 0 && this.random.chance(1, 3)) device.core.read(a, b, seen);
  }

  /** No more faults: everything must drain, within a bounded number of rounds. */
  heal(): void {
    this.server.faults = { refuse: 0, unknown: 0, double: 0 };
    for (let round = 0; round < 2_000; round++) {
      let active = false;
      this.server.settle();
      for (const device of this.devices) {
        while (device.receive(1_000)) active = true;
        if (device.pump()) active = true;
      }
      const isDone = this.devices.every(({ core }) => core.state === LinkState.LIVE && core.outboxSize === 0);
      if (!active && isDone) return;
      if (!active) this.nowMs = Math.max(this.nowMs + 1, Math.min(...this.devices.map(({ core }) => core.wakeAtMs)));
    }
    assert.fail('does not come to rest');
  }

  /** Every device saw each conversation once, in order, without a hole, as the server has it. */
  checkViews(): void {
    for (const { application, device } of this.devices) {
      for (const [key, seen] of application.seen) {
        const { log } = this.server.conversations.get(key)!;
        const user = Math.floor(device / 128);
        let before: number | undefined;
        for (const line of seen) {
          const seq = Number(line.slice(0, line.indexOf(':')));
          const frame = log[seq - 1]!;
          const isJoin = frame.kind === Kind.GROUP_ADD && !line.includes('own');
          if (before !== undefined && !isJoin) assert.equal(seq, before + 1, `${device} in ${key}: ${seen.join(' ')}`);
          assert.ok(before === undefined || seq > before, `${device} in ${key} went back: ${seen.join(' ')}`);
          before = seq;
          const text = line.slice(line.indexOf(':') + 1);
          if (frame.device === device) assert.match(text, /^own |^gap 4$/);
          else if (frame.kind !== Kind.MESSAGE) assert.equal(text, `kind ${frame.kind}`);
          else assert.equal(text, new TextDecoder().decode(frame.payload));
        }
        const isMember = this.server.conversations.get(key)!.members.has(user);
        if (isMember) assert.equal(before, log.length, `${device} did not see ${key} to its end`);
      }
    }
  }

  /** What was said to be sent is in the log, once, in the order of sending; for devices that lost their storage. */
  checkLives(): void {
    for (const { log } of this.server.conversations.values()) {
      const texts = log
        .filter(({ kind }) => kind === Kind.MESSAGE)
        .map(({ payload }) => new TextDecoder().decode(payload));
      assert.equal(new Set(texts).size, texts.length, `a doubled message: ${texts.join(', ')}`);
    }
    for (const { application, device, life } of this.devices) {
      for (const [key, count] of application.sends) {
        const { log } = this.server.conversations.get(key)!;
        let before = 0;
        for (let tag = 1; tag <= count; tag++) {
          const outcome = application.outcomes.get(`${key}:${tag}`);
          assert.ok(outcome !== undefined, `${device}: ${key}:${tag} has no outcome`);
          if (!outcome.startsWith('sent')) continue;
          const seq = Number(outcome.slice(5));
          assert.ok(seq > before, `${device} in ${key}: ${tag} was sent as ${seq}, behind ${before}`);
          before = seq;
          const { kind, payload } = log[seq - 1]!;
          if (kind === Kind.MESSAGE) assert.equal(new TextDecoder().decode(payload), `${device} ${life} ${tag}`);
        }
      }
    }
  }

  /** Every send has one outcome, the right one, and what was sent is in the log once, in the order of sending. */
  checkSends(): void {
    for (const { application, device } of this.devices) {
      for (const [key, count] of application.sends) {
        const own = this.server.conversations.get(key)?.log.filter((frame) => frame.device === device) ?? [];
        const accepted: number[] = [];
        for (let tag = 1; tag <= count; tag++) {
          const outcome = application.outcomes.get(`${key}:${tag}`);
          assert.ok(outcome !== undefined, `${device}: ${key}:${tag} has no outcome`);
          if (outcome.startsWith('sent')) accepted.push(Number(outcome.slice(5)));
        }
        assert.deepEqual(
          accepted,
          own.map((frame) => frame.seq),
          `${device} in ${key}`,
        );
      }
    }
  }
}

function runWorld(seed: number, mode: Mode, losesStorage: boolean): World {
  // Late frames of an earlier life may take counters for themselves; no client could tell.
  const world = new World(seed, mode, losesStorage ? 0 : 5);
  for (let i = 0; i < 600; i++) {
    world.act();
    if (losesStorage && world.random.chance(1, 100)) world.devices[world.random.below(4)]!.loseStorage();
  }
  world.heal();
  return world;
}

for (const mode of ['auto', 'messages', 'all'] as const) {
  test(`acknowledge ${mode}: each message once in order, each send one outcome, over any faults and crashes`, () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31), (seed) => {
        const world = runWorld(seed, mode, false);
        for (const { violations } of world.devices) assert.deepEqual(violations, []);
        world.checkViews();
        world.checkSends();
      }),
      { numRuns: 120, includeErrorInReport: true },
    );
  });
}

test('a device that lost its storage finds its counters again: nothing sent is lost, doubled or reordered', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), (seed) => {
      const world = runWorld(seed, 'auto', true);
      for (const { violations } of world.devices) assert.deepEqual(violations, []);
      world.checkViews();
      world.checkLives();
    }),
    { numRuns: 120, includeErrorInReport: true },
  );
});
