/**
 * The thread that owns LMDB. It takes what has come from all lanes, answers the reads, and commits the transactions together
 * with one sync; what comes meanwhile is the next round. So a lane's reads never wait for more than one commit, and lanes
 * share the cost of a sync.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { DunlinError } from '../../core/errors.js';
import { STORE_TRANSACTION_AGE_MS_MAX, STORE_TRANSACTION_BYTES_MAX } from '../../core/limits.js';
import { Doorbell } from '../doorbell.js';
import { LmdbDatabase } from './database.js';
import {
  type CommitRequest,
  monotonicMs,
  pack,
  packPairs,
  type StoreAnswer,
  type StoreRequest,
  unpack,
  unpackTransaction,
} from './messages.js';

export interface StoreWorkerData {
  readonly storeDirectory: string;
}

/** A lane's end: sent to the worker for each port. */
export interface StoreClient {
  readonly port: MessagePort;
  readonly doorbell: SharedArrayBuffer;
}

/** Bytes committed with one sync, unless one transaction alone has more. */
const ROUND_BYTES_MAX = 2 * STORE_TRANSACTION_BYTES_MAX;

interface Client {
  readonly port: MessagePort;
  readonly doorbell: Doorbell;
}

interface Commit {
  readonly client: Client;
  readonly request: CommitRequest;
}

class StoreThread {
  readonly #database: LmdbDatabase;
  readonly #clients = new Set<Client>();
  #commits: Commit[] = [];
  #scheduled = false;

  constructor(database: LmdbDatabase) {
    this.#database = database;
  }

  add({ port, doorbell }: StoreClient): void {
    const client = { port, doorbell: new Doorbell(doorbell) };
    this.#clients.add(client);
    port.on('message', (request: StoreRequest) => this.#take(client, request));
    // The lane's thread ended. What it asked for is done; nobody is told.
    port.on('close', () => this.#clients.delete(client));
  }

  #take(client: Client, request: StoreRequest): void {
    if (request.kind !== 'commit') {
      this.#answer(client, this.#read(request));
      return;
    }
    this.#commits.push({ client, request });
    this.#schedule();
  }

  /** Messages that are there already come before an immediate: they are in the same round. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#commitRound();
      if (this.#commits.length > 0) this.#schedule();
    });
  }

  #answer({ port, doorbell }: Client, answer: StoreAnswer): void {
    const transfer = 'packed' in answer ? [answer.packed.buffer as ArrayBuffer] : [];
    port.postMessage(answer, transfer);
    doorbell.ring();
  }

  #read(request: Exclude<StoreRequest, CommitRequest>): StoreAnswer {
    const { kind, tag } = request;
    try {
      const strings = unpack(request.packed) as Uint8Array[];
      if (kind === 'read') return { kind, tag, packed: pack(this.#database.read(strings)) };
      const range = this.#database.readRange({ begin: strings[0]!, end: strings[1]! }, request.bytesMax);
      return { kind, tag, packed: packPairs(range.pairs), more: range.more };
    } catch (error) {
      return { kind: 'failed', tag, reason: (error as Error).message };
    }
  }

  /** Throws when LMDB can write no more. */
  #commitRound(): void {
    const round = this.#nextRound();
    if (round.length === 0) return;
    const answers = this.#database.commitAll(round.map(({ request }) => unpackTransaction(request)));
    round.forEach(({ client, request }, i) =>
      this.#answer(client, { kind: 'commit', tag: request.tag, ...answers[i]! }),
    );
    if (this.#database.brokenBy !== undefined) throw new DunlinError(this.#database.brokenBy);
  }

  #nextRound(): Commit[] {
    const oldestMs = monotonicMs() - STORE_TRANSACTION_AGE_MS_MAX;
    const round: Commit[] = [];
    let bytes = 0;
    let taken = 0;
    for (const commit of this.#commits) {
      const { tag, packed, submittedAtMs } = commit.request;
      if (round.length > 0 && bytes + packed.length > ROUND_BYTES_MAX) break;
      taken++;
      if (submittedAtMs < oldestMs) {
        this.#answer(commit.client, { kind: 'commit', tag, outcome: 'too_old' });
        continue;
      }
      round.push(commit);
      bytes += packed.length;
    }
    this.#commits = this.#commits.slice(taken);
    return round;
  }

  async close(): Promise<void> {
    while (this.#commits.length > 0) this.#commitRound();
    for (const { port } of this.#clients) port.close();
    await this.#database.close();
  }
}

function serve(port: MessagePort, data: StoreWorkerData): void {
  let database: LmdbDatabase;
  try {
    database = LmdbDatabase.open(data.storeDirectory);
  } catch (error) {
    port.postMessage({ failed: (error as Error).message });
    return;
  }
  const thread = new StoreThread(database);
  port.on('message', (message: StoreClient | 'stop') => {
    if (message !== 'stop') {
      thread.add(message);
      return;
    }
    port.close();
    // A failure rejects, ends the thread and is told as its error.
    void thread.close();
  });
  port.postMessage({ ready: true });
}

if (parentPort !== null) serve(parentPort, workerData as StoreWorkerData);
