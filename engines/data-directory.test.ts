import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DunlinError } from '../core/errors.js';
import { PARTITIONS_DEFAULT } from '../core/limits.js';
import { openDataDirectory } from './data-directory.js';

const root = mkdtempSync(join(tmpdir(), 'dunlin-data-'));
after(() => rmSync(root, { recursive: true, force: true }));
let made = 0;

function freshDirectory(): string {
  return join(root, `${made++}`);
}

function refused(directory: string, sentence: RegExp, wanted = {}): void {
  assert.throws(
    () => openDataDirectory(directory, wanted),
    (error) => error instanceof DunlinError && sentence.test(error.message),
  );
}

const FIXTURE = fileURLToPath(new URL('./data-directory.fixture.js', import.meta.url));

interface Opener {
  readonly child: ChildProcess;
  line(): Promise<string>;
  end(): Promise<void>;
}

async function opener(directory: string, gate: string): Promise<Opener> {
  const child = spawn(process.execPath, [FIXTURE, directory, gate], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async (): Promise<string> => String((await lines.next()).value);
  assert.equal(await line(), 'ready');
  return {
    child,
    line,
    end: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The lock of a process that is dead, as it left it. */
async function deadLock(directory: string): Promise<void> {
  const gate = join(directory, '..', `gate-${made++}`);
  writeFileSync(gate, '');
  const dead = await opener(directory, gate);
  assert.equal(await dead.line(), 'open');
  await dead.end();
  assert.ok(existsSync(join(directory, 'lock')));
}

test('a new directory gets what was asked for, and keeps it; boots are counted', () => {
  const directory = freshDirectory();
  const first = openDataDirectory(directory, { partitions: 7 });
  assert.deepEqual([first.partitions, first.boot], [7, 1]);
  first.close();
  assert.deepEqual(readdirSync(directory).toSorted(), ['boot', 'meta.json']);
  for (let boot = 2; boot < 5; boot++) {
    const again = openDataDirectory(directory);
    assert.deepEqual([again.partitions, again.boot], [7, boot]);
    again.close();
  }
  refused(directory, /has 7 partitions; --partitions 4 works for a new directory only/, { partitions: 4 });
  const same = openDataDirectory(directory, { partitions: 7 });
  // The refusal above was not a boot, and gave its lock back.
  assert.equal(same.boot, 5);
  same.close();
  const other = openDataDirectory(freshDirectory());
  assert.equal(other.partitions, PARTITIONS_DEFAULT);
  other.close();
});

test('one user at a time', () => {
  const directory = freshDirectory();
  const first = openDataDirectory(directory);
  refused(directory, new RegExp(`is locked by process ${process.pid}: `));
  refused(directory, new RegExp(`is locked by process ${process.pid}: `));
  first.close();
  const second = openDataDirectory(directory);
  assert.equal(second.boot, 2);
  // The lock is the second's now.
  first.close();
  refused(directory, /is locked/);
  second.close();
});

test('the lock of a dead process is taken over, one without content too', async () => {
  const directory = freshDirectory();
  await deadLock(directory);
  const next = openDataDirectory(directory);
  assert.equal(next.boot, 2);
  assert.match(readFileSync(join(directory, 'lock'), 'utf8'), new RegExp(`^${process.pid} `));
  refused(directory, /is locked/);
  next.close();
  writeFileSync(join(directory, 'lock'), '');
  openDataDirectory(directory).close();
  // The process id lives, but another process has it by now.
  writeFileSync(join(directory, 'lock'), `${process.pid} 1 0123\n`);
  openDataDirectory(directory).close();
  assert.deepEqual(readdirSync(directory).toSorted(), ['boot', 'meta.json']);
});

test('the lock of a process that is dead but not reaped is taken over', async (t) => {
  if (process.platform !== 'linux') return t.skip('there is no /proc here');
  const directory = freshDirectory();
  openDataDirectory(directory).close();
  // The shell's child is killed when the shell has become something that never reaps it: a shell might.
  const shell = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await createInterface(shell.stdout)[Symbol.asyncIterator]().next()).value.split(' ');
  const stat = (): string[] => {
    const text = readFileSync(`/proc/${line}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  };
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  while (readFileSync(`/proc/${shell.pid}/comm`, 'utf8') !== 'sleep\n') await turn();
  process.kill(Number(line), 'SIGKILL');
  while (stat()[0] !== 'Z') await turn();
  writeFileSync(join(directory, 'lock'), `${line} ${stat()[19]} 0123\n`);
  openDataDirectory(directory).close();
  shell.kill('SIGKILL');
});

test('of many that find the lock of a dead process at once, one gets it', async () => {
  for (let round = 0; round < 5; round++) {
    const directory = freshDirectory();
    await deadLock(directory);
    const gate = join(root, `gate-${made++}`);
    const openers = await Promise.all([1, 2, 3, 4].map(() => opener(directory, gate)));
    writeFileSync(gate, '');
    const lines = await Promise.all(openers.map((one) => one.line()));
    const winners = openers.filter((_, i) => lines[i] === 'open');
    assert.equal(winners.length, 1, lines.join('; '));
    assert.match(readFileSync(join(directory, 'lock'), 'utf8'), new RegExp(`^${winners[0]!.child.pid} `));
    for (const line of lines) assert.match(line, /^open$|is locked by process/);
    assert.equal(readFileSync(join(directory, 'boot'), 'utf8'), '2\n');
    await Promise.all(openers.map((one) => one.end()));
  }
});

test('a take-over that its process did not live to finish is taken over itself', async () => {
  const directory = freshDirectory();
  await deadLock(directory);
  const dead = readFileSync(join(directory, 'lock'), 'utf8');
  // Every claim that could be in the way: made by trying once with a live one in the way of it.
  const first = openDataDirectory(directory);
  first.close();
  writeFileSync(join(directory, 'lock'), dead);
  const claim = await claimNameOf(directory);
  writeFileSync(join(directory, claim), '999999999 1 0123\n');
  openDataDirectory(directory).close();
  assert.deepEqual(readdirSync(directory).toSorted(), ['boot', 'meta.json']);
  // One that is alive keeps its claim.
  writeFileSync(join(directory, 'lock'), dead);
  const living = openDataDirectory(freshDirectory());
  writeFileSync(join(directory, claim), readFileSync(join(living.path, 'lock')));
  refused(directory, /is locked by process/);
  living.close();
});

async function claimNameOf(directory: string): Promise<string> {
  const { createHash } = await import('node:crypto');
  const file = join(directory, 'lock');
  const hash = createHash('sha256')
    .update(`${file} ${readFileSync(file, 'utf8')}`)
    .digest('hex');
  return `lock.after-${hash.slice(0, 32)}`;
}

test('what cannot be understood is refused in a sentence, and the lock is given back', () => {
  const directory = freshDirectory();
  openDataDirectory(directory).close();
  const meta = join(directory, 'meta.json');
  const good = readFileSync(meta, 'utf8');
  const cases: [string, RegExp][] = [
    [good.slice(0, 10), /meta\.json is damaged: it is no JSON/],
    ['', /meta\.json is damaged/],
    ['null', /meta\.json says format undefined/],
    ['{"format":2,"partitions":4}', /says format 2, from a newer version; this one knows format 1/],
    ['{"format":1,"partitions":0}', /says 0 partitions: expected 1 to 256/],
    ['{"format":1,"partitions":"4"}', /partitions: expected/],
    ['{"format":1,"partitions":257}', /says 257 partitions/],
  ];
  for (const [content, sentence] of cases) {
    writeFileSync(meta, content);
    refused(directory, sentence);
    assert.equal(existsSync(join(directory, 'lock')), false);
  }
  writeFileSync(meta, good);
  for (const content of ['', 'x', '-1\n', '1.5\n', '99999999999999999999']) {
    writeFileSync(join(directory, 'boot'), content);
    refused(directory, /boot is damaged: it holds no number/);
  }
  const file = join(root, `file-${made++}`);
  writeFileSync(file, '');
  refused(file, /is a file, not a data directory/);
  refused(join(file, 'below'), /is a file, not a data directory/);
});

test('a file that was being replaced when the power failed is not taken for the new one', () => {
  const directory = freshDirectory();
  openDataDirectory(directory, { partitions: 3 }).close();
  writeFileSync(join(directory, 'meta.json.new'), '{"for');
  writeFileSync(join(directory, 'boot.new'), '');
  const again = openDataDirectory(directory);
  assert.deepEqual([again.partitions, again.boot], [3, 2]);
  again.close();
});
