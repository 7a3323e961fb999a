import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CloseCodes, ErrorCodes } from '../core/errors.js';
import { encodeFrame, Flag, type Frame, Kind, makeFrame, readFrames } from '../core/frame.js';
import { deviceKey } from '../core/ids.js';
import {
  ACK_ANSWERS_DELAY_MS,
  ACK_DELAY_MS,
  ACK_ENTRIES,
  ACK_INTERVAL_MS,
  CLIENT_FRAMES_BURST,
  CLIENT_OUTCOME_TIMEOUT_MS,
  CLIENT_WINDOW,
  FRAMES_PER_MESSAGE_MAX,
  HEARTBEAT_MS,
  IDLE_TIMEOUT_MS,
  MESSAGE_BYTES_MAX,
  READ_INTERVAL_MS,
  WATCH_TTL_MS,
} from '../core/limits.js';
import { encodeMembers } from '../core/members.js';
import { Prng } from '../core/prng.js';
import { ClientCore, type ClientCoreOptions, type ClientEvents, LinkState } from './core.js';

const DEVICE = deviceKey(1, 1);
const PEER = deviceKey(2, 1);
const TEXT = new Uint8Array([104, 105]);
const CONV = { convA: 1, convB: 2 };

/** A core whose server is this test: frames in, frames out, events as lines. */
class Bench {
  readonly log: string[] = [];
  readonly core: ClientCore;
  nowMs = 0;

  constructor(options: Partial<ClientCoreOptions> = {}, events: ClientEvents = {}) {
    const say = (line: string): void => void this.log.push(line);
    this.core = new ClientCore(
      { device: DEVICE, random: new Prng(7), freshDevice: true, ...options },
      {
        message: (frame) => say(`message ${frame.convB} ${frame.seq}`),
        groupChange: (frame) => say(`group ${frame.kind} ${frame.seq}`),
        sent: (_a, _b, counter, seq, _time, tag) => say(`sent ${counter} as ${seq} tag ${tag}`),
        rejected: (_a, _b, counter, code, text, final) => say(`rejected ${counter} ${code} ${text} ${final}`),
        renumbered: (_a, _b, from, to) => say(`renumbered ${from} to ${to}`),
        receipt: (_a, _b, user, delivered, read) => say(`receipt ${user} ${delivered} ${read}`),
        gap: (_a, _b, from, through, reason) => say(`gap ${from} ${through} ${reason}`),
        violation: (text) => say(`violation ${text}`),
        disconnect: (code) => say(`disconnect ${code}`),
        closed: (code, final) => say(`closed ${code} ${final}`),
        block: (user, blocked) => say(`block ${user} ${blocked}`),
        ...events,
      },
    );
  }

  connect(position = 0): this {
    this.core.start(this.nowMs);
    if (this.core.reconnectAtMs > this.nowMs) this.nowMs = this.core.reconnectAtMs;
    assert.ok(this.core.wantsConnection(this.nowMs));
    this.core.connecting(this.nowMs);
    this.core.opened(this.nowMs);
    return this.from({ kind: Kind.WELCOME, device: DEVICE, extra: HEARTBEAT_MS, inbox: position });
  }

  live(position = 0): this {
    return this.connect(position).from({ kind: Kind.CAUGHT_UP, inbox: position });
  }

  from(...frames: (Partial<Frame> & { kind: number })[]): this {
    this.core.received(Buffer.concat(frames.map((frame) => encodeFrame(makeFrame(frame)))), this.nowMs);
    return this;
  }

  /** A message of the peer. */
  message(seq: number, inbox = seq): this {
    return this.from({ kind: Kind.MESSAGE, ...CONV, device: PEER, seq, inbox, payload: TEXT });
  }

  /** All that goes out now. */
  out(): Frame[] {
    const frames: Frame[] = [];
    for (let bytes = this.core.takeOutput(this.nowMs); bytes !== undefined; bytes = this.core.takeOutput(this.nowMs)) {
      assert.ok(bytes.length <= MESSAGE_BYTES_MAX);
      const some = readFrames(bytes.slice());
      assert.ok(some.length <= FRAMES_PER_MESSAGE_MAX);
      frames.push(...some);
    }
    return frames;
  }

  /** Counters of the sequenced frames that go out now. */
  counters(): number[] {
    return this.out()
      .filter(({ kind }) => kind <= Kind.GROUP_ROLE)
      .map(({ counter }) => counter);
  }

  kinds(): number[] {
    return this.out().map(({ kind }) => kind);
  }

  at(nowMs: number): this {
    this.nowMs = nowMs;
    this.core.tick(nowMs);
    return this;
  }

  send(count = 1): this {
    for (let i = 0; i < count; i++) this.core.send(1, 2, TEXT, this.nowMs, { tag: i + 1 });
    return this;
  }

  sent(counter: number, seq = counter, inbox = counter): this {
    return this.from({ kind: Kind.SENT, ...CONV, device: DEVICE, counter, seq, inbox });
  }

  reject(code: number, counter: number, seq = 0, inbox = 0): this {
    return this.from({ kind: Kind.REJECT, ...CONV, device: DEVICE, counter, seq, inbox, extra: code });
  }
}

test('hello first; nothing else before CAUGHT_UP; then the outbox, with a window that opens', () => {
  const bench = new Bench().send(20).connect();
  assert.deepEqual(bench.kinds(), [Kind.HELLO]);
  bench.from({ kind: Kind.CAUGHT_UP });
  assert.deepEqual(bench.counters(), [1]);
  assert.deepEqual(bench.sent(1).counters(), [2, 3]);
  assert.deepEqual(bench.sent(2).counters(), [4, 5, 6]);
  for (let counter = 3; counter <= 20; counter++) bench.sent(counter).out();
  assert.equal(bench.core.outboxSize, 0);
  assert.equal(bench.log.length, 20);
  assert.equal(bench.log[19], 'sent 20 as 20 tag 20');
});

test('the window is bounded, and so is the outbox', () => {
  const bench = new Bench({ outboxMax: 1_000, framesPerSecond: Number.POSITIVE_INFINITY }).live().send(1_100);
  assert.equal(bench.core.outboxSize, 1_000);
  assert.equal(bench.core.send(1, 2, TEXT, 0), 0);
  bench.out();
  let last = 0;
  for (let counter = 1; counter <= 10; counter++) last = bench.sent(counter).counters().at(-1)!;
  assert.equal(last, 10 + CLIENT_WINDOW);
});

test('a repetition is dropped and acknowledged; watermarks only rise', () => {
  const bench = new Bench().live().message(1).message(2).message(2).message(1, 9);
  assert.deepEqual(bench.log, ['message 2 1', 'message 2 2']);
  assert.equal(bench.core.acknowledgedPosition, 9);
  const receipt = { kind: Kind.RECEIPT, ...CONV, device: 256 };
  bench.from({ ...receipt, seq: 5, extra: 2 }, { ...receipt, seq: 3, extra: 1 }, { ...receipt, seq: 4, extra: 6 });
  assert.deepEqual(bench.log.slice(2), ['receipt 2 5 2', 'receipt 2 6 6']);
});

test('acks: after ACK_ENTRIES at once, else after ACK_DELAY_MS; HELLO carries the position too', () => {
  const bench = new Bench().live();
  bench.out();
  bench.message(1);
  assert.equal(bench.core.wakeAtMs, ACK_DELAY_MS);
  assert.deepEqual(bench.at(ACK_DELAY_MS - 1).out(), []);
  const [ack] = bench.at(ACK_DELAY_MS).out();
  assert.deepEqual([ack!.kind, ack!.inbox], [Kind.ACK, 1]);
  for (let seq = 2; seq <= ACK_ENTRIES + 1; seq++) bench.message(seq);
  assert.equal(bench.out()[0]!.inbox, ACK_ENTRIES + 1);
  bench.message(ACK_ENTRIES + 2).core.closed(1006, bench.nowMs);
  assert.equal(bench.connect().out()[0]!.inbox, ACK_ENTRIES + 2);
});

test('watermarks of somebody who is not in the conversation are passed over', () => {
  const bench = new Bench().live();
  bench.from({ kind: Kind.RECEIPT, ...CONV, device: deviceKey(3, 1), seq: 5, inbox: 1 });
  assert.deepEqual(bench.log, []);
  assert.equal(bench.core.receivedPosition, 1);
});

test('acks of a stream of messages are ACK_INTERVAL_MS apart', () => {
  const bench = new Bench().live();
  bench.out();
  bench.message(1).at(ACK_DELAY_MS);
  assert.deepEqual(bench.kinds(), [Kind.ACK]);
  bench
    .message(2)
    .at(ACK_INTERVAL_MS - 1)
    .send();
  assert.deepEqual(bench.kinds(), [Kind.MESSAGE], 'it is not due for more than ACK_DELAY_MS yet');
  bench.message(3);
  assert.equal(bench.core.wakeAtMs, ACK_DELAY_MS + ACK_INTERVAL_MS);
  const [ack] = bench.at(ACK_DELAY_MS + ACK_INTERVAL_MS).out();
  assert.deepEqual([ack!.kind, ack!.inbox], [Kind.ACK, 3]);
});

test('an ack that only frees the inbox waits, unless a message comes', () => {
  const bench = new Bench().live().send();
  bench.out();
  bench.sent(1, 1);
  assert.equal(bench.core.wakeAtMs, ACK_ANSWERS_DELAY_MS);
  bench.send();
  assert.deepEqual(bench.kinds(), [Kind.MESSAGE]);
  bench.message(2);
  assert.equal(bench.core.wakeAtMs, ACK_DELAY_MS);
  assert.deepEqual(bench.at(ACK_DELAY_MS).kinds(), [Kind.ACK]);
});

test('an ack goes along with what cannot wait', () => {
  const bench = new Bench().live();
  bench.out();
  bench.message(1).send();
  assert.deepEqual(bench.kinds(), [Kind.MESSAGE, Kind.ACK]);
  assert.deepEqual(bench.at(ACK_DELAY_MS).kinds(), [], 'nothing is left to acknowledge');
});

test('the first READ goes at once, those of the next READ_INTERVAL_MS together, one a conversation', () => {
  const bench = new Bench().live();
  bench.out();
  for (let seq = 1; seq <= 4; seq++) bench.message(seq);
  bench.from({ kind: Kind.MESSAGE, convA: 1, convB: 3, device: deviceKey(3, 1), seq: 1, inbox: 5 });
  bench.core.read(1, 2, 1);
  assert.equal(bench.core.wakeAtMs, 0);
  assert.deepEqual(bench.kinds(), [Kind.READ, Kind.ACK]);
  bench.core.read(1, 2, 2);
  bench.core.read(1, 3, 1);
  bench.core.read(1, 2, 3);
  assert.equal(bench.core.wakeAtMs, READ_INTERVAL_MS);
  assert.deepEqual(bench.at(READ_INTERVAL_MS - 1).out(), []);
  const reads = bench.at(READ_INTERVAL_MS).out();
  assert.deepEqual(
    reads.map(({ kind, convB, seq }) => [kind, convB, seq]),
    [
      [Kind.READ, 2, 3],
      [Kind.READ, 3, 1],
    ],
  );
  bench.core.read(1, 2, 4);
  bench.send();
  assert.deepEqual(bench.kinds(), [Kind.READ, Kind.MESSAGE], 'a send to the conversation takes its read along');
  assert.deepEqual(bench.at(2 * READ_INTERVAL_MS).kinds(), [], 'once is enough');
});

test('a goodbye leaves no read and no ack behind', () => {
  const bench = new Bench().live().message(1);
  bench.core.read(1, 2, 1);
  bench.out();
  bench.message(2).core.read(1, 2, 2);
  bench.core.stop(bench.nowMs);
  assert.deepEqual(bench.kinds().toSorted(), [Kind.READ, Kind.ACK, Kind.BYE].toSorted());
  bench.message(3).core.read(1, 2, 3);
  assert.ok(bench.core.wakeAtMs > bench.nowMs + READ_INTERVAL_MS, 'nothing is due after a goodbye');
  assert.deepEqual(bench.out(), []);
});

test('a hole drops the connection; the same hole on a third one is reported as lost', () => {
  const bench = new Bench().live().message(1);
  for (let attempt = 1; attempt <= 2; attempt++) {
    bench.message(3, 7);
    assert.match(bench.log.at(-3)!, /^violation The server left out sequences 2 to 2 of conversation \(1, 2\)/);
    assert.match(bench.log.at(-1)!, /^disconnect/);
    assert.equal(bench.core.state, LinkState.OFFLINE);
    bench.connect();
    assert.equal(bench.out()[0]!.inbox, 1, 'resumes behind the last processed position');
  }
  bench.message(3, 7);
  assert.deepEqual(bench.log.slice(-2), ['gap 2 2 0', 'message 2 3']);
  bench.message(4, 8);
  assert.equal(bench.log.at(-1), 'message 2 4');
});

test('no hole: GAP, the first of a conversation, and a return into a group', () => {
  const bench = new Bench().live().message(5);
  bench.from({ kind: Kind.GAP, ...CONV, seq: 8, extra: 1, inbox: 6 }).message(9);
  const group = { convA: 0, convB: 7, device: PEER };
  bench.from({ kind: Kind.GROUP_REMOVE, ...group, seq: 3, inbox: 20, payload: encodeMembers([1]) });
  bench.from({ kind: Kind.GROUP_ADD, ...group, seq: 10, inbox: 21, payload: encodeMembers([3, 1]) });
  assert.deepEqual(bench.log, ['message 2 5', 'gap 6 8 1', 'message 2 9', 'group 4 3', 'group 3 10']);
});

test('heartbeat: a ping each HEARTBEAT_MS; silence of IDLE_TIMEOUT_MS ends the connection', () => {
  const bench = new Bench().live();
  bench.out();
  const pings: number[] = [];
  while (bench.core.state === LinkState.LIVE) {
    bench.at(bench.core.wakeAtMs);
    for (const { kind } of bench.out()) {
      assert.equal(kind, Kind.PING);
      pings.push(bench.nowMs);
    }
  }
  assert.equal(bench.nowMs, IDLE_TIMEOUT_MS);
  assert.ok(pings[0]! >= HEARTBEAT_MS / 2 && pings[0]! <= HEARTBEAT_MS);
  assert.equal(pings[1]! - pings[0]!, HEARTBEAT_MS);
  assert.deepEqual(bench.log, ['closed 4001 false', 'disconnect 4001']);
});

test('backoff: 1 s · 2ⁿ up to 30 s, half of it jitter, the first within 1 s; reset by CAUGHT_UP', () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const bench = new Bench({ random: new Prng(seed) });
      bench.core.start(0);
      for (let n = 0; n < 8; n++) {
        bench.core.connecting(bench.nowMs);
        bench.core.closed(1006, bench.nowMs);
        const delayMs = bench.core.reconnectAtMs - bench.nowMs;
        const ceilingMs = Math.min(1_000 * 2 ** n, 30_000);
        assert.ok(delayMs >= (n === 0 ? 0 : ceilingMs / 2) && delayMs <= ceilingMs, `${n}: ${delayMs}`);
        assert.equal(bench.core.wantsConnection(bench.nowMs + delayMs - 0.5), false);
        bench.nowMs = bench.core.reconnectAtMs;
      }
      bench.live().core.closed(1006, bench.nowMs);
      assert.ok(bench.core.reconnectAtMs - bench.nowMs <= 1_000);
    }),
  );
});

test('close codes: final ones end it, draining comes back at once, GOAWAY speaks for a broken socket', () => {
  for (const { code, reconnect } of Object.values(CloseCodes)) {
    const bench = new Bench().live();
    bench.core.closed(code, 0);
    assert.equal(bench.core.state, reconnect ? LinkState.OFFLINE : LinkState.CLOSED, String(code));
  }
  const bench = new Bench().live();
  bench.core.closed(CloseCodes.DRAINING.code, 0);
  assert.equal(bench.core.reconnectAtMs, 0);
  const replaced = new Bench().live().from({ kind: Kind.GOAWAY, extra: CloseCodes.REPLACED.code });
  replaced.core.closed(1006, 0);
  assert.deepEqual(replaced.log, ['closed 4100 true']);
  const renewing = new Bench({ renewsToken: true }).live();
  renewing.core.closed(CloseCodes.TOKEN_EXPIRED.code, 0);
  assert.equal(renewing.core.state, LinkState.OFFLINE);
});

test('stop says BYE behind what is due, and ends for good', () => {
  const bench = new Bench().live().message(1);
  bench.core.stop(0);
  assert.deepEqual(bench.kinds(), [Kind.HELLO, Kind.ACK, Kind.BYE]);
  assert.deepEqual(bench.send().kinds(), []);
  bench.core.closed(1006, 0);
  assert.equal(bench.core.state, LinkState.CLOSED);
});

test('a retryable rejection goes back after a pause, with a window of one; its echoes cause no storm', () => {
  const bench = new Bench().live().send(8);
  bench.out();
  for (let counter = 1; counter <= 3; counter++) bench.sent(counter).out();
  bench.reject(ErrorCodes.BUSY.code, 4);
  for (const counter of [5, 6, 7, 8]) bench.reject(ErrorCodes.COUNTER_GAP.code, counter, 4);
  assert.deepEqual(bench.at(49).counters(), []);
  assert.deepEqual(bench.at(100).counters(), [4]);
  assert.deepEqual(bench.sent(4).counters(), [5, 6]);
});

test('COUNTER_GAP goes back to the counter that it names', () => {
  const bench = new Bench().live().send(8);
  bench.out();
  for (let counter = 1; counter <= 3; counter++) bench.sent(counter).out();
  bench.reject(ErrorCodes.COUNTER_GAP.code, 7, 6, 50);
  bench.at(200);
  assert.deepEqual(bench.counters(), [], 'the outcomes of 4 and 5 are on their way');
  assert.deepEqual(bench.sent(4, 4, 51).sent(5, 5, 52).counters(), [6, 7, 8]);
});

test('a rejection for good is the outcome, and the counter stays used', () => {
  const bench = new Bench().live().send(2);
  bench.out();
  bench.reject(ErrorCodes.NOT_MEMBER.code, 1, 0, 5);
  assert.equal(bench.log[0], `rejected 1 ${ErrorCodes.NOT_MEMBER.code}  true`);
  assert.deepEqual(bench.counters(), [2]);
  assert.equal(bench.core.acknowledgedPosition, 5);
});

test('no outcome for CLIENT_OUTCOME_TIMEOUT_MS: sends again; DUPLICATE is then the outcome', () => {
  const bench = new Bench().live().send();
  assert.deepEqual(bench.counters(), [1]);
  bench.at(CLIENT_OUTCOME_TIMEOUT_MS);
  bench.at(CLIENT_OUTCOME_TIMEOUT_MS + 100);
  assert.deepEqual(bench.counters(), [1]);
  bench.from({ kind: Kind.SENT, flags: Flag.DUPLICATE, ...CONV, device: DEVICE, counter: 1, seq: 4 });
  assert.deepEqual(bench.log, ['sent 1 as 4 tag 1']);
});

test('a device that is not known to be fresh asks where its counters stand, and numbers from there', () => {
  const bench = new Bench({ freshDevice: false }).live().send(2);
  assert.deepEqual(bench.kinds(), [Kind.HELLO, Kind.INFO]);
  bench.from({ kind: Kind.INFO, ...CONV, counter: 40, seq: 90 });
  assert.deepEqual(bench.log, ['renumbered 2 to 42', 'renumbered 1 to 41']);
  assert.deepEqual(bench.counters(), [41]);
});

test('DUPLICATE for what was never sent before: asks, renumbers, sends again; nothing counts as sent', () => {
  const bench = new Bench().live().send(3);
  bench.out();
  bench.from({ kind: Kind.SENT, flags: Flag.DUPLICATE, ...CONV, device: DEVICE, counter: 1 });
  assert.deepEqual(bench.kinds(), [Kind.INFO]);
  bench.from({ kind: Kind.INFO, ...CONV, counter: 5 });
  assert.deepEqual(bench.log, ['renumbered 3 to 8', 'renumbered 2 to 7', 'renumbered 1 to 6']);
  assert.deepEqual(bench.counters(), [6]);
  bench.sent(6, 20, 1);
  assert.equal(bench.log.at(-1), 'sent 6 as 20 tag 1');
});

test('a server that has lost counters is followed: COUNTER_GAP below the outbox, INFO, renumber', () => {
  const bench = new Bench().live().send(1);
  bench.out();
  bench.sent(1).send(1).out();
  bench.reject(ErrorCodes.COUNTER_GAP.code, 2, 1, 30);
  assert.deepEqual(bench.kinds(), []);
  bench.at(200);
  assert.deepEqual(bench.kinds(), [Kind.INFO]);
  bench.from({ kind: Kind.INFO, ...CONV, counter: 0 });
  assert.deepEqual(bench.log.slice(-1), ['renumbered 2 to 1']);
  assert.deepEqual(bench.counters(), [1]);
});

test('READ and BLOCK are sent again until they are confirmed; READ never beyond what came', () => {
  const bench = new Bench().live().message(1).message(2);
  bench.core.read(1, 2, 99);
  bench.core.block(9, true, 0);
  const first = bench.out().filter(({ kind }) => kind === Kind.READ || kind === Kind.BLOCK);
  assert.deepEqual(
    first.map(({ seq, convB }) => [convB, seq]),
    [
      [9, 0],
      [2, 2],
    ],
  );
  bench.core.closed(1006, 0);
  assert.deepEqual(bench.live().kinds(), [Kind.HELLO, Kind.BLOCK, Kind.READ]);
  bench.from({ kind: Kind.RECEIPT, ...CONV, device: 128, seq: 2, extra: 2, inbox: 10 });
  bench.from({ kind: Kind.BLOCK, convB: 9, extra: 1, inbox: 11 });
  bench.core.closed(1006, bench.nowMs);
  assert.deepEqual(bench.live().kinds(), [Kind.HELLO]);
  assert.equal(bench.log.includes('block 9 true'), true);
});

test('READs that the server calls safe are not sent again', () => {
  const other = { convA: 0, convB: 77 };
  const bench = new Bench().live().message(1).message(2);
  bench.from({ kind: Kind.GROUP_CREATE, ...other, device: PEER, seq: 1, inbox: 3 });
  bench.core.read(1, 2, 1);
  bench.core.read(0, 77, 1);
  bench.out();
  bench.at(READ_INTERVAL_MS).core.read(1, 2, 2);
  assert.deepEqual(bench.kinds(), [Kind.READ]);
  const { revision } = bench.core;
  bench.from({ kind: Kind.READS_TAKEN, extra: 2 });
  assert.ok(bench.core.revision > revision, 'a snapshot says less');
  bench.core.closed(1006, bench.nowMs);
  const again = bench.live().out();
  assert.deepEqual(
    again.filter(({ kind }) => kind === Kind.READ).map(({ convB, seq }) => [convB, seq]),
    [[2, 2]],
    'of the third it was not said',
  );
  bench.from({ kind: Kind.READS_TAKEN, extra: 1 });
  bench.core.closed(1006, bench.nowMs);
  assert.deepEqual(bench.live().kinds(), [Kind.HELLO], 'each connection counts anew');
});

test('a READ that was refused is not safe, whatever the server counts', () => {
  const bench = new Bench().live().message(1);
  bench.core.read(1, 2, 1);
  bench.out();
  bench.from({ kind: Kind.REJECT, ...CONV, extra: ErrorCodes.BUSY.code });
  bench.from({ kind: Kind.READS_TAKEN, extra: 1_000_000 });
  bench.core.closed(1006, bench.nowMs);
  assert.deepEqual(bench.live().kinds(), [Kind.HELLO, Kind.READ]);
});

test('a server that calls no READ safe does not fill the memory; what was forgotten is sent again', () => {
  const bench = new Bench().live();
  const READS = 5_000;
  for (let n = 1; n <= READS; n++) {
    bench.message(n);
    bench.core.read(1, 2, n);
    bench.at(n * READ_INTERVAL_MS).out();
  }
  bench.from({ kind: Kind.READS_TAKEN, extra: READS });
  bench.core.closed(1006, bench.nowMs);
  assert.deepEqual(
    bench
      .live()
      .kinds()
      .filter((kind) => kind === Kind.READ),
    [],
    'counted on from what was forgotten',
  );
});

test('watches are renewed in time, and after every reconnect', () => {
  const bench = new Bench().live();
  bench.core.watch(5);
  bench.at(bench.core.wakeAtMs);
  assert.deepEqual(bench.kinds(), [Kind.HELLO, Kind.WATCH]);
  let watchedAtMs = 0;
  while (watchedAtMs === 0) {
    bench.at(bench.core.wakeAtMs).from({ kind: Kind.PONG });
    if (bench.kinds().includes(Kind.WATCH)) watchedAtMs = bench.nowMs;
  }
  assert.ok(watchedAtMs < WATCH_TTL_MS);
  bench.core.closed(1006, bench.nowMs);
  assert.deepEqual(bench.live().kinds(), [Kind.HELLO, Kind.WATCH]);
  bench.core.unwatch(5);
  const [stop] = bench.out();
  assert.deepEqual([stop!.kind, stop!.extra], [Kind.WATCH, 0]);
});

test('output keeps its own pace, and acks go out all the same', () => {
  const bench = new Bench().live();
  for (let user = 2; user <= 3_000; user++) bench.core.send(1, user, TEXT, 0);
  assert.equal(bench.out().length, CLIENT_FRAMES_BURST);
  bench.message(1).at(ACK_DELAY_MS);
  assert.equal(bench.kinds().at(0), Kind.ACK);
  let count = 0;
  for (const end = bench.nowMs + 1_000; bench.nowMs < end; bench.at(bench.core.wakeAtMs)) count += bench.out().length;
  assert.ok(count > 800 && count < 1_000, `${count} frames in a second`);
});

test('large payloads are spread over WebSocket messages within the limit', () => {
  const bench = new Bench({ bytesPerSecond: Number.POSITIVE_INFINITY }).live();
  const large = new Uint8Array(65_536);
  for (let user = 2; user <= 41; user++) bench.core.send(1, user, large, 0);
  assert.equal(bench.out().length, 1 + 40);
});

test('bytes that are no frames, and frames of foreign conversations, end the connection with a word', () => {
  const garbage = new Bench().live();
  garbage.core.received(new Uint8Array([1, 2, 3]), 0);
  assert.match(garbage.log[0]!, /^violation A received message is not made of frames/);
  const foreign = new Bench().live().from({ kind: Kind.MESSAGE, convA: 5, convB: 6, device: PEER, seq: 1, inbox: 1 });
  assert.match(foreign.log[0]!, /not this user's/);
  const stranger = new Bench();
  stranger.core.start(0);
  stranger.core.connecting(0);
  stranger.core.opened(0);
  stranger.from({ kind: Kind.WELCOME, device: PEER });
  assert.match(stranger.log[0]!, /token is for device 257/);
  assert.equal(stranger.core.state, LinkState.CLOSED);
});

test('anything received leaves the core alive', () => {
  const kinds = fc.constantFrom(...Object.values(Kind));
  const small = fc.integer({ min: 0, max: 5 });
  const frame = fc.record({
    kind: kinds,
    flags: small,
    convA: small,
    convB: small,
    device: fc.constantFrom(0, 128, DEVICE, 256, PEER),
    counter: small,
    seq: small,
    inbox: small,
    time: small,
    extra: fc.constantFrom(0, 1, ...Object.values(ErrorCodes).map(({ code }) => code)),
    payload: fc.uint8Array({ maxLength: 12 }),
  });
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 30 }), fc.constantFrom('auto', 'all'), (frames, acknowledge) => {
      const bench = new Bench({ acknowledge } as const).live().send(3);
      for (const one of frames) {
        if (bench.core.state === LinkState.OFFLINE || bench.core.state === LinkState.CLOSED) bench.live();
        bench.out();
        bench.from(one).at(bench.nowMs + 10);
        const snapshot = bench.core.snapshot();
        assert.deepEqual(new Bench({ snapshot }).core.snapshot(), snapshot);
      }
      assert.ok(bench.core.outboxSize >= 0 && bench.core.outboxSize <= 3);
    }),
    { numRuns: 500 },
  );
});

test('a snapshot restores outbox, counters, positions and tags; a damaged or foreign one is refused', () => {
  const bench = new Bench().live().message(1).send(3);
  bench.out();
  bench.sent(1, 2, 2);
  const snapshot = bench.core.snapshot();
  const again = new Bench({ snapshot }).live();
  const [hello, first] = again.out();
  assert.deepEqual([hello!.inbox, first!.counter], [2, 2]);
  again.message(2).message(3, 9);
  again.sent(2, 4, 10);
  assert.deepEqual(again.log, ['message 2 3', 'sent 2 as 4 tag 2']);
  assert.equal(again.core.send(1, 2, TEXT, 0), 4);
  assert.throws(() => new Bench({ snapshot: snapshot.subarray(0, -70) }), /cut off/);
  assert.throws(() => new Bench({ snapshot: snapshot.subarray(1) }), /damaged at byte 0/);
  assert.throws(() => new Bench({ snapshot, device: PEER }), /belongs to device 129, not to 257/);
});

test("acknowledge 'messages': a message holds back what is behind it, outcomes do not hold themselves", () => {
  const bench = new Bench({ acknowledge: 'messages' }).live().send();
  bench.out();
  bench.sent(1, 1, 1);
  assert.equal(bench.core.acknowledgedPosition, 1);
  bench
    .message(2)
    .message(3)
    .from({ kind: Kind.RECEIPT, ...CONV, device: 256, seq: 1, inbox: 4 });
  assert.equal(bench.core.acknowledgedPosition, 1);
  bench.core.acknowledge(2, 0);
  assert.equal(bench.core.acknowledgedPosition, 2);
  bench.core.acknowledge(3, 0);
  assert.equal(bench.core.acknowledgedPosition, 4);
});

test('what could never be accepted throws, with the value and the limit', () => {
  const { core } = new Bench();
  assert.throws(() => core.send(2, 1, TEXT, 0), /\(2, 1\) is not a conversation of user 1/);
  assert.throws(() => core.send(2, 3, TEXT, 0), /not a conversation of user 1/);
  assert.throws(() => core.send(1, 2, new Uint8Array(65_537), 0), /65537 bytes, the limit is 65536/);
  assert.throws(() => core.send(1, 2, TEXT, 0, { kind: Kind.GROUP_ADD }), /convA must be 0/);
  assert.throws(() => core.send(1, 2, TEXT, 0, { kind: Kind.READ }), /Kind 16 is not sequenced/);
  assert.throws(() => core.send(1, 2, TEXT, 0, { ttlSeconds: 3e6 }), /from 0 to 2592000/);
  assert.throws(() => core.send(1, 2, TEXT, 0, { flags: 4 }), /Flags 4/);
  assert.throws(() => core.watch(0), /not a user id/);
  assert.throws(() => new Bench({ device: 128 }), /not a device key/);
});
