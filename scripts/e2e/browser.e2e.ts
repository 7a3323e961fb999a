/** The browser shell in a real Chromium: two people, a killed server, a page that is closed in between. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { after, test } from 'node:test';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { finish, restartServer, root, runDunlin, type Server, startServer } from './harness.js';

const PROGRAMS = [process.env['DUNLIN_CHROMIUM'], '/usr/bin/chromium', '/usr/bin/google-chrome'];
/** Nothing is fetched, and nothing but the pages runs. */
const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
/** Messages that each side sends at once. */
const BURST = 200;

/** Runs in the page: a client with its state in IndexedDB, and what it was told. */
const PAGE = `<!doctype html><title>Dunlin</title><script type="module">
  import { DunlinClient, indexedDbStorage } from '/client/browser.js';
  const seen = [];
  let client;
  window.begin = async (url, token, peer, fresh) => {
    client = new DunlinClient({ url, token, freshDevice: fresh, storage: indexedDbStorage('dunlin') });
    client.on('message', ({ payload, seq }) => {
      // What was handled just before a crash may come again: an application knows it by its sequence.
      if (seq <= Number(localStorage.getItem('kept'))) return;
      localStorage.setItem('kept', seq);
      seen.push([seq, new TextDecoder().decode(payload)]);
    });
    window.say = (text) => client.send(client.direct(peer), text).then(({ seq }) => seq);
    await client.connect();
  };
  window.texts = () => seen.map(([, text]) => text);
  window.sequences = () => seen.map(([seq]) => seq);
  window.end = () => client.close();
  window.isReady = true;
</script>`;

interface Person {
  readonly id: number;
  readonly token: string;
  readonly context: BrowserContext;
  page: Page;
}

const open: { browser?: Browser; pages?: HttpServer } = {};
after(async () => {
  await open.browser?.close();
  open.pages?.close();
});

/** Serves the page and the compiled SDK. */
async function servePages(): Promise<string> {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? '/', 'http://localhost').pathname);
    const file = join(root, 'dist', path);
    if (path === '/') {
      response.setHeader('content-type', 'text/html');
      response.end(PAGE);
    } else if (/^\/(client|core)\/[\w-]+\.js$/.test(path) && existsSync(file)) {
      response.setHeader('content-type', 'text/javascript');
      response.end(readFileSync(file));
    } else {
      response.statusCode = 404;
      response.end();
    }
  });
  open.pages = server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function person(server: Server, browser: Browser, user: string, pages: string): Promise<Person> {
  const { code, text } = await finish(runDunlin(['token', '--user', user, '--data', server.data, '--json']));
  assert.equal(code, 0, text);
  const { user: id, token } = JSON.parse(text) as { user: number; token: string };
  const context = await browser.newContext();
  return { id, token, context, page: await openPage(context, pages) };
}

async function openPage(context: BrowserContext, pages: string): Promise<Page> {
  const page = await context.newPage();
  page.on('pageerror', (error) => assert.fail(`in the page: ${error.message}`));
  await page.goto(pages);
  await page.waitForFunction('window.isReady === true');
  return page;
}

function begin(who: Person, server: Server, peer: Person, isFresh: boolean): Promise<unknown> {
  const args = [server.url, who.token, peer.id, isFresh].map((value) => JSON.stringify(value));
  return who.page.evaluate(`begin(${args.join(', ')})`);
}

function say(who: Person, text: string): Promise<number> {
  return who.page.evaluate<number>(`say(${JSON.stringify(text)})`);
}

async function hears(who: Person, count: number): Promise<string[]> {
  await who.page.waitForFunction(`texts().length >= ${count}`);
  return who.page.evaluate<string[]>('texts()');
}

function numbered(name: string): string[] {
  return Array.from({ length: BURST }, (_, n) => `${name} ${n}`);
}

test('the browser shell in Chromium: a burst, a killed server, a page closed in between', async () => {
  const executablePath = PROGRAMS.find((program) => program !== undefined && existsSync(program));
  assert.ok(executablePath, 'Chromium is missing: apt-get install chromium, or name one in DUNLIN_CHROMIUM.');
  open.browser = await chromium.launch({ executablePath, args: ARGS });
  const pages = await servePages();
  let server = await startServer();
  const ada = await person(server, open.browser, 'ada', pages);
  const bo = await person(server, open.browser, 'bo', pages);
  await Promise.all([begin(ada, server, bo, true), begin(bo, server, ada, true)]);

  // Both at once, and all in order: each hears the other's texts as they were said.
  const burst = (who: Person, name: string): Promise<unknown> =>
    who.page.evaluate(`Promise.all(${JSON.stringify(numbered(name))}.map((text) => say(text)))`);
  await Promise.all([burst(ada, 'ada'), burst(bo, 'bo')]);
  assert.deepEqual(await hears(bo, BURST), numbered('ada'));
  assert.deepEqual(await hears(ada, BURST), numbered('bo'));

  // What is said while there is no server arrives when there is one again.
  await server.murder();
  const late = [say(ada, 'late'), say(bo, 'answer')];
  server = await restartServer(server);
  const [lateSeq, answerSeq] = await Promise.all(late);
  assert.deepEqual([lateSeq, answerSeq].toSorted(), [2 * BURST + 1, 2 * BURST + 2]);
  assert.deepEqual((await hears(bo, BURST + 1)).slice(BURST), ['late']);
  assert.deepEqual((await hears(ada, BURST + 1)).slice(BURST), ['answer']);

  // A page that is closed without a goodbye, and opened again: IndexedDB tells it where it was.
  await bo.page.close();
  const away = await say(ada, 'while you were away');
  bo.page = await openPage(bo.context, pages);
  await begin(bo, server, ada, false);
  assert.deepEqual(await hears(bo, 1), ['while you were away']);
  assert.equal(await say(bo, 'here again'), away + 1);
  assert.equal((await hears(ada, BURST + 2)).at(-1), 'here again');
  const sequences = await ada.page.evaluate<number[]>('sequences()');
  assert.deepEqual(
    sequences,
    sequences.toSorted((one, other) => one - other),
  );
  await Promise.all([ada.page.evaluate('end()'), bo.page.evaluate('end()')]);
  assert.equal(await server.stop(), 0);
});
