/**
 * What must be true of LMDB's data file before LMDB may open it. LMDB itself checks too little: a file that is none ends
 * the process with a segmentation fault, and one that was cut ends it with a bus error at the first read of a missing page.
 *
 * ```text
 * two meta pages, at 0 and at the page size; within each, little-endian:
 *   18  u16  flags          8: a meta page
 *   24  u32  magic          0xbeefc0de
 *   28  u32  version        2
 *   48  u32  page size
 *  144  u64  last page number
 *  152  u64  transaction    the higher of the two pages counts
 * ```
 *
 * Pages have no checksums: a page that was overwritten with something else in the middle of the file is not noticed here.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { DunlinError } from '../../core/errors.js';

const META_BYTES = 168;
const META_FLAG = 8;
const MAGIC = 0xbeef_c0de;
const DATA_VERSION = 2;
const PAGE_BYTES_MIN = 4_096;
const PAGE_BYTES_MAX = 65_536;
/** The file grows in steps of this; the steps are holes and take no space. */
const GROWTH_BYTES = 16 * 1024 * 1024;

export function dataFileOf(directory: string): string {
  return join(directory, 'data.mdb');
}

interface MetaPage {
  readonly pageBytes: number;
  readonly lastPage: number;
  readonly transaction: number;
}

/** Sentence for a failed system call on `path`, be it Node's, which names it, or LMDB's, which tells its number. */
export function describeFailure(path: string, error: unknown): DunlinError {
  const { code: nameOrNumber, message } = error as { readonly code?: string | number; readonly message: string };
  const code = typeof nameOrNumber === 'number' && nameOrNumber > 0 ? getSystemErrorName(-nameOrNumber) : nameOrNumber;
  if (code === 'EROFS') return new DunlinError(`the store ${path} is on a read-only file system: it cannot be written`);
  if (code === 'EACCES' || code === 'EPERM')
    return new DunlinError(`the store ${path} cannot be written: permission denied`);
  if (code === 'ENOTDIR' || code === 'EEXIST') return new DunlinError(`${path} is a file, not the store's directory`);
  if (code === 'ENOSPC') return new DunlinError(`the disk of the store ${path} is full`);
  if (code === 'ENOENT')
    return new DunlinError(`the store ${path} cannot be made: its parent directory does not exist`);
  return new DunlinError(`the store ${path} cannot be opened: ${message}`);
}

/** Makes the directory if it is not there, and checks that both it and the data file can be used. Throws a DunlinError. */
export function prepareDirectory(directory: string): void {
  try {
    if (!fs.existsSync(directory)) fs.mkdirSync(directory);
    if (!fs.statSync(directory).isDirectory())
      throw new DunlinError(`${directory} is a file, not the store's directory`);
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    const file = dataFileOf(directory);
    if (!fs.existsSync(file)) return;
    if (!fs.statSync(file).isFile()) throw new DunlinError(`${file} is not a file: the store keeps its data there`);
    const fd = fs.openSync(file, 'r+');
    try {
      checkDataFile(file, fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    throw error instanceof DunlinError ? error : describeFailure(directory, error);
  }
}

function readMeta(fd: number, at: number): MetaPage | undefined {
  const page = Buffer.alloc(META_BYTES);
  if (fs.readSync(fd, page, 0, META_BYTES, at) < META_BYTES) return undefined;
  if (page.readUInt16LE(18) !== META_FLAG || page.readUInt32LE(24) !== MAGIC) return undefined;
  if (page.readUInt32LE(28) !== DATA_VERSION) return undefined;
  return {
    pageBytes: page.readUInt32LE(48),
    lastPage: Number(page.readBigUInt64LE(144)),
    transaction: Number(page.readBigUInt64LE(152)),
  };
}

function isPageSize(bytes: number): boolean {
  return bytes >= PAGE_BYTES_MIN && bytes <= PAGE_BYTES_MAX && (bytes & (bytes - 1)) === 0;
}

/** Nothing was ever committed: a crash came between making the file and the first sync. */
function isUnborn(fd: number, size: number): boolean {
  if (size > 2 * PAGE_BYTES_MAX) return false;
  const bytes = Buffer.alloc(size);
  fs.readSync(fd, bytes, 0, size, 0);
  return bytes.every((byte) => byte === 0);
}

function checkDataFile(file: string, fd: number): void {
  const { size } = fs.fstatSync(fd);
  if (size === 0) return;
  const first = readMeta(fd, 0);
  const second = first !== undefined && isPageSize(first.pageBytes) ? readMeta(fd, first.pageBytes) : undefined;
  if (first === undefined || second === undefined || second.pageBytes !== first.pageBytes) {
    if (isUnborn(fd, size)) {
      fs.ftruncateSync(fd, 0);
      return;
    }
    throw new DunlinError(`${file} is damaged, or not a store's data file: bring the directory back from a copy`);
  }
  const newest = second.transaction > first.transaction ? second : first;
  const bytes = (newest.lastPage + 1) * newest.pageBytes;
  if (size < bytes) {
    throw new DunlinError(
      `${file} was cut: it has ${size} bytes and needs ${bytes}; bring the directory back from a copy`,
    );
  }
}

/**
 * Keeps the data file longer than LMDB needs it to be. LMDB does not write pages that one transaction both takes and gives
 * back, so its file can rightly end before its last page; extended beforehand, a file that does so is a file that was cut.
 */
export class DataFile {
  readonly #fd: number;
  #size: number;

  constructor(directory: string) {
    this.#fd = fs.openSync(dataFileOf(directory), 'r+');
    this.#size = fs.fstatSync(this.#fd).size;
  }

  /** The file is at least `bytes` long afterwards, unless the system refuses. */
  reserve(bytes: number): void {
    if (bytes <= this.#size) return;
    const size = Math.ceil(bytes / GROWTH_BYTES) * GROWTH_BYTES;
    try {
      // LMDB may have made it longer meanwhile: never cut it.
      if (fs.fstatSync(this.#fd).size < size) fs.ftruncateSync(this.#fd, size);
      this.#size = size;
    } catch {
      // No room for even a hole: LMDB will be refused too, and says so.
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}
