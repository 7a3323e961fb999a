import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { open } from 'lmdb';
import { DunlinError } from '../../core/errors.js';
import { STORE_TRANSACTION_AGE_MS_MAX } from '../../core/limits.js';
import type { StoreTransaction } from '../../core/ports.js';
import { Prng } from '../../core/prng.js';
import { createDoorbell, Doorbell } from '../doorbell.js';
import { key, type OpenedStore, StoreClient, storeContract, transaction } from '../store.contract.js';
import { dataFileOf } from './data-file.js';
import { monotonicMs, packTransaction } from './messages.js';
import { decodeNumber, LANES, numberKey, PARTS, partKey, partValue } from './store.fixture.js';
import { createStore } from './store.js';
import { openStorePort } from './store-port.js';

const FIXTURE = new URL('./store.fixture.js', import.meta.url);
const root = fs.mkdtempSync(join(tmpdir(), 'dunlin-store-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));

let directories = 0;
/** The user without rights. */
const NOBODY = 65_534;

function freshDirectory(): string {
  return join(root, `${directories++}`);
}

async function openStore(directory: string): Promise<OpenedStore> {
  const shared = createDoorbell();
  const doorbell = new Doorbell(shared);
  const embedded = await createStore({
    directory,
    fatal: (error) => {
      throw error;
    },
  });
  const store = openStorePort(embedded.port(shared));
  return {
    store,
    next: async () => {
      for (;;) {
        const seen = doorbell.read();
        const completion = store.completion();
        if (completion !== undefined) return completion;
        await doorbell.waitAsync(seen);
      }
    },
    close: () => embedded.close(),
  };
}

storeContract('LMDB', () => openStore(freshDirectory()));

test('what was committed is there after a restart, and what was under way at the close', async () => {
  const directory = freshDirectory();
  const first = await openStore(directory);
  await new StoreClient(first).put(
    { key: key(1), value: key(1) },
    { key: key(2), value: new Uint8Array(50_000).fill(2) },
  );
  await first.close();
  const second = await openStore(directory);
  const client = new StoreClient(second);
  assert.deepEqual(await client.read(key(1), key(2)), [key(1), new Uint8Array(50_000).fill(2)]);
  await client.commit({ clear: [{ begin: key(2), end: key(3) }] });
  await second.close();
  const third = await openStore(directory);
  assert.deepEqual(await new StoreClient(third).all(), [['01', '01']]);
  await third.close();
});

test('a lane that never returns to its event loop commits and hears of it', async () => {
  const embedded = await createStore({ directory: freshDirectory(), fatal: assert.fail });
  const doorbell = createDoorbell();
  const handle = embedded.port(doorbell);
  const data = { handle, doorbell, commits: 50 };
  const worker = new Worker(FIXTURE, { workerData: data, transferList: [handle.port] });
  // Both at once: what a worker said last and its end may come in one turn.
  const exited = once(worker, 'exit');
  const [committed] = (await once(worker, 'message')) as [number];
  assert.equal(committed, 50);
  await exited;
  await embedded.close();
});

/** Runs the fixture until `acks` commits were acknowledged, kills it, and returns the last number acknowledged per lane. */
async function killAfter(directory: string, acks: number): Promise<number[]> {
  const child = spawn(process.execPath, [FIXTURE.pathname, 'commit', directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged = Array.from({ length: LANES }, () => 0);
  let count = 0;
  // Lines that came before the kill count too: what was said was acknowledged.
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, lane, number] = line.split(' ');
    assert.equal(word, 'ack', line);
    acknowledged[Number(lane)] = Number(number);
    if (++count === acks) child.kill('SIGKILL');
  }
  return acknowledged;
}

/** Every transaction up to the lane's number is there whole, and nothing of any later one. Returns the number. */
async function checkLane(client: StoreClient, lane: number): Promise<number> {
  const [bytes] = await client.read(numberKey(lane));
  const last = decodeNumber(bytes);
  const { pairs, more } = await client.range(Uint8Array.of(lane, 1), Uint8Array.of(lane, 2), Infinity);
  assert.equal(more, false);
  assert.equal(pairs.length, last * PARTS);
  pairs.forEach((pair, i) => {
    const number = Math.floor(i / PARTS) + 1;
    assert.deepEqual(pair.key, partKey(lane, number, i % PARTS));
    assert.ok(Buffer.from(pair.value).equals(partValue(number, i % PARTS)), `lane ${lane} transaction ${number}`);
  });
  return last;
}

test('killed in the middle of commits, each transaction is there whole or not at all, and each acknowledged one is there', async (t) => {
  const seed = Number(process.env['DUNLIN_SEED'] ?? Date.now());
  t.diagnostic(`seed ${seed}`);
  const random = new Prng(seed);
  const directory = freshDirectory();
  for (let round = 0; round < 6; round++) {
    const acknowledged = await killAfter(directory, random.between(1, 60));
    const opened = await openStore(directory);
    for (const [lane, number] of acknowledged.entries()) {
      const last = await checkLane(new StoreClient(opened), lane);
      assert.ok(last >= number, `lane ${lane}: ${number} was acknowledged, ${last} is there`);
      assert.ok(last <= number + 1 || number === 0, `lane ${lane}: ${number} was acknowledged, but ${last} is there`);
    }
    await opened.close();
  }
});

test('a failure of the store’s thread is told to the thread that started it, once', async () => {
  const failures: Error[] = [];
  let told: () => void = () => undefined;
  const failed = new Promise<void>((resolve) => {
    told = resolve;
  });
  const embedded = await createStore({
    directory: freshDirectory(),
    fatal: (error) => {
      failures.push(error);
      told();
    },
  });
  const { port } = embedded.port(createDoorbell());
  port.postMessage({ kind: 'commit', tag: 1, submittedAtMs: monotonicMs(), expects: 0, clears: 0, packed: key() }, []);
  await failed;
  await embedded.close();
  assert.equal(failures.length, 1);
  assert.match(failures[0]!.message, /^the store failed: ./);
});

test('a transaction that waited too long is not done, and one that just did not is', async () => {
  const shared = createDoorbell();
  const doorbell = new Doorbell(shared);
  const embedded = await createStore({ directory: freshDirectory(), fatal: assert.fail });
  const handle = embedded.port(shared);
  const put = (n: number): StoreTransaction => transaction({ puts: [{ key: key(n), value: key(n) }] });
  const submit = (tag: number, agedMs: number): void => {
    const submittedAtMs = monotonicMs() - agedMs;
    handle.port.postMessage(
      { kind: 'commit', tag, submittedAtMs, expects: 0, clears: 0, packed: packTransaction(put(tag)) },
      [],
    );
  };
  submit(1, STORE_TRANSACTION_AGE_MS_MAX + 1);
  submit(2, STORE_TRANSACTION_AGE_MS_MAX / 2);
  const store = openStorePort(handle);
  const outcomes = new Map<number, string>();
  while (outcomes.size < 2) {
    const seen = doorbell.read();
    const completion = store.completion();
    if (completion === undefined) await doorbell.waitAsync(seen);
    else outcomes.set(completion.tag, completion.commit!.outcome);
  }
  assert.deepEqual([outcomes.get(1), outcomes.get(2)], ['too_old', 'committed']);
  await embedded.close();
});

const canTrace = spawnSync('strace', ['-e', 'trace=none', 'true']).status === 0;

test('every commit is synced before it is acknowledged', { skip: !canTrace && 'needs strace' }, async () => {
  const directory = freshDirectory();
  const trace = join(root, 'trace');
  const args = [
    '-f',
    '-o',
    trace,
    '-e',
    'trace=fdatasync,write',
    process.execPath,
    FIXTURE.pathname,
    'commit',
    directory,
  ];
  // In a group of its own, so that the traced process ends with its tracer.
  const child = spawn('strace', args, { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  let acks = 0;
  createInterface({ input: child.stdout }).on('line', () => {
    if (++acks === 40) process.kill(-child.pid!, 'SIGKILL');
  });
  await once(child, 'close');
  const said: number[] = [];
  let synced = 0;
  for (const line of fs.readFileSync(trace, 'utf8').split('\n')) {
    if (/fdatasync(\(| resumed).*= 0$/.test(line)) synced++;
    else if (/write\(1, "ack /.test(line)) said.push(synced);
  }
  assert.ok(said.length >= 40);
  // One sync may stand for one commit of each lane, and for no more.
  for (const [n, syncs] of said.entries())
    assert.ok(syncs >= Math.ceil((n + 1) / LANES), `${n + 1} acks after ${syncs} syncs`);
});

test('a full disk refuses what does not fit, keeps all that was there, and takes more when there is room', () => {
  const directory = freshDirectory();
  const node = `"${process.execPath}" "${FIXTURE.pathname}" fill "${directory}"`;
  // The limit is in units of 1 KiB: a file of 12 MB.
  const { stdout, status } = spawnSync('bash', ['-c', `ulimit -f 12000; ${node}`], { encoding: 'utf8' });
  const lines = stdout.trim().split('\n');
  assert.match(lines[0]!, /^full (\d+) refused: the disk is full or failing/);
  assert.ok(Number(lines[0]!.split(' ')[1]) >= 8, lines[0]);
  assert.deepEqual(lines.slice(1), [
    'read absent 99000',
    'small committed',
    'clear committed',
    'small committed',
    'again committed',
    'closed',
  ]);
  assert.equal(status, 0);
});

/** Makes a store with 3 MB in it, and gives its data file to `damage`. */
async function damagedDirectory(damage: (file: string) => void): Promise<string> {
  const directory = freshDirectory();
  const opened = await openStore(directory);
  const client = new StoreClient(opened);
  for (let n = 0; n < 30; n++) await client.put({ key: key(n), value: new Uint8Array(99_000) });
  await opened.close();
  damage(dataFileOf(directory));
  return directory;
}

async function assertRefuses(directory: string, sentence: RegExp): Promise<void> {
  await assert.rejects(createStore({ directory, fatal: assert.fail }), (error: unknown) => {
    assert.ok(error instanceof DunlinError, String(error));
    assert.match(error.message, sentence);
    assert.ok(error.message.includes(directory));
    return true;
  });
}

test('a data file that is none, or damaged, or cut, is refused with a sentence', async () => {
  const damages: [string, (file: string) => void, RegExp][] = [
    ['text', (file) => fs.writeFileSync(file, 'This is no database. '.repeat(1_000)), /damaged, or not a store/],
    ['short', (file) => fs.truncateSync(file, 100), /damaged, or not a store/],
    ['one page', (file) => fs.truncateSync(file, 4_096), /damaged, or not a store/],
    ['two pages', (file) => fs.truncateSync(file, 8_192), /was cut: it has 8192 bytes and needs \d+/],
    ['half', (file) => fs.truncateSync(file, 1_500_000), /was cut: it has 1500000 bytes/],
    ['zeros', (file) => fs.writeFileSync(file, new Uint8Array(1_000_000)), /damaged, or not a store/],
  ];
  for (const [, damage, sentence] of damages) await assertRefuses(await damagedDirectory(damage), sentence);
});

test('a data file of which nothing was ever written is begun anew', async () => {
  for (const bytes of [0, 4_096, 8_192]) {
    const directory = await damagedDirectory((file) => fs.writeFileSync(file, new Uint8Array(bytes)));
    const opened = await openStore(directory);
    assert.deepEqual(await new StoreClient(opened).all(), []);
    await opened.close();
  }
});

test('directories that are no store are refused with a sentence', async () => {
  const file = freshDirectory();
  fs.writeFileSync(file, 'x');
  await assertRefuses(file, /is a file/);
  await assertRefuses(join(freshDirectory(), 'missing', 'store'), /parent directory does not exist/);
  const nested = freshDirectory();
  fs.mkdirSync(dataFileOf(nested), { recursive: true });
  await assertRefuses(nested, /is not a file/);
});

test('a database of another program, or of another format, is refused', async () => {
  for (const [name, sentence] of [
    ['somebody', /something else/],
    ['dunlin store 2', /"dunlin store 2".*"dunlin store 1" is known here/],
  ] as const) {
    const directory = freshDirectory();
    const foreign = open({ path: directory, overlappingSync: false });
    foreign.openDB({ name }).putSync('key', 'value');
    await foreign.close();
    await assertRefuses(directory, sentence);
  }
});

test('a read-only directory is refused with a sentence', async () => {
  const directory = freshDirectory();
  fs.mkdirSync(directory, { mode: 0o555 });
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    // Root may write anyway, so for this one call it is nobody.
    fs.chmodSync(dirname(directory), 0o755);
    process.seteuid!(NOBODY);
  }
  try {
    await assertRefuses(directory, /cannot be written: permission denied/);
  } finally {
    if (isRoot) process.seteuid!(0);
  }
});
