/**
 * Start with state: makes a data directory with 1,000,000 direct conversations of 200,000 users (every message delivered and
 * acknowledged), then starts `dunlin up` on it and takes the time until it is ready and until a message to one of the old
 * conversations is answered, several times. The number that the message gets tells that the conversation is there.
 *
 * The state is made by the stages themselves, written as a lane writes a base; the logs hold nothing behind it, as if all had
 * been committed and deleted. So what is measured is process start, opening, and loading of the state.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { DunlinClient } from '../client/node.js';
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
import { encodeNote, encodeSegmentHeader, SYNCED_NOTE, segmentName } from '../engines/log-disk/layout.js';
import { LmdbDatabase } from '../engines/store-lmdb/database.js';
import { basePiece, EMPTY_META, encodeEpoch, encodeMeta } from '../pipelines/checkpoint.js';
import { ConversationStage } from '../pipelines/conversation/stage.js';
import { Destination, Outbox, type Send, Streams } from '../pipelines/outbox.js';
import { UserStage } from '../pipelines/user/stage.js';
import { type Benchmark, makeFigure } from './harness/result.js';
import { openIssuer } from './load/tokens.js';

const USERS = 200_000;
const USERS_TINY = 200;
const CONVERSATIONS_PER_USER = 5;
const PAYLOAD_BYTES = 100;
/** Each start has a user of its own. */
const USERS_BETWEEN = 7;
/** From the start of the process until it serves. */
const ANSWERED_S_MAX = 5;
const PARTITIONS = PARTITIONS_DEFAULT;
const SHAPE = { conversationPartitions: PARTITIONS, userPartitions: PARTITIONS, kernel: true };
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
    const numbers = Array.from({ length: PARTITIONS }, (_, partition) => partition);
    this.conversation = numbers.map((partition) => new ConversationStage({ ...SHAPE, partition }));
    this.user = numbers.map((partition) => new UserStage({ ...SHAPE, partition }));
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

  /** Batches of the stage's topic that it has stepped over. */
  offsetOf(stage: Stage): number {
    return this.#offsets.get(stage) ?? 0;
  }

  #step(topic: number, partition: number, bytes: Uint8Array): void {
    const stage = topic === Topic.USER ? this.user[partition]! : this.conversation[partition]!;
    const offset = this.offsetOf(stage);
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

function fill(stages: Stages, users: number): void {
  const pending = Array.from({ length: PARTITIONS }, () => [] as Frame[]);
  const put = (topic: number, partition: number, frame: Frame | undefined): void => {
    const frames = pending[partition]!;
    if (frame !== undefined) frames.push(frame);
    if (frames.length < (frame === undefined ? 1 : FRAMES_PER_BATCH)) return;
    stages.frames(topic, partition, frames.splice(0));
  };
  for (let user = 1; user <= users; user++) {
    const frame = makeFrame({ kind: Kind.CONNECT, device: deviceKey(user, 1), convA: 1, convB: user, extra: 1 });
    put(Topic.USER, partitionOfUser(user, PARTITIONS), frame);
  }
  for (let partition = 0; partition < PARTITIONS; partition++) {
    put(Topic.USER, partition, undefined);
    const synced = makeFrame({ kind: Kind.SYNCED, inbox: Number.MAX_SAFE_INTEGER });
    stages.frames(Topic.USER, partition, [synced]);
  }
  const payload = new Uint8Array(PAYLOAD_BYTES);
  for (let step = 1; step <= CONVERSATIONS_PER_USER; step++) {
    for (let user = 1; user <= users; user++) {
      const { a, b } = directConversation(user, ((user + step - 1) % users) + 1);
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

/** Writes a stage that stands at `offset` of its topic as a lane writes a base. Returns its bytes. */
function save(database: LmdbDatabase, stageId: number, partition: number, stage: Stage, offset: number): number {
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
  const meta = { ...EMPTY_META, commit: 1, firstDelta: 2, base: 1, baseBytes, offset, timeMs: START_MS + offset };
  const puts = [
    { key: metaKey(stageId, partition), value: encodeMeta(meta) },
    { key: fenceKey(stageId, partition), value: encodeEpoch(1) },
  ];
  database.commitAll([{ expect: [], clear: [], puts }]);
  return baseBytes;
}

/** A topic's log whose batches, up to the offset of each partition, are committed and deleted: a segment that begins there. */
function writeLog(directory: string, topic: number, offsets: readonly number[]): void {
  const timesMs = offsets.map((offset) => START_MS + offset);
  mkdirSync(directory, { recursive: true });
  const header = encodeSegmentHeader({ topic, number: 1, offsets, timesMs });
  writeFileSync(join(directory, segmentName(1)), header);
  writeFileSync(join(directory, SYNCED_NOTE), encodeNote(1, header.length));
}

interface Started {
  /** From starting the process until it said that it is ready, as seen from here. */
  readonly readyS: number;
  /** The same until a message to one of the conversations was answered. */
  readonly answeredS: number;
  /** Of that message: 2, since each conversation has one. */
  readonly seq: number;
}

/** A device that the backbone does not know yet sends a message to the next user, whom its user has written to before. */
async function sendOne(url: string, directory: string, user: number): Promise<number> {
  const issuer = await openIssuer({ data: directory });
  const client = new DunlinClient({ url, token: () => issuer.sign(user, 2) });
  await client.connect();
  const { seq } = await client.send(client.direct(user + 1), new Uint8Array(PAYLOAD_BYTES));
  client.close();
  return seq;
}

async function startOnce(directory: string, user: number): Promise<Started> {
  const command = fileURLToPath(new URL('../../cli/bin/dunlin.mjs', import.meta.url));
  const began = performance.now();
  const passed = (): number => (performance.now() - began) / 1_000;
  const args = [command, 'up', '--json', '--port', '0', '--admin-port', '0', '--data', directory];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const readyS = passed();
      const { url } = JSON.parse(line) as { url: string };
      const seq = await sendOne(url, directory, user);
      return { readyS, answeredS: passed(), seq };
    }
    throw new Error('the backbone did not become ready');
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
}

/** A data directory with the state of all partitions; the bytes of the state, and a hash of it. */
async function makeData(directory: string, users: number): Promise<{ bytes: number; hash: number }> {
  const stages = new Stages();
  fill(stages, users);
  const data = openDataDirectory(directory);
  mkdirSync(join(directory, 'store'), { recursive: true });
  const database = LmdbDatabase.open(join(directory, 'store'));
  let bytes = 0;
  let hash = 0;
  for (const [stageId, all] of [
    [StageId.CONVERSATION, stages.conversation],
    [StageId.USER, stages.user],
  ] as const) {
    for (const [partition, stage] of all.entries()) {
      bytes += save(database, stageId, partition, stage, stages.offsetOf(stage));
      hash = mix32(hash ^ stage.stateHash());
    }
  }
  const offsets = (all: readonly Stage[]): number[] => all.map((stage) => stages.offsetOf(stage));
  writeLog(join(directory, 'log', 'conversation'), Topic.CONVERSATION, offsets(stages.conversation));
  writeLog(join(directory, 'log', 'user'), Topic.USER, offsets(stages.user));
  await database.close();
  data.close();
  return { bytes, hash };
}

export const benchmark: Benchmark = {
  name: 'start',
  about: 'From starting the process until it serves, with a million conversations of state.',
  async run({ isTiny, runs, progress }) {
    const users = isTiny ? USERS_TINY : USERS;
    const conversations = users * CONVERSATIONS_PER_USER;
    const directory = mkdtempSync(join(tmpdir(), 'dunlin-start-'));
    try {
      progress(`makes ${conversations} conversations`);
      const { bytes, hash } = await makeData(directory, users);
      const starts: Started[] = [];
      for (let run = 0; run < runs; run++) {
        progress(`start ${run + 1} of ${runs}`);
        starts.push(await startOnce(directory, USERS_BETWEEN * run + 1));
      }
      if (starts.some(({ seq }) => seq !== 2)) throw new Error('a conversation was not as it had been');
      const seconds = { unit: 's', better: 'lower', hash: hash.toString(16) } as const;
      const figures = [
        makeFigure({
          ...seconds,
          name: 'until a message is answered',
          runs: starts.map(({ answeredS }) => answeredS),
          reach: { of: 'figure', bound: ANSWERED_S_MAX },
        }),
        makeFigure({ ...seconds, name: 'until it says that it is ready', runs: starts.map(({ readyS }) => readyS) }),
      ];
      return { figures, workload: { conversations, users, partitions: PARTITIONS, state_bytes: bytes } };
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};
