import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { ReferenceSocketServer, unsignedToken } from '../client/reference-socket.js';
import { groupConversation } from '../core/ids.js';
import { runChat } from './chat.js';

const NAMES = new Map([
  [1, 'ada'],
  [2, 'bo'],
]);

let server: ReferenceSocketServer;
let directory = '';

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'dunlin-chat-'));
});

after(async () => {
  await rm(directory, { recursive: true });
});

beforeEach(async () => {
  server = new ReferenceSocketServer();
  await server.listen();
});

afterEach(async () => {
  await server.kill();
});

/** One run of the command: what it printed, line by line, and what is typed into it. */
class Terminal {
  readonly lines: string[] = [];
  readonly input = new PassThrough();
  readonly exit: Promise<number>;
  readonly #waiting: { line: RegExp; from: number; resolve: () => void }[] = [];
  #rest = '';

  constructor(user: number, name: string, conversation = { a: 1, b: 2 }) {
    const output = new PassThrough();
    output.on('data', (chunk: Buffer) => this.#read(chunk.toString()));
    const statePath = join(directory, `${name}.json`);
    const token = unsignedToken(user, 1);
    const options = { url: server.url, token, user, conversation, names: NAMES, statePath };
    this.exit = runChat(options, { input: this.input, output });
  }

  #read(text: string): void {
    const parts = (this.#rest + text).split('\n');
    this.#rest = parts.pop()!;
    for (const line of parts) {
      this.lines.push(line);
      for (const waiting of this.#waiting) {
        if (waiting.line.test(line) && this.lines.length > waiting.from) waiting.resolve();
      }
    }
  }

  type(line: string): void {
    this.input.write(`${line}\n`);
  }

  /** Waits for a line, from the start of the output or from `from` lines on. */
  async sees(wanted: string | RegExp, from = 0): Promise<void> {
    const line = typeof wanted === 'string' ? new RegExp(`^${wanted.replaceAll(/[()/[]/g, '\\$&')}$`) : wanted;
    if (this.lines.slice(from).some((one) => line.test(one))) return;
    await new Promise<void>((resolve) => this.#waiting.push({ line, from, resolve }));
  }

  async quit(): Promise<void> {
    this.type('/quit');
    assert.equal(await this.exit, 0);
  }

  /** Lines that are messages or marks. */
  get talk(): string[] {
    return this.lines.filter((line) => /^(message|sent|delivered|read) /.test(line));
  }
}

test('two chats: sent, delivered and read, both ways, and who is there', async () => {
  const ada = new Terminal(1, 'two-ada');
  const bo = new Terminal(2, 'two-bo');
  await Promise.all([ada.sees('connected'), bo.sees('connected')]);
  await ada.sees('bo is online');
  ada.type('hello bo');
  await Promise.all([bo.sees('message 1 ada: hello bo'), ada.sees('read 1')]);
  bo.type('hello ada');
  await Promise.all([ada.sees('message 2 bo: hello ada'), bo.sees('read 2')]);
  assert.deepEqual(ada.talk, ['sent 1', 'delivered 1', 'read 1', 'message 2 bo: hello ada']);
  ada.type('/who');
  await ada.sees(/^# bo \(2\): delivered \d, read 2 of 2$/);
  ada.type('a \u001b[2Jtrick');
  await bo.sees('message 3 ada: a  [2Jtrick');
  ada.type('/nonsense');
  await ada.sees('# /nonsense is not a command.');
  bo.type('/block');
  await bo.sees('# ada is blocked');
  await bo.quit();
  await ada.quit();
});

test('the server is killed between two lines: nothing is missing, nothing is twice', async () => {
  const ada = new Terminal(1, 'kill-ada');
  const bo = new Terminal(2, 'kill-bo');
  await Promise.all([ada.sees('connected'), bo.sees('connected')]);
  ada.type('one');
  await ada.sees('read 1');
  await server.kill();
  ada.type('two');
  ada.type('three');
  const from = ada.lines.length;
  await server.listen();
  await bo.sees('message 3 ada: three');
  await ada.sees('read 3', from);
  assert.deepEqual(bo.talk, ['message 1 ada: one', 'message 2 ada: two', 'message 3 ada: three']);
  assert.ok(
    ada.lines.some((line) => /^offline — reconnecting in \d s$/.test(line)),
    ada.lines.join('\n'),
  );
  await Promise.all([ada.quit(), bo.quit()]);
});

test('a chat that ends and starts again shows what came meanwhile, once, and sends what was waiting', async () => {
  let ada = new Terminal(1, 'again-ada');
  let bo = new Terminal(2, 'again-bo');
  await Promise.all([ada.sees('connected'), bo.sees('connected')]);
  ada.type('one');
  await ada.sees('read 1');
  await bo.quit();
  ada.type('two');
  await ada.sees('sent 2');
  await server.kill();
  ada.type('three');
  await ada.quit();
  await server.listen();
  bo = new Terminal(2, 'again-bo');
  await bo.sees('message 2 ada: two');
  ada = new Terminal(1, 'again-ada');
  await ada.sees('read 3');
  assert.deepEqual(bo.talk, ['message 2 ada: two', 'message 3 ada: three']);
  assert.deepEqual(ada.talk.slice(-3), ['sent 3', 'delivered 3', 'read 3']);
  await Promise.all([ada.quit(), bo.quit()]);
});

test('a group is created by the first who comes, and the others talk in it', async () => {
  const ada = new Terminal(1, 'group-ada', groupConversation(7));
  await ada.sees('# created with bo');
  const bo = new Terminal(2, 'group-bo', groupConversation(7));
  await bo.sees('connected');
  bo.type('hello all');
  await ada.sees('message 2 bo: hello all');
  await bo.sees('read 2');
  await Promise.all([ada.quit(), bo.quit()]);
});

test('the end of the input sends what was entered, then leaves', async () => {
  const bo = new Terminal(2, 'pipe-bo');
  await bo.sees('connected');
  const ada = new Terminal(1, 'pipe-ada');
  ada.input.end('one\ntwo\n');
  assert.equal(await ada.exit, 0);
  await bo.sees('message 2 ada: two');
  await bo.quit();
});

test('one state file serves one process; a damaged one is not taken for a new one', async () => {
  const lockPath = join(directory, 'lock-ada.json.lock');
  await writeFile(lockPath, String(process.ppid));
  await assert.rejects(new Terminal(1, 'lock-ada').exit, /chats already, in process/);
  await rm(lockPath);
  await writeFile(join(directory, 'lock-ada.json'), '{"version":1,');
  await assert.rejects(new Terminal(1, 'lock-ada').exit, /not a chat's state/);
});
