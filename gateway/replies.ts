/** Frames that the gateway itself answers with: collected while a message is handled, sent as one. */
import { BatchBuilder } from '../core/batch.js';
import type { ErrorCode } from '../core/errors.js';
import { At, type Frame, Kind, makeFrame, readU53, writeFrame } from '../core/frame.js';
import {
  FRAME_HEADER_BYTES,
  FRAMES_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  SOCKET_BUFFER_BYTES_MAX,
} from '../core/limits.js';
import type { Socket } from './hub.js';

/** Deliveries leave at most half of this unsent. Who asks on and on without reading the answers gets no more of them. */
const UNREAD_BYTES_MAX = 2 * (SOCKET_BUFFER_BYTES_MAX + MESSAGE_BYTES_MAX);

const encoder = new TextEncoder();

export class Replies {
  readonly #builder = new BatchBuilder(4_096);
  /** Messages that are full. Answers are short: they are full by count, far below their limit of bytes. */
  readonly #full: Uint8Array[] = [];

  add(frame: Frame): void {
    if (this.#builder.count === FRAMES_PER_MESSAGE_MAX) this.#close();
    const at = this.#builder.open(FRAME_HEADER_BYTES + frame.payload.length);
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

  #close(): void {
    if (this.#builder.at > 0) this.#full.push(this.#builder.bytes.slice(0, this.#builder.at));
    this.#builder.reset();
  }

  /** Sends what was collected, and starts over. False: the peer does not read, nothing was sent. */
  sendTo(socket: Socket | undefined): boolean {
    this.#close();
    const messages = this.#full.splice(0);
    if (messages.length === 0 || socket === undefined) return true;
    if (socket.bufferedBytes() > UNREAD_BYTES_MAX) return false;
    return messages.every((message) => socket.send(message));
  }
}
