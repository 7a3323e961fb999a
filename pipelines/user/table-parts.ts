/**
 * An index of a device table (core/device-table.ts has the layout): which bytes of a frame's payload are for which device.
 * Made once a frame, so that a fan-out to many users does not search the table from its start for each of their devices. The
 * gateway has checked the table; a malformed rest is treated as absent all the same.
 */
import { At } from '../../core/frame.js';
import { FRAME_HEADER_BYTES } from '../../core/limits.js';

const PART_HEADER_BYTES = 15;
const TWO_32 = 2 ** 32;

export class TableParts {
  #keys = new Float64Array(256);
  #starts = new Uint32Array(256);
  #lengths = new Uint32Array(256);
  #count = 0;

  /** Indexes the table in the payload of the frame at `frame`. */
  load(view: DataView, frame: number): void {
    this.#count = 0;
    const end = frame + FRAME_HEADER_BYTES + view.getUint32(frame + At.LENGTH);
    let at = frame + FRAME_HEADER_BYTES;
    if (at + 5 > end || view.getUint8(at) !== 0xdd) return;
    const count = view.getUint32(at + 1);
    at += 5;
    for (let i = 0; i < count; i++) {
      if (at + PART_HEADER_BYTES > end || view.getUint8(at) !== 0x92) return;
      const key = view.getUint32(at + 2) * TWO_32 + view.getUint32(at + 6);
      const length = view.getUint32(at + 11);
      at += PART_HEADER_BYTES;
      if (at + length > end) return;
      this.#add(key, at, length);
      at += length;
    }
  }

  #add(key: number, start: number, length: number): void {
    if (this.#count === this.#keys.length) {
      const keys = new Float64Array(this.#count * 2);
      const starts = new Uint32Array(this.#count * 2);
      const lengths = new Uint32Array(this.#count * 2);
      keys.set(this.#keys);
      starts.set(this.#starts);
      lengths.set(this.#lengths);
      this.#keys = keys;
      this.#starts = starts;
      this.#lengths = lengths;
    }
    this.#keys[this.#count] = key;
    this.#starts[this.#count] = start;
    this.#lengths[this.#count] = length;
    this.#count++;
  }

  /** Number of the device's part, or −1. */
  find(device: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < device) low = middle + 1;
      else high = middle;
    }
    return low < this.#count && this.#keys[low] === device ? low : -1;
  }

  start(part: number): number {
    return this.#starts[part]!;
  }

  length(part: number): number {
    return this.#lengths[part]!;
  }
}
