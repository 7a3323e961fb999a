/** The client for browsers: the global WebSocket, with the token as a sub-protocol; state in localStorage or IndexedDB. */
import { DunlinError } from '../core/errors.js';
import {
  type ClientOptions,
  ClientShell,
  type ClientStorage,
  type Platform,
  type Transport,
  type TransportEvents,
} from './shell.js';

export { encodeDeviceTable, readDeviceTable, type TablePart } from '../core/device-table.js';
export { CloseCodes, DunlinError, ErrorCodes } from '../core/errors.js';
export { Flag, Kind } from '../core/frame.js';
export type { ConversationId } from '../core/ids.js';
export { type DeviceRow, type MemberRow, Role } from '../core/members.js';
export { type SendOptions } from './core.js';
export * from './shell.js';

/** The few things of a browser that are used; so that this file compiles, and is tested, without one. */
interface Source<Events> {
  addEventListener<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => void): void;
}

interface SocketEvents {
  open: unknown;
  message: { readonly data: unknown };
  close: { readonly code: number; readonly reason: string };
}

interface BrowserSocket extends Source<SocketEvents> {
  binaryType: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(bytes: Uint8Array): void;
  close(code?: number, reason?: string): void;
}

interface KeyValueStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

interface DatabaseRequest<T> extends Source<{ success: unknown; error: unknown; upgradeneeded: unknown }> {
  readonly result: T;
  readonly error: Error | null;
}

interface Database {
  createObjectStore(name: string): unknown;
  transaction(store: string, mode: 'readonly' | 'readwrite'): DatabaseTransaction;
}

interface DatabaseTransaction extends Source<{ complete: unknown; error: unknown }> {
  readonly error: Error | null;
  objectStore(name: string): { get(key: string): DatabaseRequest<unknown>; put(value: unknown, key: string): unknown };
}

interface BrowserGlobals {
  WebSocket?: new (url: string, protocols: string[]) => BrowserSocket;
  localStorage?: KeyValueStorage;
  indexedDB?: { open(name: string, version: number): DatabaseRequest<Database> };
  addEventListener?(name: 'online', handler: () => void): void;
  removeEventListener?(name: 'online', handler: () => void): void;
}

const globals = globalThis as unknown as BrowserGlobals;
const OPEN = 1;

export class DunlinClient extends ClientShell {
  readonly #online = (): void => this.reconnectNow();

  constructor(options: ClientOptions) {
    super(options, BROWSER_PLATFORM);
  }

  override async connect(): Promise<void> {
    globals.addEventListener?.('online', this.#online);
    await super.connect();
  }

  override async close(): Promise<void> {
    globals.removeEventListener?.('online', this.#online);
    await super.close();
  }
}

/** State under one key of localStorage, as base64. Small outboxes only: browsers allow some 5 MB for all keys. */
export function localStorageStorage(key: string): ClientStorage {
  const storage = globals.localStorage;
  if (storage === undefined) throw new DunlinError('There is no localStorage here.');
  return {
    load: () => {
      const text = storage.getItem(key);
      return Promise.resolve(text === null ? undefined : Uint8Array.from(atob(text), (char) => char.charCodeAt(0)));
    },
    save: (state) => {
      let text = '';
      for (const byte of state) text += String.fromCharCode(byte);
      storage.setItem(key, btoa(text));
      return Promise.resolve();
    },
  };
}

const STORE = 'state';

/** State under one key of an IndexedDB database of its own. */
export function indexedDbStorage(name: string): ClientStorage {
  let database: Promise<Database> | undefined;
  const open = (): Promise<Database> => (database ??= openDatabase(name));
  return {
    async load() {
      const transaction = (await open()).transaction(STORE, 'readonly');
      const value = await resultOf(transaction.objectStore(STORE).get(STORE));
      return value instanceof Uint8Array ? value : undefined;
    },
    async save(state) {
      const transaction = (await open()).transaction(STORE, 'readwrite');
      transaction.objectStore(STORE).put(state, STORE);
      await new Promise<void>((resolve, reject) => {
        transaction.addEventListener('complete', () => resolve());
        transaction.addEventListener('error', () =>
          reject(transaction.error ?? new DunlinError('IndexedDB did not take the state.')),
        );
      });
    },
  };
}

function openDatabase(name: string): Promise<Database> {
  const factory = globals.indexedDB;
  if (factory === undefined) throw new DunlinError('There is no IndexedDB here.');
  const request = factory.open(name, 1);
  request.addEventListener('upgradeneeded', () => request.result.createObjectStore(STORE));
  return resultOf(request);
}

function resultOf<T>(request: DatabaseRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result));
    request.addEventListener('error', () => reject(request.error ?? new DunlinError('IndexedDB failed.')));
  });
}

const BROWSER_PLATFORM: Platform = {
  open: openSocket,
  nowMs: () => performance.now(),
  seed: () => {
    const words = crypto.getRandomValues(new Uint32Array(2));
    return (words[0]! >>> 11) * 2 ** 32 + words[1]!;
  },
};

function openSocket(url: string, token: string, events: TransportEvents): Transport {
  if (globals.WebSocket === undefined) throw new DunlinError('There is no WebSocket here.');
  const socket = new globals.WebSocket(url, ['dunlin', token]);
  let isClosed = false;
  socket.binaryType = 'arraybuffer';
  socket.addEventListener('open', () => events.opened());
  socket.addEventListener('message', ({ data }) => {
    if (data instanceof ArrayBuffer && !isClosed) events.received(new Uint8Array(data));
  });
  // An `error` says no more than the `close` that follows it.
  socket.addEventListener('close', ({ code, reason }) => {
    if (isClosed) return;
    isClosed = true;
    events.closed(code, reason, 0);
  });
  return {
    get bufferedAmount() {
      return socket.bufferedAmount;
    },
    send: (bytes) => {
      if (socket.readyState === OPEN) socket.send(bytes);
    },
    close: (code, reason) => {
      isClosed = true;
      socket.close(code === 1000 ? 1000 : 4001, reason.slice(0, 60));
    },
  };
}
