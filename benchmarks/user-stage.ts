/**
 * The user stage alone: live deliveries with their acks, in one thread, without log, store or sockets. Prints JSON.
 *
 *   node dist/benchmarks/user-stage.js [--tiny]
 *
 * A delivery is one inbox entry of one user, written to the user's one live connection, acknowledged and freed. Batches are
 * made before the clock runs. Scenarios: direct messages, where each delivery is acknowledged alone (the worst case) or eight
 * at a time, and groups. `export` adds what the lane does once a second: everything that changed is exported.
 */
import { type Batch, BatchBuilder, BatchKind, openBatch, SourceKind, sourceId, stampBatch } from '../core/batch.js';
import { At, encodeFrame, type Frame, Kind, makeFrame, viewOf, writeU53 } from '../core/frame.js';
import { deviceKey, mix32 } from '../core/ids.js';
import { BATCH_BYTES_MAX, BATCH_TARGET_BYTES } from '../core/limits.js';
import { Topic } from '../core/ports.js';
import { Prng } from '../core/prng.js';
import type { Fetched, Out } from '../core/stage.js';
import { UserStage } from '../pipelines/user/stage.js';

const PAYLOAD_BYTES = 120;
const START_MS = 1_700_000_000_000;
/** Logged time between two batches. */
const BATCH_MS = 5;
const NOTHING: Fetched = { get: () => undefined };

/** Keeps one builder a destination, and folds what was written into a hash. */
class BenchOut implements Out {
  readonly #builders: BatchBuilder[] = [];
  hash = 0;
  bytes = 0;

  #builder(slot: number, kind: number, bytes: number): BatchBuilder {
    const builder = (this.#builders[slot] ??= new BatchBuilder(1 << 20));
    if (builder.isEmpty) builder.begin(kind, 0, 0, 0);
    else if (builder.byteLength + bytes > BATCH_BYTES_MAX) {
      this.#take(builder);
      builder.begin(kind, 0, 0, 0);
    }
    return builder;
  }

  #take(builder: BatchBuilder): void {
    this.hash = mix32(this.hash ^ builder.byteLength ^ builder.count);
    this.bytes += builder.byteLength;
    builder.reset();
  }

  flush(): void {
    for (const builder of this.#builders) if (builder !== undefined && !builder.isEmpty) this.#take(builder);
  }

  user(): BatchBuilder {
    throw new Error('not used');
  }

  userFrames(_partition: number, bytes: number): BatchBuilder {
    return this.#builder(0, BatchKind.FRAMES, bytes);
  }

  conversation(partition: number, bytes: number): BatchBuilder {
    return this.#builder(1 + partition, BatchKind.FRAMES, bytes);
  }

  gateway(gateway: number, bytes: number): BatchBuilder {
    return this.#builder(100 + gateway, BatchKind.EGRESS, bytes);
  }

  put(_key: Uint8Array, value: Uint8Array): void {
    this.bytes += value.length;
  }

  remove(): void {}
}

interface Scenario {
  readonly name: string;
  readonly users: number;
  /** Recipients of a message. */
  readonly fanOut: number;
  readonly deliveries: number;
  readonly deliveriesPerAck: number;
  readonly withExport: boolean;
}

class Workload {
  readonly batches: Batch[] = [];
  readonly #builder = new BatchBuilder(1 << 20);
  readonly #positions: Float64Array;
  readonly #acknowledged: Float64Array;
  readonly #random = new Prng(7);
  readonly #scenario: Scenario;
  #timeMs = START_MS;
  #made = 0;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.#positions = new Float64Array(scenario.users + 1);
    this.#acknowledged = new Float64Array(scenario.users + 1);
    while (this.#made < scenario.deliveries) {
      this.#fanOut();
      this.#acks();
    }
  }

  #begin(kind: number): void {
    const source = kind === BatchKind.FANOUT ? sourceId(SourceKind.CONVERSATION, 0) : sourceId(SourceKind.GATEWAY, 0);
    this.#builder.begin(kind, source, this.batches.length, 0);
  }

  #finish(): void {
    const bytes = this.#builder.finish().slice();
    this.#timeMs += BATCH_MS;
    stampBatch(viewOf(bytes), 0, Topic.USER, 0, this.batches.length, this.#timeMs);
    this.batches.push(openBatch(bytes));
  }

  #fanOut(): void {
    const { users, fanOut } = this.#scenario;
    const builder = this.#builder;
    const frame = encodeFrame(
      makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(PAYLOAD_BYTES), time: this.#timeMs }),
    );
    this.#begin(BatchKind.FANOUT);
    for (let seq = 1; builder.byteLength < BATCH_TARGET_BYTES / 4; seq++) {
      const first = this.#random.below(users);
      const at = builder.frame(frame, 0, frame.length);
      writeU53(builder.view, at + At.CONV_A, fanOut === 2 ? 1 : 0);
      writeU53(builder.view, at + At.CONV_B, 1_000_000 + first);
      writeU53(builder.view, at + At.DEVICE, deviceKey(first + 1, 1));
      builder.view.setUint32(at + At.SEQ, this.batches.length + seq);
      builder.list();
      for (let n = 0; n < fanOut; n++) {
        const user = 1 + ((first + n * 7) % users);
        builder.recipient(user, 0);
        this.#positions[user]!++;
        this.#made++;
      }
    }
    this.#finish();
  }

  #acks(): void {
    const { users, deliveriesPerAck } = this.#scenario;
    const builder = this.#builder;
    const ack = encodeFrame(makeFrame({ kind: Kind.ACK }));
    this.#begin(BatchKind.FRAMES);
    for (let user = 1; user <= users; user++) {
      const position = this.#positions[user]!;
      const step = deliveriesPerAck;
      for (let to = this.#acknowledged[user]! + step; to <= position; to += step) {
        const at = builder.frame(ack, 0, ack.length);
        writeU53(builder.view, at + At.DEVICE, deviceKey(user, 1));
        writeU53(builder.view, at + At.INBOX, to);
        this.#acknowledged[user] = to;
      }
    }
    this.#finish();
  }
}

function connectAll(stage: UserStage, out: BenchOut, users: number): void {
  const connects = Array.from({ length: users }, (_, n) =>
    makeFrame({ kind: Kind.CONNECT, device: deviceKey(n + 1, 1), convA: 1, convB: n + 1, extra: 1 }),
  );
  stepFrames(stage, out, connects);
  // New devices are live when their registration is on the disk; a step takes some of them.
  while (stage.syncWantedAt < Infinity) stepFrames(stage, out, [makeFrame({ kind: Kind.SYNCED, inbox: 1 })]);
}

function stepFrames(stage: UserStage, out: BenchOut, frames: readonly Frame[]): void {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 0);
  for (const frame of frames) {
    const bytes = encodeFrame(frame);
    builder.frame(bytes, 0, bytes.length);
  }
  const bytes = builder.finish();
  stampBatch(viewOf(bytes), 0, Topic.USER, 0, 0, START_MS);
  stage.step(openBatch(bytes), out, NOTHING);
  out.flush();
}

function run(
  scenario: Scenario,
  batches: readonly Batch[],
): { ns: number; hash: number; exported: number; left: number } {
  const stage = new UserStage({ partition: 0, conversationPartitions: 4, userPartitions: 1 });
  const out = new BenchOut();
  connectAll(stage, out, scenario.users);
  let exported = 0;
  let exportAtMs = START_MS + 1_000;
  const start = process.hrtime.bigint();
  for (const batch of batches) {
    stage.step(batch, out, NOTHING);
    out.flush();
    if (!scenario.withExport || batch.header.time < exportAtMs) continue;
    exportAtMs += 1_000;
    stage.exportDirty((chunk) => {
      exported += chunk.length;
    });
  }
  const ns = Number(process.hrtime.bigint() - start);
  const left = stage.sizes.entries;
  return { ns, hash: mix32(out.hash ^ stage.stateHash()), exported, left };
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

function measure(scenario: Scenario, rounds: number): Record<string, unknown> {
  const { batches } = new Workload(scenario);
  const results = Array.from({ length: rounds }, () => run(scenario, batches));
  const ns = results.map((result) => result.ns / scenario.deliveries);
  return {
    ...scenario,
    nsPerDelivery: Math.round(median(ns)),
    nsPerDeliveryAll: ns.map(Math.round),
    entriesLeft: results[0]!.left,
    exportedBytes: results[0]!.exported,
    hash: results[0]!.hash.toString(16),
  };
}

const tiny = process.argv.includes('--tiny');
const deliveries = tiny ? 2_000 : 400_000;
const users = tiny ? 50 : 2_000;
const base = { users, fanOut: 2, deliveries, deliveriesPerAck: 1, withExport: false };
const scenarios: Scenario[] = [
  { ...base, name: 'direct, an ack a delivery' },
  { ...base, name: 'direct, an ack a delivery, with export', withExport: true },
  { ...base, name: 'direct, an ack for eight', deliveriesPerAck: 8 },
  { ...base, name: 'direct, 100,000 users', users: tiny ? 100 : 100_000 },
  { ...base, name: 'groups of 32', fanOut: tiny ? 8 : 32 },
  { ...base, name: 'groups of 1,024, an ack for eight', fanOut: tiny ? 32 : 1_024, deliveriesPerAck: 8 },
];
console.log(
  JSON.stringify(
    {
      benchmark: 'user-stage',
      node: process.version,
      results: scenarios.map((scenario) => measure(scenario, tiny ? 1 : 5)),
    },
    undefined,
    2,
  ),
);
