/**
 * What `dunlin chat` keeps in its file: the client's saved state and the lines of each conversation, in one JSON document
 * that is replaced as a whole. So a line is in the file exactly if the client counts it as processed, and killing either
 * side at any moment loses and doubles nothing.
 */
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { ClientStorage } from '../client/node.js';
import { DunlinError } from '../core/errors.js';
import type { ConversationId } from '../core/ids.js';

const FORMAT_VERSION = 1;
/** Lines kept of a conversation. */
const LINES_MAX = 200;

export interface ChatLine {
  /** The sender. */
  readonly user: number;
  readonly text: string;
  readonly timeMs: number;
  /** This device's own lines have a tag; 0: somebody else's, or from another device. */
  readonly tag: number;
  /** 0: not sent yet. */
  seq: number;
  /** It was refused for good. */
  refused: boolean;
}

export interface ChatConversation {
  lines: ChatLine[];
  /** Received lines up to this sequence were on the screen. */
  shown: number;
  /** The others' watermarks. */
  delivered: number;
  read: number;
}

interface Saved {
  readonly version: number;
  readonly client: string;
  readonly nextTag: number;
  readonly conversations: Record<string, ChatConversation>;
}

export class ChatState implements ClientStorage {
  readonly #path: string;
  readonly #conversations = new Map<string, ChatConversation>();
  #client: Uint8Array | undefined;
  #nextTag = 1;

  /** Reads the file and locks it for this process. Throws a DunlinError if it is damaged, or another chat has it. */
  constructor(path: string) {
    this.#path = path;
    mkdirSync(dirname(path), { recursive: true });
    lock(`${path}.lock`);
    const saved = readSaved(path);
    if (saved === undefined) return;
    this.#client = Buffer.from(saved.client, 'base64');
    this.#nextTag = saved.nextTag;
    for (const [key, conversation] of Object.entries(saved.conversations)) this.#conversations.set(key, conversation);
  }

  conversation({ a, b }: ConversationId): ChatConversation {
    const key = `${a}:${b}`;
    let conversation = this.#conversations.get(key);
    if (conversation === undefined) {
      conversation = { lines: [], shown: 0, delivered: 0, read: 0 };
      this.#conversations.set(key, conversation);
    }
    return conversation;
  }

  /** A new line of this device. */
  addOwn(id: ConversationId, user: number, text: string, timeMs: number): ChatLine {
    return this.#add(id, { user, text, timeMs, tag: this.#nextTag++, seq: 0, refused: false });
  }

  addReceived(id: ConversationId, user: number, text: string, timeMs: number, seq: number): ChatLine {
    return this.#add(id, { user, text, timeMs, tag: 0, seq, refused: false });
  }

  #add(id: ConversationId, line: ChatLine): ChatLine {
    const { lines } = this.conversation(id);
    lines.push(line);
    if (lines.length > LINES_MAX) lines.shift();
    return line;
  }

  load(): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#client);
  }

  /** Synchronous underneath, so that nothing can come between a line on the screen and the line in the file. */
  save(client: Uint8Array): Promise<void> {
    this.#client = client;
    const saved: Saved = {
      version: FORMAT_VERSION,
      client: Buffer.from(client).toString('base64'),
      nextTag: this.#nextTag,
      conversations: Object.fromEntries(this.#conversations),
    };
    writeFileSync(`${this.#path}.new`, JSON.stringify(saved));
    renameSync(`${this.#path}.new`, this.#path);
    return Promise.resolve();
  }

  unlock(): void {
    rmSync(`${this.#path}.lock`, { force: true });
  }
}

function readSaved(path: string): Saved | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const saved = JSON.parse(text) as Saved;
    if (saved.version === FORMAT_VERSION) return saved;
  } catch {
    // Said below.
  }
  throw new DunlinError(`${path} is not a chat's state of format ${FORMAT_VERSION}; move it away to start anew.`);
}

/** One process a state: two would hand out the same counters. The file of a process that died is taken over. */
function lock(path: string): void {
  for (;;) {
    try {
      const file = openSync(path, 'wx');
      writeFileSync(file, String(process.pid));
      closeSync(file);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = Number(readFileSync(path, 'utf8'));
    if (owner !== process.pid && isAlive(owner)) {
      throw new DunlinError(`This device chats already, in process ${owner}; give another --device number.`);
    }
    rmSync(path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    // Killed, but its parent has not asked yet: such a process has no command line any more.
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return true;
  }
}
