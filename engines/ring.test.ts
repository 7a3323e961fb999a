import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { Prng } from '../core/prng.js';
import { createDoorbell, Doorbell } from './doorbell.js';
import { fixtureRecord, type RingFixtureData } from './ring.fixture.js';
import { createRing, RingReader, RingWriter } from './ring.js';

/** Set the counters of an empty ring, so that they pass 2^32 soon. */
function startAt(shared: SharedArrayBuffer, position: number): void {
  new Int32Array(shared, 0, 2).fill(position | 0);
}

function open(bytes: number): { shared: SharedArrayBuffer; writer: RingWriter; reader: RingReader; bell: Doorbell } {
  const shared = createRing(bytes);
  const bell = createDoorbell();
  return {
    shared,
    writer: new RingWriter(shared, new Doorbell(bell)),
    reader: new RingReader(shared),
    bell: new Doorbell(bell),
  };
}

const step = fc.oneof(
  fc.record({ kind: fc.constant('offer' as const), bytes: fc.nat(48) }),
  fc.record({ kind: fc.constant('read' as const), bytes: fc.nat(3) }),
);

test('records come out whole and in order, whatever their sizes and however often the ring wraps', () => {
  const starts = fc.constantFrom(0, 64, 2 ** 31 - 64, 2 ** 32 - 64);
  fc.assert(
    fc.property(starts, fc.array(step, { minLength: 20, maxLength: 200 }), (start, steps) => {
      const { shared, writer, reader, bell } = open(128);
      startAt(shared, start);
      const model: { n: number; bytes: Uint8Array }[] = [];
      let n = 0;
      for (const { kind, bytes } of steps) {
        if (kind === 'offer') {
          const record = new Uint8Array(bytes).fill(n & 0xff);
          const rung = bell.read();
          const used = writer.usedBytes;
          if (writer.offer(n, 0xffff_ffff - n, record)) {
            model.push({ n, bytes: record });
            assert.equal(bell.read(), rung + 1);
          } else {
            assert.ok(model.length > 0, 'an empty ring takes every record that it can take at all');
            assert.equal(writer.usedBytes, used);
            assert.equal(bell.read(), rung);
          }
          n++;
          continue;
        }
        const record = reader.peek();
        const expected = model.shift();
        assert.equal(record === undefined, expected === undefined);
        if (record === undefined || expected === undefined) continue;
        assert.equal(record.meta0, expected.n);
        assert.equal(record.meta1, 0xffff_ffff - expected.n);
        assert.deepEqual(record.bytes.slice(), expected.bytes);
        // Until it is consumed, another reader (this one may die) sees it again.
        assert.equal(new RingReader(shared).peek()?.meta0, expected.n);
        reader.consume();
      }
      for (const expected of model) {
        assert.equal(reader.peek()?.meta0, expected.n);
        reader.consume();
      }
      assert.equal(reader.peek(), undefined);
      assert.ok(writer.usedBytes === 0);
    }),
    { numRuns: 500 },
  );
});

test('a full ring takes nothing, does not touch what is in it, and goes on when there is room', () => {
  const { writer, reader, shared } = open(64);
  const record = new Uint8Array(16).fill(1);
  assert.equal(writer.recordBytesMax, 16);
  assert.ok(writer.offer(1, 0, record));
  assert.ok(writer.offer(2, 0, record));
  const before = new Uint8Array(shared).slice();
  assert.equal(writer.offer(3, 0, new Uint8Array(0)), false);
  assert.deepEqual(new Uint8Array(shared).slice(), before);
  assert.equal(reader.peek()?.meta0, 1);
  assert.equal(writer.offer(3, 0, record), false);
  reader.consume();
  assert.ok(writer.offer(3, 0, record));
  assert.equal(reader.peek()?.meta0, 2);
});

test('what a writer that dies has not finished is not there; what a reader that dies has not consumed is', () => {
  const { writer, reader, shared } = open(128);
  assert.ok(writer.offer(1, 0, Uint8Array.of(1)));
  // A second record up to the moment before its tail moves: everything is written but that.
  const tail = new Int32Array(shared, 0, 2)[1]!;
  assert.ok(writer.offer(2, 0, Uint8Array.of(2)));
  new Int32Array(shared, 0, 2)[1] = tail;
  assert.equal(reader.peek()?.meta0, 1);
  const next = new RingReader(shared);
  assert.equal(next.peek()?.meta0, 1);
  next.consume();
  assert.equal(next.peek(), undefined);
  assert.ok(new RingWriter(shared, new Doorbell(createDoorbell())).offer(3, 0, Uint8Array.of(3)));
  assert.equal(next.peek()?.meta0, 3);
});

test('sizes that cannot work are refused', () => {
  assert.throws(() => createRing(100), RangeError);
  assert.throws(() => createRing(32), RangeError);
  const { writer } = open(64);
  assert.throws(() => writer.offer(0, 0, new Uint8Array(17)), RangeError);
});

test('two threads: every record once, whole and in order', async (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now() % 2 ** 32);
  t.diagnostic(`DUNLIN_SEED=${seed}`);
  const count = 20_000;
  const data: RingFixtureData = {
    fixture: 'write',
    seed,
    count,
    ring: createRing(512),
    bell: createDoorbell(),
    back: createDoorbell(),
    backRing: createRing(64),
  };
  const worker = new Worker(new URL('./ring.fixture.js', import.meta.url), { workerData: data });
  const ended = new Promise<number>((resolve, reject) => worker.once('error', reject).once('exit', resolve));
  const reader = new RingReader(data.ring);
  const bell = new Doorbell(data.bell);
  const room = new Doorbell(data.back);
  const random = new Prng(seed);
  for (let n = 0; n < count; ) {
    const seen = bell.read();
    const record = reader.peek();
    if (record === undefined) {
      await bell.waitAsync(seen);
      continue;
    }
    assert.equal(record.meta0, n);
    assert.equal(record.meta1, (n ^ 0xffff_ffff) >>> 0);
    assert.ok(Buffer.from(record.bytes).equals(Buffer.from(fixtureRecord(random, n, 240))), `record ${n} is torn`);
    reader.consume();
    room.ring();
    n++;
  }
  assert.equal(await ended, 0);
  assert.equal(reader.peek(), undefined);
});
