/** The embedded store: starts the thread that owns LMDB, and makes the handles that lanes' threads open. */
import { MessageChannel, Worker } from 'node:worker_threads';
import { DunlinError } from '../../core/errors.js';
import type { StoreHandle } from './store-port.js';
import type { StoreClient, StoreWorkerData } from './store-worker.js';

export interface StoreOptions {
  /** Made if it is not there; its parent must be. */
  readonly directory: string;
  /** The store's thread died, nothing can be committed any more. Called once at most. */
  readonly fatal: (error: Error) => void;
}

export interface EmbeddedStore {
  /** A handle for one lane; its doorbell rings when an answer is there. `handle.port` goes into the transfer list. */
  port(doorbell: SharedArrayBuffer): StoreHandle;
  /** Commits what was asked for, and closes the files. Lanes must have stopped: they get no more answers. */
  close(): Promise<void>;
}

/** Rejects with a DunlinError if the store's files are damaged, foreign or not writable. */
export async function createStore(options: StoreOptions): Promise<EmbeddedStore> {
  const data: StoreWorkerData = { storeDirectory: options.directory };
  const worker = new Worker(new URL('./store-worker.js', import.meta.url), { workerData: data, name: 'store' });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  let closing = false;
  let reported = false;
  const report = (sentence: string): void => {
    if (!reported) options.fatal(new DunlinError(sentence));
    reported = true;
  };
  await new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: { ready?: boolean; failed?: string }) => {
      worker.off('error', reject);
      if (message.ready === true) resolve();
      else reject(new DunlinError(message.failed ?? 'the store did not start'));
    });
  });
  worker.on('error', (error) => report(`the store failed: ${error.message}`));
  worker.on('exit', () => {
    if (!closing) report('the store failed: its thread ended');
  });
  return {
    port: (doorbell) => {
      const { port1, port2 } = new MessageChannel();
      const client: StoreClient = { port: port1, doorbell };
      worker.postMessage(client, [port1]);
      return { port: port2 };
    },
    close: async () => {
      closing = true;
      worker.postMessage('stop', []);
      await ended;
    },
  };
}
