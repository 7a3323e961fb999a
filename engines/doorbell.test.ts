import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Bells, createDoorbell, Doorbell } from './doorbell.js';
import type { RingFixtureData } from './ring.fixture.js';
import { createRing, RingReader, RingWriter } from './ring.js';

test('a ring between looking and sleeping is not slept over', async () => {
  const bell = new Doorbell(createDoorbell());
  const seen = bell.read();
  bell.ring();
  bell.waitSync(seen, Infinity);
  await bell.waitAsync(seen);
  assert.equal(bell.read(), seen + 1);
});

test('a sleeper with an event loop is woken', async () => {
  const shared = createDoorbell();
  const sleeper = new Doorbell(shared);
  const order: string[] = [];
  const woken = sleeper.waitAsync(sleeper.read()).then(() => order.push('woken'));
  await new Promise((resolve) => setImmediate(resolve));
  order.push('ring');
  new Doorbell(shared).ring();
  await woken;
  assert.deepEqual(order, ['ring', 'woken']);
});

test('whoever rings first takes the sleeper’s mark: the next ones wake nobody', async () => {
  const shared = createDoorbell();
  const cells = new Int32Array(shared);
  const bell = new Doorbell(shared);
  const woken = bell.waitAsync(bell.read());
  assert.deepEqual([...cells], [0, 1]);
  bell.ring();
  bell.ring();
  assert.deepEqual([...cells], [2, 0]);
  await woken;
});

test('bells that are held ring once each, when they are told to', () => {
  const shared = [createDoorbell(), createDoorbell()];
  const rings = (): number[] => shared.map((one) => new Doorbell(one).read());
  const bells = new Bells();
  const [one, other] = shared.map((bell) => bells.held(bell));
  for (const bell of [one, other, one]) bell!.ring();
  assert.deepEqual(rings(), [0, 0]);
  bells.ring();
  bells.ring();
  assert.deepEqual(rings(), [1, 1]);
});

test('a timeout of nothing does not sleep, and one that passes leaves no sleeper behind', () => {
  const shared = createDoorbell();
  const bell = new Doorbell(shared);
  bell.waitSync(bell.read(), 0);
  bell.waitSync(bell.read(), 1);
  assert.deepEqual([...new Int32Array(shared)], [0, 0]);
});

test('two threads that wake each other lose no ring', async () => {
  const count = 10_000;
  const data: RingFixtureData = {
    fixture: 'echo',
    seed: 0,
    count,
    ring: createRing(64),
    bell: createDoorbell(),
    back: createDoorbell(),
    backRing: createRing(64),
  };
  const worker = new Worker(new URL('./ring.fixture.js', import.meta.url), { workerData: data });
  const ended = new Promise<number>((resolve, reject) => worker.once('error', reject).once('exit', resolve));
  const writer = new RingWriter(data.ring, new Doorbell(data.bell));
  const answers = new RingReader(data.backRing);
  const bell = new Doorbell(data.back);
  for (let n = 0; n < count; n++) {
    assert.ok(writer.offer(n, 0, Uint8Array.of(n & 0xff)));
    for (;;) {
      const seen = bell.read();
      const record = answers.peek();
      if (record !== undefined) {
        assert.equal(record.meta0, n);
        answers.consume();
        break;
      }
      // Both kinds of sleep, in turn. A lost ring would be a sleep without end: the test would not finish.
      if (n % 2 === 0) bell.waitSync(seen, Infinity);
      else await bell.waitAsync(seen);
    }
  }
  assert.equal(await ended, 0);
});
