/**
 * Going on after a loss that an operator accepts: what is lost stays lost, and the partition goes on from its last checkpoint with
 * whatever its log has from the place of the loss on. So that nothing that was given out before is given out again
 *
 * - the epoch is raised once more,
 * - a conversation lane counts its outputs anew, above all that it ever said, so that readers do not take them for repetitions
 *   (`sourceSeqOf`); positions of a user lane are of a new generation anyway,
 * - sequences of its conversations begin above all that may have been given out (pipelines/conversation/losses.ts).
 *
 * What was accepted stays written down, and how often says how many times that was done.
 */
import { DunlinError } from '../core/errors.js';
import { acceptedKey, fenceKey, lossKey, metaKey } from '../core/keys.js';
import type { StoreTransaction } from '../core/ports.js';
import { decodeEpoch, decodeMeta, EMPTY_META, encodeEpoch, encodeMeta, keyAfter } from './checkpoint.js';
import { decodeLoss, type Loss } from './loss.js';

export interface AcceptedLoss extends Loss {
  /** Number of the commit in whose state the partition goes on. */
  readonly commit: number;
  /** When, in milliseconds since 1970. */
  readonly acceptedAtMs: number;
}

const FORMAT = 1;
const FIELDS = ['from', 'reached', 'committed', 'epoch', 'timeMs', 'commit', 'acceptedAtMs'] as const;
const ENTRY_BYTES = FIELDS.length * 8;
/** Outputs are numbered by the offset of their source, and each accepted loss begins this much higher. */
const OUTPUTS_PER_LOSS = 2 ** 32;

/** Acceptance record: u32 format, then for each loss, oldest first, its fields as float64, big-endian. */
export function encodeAccepted(losses: readonly AcceptedLoss[]): Uint8Array {
  const bytes = new Uint8Array(4 + losses.length * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, FORMAT);
  losses.forEach((loss, n) => FIELDS.forEach((field, i) => view.setFloat64(4 + n * ENTRY_BYTES + i * 8, loss[field])));
  return bytes;
}

/** Undefined: none was ever accepted. */
export function decodeAccepted(bytes: Uint8Array | undefined): readonly AcceptedLoss[] {
  if (bytes === undefined) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const format = bytes.length >= 4 ? view.getUint32(0) : 0;
  if (format !== FORMAT || (bytes.length - 4) % ENTRY_BYTES !== 0) {
    throw new DunlinError(
      `acceptance record format ${format} is not known here (${FORMAT} is): use the version that wrote it`,
    );
  }
  return Array.from({ length: (bytes.length - 4) / ENTRY_BYTES }, (_, n) => {
    const [from, reached, committed, epoch, timeMs, commit, acceptedAtMs] = FIELDS.map((_field, i) =>
      view.getFloat64(4 + n * ENTRY_BYTES + i * 8),
    );
    return {
      from: from!,
      reached: reached!,
      committed: committed!,
      epoch: epoch!,
      timeMs: timeMs!,
      commit: commit!,
      acceptedAtMs: acceptedAtMs!,
    };
  });
}

/** What the store has of a partition under the keys of `lossKeys`. */
export type LossValues = readonly (Uint8Array | undefined)[];

/** Fence, meta, loss and acceptance record of a partition. */
export function lossKeys(stage: number, partition: number): Uint8Array[] {
  return [fenceKey, metaKey, lossKey, acceptedKey].map((key) => key(stage, partition));
}

/** Accepts what a partition lost; undefined: it lost nothing. Conflicts with whoever writes to the partition meanwhile. */
export function acceptLoss(
  stage: number,
  partition: number,
  values: LossValues,
  acceptedAtMs: number,
): StoreTransaction | undefined {
  const [fence, storedMeta, storedLoss, accepted] = values;
  if (storedLoss === undefined) return undefined;
  const loss = decodeLoss(storedLoss);
  const meta = storedMeta === undefined ? EMPTY_META : decodeMeta(storedMeta);
  const losses = [...decodeAccepted(accepted), { ...loss, commit: meta.commit, acceptedAtMs }];
  const keys = lossKeys(stage, partition);
  // The log has something else in the place of what was committed, or nothing: it cannot be compared.
  const goesOnFrom = { ...meta, offset: Math.min(meta.offset, loss.from), fingerprint: 0 };
  const [atFence, atMeta, atLoss, atAccepted] = keys as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  return {
    expect: keys.map((key, n) => ({ key, value: values[n] })),
    clear: [{ begin: atLoss, end: keyAfter(atLoss) }],
    puts: [
      { key: atFence, value: encodeEpoch(decodeEpoch(fence) + 1) },
      ...(storedMeta === undefined ? [] : [{ key: atMeta, value: encodeMeta(goesOnFrom) }]),
      { key: atAccepted, value: encodeAccepted(losses) },
    ],
  };
}

/**
 * The log was brought back as it was: the next start compares it with the checkpoint again, and stops again if they do not fit.
 * Undefined: nothing was lost, or more than the checkpoint knows of, which no comparison would show.
 */
export function checkAgain(stage: number, partition: number, values: LossValues): StoreTransaction | undefined {
  const storedLoss = values[2];
  if (storedLoss === undefined) return undefined;
  const { reached, committed } = decodeLoss(storedLoss);
  if (reached > committed) return undefined;
  const keys = lossKeys(stage, partition);
  const atLoss = keys[2]!;
  return {
    expect: keys.map((key, n) => ({ key, value: values[n] })),
    clear: [{ begin: atLoss, end: keyAfter(atLoss) }],
    puts: [],
  };
}

/** How the outputs of the batch at `offset` are numbered. */
export function sourceSeqOf(offset: number, lossesAccepted: number): number {
  return lossesAccepted * OUTPUTS_PER_LOSS + offset;
}
