/** Files in memory, and journals made without threads, for tests. */

import { basename } from 'node:path';
import { type Batch, openBatch } from '../../core/batch.js';
import { Durability } from '../../core/ports.js';
import type { Files } from './files.js';
import { Journal, type JournalOptions } from './journal.js';
import { createControl, SEGMENT_HEADER_BYTES } from './layout.js';
import { batchAt, recoverJournal } from './recover.js';

export function failure(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}

/** One directory of files in memory. What was synced is not told apart from what was written. */
export class MemoryFiles implements Files {
  readonly contents = new Map<string, Uint8Array>();
  readonly #open = new Map<number, string>();
  #nextFd = 100;

  open(path: string, create: boolean): number {
    const name = basename(path);
    if (create) this.contents.set(name, new Uint8Array(0));
    else if (!this.contents.has(name)) throw failure('ENOENT');
    this.#open.set(this.#nextFd, name);
    return this.#nextFd++;
  }

  openToRead(path: string): number {
    return this.open(path, false);
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw failure('EBADF');
  }

  #of(fd: number): Uint8Array {
    const bytes = this.contents.get(this.#open.get(fd) ?? '');
    if (bytes === undefined) throw failure('EBADF');
    return bytes;
  }

  write(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number {
    let file = this.#of(fd);
    if (at + length > file.length) {
      const grown = new Uint8Array(at + length);
      grown.set(file);
      this.contents.set(this.#open.get(fd)!, grown);
      file = grown;
    }
    file.set(bytes.subarray(start, start + length), at);
    return length;
  }

  read(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number {
    const part = this.#of(fd).subarray(at, at + length);
    bytes.set(part, start);
    return part.length;
  }

  size(fd: number): number {
    return this.#of(fd).length;
  }

  truncate(fd: number, length: number): void {
    this.contents.set(this.#open.get(fd)!, this.#of(fd).slice(0, length));
  }

  sync(fd: number, done: (error: Error | null) => void): void {
    this.syncNow(fd);
    done(null);
  }

  syncNow(fd: number): void {
    this.#of(fd);
  }

  syncDirectory(): void {}

  remove(path: string): void {
    if (!this.contents.delete(basename(path))) throw failure('ENOENT');
  }

  list(): string[] {
    return [...this.contents.keys()];
  }

  freeBytes(): number {
    return Number.MAX_SAFE_INTEGER;
  }

  /** Descriptors left open. */
  get openFiles(): number {
    return this.#open.size;
  }
}

export const TEST_TOPIC = 1;
export const TEST_PARTITIONS = 3;

export function openJournal(files: Files, directory = '/journal', options: Partial<JournalOptions> = {}): Journal {
  return new Journal({
    files,
    directory,
    topic: TEST_TOPIC,
    partitions: TEST_PARTITIONS,
    durability: Durability.BEFORE_READ,
    start: options.start ?? recoverJournal(files, directory, TEST_TOPIC, TEST_PARTITIONS),
    control: createControl(TEST_PARTITIONS),
    segmentBytes: 1 << 20,
    retainBytes: 0,
    nowMs: () => 1_700_000_000_000,
    ...options,
  });
}

export function syncJournal(journal: Journal): void {
  journal.beginSync((error) => {
    if (error !== null) throw error;
  });
}

/** The batches that lie back to back in a segment up to `end`. */
export function batchesOf(segment: Uint8Array, end = segment.length): Batch[] {
  const bytes = segment.subarray(0, end);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const batches: Batch[] = [];
  for (let at = SEGMENT_HEADER_BYTES; at < end; ) {
    const length = batchAt(bytes, view, at);
    if (typeof length === 'string') throw new Error(`at byte ${at}: ${length}`);
    batches.push(openBatch(bytes.subarray(at, at + length)));
    at += length;
  }
  return batches;
}
