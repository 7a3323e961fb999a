/**
 * A received frame, read where it lies. One view is used for all frames of a client, so its fields hold only while the
 * event that passed it runs; `copy()` makes a frame to keep.
 */
import { At, type Frame, readFrame, readU53, viewOf } from '../core/frame.js';

const EMPTY = new Uint8Array(0);

/**
 * The bytes that were looked at last, and their view: who reads all its sockets into one buffer, as a load generator does, needs
 * one view in all.
 */
let lastBytes: Uint8Array = EMPTY;
let lastView: DataView = viewOf(EMPTY);

export function sharedViewOf(bytes: Uint8Array): DataView {
  if (bytes !== lastBytes) {
    lastView = viewOf(bytes);
    lastBytes = bytes;
  }
  return lastView;
}

export class FrameView {
  #bytes: Uint8Array = EMPTY;
  #view: DataView = lastView;
  #offset = 0;

  /** Points the view at the canonical frame at `offset`. */
  set(bytes: Uint8Array, view: DataView, offset: number): void {
    if (bytes !== this.#bytes || view !== this.#view) {
      this.#bytes = bytes;
      this.#view = view;
    }
    this.#offset = offset;
  }

  get kind(): number {
    return this.#bytes[this.#offset + At.KIND]!;
  }

  get flags(): number {
    return this.#bytes[this.#offset + At.FLAGS]!;
  }

  get convA(): number {
    return readU53(this.#view, this.#offset + At.CONV_A);
  }

  get convB(): number {
    return readU53(this.#view, this.#offset + At.CONV_B);
  }

  get device(): number {
    return readU53(this.#view, this.#offset + At.DEVICE);
  }

  get counter(): number {
    return this.#view.getUint32(this.#offset + At.COUNTER);
  }

  get seq(): number {
    return this.#view.getUint32(this.#offset + At.SEQ);
  }

  get inbox(): number {
    return readU53(this.#view, this.#offset + At.INBOX);
  }

  get time(): number {
    return readU53(this.#view, this.#offset + At.TIME);
  }

  get extra(): number {
    return this.#view.getUint32(this.#offset + At.EXTRA);
  }

  /** A view into the received bytes, not a copy. */
  get payload(): Uint8Array {
    return this.#bytes.subarray(this.payloadStart, this.payloadEnd);
  }

  /** The received bytes, the payload at `payloadStart` to `payloadEnd` of them: for who reads it where it lies. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Of `bytes`. */
  get view(): DataView {
    return this.#view;
  }

  get payloadStart(): number {
    return this.#offset + At.PAYLOAD;
  }

  get payloadEnd(): number {
    return this.payloadStart + this.#view.getUint32(this.#offset + At.LENGTH);
  }

  /** The frame with a copy of its payload. */
  copy(): Frame {
    const frame = readFrame(this.#bytes, this.#view, this.#offset);
    return { ...frame, payload: frame.payload.slice() };
  }
}
