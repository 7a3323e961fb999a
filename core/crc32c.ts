/** CRC32C (Castagnoli, RFC 3720 B.4), by table. Engines use a native one and are tested against this. */

const TABLE = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = (c & 1) !== 0 ? (c >>> 1) ^ 0x82f6_3b78 : c >>> 1;
  TABLE[n] = c;
}

export type Crc32c = (bytes: Uint8Array, start: number, end: number) => number;

export function crc32c(bytes: Uint8Array, start: number, end: number): number {
  let crc = 0xffff_ffff;
  for (let i = start; i < end; i++) crc = TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffff_ffff) >>> 0;
}
