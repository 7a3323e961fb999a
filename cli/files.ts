/** Files that flags name: what cannot be written is one sentence, before the work where that can be known. */
import { constants } from 'node:fs';
import { access, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DunlinError } from '../core/errors.js';

function refuse(file: string, flag: string, error: unknown): never {
  throw new DunlinError(
    `--${flag} ${file}: cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
  );
}

/** Before work whose result goes to `file`: throws if its directory is missing or takes no files. */
export async function mustBeWritable(file: string, flag: string): Promise<void> {
  await access(dirname(file), constants.W_OK).catch((error: unknown) => refuse(file, flag, error));
}

export async function writeText(file: string, text: string, flag: string): Promise<void> {
  await writeFile(file, text).catch((error: unknown) => refuse(file, flag, error));
}
