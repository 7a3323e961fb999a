/** CRC32C by the processor's own instruction; the same function as core/crc32c.ts, which tests compare it with. */
import { crc32c } from '@node-rs/crc32';

export function nativeCrc32c(bytes: Uint8Array, start: number, end: number): number {
  return crc32c(Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset + start, end - start));
}
