import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { BatchKind, SourceKind, sourceId } from '../../core/batch.js';
import { type Frame, Kind, makeFrame } from '../../core/frame.js';
import { fanOutBatch, framesBatch, TestLane } from './testing.js';

const id = fc.oneof(
  fc.nat({ max: 4 }),
  fc.nat({ max: 700 }),
  fc.constantFrom(2 ** 32, 2 ** 32 + 1, 2 ** 45 - 1, 2 ** 52, Number.MAX_SAFE_INTEGER),
);
const word = fc.oneof(fc.nat({ max: 3 }), fc.constantFrom(2 ** 31, 2 ** 32 - 1));
const kind = fc.oneof(fc.constantFrom(...Object.values(Kind)), fc.nat({ max: 255 }));

const frame: fc.Arbitrary<Frame> = fc
  .record({
    kind,
    flags: fc.nat({ max: 15 }),
    // A gateway's number comes from the backbone itself, and is small.
    convA: fc.oneof(fc.nat({ max: 4 }), fc.constantFrom(2 ** 32 + 1, 2 ** 32 + 2)),
    convB: id,
    device: id,
    counter: word,
    seq: word,
    inbox: id,
    time: fc.oneof(fc.constant(0), fc.constant(1_000_000), id),
    extra: word,
    payload: fc.uint8Array({ maxLength: 40 }),
  })
  .map((fields) => makeFrame(fields));

const batch = fc.oneof(
  fc.array(frame, { maxLength: 8 }).map((frames) => ({ frames, recipients: undefined })),
  fc.record({ frames: fc.array(frame, { maxLength: 4 }), recipients: fc.array(id, { maxLength: 4 }) }),
);

it('no frame makes a step throw, or its state different from what is restored', () => {
  fc.assert(
    fc.property(fc.array(batch, { maxLength: 60 }), fc.constantFrom(1, 4_000, 1e9), (batches, stepMs) => {
      const lane = new TestLane({ loop: false, limits: { spillBytes: 300, chunkBytes: 200, chunksPerMerge: 2 } });
      batches.forEach(({ frames, recipients }, seq) => {
        lane.nowMs += stepMs;
        const entries = frames.map((each) => ({ frame: each, recipients: recipients ?? [] }));
        lane.append(recipients === undefined ? framesBatch(frames) : fanOutBatch(entries, seq % 3, seq));
        lane.run();
        if (seq % 7 === 0) lane.checkRestore();
      });
      lane.checkRestore();
    }),
    { numRuns: 300 },
  );
});

it('a batch of another kind is counted and left', () => {
  const lane = new TestLane();
  const bytes = framesBatch([makeFrame({ kind: Kind.TICK })], sourceId(SourceKind.GATEWAY, 1));
  bytes[6] = BatchKind.EGRESS;
  lane.append(bytes);
  lane.run();
  assert.equal(lane.stage.counters.ignoredFrames, 1);
});
