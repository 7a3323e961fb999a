/** Frames that the gateway itself answers with: collected while a message is handled, sent as one. */
import { BatchBuilder } from '../core/batch.js';
import type { ErrorCode } from '../core/errors.js';
import { At, type Frame, Kind, makeFrame, readU53, writeFrame } from '../core/frame.js';
import { FRAME_HEADER_BYTES } from '../core/limits.js';

const encoder = new TextEncoder();

export class Replies {
  readonly #builder = new BatchBuilder(4_096);

  get isEmpty(): boolean {
    return this.#builder.at === 0;
  }

  add(frame: Frame): void {
    const bytes = FRAME_HEADER_BYTES + frame.payload.length;
    const at = this.#builder.open(bytes);
    writeFrame(this.#builder.bytes, this.#builder.view, at, frame);
  }

  /** Rejects the frame at `at`, naming its conversation and counter. */
  reject(view: DataView, at: number, device: number, error: ErrorCode, timeMs: number): void {
    this.add(
      makeFrame({
        kind: Kind.REJECT,
        convA: readU53(view, at + At.CONV_A),
        convB: readU53(view, at + At.CONV_B),
        device,
        counter: view.getUint32(at + At.COUNTER),
        time: timeMs,
        extra: error.code,
        payload: encoder.encode(error.sentence),
      }),
    );
  }

  /** Rejects something that has no readable fields. */
  rejectUnread(device: number, error: ErrorCode, timeMs: number): void {
    const payload = encoder.encode(error.sentence);
    this.add(makeFrame({ kind: Kind.REJECT, device, time: timeMs, extra: error.code, payload }));
  }

  /** What was collected, as one message; then starts over. */
  take(): Uint8Array {
    const bytes = this.#builder.bytes.slice(0, this.#builder.at);
    this.#builder.reset();
    return bytes;
  }
}
