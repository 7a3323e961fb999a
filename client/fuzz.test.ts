/**
 * What a client reads, fuzzed: its own saved state, which a disk may have damaged, and whatever a server may send in any state of
 * the link. The saved state is refused with a sentence or is the same when it is written again. A server can make the core drop
 * the connection, and cannot make it throw, deliver twice or out of order, or lose count of its outbox. core/fuzz.fixture.ts tells
 * how a run is repeated.
 */
import { test } from 'node:test';
import { DunlinError, ErrorCodes } from '../core/errors.js';
import {
  encodeFrame,
  type Frame,
  isClientKind,
  isSequenced,
  Kind,
  makeFrame,
  scanFrame,
  viewOf,
} from '../core/frame.js';
import { fail, fuzz, refused, SEED } from '../core/fuzz.fixture.js';
import { deviceKey } from '../core/ids.js';
import { CLIENT_OUTCOME_TIMEOUT_MS, HEARTBEAT_MS, MESSAGE_BYTES_MAX, SEQUENCE_MAX } from '../core/limits.js';
import { encodeMembers } from '../core/members.js';
import { Prng } from '../core/prng.js';
import { ClientCore, type ClientCoreOptions, type ClientEvents, LinkState } from './core.js';
import { decodeSnapshot, encodeSnapshot, type SavedConversation, type Snapshot } from './snapshot.js';
import type { FrameView } from './view.js';

const USER = 5;
const DEVICE = deviceKey(USER, 1);
const TEXT = new Uint8Array([104, 105]);

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

// --- the saved state ----------------------------------------------------------------------------------------------------------

function someSnapshot(random: Prng): Snapshot {
  const conversations = Array.from({ length: random.below(4) }, (_, n): SavedConversation => {
    let counter = random.below(4);
    const entries = Array.from({ length: random.below(4) }, () => {
      counter += 1 + (random.chance(1, 4) ? random.below(300) : 0);
      const kind = random.chance(3, 4) ? Kind.MESSAGE : Kind.GROUP_ADD;
      const payload = Uint8Array.from({ length: random.below(12) }, () => random.below(256));
      const { extra, tag, wasSent } = { extra: random.below(9), tag: random.u32() * 3, wasSent: random.chance(1, 2) };
      return { kind, flags: random.below(2), extra, payload, tag, counter, wasSent };
    });
    const isGroup = random.chance(1, 2);
    const [a, b] = isGroup ? [0, 100 + n] : n % 2 === 0 ? [1 + n, USER] : [USER, 10 + n];
    const lastCounter = counter + random.below(3);
    const countersKnown = random.chance(1, 2);
    return { a, b, lastCounter, countersKnown, seq: random.below(1_000), read: random.below(50), entries };
  });
  return {
    device: DEVICE,
    isFresh: random.chance(1, 2),
    position: random.u32() * 2 ** random.below(20),
    conversations,
    blocks: Array.from({ length: random.below(3) }, () => [1 + random.below(2 ** 32), random.chance(1, 2)] as const),
  };
}

/** Saved states, some with records left out, doubled or moved. */
function someSnapshots(random: Prng): Uint8Array[] {
  return Array.from({ length: 600 }, () => {
    const bytes = encodeSnapshot(someSnapshot(random));
    if (random.chance(2, 3)) return bytes;
    const view = viewOf(bytes);
    const frames: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += frames.at(-1)!.length) {
      frames.push(bytes.subarray(at, at + scanFrame(bytes, view, at, bytes.length)));
    }
    const at = random.below(frames.length);
    const some = frames.slice(at, at + random.between(0, 3));
    if (random.chance(1, 2)) frames.splice(at, random.between(1, 3));
    frames.splice(random.below(frames.length + 1), 0, ...some);
    return Buffer.concat(frames);
  });
}

/** Records in bytes that are known to be sound. */
function recordsIn(bytes: Uint8Array): number {
  const view = viewOf(bytes);
  let records = 0;
  for (let at = 0; at < bytes.length; at += scanFrame(bytes, view, at, bytes.length)) records++;
  return records;
}

test('saved states: decodeSnapshot, and a core that starts from one', (t) => {
  fuzz(t, 'saved states', someSnapshots(new Prng(SEED).fork('valid saved states')), (inputs) => {
    let snapshot: Snapshot;
    try {
      snapshot = decodeSnapshot(inputs.input);
    } catch (error) {
      return refused(inputs, error);
    }
    const entries = snapshot.conversations.reduce((sum, conversation) => sum + conversation.entries.length, 0);
    const records = 2 + snapshot.conversations.length + entries + snapshot.blocks.length;
    if (records !== recordsIn(inputs.input)) fail(inputs, 'a record was dropped');
    const again = encodeSnapshot(snapshot);
    if (!isSame(again, encodeSnapshot(decodeSnapshot(again)))) fail(inputs, 'another when written again');
    if (inputs.random.chance(1, 2)) return true;
    let core: ClientCore;
    try {
      core = new ClientCore({ device: DEVICE, random: inputs.random, snapshot: again }, {});
    } catch (error) {
      return refused(inputs, error);
    }
    if (core.outboxSize !== entries) fail(inputs, `${core.outboxSize} entries instead of ${entries}`);
    const saved = core.snapshot();
    const second = new ClientCore({ device: DEVICE, random: inputs.random, snapshot: saved }, {});
    if (second.outboxSize !== entries || !isSame(saved, second.snapshot())) fail(inputs, 'another after a restart');
    return true;
  });
});

// --- the server ---------------------------------------------------------------------------------------------------------------

const CONVERSATIONS = [
  [USER, 9],
  [3, USER],
  [0, 100],
  [0, 101],
] as const;
const MODES = ['auto', 'messages', 'all'] as const;
const CODES = Object.values(ErrorCodes).map(({ code }) => code);
const KINDS = [
  [Kind.MESSAGE, Kind.MESSAGE, Kind.MESSAGE, Kind.GROUP_ADD, Kind.GROUP_ROLE, Kind.SENT, Kind.SENT, Kind.SENT],
  [Kind.REJECT, Kind.REJECT, Kind.RECEIPT, Kind.GAP, Kind.INFO, Kind.INFO, Kind.BLOCK, Kind.TYPING, Kind.PRESENCE],
  [Kind.PONG, Kind.DEVICES, Kind.GOAWAY, Kind.WELCOME, Kind.CAUGHT_UP, Kind.HELLO, Kind.TICK],
].flat();
/** Inputs that one core gets at most. */
const INPUTS_PER_CORE = 48;

function someFrame(random: Prng): Frame {
  const kind = KINDS[random.below(KINDS.length)]!;
  const isForeign = random.chance(1, 40);
  const [convA, convB] = isForeign ? [1, 2] : CONVERSATIONS[random.below(CONVERSATIONS.length)]!;
  const isOwn = random.chance(1, 6) || kind === Kind.WELCOME || kind === Kind.SENT;
  const flags = kind === Kind.SENT && random.chance(1, 3) ? 4 : 0;
  const extra = kind === Kind.REJECT ? CODES[random.below(CODES.length)]! : random.below(8);
  return makeFrame({
    kind,
    flags,
    convA,
    convB,
    device: isOwn ? DEVICE : deviceKey(9, 1 + random.below(3)),
    // Now and then the last ones there are.
    counter: random.chance(1, 40) ? SEQUENCE_MAX - random.below(3) : random.below(7),
    seq: random.chance(7, 8) ? random.below(6) : random.below(100),
    inbox: random.chance(3, 4) ? random.below(60) : 0,
    time: 1_700_000_000_000,
    extra,
    payload: kind === Kind.GROUP_ADD && random.chance(1, 2) ? encodeMembers([USER, 7]) : TEXT,
  });
}

/** One WebSocket message each: 1 to 3 frames. */
function someMessages(random: Prng): Uint8Array[] {
  return Array.from({ length: 4_000 }, () =>
    Buffer.concat(Array.from({ length: random.between(1, 3) }, () => encodeFrame(someFrame(random)))),
  );
}

function isFramesOnly(bytes: Uint8Array): boolean {
  const view = viewOf(bytes);
  for (let at = 0, length = 0; at < bytes.length; at += length) {
    length = scanFrame(bytes, view, at, bytes.length);
    if (length <= 0) return false;
  }
  return true;
}

/** A core with an application that does this and that, and keeps its own accounts. */
class Bench {
  readonly core: ClientCore;
  readonly #random: Prng;
  readonly #mode: (typeof MODES)[number];
  /** Tags without an outcome. */
  readonly #waiting = new Set<number>();
  readonly #lastSeq = new Map<string, number>();
  nowMs = 0;
  events = 0;
  inputs = 0;
  #tag = 0;
  /** The first thing that was wrong. */
  wrong: string | undefined;

  constructor(random: Prng, before?: Bench) {
    this.#random = random;
    this.#mode = before === undefined ? MODES[random.below(3)]! : before.#mode;
    const options: ClientCoreOptions = {
      device: DEVICE,
      random,
      freshDevice: random.chance(1, 2),
      acknowledge: this.#mode,
      outboxMax: 20,
      snapshot: before?.core.snapshot(),
    };
    this.core = new ClientCore(options, this.#listener());
    if (before === undefined) return;
    this.nowMs = before.nowMs;
    this.#tag = before.#tag;
    for (const tag of before.#tagsIn(options.snapshot!)) this.#waiting.add(tag);
    const { core } = this;
    if (core.acknowledgedPosition !== before.core.acknowledgedPosition) this.#say('another position after a restart');
    if (this.#mode === 'auto' && this.#waiting.size !== before.#waiting.size)
      this.#say('another outbox after a restart');
    this.#checkAccounts();
  }

  #tagsIn(snapshot: Uint8Array): number[] {
    return decodeSnapshot(snapshot).conversations.flatMap(({ entries }) => entries.map(({ tag }) => tag));
  }

  #say(wrong: string): void {
    this.wrong ??= wrong;
  }

  #listener(): ClientEvents {
    const took = (frame: FrameView): void => this.#advance(frame.convA, frame.convB, frame.seq, frame.seq);
    const event = (): void => void this.events++;
    return {
      message: took,
      groupChange: took,
      gap: (a, b, from, through) => this.#advance(a, b, from, through),
      sent: (_a, _b, _counter, _seq, _time, tag) => this.#outcome(tag),
      rejected: (_a, _b, counter, _code, _text, final, tag) => {
        this.events++;
        if (final && counter > 0) this.#outcome(tag);
      },
      receipt: event,
      typing: event,
      presence: event,
      block: event,
      info: event,
      devices: event,
      pong: event,
      renumbered: event,
      welcome: event,
      caughtUp: event,
    };
  }

  #advance(a: number, b: number, from: number, through: number): void {
    this.events++;
    const key = `${a} ${b}`;
    if (from > through) this.#say(`a gap from ${from} to ${through}`);
    if (from <= (this.#lastSeq.get(key) ?? 0)) this.#say(`sequence ${from} of (${key}) came again`);
    this.#lastSeq.set(key, through);
  }

  #outcome(tag: number): void {
    this.events++;
    if (!this.#waiting.delete(tag)) this.#say(`entry ${tag} has another outcome`);
  }

  #checkAccounts(): void {
    const { core } = this;
    if (core.outboxSize !== this.#waiting.size) this.#say(`${core.outboxSize} entries, not ${this.#waiting.size}`);
    if (core.acknowledgedPosition > core.receivedPosition) this.#say('acknowledged beyond what was received');
    if (Number.isNaN(core.wakeAtMs)) this.#say('no time to wake');
  }

  #from(frame: Partial<Frame> & { kind: number }): void {
    this.core.received(encodeFrame(makeFrame(frame)), this.nowMs);
  }

  /** Brings the link into any state, mostly into the last. */
  connect(): void {
    const { core } = this;
    const random = this.#random;
    const target = random.chance(2, 3) ? LinkState.LIVE : random.below(6);
    if (core.state < LinkState.CONNECTING && target >= LinkState.OFFLINE) core.start(this.nowMs);
    if (core.state < LinkState.CONNECTING && target >= LinkState.CONNECTING) core.connecting(this.nowMs);
    if (core.state < LinkState.HELLO && target >= LinkState.HELLO) core.opened(this.nowMs);
    if (core.state < LinkState.CATCHING_UP && target >= LinkState.CATCHING_UP) {
      this.#from({ kind: Kind.WELCOME, device: DEVICE, extra: HEARTBEAT_MS });
    }
    if (core.state < LinkState.LIVE && target >= LinkState.LIVE) this.#from({ kind: Kind.CAUGHT_UP });
  }

  /** What an application does, and what time does. */
  act(): void {
    const { core } = this;
    const random = this.#random;
    const [a, b] = CONVERSATIONS[random.below(CONVERSATIONS.length)]!;
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        this.#send(a, b);
        break;
      case 4:
        core.read(a, b, random.below(100));
        break;
      case 5:
        core.typing(a, b, random.chance(1, 2));
        core.info(a, b);
        break;
      case 6:
        core.watch(1 + random.below(5));
        core.devices(this.nowMs);
        break;
      case 7:
        core.block(1 + random.below(5), random.chance(1, 2), this.nowMs);
        break;
      case 8:
        core.acknowledge(random.chance(1, 2) ? core.receivedPosition : random.below(60), this.nowMs);
        break;
      case 9:
        this.nowMs += random.below(2 * CLIENT_OUTCOME_TIMEOUT_MS);
        core.tick(this.nowMs);
        break;
      case 10:
        this.#checkSnapshot();
        break;
      default:
        this.nowMs += random.below(50);
        core.tick(this.nowMs);
        this.#write();
    }
    this.#checkAccounts();
  }

  #send(a: number, b: number): void {
    const isFull = this.core.outboxSize >= 20;
    const tag = ++this.#tag;
    try {
      const counter = this.core.send(a, b, TEXT, this.nowMs, { tag });
      if (counter > 0) this.#waiting.add(tag);
      else if (!isFull) this.#say('the outbox is full, and is not');
    } catch (error) {
      // A server that says that all counters are used is believed.
      if (!(error instanceof DunlinError) || !error.message.includes('used up')) throw error;
    }
  }

  #write(): void {
    for (let left = 100; left > 0; left--) {
      const bytes = this.core.takeOutput(this.nowMs);
      if (bytes === undefined) return;
      if (!isFramesOnly(bytes) || bytes.length > MESSAGE_BYTES_MAX) this.#say('no frames were written');
      const view = viewOf(bytes);
      for (let at = 0; at < bytes.length; at += scanFrame(bytes, view, at, bytes.length)) {
        const kind = bytes[at + 2]!;
        if (!isClientKind(kind)) this.#say(`kind ${kind} was written`);
        if (isSequenced(kind) && view.getUint32(at + 33) === 0) this.#say('counter 0 was written');
      }
    }
    this.#say('it writes without end');
  }

  #checkSnapshot(): void {
    const bytes = this.core.snapshot();
    if (!isSame(bytes, encodeSnapshot(decodeSnapshot(bytes)))) this.#say('a saved state that reads as another');
  }

  /** Takes an input; true if it was taken, and the link stands. */
  take(bytes: Uint8Array): boolean {
    const { core } = this;
    const { state, revision, receivedPosition, acknowledgedPosition } = core;
    const { events } = this;
    this.inputs++;
    core.received(bytes, this.nowMs);
    this.#checkAccounts();
    if (core.receivedPosition < receivedPosition || core.acknowledgedPosition < acknowledgedPosition) {
      this.#say('a position fell');
    }
    if (core.revision < revision) this.#say('the revision fell');
    if (state < LinkState.HELLO) {
      if (core.state !== state || this.events !== events || core.revision !== revision) {
        this.#say(`it took something in state ${state}`);
      }
      return false;
    }
    if (core.state < LinkState.HELLO) return false;
    if (!isFramesOnly(bytes)) this.#say('the link stands after what is no frame');
    return true;
  }
}

test('ClientCore: whatever a server sends, in any state of the link', (t) => {
  let bench: Bench | undefined;
  let isRestarted = false;
  fuzz(t, 'server frames', someMessages(new Prng(SEED).fork('valid server frames')), (inputs) => {
    const { random } = inputs;
    if (bench === undefined || bench.inputs >= INPUTS_PER_CORE) {
      // Every other core starts from what the one before it has saved.
      isRestarted = bench !== undefined && !isRestarted;
      bench = new Bench(random, isRestarted ? bench : undefined);
    }
    if (bench.core.state < LinkState.LIVE) bench.connect();
    bench.act();
    const isTaken = bench.take(inputs.input);
    if (bench.wrong !== undefined) fail(inputs, bench.wrong);
    return isTaken;
  });
});
