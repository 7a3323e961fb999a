/**
 * Store keys. All numbers are big-endian, so that keys sort as their numbers do.
 *
 * ```text
 * ── stage (u8) ── partition (u16)
 *     ├── 'e'                          fence: epoch of the owner (u64)
 *     ├── 'm'                          meta: what is committed (pipelines/checkpoint.ts)
 *     ├── 'l'                          loss: what the log lost (pipelines/loss.ts)
 *     ├── 'a'                          losses that were accepted (pipelines/acceptance.ts)
 *     ├── 'b' ── base (u32) ── n (u32) chunk n of a whole export
 *     ├── 'd' ── commit (u64) ── n     chunk n of what a commit changed
 *     └── 'i' ── user (u64) ── pos     cold inbox of a user: entries from position pos on (user stage)
 * ```
 */

export const StageId = { CONVERSATION: 1, USER: 2 } as const;

const Family = { FENCE: 0x65, META: 0x6d, LOSS: 0x6c, ACCEPTED: 0x61, BASE: 0x62, DELTA: 0x64, INBOX: 0x69 } as const;

const PREFIX_BYTES = 4;

function prefix(stage: number, partition: number, family: number, more: number): { key: Uint8Array; view: DataView } {
  const key = new Uint8Array(PREFIX_BYTES + more);
  key[0] = stage;
  key[1] = partition >>> 8;
  key[2] = partition & 0xff;
  key[3] = family;
  return { key, view: new DataView(key.buffer) };
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value >>> 0);
}

export function fenceKey(stage: number, partition: number): Uint8Array {
  return prefix(stage, partition, Family.FENCE, 0).key;
}

export function metaKey(stage: number, partition: number): Uint8Array {
  return prefix(stage, partition, Family.META, 0).key;
}

export function lossKey(stage: number, partition: number): Uint8Array {
  return prefix(stage, partition, Family.LOSS, 0).key;
}

export function acceptedKey(stage: number, partition: number): Uint8Array {
  return prefix(stage, partition, Family.ACCEPTED, 0).key;
}

export function baseKey(stage: number, partition: number, base: number, n: number): Uint8Array {
  const { key, view } = prefix(stage, partition, Family.BASE, 8);
  view.setUint32(4, base);
  view.setUint32(8, n);
  return key;
}

export function deltaKey(stage: number, partition: number, commit: number, n: number): Uint8Array {
  const { key, view } = prefix(stage, partition, Family.DELTA, 12);
  setU64(view, 4, commit);
  view.setUint32(12, n);
  return key;
}

export function inboxKey(partition: number, user: number, position: number): Uint8Array {
  const { key, view } = prefix(StageId.USER, partition, Family.INBOX, 16);
  setU64(view, 4, user);
  setU64(view, 12, position);
  return key;
}

export function compareKeys(one: Uint8Array, other: Uint8Array): number {
  const length = Math.min(one.length, other.length);
  for (let i = 0; i < length; i++) if (one[i] !== other[i]) return one[i]! - other[i]!;
  return one.length - other.length;
}
