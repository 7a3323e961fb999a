/**
 * A received frame, read where it lies. One view is used for all frames of a client, so its fields hold only while the
 * event that passed it runs; `copy()` makes a frame to keep.
 */
import { At, type Frame, readFrame, readU53 } from '../core/frame.js';

const EMPTY = new Uint8Array(0);

export class FrameView {
  #bytes: Uint8Array = EMPTY;
  #view: DataView = new DataView(EMPTY.buffer);
  #offset = 0;

  /** Points the view at the canonical frame at `offset`. */
  set(bytes: Uint8Array, view: DataView, offset: number): void {
    this.#bytes = bytes;
    this.#view = view;
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
    const at = this.#offset + At.PAYLOAD;
    return this.#bytes.subarray(at, at + this.#view.getUint32(this.#offset + At.LENGTH));
  }

  /** The frame with a copy of its payload. */
  copy(): Frame {
    const frame = readFrame(this.#bytes, this.#view, this.#offset);
    return { ...frame, payload: frame.payload.slice() };
  }
}
