/**
 * The store's transactions and reads on LMDB. Raw bytes as keys, compared as bytes, and raw bytes as values.
 *
 * Durability: with `overlappingSync` and `noSync` off, LMDB writes a transaction's pages, calls fdatasync, and then writes
 * the meta page through a descriptor opened with O_DSYNC, all before `transactionSync` returns (seen with strace). So a
 * commit that returned survives a power failure, and one that did not return is not there.
 */
import { type Database, open, type RootDatabase } from 'lmdb';
import { DunlinError } from '../../core/errors.js';
import { compareKeys } from '../../core/keys.js';
import type { CommitOutcome, KeyRange, Put, StoreTransaction } from '../../core/ports.js';
import { transactionBytes, violatedByRange, violatedLimit } from '../store-limits.js';
import { DataFile, describeFailure, prepareDirectory } from './data-file.js';

/** Name of LMDB's inner database; carries the format of what is in it. */
const FORMAT_PREFIX = 'dunlin store ';
const FORMAT = `${FORMAT_PREFIX}1`;
/** Keys removed between two looks at a range that is cleared. */
const CLEAR_KEYS = 4_096;

export interface CommitAnswer {
  readonly outcome: CommitOutcome;
  readonly reason?: string;
}

export interface RangeAnswer {
  readonly pairs: readonly Put[];
  readonly more: boolean;
}

type Bytes = Uint8Array<ArrayBufferLike>;

interface Stats {
  readonly pageSize: number;
  readonly lastPageNumber: number;
}

function sameBytes(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return compareKeys(one, other) === 0;
}

export class LmdbDatabase {
  readonly #root: RootDatabase<Bytes, Bytes>;
  readonly #db: Database<Bytes, Bytes>;
  readonly #file: DataFile;
  readonly #pageBytes: number;
  #brokenBy: string | undefined;

  private constructor(root: RootDatabase<Bytes, Bytes>, db: Database<Bytes, Bytes>, file: DataFile) {
    this.#root = root;
    this.#db = db;
    this.#file = file;
    this.#pageBytes = (root.getStats() as Stats).pageSize;
  }

  /** Opens the store in `directory`, or makes it. Throws a DunlinError if its files are damaged, foreign or not writable. */
  static open(directory: string): LmdbDatabase {
    prepareDirectory(directory);
    let root: RootDatabase<Bytes, Bytes>;
    try {
      root = open<Bytes, Bytes>({
        path: directory,
        noSubdir: false,
        keyEncoding: 'binary',
        encoding: 'binary',
        overlappingSync: false,
        maxDbs: 2,
      });
    } catch (error) {
      throw describeFailure(directory, error);
    }
    // Names are stored with a zero behind them.
    const names = [...root.getKeys()].map((name) => Buffer.from(name).toString('latin1').replace('\0', ''));
    const foreign = names.find((name) => name !== FORMAT);
    if (foreign !== undefined) {
      void root.close();
      throw new DunlinError(
        foreign.startsWith(FORMAT_PREFIX)
          ? `${directory} holds "${foreign}", and "${FORMAT}" is known here: use the version that wrote it`
          : `${directory} holds a database of something else: choose another directory`,
      );
    }
    const db = root.openDB<Bytes, Bytes>({ name: FORMAT, keyEncoding: 'binary', encoding: 'binary' });
    return new LmdbDatabase(root, db, new DataFile(directory));
  }

  /** Set when LMDB can write no more: a sentence that says why. */
  get brokenBy(): string | undefined {
    return this.#brokenBy;
  }

  /**
   * Commits transactions in their order, with one sync for all: each is checked against what those before it left. If the
   * disk does not take them together, each is tried alone, so that a large one does not take a small one down with it.
   */
  commitAll(transactions: readonly StoreTransaction[]): CommitAnswer[] {
    const answers: CommitAnswer[] = [];
    try {
      this.#reserve(transactions);
      this.#root.transactionSync(() => {
        for (const transaction of transactions) answers.push(this.#apply(transaction));
      });
      return answers;
    } catch (error) {
      if (transactions.length > 1) return transactions.map((transaction) => this.commitAll([transaction])[0]!);
      return [this.#failed((error as Error).message)];
    }
  }

  /** Room for new pages: the bytes themselves, a page that each entry may have to itself, and the copied inner pages. */
  #reserve(transactions: readonly StoreTransaction[]): void {
    let bytes = 0;
    for (const transaction of transactions) {
      const entries = transaction.puts.length + transaction.clear.length + 4;
      bytes += transactionBytes(transaction) + entries * 2 * this.#pageBytes;
    }
    const { lastPageNumber } = this.#root.getStats() as Stats;
    this.#file.reserve((lastPageNumber + 1) * this.#pageBytes + bytes);
  }

  /**
   * LMDB failed before or while it wrote. Pages of a failed transaction are referenced by nothing: it did not happen, and
   * LMDB goes on. Only if the meta page itself could not be written, LMDB takes no more transactions, and may or may not
   * have done this one.
   */
  #failed(message: string): CommitAnswer {
    try {
      this.#root.transactionSync(() => undefined);
    } catch (error) {
      this.#brokenBy = `the store can write no more: ${(error as Error).message} (after: ${message})`;
      return { outcome: 'unknown', reason: this.#brokenBy };
    }
    // A short write, which is what a full disk often looks like, is reported as an input/output error.
    return { outcome: 'refused', reason: `the disk is full or failing: ${message}` };
  }

  #apply(transaction: StoreTransaction): CommitAnswer {
    const reason = violatedLimit(transaction);
    if (reason !== undefined) return { outcome: 'refused', reason };
    for (const { key, value } of transaction.expect) {
      if (!sameBytes(this.#db.getBinary(key), value)) return { outcome: 'conflict' };
    }
    for (const range of transaction.clear) this.#clear(range);
    for (const { key, value } of transaction.puts) this.#db.putSync(key, value);
    return { outcome: 'committed' };
  }

  #clear({ begin, end }: KeyRange): void {
    let keys: Bytes[];
    do {
      // The keys are taken first: removing under a cursor would move it.
      keys = [...this.#db.getKeys({ ...startOf(begin), end, limit: CLEAR_KEYS })];
      for (const key of keys) this.#db.removeSync(key);
    } while (keys.length === CLEAR_KEYS);
  }

  /** Values in the order of the keys; undefined where there is none. */
  read(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map((key) => (key.length === 0 ? undefined : this.#db.getBinary(key)));
  }

  /** Throws a DunlinError for a range that breaks a limit. */
  readRange(range: KeyRange, bytesMax: number): RangeAnswer {
    const broken = violatedByRange(range);
    if (broken !== undefined) throw new DunlinError(broken);
    const pairs: Put[] = [];
    let bytes = 0;
    for (const { key, value } of this.#db.getRange({ ...startOf(range.begin), end: range.end })) {
      bytes += key.length + value.length;
      if (pairs.length > 0 && bytes > bytesMax) return { pairs, more: true };
      pairs.push({ key, value });
    }
    return { pairs, more: false };
  }

  async close(): Promise<void> {
    this.#file.close();
    await this.#root.close();
  }
}

/** LMDB has no empty key; a range that begins with it begins with the first. */
function startOf(begin: Uint8Array): { start?: Uint8Array } {
  return begin.length === 0 ? {} : { start: begin };
}
