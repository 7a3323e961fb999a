/**
 * Hostile clients beside the honest ones. Each connection has one bad habit, and comes back when the server ends it. They have
 * valid tokens of users of their own: what is tested is not who may come in, but what somebody inside can do to others.
 */
import { connect as connectTcp } from 'node:net';
import { WebSocket } from 'ws';
import type { TokenIssuer } from '../benchmarks/load/tokens.js';
import { encodeFrame, Kind, makeFrame } from '../core/frame.js';
import { directConversation } from '../core/ids.js';
import type { Prng } from '../core/prng.js';

/** How often a connection does something, and how long it stays away when it was ended. */
const ACT_MS = 50;
const AWAY_MS = 250;
/** More than a message may have (docs/protocol.md). */
const OVERSIZED_BYTES = 2 ** 20 + 1;
/** Frames in one message of a flood: above any limit of rates. */
const FLOOD_FRAMES = 200;
/** Honest users of a load have ids far above. */
const FIRST_USER = 1;
const VICTIM = 9_999;
const PROTOCOL_VERSION = 1;

interface Attacker {
  readonly user: number;
  readonly random: Prng;
  counter: number;
}

/** What is sent at each turn. */
type Habit = (attacker: Attacker) => Uint8Array;

function randomBytes(random: Prng, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

function message({ user }: Attacker, counter: number): Uint8Array {
  const { a, b } = directConversation(user, VICTIM);
  return encodeFrame(makeFrame({ kind: Kind.MESSAGE, convA: a, convB: b, counter, payload: new Uint8Array(40) }));
}

const HABITS: readonly (readonly [string, Habit])[] = [
  ['rubbish in place of frames', ({ random }) => randomBytes(random, random.between(1, 400))],
  [
    'frames with flipped bytes',
    (attacker) => {
      const frame = message(attacker, attacker.random.between(0, 9));
      for (let n = 0; n < 3; n++) frame[attacker.random.below(frame.length)] = attacker.random.below(256);
      return frame;
    },
  ],
  ['counters that go back', (attacker) => message(attacker, 1 + (100 - (attacker.counter++ % 100)))],
  ['one counter for ever', (attacker) => message(attacker, 1)],
  ['frames that only the server sends', ({ user }) => encodeFrame(makeFrame({ kind: Kind.RECEIPT, convB: user }))],
  ['messages beyond the largest', () => new Uint8Array(OVERSIZED_BYTES)],
  [
    'floods',
    (attacker) => Buffer.concat(Array.from({ length: FLOOD_FRAMES }, () => message(attacker, ++attacker.counter))),
  ],
  [
    'acknowledgements of what never came',
    ({ random }) => encodeFrame(makeFrame({ kind: Kind.ACK, inbox: random.between(1, 2 ** 40) })),
  ],
];

export class Attack {
  readonly #url: string;
  readonly #port: number;
  readonly #issuer: TokenIssuer;
  readonly #sockets = new Set<{ close(): void }>();
  readonly #tasks: Promise<void>[] = [];
  #isOver = false;
  #wakers = new Set<() => void>();
  #connected = 0;
  #ended = 0;
  #refused = 0;

  constructor(port: number, issuer: TokenIssuer, connections: number, random: Prng) {
    this.#port = port;
    this.#url = `ws://127.0.0.1:${port}/socket`;
    this.#issuer = issuer;
    for (let n = 0; n < connections; n++) this.#tasks.push(this.#attack(n, random.fork(`attacker ${n}`)));
  }

  /** Ends it; says what became of the attackers, or undefined if none got in. */
  async end(): Promise<string | undefined> {
    this.#isOver = true;
    for (const wake of this.#wakers) wake();
    for (const socket of this.#sockets) socket.close();
    await Promise.all(this.#tasks);
    if (this.#connected === 0) return undefined;
    return `${this.#connected} hostile connections stood, ${this.#ended} were ended by the server, ${this.#refused} were refused`;
  }

  async #wait(ms: number): Promise<void> {
    if (this.#isOver) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wakers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wakers.add(done);
    });
  }

  async #attack(number: number, random: Prng): Promise<void> {
    // Some share a token: a replay of it takes the session over again and again.
    const user = FIRST_USER + (number % 7 === 0 ? 0 : number);
    const token = await this.#issuer.sign(user, 1);
    const attacker: Attacker = { user, random, counter: 0 };
    // The last of them speaks no WebSocket at all.
    const kind = number % (HABITS.length + 1);
    while (!this.#isOver) {
      if (kind === HABITS.length) await this.#shout(random);
      else await this.#misbehave(attacker, token, HABITS[kind]![1], number % 3 === 0);
      await this.#wait(AWAY_MS);
    }
  }

  /** Bytes that are no HTTP. */
  async #shout(random: Prng): Promise<void> {
    const socket = connectTcp({ host: '127.0.0.1', port: this.#port });
    const handle = { close: () => socket.destroy() };
    this.#sockets.add(handle);
    await new Promise<void>((resolve) => {
      socket.on('error', () => {});
      socket.once('connect', () => {
        this.#connected++;
        socket.write(randomBytes(random, 600));
      });
      socket.on('data', () => {});
      socket.once('close', () => {
        if (!this.#isOver) this.#ended++;
        resolve();
      });
    });
    this.#sockets.delete(handle);
  }

  async #misbehave(attacker: Attacker, token: string, habit: Habit, isDeaf: boolean): Promise<void> {
    const socket = new WebSocket(this.#url, {
      headers: { authorization: `Bearer ${token}` },
      perMessageDeflate: false,
    });
    const handle = { close: () => socket.terminate() };
    this.#sockets.add(handle);
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      let hasOpened = false;
      socket.on('error', () => {});
      socket.once('open', () => {
        hasOpened = true;
        this.#connected++;
        socket.send(encodeFrame(makeFrame({ kind: Kind.HELLO, extra: PROTOCOL_VERSION })));
        if (isDeaf) socket.pause();
        timer = setInterval(() => {
          // Nobody's patience is endless, and the attackers' memory neither.
          if (socket.bufferedAmount < OVERSIZED_BYTES) socket.send(habit(attacker));
        }, ACT_MS);
      });
      socket.once('close', () => {
        if (!this.#isOver && hasOpened) this.#ended++;
        else if (!this.#isOver) this.#refused++;
        resolve();
      });
    });
    clearInterval(timer);
    this.#sockets.delete(handle);
  }
}
