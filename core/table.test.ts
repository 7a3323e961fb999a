import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinearMemory } from './memory.js';
import { Prng } from './prng.js';
import { Table } from './table.js';

interface ModelRow {
  readonly words: readonly [number, number, number, number];
  readonly row: number;
  readonly value: number;
}

const ROW_WORDS = 7;

function keyOf(random: Prng, keyWords: number, space: number): [number, number, number, number] {
  const words: [number, number, number, number] = [0, 0, 0, 0];
  // Few different words in each place, so that keys share all but one of them.
  for (let i = 0; i < keyWords; i++)
    words[i] = random.chance(1, 2) ? random.below(space) : 0xffff_ffff - random.below(3);
  return words;
}

/** Every row of the model is found, where it was put, with what was written to it; and nothing else is live. */
function checkAll(table: Table, memory: LinearMemory, model: Map<string, ModelRow>): void {
  assert.equal(table.size, model.size);
  const rows = new Set<number>();
  for (const { words, row, value } of model.values()) {
    assert.equal(table.find(...words), row);
    assert.equal(memory.u32[table.at(row) + ROW_WORDS - 1], value);
    rows.add(row);
  }
  let live = 0;
  for (let row = 0; row < table.rowLimit; row++) if (table.isLive(row)) live++;
  assert.equal(live, rows.size);
  assert.ok(!table.isLive(table.rowLimit));
}

for (const keyWords of [2, 3, 4] as const) {
  for (const isTagged of [false, true]) {
    test(`with ${keyWords} key words, ${isTagged ? 'tagged' : 'untagged'}, it does what a Map does, through growth, removal and rehashing`, () => {
      for (let seed = 1; seed <= 12; seed++) {
        const random = new Prng(seed).fork(`table ${keyWords}`);
        const memory = new LinearMemory();
        const table = new Table(memory, ROW_WORDS, keyWords, 16, isTagged);
        const model = new Map<string, ModelRow>();
        const space = random.between(2, 60);
        const removals = random.between(1, 9);
        for (let step = 0; step < 3_000; step++) {
          const words = keyOf(random, keyWords, space);
          const name = words.join(' ');
          const known = model.get(name);
          assert.equal(table.find(...words), known?.row ?? -1);
          if (known === undefined) {
            const row = table.insert(...words);
            const at = table.at(row);
            assert.deepEqual([...memory.u32.subarray(at, at + keyWords)], words.slice(0, keyWords));
            assert.ok(
              memory.u32.subarray(at + keyWords, at + ROW_WORDS).every((word) => word === 0),
              'a new row is zeroed',
            );
            memory.u32[at + ROW_WORDS - 1] = step + 1;
            model.set(name, { words, row, value: step + 1 });
          } else if (random.chance(removals, 10)) {
            table.remove(known.row);
            model.delete(name);
            assert.ok(!table.isLive(known.row));
          }
          if (step % 500 === 0) checkAll(table, memory, model);
        }
        checkAll(table, memory, model);
      }
    });
  }
}

test('rows over several chunks stay where they are while the table grows', () => {
  const memory = new LinearMemory();
  const table = new Table(memory, 4, 2, 16);
  const places: number[] = [];
  for (let n = 0; n < 5_000; n++) {
    const row = table.insert(n, 7);
    places.push(table.at(row));
    memory.u32[table.at(row) + 3] = n * 3;
  }
  assert.equal(new Set(places).size, 5_000);
  for (let n = 0; n < 5_000; n++) {
    const row = table.find(n, 7);
    assert.equal(table.at(row), places[n]);
    assert.equal(memory.u32[places[n]! + 3], n * 3);
    assert.equal(table.find(n, 8), -1);
  }
});

test('inserting and removing for ever takes no more memory', () => {
  const memory = new LinearMemory();
  const table = new Table(memory, 4, 2, 1_024);
  const churn = (from: number): void => {
    for (let n = from; n < from + 50_000; n++) {
      table.insert(n, 1);
      if (n >= 300) table.remove(table.find(n - 300, 1));
    }
  };
  churn(0);
  const { liveBytes, byteLength } = memory;
  churn(50_000);
  assert.equal(memory.liveBytes, liveBytes);
  assert.equal(memory.byteLength, byteLength);
  assert.equal(table.size, 300);
  assert.ok(table.rowLimit <= 301);
});

test('the same inserts and removals give the same row numbers', () => {
  const run = (): number[] => {
    const table = new Table(new LinearMemory(), 4, 2, 16);
    const rows: number[] = [];
    for (let n = 0; n < 2_000; n++) {
      rows.push(table.insert(n, 0));
      if (n % 3 === 0) table.remove(table.find(n >>> 1, 0) < 0 ? rows[n]! : table.find(n >>> 1, 0));
    }
    return rows;
  };
  assert.deepEqual(run(), run());
});
