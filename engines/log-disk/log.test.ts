import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DunlinError } from '../../core/errors.js';
import { Durability } from '../../core/ports.js';
import { createDoorbell, Doorbell } from '../doorbell.js';
import { CONTRACT_PARTITIONS, type ContractOptions, logContract, type OpenedLog } from '../log.contract.js';
import { testBatch } from '../log.fixture.js';
import { openLog, openProducer } from './handles.js';

import { createLog, type EmbeddedLog } from './log.js';

const root = mkdtempSync(join(tmpdir(), 'dunlin-log-'));
after(() => rmSync(root, { recursive: true, force: true }));
let made = 0;

function freshDirectory(): string {
  return join(root, `${made++}`);
}

async function create(directory: string, bell: SharedArrayBuffer, options: ContractOptions = {}): Promise<EmbeddedLog> {
  return await createLog({
    directory,
    topics: [Durability.BEFORE_READ, Durability.LAZY].map((durability) => ({
      name: `topic-${durability}`,
      partitions: CONTRACT_PARTITIONS,
      durability,
      guarded: true,
      readers: [bell],
    })),
    producers: [0, 1].map(() => ({ guarded: false, doorbell: bell })),
    diskReserveBytes: 0,
    warn: (sentence) => assert.fail(sentence),
    fatal: (error) => assert.fail(error),
    ...options,
  });
}

async function open(directory: string, options: ContractOptions = {}): Promise<OpenedLog> {
  const shared = createDoorbell();
  const bell = new Doorbell(shared);
  const embedded = await create(directory, shared, options);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= embedded.close());
  return {
    log: openLog(embedded.handle),
    producers: embedded.producers.map((producer) => openProducer(producer)),
    until: async (condition) => {
      for (;;) {
        const seen = bell.read();
        if (condition()) return;
        await bell.waitAsync(seen);
      }
    },
    reopen: async () => {
      await close();
      return await open(directory, options);
    },
    close,
  };
}

logContract('disk', (options) => open(freshDirectory(), options));

test('what lies in the queues when the log is closed is written', async () => {
  const directory = freshDirectory();
  const opened = await open(directory);
  for (let n = 0; n < 200; n++)
    for (const topic of [0, 1]) assert.ok(opened.producers[n % 2]!.append(topic, 0, testBatch(0, n), n));
  const again = await opened.reopen();
  for (const topic of [0, 1]) assert.equal(again.log.consumer(topic, []).durableEnd(0), 200);
  await again.close();
});

test('a close does not wait for producers that no longer fetch their outcomes', async () => {
  const opened = await open(freshDirectory());
  const consumer = opened.log.consumer(0, []);
  // More outcomes than the ring that they go through can hold.
  const count = 12_000;
  const batch = testBatch(0, 0, 0);
  for (let n = 0; n < count; n++)
    await opened.until(() => opened.producers[0]!.append(0, 0, batch, n) || consumer.poll() !== undefined);
  await opened.close();
  assert.equal(consumer.durableEnd(0), count);
});

test('a start that fails leaves no thread behind, and says why in a sentence', async () => {
  const directory = freshDirectory();
  await (await open(directory)).close();
  writeFileSync(join(directory, 'topic-1', '0000000002.segment'), 'x'.repeat(10_000));
  await assert.rejects(
    open(directory),
    (error) => error instanceof DunlinError && error.message.includes('0000000002.segment'),
  );
  assert.ok(existsSync(join(directory, 'topic-1', '0000000002.segment')));
  assert.deepEqual(readdirSync(join(directory, 'topic-0')), ['0000000001.segment', 'synced']);
});
