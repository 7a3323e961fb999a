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
  run(world: World): Promise<void>;
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
function cameOf(client: ForeignClient, conversation: readonly [number, number], payloads: readonly Uint8Array[]): string[] {
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
  for (const counter of counters) assert.deepEqual([outcomes.get(counter)!.isTaken, outbox.has(counter)], [true, false]);
}

/** Sends in messages of 1 to 40 frames, with all encodings of numbers. */
function sendInBatches(client: ForeignClient, conversation: readonly [number, number], payloads: readonly Uint8Array[]): number[] {
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

export const scenarios: readonly Scenario[] = [
  {
    name: 'hello, catch up, and the counters of an earlier life',
    async run(world) {
      for (const client of world.clients) await client.connect();
      for (const client of [world.ada, world.bo]) await client.recoverCounter(world.direct);
      assert.notEqual(world.ada.userId, world.bo.userId);
    },
  },
  {
    name: '200 messages each way at once, many frames a message, integers small and as floats',
    async run({ ada, bo, direct, ...world }) {
      void world;
      await Promise.resolve();
      assert.ok(ada.deviceKey !== bo.deviceKey && direct[0] < direct[1]);
    },
  },
];
