/** The browser client under Node, with what a browser has stood in for: WebSocket, localStorage, IndexedDB, `online`. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket as NodeWebSocket } from 'ws';
import { DunlinClient, indexedDbStorage, localStorageStorage, type ReceivedMessage } from './browser.js';
import { ReferenceSocketServer, unsignedToken } from './reference-socket.js';

const server = new ReferenceSocketServer();
const globals = globalThis as Record<string, unknown>;
const replaced = new Map<string, PropertyDescriptor | undefined>();

function standIn(name: string, value: unknown): void {
  replaced.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

/** Like a browser's: no headers, and an error without a listener is nobody's business. */
class BrowserWebSocket extends NodeWebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols, { perMessageDeflate: false });
    this.on('error', () => undefined);
  }
}

class Storage {
  readonly #items = new Map<string, string>();
  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }
  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }
}

/** As much of IndexedDB as is used: requests that succeed a turn later, one value a key. */
class FakeIndexedDb {
  readonly #values = new Map<string, unknown>();

  #later<T>(result: T, name: string): EventTarget & { result: T; error: null } {
    const request = Object.assign(new EventTarget(), { result, error: null });
    setImmediate(() => {
      if (name === 'success') request.dispatchEvent(new Event('upgradeneeded'));
      request.dispatchEvent(new Event(name));
    });
    return request;
  }

  open(): unknown {
    const objectStore = {
      get: (key: string) => this.#later(this.#values.get(key), 'success'),
      put: (value: unknown, key: string) => void this.#values.set(key, value),
    };
    const transaction = (): unknown =>
      Object.assign(this.#later(undefined, 'complete'), { objectStore: () => objectStore });
    return this.#later({ createObjectStore: () => undefined, transaction }, 'success');
  }
}

const events = new EventTarget();

before(async () => {
  standIn('WebSocket', BrowserWebSocket);
  standIn('localStorage', new Storage());
  standIn('indexedDB', new FakeIndexedDb());
  standIn('addEventListener', events.addEventListener.bind(events));
  standIn('removeEventListener', events.removeEventListener.bind(events));
  await server.listen();
});

after(async () => {
  await server.kill();
  for (const [name, descriptor] of replaced) {
    if (descriptor === undefined) delete globals[name];
    else Object.defineProperty(globalThis, name, descriptor);
  }
});

function nextMessage(client: DunlinClient): Promise<ReceivedMessage> {
  return new Promise((resolve) => client.once('message', resolve));
}

test('the token goes as a sub-protocol, and messages go both ways', async () => {
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(1, 1) });
  const bo = new DunlinClient({ url: server.url, token: unsignedToken(2, 1) });
  await Promise.all([ada.connect(), bo.connect()]);
  const offers = server.protocols.map((offer) => offer.split(/, */)).toSorted();
  assert.deepEqual(offers, [1, 2].map((user) => ['dunlin', unsignedToken(user, 1)]).toSorted());
  const received = nextMessage(bo);
  await ada.send(ada.direct(2), 'hello');
  assert.equal(new TextDecoder().decode((await received).payload), 'hello');
  await Promise.all([ada.close(), bo.close()]);
});

for (const [name, storageOf] of [
  ['localStorage', () => localStorageStorage('ada')],
  ['IndexedDB', () => indexedDbStorage('ada')],
] as const) {
  test(`${name} keeps the outbox over a reload of the page`, async () => {
    const user = name === 'IndexedDB' ? 4 : 3;
    const options = { url: server.url, token: unsignedToken(user, 1) };
    await server.kill();
    const page = new DunlinClient({ ...options, storage: storageOf() });
    await page.prepare();
    page.send(page.direct(9), 'before the reload', { tag: 5 }).catch(() => undefined);
    page.connect().catch(() => undefined);
    await page.close();
    await server.listen();

    const reloaded = new DunlinClient({ ...options, storage: storageOf() });
    const sent = new Promise<number>((resolve) => reloaded.on('sent', ({ tag }) => resolve(tag)));
    await reloaded.connect();
    assert.equal(await sent, 5);
    await reloaded.close();
  });
}

test('the browser says that it is online again: no waiting for the backoff', async () => {
  const ada = new DunlinClient({ url: server.url, token: unsignedToken(5, 1) });
  await ada.connect();
  server.refuseWith = { status: 503, retryAfterS: 0 };
  const refused = new Promise<void>((resolve) => {
    let attempts = 0;
    ada.on('state', ({ state }) => {
      if (state === 'offline' && ++attempts === 3) resolve();
    });
  });
  const online = (): boolean => events.dispatchEvent(new Event('online'));
  ada.on('state', ({ state }) => {
    if (state === 'offline') setImmediate(online);
  });
  server.close(5 * 128 + 1, 4001);
  await refused;
  server.refuseWith = undefined;
  const live = new Promise<void>((resolve) => ada.once('caughtUp', () => resolve()));
  online();
  await live;
  await ada.close();
});
