/**
 * A disk that loses its power: files in memory, of which each write is in the cache first, sector by sector, and on the disk
 * for sure only after a sync. A power failure keeps any of the unsynced sectors, lengths and directory entries, as it likes.
 */
import type { Prng } from '../../core/prng.js';
import type { Files } from './files.js';

const SECTOR_BYTES = 512;

/** What a file held at some moment. Nothing is ever written below `length` in the same array: who changes a file's content copies. */
interface Content {
  readonly bytes: Uint8Array;
  readonly length: number;
}

interface Inode {
  /** As a process sees it. */
  now: Content;
  /** As it was last synced. */
  synced: Content;
}

const NOTHING: Content = { bytes: new Uint8Array(0), length: 0 };

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
      inode = { now: NOTHING, synced: NOTHING };
      this.#entries.set(path, inode);
    }
    if (inode === undefined) throw Object.assign(new Error(`no file ${path}`), { code: 'ENOENT' });
    this.#open.set(this.#nextFd, inode);
    return this.#nextFd++;
  }

  openToRead(path: string): number {
    return this.open(path, false);
  }

  close(fd: number): void {
    this.#inode(fd);
    this.#open.delete(fd);
  }

  write(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number {
    const inode = this.#inode(fd);
    const { now } = inode;
    const end = at + length;
    const appends = at >= now.length;
    let to = now.bytes;
    if (!appends || end > to.length) {
      to = new Uint8Array(Math.max(end, appends ? 2 * now.length : now.length));
      to.set(now.bytes.subarray(0, now.length));
    } else to.fill(0, now.length, at);
    to.set(bytes.subarray(start, start + length), at);
    inode.now = { bytes: to, length: Math.max(end, now.length) };
    return length;
  }

  read(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number {
    const { now } = this.#inode(fd);
    const part = now.bytes.subarray(at, Math.min(now.length, at + length));
    bytes.set(part, start);
    return part.length;
  }

  size(fd: number): number {
    return this.#inode(fd).now.length;
  }

  truncate(fd: number, length: number): void {
    const inode = this.#inode(fd);
    inode.now = { bytes: inode.now.bytes.slice(0, length), length };
  }

  sync(fd: number, done: (error: Error | null) => void): void {
    const inode = this.#inode(fd);
    const snapshot = inode.now;
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
    inode.synced = inode.now;
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
      if (inode !== undefined) after.setContent(path, survivorOf(inode, random));
    }
    return after;
  }

  contentOf(path: string): Uint8Array {
    const { bytes, length } = this.#entries.get(path)!.now;
    return bytes.subarray(0, length);
  }

  /** Gives a file a content that is on the disk. Who has it open goes on with what there was. */
  setContent(path: string, bytes: Uint8Array): void {
    const content = { bytes, length: bytes.length };
    const inode = { now: content, synced: content };
    this.#entries.set(path, inode);
    this.#durableEntries.set(path, inode);
  }

  /** Turns a bit over, as rot would, in what is cached and on the disk. The same again undoes it. */
  flip(path: string, at: number, bit: number): void {
    const inode = this.#entries.get(path);
    if (inode === undefined) return;
    const flipped = ({ bytes, length }: Content): Content => {
      const copy = bytes.slice(0, length);
      if (at < length) copy[at]! ^= 1 << bit;
      return { bytes: copy, length };
    };
    inode.synced = flipped(inode.synced);
    inode.now = flipped(inode.now);
  }
}

function survivorOf({ now, synced }: Inode, random: Prng): Uint8Array {
  const low = Math.min(now.length, synced.length);
  const length = random.chance(1, 3) ? now.length : random.between(low, Math.max(now.length, synced.length));
  const left = new Uint8Array(length);
  // Whole pages of luck, so that large writes survive in part often.
  const luck = random.between(0, 4);
  for (let at = 0; at < length; at += SECTOR_BYTES) {
    const { bytes, length: end } = random.chance(luck, 4) ? now : synced;
    left.set(bytes.subarray(at, Math.max(at, Math.min(at + SECTOR_BYTES, length, end))), at);
  }
  return left;
}
