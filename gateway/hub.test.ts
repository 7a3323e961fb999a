import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { deviceKey, userOfDevice } from '../core/ids.js';
import { Hub, Session } from './hub.js';

function session(hub: Hub, user: number, device: number, address: string): Session {
  return new Session(deviceKey(user, device), hub.newConnection(), address, 0, Infinity);
}

test('counts and look-ups equal those of a plain list', () => {
  const step = fc.record({
    user: fc.integer({ min: 1, max: 4 }),
    device: fc.integer({ min: 1, max: 2 }),
    address: fc.constantFrom('::1', '127.0.0.1'),
    remove: fc.option(fc.nat({ max: 20 }), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const hub = new Hub();
      const open: Session[] = [];
      for (const { user, device, address, remove } of steps) {
        if (remove !== undefined && remove < open.length) {
          const [gone] = open.splice(remove, 1);
          hub.remove(gone!);
          // A socket may say twice that it is gone.
          hub.remove(gone!);
        } else {
          const added = session(hub, user, device, address);
          hub.add(added);
          open.push(added);
        }
        assert.equal(hub.size, open.length);
        assert.deepEqual([...hub.sessions()], open);
        for (const one of open) assert.equal(hub.connection(one.connection), one);
        for (let id = 1; id <= 4; id++) {
          assert.equal(hub.connectionsOfUser(id), open.filter((one) => userOfDevice(one.device) === id).length);
        }
        assert.equal(hub.connectionsOfAddress('::1'), open.filter((one) => one.address === '::1').length);
      }
    }),
  );
});

test('a device is its newest connection, also after the older one has ended', () => {
  const hub = new Hub();
  const first = session(hub, 1, 1, 'a');
  const second = session(hub, 1, 1, 'a');
  hub.add(first);
  hub.add(second);
  assert.equal(hub.device(deviceKey(1, 1)), second);
  hub.remove(first);
  assert.equal(hub.device(deviceKey(1, 1)), second);
  hub.remove(second);
  assert.equal(hub.device(deviceKey(1, 1)), undefined);
  assert.equal(hub.connection(second.connection), undefined);
});
