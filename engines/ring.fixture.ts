/** The other thread of the tests of rings and doorbells. */
import { parentPort, workerData } from 'node:worker_threads';
import { Prng } from '../core/prng.js';
import { Doorbell } from './doorbell.js';
import { RingReader, RingWriter } from './ring.js';

export interface RingFixtureData {
  readonly fixture: 'write' | 'echo';
  readonly seed: number;
  readonly count: number;
  readonly ring: SharedArrayBuffer;
  /** Rung when there is something to read. */
  readonly bell: SharedArrayBuffer;
  /** Rung when there is room, or, for `echo`, when the other end has something to read. */
  readonly back: SharedArrayBuffer;
  readonly backRing: SharedArrayBuffer;
}

/** Record number `n`: its length and all its bytes follow from the seed. */
export function fixtureRecord(random: Prng, n: number, bytesMax: number): Uint8Array {
  return new Uint8Array(random.below(bytesMax + 1)).fill((n * 7 + 1) & 0xff);
}

/** Writes `count` records as fast as there is room. */
function write({ seed, count, ring, bell, back }: RingFixtureData): void {
  const random = new Prng(seed);
  const writer = new RingWriter(ring, new Doorbell(bell));
  const room = new Doorbell(back);
  for (let n = 0; n < count; n++) {
    const record = fixtureRecord(random, n, writer.recordBytesMax);
    for (;;) {
      const seen = room.read();
      if (writer.offer(n, n ^ 0xffff_ffff, record)) break;
      room.waitSync(seen, Infinity);
    }
  }
}

/** Answers every record, sleeping in between. */
function echo({ count, ring, bell, back, backRing }: RingFixtureData): void {
  const reader = new RingReader(ring);
  const doorbell = new Doorbell(bell);
  const answers = new RingWriter(backRing, new Doorbell(back));
  for (let n = 0; n < count; n++) {
    for (;;) {
      const seen = doorbell.read();
      const record = reader.peek();
      if (record !== undefined) {
        answers.offer(record.meta0, record.meta1, record.bytes.slice());
        reader.consume();
        break;
      }
      doorbell.waitSync(seen, Infinity);
    }
  }
}

const data = workerData as RingFixtureData | null;
if (parentPort !== null && data?.fixture === 'write') write(data);
if (parentPort !== null && data?.fixture === 'echo') echo(data);
