/** The kernel against its plain twin: the same batches, to the last byte the same output, exports and state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BatchAt, BatchBuilder, BatchKind, openBatch, SourceKind, sourceId, stampBatch } from '../../core/batch.js';
import { encodeDeviceTable } from '../../core/device-table.js';
import { encodeFrame, Flag, type Frame, Kind, makeFrame, viewOf } from '../../core/frame.js';
import { deviceKey } from '../../core/ids.js';
import {
  BATCH_BYTES_MAX,
  FRAME_HEADER_BYTES,
  MESSAGE_TTL_S_MAX,
  PAYLOAD_BYTES_MAX,
  SEQUENCE_MAX,
} from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { Topic } from '../../core/ports.js';
import { Prng } from '../../core/prng.js';
import { Outbox, Streams } from '../outbox.js';
import { ConversationStage } from './stage.js';

const NOTHING = { get: () => undefined };
const START_MS = 1_700_000_000_000;

/** One stage and the lane's own outbox: batches leave in its order, and end where it ends them. */
class Twin {
  readonly userPartitions: number;
  readonly kernel: boolean;
  readonly #outbox = new Outbox(SourceKind.CONVERSATION, 0, new Streams(0));
  stage: ConversationStage;

  constructor(userPartitions: number, kernel: boolean) {
    this.userPartitions = userPartitions;
    this.kernel = kernel;
    this.stage = this.#newStage();
    assert.equal(this.stage.hasKernel, kernel);
  }

  #newStage(): ConversationStage {
    const { userPartitions, kernel } = this;
    return new ConversationStage({ partition: 0, conversationPartitions: 1, userPartitions, kernel });
  }

  step(bytes: Uint8Array, offset: number): string[] {
    this.#outbox.begin(offset, 1);
    this.stage.step(openBatch(bytes), this.#outbox, NOTHING);
    const written: string[] = [];
    const isAll = this.#outbox.flush((...[destination, topic, number, batch]) => {
      written.push(`${destination} ${topic} ${number} ${Buffer.from(batch).toString('latin1')}`);
      return true;
    });
    assert.ok(isAll);
    return written;
  }

  exportDirty(): Buffer[] {
    const chunks: Buffer[] = [];
    this.stage.exportDirty((chunk) => chunks.push(Buffer.from(chunk.slice())));
    return chunks;
  }

  /** `change` sees the words of each chunk. */
  restore(change: (words: Uint32Array) => void = () => {}): void {
    const chunks: Uint8Array[] = [];
    for (let cursor = 0; cursor >= 0; ) {
      cursor = this.stage.exportAll(cursor, 2 ** 20, (chunk) => chunks.push(chunk.slice()));
    }
    const { ignored } = this.stage;
    this.stage = this.#newStage();
    for (const chunk of chunks) {
      change(new Uint32Array(chunk.buffer));
      this.stage.importChunk(chunk);
    }
    this.stage.importDone();
    this.stage.ignored = ignored;
  }
}

class Twins {
  readonly #plain: Twin;
  readonly #kernel: Twin;
  readonly userPartitions: number;
  #offset = 0;
  nowMs = START_MS;
  /** Batches of output, and frames that were left to the plain code. */
  batches = 0;
  handedOver = 0;

  constructor(userPartitions: number) {
    this.userPartitions = userPartitions;
    this.#plain = new Twin(userPartitions, false);
    this.#kernel = new Twin(userPartitions, true);
  }

  step(bytes: Uint8Array): void {
    const offset = this.#offset++;
    stampBatch(viewOf(bytes), 0, Topic.CONVERSATION, 0, offset, this.nowMs);
    const expected = this.#plain.step(bytes, offset);
    const before = this.#kernel.stage.handedOver;
    const written = this.#kernel.step(bytes, offset);
    this.batches = written.length;
    this.handedOver = this.#kernel.stage.handedOver - before;
    // Not deepEqual: it would print megabytes.
    assert.equal(written.length, expected.length, `batch ${offset}: batches of output`);
    written.forEach((batch, n) => assert.ok(batch === expected[n], `batch ${offset}: output ${n} differs`));
    assert.equal(this.#kernel.stage.ignored, this.#plain.stage.ignored);
    assert.equal(this.#kernel.stage.dirtyBytes, this.#plain.stage.dirtyBytes);
  }

  frames(...frames: readonly Frame[]): void {
    this.step(batchOf(frames));
  }

  compare(): void {
    assert.equal(this.#kernel.stage.stateHash(), this.#plain.stage.stateHash());
  }

  commit(): void {
    assert.deepEqual(this.#kernel.exportDirty(), this.#plain.exportDirty());
  }

  restore(change?: (words: Uint32Array) => void): void {
    this.#plain.restore(change);
    this.#kernel.restore(change);
    this.compare();
  }
}

function batchOf(frames: readonly Frame[]): Uint8Array {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 0);
  for (const frame of frames) {
    const bytes = encodeFrame(frame);
    builder.frame(bytes, 0, bytes.length);
  }
  return builder.finish().slice();
}

const OTHER_KINDS: readonly number[] = [
  Kind.TYPING,
  Kind.INFO,
  Kind.GROUP_ADD,
  Kind.GROUP_ADD,
  Kind.GROUP_REMOVE,
  Kind.GROUP_LEAVE,
  Kind.GROUP_ROLE,
  Kind.BLOCK,
  Kind.ACK,
  0,
  255,
];

interface Conversation {
  readonly a: number;
  readonly b: number;
  readonly users: number[];
  head: number;
}

/** Frames as they come, and as they never should. What was accepted is guessed, which is right most of the time. */
class Traffic {
  readonly #random: Prng;
  readonly #conversations: Conversation[] = [];
  readonly #counters = new Map<string, number>();
  readonly #largest: number;

  constructor(random: Prng, largestGroup: number) {
    this.#random = random;
    this.#largest = largestGroup;
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#random.below(values.length)]!;
  }

  #user(): number {
    return this.#random.chance(19, 20)
      ? this.#random.between(1, 60)
      : this.#pick([2 ** 32, 2 ** 32 + 5, 2 ** 45 - 1, 2 ** 45, 0]);
  }

  #device(user: number): number {
    return deviceKey(user, this.#pick([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 127, 0]));
  }

  #frame(at: Conversation, device: number, fields: Partial<Frame> & { kind: number }): Frame {
    return makeFrame({ convA: at.a, convB: at.b, device, inbox: 5, time: 6, ...fields });
  }

  /** The next counter as far as is known, or a wrong one. */
  #counter(at: Conversation, device: number): number {
    const key = `${at.a} ${at.b} ${device}`;
    const last = this.#counters.get(key) ?? 0;
    if (this.#random.chance(1, 12)) return this.#pick([0, 1, last, last + 2, last + 9, SEQUENCE_MAX]);
    this.#counters.set(key, last + 1);
    return last + 1;
  }

  #open(): Frame {
    const random = this.#random;
    if (random.chance(1, 2)) {
      const group: Conversation = { a: 0, b: random.between(1, 5_000), users: [], head: 1 };
      const size = random.chance(1, 12) ? this.#largest : random.between(1, 14);
      const start = random.between(1, 50);
      for (let n = 0; n < size; n++) group.users.push(start + n);
      this.#conversations.push(group);
      const device = deviceKey(group.users[0]!, 1);
      const payload = encodeMembers(group.users.slice(size > 1 ? 1 : 0));
      return this.#frame(group, device, { kind: Kind.GROUP_CREATE, counter: this.#counter(group, device), payload });
    }
    const a = this.#user();
    const at: Conversation = { a, b: a + random.between(0, 40), users: [], head: 1 };
    at.users.push(at.a, at.b);
    this.#conversations.push(at);
    return this.#message(at);
  }

  #message(at: Conversation): Frame {
    const device = this.#device(this.#pick(at.users));
    const random = this.#random;
    const isOrdinary = random.chance(9, 10);
    at.head++;
    return this.#frame(at, device, {
      kind: Kind.MESSAGE,
      counter: this.#counter(at, device),
      flags: isOrdinary ? 0 : random.below(256),
      extra: isOrdinary ? 60 : this.#pick([0, MESSAGE_TTL_S_MAX, MESSAGE_TTL_S_MAX + 1, SEQUENCE_MAX]),
      seq: random.u32(),
      payload: this.#payload(),
    });
  }

  #payload(): Uint8Array {
    const random = this.#random;
    if (random.chance(1, 40)) {
      return encodeDeviceTable([{ device: deviceKey(3, 1), bytes: new Uint8Array(random.below(40)) }]);
    }
    const bytes = random.chance(1, 150)
      ? this.#pick([9_000, PAYLOAD_BYTES_MAX - 200, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1, 250_000])
      : random.below(300);
    return new Uint8Array(bytes).fill(random.below(256));
  }

  #watermark(at: Conversation): Frame {
    const random = this.#random;
    const kind = random.chance(1, 3) ? Kind.READ : Kind.DELIVERED;
    const seq = random.chance(1, 15)
      ? this.#pick([0, 1_000_000, SEQUENCE_MAX])
      : Math.max(0, at.head - random.below(4));
    const device = deviceKey(this.#pick(at.users), kind === Kind.READ ? 1 : 0);
    return this.#frame(at, device, { kind, seq });
  }

  #other(at: Conversation): Frame {
    const random = this.#random;
    const kind = this.#pick(OTHER_KINDS);
    const device = this.#device(random.chance(1, 2) ? at.users[0]! : this.#user());
    const isCounted = kind >= Kind.GROUP_CREATE && kind <= Kind.GROUP_ROLE;
    const users = Array.from({ length: random.below(3) }, () => this.#user());
    if (kind === Kind.GROUP_ADD) at.users.push(...users);
    return this.#frame(at, device, {
      kind,
      counter: isCounted ? this.#counter(at, device) : random.below(3),
      extra: random.below(3),
      payload: kind === Kind.GROUP_LEAVE ? new Uint8Array(0) : encodeMembers(users),
    });
  }

  next(): Frame {
    const random = this.#random;
    if (this.#conversations.length < 3 || random.chance(1, 25)) return this.#open();
    const at = this.#pick(this.#conversations);
    const share = random.below(100);
    if (share < 55) return this.#message(at);
    if (share < 90) return this.#watermark(at);
    if (share < 96) return this.#other(at);
    // Nobody of it: counters and members do not fit.
    return this.#frame(at, this.#device(this.#user()), { kind: this.#pick([1, 1, 16, 19]), counter: 1, seq: 1 });
  }

  batch(frames: number): Uint8Array {
    return batchOf(Array.from({ length: frames }, () => this.next()));
  }

  /** What no log returns: cut, with another count, with a byte changed. */
  damage(batch: Uint8Array): Uint8Array {
    const random = this.#random;
    const choice = random.below(3);
    if (choice === 0) return batch.slice(0, BatchAt.ENTRIES + random.below(batch.length - BatchAt.ENTRIES));
    if (choice === 1) {
      const count = viewOf(batch).getUint32(BatchAt.COUNT, true);
      viewOf(batch).setUint32(BatchAt.COUNT, this.#pick([count + 1, count - 1, 0, SEQUENCE_MAX]), true);
      return batch;
    }
    for (let n = 0; n < 20; n++) {
      batch[BatchAt.ENTRIES + random.below(batch.length - BatchAt.ENTRIES)] = random.below(256);
    }
    return batch;
  }
}

const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 31);
const WORLDS = Number(process.env['DUNLIN_KERNEL_WORLDS'] ?? 24);

it('the twins write the same and become the same, whatever comes', (t) => {
  t.diagnostic(`DUNLIN_SEED=${SEED}`);
  let frames = 0;
  let handedOver = 0;
  for (let world = 0; world < WORLDS; world++) {
    const random = new Prng(SEED).fork(`kernel ${world}`);
    const twins = new Twins([1, 3, 4, 64, 256][world % 5]!);
    const traffic = new Traffic(random, world % 4 === 0 ? 1_024 : 20);
    for (let batch = 0; batch < 30; batch++) {
      twins.nowMs += random.below(3_000);
      const count = random.chance(1, 4) ? random.between(1, 3) : random.between(20, 300);
      const bytes = traffic.batch(count);
      const isDamaged = random.chance(1, 12);
      twins.step(isDamaged ? traffic.damage(bytes) : bytes);
      frames += isDamaged ? 0 : count;
      handedOver += isDamaged ? 0 : twins.handedOver;
      if (random.chance(1, 3)) twins.commit();
      if (random.chance(1, 8)) twins.restore();
      else twins.compare();
    }
  }
  assert.ok(handedOver > frames / 20, `only ${handedOver} of ${frames} frames were handed over`);
  assert.ok(handedOver < (frames * 2) / 3, `${handedOver} of ${frames} frames were handed over: seed ${SEED}`);
});

type Next = (payloadBytes: number, fields?: Partial<Frame>) => Frame;

/** A direct conversation and a group of `size`, both with a device that has sent once, and the next message of each. */
function opened(twins: Twins, size: number): { direct: Next; group: Next } {
  const sender = (convA: number, convB: number, user: number): Next => {
    let counter = 1;
    return (payloadBytes, fields) => {
      counter++;
      const payload = new Uint8Array(payloadBytes).fill(counter);
      return makeFrame({ kind: Kind.MESSAGE, convA, convB, device: deviceKey(user, 1), counter, payload, ...fields });
    };
  };
  const members = Array.from({ length: size - 1 }, (_, n) => 100 + n);
  twins.frames(
    makeFrame({ kind: Kind.MESSAGE, convA: 5, convB: 9, device: deviceKey(5, 1), counter: 1 }),
    makeFrame({
      kind: Kind.GROUP_CREATE,
      convB: 77,
      device: deviceKey(99, 1),
      counter: 1,
      payload: encodeMembers(members),
    }),
  );
  return { direct: sender(5, 9, 5), group: sender(0, 77, 99) };
}

describe('what the kernel does itself', () => {
  for (const size of [2, 3, 31, 256, 1_024]) {
    it(`messages and receipts in a group of ${size}`, () => {
      const twins = new Twins(4);
      const { direct, group } = opened(twins, size);
      twins.frames(...Array.from({ length: 100 }, (_, n) => (n % 3 === 0 ? direct : group)(40)));
      assert.equal(twins.handedOver, 0);
      const receipts: Frame[] = [];
      for (let n = -1; n < size - 1; n++) {
        for (const kind of [Kind.DELIVERED, Kind.READ]) {
          const device = deviceKey(n < 0 ? 99 : 100 + n, 1);
          receipts.push(makeFrame({ kind, convB: 77, device, seq: 2 + (n & 1) }));
        }
      }
      twins.frames(...receipts);
      assert.equal(twins.handedOver, 0);
      twins.compare();
      twins.commit();
    });
  }

  it('a conversation’s first message, and what is not a frame of its own, are left to the plain code', () => {
    const twins = new Twins(2);
    const { direct, group } = opened(twins, 4);
    const stranger = { device: deviceKey(4, 1), counter: 1 };
    const secondDevice = deviceKey(5, 2);
    const cases: [Frame, number][] = [
      [direct(8), 0],
      [direct(8, { extra: MESSAGE_TTL_S_MAX }), 0],
      [direct(8, { extra: MESSAGE_TTL_S_MAX + 1 }), 1],
      [direct(8, { flags: Flag.DEVICE_TABLE }), 1],
      [direct(8, { flags: 0xfe }), 0],
      [direct(PAYLOAD_BYTES_MAX + 1), 1],
      [direct(8), 0],
      [direct(8, { counter: 5 }), 1],
      [direct(8, { counter: 0 }), 1],
      [direct(8, { counter: 99 }), 1],
      [direct(8, { device: secondDevice, counter: 1 }), 1],
      [direct(8, { device: secondDevice, counter: 2 }), 0],
      [direct(8, { device: deviceKey(5, 0), counter: 1 }), 1],
      [direct(8, { device: deviceKey(9, 1), counter: 1 }), 1],
      [direct(8, { kind: Kind.INFO }), 1],
      [direct(8, stranger), 1],
      [group(8), 0],
      [group(8, stranger), 1],
      [group(8, { convB: 78 }), 1],
    ];
    for (const [frame, expected] of cases) {
      twins.frames(frame);
      assert.equal(twins.handedOver, expected, JSON.stringify({ ...frame, payload: frame.payload.length }));
    }
    twins.compare();
  });
});

describe('limits on the way', () => {
  it('batches of output end where the plain code ends them', () => {
    for (const [bytes, partitions, size] of [
      [9_000, 1, 40],
      [60_000, 1, 1_024],
      [200, 2, 40],
    ] as const) {
      const twins = new Twins(partitions);
      const { direct, group } = opened(twins, size);
      for (let round = 0; round < 2; round++) {
        const frames: Frame[] = [];
        const pairBytes = 2 * (bytes + FRAME_HEADER_BYTES);
        for (let used: number = BatchAt.ENTRIES; used + pairBytes < BATCH_BYTES_MAX; used += pairBytes) {
          frames.push(direct(bytes), group(bytes));
        }
        twins.frames(...frames);
        assert.ok(twins.batches > partitions, `${twins.batches} batches`);
      }
      twins.compare();
    }
  });

  it('memory grows and tables move between two ordinary frames', () => {
    const twins = new Twins(4);
    const { direct, group } = opened(twins, 40);
    for (let round = 0; round < 6; round++) {
      const frames: Frame[] = [];
      for (let more = 0; more < 3_000; more++) {
        const user = 1_000 + round * 3_000 + more;
        const fresh = { kind: Kind.MESSAGE, convA: user, convB: user + 1, device: deviceKey(user, 1) };
        frames.push(makeFrame({ ...fresh, counter: 1 }), direct(60), group(60), makeFrame({ ...fresh, counter: 2 }));
      }
      twins.frames(...frames);
    }
    twins.compare();
    twins.commit();
    twins.restore();
  });

  /** The direct conversation's record (export.ts), whose device comes last. */
  const Word = { A_LOW: 1, HEAD: 5, DEVICE_LOW: 25, DEVICE_COUNTER: 27 } as const;

  function changed(place: number, value: number): { twins: Twins; direct: Next } {
    const twins = new Twins(4);
    const { direct } = opened(twins, 3);
    twins.restore((words) => {
      assert.deepEqual([words[Word.A_LOW], words[Word.HEAD], words[Word.DEVICE_LOW]], [5, 1, deviceKey(5, 1)]);
      assert.equal(words[Word.DEVICE_COUNTER], 1);
      words[place] = value;
    });
    return { twins, direct };
  }

  it('sequences end where they end', () => {
    const { twins, direct } = changed(Word.HEAD, SEQUENCE_MAX - 1);
    twins.frames(direct(3));
    assert.equal(twins.handedOver, 0);
    twins.frames(direct(3));
    assert.equal(twins.handedOver, 1);
    const reader = { convA: 5, convB: 9, device: deviceKey(9, 1), seq: SEQUENCE_MAX };
    twins.frames(makeFrame({ kind: Kind.DELIVERED, ...reader }), makeFrame({ kind: Kind.READ, ...reader }));
    assert.equal(twins.handedOver, 0);
    twins.compare();
  });

  it('counters end where they end', () => {
    const { twins, direct } = changed(Word.DEVICE_COUNTER, SEQUENCE_MAX - 1);
    twins.frames(direct(3, { counter: SEQUENCE_MAX }));
    assert.equal(twins.handedOver, 0);
    twins.frames(direct(3, { counter: 0 }), direct(3, { counter: 1 }), direct(3, { counter: SEQUENCE_MAX }));
    assert.equal(twins.handedOver, 3);
    twins.compare();
  });

  it('a user as a whole sends no message, whatever its row says', () => {
    const { twins, direct } = changed(Word.DEVICE_LOW, deviceKey(5, 0));
    twins.frames(direct(3, { device: deviceKey(5, 0), counter: 2 }));
    assert.equal(twins.handedOver, 1);
    twins.compare();
  });

  it('who is removed or added within a window is seen at once', () => {
    for (const size of [4, 60]) {
      const twins = new Twins(4);
      const { group } = opened(twins, size);
      const member = deviceKey(100, 1);
      const user = encodeMembers([100]);
      const other = encodeMembers([7_000]);
      let counter = 0;
      const send = (): Frame => group(9, { device: member, counter: ++counter });
      const read = (seq: number): Frame => makeFrame({ kind: Kind.READ, convB: 77, device: member, seq });
      let admin = 1;
      const change = (kind: number, payload: Uint8Array): Frame =>
        makeFrame({ kind, convB: 77, device: deviceKey(99, 1), counter: ++admin, payload });
      twins.frames(send());
      twins.frames(
        send(),
        read(2),
        change(Kind.GROUP_REMOVE, user),
        send(),
        read(3),
        // Takes the row of who was removed.
        change(Kind.GROUP_ADD, other),
        send(),
        read(4),
        change(Kind.GROUP_ADD, user),
        send(),
        read(5),
        send(),
      );
      twins.compare();
      twins.commit();
      twins.restore();
    }
  });
});
