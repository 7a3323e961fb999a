/** What an application may ask of the core. */
import { checkDeviceTable } from '../core/device-table.js';
import { DunlinError } from '../core/errors.js';
import { Flag, isSequenced, Kind, payloadBytesMax } from '../core/frame.js';
import { isUserId } from '../core/ids.js';
import { MESSAGE_TTL_S_MAX } from '../core/limits.js';

export function checkUser(user: number): void {
  if (!isUserId(user)) throw new DunlinError(`${user} is not a user id.`);
}

/** What the gateway would refuse for ever is refused here, before it takes a counter. */
export function checkSend(kind: number, flags: number, extra: number, convA: number, payload: Uint8Array): void {
  if (!isSequenced(kind)) throw new DunlinError(`Kind ${kind} is not sequenced: 1 to 6.`);
  if (kind !== Kind.MESSAGE && convA !== 0) throw new DunlinError(`Kind ${kind} changes a group; convA must be 0.`);
  if ((flags & ~Flag.DEVICE_TABLE) !== 0 || (flags !== 0 && kind !== Kind.MESSAGE)) {
    throw new DunlinError(`Flags ${flags} are not for kind ${kind}: a MESSAGE may have DEVICE_TABLE (1).`);
  }
  if (payload.length > payloadBytesMax(flags)) {
    throw new DunlinError(`The payload has ${payload.length} bytes, the limit is ${payloadBytesMax(flags)}.`);
  }
  if (flags !== 0 && !checkDeviceTable(payload, 0, payload.length)) {
    throw new DunlinError('The payload is not a device table in canonical form; encodeDeviceTable writes one.');
  }
  const extraMax = kind === Kind.MESSAGE ? MESSAGE_TTL_S_MAX : 1;
  if (!Number.isInteger(extra) || extra < 0 || extra > extraMax) {
    throw new DunlinError(`The time to live or role is ${extra}; it must be a whole number from 0 to ${extraMax}.`);
  }
}
