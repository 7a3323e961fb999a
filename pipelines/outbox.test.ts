import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchKind, openBatch, SourceKind } from '../core/batch.js';
import { encodeFrame, Kind, makeFrame } from '../core/frame.js';
import { BATCH_BYTES_MAX } from '../core/limits.js';
import { Topic } from '../core/ports.js';
import { Destination, keyBytes, keyText, Outbox, Streams } from './outbox.js';

const frame = encodeFrame(makeFrame({ kind: Kind.MESSAGE, payload: new Uint8Array(1_000) }));

function add(outbox: Outbox, partition: number): void {
  outbox.user(partition, frame.length + 12).frame(frame, 0, frame.length);
}

test('batches carry their source, and go out once each, in the order in which they were begun', () => {
  const outbox = new Outbox(SourceKind.CONVERSATION, 5, new Streams(0));
  outbox.begin(77, 3);
  add(outbox, 2);
  add(outbox, 1);
  add(outbox, 2);
  const sent: unknown[] = [];
  const all = outbox.flush((destination, topic, number, bytes) => {
    const { header } = openBatch(bytes);
    sent.push([destination, topic, number, header.kind, header.count, header.sourceSeq, header.sourceEpoch]);
    return true;
  });
  assert.ok(all);
  assert.deepEqual(sent, [
    [Destination.LOG, Topic.USER, 2, BatchKind.FANOUT, 2, 77, 3],
    [Destination.LOG, Topic.USER, 1, BatchKind.FANOUT, 1, 77, 3],
  ]);
});

test('what has no step of its own is gathered over steps and partitions, and sent once', () => {
  const gathered = new Streams(0);
  const outboxes = [new Outbox(SourceKind.USER, 0, gathered), new Outbox(SourceKind.USER, 1, gathered)];
  for (let offset = 0; offset < 3; offset++) {
    for (const outbox of outboxes) {
      outbox.begin(offset, 1);
      outbox.gateway(4, frame.length).frame(frame, 0, frame.length);
      outbox.conversation(1, frame.length).frame(frame, 0, frame.length);
      assert.ok(outbox.flush(() => assert.fail('nothing of its own was written')));
    }
  }
  assert.ok(gathered.bytes >= 12 * frame.length);
  const sent: number[][] = [];
  const send = (destination: number, _topic: number, number: number, bytes: Uint8Array): boolean => {
    sent.push([destination, number, openBatch(bytes).header.count]);
    return true;
  };
  assert.ok(gathered.flush(send));
  assert.deepEqual(sent, [
    [Destination.GATEWAY, 4, 6],
    [Destination.LOG, 1, 6],
  ]);
  assert.equal(gathered.bytes, 0);
  assert.ok(gathered.flush(send));
  assert.equal(sent.length, 2);
});

test('a full destination stops the flush, and the next call goes on with the same batch', () => {
  const outbox = new Outbox(SourceKind.USER, 0, new Streams(0));
  outbox.begin(1, 1);
  for (let partition = 0; partition < 5; partition++) add(outbox, partition);
  const sent: number[] = [];
  let room = 2;
  const send = (_destination: number, _topic: number, number: number): boolean => {
    if (room === 0) return false;
    room--;
    sent.push(number);
    return true;
  };
  assert.equal(outbox.flush(send), false);
  assert.equal(outbox.flush(send), false);
  room = 10;
  assert.equal(outbox.flush(send), true);
  assert.deepEqual(sent, [0, 1, 2, 3, 4]);
  assert.equal(outbox.flush(send), true);
  assert.equal(sent.length, 5);
});

test('an output larger than a batch goes on in another with the next index', () => {
  const outbox = new Outbox(SourceKind.CONVERSATION, 0, new Streams(0));
  outbox.begin(1, 1);
  const entries = Math.ceil((BATCH_BYTES_MAX / frame.length) * 2.5);
  for (let i = 0; i < entries; i++) add(outbox, 0);
  const indexes: number[] = [];
  let count = 0;
  outbox.flush((_destination, _topic, _number, bytes) => {
    const { header } = openBatch(bytes);
    assert.ok(bytes.length <= BATCH_BYTES_MAX);
    indexes.push(header.index);
    count += header.count;
    return true;
  });
  assert.deepEqual(indexes, [0, 1, 2]);
  assert.equal(count, entries);
  outbox.begin(2, 1);
  assert.ok(outbox.flush(() => assert.fail('nothing was written')));
});

test('cold changes are counted, taken once, and the last one of a key wins', () => {
  const outbox = new Outbox(SourceKind.USER, 0, new Streams(0));
  const key = keyBytes('k');
  outbox.put(key, new Uint8Array(10));
  outbox.put(key, new Uint8Array(20));
  assert.equal(outbox.coldBytes, 21);
  outbox.remove(key);
  assert.equal(outbox.coldBytes, 1);
  assert.deepEqual([...outbox.takeCold()], [['k', undefined]]);
  assert.equal(outbox.coldBytes, 0);
  assert.equal(outbox.takeCold().size, 0);
});

test('keys survive their form as text', () => {
  const key = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual(keyBytes(keyText(key)), key);
});
