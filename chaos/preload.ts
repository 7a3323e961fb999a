/** Switches of preload.c: compiled once a run, set and read through a file that the server's process maps. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DunlinError } from '../core/errors.js';

/** Words of the shared file, in the order of preload.c. */
const WORDS = ['syncDelayUs', 'syncFailures', 'tear', 'clockMs', 'delayed', 'failed', 'torn', 'shifted'] as const;
type Word = (typeof WORDS)[number];

const WORD_BYTES = 8;
const PLACES = ['./preload.c', '../../chaos/preload.c'];

function source(): string {
  const places = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)));
  return places.find((place) => existsSync(place))!;
}

export class Preload {
  readonly #file: string;
  readonly #library: string;
  readonly #fd: number;

  /** Compiles into `directory`. Throws a DunlinError when there is no C compiler. */
  constructor(directory: string) {
    this.#file = join(directory, 'faults');
    this.#library = join(directory, 'faults.so');
    const compiled = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', this.#library, source(), '-ldl'], {
      encoding: 'utf8',
    });
    if (compiled.status !== 0) {
      throw new DunlinError(
        `faults of disk and clock need a C compiler (cc; on Debian: apt-get install gcc libc6-dev): ${compiled.error?.message ?? compiled.stderr}.`,
      );
    }
    this.#fd = openSync(this.#file, 'w+');
    writeSync(this.#fd, new Uint8Array(WORDS.length * WORD_BYTES), 0, WORDS.length * WORD_BYTES, 0);
  }

  /** For the server's environment. */
  get environment(): NodeJS.ProcessEnv {
    return { LD_PRELOAD: this.#library, DUNLIN_FAULTS: this.#file };
  }

  set(word: Word, value: number): void {
    const bytes = Buffer.alloc(WORD_BYTES);
    bytes.writeBigInt64LE(BigInt(value));
    writeSync(this.#fd, bytes, 0, WORD_BYTES, WORDS.indexOf(word) * WORD_BYTES);
  }

  get(word: Word): number {
    const bytes = Buffer.alloc(WORD_BYTES);
    readSync(this.#fd, bytes, 0, WORD_BYTES, WORDS.indexOf(word) * WORD_BYTES);
    return Number(bytes.readBigInt64LE());
  }

  close(): void {
    closeSync(this.#fd);
  }
}
