/** The gateway's surroundings in tests: a log that does what it is told, sockets that keep what they are sent, clocks that stand still. */
import { type Batch, BatchBuilder, BatchKind, openBatch } from '../core/batch.js';
import { type Frame, readFrames } from '../core/frame.js';
import { deviceKey } from '../core/ids.js';
import { BATCH_HEADER_BYTES } from '../core/limits.js';
import { AppendOutcome, type AppendSink, type LogProducer, Refusal } from '../core/ports.js';
import { Session, type Socket } from './hub.js';
import { SessionState, type SessionState as State } from './session.js';

export interface Appended {
  readonly topic: number;
  readonly partition: number;
  readonly tag: number;
  readonly bytes: Uint8Array;
}

interface Outcome {
  readonly tag: number;
  readonly outcome: number;
  readonly refusal: number;
}

/** Takes batches unless `isFull`; tells an outcome when the test says so. */
export class FakeProducer implements LogProducer {
  readonly appended: Appended[] = [];
  isFull = false;
  #answered = 0;
  readonly #outcomes: Outcome[] = [];

  append(topic: number, partition: number, batch: Uint8Array, tag: number): boolean {
    if (this.isFull) return false;
    this.appended.push({ topic, partition, tag, bytes: batch.slice() });
    return true;
  }

  outcomes(sink: AppendSink): number {
    const known = this.#outcomes.splice(0);
    for (const { tag, outcome, refusal } of known) sink(tag, outcome, 0, refusal);
    return known.length;
  }

  /** Answers the batches that were not answered yet, oldest first. */
  answer(outcome: number = AppendOutcome.DURABLE, refusal: number = Refusal.NONE, count = Infinity): void {
    for (let n = 0; n < count && this.#answered < this.appended.length; n++) {
      this.answerTag(this.appended[this.#answered++]!.tag, outcome, refusal);
    }
  }

  answerTag(tag: number, outcome: number, refusal: number = Refusal.NONE): void {
    this.#outcomes.push({ tag, outcome, refusal });
  }

  /** Forgets what was appended and answered. */
  forget(): void {
    this.appended.length = 0;
    this.#answered = 0;
  }

  frames(topic: number, partition?: number): Frame[] {
    return this.appended
      .filter((batch) => batch.topic === topic && (partition === undefined || batch.partition === partition))
      .flatMap(({ bytes }) => readFrames(bytes.subarray(BATCH_HEADER_BYTES)));
  }
}

/** Keeps each write; says of itself what the test sets. */
export class FakeSocket implements Socket {
  readonly writes: Uint8Array[] = [];
  closedWith: number | undefined;
  buffered = 0;
  takes = true;
  /** What is called when it is closed, as a real socket calls its gateway. */
  onClose: () => void = () => {};

  send(bytes: Uint8Array): boolean {
    if (this.takes) this.writes.push(bytes.slice());
    return this.takes;
  }

  bufferedBytes(): number {
    return this.buffered;
  }

  close(code: number): void {
    this.closedWith = code;
    this.onClose();
  }

  frames(): Frame[] {
    return this.writes.flatMap((bytes) => readFrames(bytes));
  }

  /** What came since the last call. */
  taken(): Frame[] {
    const frames = this.frames();
    this.writes.length = 0;
    return frames;
  }
}

export interface Connected {
  readonly session: Session;
  readonly socket: FakeSocket;
}

/** A session with a socket. */
export function connect(user: number, connection: number, state: State = SessionState.LIVE, device = 1): Connected {
  const session = new Session(deviceKey(user, device), connection, '127.0.0.1', 0, Infinity);
  const socket = new FakeSocket();
  session.state = state;
  session.socket = socket;
  return { session, socket };
}

export interface Target {
  readonly connection: number;
  readonly incarnation?: number;
  readonly token?: number;
  readonly position?: number;
  readonly flags?: number;
}

/** One EGRESS batch: frames, each with the connections it goes to. */
export function egress(entries: readonly (readonly [Uint8Array, readonly Target[]])[], source = 0, epoch = 0): Batch {
  const builder = new BatchBuilder();
  builder.begin(BatchKind.EGRESS, source, 0, epoch);
  for (const [frame, targets] of entries) {
    builder.frame(frame, 0, frame.length);
    builder.list();
    for (const { connection, incarnation = 1, token = 1, position = 0, flags = 0 } of targets) {
      builder.target(connection, incarnation, token, position, flags);
    }
  }
  return openBatch(builder.finish());
}
