/** The few file-system calls that the journal's writer makes, so that tests can let them fail. All synchronous but the sync. */
import fs from 'node:fs';

export interface Files {
  /** Opens for reading and writing; creates if told to. */
  open(path: string, create: boolean): number;
  /** Opens to read only; the error of a file that is not there has the code ENOENT. */
  openToRead(path: string): number;
  close(fd: number): void;
  /** Writes all or some of the bytes at a position; returns how many. */
  write(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number;
  read(fd: number, bytes: Uint8Array, start: number, length: number, at: number): number;
  size(fd: number): number;
  truncate(fd: number, length: number): void;
  /** Calls back when everything written before the call is on the disk. */
  sync(fd: number, done: (error: Error | null) => void): void;
  syncNow(fd: number): void;
  /** Makes creations and removals in a directory durable. */
  syncDirectory(path: string): void;
  remove(path: string): void;
  list(path: string): string[];
  freeBytes(path: string): number;
}

export const realFiles: Files = {
  open: (path, create) => fs.openSync(path, create ? 'w+' : 'r+'),
  openToRead: (path) => fs.openSync(path, 'r'),
  close: (fd) => fs.closeSync(fd),
  write: (fd, bytes, start, length, at) => fs.writeSync(fd, bytes, start, length, at),
  read: (fd, bytes, start, length, at) => fs.readSync(fd, bytes, start, length, at),
  size: (fd) => fs.fstatSync(fd).size,
  truncate: (fd, length) => fs.ftruncateSync(fd, length),
  sync: (fd, done) => fs.fdatasync(fd, done),
  syncNow: (fd) => fs.fdatasyncSync(fd),
  syncDirectory: (path) => {
    const fd = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  },
  remove: (path) => fs.unlinkSync(path),
  list: (path) => fs.readdirSync(path),
  freeBytes: (path) => {
    const { bavail, bsize } = fs.statfsSync(path);
    return bavail * bsize;
  },
};

export function isNoSpace(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** Reads exactly `length` bytes unless the file ends before; returns how many. */
export function readFully(
  files: Files,
  fd: number,
  bytes: Uint8Array,
  start: number,
  length: number,
  at: number,
): number {
  let done = 0;
  while (done < length) {
    const read = files.read(fd, bytes, start + done, length - done, at + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}

/** Writes everything, however many calls it takes. Throws what the file system throws; then any part may be written. */
export function writeFully(
  files: Files,
  fd: number,
  bytes: Uint8Array,
  start: number,
  length: number,
  at: number,
): void {
  let done = 0;
  while (done < length) done += files.write(fd, bytes, start + done, length - done, at + done);
}
