import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BatchKind } from '../../core/batch.js';
import { At, type Frame, isConversationKind, Kind, makeFrame, viewOf } from '../../core/frame.js';
import { encodeMembers } from '../../core/members.js';
import { Prng } from '../../core/prng.js';
import { framesBatch, Sender, stepBatch, TestLane } from './testing.js';

it('kinds that are not its own, and other batches, are counted and left', () => {
  const lane = new TestLane();
  const handedOn = new Set<number>([Kind.BLOCK, Kind.DEVICE_REMOVE]);
  const other = Object.values(Kind).filter((kind) => !isConversationKind(kind) && !handedOn.has(kind));
  assert.deepEqual(lane.step(...other.map((kind) => ({ kind, convA: 1, convB: 2, device: 129, counter: 1 }))), []);
  assert.equal(lane.stage.ignored, other.length);
  const batch = framesBatch([makeFrame(new Sender(1, 1, 2).next({ kind: Kind.MESSAGE }))], 1, lane.nowMs);
  batch[6] = BatchKind.FANOUT;
  assert.equal(stepBatch(lane.stage, batch).size, 0);
  assert.equal(lane.stage.ignored, other.length + 1);
});

it('hands what a user changes for good on to its own partition, as it came', () => {
  const lane = new TestLane();
  for (const kind of [Kind.BLOCK, Kind.DEVICE_REMOVE]) {
    const [entry, ...more] = lane.step({ kind, device: 7 * 128 + 2, convB: 9, extra: 1 });
    assert.deepEqual(more, []);
    const { frame, recipients } = entry!;
    assert.deepEqual(recipients, [7]);
    assert.deepEqual([frame.kind, frame.device, frame.convB, frame.extra], [kind, 7 * 128 + 2, 9, 1]);
    assert.equal(frame.time, lane.nowMs);
  }
  assert.equal(lane.stage.ignored, 0);
});

it('a batch that is cut ends the step at the cut, and what is before it counts', () => {
  const lane = new TestLane();
  const sender = new Sender(1, 1, 2);
  const frames = [1, 2].map(() => makeFrame(sender.next({ kind: Kind.MESSAGE, payload: new Uint8Array(9) })));
  const batch = framesBatch(frames, 0, lane.nowMs);
  const cuts = [1, 9, 10, 60];
  for (const bytes of cuts) stepBatch(lane.stage, batch.slice(0, batch.length - bytes));
  viewOf(batch).setUint32(64 + At.LENGTH, 2 ** 32 - 1);
  stepBatch(lane.stage, batch);
  assert.equal(lane.stage.ignored, cuts.length + 1);
  assert.equal(lane.stage.conversations, 1);
});

/** Ids near each other and near every limit, so that frames meet. */
class RandomFrames {
  readonly #random: Prng;
  /** Next counter by sender and conversation, as far as guesses were right. */
  readonly #counters = new Map<string, number>();

  constructor(random: Prng) {
    this.#random = random;
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#random.below(values.length)]!;
  }

  #user(): number {
    return this.#random.chance(9, 10)
      ? this.#random.between(1, 6)
      : this.#pick([0, 2 ** 32, 2 ** 45 - 1, 2 ** 45, 2 ** 46 - 1]);
  }

  #payload(): Uint8Array {
    const random = this.#random;
    if (random.chance(1, 3)) {
      return encodeMembers(Array.from({ length: random.below(5) }, () => this.#user()));
    }
    const bytes = new Uint8Array(random.below(30)).map(() => random.below(256));
    if (random.chance(1, 2) && bytes.length > 5) bytes.set([0xdd, 0, 0, 0, random.below(4)]);
    return bytes;
  }

  /** Mostly the next one, so that frames are accepted; otherwise one near it, or any. */
  #counter(key: string): number {
    const random = this.#random;
    const next = this.#counters.get(key) ?? 1;
    if (random.chance(1, 5)) return random.chance(1, 9) ? random.u32() : random.below(next + 3);
    this.#counters.set(key, next + 1);
    return next;
  }

  next(): Frame {
    const random = this.#random;
    const isGroup = random.chance(1, 2);
    const convA = isGroup ? 0 : this.#user();
    const convB = isGroup ? this.#pick([random.between(1, 40), 2 ** 52 - 1, 2 ** 53 - 1]) : convA + random.below(4);
    const user = isGroup || random.chance(1, 4) ? this.#user() : this.#pick([convA, convB]);
    const device = user * 128 + this.#pick([0, 1, 1, 1, 2, 127]);
    return makeFrame({
      kind: random.chance(1, 20) ? random.below(256) : this.#pick([1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 16, 17, 18, 19]),
      flags: random.chance(1, 2) ? 0 : random.below(256),
      convA,
      convB,
      device,
      counter: this.#counter(`${convA} ${convB} ${device}`),
      seq: random.chance(1, 20) ? random.u32() : random.below(20),
      inbox: random.below(3),
      time: random.below(3),
      extra: random.chance(1, 20) ? random.u32() : random.below(3),
      payload: this.#payload(),
    });
  }
}

it('no frame makes a step throw, or its state different from what is restored', (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now());
  t.diagnostic(`DUNLIN_SEED=${seed}`);
  const random = new Prng(seed);
  let frames = new RandomFrames(random);
  let lane = new TestLane();
  let accepted = 0;
  for (let batch = 0; batch < 2_000; batch++) {
    lane.nowMs += 500;
    const entries = lane.step(...Array.from({ length: 100 }, () => frames.next()));
    accepted += entries.filter(({ frame }) => frame.kind <= Kind.GROUP_ROLE).length;
    if (batch % 50 === 0) lane.checkRestore();
    if (batch % 20 !== 19) continue;
    // Groups end up with GROUP_EXISTS and without members.
    lane = new TestLane();
    frames = new RandomFrames(random);
  }
  assert.ok(accepted > 4_000, `only ${accepted} frames were accepted: seed ${seed}`);
});
