/** The stage against the model: any frames, in any batches, with commits, whole exports and crashes in between. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { encodeDeviceTable } from '../../core/device-table.js';
import { errorOfCode } from '../../core/errors.js';
import { type Frame, isSequenced, Kind, makeFrame } from '../../core/frame.js';
import { deviceKey, partitionOfUser } from '../../core/ids.js';
import { MESSAGE_TTL_S_MAX } from '../../core/limits.js';
import { encodeMembers } from '../../core/members.js';
import { aggregate, Model, type Sent } from './model.js';
import type { ConversationStage } from './stage.js';
import { type Entry, entriesOf, framesBatch, stepBatch, TestLane } from './testing.js';

const USERS = [1, 2, 3, 2 ** 32 + 5, 2 ** 45 - 1];
const GROUPS = [7, 2 ** 52 - 1];
const PARTITIONS = 3;

const user = fc.constantFrom(...USERS);
const device = fc
  .tuple(user, fc.constantFrom(1, 1, 1, 2, 127, 0))
  .map(([owner, deviceNumber]) => deviceKey(owner, deviceNumber));
const direct = fc.constantFrom<[number, number]>([1, 2], [2, 3], [2 ** 32 + 5, 2 ** 45 - 1], [1, 2 ** 45 - 1]);
const group = fc.constantFrom<[number, number]>(...GROUPS.map((id): [number, number] => [0, id]));
const conversation = fc.oneof(
  { weight: 12, arbitrary: group },
  { weight: 8, arbitrary: direct },
  { weight: 1, arbitrary: fc.constantFrom<[number, number]>([2, 1], [1, 1], [0, 0], [1, 2 ** 46], [0, 2 ** 52]) },
);

const members = fc.uniqueArray(user, { minLength: 0, maxLength: 5 }).map(encodeMembers);
const table = fc
  .uniqueArray(device, { maxLength: 3 })
  .map((devices) =>
    encodeDeviceTable(devices.filter((key) => key % 128 > 0).map((key) => ({ device: key, bytes: new Uint8Array(3) }))),
  );
const junk = fc.uint8Array({ maxLength: 12 });
const payload = fc.oneof(
  { weight: 6, arbitrary: members },
  { weight: 2, arbitrary: table },
  { weight: 1, arbitrary: junk },
  { weight: 2, arbitrary: fc.constant(new Uint8Array(0)) },
);

/** A frame whose counter and sequence are said relative to what the model has: absolute ones would hardly ever fit. */
interface Op {
  readonly kind: number;
  readonly conversation: [number, number];
  readonly device: number;
  readonly counter: number;
  readonly seq: number;
  readonly extra: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

const kind = fc.oneof(
  { weight: 8, arbitrary: fc.constant(Kind.MESSAGE) },
  { weight: 4, arbitrary: fc.constant(Kind.GROUP_CREATE) },
  { weight: 8, arbitrary: fc.constantFrom(Kind.GROUP_ADD, Kind.GROUP_REMOVE, Kind.GROUP_LEAVE, Kind.GROUP_ROLE) },
  { weight: 10, arbitrary: fc.constantFrom(Kind.READ, Kind.DELIVERED) },
  { weight: 3, arbitrary: fc.constantFrom(Kind.TYPING, Kind.INFO) },
  { weight: 1, arbitrary: fc.constantFrom(0, 7, Kind.ACK, Kind.SENT, Kind.TICK, 255) },
);
const op: fc.Arbitrary<Op> = fc.record({
  kind,
  conversation,
  device,
  // 1: the next one.
  counter: fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, -1, -3, 2, 5, Number.NEGATIVE_INFINITY),
  // 0: the head.
  seq: fc.constantFrom(0, 0, 0, -1, -1, -2, -5, 1, 1_000, Number.NEGATIVE_INFINITY),
  extra: fc.constantFrom(0, 0, 0, 1, 1, 2, MESSAGE_TTL_S_MAX, MESSAGE_TTL_S_MAX + 1),
  flags: fc.constantFrom(0, 0, 0, 1, 1, 2, 4, 255),
  payload,
});

type Step =
  | { readonly name: 'batch'; readonly ops: readonly Op[]; readonly waitMs: number }
  | { readonly name: 'commit' }
  | { readonly name: 'crash' }
  | { readonly name: 'export'; readonly bytes: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      name: fc.constant('batch' as const),
      ops: fc.array(op, { minLength: 1, maxLength: 8 }),
      // Even, as the stage keeps times of typing in units of 2 ms.
      waitMs: fc.constantFrom(0, 2, 1_998, 2_000, 60_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('commit' as const) }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('crash' as const) }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('export' as const), bytes: fc.constantFrom(1, 200, 1e6) }) },
);

const NEXT = { counter: 1, seq: 0, extra: 0, flags: 0 };

/** A group with three members and a direct conversation stand at the beginning of half of the runs. */
const opening: Step = {
  name: 'batch',
  waitMs: 0,
  ops: [
    { ...NEXT, kind: Kind.GROUP_CREATE, conversation: [0, 7], device: deviceKey(1, 1), payload: encodeMembers([2, 3]) },
    { ...NEXT, kind: Kind.MESSAGE, conversation: [1, 2], device: deviceKey(2, 1), payload: new Uint8Array(4) },
  ],
};

function frameOf(model: Model, each: Op): Frame {
  const [convA, convB] = each.conversation;
  const known = model.find(convA, convB);
  const last = known?.devices.get(each.device)?.counter ?? 0;
  return makeFrame({
    kind: each.kind,
    flags: each.flags,
    convA,
    convB,
    device: each.device,
    counter: Math.max(0, last + each.counter),
    seq: Math.max(0, (known?.head ?? 0) + each.seq),
    inbox: 99,
    time: 77,
    extra: each.extra,
    payload: each.payload,
  });
}

function plain({ frame, recipients }: { frame: Frame; recipients: readonly number[] }): unknown {
  return {
    ...frame,
    payload: Buffer.from(frame.payload).toString('hex'),
    recipients: recipients.toSorted((one, other) => one - other),
  };
}

/** What the model sends, cut by user partition as the stage must cut it. */
function byPartition(sent: readonly Sent[]): unknown[][] {
  return Array.from({ length: PARTITIONS }, (_, partition) =>
    sent
      .map(({ frame, recipients }) => {
        return { frame, recipients: recipients.filter((each) => partitionOfUser(each, PARTITIONS) === partition) };
      })
      .filter(({ recipients }) => recipients.length > 0)
      .map(plain),
  );
}

function entriesByPartition(entries: readonly Entry[]): unknown[][] {
  return Array.from({ length: PARTITIONS }, (_, partition) =>
    entries.filter((entry) => entry.partition === partition).map(plain),
  );
}

/** A counter that was refused for good is never sequenced, one that was sequenced never again: whatever was repeated. */
class Outcomes {
  readonly #refused = new Set<string>();
  readonly #sequenced = new Map<string, number>();

  see(frame: Frame): void {
    const key = `${frame.convA} ${frame.convB} ${frame.device} ${frame.counter}`;
    if (frame.kind === Kind.REJECT && frame.counter > 0 && !errorOfCode(frame.extra)!.canRetry) this.#refused.add(key);
    if (frame.kind === Kind.SENT && frame.seq > 0) assert.equal(frame.seq, this.#sequenced.get(key));
    if (!isSequenced(frame.kind)) return;
    assert.equal(this.#refused.has(key), false, `${key} was refused, then sequenced`);
    assert.ok([undefined, frame.seq].includes(this.#sequenced.get(key)), `${key} has two sequences`);
    this.#sequenced.set(key, frame.seq);
  }
}

class Run {
  readonly #model = new Model();
  readonly #lane = new TestLane(PARTITIONS);
  /** Never exported, never restored, and with the kernel. */
  readonly #steady: ConversationStage = this.#lane.newStage(true);
  /** Gets every frame in a batch of its own. */
  readonly #single: ConversationStage = this.#lane.newStage();
  readonly #outcomes = new Outcomes();

  do(each: Step): void {
    if (each.name === 'commit') this.#lane.commit();
    else if (each.name === 'crash') this.#lane.crash();
    else if (each.name === 'export') this.#lane.exportPart(each.bytes);
    else this.#batch(each.ops, each.waitMs);
  }

  #batch(ops: readonly Op[], waitMs: number): void {
    this.#lane.nowMs += waitMs;
    const { nowMs } = this.#lane;
    const frames: Frame[] = [];
    const expected: Sent[] = [];
    for (const each of ops) {
      const frame = frameOf(this.#model, each);
      frames.push(frame);
      expected.push(...this.#model.handle(frame, nowMs));
    }
    const entries = this.#lane.step(...frames);
    assert.deepEqual(entriesByPartition(entries), byPartition(expected));
    const offset = this.#lane.log.length - 1;
    const written = stepBatch(this.#steady, this.#lane.log[offset]!);
    assert.deepEqual(written, this.#lane.lastOutput, 'a restored stage wrote something else');
    const single = frames.flatMap((frame) =>
      entriesOf(stepBatch(this.#single, framesBatch([frame], offset, nowMs)), PARTITIONS),
    );
    assert.deepEqual(entriesByPartition(single), entriesByPartition(entries), 'batches matter');
    assert.equal(this.#lane.stage.stateHash(), this.#steady.stateHash());
    for (const { frame } of entries) this.#outcomes.see(frame);
  }

  /** Asks for every conversation what INFO says, and moves everybody to the head: the aggregates must follow. */
  finish(): void {
    const ops: Op[] = [];
    for (const [name, { members: all }] of this.#model.conversations) {
      const id = name.split(' ').map(Number) as [number, number];
      for (const { user: member } of all) {
        const base = { conversation: id, counter: 0, extra: 0, flags: 0, payload: new Uint8Array(0), seq: 0 };
        ops.push({ ...base, kind: Kind.INFO, device: deviceKey(member, 1) });
        ops.push({ ...base, kind: Kind.READ, device: deviceKey(member, 2) });
      }
    }
    this.#batch(ops, 0);
    for (const each of this.#model.conversations.values()) {
      const { delivered, read } = aggregate(each);
      const atHead = each.members.length === 0 ? 0 : each.head;
      assert.deepEqual({ delivered, read }, { delivered: atHead, read: atHead });
    }
    assert.equal(this.#single.stateHash(), this.#steady.stateHash());
    this.#lane.checkRestore();
    assert.equal(this.#lane.restore().stateHash(), this.#steady.stateHash());
  }
}

it('does what the model does, however it is batched, exported and restored', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 60, size: 'max' }), (isOpened, steps) => {
      const run = new Run();
      if (isOpened) run.do(opening);
      for (const each of steps) run.do(each);
      run.finish();
    }),
    { numRuns: 300 },
  );
});
