/** The kernel against its plain twin: the same batches, to the last byte the same output, exports and state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Batch, BatchAt, openBatch, SourceKind, stampBatch } from '../../core/batch.js';
import { encodeDeviceTable } from '../../core/device-table.js';
import { Flag, type Frame, Kind, makeFrame, viewOf } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import {
  BATCH_BYTES_MAX,
  FRAME_HEADER_BYTES,
  PAYLOAD_BYTES_MAX,
  SEQUENCE_MAX,
  USER_ID_MAX,
} from '../../core/limits.js';
import { Topic } from '../../core/ports.js';
import { Prng } from '../../core/prng.js';
import { Probes, Site, withProbes } from '../../core/probe.js';
import { keyText, Outbox, Streams } from '../outbox.js';
import { UserStage } from './stage.js';
import type { UserLimits } from './state.js';
import { type FanOutEntry, fanOutBatch, framesBatch } from './testing.js';

const START_MS = 1_700_000_000_000;
const U53_MAX = Number.MAX_SAFE_INTEGER;

interface Options {
  readonly conversationPartitions?: number;
  readonly limits?: Partial<UserLimits>;
  /** Seed of the sites that let batches end early; undefined: no simulator looks on. */
  readonly sites?: number;
}

/** One stage and the lane's own outbox: batches leave in its order, and end where it ends them. */
class Twin {
  readonly kernel: boolean;
  readonly #options: Options;
  readonly #gathered = new Streams(0, Site.OUTBOX_SPLITS_GATHERED);
  readonly #outbox = new Outbox(SourceKind.USER, 0, this.#gathered);
  readonly #probes: Probes | undefined;
  stage: UserStage;

  constructor(kernel: boolean, options: Options) {
    this.kernel = kernel;
    this.#options = options;
    if (options.sites !== undefined) this.#probes = new Probes(new Prng(options.sites));
    this.stage = this.#newStage();
    assert.equal(this.stage.hasKernel, kernel);
  }

  #newStage(): UserStage {
    const { conversationPartitions = 3, limits = {} } = this.#options;
    return new UserStage({ partition: 0, conversationPartitions, userPartitions: 1, limits, kernel: this.kernel });
  }

  step(bytes: Uint8Array, offset: number): string[] {
    const work = (): string[] => this.#step(openBatch(bytes), offset);
    return this.#probes === undefined ? work() : withProbes(this.#probes, work);
  }

  #step(batch: Batch, offset: number): string[] {
    const written: string[] = [];
    this.#outbox.begin(offset, 1);
    this.stage.needs(batch, (key) => written.push(`needs ${keyText(key)}`));
    // Nothing was committed, so all that was written behind is here still.
    this.stage.step(batch, this.#outbox, { get: (key) => this.#outbox.cold.get(keyText(key)) });
    const isAll = this.#gathered.flush((...[destination, topic, number, output]) => {
      written.push(`${destination} ${topic} ${number} ${Buffer.from(output).toString('latin1')}`);
      return true;
    });
    assert.ok(isAll);
    return written;
  }

  get cold(): Map<string, Uint8Array | undefined> {
    return this.#outbox.cold;
  }

  exportDirty(): Buffer[] {
    const chunks: Buffer[] = [];
    this.stage.exportDirty((chunk) => chunks.push(Buffer.from(chunk.slice())));
    return chunks;
  }

  /** Goes on with a stage that is made of the whole state. */
  restore(): void {
    const next = this.#newStage();
    for (let cursor = 0; cursor >= 0; ) {
      cursor = this.stage.exportAll(cursor, 2 ** 20, (chunk) => next.importChunk(chunk.slice()));
    }
    next.importDone();
    this.stage = next;
  }
}

/** What must be equal beside outputs. */
function facts({ counters, dirtyBytes, wakeAtMs, syncWantedAt, sizes }: UserStage): object {
  const { users, devices, entries, frames, chunks } = sizes;
  return { counters: { ...counters }, dirtyBytes, wakeAtMs, syncWantedAt, users, devices, entries, frames, chunks };
}

class Twins {
  readonly #plain: Twin;
  readonly #kernel: Twin;
  #offset = 0;
  #sourceSeq = 0;
  nowMs = START_MS;
  /** Batches of output, and entries and frames that were left to the plain code. */
  batches = 0;
  handedOver = 0;

  constructor(options: Options = {}) {
    this.#plain = new Twin(false, options);
    this.#kernel = new Twin(true, options);
  }

  get stage(): UserStage {
    return this.#kernel.stage;
  }

  step(bytes: Uint8Array): void {
    const offset = this.#offset++;
    stampBatch(viewOf(bytes), 0, Topic.USER, 0, offset, this.nowMs);
    const expected = this.#plain.step(bytes, offset);
    const before = this.stage.handedOver;
    const written = this.#kernel.step(bytes, offset);
    this.batches = written.length;
    this.handedOver = this.stage.handedOver - before;
    // Not deepEqual: it would print megabytes.
    assert.equal(written.length, expected.length, `batch ${offset}: batches of output`);
    written.forEach((batch, n) => assert.ok(batch === expected[n], `batch ${offset}: output ${n} differs`));
    assert.deepEqual(facts(this.stage), facts(this.#plain.stage), `batch ${offset}`);
  }

  frames(...frames: readonly (Partial<Frame> & { kind: number })[]): void {
    this.step(framesBatch(frames.map((frame) => makeFrame(frame))));
  }

  fanOut(...entries: readonly FanOutEntry[]): void {
    this.step(fanOutBatch(entries, 0, this.#sourceSeq++));
  }

  /** Connects devices, and brings them to life. */
  connect(...devices: readonly { user: number; number?: number; gateway?: number }[]): void {
    const frames = devices.map(({ user, number = 1, gateway = 0 }, n) =>
      makeFrame({
        kind: Kind.CONNECT,
        device: deviceKey(user, number),
        convA: gateway * 2 ** 32 + 1,
        convB: 1 + n,
        extra: 1,
      }),
    );
    this.step(framesBatch(frames));
    while (this.stage.syncWantedAt < Infinity) this.frames({ kind: Kind.SYNCED, inbox: this.#offset });
  }

  compare(): void {
    assert.equal(this.stage.stateHash(), this.#plain.stage.stateHash());
    assert.deepEqual(this.#kernel.cold, this.#plain.cold);
  }

  commit(): void {
    assert.deepEqual(this.#kernel.exportDirty(), this.#plain.exportDirty());
  }

  restore(): void {
    this.#plain.restore();
    this.#kernel.restore();
    this.compare();
  }
}

const SEQUENCED = [
  Kind.MESSAGE,
  Kind.MESSAGE,
  Kind.MESSAGE,
  Kind.MESSAGE,
  Kind.MESSAGE,
  Kind.GROUP_ADD,
  Kind.GROUP_ROLE,
];
const OTHER_ENTRIES = [
  Kind.GAP,
  Kind.REJECT,
  Kind.TYPING,
  Kind.SENT,
  Kind.INFO,
  Kind.BLOCK,
  Kind.DEVICE_REMOVE,
  0,
  255,
];
const OTHER_FRAMES = [
  Kind.PULL,
  Kind.PULL,
  Kind.DISCONNECT,
  Kind.BLOCK,
  Kind.DEVICE_REMOVE,
  Kind.WATCH,
  Kind.TICK,
  Kind.GENERATION,
  Kind.GATEWAY_UP,
  Kind.REJECT,
  0,
  255,
];

/** Batches as they come, and as they never should. Positions are guessed, which is right most of the time. */
class Traffic {
  readonly #random: Prng;
  readonly #users: number;
  readonly #positions = new Map<number, number>();
  readonly #offset: () => number;
  #seq = 0;
  #sourceSeq = 0;
  #generation = 0;

  constructor(random: Prng, users: number, offset: () => number) {
    this.#random = random;
    this.#users = users;
    this.#offset = offset;
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#random.below(values.length)]!;
  }

  #user(): number {
    return this.#random.chance(60, 61)
      ? this.#random.between(1, this.#users)
      : this.#pick([2 ** 32, 2 ** 32 + 5, USER_ID_MAX, USER_ID_MAX + 1, 2 ** 46, 0]);
  }

  #device(user = this.#user()): number {
    return this.#random.chance(100, 101)
      ? Math.min(U53_MAX, deviceKey(user, this.#pick([1, 1, 1, 1, 1, 1, 2, 3, 127, 0])))
      : this.#pick([U53_MAX, 2 ** 52, 2 ** 52 - 1, 0]);
  }

  #conversation(): { convA: number; convB: number } {
    const random = this.#random;
    if (random.chance(1, 40))
      return { convA: this.#pick([0, U53_MAX, 2 ** 52]), convB: this.#pick([U53_MAX, 0, 2 ** 52]) };
    return random.chance(1, 2)
      ? { convA: 0, convB: random.between(1, 90) }
      : { convA: random.between(1, 9), convB: random.between(10, 30) };
  }

  #payload(): Uint8Array {
    const random = this.#random;
    if (random.chance(1, 40)) {
      return encodeDeviceTable([{ device: deviceKey(3, 1), bytes: new Uint8Array(random.below(40)) }]);
    }
    const bytes = random.chance(1, 150) ? this.#pick([9_000, 33_000, PAYLOAD_BYTES_MAX]) : random.below(300);
    return new Uint8Array(random.chance(1, 12) ? 0 : bytes).fill(random.below(256));
  }

  #entry(nowMs: number): FanOutEntry {
    const random = this.#random;
    const share = random.below(100);
    const kind = share < 55 ? this.#pick(SEQUENCED) : share < 94 ? Kind.RECEIPT : this.#pick(OTHER_ENTRIES);
    const isOrdinary = random.chance(24, 25);
    const frame = makeFrame({
      kind,
      ...this.#conversation(),
      device: this.#device(),
      flags: isOrdinary ? 0 : random.below(256),
      counter: random.below(9),
      seq: ++this.#seq,
      time: isOrdinary ? nowMs : this.#pick([0, nowMs - 5_000, U53_MAX, 2 ** 52, nowMs + 1e9]),
      extra: isOrdinary ? this.#pick([0, 60]) : this.#pick([0, 1, 3, SEQUENCE_MAX]),
      payload: kind === Kind.RECEIPT ? new Uint8Array(0) : this.#payload(),
    });
    const many = random.chance(1, 200) ? this.#pick([300, 1_024, 1_025, 2_000]) : random.below(9);
    const recipients = Array.from({ length: kind === Kind.RECEIPT && random.chance(4, 5) ? 1 : many }, () =>
      this.#user(),
    );
    if (random.chance(1, 30) && recipients.length > 0) recipients.push(recipients[0]!);
    for (const user of recipients) this.#positions.set(user, (this.#positions.get(user) ?? 0) + 1);
    return { frame, recipients, except: kind === Kind.RECEIPT && random.chance(1, 3) ? this.#pick([1, 1, 2, 127]) : 0 };
  }

  fanOut(count: number, nowMs: number): Uint8Array {
    const random = this.#random;
    if (random.chance(1, 25)) this.#sourceSeq -= random.below(3);
    const entries = Array.from({ length: count }, () => this.#entry(nowMs));
    return fanOutBatch(entries, random.chance(1, 40) ? 77 : random.below(3), this.#sourceSeq++, random.below(2));
  }

  #frame(): Frame {
    const random = this.#random;
    const share = random.below(100);
    const user = this.#user();
    if (share < 4) return this.#connect(user);
    if (share < 6) return makeFrame({ kind: Kind.SYNCED, inbox: this.#offset() });
    if (share < 92) {
      const last = this.#positions.get(user) ?? 0;
      const high = this.#generation * 2 ** 32;
      const inbox = random.chance(1, 20)
        ? this.#pick([0, 1, last + 90, U53_MAX, 2 ** 52])
        : Math.max(0, high + last - random.below(6));
      return makeFrame({ kind: Kind.ACK, device: this.#device(user), inbox });
    }
    const kind = this.#pick(OTHER_FRAMES);
    if (kind === Kind.GENERATION) return makeFrame({ kind, extra: random.chance(1, 9) ? ++this.#generation : 0 });
    return makeFrame({
      kind,
      device: this.#device(user),
      convA: random.below(3) * 2 ** 32 + 1,
      convB: kind === Kind.BLOCK ? this.#user() : 1 + user,
      inbox: this.#positions.get(user) ?? 0,
      extra: random.below(3),
      flags: random.chance(1, 2) ? Flag.CLEAN : 0,
    });
  }

  #connect(user: number): Frame {
    const gateway = this.#random.chance(30, 31) ? this.#random.below(3) : this.#pick([255, 256, 5_000]);
    return makeFrame({
      kind: Kind.CONNECT,
      device: this.#device(user),
      convA: gateway * 2 ** 32 + 1,
      convB: 1 + user,
      inbox: this.#random.chance(1, 2) ? 0 : (this.#positions.get(user) ?? 0),
      extra: 1,
    });
  }

  /** Everybody of the first users connects. */
  connects(count: number): Uint8Array {
    const frames = Array.from({ length: count }, (_, n) =>
      makeFrame({
        kind: Kind.CONNECT,
        device: deviceKey(n + 1, 1),
        convA: (n % 3) * 2 ** 32 + 1,
        convB: n + 2,
        extra: 1,
      }),
    );
    return framesBatch(frames);
  }

  synced(): Uint8Array {
    return framesBatch([makeFrame({ kind: Kind.SYNCED, inbox: this.#offset() })]);
  }

  frames(count: number): Uint8Array {
    return framesBatch(Array.from({ length: count }, () => this.#frame()));
  }
}

const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 31);
const WORLDS = Number(process.env['DUNLIN_KERNEL_WORLDS'] ?? 12);
const TINY: Partial<UserLimits> = {
  spillAgeMs: 4_000,
  spillBytes: 2_500,
  spillStepBytes: 4_000,
  chunkBytes: 3_000,
  chunksPerMerge: 3,
  chunksPerAck: 2,
  catchUpEntries: 40,
};

it('the twins write the same and become the same, whatever comes', (t) => {
  t.diagnostic(`DUNLIN_SEED=${SEED}`);
  let taken = 0;
  let handedOver = 0;
  for (let world = 0; world < WORLDS; world++) {
    const random = new Prng(SEED).fork(`kernel ${world}`);
    const twins = new Twins({
      limits: world % 2 === 0 ? TINY : {},
      ...(world % 3 === 0 ? { sites: random.u32() } : {}),
    });
    let steps = 0;
    const traffic = new Traffic(random, world % 4 === 0 ? 12 : 300, () => steps);
    twins.step(traffic.connects(world % 4 === 0 ? 10 : 250));
    for (steps = 1; steps < 5; steps++) twins.step(traffic.synced());
    for (; steps < 35; steps++) {
      twins.nowMs += random.below(800);
      const count = random.chance(1, 4) ? random.between(1, 3) : random.between(20, 200);
      twins.step(random.chance(1, 2) ? traffic.fanOut(count, twins.nowMs) : traffic.frames(count));
      taken += count;
      handedOver += twins.handedOver;
      if (random.chance(1, 3)) twins.commit();
      if (random.chance(1, 12)) twins.restore();
      else if (random.chance(1, 4)) twins.compare();
    }
    twins.compare();
  }
  assert.ok(handedOver > taken / 20, `only ${handedOver} of ${taken} were handed over: seed ${SEED}`);
  assert.ok(handedOver < (taken * 3) / 4, `${handedOver} of ${taken} were handed over: seed ${SEED}`);
});

const SENDER = 5;

function message(seq: number, fields: Partial<Frame> = {}): Frame {
  const sent = { kind: Kind.MESSAGE, convB: 77, device: deviceKey(SENDER, 1), seq, time: START_MS };
  return makeFrame({ ...sent, payload: new Uint8Array(40).fill(seq), ...fields });
}

function receipt(seq: number, fields: Partial<Frame> = {}): Frame {
  return makeFrame({ kind: Kind.RECEIPT, convB: 77, device: deviceKey(6, 0), seq, time: START_MS, ...fields });
}

function ack(user: number, inbox: number, number = 1): Frame {
  return makeFrame({ kind: Kind.ACK, device: deviceKey(user, number), inbox });
}

/** Users 1 to `count`, each with a device that is live, on two gateways. */
function connected(count: number, options: Options = {}): Twins {
  const twins = new Twins(options);
  twins.connect(...Array.from({ length: count }, (_, n) => ({ user: n + 1, gateway: n % 2 })));
  return twins;
}

const everyone = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);

describe('what the kernel does itself', () => {
  for (const size of [1, 2, 31, 128, 1_024]) {
    it(`messages, receipts and acknowledgements of ${size} users`, () => {
      const twins = connected(size);
      const recipients = everyone(size);
      const entries = Array.from({ length: 40 }, (_, n) => ({
        frame: n % 3 === 2 ? receipt(n) : message(n),
        recipients: n % 2 === 0 ? recipients : recipients.slice(0, 2),
      }));
      twins.fanOut(...entries);
      assert.equal(twins.handedOver, 0);
      assert.ok(twins.stage.counters.liveDeliveries >= 40);
      twins.commit();
      twins.fanOut({ frame: receipt(99), recipients });
      assert.equal(twins.handedOver, 0);
      twins.frames(...recipients.flatMap((user) => [ack(user, 3), ack(user, 2), ack(user, 30), ack(user, 30)]));
      twins.compare();
      twins.commit();
      twins.restore();
    });
  }

  it('what is not ordinary, and nothing else, is left to the plain code', () => {
    const twins = connected(9);
    twins.connect({ user: 7, gateway: 300 }, { user: 8, number: 2 });
    twins.frames({ kind: Kind.BLOCK, device: deviceKey(9, 1), convB: 4, extra: 1 });
    const table = { flags: Flag.DEVICE_TABLE, payload: encodeDeviceTable([{ device: 129, bytes: new Uint8Array(3) }]) };
    const cases: [FanOutEntry, number][] = [
      [{ frame: message(1), recipients: [1, 2, 5, 8] }, 0],
      [{ frame: message(2, { payload: new Uint8Array(0) }), recipients: [5, 2] }, 0],
      [{ frame: message(3, { flags: 0xfe }), recipients: [5] }, 0],
      [{ frame: message(4, { kind: Kind.GROUP_ROLE }), recipients: [1, 5] }, 0],
      [{ frame: message(5, table), recipients: [1, 5] }, 1],
      [{ frame: message(6, { extra: 1, time: START_MS - 1_000 }), recipients: [1] }, 1],
      [{ frame: message(7, { extra: 1, time: START_MS - 999 }), recipients: [1] }, 0],
      [{ frame: message(8, { time: 0 }), recipients: [1] }, 0],
      [{ frame: message(9, { time: 2 ** 52 }), recipients: [1] }, 1],
      [{ frame: message(10, { device: 2 ** 52 }), recipients: [1] }, 1],
      [{ frame: message(11, { payload: new Uint8Array(33_000) }), recipients: [1] }, 1],
      [{ frame: message(12), recipients: [1, 40] }, 1],
      [{ frame: message(13), recipients: [40, 1] }, 0],
      [{ frame: message(14), recipients: [0] }, 1],
      [{ frame: message(15), recipients: [7] }, 1],
      [{ frame: message(16), recipients: [9] }, 1],
      [{ frame: message(17), recipients: [] }, 0],
      [{ frame: message(18), recipients: [1, 1, 1] }, 0],
      [{ frame: receipt(1), recipients: [1] }, 0],
      [{ frame: receipt(2), recipients: [1, 1] }, 0],
      [{ frame: receipt(3), recipients: [1], except: 1 }, 0],
      [{ frame: receipt(4), recipients: [8], except: 1 }, 0],
      [{ frame: receipt(5, { device: 0, payload: new Uint8Array(9) }), recipients: [1] }, 0],
      [{ frame: receipt(6), recipients: [9] }, 1],
      [{ frame: receipt(7, { kind: Kind.GAP }), recipients: [1] }, 1],
      [{ frame: receipt(8, { kind: Kind.REJECT }), recipients: [1] }, 1],
    ];
    for (const [entry, expected] of cases) {
      twins.fanOut(entry);
      assert.equal(twins.handedOver, expected, JSON.stringify({ ...entry.frame, to: entry.recipients, payload: '' }));
      twins.compare();
    }
    const frames: [Frame, number][] = [
      [ack(1, 3), 0],
      [ack(1, 2), 0],
      [ack(1, 1e6), 1],
      [ack(1, U53_MAX), 1],
      [ack(1, 3, 2), 0],
      [ack(41, 3), 1],
      [ack(9, 1), 1],
      [ack(8, 1, 2), 0],
      [ack(8, 2, 1), 0],
      [makeFrame({ kind: Kind.ACK, device: U53_MAX, inbox: 1 }), 1],
      [makeFrame({ kind: Kind.TICK }), 1],
    ];
    for (const [frame, expected] of frames) {
      twins.frames(frame);
      assert.equal(twins.handedOver, expected, JSON.stringify({ ...frame, payload: '' }));
      twins.compare();
    }
  });

  it('an inbox in the store is left to the plain code until it is read', () => {
    const twins = connected(3, { limits: TINY });
    twins.fanOut({ frame: message(1), recipients: [1, 2] });
    twins.nowMs += 9_000;
    twins.frames({ kind: Kind.TICK });
    assert.equal(twins.stage.sizes.chunks, 2);
    twins.fanOut({ frame: message(2), recipients: [1, 2, 3] });
    assert.equal(twins.handedOver, 0);
    twins.frames(ack(3, 1), ack(1, 2));
    assert.equal(twins.handedOver, 1);
    twins.frames(ack(2, 1), ack(2, 2));
    assert.equal(twins.handedOver, 1);
    assert.equal(twins.stage.sizes.chunks, 0);
    twins.compare();
  });
});

describe('limits on the way', () => {
  it('batches of output end where the plain code ends them', () => {
    for (const bytes of [200, 9_000, 30_000]) {
      const twins = connected(40);
      const frame = message(1, { payload: new Uint8Array(bytes).fill(7) });
      const recipients = [1, 2];
      const count = Math.floor((BATCH_BYTES_MAX * 1.2) / (FRAME_HEADER_BYTES + bytes));
      for (let round = 0; round < 2; round++) {
        twins.fanOut(...Array.from({ length: count }, () => ({ frame, recipients })));
        assert.ok(twins.batches > 2, `${twins.batches} batches`);
      }
      twins.frames(
        ...[0.2, 0.5, 0.9, 2].flatMap((part) => recipients.map((user) => ack(user, Math.floor(part * count)))),
      );
      twins.compare();
    }
  });

  it('memory grows and tables move between two ordinary entries', () => {
    const twins = connected(30);
    for (let round = 0; round < 5; round++) {
      const entries: FanOutEntry[] = [];
      for (let more = 0; more < 2_000; more++) {
        const fresh = 1_000 + round * 2_000 + more;
        entries.push(
          { frame: message(more), recipients: [1, fresh] },
          { frame: message(more), recipients: [1 + (more % 30), 2, 3] },
          { frame: receipt(more, { convB: more }), recipients: [fresh, 4] },
          { frame: message(more), recipients: [fresh] },
        );
      }
      twins.fanOut(...entries);
      twins.frames(...everyone(30).map((user) => ack(user, 900 * (round + 1))));
    }
    twins.compare();
    twins.commit();
    twins.restore();
  });

  it('an ack that covers many conversations reports them in order, however many', () => {
    for (const count of [1, 64, 128, 256, 258, 700]) {
      // All of it stays in memory.
      const twins = connected(3, { limits: { spillBytes: 2 ** 24 } });
      const spread = (n: number): FanOutEntry => {
        const conversation = n % 2 === 0 ? { convB: 1 + (n % count) } : { convA: 1, convB: 2 + (n % count) };
        return { frame: message(n, conversation), recipients: [1, 2] };
      };
      twins.fanOut(...Array.from({ length: 2 * count }, (_, n) => spread(n)));
      twins.frames(ack(1, 2 * count), ack(2, count), ack(2, 2 * count));
      // What the kernel has no room for is done by the plain code.
      assert.equal(twins.handedOver > 0, count > 256, String(count));
      assert.equal(twins.stage.sizes.entries, 0);
      twins.compare();
    }
  });

  it('an ack does not see what an earlier one marked', () => {
    const twins = connected(2);
    let head = 0;
    for (let round = 0; round < 40; round++) {
      const count = 1 + ((round * 37) % 90);
      twins.fanOut(...everyone(count).map((n) => ({ frame: message(round + n, { convB: n }), recipients: [1, 2] })));
      twins.frames(ack(1, head + Math.ceil(count / 2)), ack(2, head + count), ack(1, head + count));
      assert.equal(twins.handedOver, 0);
      head += count;
    }
    assert.equal(twins.stage.sizes.entries, 0);
    twins.compare();
  });

  it('who comes, goes or blocks within a window is seen at once', () => {
    const twins = connected(6);
    const device = (user: number, number: number): number => deviceKey(user, number);
    twins.fanOut(...everyone(9).map((n) => ({ frame: message(n), recipients: [1, 2, 3] })));
    twins.frames(
      ack(1, 2),
      { kind: Kind.CONNECT, device: device(1, 2), convA: 1, convB: 90, extra: 1 },
      ack(1, 4),
      ack(1, 5, 2),
      { kind: Kind.DEVICE_REMOVE, device: device(1, 2), extra: 1 },
      ack(1, 9, 1),
      ack(1, 9, 2),
      { kind: Kind.CONNECT, device: device(50, 1), convA: 1, convB: 91, extra: 1 },
      ack(50, 0),
      { kind: Kind.DISCONNECT, device: device(2, 1), convA: 2 ** 32 + 1, convB: 2, flags: Flag.CLEAN },
      ack(2, 9),
    );
    twins.fanOut(
      { frame: message(20), recipients: [3, 4] },
      { frame: makeFrame({ kind: Kind.BLOCK, device: device(3, 1), convB: SENDER, extra: 1 }), recipients: [3] },
      { frame: message(21), recipients: [3, 4] },
      { frame: makeFrame({ kind: Kind.BLOCK, device: device(3, 1), convB: SENDER, extra: 0 }), recipients: [3] },
      { frame: message(22), recipients: [3, 4] },
      { frame: makeFrame({ kind: Kind.DEVICE_REMOVE, device: device(4, 1), extra: 1 }), recipients: [4] },
      { frame: message(23), recipients: [3, 4, 60] },
      { frame: message(24), recipients: [60] },
    );
    twins.compare();
    twins.commit();
  });

  it('positions go on where a generation begins', () => {
    const twins = connected(3);
    twins.fanOut({ frame: message(1), recipients: [1] });
    twins.frames({ kind: Kind.GENERATION, extra: 2 ** 20 });
    twins.fanOut({ frame: message(2), recipients: [1, 2] });
    assert.equal(twins.handedOver, 0);
    twins.frames(ack(1, 2 ** 52 + 1), ack(2, 2 ** 52));
    assert.equal(twins.handedOver, 0);
    twins.compare();
    twins.restore();
  });

  it('a batch that comes again is not taken again', () => {
    const twins = connected(3);
    const bytes = fanOutBatch([{ frame: message(1), recipients: [1, 2] }], 0, 4);
    twins.step(bytes);
    twins.step(bytes);
    assert.equal(twins.stage.counters.repeatedBatches, 1);
    assert.equal(twins.stage.sizes.entries, 2);
    assert.ok(bytes.length > BatchAt.ENTRIES);
  });
});
