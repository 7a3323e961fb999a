/**
 * How long a lane is behind its log, from what it shows now and then: bytes that it has read, and bytes that it has not. When it
 * is asked, the log has had for so long what the lane has not read yet. No clock of the log is needed, so nothing jumps with it.
 *
 * Bytes alone bound memory, not time: a machine that is short of processor time needs many seconds for what a free one does at
 * once, and whoever sends is better told so.
 */
import { BACKLOG_BYTES_MAX, BACKLOG_BYTES_MIN, BACKLOG_MS_MAX } from '../core/limits.js';

/** Far more than the time that matters, at a few looks a second. */
const SAMPLES_MAX = 256;

interface Sample {
  readonly atMs: number;
  /** Bytes that had come by then, read or not. */
  readonly bytes: number;
}

export class Backlog {
  /** Oldest first; all but what the lane has read. */
  #samples: Sample[] = [];
  #lagBytes = 0;
  #ageMs = 0;

  /** Takes what a lane shows at a time; counts of the lane begin anew when it starts again. */
  note(atMs: number, readBytes: number, lagBytes: number): void {
    const bytes = readBytes + lagBytes;
    this.#lagBytes = lagBytes;
    if (bytes < (this.#samples.at(-1)?.bytes ?? 0)) this.#samples = [];
    if (this.#samples.length < SAMPLES_MAX) this.#samples.push({ atMs, bytes });
    const unread = this.#samples.findIndex((sample) => sample.bytes > readBytes);
    this.#samples = unread < 0 ? [] : this.#samples.slice(unread);
    this.#ageMs = this.#samples[0] === undefined ? 0 : atMs - this.#samples[0].atMs;
  }

  /** For how long the lane has been behind what it reads now, at least; 0: it is not. */
  get ageMs(): number {
    return this.#ageMs;
  }

  /** New sends are refused. A few frames that wait for a thread's turn are no backlog, however long. */
  get isTooFar(): boolean {
    if (this.#lagBytes > BACKLOG_BYTES_MAX) return true;
    return this.#lagBytes > BACKLOG_BYTES_MIN && this.#ageMs > BACKLOG_MS_MAX;
  }
}
