/**
 * A disk that loses its power: files in memory, of which each write is in the cache first, sector by sector, and on the disk
 * for sure only after a sync. A power failure keeps any of the unsynced sectors, lengths and directory entries, as it likes.
 */
import type { Prng } from '../../core/prng.js';
import type { Files } from './files.js';

const SECTOR_BYTES = 512;

interface Inode {
  /** As a process sees it. */
  bytes: Uint8Array;
  /** As it was last synced. */
  synced: Uint8Array;
}

export class FragileDisk implements Files {
  #entries = new Map<string, Inode>();
  #durableEntries = new Map<string, Inode>();
  readonly #open = new Map<number, Inode>();
  readonly #syncs: (() => void)[] = [];
  #nextFd = 3;
  /** While set, asynchronous syncs wait for `completeSync`. */
  isHeld = false;

  #inode(fd: number): Inode {
    const inode = this.#open.get(fd);
    if (inode === undefined) throw new Error(`bad descriptor ${fd}`);
    return inode;
  }

  open(path: string, create: boolean): number {
    let inode = this.#entries.get(path);
    if (create) {
      inode = { bytes: new Uint8Array(0), synced: new Uint8Array(0) };
      this.#entries.set(path, inode);
    }
    if (inode === undefined) throw Object.assign(new Error(`no file ${path}`), { code: 'ENOENT' });
    this.#open.set(this.#nextFd, inode);
    return this.#nextFd++;
  }

  close(fd: number): void {
    this.#inode(fd);
    this.#open.delete(fd);
  }

  write(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number {
    const inode = this.#inode(fd);
    const end = at + length;
    // Never in place: snapshots share what did not change.
    const grown = new Uint8Array(Math.max(end, inode.bytes.length));
    grown.set(inode.bytes);
    grown.set(bytes.subarray(start, start + length), at);
    inode.bytes = grown;
    return length;
  }

  read(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number {
    const part = this.#inode(fd).bytes.subarray(at, at + length);
    bytes.set(part, start);
    return part.length;
  }

  size(fd: number): number {
    return this.#inode(fd).bytes.length;
  }

  truncate(fd: number, length: number): void {
    const inode = this.#inode(fd);
    inode.bytes = inode.bytes.slice(0, length);
  }

  sync(fd: number, done: (error: Error | null) => void): void {
    const inode = this.#inode(fd);
    const snapshot = inode.bytes;
    const complete = (): void => {
      inode.synced = snapshot;
      done(null);
    };
    if (this.isHeld) this.#syncs.push(complete);
    else setImmediate(complete);
  }

  /** Lets the oldest sync that waits be done. */
  completeSync(): boolean {
    const complete = this.#syncs.shift();
    complete?.();
    return complete !== undefined;
  }

  syncNow(fd: number): void {
    const inode = this.#inode(fd);
    inode.synced = inode.bytes;
  }

  syncDirectory(): void {
    this.#durableEntries = new Map(this.#entries);
  }

  remove(path: string): void {
    this.#entries.delete(path);
  }

  list(directory: string): string[] {
    const prefix = `${directory}/`;
    return [...this.#entries.keys()].filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length));
  }

  freeBytes(): number {
    return Infinity;
  }

  /** What the disk holds when the power is back. This one goes on as if nothing had happened. */
  powerFailure(random: Prng): FragileDisk {
    const after = new FragileDisk();
    const paths = new Set([...this.#entries.keys(), ...this.#durableEntries.keys()]);
    for (const path of paths) {
      const now = this.#entries.get(path);
      const durable = this.#durableEntries.get(path);
      const inode = now === durable || random.chance(1, 2) ? now : durable;
      if (inode === undefined) continue;
      const bytes = survivorOf(inode, random);
      const left = { bytes, synced: bytes };
      after.#entries.set(path, left);
      after.#durableEntries.set(path, left);
    }
    return after;
  }

  contentOf(path: string): Uint8Array {
    return this.#entries.get(path)!.bytes;
  }

  /** Replaces a file's content, as rot would. */
  setContent(path: string, bytes: Uint8Array): void {
    const inode = { bytes, synced: bytes };
    this.#entries.set(path, inode);
    this.#durableEntries.set(path, inode);
  }
}

function survivorOf({ bytes, synced }: Inode, random: Prng): Uint8Array {
  const low = Math.min(bytes.length, synced.length);
  const length = random.chance(1, 3) ? bytes.length : random.between(low, Math.max(bytes.length, synced.length));
  const left = new Uint8Array(length);
  // Whole pages of luck, so that large writes survive in part often.
  const luck = random.between(0, 4);
  for (let at = 0; at < length; at += SECTOR_BYTES) {
    const source = random.chance(luck, 4) ? bytes : synced;
    left.set(source.subarray(at, Math.min(at + SECTOR_BYTES, length)), at);
  }
  return left;
}
