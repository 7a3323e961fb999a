/**
 * Start with state: makes a data directory with 1,000,000 direct conversations of 200,000 users (every message delivered and
 * acknowledged), then starts `dunlin up` on it and takes the time until it is ready, several times. Prints JSON.
 *
 *   node dist/benchmarks/start.js [--tiny]
 *
 * The state is made by the stages themselves, written as a lane writes a base; the logs are empty, so what is measured is
 * process start, opening, and loading of the state.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  BatchAt,
  BatchBuilder,
  BatchKind,
  openBatch,
  SourceKind,
  sourceId,
  stampBatch,
  TARGET_BYTES,
  TargetAt,
} from '../core/batch.js';
import { encodeFrame, type Frame, frameLength, Kind, makeFrame, viewOf } from '../core/frame.js';
import {
  deviceKey,
  directConversation,
  fromWords,
  mix32,
  partitionOfConversation,
  partitionOfUser,
} from '../core/ids.js';
import { fenceKey, metaKey, StageId } from '../core/keys.js';
import { PARTITIONS_DEFAULT, STORE_TRANSACTION_BYTES_MAX } from '../core/limits.js';
import { Topic } from '../core/ports.js';
import type { Stage } from '../core/stage.js';
import { openDataDirectory } from '../engines/data-directory.js';
import { LmdbDatabase } from '../engines/store-lmdb/database.js';
import { basePiece, EMPTY_META, encodeEpoch, encodeMeta } from '../pipelines/checkpoint.js';
import { ConversationStage } from '../pipelines/conversation/stage.js';
import { Destination, Outbox, type Send, Streams } from '../pipelines/outbox.js';
import { UserStage } from '../pipelines/user/stage.js';

const tiny = process.argv.includes('--tiny');
const USERS = tiny ? 200 : 200_000;
const CONVERSATIONS_PER_USER = 5;
const RUNS = tiny ? 1 : 5;
const PARTITIONS = PARTITIONS_DEFAULT;
const START_MS = 1_700_000_000_000;
const FRAMES_PER_BATCH = 1_000;
const NOTHING = { get: () => undefined };

/** The stages of all partitions, fed by hand: what one writes for another arrives at once. */
class Stages {
  readonly conversation: Stage[];
  readonly user: Stage[];
  readonly #gathered = new Streams(0);
  readonly #outboxes = new Map<Stage, Outbox>();
  readonly #offsets = new Map<Stage, number>();

  constructor() {
    const make = (partition: number): { partition: number; conversationPartitions: number; userPartitions: number } => {
      return { partition, conversationPartitions: PARTITIONS, userPartitions: PARTITIONS };
    };
    const numbers = Array.from({ length: PARTITIONS }, (_, partition) => partition);
    this.conversation = numbers.map((partition) => new ConversationStage({ ...make(partition), kernel: true }));
    this.user = numbers.map((partition) => new UserStage(make(partition)));
    for (const n of numbers) {
      this.#outboxes.set(this.conversation[n]!, new Outbox(SourceKind.CONVERSATION, n, this.#gathered));
      this.#outboxes.set(this.user[n]!, new Outbox(SourceKind.USER, n, this.#gathered));
    }
  }

  frames(topic: number, partition: number, frames: readonly Frame[]): void {
    const builder = new BatchBuilder();
    builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, 0), 0, 1);
    for (const frame of frames) {
      const bytes = encodeFrame(frame);
      builder.frame(bytes, 0, bytes.length);
    }
    this.#step(topic, partition, builder.finish());
  }

  #step(topic: number, partition: number, bytes: Uint8Array): void {
    const stage = topic === Topic.USER ? this.user[partition]! : this.conversation[partition]!;
    const offset = this.#offsets.get(stage) ?? 0;
    this.#offsets.set(stage, offset + 1);
    stampBatch(viewOf(bytes), 0, topic, partition, offset, START_MS + offset);
    const outbox = this.#outboxes.get(stage)!;
    outbox.begin(offset, 1);
    stage.step(openBatch(bytes), outbox, NOTHING);
    const acks = new Map<number, number>();
    const out: { topic: number; partition: number; bytes: Uint8Array }[] = [];
    const send: Send = (destination, to, number, batch) => {
      if (destination === Destination.LOG) out.push({ topic: to, partition: number, bytes: batch.slice() });
      else lastPositions(batch, acks);
      return true;
    };
    outbox.flush(send);
    this.#gathered.flush(send);
    for (const batch of out) this.#step(batch.topic, batch.partition, batch.bytes);
    const frames = [...acks].map(([user, inbox]) => makeFrame({ kind: Kind.ACK, device: deviceKey(user, 1), inbox }));
    if (frames.length > 0) this.frames(Topic.USER, partition, frames);
  }
}

/** The highest position that an EGRESS batch has for each connection; connections are numbered as their users. */
function lastPositions(batch: Uint8Array, positions: Map<number, number>): void {
  const view = viewOf(batch);
  const count = view.getUint32(BatchAt.COUNT, true);
  let at: number = BatchAt.ENTRIES;
  for (let entry = 0; entry < count; entry++) {
    at += frameLength(view, at);
    const targets = view.getUint32(at, true);
    at += 4;
    for (let target = 0; target < targets; target++, at += TARGET_BYTES) {
      const low = view.getUint32(at + TargetAt.POSITION_LOW, true);
      const position = fromWords(low, view.getUint32(at + TargetAt.POSITION_HIGH, true));
      if (position > 0) positions.set(view.getUint32(at + TargetAt.CONNECTION, true), position);
    }
  }
}

function fill(stages: Stages): void {
  const pending = Array.from({ length: PARTITIONS }, () => [] as Frame[]);
  const put = (topic: number, partition: number, frame: Frame | undefined): void => {
    const frames = pending[partition]!;
    if (frame !== undefined) frames.push(frame);
    if (frames.length < (frame === undefined ? 1 : FRAMES_PER_BATCH)) return;
    stages.frames(topic, partition, frames.splice(0));
  };
  for (let user = 1; user <= USERS; user++) {
    const frame = makeFrame({ kind: Kind.CONNECT, device: deviceKey(user, 1), convA: 1, convB: user, extra: 1 });
    put(Topic.USER, partitionOfUser(user, PARTITIONS), frame);
  }
  for (let partition = 0; partition < PARTITIONS; partition++) {
    put(Topic.USER, partition, undefined);
    const synced = makeFrame({ kind: Kind.SYNCED, inbox: Number.MAX_SAFE_INTEGER });
    stages.frames(Topic.USER, partition, [synced]);
  }
  const payload = new Uint8Array(100);
  for (let step = 1; step <= CONVERSATIONS_PER_USER; step++) {
    for (let user = 1; user <= USERS; user++) {
      const { a, b } = directConversation(user, ((user + step - 1) % USERS) + 1);
      const frame = makeFrame({
        kind: Kind.MESSAGE,
        convA: a,
        convB: b,
        device: deviceKey(user, 1),
        counter: 1,
        payload,
      });
      put(Topic.CONVERSATION, partitionOfConversation(a, b, PARTITIONS), frame);
    }
  }
  for (let partition = 0; partition < PARTITIONS; partition++) put(Topic.CONVERSATION, partition, undefined);
}

/** Writes a stage as a lane writes a base. Returns its bytes. */
function save(database: LmdbDatabase, stageId: number, partition: number, stage: Stage): number {
  const owner = { stage: stageId, partition, epoch: 0 };
  let baseBytes = 0;
  let chunks = 0;
  for (let cursor = 0; cursor >= 0; ) {
    const piece: Uint8Array[] = [];
    cursor = stage.exportAll(cursor, STORE_TRANSACTION_BYTES_MAX / 4, (chunk) => piece.push(chunk.slice()));
    const { clear, puts } = basePiece(owner, 1, chunks, piece);
    const answer = database.commitAll([{ expect: [], clear, puts }])[0]!;
    if (answer.outcome !== 'committed') throw new Error(`the store answered ${answer.outcome}: ${answer.reason}`);
    chunks += piece.length;
    for (const chunk of piece) baseBytes += chunk.length;
  }
  const meta = { ...EMPTY_META, commit: 1, firstDelta: 2, base: 1, baseBytes, timeMs: START_MS };
  const puts = [
    { key: metaKey(stageId, partition), value: encodeMeta(meta) },
    { key: fenceKey(stageId, partition), value: encodeEpoch(1) },
  ];
  database.commitAll([{ expect: [], clear: [], puts }]);
  return baseBytes;
}

/** Starts the backbone and stops it; milliseconds until it said that it was ready, as seen from here. */
async function startOnce(directory: string): Promise<number> {
  const command = fileURLToPath(new URL('../../cli/bin/dunlin.mjs', import.meta.url));
  const began = performance.now();
  const args = [command, 'up', '--json', '--port', '0', '--admin-port', '0', '--data', directory];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let readyMs = Number.NaN;
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{"url"')) continue;
    readyMs = performance.now() - began;
    break;
  }
  child.kill('SIGTERM');
  await new Promise((resolve) => child.once('exit', resolve));
  if (Number.isNaN(readyMs)) throw new Error('the backbone did not become ready');
  return readyMs;
}

const directory = mkdtempSync(join(os.tmpdir(), 'dunlin-start-'));
try {
  const stages = new Stages();
  fill(stages);
  const data = openDataDirectory(directory);
  mkdirSync(join(directory, 'store'), { recursive: true });
  const database = LmdbDatabase.open(join(directory, 'store'));
  let bytes = 0;
  let hash = 0;
  for (let partition = 0; partition < PARTITIONS; partition++) {
    bytes += save(database, StageId.CONVERSATION, partition, stages.conversation[partition]!);
    bytes += save(database, StageId.USER, partition, stages.user[partition]!);
    hash = mix32(hash ^ stages.conversation[partition]!.stateHash());
  }
  await database.close();
  data.close();
  const runs: number[] = [];
  for (let run = 0; run < RUNS; run++) runs.push(Math.round(await startOnce(directory)));
  const sorted = runs.toSorted((a, b) => a - b);
  const machine = { cpu: os.cpus()[0]!.model, cores: os.cpus().length, node: process.version };
  console.log(
    JSON.stringify({
      name: 'start',
      figure: sorted[Math.floor(sorted.length / 2)],
      unit: 'ms to ready',
      against: 5_000,
      ratio: Number((sorted[Math.floor(sorted.length / 2)]! / 5_000).toFixed(3)),
      conversations: USERS * CONVERSATIONS_PER_USER,
      users: USERS,
      stateBytes: bytes,
      runs,
      spread: [sorted[0], sorted.at(-1)],
      hash,
      machine,
    }),
  );
} finally {
  rmSync(directory, { recursive: true, force: true });
}
