/**
 * How a partition's state lies in the store, and what a commit is made of.
 *
 * A *base* is an export of the whole state in chunks. A commit adds a *delta*: the chunks of what changed since the commit
 * before. State = base, then every delta from `firstDelta` to `commit`, later chunks winning. When the deltas outgrow the
 * base, a new base is written piece by piece between steps; it becomes the base together with the first commit after its
 * last piece. A row that changed after its piece was written is in a later delta, so the mixture of ages does no harm.
 *
 * The meta record names what counts, and a commit writes it last: chunks of a commit that did not come to its meta are
 * never read, and are cleared by the next one with that number.
 */

import { DunlinError } from '../core/errors.js';
import { baseKey, deltaKey, fenceKey, metaKey } from '../core/keys.js';
import { STORE_TRANSACTION_BYTES_MAX } from '../core/limits.js';
import type { Expectation, KeyRange, Put, StoreTransaction } from '../core/ports.js';
import { buggify, Site } from '../core/probe.js';
import { keyBytes } from './outbox.js';

export interface Meta {
  /** Offset of the first batch of the source topic that is not in the state. */
  readonly offset: number;
  /** Number of the last commit. */
  readonly commit: number;
  /** First delta that counts. */
  readonly firstDelta: number;
  /** Number of the base; 0: none, the state starts empty. */
  readonly base: number;
  readonly baseBytes: number;
  readonly deltaBytes: number;
  /** Logged time of the last batch in the state. */
  readonly timeMs: number;
  /** Of the last batch in the state (fingerprintOfBatch): the log must have it there when it is read again. 0: not known. */
  readonly fingerprint: number;
}

export const EMPTY_META: Meta = {
  offset: 0,
  commit: 0,
  firstDelta: 1,
  base: 0,
  baseBytes: 0,
  deltaBytes: 0,
  timeMs: 0,
  fingerprint: 0,
};

const FORMAT = 2;
const FIELDS = ['offset', 'commit', 'firstDelta', 'base', 'baseBytes', 'deltaBytes', 'timeMs', 'fingerprint'] as const;
/** Format 1 had no fingerprint. */
const FIELDS_OF_FORMAT = [0, 7, 8] as const;

/** Meta record: u32 format, then each field as float64, big-endian: 68 bytes. */
export function encodeMeta(meta: Meta): Uint8Array {
  const bytes = new Uint8Array(4 + FIELDS.length * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, FORMAT);
  FIELDS.forEach((field, i) => view.setFloat64(4 + i * 8, meta[field]));
  return bytes;
}

export function decodeMeta(bytes: Uint8Array): Meta {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const format = bytes.length >= 4 ? view.getUint32(0) : 0;
  const fields = FIELDS_OF_FORMAT[format] ?? 0;
  if (fields === 0 || bytes.length !== 4 + fields * 8) {
    throw new DunlinError(
      `checkpoint format ${format} is not known here (${FORMAT} is): use the version that wrote it`,
    );
  }
  const [offset, commit, firstDelta, base, baseBytes, deltaBytes, timeMs, fingerprint] = FIELDS.map((_, i) =>
    i < fields ? view.getFloat64(4 + i * 8) : 0,
  );
  return {
    offset: offset!,
    commit: commit!,
    firstDelta: firstDelta!,
    base: base!,
    baseBytes: baseBytes!,
    deltaBytes: deltaBytes!,
    timeMs: timeMs!,
    fingerprint: fingerprint!,
  };
}

export function encodeEpoch(epoch: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, epoch);
  return bytes;
}

export function decodeEpoch(bytes: Uint8Array | undefined): number {
  return bytes === undefined ? 0 : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat64(0);
}

export interface Owner {
  readonly stage: number;
  readonly partition: number;
  readonly epoch: number;
}

export function fenced(owner: Owner): Expectation[] {
  return [{ key: fenceKey(owner.stage, owner.partition), value: encodeEpoch(owner.epoch) }];
}

/**
 * Takes the partition over: raises the epoch from the one that was read. The meta record must be the one that was read, too: the
 * owner before may have committed in between, and what that commit made superfluous is gone.
 */
export function takeOver(
  stage: number,
  partition: number,
  before: Uint8Array | undefined,
  meta: Uint8Array | undefined,
): StoreTransaction {
  const key = fenceKey(stage, partition);
  return {
    expect: [
      { key, value: before },
      { key: metaKey(stage, partition), value: meta },
    ],
    clear: [],
    puts: [{ key, value: encodeEpoch(decodeEpoch(before) + 1) }],
  };
}

export function deltaRange(owner: { stage: number; partition: number }, from: number, to: number): KeyRange {
  return {
    begin: deltaKey(owner.stage, owner.partition, from, 0),
    end: deltaKey(owner.stage, owner.partition, to + 1, 0),
  };
}

export function baseRange(owner: { stage: number; partition: number }, base: number): KeyRange {
  return {
    begin: baseKey(owner.stage, owner.partition, base, 0),
    end: baseKey(owner.stage, owner.partition, base + 1, 0),
  };
}

/**
 * What is superfluous when a base of so many chunks takes over: all bases before it, and what an earlier attempt at this one left
 * behind its last chunk.
 */
export function supersededBases(owner: { stage: number; partition: number }, base: number, chunks: number): KeyRange[] {
  const { stage, partition } = owner;
  return [
    { begin: baseKey(stage, partition, 0, 0), end: baseKey(stage, partition, base, 0) },
    { begin: baseKey(stage, partition, base, chunks), end: baseKey(stage, partition, base + 1, 0) },
  ];
}

function sizeOf(put: Put): number {
  return put.key.length + put.value.length;
}

/** Room for expectations, ranges and the meta record beside the puts. */
const TRANSACTION_ROOM_BYTES = STORE_TRANSACTION_BYTES_MAX - 100_000;

/** Splits puts so that each part fits into a transaction. */
export function splitPuts(puts: readonly Put[]): Put[][] {
  const parts: Put[][] = [[]];
  const room = buggify(Site.COMMITS_IN_PARTS) ? 1 : TRANSACTION_ROOM_BYTES;
  let bytes = 0;
  for (const put of puts) {
    if (bytes + sizeOf(put) > room && bytes > 0) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(put);
    bytes += sizeOf(put);
  }
  return parts;
}

export interface CommitContent {
  /** Of the commit before. */
  readonly before: Meta;
  readonly meta: Meta;
  readonly chunks: readonly Uint8Array[];
  readonly cold: ReadonlyMap<string, Uint8Array | undefined>;
  /** A base that is complete and takes over with this commit: ranges that it makes superfluous. */
  readonly superseded: readonly KeyRange[];
}

/**
 * The transactions of a commit, to be submitted one after the other, each after the one before has committed. Only the last
 * one counts: it has the meta record, the removals and the superseded ranges. Submitting one twice changes nothing.
 *
 * Nor does one that lands late, after its outcome was unknown and it was submitted again: each expects the meta record of the
 * commit before, so all of them fail once the last one has committed; and none but the last clears anything, so that until then
 * they write what is there already.
 */
export function commitTransactions(owner: Owner, content: CommitContent): StoreTransaction[] {
  const { stage, partition } = owner;
  const number = content.meta.commit;
  const puts: Put[] = content.chunks.map((value, n) => ({ key: deltaKey(stage, partition, number, n), value }));
  const removals: KeyRange[] = [];
  for (const [text, value] of content.cold) {
    const key = keyBytes(text);
    if (value === undefined) removals.push({ begin: key, end: keyAfter(key) });
    else puts.push({ key, value });
  }
  // Chunks of an attempt before, by an owner that did not come to its meta record.
  const leftOver = {
    begin: deltaKey(stage, partition, number, content.chunks.length),
    end: deltaKey(stage, partition, number + 1, 0),
  };
  const unchanged = {
    key: metaKey(stage, partition),
    value: content.before.commit === 0 ? undefined : encodeMeta(content.before),
  };
  const parts = splitPuts(puts);
  return parts.map((part, i) => {
    const last = i === parts.length - 1;
    return {
      expect: [...fenced(owner), unchanged],
      clear: last ? [leftOver, ...removals, ...content.superseded] : [],
      puts: last ? [...part, { key: metaKey(stage, partition), value: encodeMeta(content.meta) }] : part,
    };
  });
}

/** The transaction that writes one piece of a new base. It clears nothing: landing late, it must not take later ones away. */
export function basePiece(
  owner: Owner,
  base: number,
  firstChunk: number,
  chunks: readonly Uint8Array[],
): StoreTransaction {
  return {
    expect: fenced(owner),
    clear: [],
    puts: chunks.map((value, i) => ({ key: baseKey(owner.stage, owner.partition, base, firstChunk + i), value })),
  };
}

/** The first key behind `key` in byte order. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}
