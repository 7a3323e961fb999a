/** Batches to append in tests: one frame, whose payload tells them apart. */
import { type Batch, BatchAt, BatchBuilder, BatchFlag, BatchKind, SourceKind, sourceId } from '../core/batch.js';
import { encodeFrame, Kind, makeFrame } from '../core/frame.js';
import { BATCH_HEADER_BYTES, FRAME_HEADER_BYTES } from '../core/limits.js';

const builder = new BatchBuilder();

/** A batch of sends, number `seq` of source `source`, with `payloadBytes` bytes of one value. */
export function testBatch(source: number, seq: number, payloadBytes = 40): Uint8Array {
  const payload = new Uint8Array(payloadBytes).fill((source * 31 + seq) & 0xff);
  const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload, counter: seq }));
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, source), seq, 1);
  builder.frame(frame, 0, frame.length);
  const batch = builder.finish().slice();
  batch[BatchAt.FLAGS] = BatchFlag.SENDS;
  return batch;
}

/** A batch of exactly so many bytes. Frames have at most 256 KiB of payload: there are as many as it takes. */
export function testBatchOf(bytes: number, source = 0, seq = 0): Uint8Array {
  builder.begin(BatchKind.FRAMES, sourceId(SourceKind.GATEWAY, source), seq, 1);
  for (let left = bytes - BATCH_HEADER_BYTES; left > 0; ) {
    const whole = Math.min(left, 60_000);
    // What is left must hold a frame.
    const take = left - whole > 0 && left - whole < 2 * FRAME_HEADER_BYTES ? whole - 2 * FRAME_HEADER_BYTES : whole;
    const payload = new Uint8Array(take - FRAME_HEADER_BYTES).fill(seq & 0xff);
    const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload }));
    builder.frame(frame, 0, frame.length);
    left -= take;
  }
  const batch = builder.finish().slice();
  batch[BatchAt.FLAGS] = BatchFlag.SENDS;
  if (batch.length !== bytes) throw new Error(`a test batch of ${batch.length} bytes, not ${bytes}`);
  return batch;
}

/** Which batch it is. */
export function nameOf(batch: Batch): string {
  return `${batch.header.sourceId & 0xff_ffff}/${batch.header.sourceSeq}`;
}
