import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { Alarms } from './alarms.js';

it('rings in order of time, and names what is due without changing anything', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 50 }), { maxLength: 600 }), fc.nat({ max: 50 }), (times, until) => {
      const alarms = new Alarms();
      times.forEach((time, user) => alarms.push(time, user + 1));
      const due: number[] = [];
      alarms.forEachDue(until, (time, user) => {
        assert.equal(times[user - 1], time);
        due.push(time);
      });
      const sorted = times.toSorted((one, other) => one - other);
      assert.deepEqual(
        due.toSorted((one, other) => one - other),
        sorted.filter((time) => time <= until),
      );
      const rung: number[] = [];
      for (; alarms.earliest !== Infinity; alarms.pop()) {
        assert.equal(times[alarms.top - 1], alarms.earliest);
        rung.push(alarms.earliest);
      }
      assert.deepEqual(rung, sorted);
    }),
  );
});
