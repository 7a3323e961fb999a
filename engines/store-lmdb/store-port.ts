/**
 * The store as a lane's thread sees it: requests go to the store's thread by message, answers are fetched by polling, so that
 * the lane's thread neither waits nor returns to its event loop. The doorbell given to `EmbeddedStore.port` rings when an
 * answer is there.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { CommitOutcome, KeyRange, Store, StoreCompletion, StoreTransaction } from '../../core/ports.js';
import { violatedByRange, violatedLimit } from '../store-limits.js';
import {
  monotonicMs,
  pack,
  packTransaction,
  type StoreAnswer,
  type StoreRequest,
  unpack,
  unpackPairs,
} from './messages.js';

export interface StoreHandle {
  /** To be listed in the `transferList` of the worker that gets the handle. */
  readonly port: MessagePort;
}

class StorePort implements Store {
  readonly #port: MessagePort;
  /** Completions of what breaks a limit: it is not sent to the store's thread. */
  readonly #local: StoreCompletion[] = [];

  constructor(port: MessagePort) {
    this.#port = port;
  }

  #send(request: StoreRequest): void {
    this.#port.postMessage(request, [request.packed.buffer as ArrayBuffer]);
  }

  commit(tag: number, transaction: StoreTransaction): void {
    const reason = violatedLimit(transaction);
    if (reason !== undefined) {
      this.#local.push({ tag, commit: { outcome: 'refused', reason } });
      return;
    }
    this.#send({
      kind: 'commit',
      tag,
      submittedAtMs: monotonicMs(),
      expects: transaction.expect.length,
      clears: transaction.clear.length,
      packed: packTransaction(transaction),
    });
  }

  read(tag: number, keys: readonly Uint8Array[]): void {
    this.#send({ kind: 'read', tag, packed: pack(keys) });
  }

  readRange(tag: number, range: KeyRange, bytesMax: number): void {
    const broken = violatedByRange(range);
    if (broken !== undefined) {
      this.#local.push({ tag, failed: broken });
      return;
    }
    this.#send({ kind: 'range', tag, packed: pack([range.begin, range.end]), bytesMax });
  }

  completion(): StoreCompletion | undefined {
    const local = this.#local.shift();
    if (local !== undefined) return local;
    const message = receiveMessageOnPort(this.#port) as { message: StoreAnswer } | undefined;
    return message === undefined ? undefined : completionOf(message.message);
  }
}

function completionOf(answer: StoreAnswer): StoreCompletion {
  const { tag } = answer;
  switch (answer.kind) {
    case 'commit': {
      const outcome = answer.outcome as CommitOutcome;
      return { tag, commit: answer.reason === undefined ? { outcome } : { outcome, reason: answer.reason } };
    }
    case 'read':
      return { tag, values: unpack(answer.packed) };
    case 'range':
      return { tag, range: { pairs: unpackPairs(answer.packed), more: answer.more } };
    case 'failed':
      return { tag, failed: answer.reason };
  }
}

export function openStorePort(handle: StoreHandle): Store {
  return new StorePort(handle.port);
}
