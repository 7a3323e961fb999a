import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { encodeDeviceTable, findPart } from '../../core/device-table.js';
import { encodeFrame, Flag, Kind, makeFrame, viewOf } from '../../core/frame.js';
import { FRAME_HEADER_BYTES } from '../../core/limits.js';
import { TableParts } from './table-parts.js';

const device = fc
  .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9 }))
  .map(([user, number]) => user * 128 + number);
const part = fc.record({ device, bytes: fc.uint8Array({ maxLength: 20 }) });

it('finds what core/device-table.ts finds, in whole tables and in cut ones', () => {
  const parts = new TableParts();
  fc.assert(
    fc.property(
      fc.uniqueArray(part, { selector: (each) => each.device, maxLength: 300 }),
      fc.option(fc.nat({ max: 400 })),
      fc.array(device, { maxLength: 20 }),
      (made, cut, wanted) => {
        const table = encodeDeviceTable(made);
        const payload = table.subarray(0, cut ?? table.length);
        const bytes = encodeFrame(makeFrame({ kind: Kind.MESSAGE, flags: Flag.DEVICE_TABLE, payload }));
        parts.load(viewOf(bytes), 0);
        for (const key of [...wanted, ...made.map((each) => each.device)]) {
          const expected = findPart(bytes, FRAME_HEADER_BYTES, bytes.length, key);
          const found = parts.find(key);
          const place = found < 0 ? undefined : { start: parts.start(found), length: parts.length(found) };
          assert.deepEqual(place, expected);
        }
      },
    ),
  );
});
