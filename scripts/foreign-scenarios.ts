/** What foreign clients do with a backbone, and what must have happened then. Each scenario begins where the last one ended. */
import assert from 'node:assert/strict';
import { ForeignClient, type FrameFields, kinds } from './foreign-client.js';

export interface ForeignTarget {
  readonly url: string;
  /** Of two users, or three. */
  readonly tokens: readonly string[];
}

export interface Scenario {
  readonly name: string;
  readonly run: (world: World) => Promise<void>;
}

/** The users of one run. Their payloads carry a number of the run, so that older ones in the inbox do not disturb. */
export class World {
  readonly ada: ForeignClient;
  readonly bo: ForeignClient;
  readonly cy: ForeignClient | undefined;
  readonly run = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  #numbers = 0;

  constructor({ url, tokens }: ForeignTarget) {
    const [ada, bo, cy] = tokens;
    if (ada === undefined || bo === undefined) throw new Error('two tokens are needed');
    this.ada = new ForeignClient({ url, token: ada });
    this.bo = new ForeignClient({ url, token: bo });
    this.cy = cy === undefined ? undefined : new ForeignClient({ url, token: cy });
  }

  get clients(): ForeignClient[] {
    return this.cy === undefined ? [this.ada, this.bo] : [this.ada, this.bo, this.cy];
  }

  get direct(): readonly [number, number] {
    const [one, other] = [this.ada.userId, this.bo.userId];
    return one < other ? [one, other] : [other, one];
  }

  /** Payloads that nobody has sent before. */
  payloads(count: number): Uint8Array[] {
    return Array.from({ length: count }, () => Buffer.from(`${this.run} ${this.#numbers++}`));
  }

  close(): void {
    for (const client of this.clients) client.cut();
  }
}

const text = (payload: Uint8Array): string => Buffer.from(payload).toString();

/** What of `payloads` came to a client in a conversation, in the order in which it came. */
function cameOf(
  client: ForeignClient,
  conversation: readonly [number, number],
  payloads: readonly Uint8Array[],
): string[] {
  const wanted = new Set(payloads.map(text));
  return client
    .of(conversation)
    .seen.filter((frame) => frame.kind === kinds.MESSAGE)
    .map((frame) => text(frame.payload))
    .filter((payload) => wanted.has(payload));
}

/** Waits until a client has all payloads, and checks that they came once each and in order. */
async function expectAll(
  client: ForeignClient,
  conversation: readonly [number, number],
  payloads: readonly Uint8Array[],
): Promise<void> {
  await client.until(
    () => cameOf(client, conversation, payloads).length >= payloads.length,
    `${payloads.length} messages`,
  );
  assert.deepEqual(cameOf(client, conversation, payloads), payloads.map(text));
}

async function expectOutcomes(
  client: ForeignClient,
  conversation: readonly [number, number],
  counters: readonly number[],
): Promise<void> {
  const { outcomes, outbox } = client.of(conversation);
  await client.until(() => counters.every((counter) => outcomes.has(counter)), `${counters.length} outcomes`);
  for (const counter of counters)
    assert.deepEqual([outcomes.get(counter)!.isTaken, outbox.has(counter)], [true, false]);
}

/** Sends in messages of 1 to 40 frames, with all encodings of numbers. */
function sendInBatches(
  client: ForeignClient,
  conversation: readonly [number, number],
  payloads: readonly Uint8Array[],
): number[] {
  const counters: number[] = [];
  for (let from = 0, size = 1; from < payloads.length; from += size, size = (size % 40) + 7) {
    client.numbers = from % 2 === 0 ? 'small' : 'float';
    counters.push(...client.send(conversation, payloads.slice(from, from + size)));
  }
  client.numbers = 'small';
  return counters;
}

/** The next frame of a kind that is not in any order, after `act`. */
async function answerTo(client: ForeignClient, kind: number, act: () => void): Promise<FrameFields> {
  const before = client.others.length;
  act();
  const found = (): FrameFields | undefined => client.others.slice(before).find((frame) => frame.kind === kind);
  await client.until(() => found() !== undefined, `a frame of kind ${kind}`);
  return found()!;
}

/** Sequence, sender and counter of everything in a conversation that a client saw from `from` on. */
function orderOf(client: ForeignClient, conversation: readonly [number, number], from = 1): string[] {
  return client
    .of(conversation)
    .seen.filter((frame) => frame.seq >= from)
    .map((frame) => `${frame.seq}: ${frame.device} #${frame.counter}`);
}

async function expectSame(
  world: World,
  conversation: readonly [number, number],
  clients: readonly ForeignClient[],
): Promise<void> {
  const head = Math.max(...clients.map((client) => client.of(conversation).last));
  for (const client of clients) await client.until(() => client.of(conversation).last >= head, `sequence ${head}`);
  const from = Math.max(...clients.map((client) => client.of(conversation).seen[0]!.seq));
  for (const client of clients)
    assert.deepEqual(orderOf(client, conversation, from), orderOf(world.ada, conversation, from));
}

/** Waits until a client knows that `whose` has all delivered, and all read, up to a sequence. */
async function expectReceipt(
  client: ForeignClient,
  conversation: readonly [number, number],
  whose: number,
  delivered: number,
  read: number,
): Promise<void> {
  const { receipts } = client.of(conversation);
  await client.until(() => {
    const known = receipts.get(whose);
    return known !== undefined && known.delivered >= delivered && known.read >= read;
  }, `delivered ${delivered} and read ${read} of ${whose}`);
}

async function hello(world: World): Promise<void> {
  for (const client of world.clients) await client.connect();
  const users = new Set(world.clients.map((client) => client.userId));
  assert.equal(users.size, world.clients.length, 'the tokens are of different users');
  for (const client of [world.ada, world.bo]) await client.recoverCounter(world.direct);
}

async function bothWays(world: World): Promise<void> {
  const { ada, bo, direct } = world;
  const [fromAda, fromBo] = [world.payloads(200), world.payloads(200)];
  const counters = [sendInBatches(ada, direct, fromAda), sendInBatches(bo, direct, fromBo)];
  await Promise.all([expectAll(bo, direct, fromAda), expectAll(ada, direct, fromBo)]);
  await Promise.all([expectOutcomes(ada, direct, counters[0]!), expectOutcomes(bo, direct, counters[1]!)]);
  await expectSame(world, direct, [ada, bo]);
}

async function sentTwice(world: World): Promise<void> {
  const { ada, bo, direct } = world;
  const payloads = world.payloads(30);
  const counters = ada.send(direct, payloads);
  ada.sendAgain();
  ada.sendAgain();
  await expectOutcomes(ada, direct, counters);
  await expectAll(bo, direct, payloads);
  const behind = world.payloads(1);
  ada.send(direct, behind);
  await expectAll(bo, direct, [...payloads, ...behind]);
}

async function resume(world: World): Promise<void> {
  const { ada, bo, direct } = world;
  const [before, during, queued] = [world.payloads(60), world.payloads(60), world.payloads(20)];
  sendInBatches(ada, direct, before);
  // In the middle of them, without a word and without an ack.
  await bo.until(() => cameOf(bo, direct, before).length > 0, 'the first of many');
  bo.cut();
  const counters = [...bo.send(direct, queued)];
  sendInBatches(ada, direct, during);
  ada.cut();
  await Promise.all([ada.connect(), bo.connect()]);
  await Promise.all([expectAll(bo, direct, [...before, ...during]), expectAll(ada, direct, queued)]);
  await expectOutcomes(bo, direct, counters);
  await expectSame(world, direct, [ada, bo]);
}

async function tellReceipts(world: World): Promise<void> {
  const { ada, bo, direct } = world;
  const payloads = world.payloads(5);
  ada.send(direct, payloads);
  await expectAll(bo, direct, payloads);
  const { last } = bo.of(direct);
  await expectReceipt(ada, direct, bo.userId * 128, last, 0);
  bo.read(direct, last);
  await expectReceipt(ada, direct, bo.userId * 128, last, last);
  const told = ada.of(direct).receipts.get(bo.userId * 128)!;
  assert.deepEqual([told.delivered, told.read], [last, last], 'no more than is true');
}

async function claims(world: World): Promise<void> {
  const { ada, bo, direct } = world;
  const payloads = world.payloads(1);
  ada.send(direct, payloads, { device: bo.deviceKey, seq: 4_000_000, inbox: 77, time: 1 });
  await expectAll(bo, direct, payloads);
  const frame = bo.of(direct).seen.at(-1)!;
  assert.equal(frame.device, ada.deviceKey);
  assert.ok(Math.abs(frame.time - Date.now()) < 3_600_000, `time ${frame.time}`);
}

async function counterGap(world: World): Promise<void> {
  const { ada, bo, direct } = world;
  const { nextCounter } = ada.of(direct);
  const [convA, convB] = direct;
  const payload = Buffer.from('skips');
  const rejected = await answerTo(ada, kinds.REJECT, () =>
    ada.raw([{ kind: kinds.MESSAGE, convA, convB, counter: nextCounter + 5, payload }]),
  );
  assert.deepEqual([rejected.counter, rejected.extra, rejected.seq], [nextCounter + 5, 37, nextCounter]);
  const payloads = world.payloads(3);
  ada.send(direct, payloads);
  await expectAll(bo, direct, payloads);
}

async function ping(world: World): Promise<void> {
  const pong = await answerTo(world.bo, kinds.PONG, () => world.bo.raw([{ kind: kinds.PING, extra: 4_711 }]));
  assert.equal(pong.extra, 4_711);
}

async function group(world: World): Promise<void> {
  const { ada, bo, cy, clients } = world;
  const conversation = [0, 1 + Math.floor(Math.random() * 2 ** 50)] as const;
  // Without a third client the third member is somebody who never comes.
  const third = cy?.userId ?? 1 + Math.floor(Math.random() * 2 ** 40);
  await expectOutcomes(ada, conversation, [ada.change(kinds.GROUP_CREATE, conversation, [bo.userId, third])]);
  for (const client of clients) await client.until(() => client.of(conversation).last >= 1, 'GROUP_CREATE');
  const sent = clients.map((client) => {
    const payloads = world.payloads(20);
    return { client, payloads, counters: sendInBatches(client, conversation, payloads) };
  });
  for (const { client, payloads, counters } of sent) {
    await expectOutcomes(client, conversation, counters);
    for (const other of clients) if (other !== client) await expectAll(other, conversation, payloads);
  }
  await expectSame(world, conversation, clients);
  const { last } = ada.of(conversation);
  assert.equal(last, 1 + 20 * clients.length);
  if (cy !== undefined) {
    for (const client of clients) client.read(conversation, last);
    for (const client of clients) await expectReceipt(client, conversation, 0, client.of(conversation).last, 1);
  }
  await leave(world, conversation);
}

/** Bo is removed: the removal is the last that he sees, and nothing he sends is taken. */
async function leave(world: World, conversation: readonly [number, number]): Promise<void> {
  const { ada, bo, cy } = world;
  const removal = ada.change(kinds.GROUP_REMOVE, conversation, [bo.userId]);
  await expectOutcomes(ada, conversation, [removal]);
  const { seq } = ada.of(conversation).outcomes.get(removal)!;
  const payloads = world.payloads(3);
  await expectOutcomes(ada, conversation, ada.send(conversation, payloads));
  if (cy !== undefined) await expectAll(cy, conversation, payloads);
  await bo.until(() => bo.of(conversation).last >= seq, 'GROUP_REMOVE');
  const late = bo.send(conversation, world.payloads(1))[0]!;
  const { outcomes } = bo.of(conversation);
  await bo.until(() => outcomes.has(late), 'the refusal');
  assert.deepEqual(outcomes.get(late), { isTaken: false, seq: 0, code: 32 });
  assert.equal(bo.of(conversation).last, seq);
}

async function goodbye(world: World): Promise<void> {
  for (const client of world.clients) {
    await client.bye();
    assert.equal(client.closeCode, 1000);
    // Reading the inbox again from the position reached brings nothing twice.
    const seen = client.of(world.direct).seen.length;
    await client.connect();
    assert.equal(client.of(world.direct).seen.length, seen);
    assert.deepEqual(client.violations, []);
  }
}

export const scenarios: readonly Scenario[] = [
  { name: 'hello, catch up, and the counters of an earlier life', run: hello },
  { name: '200 messages each way at once, many frames a message, numbers small and as floats', run: bothWays },
  { name: 'everything sent three times is taken once', run: sentTwice },
  { name: 'both are cut off in the middle, and resume', run: resume },
  { name: 'delivered and read come back to the sender', run: tellReceipts },
  { name: "what a client claims in the server's fields is overwritten", run: claims },
  { name: 'a counter that skips is rejected, and the right one is named', run: counterGap },
  { name: 'PING is answered', run: ping },
  { name: 'a group of three: one order, receipts of all, removal', run: group },
  { name: 'BYE closes with 1000, and a later HELLO brings nothing twice', run: goodbye },
];

export interface ScenarioResult {
  readonly name: string;
  /** Undefined: passed. */
  readonly error: Error | undefined;
}

/** Runs all scenarios in order. Each builds on the one before, so behind one that fails the rest fails at once, unrun. */
export async function runScenarios(target: ForeignTarget, report: (result: ScenarioResult) => void): Promise<void> {
  const world = new World(target);
  let failed: string | undefined;
  try {
    for (const { name, run } of scenarios) {
      let error: Error | undefined = failed === undefined ? undefined : new Error(`not run, since "${failed}" failed`);
      error ??= await errorOf(async () => {
        await run(world);
        for (const client of world.clients) assert.deepEqual(client.violations, []);
      });
      if (error !== undefined) failed ??= name;
      report({ name, error });
    }
  } finally {
    world.close();
  }
}

async function errorOf(act: () => Promise<void>): Promise<Error | undefined> {
  try {
    await act();
    return undefined;
  } catch (thrown) {
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}
