/**
 * Runs outside the test's own thread:
 * - as a process of its own: commits numbered transactions over two ports without end, and says which were acknowledged, until
 *   it is killed. `node store.fixture.js commit DIRECTORY`
 * - with a limit on the size of its files: fills the disk and goes on. `node store.fixture.js fill DIRECTORY`
 * - as a worker: commits and reads in a synchronous loop, as a lane does.
 */
import { writeSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import type { StoreCompletion, StoreTransaction } from '../../core/ports.js';
import { createDoorbell, Doorbell } from '../doorbell.js';
import { createStore } from './store.js';
import { openStorePort, type StoreHandle } from './store-port.js';

export const LANES = 2;
export const PARTS = 7;

export interface LaneFixtureData {
  readonly handle: StoreHandle;
  readonly doorbell: SharedArrayBuffer;
  readonly commits: number;
}

export function numberKey(lane: number): Uint8Array {
  return Uint8Array.of(lane, 0);
}

/** Key of one of the parts that a numbered transaction writes together. */
export function partKey(lane: number, number: number, part: number): Uint8Array {
  return Uint8Array.of(lane, 1, number >>> 16, number >>> 8, number, part);
}

/** Its parts differ in length, and the longest do not fit into a page. */
export function partValue(number: number, part: number): Uint8Array {
  return new Uint8Array(4 + part ** 5).fill(number & 0xff);
}

export function encodeNumber(number: number): Uint8Array {
  return Uint8Array.of(number >>> 16, number >>> 8, number);
}

export function decodeNumber(bytes: Uint8Array | undefined): number {
  return bytes === undefined ? 0 : (bytes[0]! << 16) | (bytes[1]! << 8) | bytes[2]!;
}

/** Number `number` of a lane: its parts, and the lane's number raised from the one before. */
export function numbered(lane: number, number: number): StoreTransaction {
  return {
    expect: [{ key: numberKey(lane), value: number === 1 ? undefined : encodeNumber(number - 1) }],
    clear: [],
    puts: [
      ...Array.from({ length: PARTS }, (_, part) => ({
        key: partKey(lane, number, part),
        value: partValue(number, part),
      })),
      { key: numberKey(lane), value: encodeNumber(number) },
    ],
  };
}

function say(line: string): void {
  writeSync(1, `${line}\n`);
}

async function commitForEver(directory: string): Promise<void> {
  const store = await createStore({ directory, fatal: (error) => say(`fatal ${error.message}`) });
  const shared = createDoorbell();
  const doorbell = new Doorbell(shared);
  const lanes = Array.from({ length: LANES }, () => ({ port: openStorePort(store.port(shared)), number: 0 }));
  lanes.forEach(({ port }, lane) => port.read(0, [numberKey(lane)]));
  for (;;) {
    const seen = doorbell.read();
    let idle = true;
    for (const [number, lane] of lanes.entries()) {
      const completion = lane.port.completion();
      if (completion === undefined) continue;
      idle = false;
      if (completion.values !== undefined) lane.number = decodeNumber(completion.values[0]);
      else if (completion.commit!.outcome === 'committed') say(`ack ${number} ${completion.tag}`);
      else say(`wrong ${number} ${completion.tag} ${completion.commit!.outcome} ${completion.commit!.reason}`);
      lane.number++;
      lane.port.commit(lane.number, numbered(number, lane.number));
    }
    // A ring that came since `seen` was read ends the wait at once.
    if (idle) await doorbell.waitAsync(seen);
  }
}

/** Ten values of 99,000 bytes under keys that begin with 1, `n`. */
function megabyte(n: number): StoreTransaction['puts'] {
  return Array.from({ length: 10 }, (_, part) => ({
    key: Uint8Array.of(1, n, part),
    value: new Uint8Array(99_000).fill(n),
  }));
}

async function fill(directory: string): Promise<void> {
  process.on('SIGXFSZ', () => undefined);
  const store = await createStore({ directory, fatal: (error) => say(`fatal ${error.message}`) });
  const shared = createDoorbell();
  const doorbell = new Doorbell(shared);
  const port = openStorePort(store.port(shared));
  const answer = async (): Promise<StoreCompletion> => {
    for (;;) {
      const seen = doorbell.read();
      const completion = port.completion();
      if (completion !== undefined) return completion;
      await doorbell.waitAsync(seen);
    }
  };
  const commit = async (puts: StoreTransaction['puts'], clear: StoreTransaction['clear'] = []): Promise<string> => {
    port.commit(1, { expect: [], clear, puts });
    const { outcome, reason } = (await answer()).commit!;
    return reason === undefined ? outcome : `${outcome}: ${reason}`;
  };
  let taken = 0;
  let outcome = await commit(megabyte(taken));
  while (outcome === 'committed' && taken < 250) outcome = await commit(megabyte(++taken));
  say(`full ${taken} ${outcome}`);
  port.read(2, [Uint8Array.of(1, taken, 0), Uint8Array.of(1, taken - 1, 9)]);
  say(`read ${(await answer()).values!.map((value) => value?.length ?? 'absent').join(' ')}`);
  say(`small ${await commit([{ key: Uint8Array.of(2), value: Uint8Array.of(2) }])}`);
  say(`clear ${await commit([], [{ begin: Uint8Array.of(1, 0), end: Uint8Array.of(1, 3) }])}`);
  // LMDB gives pages to others one transaction after the one that freed them.
  say(`small ${await commit([{ key: Uint8Array.of(2), value: Uint8Array.of(3) }])}`);
  say(`again ${await commit(megabyte(taken))}`);
  await store.close();
  say('closed');
}

/** Like a lane: never returns to the event loop while it works. */
function runLane(data: LaneFixtureData): number {
  const doorbell = new Doorbell(data.doorbell);
  const store = openStorePort(data.handle);
  let committed = 0;
  store.commit(1, numbered(9, 1));
  for (let tag = 1; tag <= data.commits; ) {
    const seen = doorbell.read();
    const completion = store.completion();
    if (completion === undefined) {
      doorbell.waitSync(seen, 10_000);
      continue;
    }
    if (completion.commit?.outcome === 'committed') committed++;
    tag++;
    if (tag <= data.commits) store.commit(tag, numbered(9, tag));
  }
  return committed;
}

if (!isMainThread && parentPort !== null && workerData !== null && 'commits' in workerData) {
  parentPort.postMessage(runLane(workerData as LaneFixtureData), []);
} else if (isMainThread && process.argv[1] === import.meta.filename) {
  const [, , mode, directory] = process.argv;
  await (mode === 'fill' ? fill(directory!) : commitForEver(directory!));
}
