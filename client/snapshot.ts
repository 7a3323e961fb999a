/**
 * A client's saved state: what must survive its process so that nothing is lost or doubled. It is a row of canonical
 * frames, so that the one codec reads it:
 *
 * ```text
 * HELLO    device, flags = 1 if the device number was never used before, inbox = acknowledged position,
 *          extra = version of this format
 * INFO     one per conversation: convA, convB, counter = last counter given out, flags = 1 if counters are known to agree
 *          with the server's, seq = acknowledged sequence, extra = read watermark that the server has not confirmed (0: none)
 * 1 .. 6   one per entry of the outbox, behind its conversation: as it is sent, seq = 1 if it may have been sent,
 *          time = the application's tag
 * BLOCK    one per change of the block list that the server has not confirmed: convB = user, extra = 1 or 0
 * BYE      the end
 * ```
 */
import { DunlinError } from '../core/errors.js';
import { encodeFrame, type Frame, isSequenced, Kind, makeFrame, readFrame, scanFrame, viewOf } from '../core/frame.js';

const FORMAT_VERSION = 1;

export interface Snapshot {
  readonly device: number;
  readonly isFresh: boolean;
  readonly position: number;
  readonly conversations: readonly SavedConversation[];
  readonly blocks: readonly (readonly [user: number, blocked: boolean])[];
}

export interface SavedConversation {
  readonly a: number;
  readonly b: number;
  readonly lastCounter: number;
  readonly countersKnown: boolean;
  readonly seq: number;
  readonly read: number;
  readonly entries: readonly SavedEntry[];
}

export interface SavedEntry {
  readonly kind: number;
  readonly flags: number;
  readonly extra: number;
  readonly payload: Uint8Array;
  readonly tag: number;
  readonly counter: number;
  /** It may have been sent under this counter. */
  readonly wasSent: boolean;
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const { device, isFresh, position: inbox } = snapshot;
  const flags = isFresh ? 1 : 0;
  const frames = [encodeFrame(makeFrame({ kind: Kind.HELLO, flags, device, inbox, extra: FORMAT_VERSION }))];
  for (const { a: convA, b: convB, lastCounter, countersKnown, seq, read, entries } of snapshot.conversations) {
    const known = { flags: countersKnown ? 1 : 0 };
    frames.push(
      encodeFrame(makeFrame({ kind: Kind.INFO, ...known, convA, convB, counter: lastCounter, seq, extra: read })),
    );
    for (const { tag: time, wasSent, ...entry } of entries) {
      frames.push(encodeFrame(makeFrame({ ...entry, convA, convB, seq: wasSent ? 1 : 0, time })));
    }
  }
  for (const [convB, blocked] of snapshot.blocks) {
    frames.push(encodeFrame(makeFrame({ kind: Kind.BLOCK, convB, extra: blocked ? 1 : 0 })));
  }
  frames.push(encodeFrame(makeFrame({ kind: Kind.BYE })));
  const bytes = new Uint8Array(frames.reduce((sum, frame) => sum + frame.length, 0));
  let at = 0;
  for (const frame of frames) {
    bytes.set(frame, at);
    at += frame.length;
  }
  return bytes;
}

/** Reads a saved state; throws a DunlinError that says what is wrong with it. The bytes are copied where they are kept. */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const frames = readAll(bytes);
  const first = frames[0];
  if (first === undefined || first.kind !== Kind.HELLO || frames.at(-1)!.kind !== Kind.BYE) {
    throw new DunlinError('The saved client state is cut off: its first or last record is missing.');
  }
  if (first.extra !== FORMAT_VERSION) {
    throw new DunlinError(`The saved client state has format ${first.extra}; this version reads ${FORMAT_VERSION}.`);
  }
  const conversations: (SavedConversation & { entries: SavedEntry[] })[] = [];
  const blocks: [number, boolean][] = [];
  for (const frame of frames.slice(1, -1)) {
    if (frame.kind === Kind.INFO) {
      const { convA: a, convB: b, counter: lastCounter, seq, extra: read } = frame;
      conversations.push({ a, b, lastCounter, countersKnown: frame.flags === 1, seq, read, entries: [] });
    } else if (frame.kind === Kind.BLOCK) {
      blocks.push([frame.convB, frame.extra === 1]);
    } else {
      const conversation = conversations.at(-1);
      if (conversation === undefined) throw misplaced(frame);
      conversation.entries.push(savedEntry(frame, conversation));
    }
  }
  return { device: first.device, isFresh: first.flags === 1, position: first.inbox, conversations, blocks };
}

function misplaced({ kind }: Frame): DunlinError {
  return new DunlinError(`The saved client state has a record of kind ${kind} where it cannot be.`);
}

function savedEntry(frame: Frame, conversation: SavedConversation): SavedEntry {
  const { kind, flags, extra, counter, time: tag } = frame;
  const before = conversation.entries.at(-1)?.counter ?? 0;
  if (!isSequenced(kind) || frame.convA !== conversation.a || frame.convB !== conversation.b || counter <= before) {
    throw misplaced(frame);
  }
  return { kind, flags, extra, counter, tag, payload: frame.payload.slice(), wasSent: frame.seq === 1 };
}

function readAll(bytes: Uint8Array): Frame[] {
  const view = viewOf(bytes);
  const frames: Frame[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = scanFrame(bytes, view, at, bytes.length);
    if (length <= 0) throw new DunlinError(`The saved client state is damaged at byte ${at} of ${bytes.length}.`);
    frames.push(readFrame(bytes, view, at));
    at += length;
  }
  return frames;
}
