/** Collects frames for one WebSocket message, within the protocol's limits on its length and its number of frames. */
import { At, writeU53 } from '../core/frame.js';
import { FRAME_HEADER_BYTES, FRAMES_PER_MESSAGE_MAX, MESSAGE_BYTES_MAX } from '../core/limits.js';

const INITIAL_BYTES = 1_024;
/** A buffer that grew beyond this for one large message is given back. */
const KEPT_BYTES_MAX = 64 * 1_024;
const EMPTY = new Uint8Array(0);

/** A canonical header with all fields zero: copied, then patched. */
const BLANK = new Uint8Array(FRAME_HEADER_BYTES);
for (const [at, type] of [
  [0, 0x9b],
  [1, 0xcc],
  [3, 0xcc],
  [5, 0xcf],
  [14, 0xcf],
  [23, 0xcf],
  [32, 0xce],
  [37, 0xce],
  [42, 0xcf],
  [51, 0xcf],
  [60, 0xce],
  [65, 0xc6],
] as const) {
  BLANK[at] = type;
}

export class Output {
  #bytes: Uint8Array = EMPTY;
  #view: DataView = new DataView(EMPTY.buffer);
  #length = 0;
  #frames = 0;

  get frames(): number {
    return this.#frames;
  }

  get byteLength(): number {
    return this.#length;
  }

  /** True if one more frame with a payload of `payloadBytes` stays within the limits. */
  hasRoom(payloadBytes: number): boolean {
    return (
      this.#frames < FRAMES_PER_MESSAGE_MAX && this.#length + FRAME_HEADER_BYTES + payloadBytes <= MESSAGE_BYTES_MAX
    );
  }

  /** Adds a frame with the fields that a client decides; the others are zero. The caller has checked `hasRoom`. */
  write(
    kind: number,
    flags: number,
    convA: number,
    convB: number,
    counter: number,
    seq: number,
    inbox: number,
    extra: number,
    payload: Uint8Array,
  ): void {
    const at = this.#length;
    const end = at + FRAME_HEADER_BYTES + payload.length;
    if (end > this.#bytes.length) this.#grow(end);
    const bytes = this.#bytes;
    const view = this.#view;
    bytes.set(BLANK, at);
    bytes[at + At.KIND] = kind;
    bytes[at + At.FLAGS] = flags;
    if (convA !== 0) writeU53(view, at + At.CONV_A, convA);
    if (convB !== 0) writeU53(view, at + At.CONV_B, convB);
    view.setUint32(at + At.COUNTER, counter);
    view.setUint32(at + At.SEQ, seq);
    if (inbox !== 0) writeU53(view, at + At.INBOX, inbox);
    view.setUint32(at + At.EXTRA, extra);
    view.setUint32(at + At.LENGTH, payload.length);
    bytes.set(payload, at + At.PAYLOAD);
    this.#length = end;
    this.#frames++;
  }

  /** What was collected, valid until the next `write`; the collection starts anew. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    this.#frames = 0;
    if (this.#bytes.length > KEPT_BYTES_MAX) {
      this.#bytes = EMPTY;
      this.#view = new DataView(EMPTY.buffer);
    }
    return taken;
  }

  #grow(needed: number): void {
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2, INITIAL_BYTES));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
