/** A client's own speed limit: a token bucket for frames and one for bytes, so that the gateway's never runs empty. */
const NEVER = Number.POSITIVE_INFINITY;
/** With an empty bucket the client waits for this share of a second, rather than for every single frame. */
const WAIT_MS = 20;

export class Pace {
  readonly #framesPerMs: number;
  readonly #framesBurst: number;
  readonly #bytesPerMs: number;
  readonly #bytesBurst: number;
  #frames: number;
  #bytes: number;
  #filledAtMs = 0;
  /** When sending may go on; infinite: it need not wait. */
  readyAtMs = NEVER;

  constructor(framesPerSecond: number, framesBurst: number, bytesPerSecond: number, bytesBurst: number) {
    this.#framesPerMs = framesPerSecond / 1_000;
    this.#framesBurst = Math.max(framesBurst, framesPerSecond / 50);
    this.#bytesPerMs = bytesPerSecond / 1_000;
    this.#bytesBurst = Math.max(bytesBurst, bytesPerSecond / 50);
    this.#frames = this.#framesBurst;
    this.#bytes = this.#bytesBurst;
  }

  /** A new connection has full buckets. */
  restart(nowMs: number): void {
    this.#frames = this.#framesBurst;
    this.#bytes = this.#bytesBurst;
    this.#filledAtMs = nowMs;
    this.readyAtMs = NEVER;
  }

  refill(nowMs: number): void {
    const passedMs = nowMs - this.#filledAtMs;
    if (passedMs <= 0) return;
    this.#filledAtMs = nowMs;
    this.#frames = Math.min(this.#framesBurst, this.#frames + passedMs * this.#framesPerMs);
    this.#bytes = Math.min(this.#bytesBurst, this.#bytes + passedMs * this.#bytesPerMs);
  }

  /** Whether a message of so many frames may go out, on top of `bytes` of other frames. One frame may overdraw. */
  allows(frames: number, bytes: number): boolean {
    return frames <= this.#frames && bytes < this.#bytes;
  }

  spend(frames: number, bytes: number): void {
    this.#frames -= frames;
    this.#bytes -= bytes;
  }

  /** Something is left to send, or nothing. */
  wait(isLeft: boolean, nowMs: number): void {
    this.readyAtMs = isLeft ? nowMs + WAIT_MS : NEVER;
  }
}
