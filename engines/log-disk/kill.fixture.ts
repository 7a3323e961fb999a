/** A process that appends to a log without end and prints what is acknowledged: `topic partition offset name`. */

import { writeSync } from 'node:fs';
import { Durability } from '../../core/ports.js';
import { createDoorbell, Doorbell } from '../doorbell.js';
import { testBatch } from '../log.fixture.js';
import { openProducer } from './handles.js';

import { createLog } from './log.js';

const [directory, round] = process.argv.slice(2) as [string, string];
const shared = createDoorbell();
const bell = new Doorbell(shared);
const log = await createLog({
  directory,
  topics: [Durability.BEFORE_READ, Durability.LAZY].map((durability) => ({
    name: `topic-${durability}`,
    partitions: 2,
    durability,
    guarded: false,
    readers: [],
  })),
  producers: [{ guarded: false, doorbell: shared }],
  segmentBytes: 64 * 1024,
  diskReserveBytes: 0,
  warn: () => undefined,
  fatal: (error) => {
    throw error;
  },
});
const producer = openProducer(log.producers[0]!);
const waiting = new Map<number, string>();
for (let n = 0; ; ) {
  const seen = bell.read();
  let lines = '';
  producer.outcomes((tag, outcome, offset) => {
    if (outcome !== 0) throw new Error(`outcome ${outcome}`);
    lines += `${waiting.get(tag)!.replace('?', String(offset))}\n`;
    waiting.delete(tag);
  });
  if (lines !== '') writeSync(1, lines);
  if (waiting.size > 500) {
    await bell.waitAsync(seen);
    continue;
  }
  const [topic, partition] = [n % 2, (n >> 1) % 2];
  const source = Number(round);
  if (!producer.append(topic, partition, testBatch(source, n, n % 700), n)) continue;
  waiting.set(n, `${topic} ${partition} ? ${source}/${n}`);
  n++;
}
