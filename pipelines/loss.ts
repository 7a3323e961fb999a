/**
 * What is done when a log lost what it had promised to keep (G16). Messages may have been given sequences out of records that are
 * gone, and may have reached devices, since a lane emits before it commits. Nothing tells which. So the partition stops for good:
 * a record in the store says so, the epoch of its owner is raised with it, and every start reads it. See
 * docs/decisions/0013-honest-loss.md.
 */
import { DunlinError } from '../core/errors.js';
import { fenceKey, lossKey, StageId } from '../core/keys.js';
import type { StoreTransaction } from '../core/ports.js';
import { encodeEpoch, fenced, type Owner } from './checkpoint.js';

export interface Loss {
  /** Where the log was seen to end or to differ: the first offset that is lost, or one behind it. */
  readonly from: number;
  /** One above the last batch that its reader had stepped over when the loss was seen; not above `from`: none of what is gone. */
  readonly reached: number;
  /** One above the last batch in the committed state. */
  readonly committed: number;
  /** Epoch of the owner that saw it. */
  readonly epoch: number;
  /** Logged time of the last batch that was stepped over; 0: none was. */
  readonly timeMs: number;
}

const FORMAT = 1;
const FIELDS = ['from', 'reached', 'committed', 'epoch', 'timeMs'] as const;

/** Loss record: u32 format, then each field as float64, big-endian: 44 bytes. */
export function encodeLoss(loss: Loss): Uint8Array {
  const bytes = new Uint8Array(4 + FIELDS.length * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, FORMAT);
  FIELDS.forEach((field, i) => view.setFloat64(4 + i * 8, loss[field]));
  return bytes;
}

export function decodeLoss(bytes: Uint8Array): Loss {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const format = bytes.length >= 4 ? view.getUint32(0) : 0;
  if (format !== FORMAT || bytes.length !== 4 + FIELDS.length * 8) {
    throw new DunlinError(
      `loss record format ${format} is not known here (${FORMAT} is): use the version that wrote it`,
    );
  }
  const [from, reached, committed, epoch, timeMs] = FIELDS.map((_, i) => view.getFloat64(4 + i * 8));
  return { from: from!, reached: reached!, committed: committed!, epoch: epoch!, timeMs: timeMs! };
}

/** Writes the loss down and raises the epoch: whoever owned the partition when it happened commits nothing more. */
export function noteLoss(owner: Owner, loss: Loss): StoreTransaction {
  const { stage, partition, epoch } = owner;
  return {
    expect: fenced(owner),
    clear: [],
    puts: [
      { key: lossKey(stage, partition), value: encodeLoss(loss) },
      { key: fenceKey(stage, partition), value: encodeEpoch(epoch + 1) },
    ],
  };
}

/** One sentence for the operator. */
export function describeLoss(stage: number, partition: number, loss: Loss): string {
  const topic = stage === StageId.CONVERSATION ? 'CONVERSATION' : 'USER';
  const { from, reached, committed, timeMs } = loss;
  const read =
    reached > from ? `offsets ${from} to ${reached - 1} had been read` : 'none of it is known to have been read';
  const since = timeMs === 0 ? '' : `, the last of what was read was logged ${timeMs} ms after 1970`;
  return `The log lost acknowledged records of ${topic} partition ${partition} from offset ${from} on (${read}, the committed state ends before ${committed}${since}): the partition is stopped, since going on could give a sequence to two messages.`;
}
