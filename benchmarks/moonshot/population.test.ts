import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Population } from './population.js';

const USERS = 40;
const population = new Population({ users: USERS, groups: 500, seed: 3 });

test('conversations and pairs are found again from what stands in frames', () => {
  let pair = 0;
  for (let conversation = 0; conversation < population.conversations; conversation++) {
    const [a, b] = [population.convA(conversation), population.convB(conversation)];
    assert.equal(population.conversation(a, b), conversation);
    assert.equal(population.firstPair[conversation], pair);
    assert.equal(population.firstPairOf(conversation), pair);
    const members = new Set<number>();
    for (let place = 0; place < population.size(conversation); place++, pair++) {
      const user = population.member(conversation, place);
      members.add(user);
      assert.equal(population.pairOf(conversation, user), pair);
    }
    assert.equal(members.size, population.size(conversation));
    for (let user = 0; user <= USERS + 1; user++) {
      assert.equal(population.pairOf(conversation, user) >= 0, members.has(user));
    }
  }
  assert.equal(pair, population.pairs);
  assert.equal(population.directs, (USERS * (USERS - 1)) / 2);
});

test('what is none is not found', () => {
  for (const [a, b] of [
    [0, 0],
    [0, 501],
    [2, 1],
    [3, 3],
    [1, USERS + 1],
    [USERS + 1, USERS + 2],
  ] as const) {
    assert.equal(population.conversation(a, b), -1, `(${a}, ${b})`);
  }
});

test('half of the groups have at most 4 members, 95 in 100 at most 12', () => {
  const sizes = Array.from({ length: population.groups }, (_, n) => population.size(population.directs + n)).toSorted(
    (one, other) => one - other,
  );
  assert.ok(
    sizes[0]! >= 2 && sizes[Math.floor(sizes.length * 0.4)]! <= 4 && sizes[Math.floor(sizes.length * 0.6)]! > 4,
  );
  assert.ok(sizes[Math.floor(sizes.length * 0.9)]! <= 12 && sizes.at(-1)! > 12);
});

test('a user writes to its direct conversations alike, and to a group the more often the smaller it is', () => {
  for (let user = 1; user <= USERS; user++) {
    assert.equal(new Set(population.directsOf[user]).size, USERS - 1);
    const times = new Map<number, number>();
    for (const group of population.groupsOf[user]!) times.set(group, (times.get(group) ?? 0) + 1);
    for (const [group, count] of times) {
      assert.ok(population.pairOf(group, user) >= 0);
      assert.equal(count, Math.round(64 / population.size(group)));
    }
  }
});
