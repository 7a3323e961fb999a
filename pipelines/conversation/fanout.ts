/** Fan-out: a frame goes once into the batch of each user partition that has recipients, with their list. */
import { type BatchBuilder, exceptDevice, RECIPIENT_BYTES } from '../../core/batch.js';
import { At, Flag, type Frame, frameLength, Kind, writeFrame, writeU53 } from '../../core/frame.js';
import { hashWords, highWord, lowWord, partitionOfHash } from '../../core/ids.js';
import { FRAME_HEADER_BYTES, GROUP_MEMBERS_MAX, PARTITIONS_MAX } from '../../core/limits.js';
import type { StepContext } from './context.js';
import { Conv, Part } from './rows.js';

/** Users chosen for a fan-out, chained by user partition. One set is enough: fan-outs do not nest. */
export class Recipients {
  readonly #heads = new Int32Array(PARTITIONS_MAX).fill(-1);
  readonly #counts = new Int32Array(PARTITIONS_MAX);
  readonly #next = new Int32Array(GROUP_MEMBERS_MAX);
  /** User ids, by word. Rows would not do: a removed member has none any more. */
  readonly #usersLow = new Uint32Array(GROUP_MEMBERS_MAX);
  readonly #usersHigh = new Uint32Array(GROUP_MEMBERS_MAX);
  /** Partitions that have recipients. Typed, and counted beside: emptying an array makes the next push allocate. */
  readonly #partitions = new Uint32Array(PARTITIONS_MAX);
  #partitionCount = 0;
  #size = 0;

  clear(): void {
    for (let n = 0; n < this.#partitionCount; n++) {
      const partition = this.#partitions[n]!;
      this.#heads[partition] = -1;
      this.#counts[partition] = 0;
    }
    this.#partitionCount = 0;
    this.#size = 0;
  }

  get size(): number {
    return this.#size;
  }

  add(context: StepContext, participant: number): void {
    const { u32, participants } = context.rows;
    const at = participants.at(participant);
    const partition = u32[at + Part.PARTITION]!;
    const place = this.#size++;
    if (this.#heads[partition] === -1) this.#partitions[this.#partitionCount++] = partition;
    this.#usersLow[place] = u32[at + Part.USER_LOW]!;
    this.#usersHigh[place] = u32[at + Part.USER_HIGH]!;
    this.#next[place] = this.#heads[partition]!;
    this.#heads[partition] = place;
    this.#counts[partition]!++;
  }

  /** All current members. */
  addMembers(context: StepContext, conversationAt: number): void {
    const { rows } = context;
    const count = rows.u32[conversationAt + Conv.MEMBERS]!;
    for (let place = 0; place < count; place++) this.add(context, rows.participantAt(conversationAt, place));
  }

  /** Sends the frame at the context's place to all, as sequence `seq`. Of the flags only what a client may set is kept. */
  sendSequenced(context: StepContext, seq: number): void {
    const flags = context.kind === Kind.MESSAGE ? context.flags & Flag.DEVICE_TABLE : 0;
    for (let n = 0; n < this.#partitionCount; n++) {
      const partition = this.#partitions[n]!;
      const count = this.#counts[partition]!;
      const builder = context.out.user(partition, context.length + 4 + count * RECIPIENT_BYTES);
      const at = builder.frame(context.bytes, context.at, context.length);
      builder.bytes[at + At.FLAGS] = flags;
      builder.view.setUint32(at + At.SEQ, seq);
      writeU53(builder.view, at + At.INBOX, 0);
      writeU53(builder.view, at + At.TIME, context.timeMs);
      this.#list(builder, partition);
    }
  }

  /** Sends a frame made by the backbone to all. */
  sendFrame(context: StepContext, frame: Frame): void {
    for (let n = 0; n < this.#partitionCount; n++) {
      const partition = this.#partitions[n]!;
      const bytes = FRAME_HEADER_BYTES + frame.payload.length;
      const builder = context.out.user(partition, bytes + 4 + this.#counts[partition]! * RECIPIENT_BYTES);
      const at = builder.open(bytes);
      writeFrame(builder.bytes, builder.view, at, frame);
      this.#list(builder, partition);
    }
  }

  #list(builder: BatchBuilder, partition: number): void {
    builder.list();
    for (let place = this.#heads[partition]!; place >= 0; place = this.#next[place]!) {
      builder.recipient(this.#usersLow[place]!, this.#usersHigh[place]!);
    }
  }
}

/** Sends a frame made by the backbone to one user. `except`: number of a device that need not get it, or 0. */
export function sendTo(context: StepContext, userLow: number, userHigh: number, frame: Frame, except = 0): void {
  const partition = partitionOfHash(hashWords(userLow, userHigh, 0, 0), context.userPartitions);
  const bytes = FRAME_HEADER_BYTES + frame.payload.length;
  const builder = context.out.user(partition, bytes + 4 + RECIPIENT_BYTES);
  const at = builder.open(bytes);
  writeFrame(builder.bytes, builder.view, at, frame);
  builder.list();
  builder.recipient(userLow, exceptDevice(userHigh, except));
}

/**
 * Hands a frame on to its sender's user partition as it is. What a user changes for good goes this way, though no conversation
 * is meant: this topic is read only when it is on the disk, and what is made of it is made again after a power failure.
 */
export function forward(context: StepContext): void {
  const { userLow, userHigh, length } = context;
  const partition = partitionOfHash(hashWords(userLow, userHigh, 0, 0), context.userPartitions);
  const builder = context.out.user(partition, length + 4 + RECIPIENT_BYTES);
  const at = builder.frame(context.bytes, context.at, length);
  writeU53(builder.view, at + At.TIME, context.timeMs);
  builder.list();
  builder.recipient(userLow, userHigh);
}

export function sendToUser(context: StepContext, user: number, frame: Frame): void {
  sendTo(context, lowWord(user), highWord(user), frame);
}

/** Length of the frame at an offset of the batch, or −1 if it does not lie within it. */
export function frameWithin(context: StepContext, at: number): number {
  if (at + FRAME_HEADER_BYTES > context.bytes.length) return -1;
  const length = frameLength(context.view, at);
  return at + length > context.bytes.length ? -1 : length;
}
