/** Histories as files: line by line, however large. */
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DunlinError } from '../core/errors.js';

const PIECE_BYTES = 1 << 20;
const ENDING = '.ndjson';

/** The files of a history: one file, or all of a directory. Throws a DunlinError when there is none. */
export function historyFiles(path: string): string[] {
  if (!existsSync(path)) throw new DunlinError(`${path}: there is no such history.`);
  if (!statSync(path).isDirectory()) return [path];
  const files = readdirSync(path).filter((file) => file.endsWith(ENDING));
  if (files.length === 0) throw new DunlinError(`${path}: there is no history (*${ENDING}) in it.`);
  return files.toSorted().map((file) => join(path, file));
}

export function* linesOf(file: string): Generator<string> {
  const fd = openSync(file, 'r');
  const piece = Buffer.alloc(PIECE_BYTES);
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (let read = readSync(fd, piece); read > 0; read = readSync(fd, piece)) {
      const lines = (rest + decoder.decode(piece.subarray(0, read), { stream: true })).split('\n');
      rest = lines.pop()!;
      yield* lines;
    }
  } finally {
    closeSync(fd);
  }
  if (rest !== '') yield rest;
}
