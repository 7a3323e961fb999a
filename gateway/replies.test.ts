import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ErrorCodes } from '../core/errors.js';
import { encodeFrame, Kind, makeFrame, readFrames, viewOf } from '../core/frame.js';
import { FRAMES_PER_MESSAGE_MAX } from '../core/limits.js';
import { FakeSocket } from './fakes.fixture.js';
import { Replies } from './replies.js';

test('a rejection names the conversation and the counter, and says why', () => {
  const replies = new Replies();
  const socket = new FakeSocket();
  const bytes = encodeFrame(makeFrame({ kind: Kind.MESSAGE, convA: 5, convB: 9, counter: 77, seq: 3 }));
  replies.reject(viewOf(bytes), 0, 641, ErrorCodes.BUSY, 123);
  replies.rejectUnread(641, ErrorCodes.BAD_FRAME, 124);
  assert.equal(replies.sendTo(socket), true);
  assert.equal(socket.writes.length, 1);
  const [busy, bad] = socket.frames();
  assert.deepEqual(
    { ...busy, payload: new TextDecoder().decode(busy!.payload) },
    {
      ...makeFrame({ kind: Kind.REJECT, convA: 5, convB: 9, device: 641, counter: 77, time: 123, extra: 96 }),
      payload: ErrorCodes.BUSY.sentence,
    },
  );
  assert.equal(bad!.extra, ErrorCodes.BAD_FRAME.code);
  assert.equal(bad!.counter, 0);
});

test('nothing is sent twice, and nothing when there is nothing', () => {
  const replies = new Replies();
  const socket = new FakeSocket();
  assert.equal(replies.sendTo(socket), true);
  replies.add(makeFrame({ kind: Kind.PONG, extra: 1 }));
  replies.sendTo(socket);
  replies.sendTo(socket);
  assert.equal(socket.writes.length, 1);
});

test('more than a message may hold goes out as several, in order', () => {
  const replies = new Replies();
  const socket = new FakeSocket();
  const count = 2 * FRAMES_PER_MESSAGE_MAX + 5;
  for (let n = 0; n < count; n++) replies.add(makeFrame({ kind: Kind.PONG, extra: n }));
  replies.sendTo(socket);
  assert.deepEqual(
    socket.writes.map((message) => readFrames(message).length),
    [FRAMES_PER_MESSAGE_MAX, FRAMES_PER_MESSAGE_MAX, 5],
  );
  assert.deepEqual(
    socket.frames().map(({ extra }) => extra),
    Array.from({ length: count }, (_, n) => n),
  );
});

test('who asks and does not read is found out', () => {
  const replies = new Replies();
  const socket = new FakeSocket();
  for (let sent = 0; sent < 100_000; sent += 1_000) {
    for (let n = 0; n < 1_000; n++) replies.add(makeFrame({ kind: Kind.PONG }));
    if (!replies.sendTo(socket)) break;
    socket.buffered = socket.writes.reduce((sum, bytes) => sum + bytes.length, 0);
  }
  assert.ok(socket.buffered > 2_000_000 && socket.buffered < 4_000_000, `${socket.buffered} bytes`);
  replies.add(makeFrame({ kind: Kind.PONG, extra: 7 }));
  socket.buffered = 0;
  assert.equal(replies.sendTo(socket), true);
  assert.deepEqual(
    readFrames(socket.writes.at(-1)!).map(({ extra }) => extra),
    [7],
    'what was not sent is gone',
  );
});

test('without a socket they go nowhere', () => {
  const replies = new Replies();
  replies.add(makeFrame({ kind: Kind.PONG }));
  assert.equal(replies.sendTo(undefined), true);
  const socket = new FakeSocket();
  replies.sendTo(socket);
  assert.equal(socket.writes.length, 0);
});
