import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TargetFlag } from '../core/batch.js';
import { CloseCodes } from '../core/errors.js';
import { encodeFrame, Flag, type Frame, Kind, makeFrame } from '../core/frame.js';
import {
  ANSWER_HOLD_MS,
  FRAMES_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  READS_TAKEN_INTERVAL_MS,
  SOCKET_BUFFER_BYTES_MAX,
} from '../core/limits.js';
import { Prng } from '../core/prng.js';
import { type Connected, connect, egress, type FakeSocket, type Target } from './fakes.fixture.js';
import { GatewayMetrics } from './gateway-metrics.js';
import { Hub, type Session } from './hub.js';
import { Outbound } from './outbound.js';
import { SessionState } from './session.js';

const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now());
const INCARNATION = 1;
const OVERFULL = SOCKET_BUFFER_BYTES_MAX + 1;

interface Pull {
  readonly connection: number;
  readonly position: number;
  readonly token: number;
}

class Bench {
  readonly hub = new Hub();
  readonly metrics = new GatewayMetrics();
  readonly pulls: Pull[] = [];
  readonly outbound: Outbound;
  nowMs = 1_000;

  constructor() {
    this.outbound = new Outbound({
      hub: this.hub,
      incarnation: INCARNATION,
      metrics: this.metrics,
      pull: (session) => {
        this.pulls.push({ connection: session.connection, position: session.lastSent, token: session.token });
      },
      close: (session, { code, reason }) => session.socket?.close(code, reason),
    });
  }

  connect(connection: number, state: SessionState = SessionState.LIVE): { session: Session; socket: FakeSocket } {
    const connected = connect(1_000 + connection, connection, state);
    this.hub.add(connected.session);
    return connected;
  }

  /** What a lane says, in one of its incarnations. */
  deliverOf(source: number, epoch: number, frame: Frame, target: Target): void {
    this.outbound.deliver(egress([[encodeFrame(frame), [target]]], source, epoch));
    this.outbound.flush(this.nowMs);
  }

  deliver(...entries: (readonly [Frame, ...Target[]])[]): void {
    this.outbound.deliver(egress(entries.map(([frame, ...targets]) => [encodeFrame(frame), targets] as const)));
    this.outbound.flush(this.nowMs);
  }
}

function message(seq: number, bytes = 10): Frame {
  return makeFrame({ kind: Kind.MESSAGE, convA: 1, convB: 2, seq, payload: new Uint8Array(bytes).fill(seq) });
}

const receipt = makeFrame({ kind: Kind.RECEIPT, convA: 1, convB: 2, seq: 9 });

test('a batch goes out as one write a socket, in order, each frame with the position of its inbox', () => {
  const bench = new Bench();
  const one = bench.connect(1);
  const two = bench.connect(2);
  bench.deliver(
    [message(1), { connection: 1, position: 2 ** 32 + 5 }, { connection: 2, position: 7 }],
    [message(2), { connection: 2, position: 8 }],
    [message(3), { connection: 1, position: 2 ** 32 + 6 }],
  );
  assert.equal(one.socket.writes.length, 1);
  assert.equal(two.socket.writes.length, 1);
  const at = (frame: Frame, inbox: number): Frame => ({ ...frame, inbox });
  assert.deepEqual(one.socket.taken(), [at(message(1), 2 ** 32 + 5), at(message(3), 2 ** 32 + 6)]);
  assert.deepEqual(two.socket.taken(), [at(message(1), 7), at(message(2), 8)]);
  assert.deepEqual([one.session.lastSent, two.session.lastSent], [2 ** 32 + 6, 8]);
  assert.equal(bench.metrics.get('writes_out_total'), 2);
  assert.equal(bench.metrics.get('frames_out_total'), 4);
});

test('what several batches of a pass have for a socket goes out as one write', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  const batches = [1, 2, 3].map((n) => egress([[encodeFrame(message(n)), [{ connection: 1, position: n }]]]));
  for (const batch of batches) {
    bench.outbound.deliver(batch);
    // Its bytes are the lane's again.
    batch.bytes.fill(0);
  }
  assert.ok(bench.outbound.pendingBytes > 0);
  bench.outbound.flush(bench.nowMs);
  assert.equal(bench.outbound.pendingBytes, 0);
  assert.equal(socket.writes.length, 1);
  assert.deepEqual(
    socket.taken(),
    [1, 2, 3].map((n) => ({ ...message(n), inbox: n })),
  );
});

test('who sent it gets SENT, who has no part the envelope, both without payload', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  const frame = { ...message(1), flags: Flag.DEVICE_TABLE };
  bench.deliver([frame, { connection: 1, position: 1, flags: TargetFlag.ENVELOPE }]);
  bench.deliver([frame, { connection: 1, position: 2, flags: TargetFlag.SENT }]);
  bench.deliver([frame, { connection: 1, position: 3 }]);
  const payload = new Uint8Array(0);
  assert.deepEqual(socket.taken(), [
    { ...frame, inbox: 1, payload, flags: Flag.DEVICE_TABLE | Flag.ENVELOPE },
    { ...frame, inbox: 2, payload, kind: Kind.SENT },
    { ...frame, inbox: 3 },
  ]);
});

test('a target without a position keeps the frame’s, and its payload is left out all the same', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1, SessionState.RESUMING);
  bench.deliver(
    [makeFrame({ kind: Kind.WELCOME, inbox: 4_711 }), { connection: 1 }],
    [message(1), { connection: 1, flags: TargetFlag.ENVELOPE }],
    [message(2), { connection: 1, position: 1 }],
  );
  assert.deepEqual(
    socket.taken().map(({ kind, inbox, payload }) => [kind, inbox, payload.length]),
    [
      [Kind.WELCOME, 4_711, 0],
      [Kind.MESSAGE, 0, 0],
      [Kind.MESSAGE, 1, 10],
    ],
  );
});

test('what was sent already is dropped', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  const entries = [1, 2, 3].map((n) => [message(n), { connection: 1, position: n * 10 }] as const);
  bench.deliver(...entries.slice(0, 2));
  bench.deliver(...entries);
  assert.deepEqual(
    socket.taken().map(({ inbox }) => inbox),
    [10, 20, 30],
  );
  assert.equal(bench.metrics.get('egress_dropped_total'), 2);
});

test('another incarnation’s, another connection’s and an older token’s deliveries are dropped', () => {
  const bench = new Bench();
  const { session, socket } = bench.connect(1);
  session.token = 2;
  const stale: Target[] = [
    { connection: 1, incarnation: INCARNATION + 1, token: 2, position: 1 },
    { connection: 9, token: 2, position: 1 },
    { connection: 1, token: 1, position: 1 },
    { connection: 1, token: 3, position: 1 },
  ];
  bench.deliver([message(1), ...stale]);
  bench.deliver([makeFrame({ kind: Kind.GOAWAY, extra: 4100 }), stale[0]!, stale[1]!]);
  assert.deepEqual([socket.writes.length, socket.closedWith, session.lastSent], [0, undefined, 0]);
  assert.equal(bench.metrics.get('egress_dropped_total'), 6);
});

test('nothing goes to a session that has not said hello, or waits', () => {
  for (const state of [SessionState.HELLO, SessionState.WAITING, SessionState.CLOSED]) {
    const bench = new Bench();
    const { socket, session } = bench.connect(1, state);
    bench.deliver(
      [message(1), { connection: 1, position: 1 }],
      [makeFrame({ kind: Kind.TYPING }), { connection: 1, flags: TargetFlag.TRANSIENT }],
    );
    assert.equal(socket.writes.length, 0);
    assert.equal(session.lastSent, 0);
    assert.equal(bench.metrics.get('transient_dropped_total'), 1);
  }
});

test('presence and typing go to who is live, whatever the token', () => {
  const bench = new Bench();
  const { socket, session } = bench.connect(1);
  session.token = 5;
  bench.deliver([makeFrame({ kind: Kind.TYPING, extra: 1 }), { connection: 1, token: 4, flags: TargetFlag.TRANSIENT }]);
  assert.deepEqual(
    socket.taken().map(({ kind }) => kind),
    [Kind.TYPING],
  );
});

test('what a lane still says outside of inboxes after its successor has spoken is dropped, what has a position is not', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  const presence = (online: number): Frame => makeFrame({ kind: Kind.PRESENCE, convB: 7, extra: online });
  const target = { connection: 1, flags: TargetFlag.TRANSIENT };
  const says = (lane: number, incarnation: number, online: number): number[] => {
    bench.deliverOf(lane, incarnation, presence(online), target);
    return socket.taken().map(({ extra }) => extra);
  };
  assert.deepEqual(says(1, 8, 0), [0]);
  assert.deepEqual(says(1, 9, 1), [1]);
  assert.deepEqual(says(1, 8, 0), []);
  assert.deepEqual(says(2, 8, 0), [0], 'another lane');
  bench.deliverOf(1, 8, message(1), { connection: 1, position: 1 });
  assert.deepEqual(socket.taken(), [{ ...message(1), inbox: 1 }]);
  assert.deepEqual(says(1, 511, 1), [1]);
  assert.deepEqual(says(1, 256, 0), [0], 'their numbers begin anew');
  assert.deepEqual(says(1, 255, 1), []);
});

test('an answer about counters of an earlier token does not come ahead of what is sent anew', () => {
  const bench = new Bench();
  const { socket, session } = bench.connect(1);
  session.token = 5;
  for (const kind of [Kind.SENT, Kind.INFO]) {
    bench.deliver(
      [makeFrame({ kind, seq: 1 }), { connection: 1, token: 4, flags: TargetFlag.TRANSIENT }],
      [makeFrame({ kind, seq: 2 }), { connection: 1, token: 5, flags: TargetFlag.TRANSIENT }],
    );
    assert.deepEqual(
      socket.taken().map((frame) => [frame.kind, frame.seq]),
      [[kind, 2]],
    );
  }
});

test('a GOAWAY closes with its code, after what came before it, however many come', () => {
  const bench = new Bench();
  const goAway = makeFrame({ kind: Kind.GOAWAY, extra: CloseCodes.REPLACED.code });
  const before = bench.connect(1);
  const behind = bench.connect(2);
  const alone = bench.connect(3);
  let closes = 0;
  for (const { socket } of [before, behind, alone]) socket.onClose = () => closes++;
  bench.deliver(
    [message(1), { connection: 1, position: 1 }],
    [goAway, { connection: 1 }, { connection: 2 }, { connection: 3 }],
    [goAway, { connection: 1 }, { connection: 3 }],
    [message(2), { connection: 2, position: 1 }],
  );
  for (const { socket } of [before, behind, alone]) assert.equal(socket.closedWith, CloseCodes.REPLACED.code);
  assert.equal(closes, 3, 'each is closed once');
  assert.equal(before.socket.frames().length, 1);
  const unknown = bench.connect(4);
  bench.deliver([makeFrame({ kind: Kind.GOAWAY, extra: 4_999 }), { connection: 4 }]);
  assert.equal(unknown.socket.closedWith, CloseCodes.BACKBONE_LOST.code);
});

test('what is held goes out before a GOAWAY closes', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  bench.deliver([receipt, { connection: 1, position: 1 }]);
  assert.equal(socket.writes.length, 0);
  bench.deliver([makeFrame({ kind: Kind.GOAWAY, extra: CloseCodes.REPLACED.code }), { connection: 1 }]);
  assert.equal(socket.frames().length, 1);
  assert.equal(socket.closedWith, CloseCodes.REPLACED.code);
});

test('a socket that drops bytes is closed, so that its client comes again', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  socket.takes = false;
  bench.deliver([message(1), { connection: 1, position: 1 }]);
  assert.equal(socket.closedWith, CloseCodes.BACKBONE_LOST.code);
});

// --- held answers -------------------------------------------------------------------------------------------------------------

test('receipts and SENT wait for company, and go out before it in one write', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  bench.deliver([receipt, { connection: 1, position: 1 }]);
  bench.deliver([message(7), { connection: 1, position: 2, flags: TargetFlag.SENT }]);
  assert.equal(socket.writes.length, 0);
  bench.deliver([message(8), { connection: 1, position: 3 }]);
  assert.equal(socket.writes.length, 1);
  assert.deepEqual(
    socket.taken().map(({ kind, inbox }) => [kind, inbox]),
    [
      [Kind.RECEIPT, 1],
      [Kind.SENT, 2],
      [Kind.MESSAGE, 3],
    ],
  );
  bench.outbound.release(bench.nowMs + ANSWER_HOLD_MS);
  assert.equal(socket.writes.length, 0, 'what went out does not go again');
});

test('how many READs are safe goes along with something else, once an interval, and never alone', () => {
  const bench = new Bench();
  const { socket, session } = bench.connect(1);
  const told = (): number[] =>
    socket
      .taken()
      .filter(({ kind }) => kind === Kind.READS_TAKEN)
      .map(({ extra }) => extra);
  session.readsSafe = 3;
  bench.deliver([receipt, { connection: 1, position: 1 }]);
  assert.equal(socket.writes.length, 0, 'a receipt still waits');
  bench.deliver([message(1), { connection: 1, position: 2 }]);
  assert.deepEqual(told(), [3]);
  session.readsSafe = 4;
  bench.nowMs += READS_TAKEN_INTERVAL_MS - 1;
  bench.deliver([message(2), { connection: 1, position: 3 }]);
  assert.deepEqual(told(), []);
  bench.nowMs++;
  bench.outbound.release(bench.nowMs);
  assert.equal(socket.writes.length, 0);
  bench.deliver([message(3), { connection: 1, position: 4 }]);
  bench.deliver([message(4), { connection: 1, position: 5 }]);
  assert.deepEqual(told(), [4]);
});

test('without company they go out after the time, counted from the first', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  assert.equal(bench.outbound.heldDueAtMs, Infinity);
  bench.deliver([receipt, { connection: 1, position: 1 }]);
  const dueAtMs = bench.nowMs + ANSWER_HOLD_MS;
  assert.equal(bench.outbound.heldDueAtMs, dueAtMs);
  bench.nowMs += ANSWER_HOLD_MS - 1;
  bench.deliver([receipt, { connection: 1, position: 2 }]);
  bench.outbound.release(dueAtMs - 1);
  assert.equal(socket.writes.length, 0);
  bench.outbound.release(dueAtMs);
  assert.deepEqual(
    socket.taken().map(({ inbox }) => inbox),
    [1, 2],
  );
  assert.equal(bench.outbound.heldDueAtMs, Infinity);
});

test('thousands of held answers are each sent once, when they are due', () => {
  const bench = new Bench();
  const sockets = Array.from({ length: 3_000 }, (_, n) => bench.connect(n + 1).socket);
  const startMs = bench.nowMs;
  for (const n of sockets.keys()) {
    bench.nowMs = startMs + n / 10;
    bench.deliver([receipt, { connection: n + 1, position: 1 }]);
    bench.outbound.release(bench.nowMs);
    const due = Math.max(0, n - ANSWER_HOLD_MS * 10);
    if (due > 0) assert.equal(sockets[due - 1]!.writes.length, 1);
    assert.equal(sockets[n]!.writes.length, 0);
  }
  bench.outbound.release(bench.nowMs + ANSWER_HOLD_MS);
  for (const socket of sockets) assert.equal(socket.writes.length, 1);
});

test('a large heap of answers does not wait', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  bench.deliver(...Array.from({ length: 30 }, (_, n) => [receipt, { connection: 1, position: n + 1 }] as const));
  assert.equal(socket.frames().length, 30);
});

test('an answer whose connection ended meanwhile is forgotten', () => {
  const bench = new Bench();
  const { session, socket } = bench.connect(1);
  bench.deliver([receipt, { connection: 1, position: 1 }]);
  session.socket = undefined;
  bench.hub.remove(session);
  bench.outbound.release(bench.nowMs + ANSWER_HOLD_MS);
  assert.equal(socket.writes.length, 0);
  assert.equal(bench.outbound.heldDueAtMs, Infinity);
});

// --- limits of a message --------------------------------------------------------------------------------------------------------

test('a message has at most 1,024 frames and 1 MiB, with what was held', () => {
  const bench = new Bench();
  const { socket } = bench.connect(1);
  let position = 0;
  for (let n = 0; n < 20; n++) bench.deliver([receipt, { connection: 1, position: ++position }]);
  bench.deliver(...Array.from({ length: 3_000 }, () => [message(1), { connection: 1, position: ++position }] as const));
  bench.deliver(
    ...Array.from({ length: 30 }, () => [message(1, 65_000), { connection: 1, position: ++position }] as const),
  );
  for (const bytes of socket.writes) assert.ok(bytes.length <= MESSAGE_BYTES_MAX);
  const all = socket.writes.map((bytes) => ({ bytes }));
  for (const { bytes } of all) {
    socket.writes.splice(0, socket.writes.length, bytes);
    assert.ok(socket.frames().length <= FRAMES_PER_MESSAGE_MAX, `${socket.frames().length} frames`);
  }
  socket.writes.splice(0, socket.writes.length, ...all.map(({ bytes }) => bytes));
  assert.deepEqual(
    socket.taken().map(({ inbox }) => inbox),
    Array.from({ length: position }, (_, n) => n + 1),
  );
});

// --- catch-up -------------------------------------------------------------------------------------------------------------------

/** The end of a piece; it names the last position of it. */
function moreFrom(inbox: number): Frame {
  return makeFrame({ kind: Kind.PULL, inbox });
}

const caughtUp = makeFrame({ kind: Kind.CAUGHT_UP });

test('the next piece is asked for when the socket has drained, and not before', () => {
  const bench = new Bench();
  const { session, socket } = bench.connect(1, SessionState.CATCH_UP);
  socket.buffered = OVERFULL;
  bench.deliver([message(1), { connection: 1, position: 11 }], [moreFrom(11), { connection: 1 }]);
  assert.deepEqual(bench.pulls, []);
  bench.outbound.drained(session);
  assert.deepEqual(bench.pulls, [], 'too much is unsent');
  socket.buffered = 0;
  bench.outbound.drained(session);
  bench.outbound.drained(session);
  assert.deepEqual(bench.pulls, [{ connection: 1, position: 11, token: 1 }]);
  bench.deliver([message(2), { connection: 1, position: 12 }], [moreFrom(12), { connection: 1 }]);
  assert.equal(bench.pulls.length, 2, 'at once, if the socket has room');
  bench.deliver([caughtUp, { connection: 1 }]);
  assert.equal(session.state, SessionState.LIVE);
});

test('the end of a piece in a batch of its own, or without a piece, is answered as well', () => {
  const bench = new Bench();
  const { session } = bench.connect(1, SessionState.CATCH_UP);
  bench.deliver([message(1), { connection: 1, position: 11 }]);
  bench.deliver([moreFrom(11), { connection: 1 }]);
  assert.deepEqual(bench.pulls, [{ connection: 1, position: 11, token: 1 }]);
  session.lastSent = 20;
  bench.deliver([message(1), { connection: 1, position: 20 }], [moreFrom(20), { connection: 1 }]);
  assert.deepEqual(bench.pulls.at(-1), { connection: 1, position: 20, token: 1 });
  bench.deliver([moreFrom(19), { connection: 1 }]);
  assert.equal(bench.pulls.length, 2, 'the end of an earlier piece, once more');
});

test('a piece of answers alone goes on as well', () => {
  const bench = new Bench();
  bench.connect(1, SessionState.CATCH_UP);
  bench.deliver([receipt, { connection: 1, position: 11 }], [moreFrom(11), { connection: 1 }]);
  bench.outbound.release(bench.nowMs + ANSWER_HOLD_MS);
  assert.deepEqual(bench.pulls, [{ connection: 1, position: 11, token: 1 }]);
});

test('an overfull socket turns to catch-up: a new token, nothing of the old, and on from the last position', () => {
  const bench = new Bench();
  const { session, socket } = bench.connect(1);
  socket.buffered = OVERFULL;
  bench.deliver([message(1), { connection: 1, position: 11 }]);
  assert.deepEqual([session.state, session.token], [SessionState.WAITING, 2]);
  bench.deliver([message(2), { connection: 1, position: 12 }], [message(2), { connection: 1, position: 12, token: 2 }]);
  assert.equal(socket.frames().length, 1, 'nothing goes out while it waits');
  socket.buffered = 0;
  bench.outbound.drained(session);
  assert.deepEqual(bench.pulls, [{ connection: 1, position: 11, token: 2 }]);
  bench.deliver([message(2), { connection: 1, position: 12 }]);
  assert.equal(socket.frames().length, 1, 'the old token does not count any more');
  bench.deliver([message(2), { connection: 1, position: 12, token: 2 }], [caughtUp, { connection: 1, token: 2 }]);
  assert.equal(socket.frames().length, 3);
  assert.equal(session.state, SessionState.LIVE);
  assert.equal(bench.metrics.get('catch_up_turns_total'), 1);
});

/** One user's stage in small: an inbox, one connection, pieces of at most three entries; output may be repeated after a restart. */
class StageModel {
  last = 0;
  #sent = 0;
  #token = 1;
  #isLive = true;
  readonly output: (readonly [Frame, Target])[] = [];

  #emit(frame: Frame, position: number): void {
    this.output.push([frame, { connection: 1, token: this.#token, position }]);
  }

  #entry(position: number): void {
    this.#emit(position % 3 === 0 ? receipt : message(position % 200, position % 7), position);
    this.#sent = position;
  }

  append(): void {
    this.last++;
    if (this.#isLive) this.#entry(this.last);
  }

  pull({ position, token }: Pull): void {
    if (token < this.#token || (token === this.#token && (this.#isLive || position < this.#sent))) return;
    if (token > this.#token) this.#sent = position;
    this.#token = token;
    this.#isLive = false;
    for (let n = 0; n < 3 && this.#sent < this.last; n++) this.#entry(this.#sent + 1);
    this.#isLive = this.#sent === this.last;
    this.#emit(this.#isLive ? caughtUp : moreFrom(this.#sent), 0);
  }
}

test('whatever socket and lane do, positions only grow, and in the end nothing is missing', () => {
  const random = new Prng(SEED).fork('outbound');
  let turns = 0;
  for (let round = 0; round < 300; round++) {
    const bench = new Bench();
    const { session, socket }: Connected = bench.connect(1);
    const stage = new StageModel();
    let delivered = 0;
    let pulled = 0;
    const step = (): void => {
      bench.nowMs += random.below(30);
      if (random.chance(1, 2)) stage.append();
      if (random.chance(1, 4)) socket.buffered = random.chance(1, 2) ? OVERFULL : 0;
      if (socket.buffered === 0) bench.outbound.drained(session);
      // After a restart a lane says some things again.
      if (random.chance(1, 20)) delivered = Math.max(0, delivered - random.below(5));
      if (random.chance(1, 2)) {
        const upTo = Math.min(stage.output.length, delivered + 1 + random.below(4));
        if (upTo > delivered) bench.deliver(...stage.output.slice(delivered, upTo));
        delivered = upTo;
      }
      if (random.chance(1, 3)) bench.outbound.release(bench.nowMs);
      if (random.chance(1, 2) && pulled < bench.pulls.length) stage.pull(bench.pulls[pulled++]!);
    };
    for (let n = 0; n < 200; n++) step();
    // Then the socket takes everything again.
    socket.buffered = 0;
    for (let idle = 0; idle < 3; ) {
      bench.outbound.drained(session);
      bench.nowMs += ANSWER_HOLD_MS;
      bench.outbound.release(bench.nowMs);
      const isIdle = delivered === stage.output.length && pulled === bench.pulls.length;
      idle = isIdle ? idle + 1 : 0;
      if (delivered < stage.output.length) bench.deliver(...stage.output.slice(delivered));
      delivered = stage.output.length;
      while (pulled < bench.pulls.length) stage.pull(bench.pulls[pulled++]!);
    }
    const positions = socket.frames().flatMap(({ kind, inbox }) => (kind === Kind.CAUGHT_UP ? [] : [inbox]));
    const expected = Array.from({ length: stage.last }, (_, n) => n + 1);
    assert.deepEqual(positions, expected, `DUNLIN_SEED=${SEED}, round ${round}`);
    assert.equal(session.state, SessionState.LIVE, `DUNLIN_SEED=${SEED}, round ${round}`);
    turns += bench.metrics.get('catch_up_turns_total');
  }
  assert.ok(turns > 300, 'sessions did turn to catch-up');
});
