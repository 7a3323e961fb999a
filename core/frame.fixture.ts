/** Frames for tests: arbitraries, and the ways in which msgpack may write a number. */
import fc from 'fast-check';
import { encodeFrame, type Frame } from './frame.js';

export const anyFrame: fc.Arbitrary<Frame> = fc.record(
  {
    kind: fc.nat(0xff),
    flags: fc.nat(0xff),
    convA: fc.maxSafeNat(),
    convB: fc.maxSafeNat(),
    device: fc.maxSafeNat(),
    counter: fc.nat(0xffff_ffff),
    seq: fc.nat(0xffff_ffff),
    inbox: fc.maxSafeNat(),
    time: fc.maxSafeNat(),
    extra: fc.nat(0xffff_ffff),
    payload: fc.uint8Array({ maxLength: 300 }),
  },
  { noNullPrototype: true },
);

/** The frame's items in their order. */
export function itemsOf(frame: Frame): (number | Uint8Array)[] {
  const { kind, flags, convA, convB, device, counter, seq, inbox, time, extra, payload } = frame;
  return [kind, flags, convA, convB, device, counter, seq, inbox, time, extra, payload];
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Bytes that msgpack gives a meaning to: a random one of them is more telling than any random byte. */
export const TELLING_BYTES = [
  0x00, 0x01, 0x7f, 0x80, 0x81, 0x90, 0x91, 0x92, 0x9b, 0x9f, 0xa0, 0xc0, 0xc1, 0xc2, 0xc4, 0xc5, 0xc6, 0xca, 0xcb,
  0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xd9, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
];

export type Width = 'fix' | 'u8' | 'u16' | 'u32' | 'u64' | 'i8' | 'i16' | 'i32' | 'i64' | 'f64';

const WIDTHS: Record<Width, { readonly type: number; readonly bytes: number; readonly max: number }> = {
  fix: { type: -1, bytes: 0, max: 0x7f },
  u8: { type: 0xcc, bytes: 1, max: 0xff },
  u16: { type: 0xcd, bytes: 2, max: 0xffff },
  u32: { type: 0xce, bytes: 4, max: 0xffff_ffff },
  u64: { type: 0xcf, bytes: 8, max: Number.MAX_SAFE_INTEGER },
  i8: { type: 0xd0, bytes: 1, max: 0x7f },
  i16: { type: 0xd1, bytes: 2, max: 0x7fff },
  i32: { type: 0xd2, bytes: 4, max: 0x7fff_ffff },
  i64: { type: 0xd3, bytes: 8, max: Number.MAX_SAFE_INTEGER },
  f64: { type: 0xcb, bytes: 8, max: Number.MAX_SAFE_INTEGER },
};

export const ALL_WIDTHS = Object.keys(WIDTHS) as Width[];

/** A number in one msgpack width; in the widest integer if it does not fit. */
export function writeNumber(value: number, width: Width): number[] {
  const { type, bytes, max } = WIDTHS[width];
  if (value > max) return writeNumber(value, 'u64');
  if (width === 'fix') return [value];
  const view = new DataView(new ArrayBuffer(8));
  if (width === 'f64') view.setFloat64(0, value);
  else view.setBigUint64(0, BigInt(value));
  return [type, ...new Uint8Array(view.buffer, 8 - bytes)];
}

export type BinWidth = 'bin8' | 'bin16' | 'bin32';

export function writeBinary(value: Uint8Array, width: BinWidth): number[] {
  const length = value.length;
  if (width === 'bin8' && length <= 0xff) return [0xc4, length, ...value];
  if (width !== 'bin32' && length <= 0xffff) return [0xc5, length >>> 8, length & 0xff, ...value];
  return [0xc6, length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff, ...value];
}

export type ArrayWidth = 'fix' | 'a16' | 'a32';

export function writeArray(length: number, width: ArrayWidth): number[] {
  if (width === 'fix' && length < 16) return [0x90 | length];
  if (width !== 'a32' && length <= 0xffff) return [0xdc, length >>> 8, length & 0xff];
  return [0xdd, length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff];
}

/** A frame with each item in the width of its place. */
export function encodeLoosely(frame: Frame, widths: readonly Width[], bin: BinWidth, array: ArrayWidth): Uint8Array {
  const bytes = writeArray(11, array);
  itemsOf(frame).forEach((item, i) => {
    bytes.push(...(typeof item === 'number' ? writeNumber(item, widths[i]!) : writeBinary(item, bin)));
  });
  return Uint8Array.from(bytes);
}

/** Canonical frames, one behind the other. */
export function encodeAll(frames: readonly Frame[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(frames.map(encodeFrame)));
}
