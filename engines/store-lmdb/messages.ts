/**
 * What goes between a lane's thread and the store's. Byte strings are packed into one buffer that is handed over, not copied:
 * the structured clone of a message would copy the whole buffer behind every small view.
 *
 * Packed: u32 count, then count lengths (u32; 0xffffffff: absent), then the bytes, one string after the other.
 */
import { viewOf } from '../../core/frame.js';
import type { Expectation, KeyRange, Put, StoreTransaction } from '../../core/ports.js';

const ABSENT = 0xffff_ffff;

export interface CommitRequest {
  readonly kind: 'commit';
  readonly tag: number;
  /** Monotonic time of the machine at which it was submitted, in milliseconds. */
  readonly submittedAtMs: number;
  readonly expects: number;
  readonly clears: number;
  /** Key and value of each expectation, begin and end of each range, key and value of each put. */
  readonly packed: Uint8Array;
}

export interface ReadRequest {
  readonly kind: 'read';
  readonly tag: number;
  readonly packed: Uint8Array;
}

export interface RangeRequest {
  readonly kind: 'range';
  readonly tag: number;
  /** Begin and end. */
  readonly packed: Uint8Array;
  readonly bytesMax: number;
}

export type StoreRequest = CommitRequest | ReadRequest | RangeRequest;

export type StoreAnswer =
  | { readonly kind: 'commit'; readonly tag: number; readonly outcome: string; readonly reason?: string }
  | { readonly kind: 'read'; readonly tag: number; readonly packed: Uint8Array }
  | { readonly kind: 'range'; readonly tag: number; readonly packed: Uint8Array; readonly more: boolean }
  | { readonly kind: 'failed'; readonly tag: number; readonly reason: string };

/** Milliseconds that never fall, and that mean the same in every thread of the machine (`performance.now` does not). */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}

export function pack(strings: readonly (Uint8Array | undefined)[]): Uint8Array<ArrayBuffer> {
  let length = 4 + strings.length * 4;
  for (const string of strings) length += string?.length ?? 0;
  const packed = new Uint8Array(length);
  const view = viewOf(packed);
  view.setUint32(0, strings.length);
  let at = 4 + strings.length * 4;
  strings.forEach((string, i) => {
    view.setUint32(4 + i * 4, string?.length ?? ABSENT);
    if (string === undefined) return;
    packed.set(string, at);
    at += string.length;
  });
  return packed;
}

/** The strings, as views of the packed bytes. */
export function unpack(packed: Uint8Array): (Uint8Array | undefined)[] {
  const view = viewOf(packed);
  const count = view.getUint32(0);
  const strings: (Uint8Array | undefined)[] = [];
  let at = 4 + count * 4;
  for (let i = 0; i < count; i++) {
    const length = view.getUint32(4 + i * 4);
    if (length === ABSENT) {
      strings.push(undefined);
      continue;
    }
    strings.push(packed.subarray(at, at + length));
    at += length;
  }
  return strings;
}

export function packTransaction({ expect, clear, puts }: StoreTransaction): Uint8Array<ArrayBuffer> {
  const strings: (Uint8Array | undefined)[] = [];
  for (const { key, value } of expect) strings.push(key, value);
  for (const { begin, end } of clear) strings.push(begin, end);
  for (const { key, value } of puts) strings.push(key, value);
  return pack(strings);
}

export function unpackTransaction(request: CommitRequest): StoreTransaction {
  const strings = unpack(request.packed);
  const expect: Expectation[] = [];
  const clear: KeyRange[] = [];
  const puts: Put[] = [];
  const clearsAt = request.expects * 2;
  const putsAt = clearsAt + request.clears * 2;
  for (let i = 0; i < strings.length; i += 2) {
    const first = strings[i]!;
    const second = strings[i + 1];
    if (i < clearsAt) expect.push({ key: first, value: second });
    else if (i < putsAt) clear.push({ begin: first, end: second! });
    else puts.push({ key: first, value: second! });
  }
  return { expect, clear, puts };
}

export function packPairs(pairs: readonly Put[]): Uint8Array<ArrayBuffer> {
  return pack(pairs.flatMap(({ key, value }) => [key, value]));
}

export function unpackPairs(packed: Uint8Array): Put[] {
  const strings = unpack(packed);
  const pairs: Put[] = [];
  for (let i = 0; i < strings.length; i += 2) pairs.push({ key: strings[i]!, value: strings[i + 1]! });
  return pairs;
}
