/**
 * What goes out is known to the storage before it goes: when a client's state is to be saved, and what waits for that. Whoever
 * keeps the storage (a shell, a simulator) calls `next` whenever something happened, and does what it says.
 */
import { MESSAGE_BYTES_MAX } from '../core/limits.js';
import type { ClientCore } from './core.js';

export interface Step {
  /** WebSocket messages, to be sent in this order. */
  readonly outputs: readonly Uint8Array[];
  /** This state must be safe before they are sent; then call `saved`. Undefined: they can go at once. */
  readonly state: Uint8Array | undefined;
}

export class WriteAhead {
  readonly #core: ClientCore;
  #savedRevision: number;
  /** Of the state that is being saved. */
  #savingRevision = 0;
  #isSaving = false;
  #isDue = false;

  /** What the core holds now is what the storage holds. */
  constructor(core: ClientCore) {
    this.#core = core;
    this.#savedRevision = core.revision;
  }

  /** The storage has everything. */
  get isSaved(): boolean {
    return this.#core.revision === this.#savedRevision;
  }

  /** A state is on its way to the storage; nothing goes out before it is there. */
  get isSaving(): boolean {
    return this.#isSaving;
  }

  /** What the application did last is to be saved now, not only before the next output. */
  due(): void {
    this.#isDue = true;
  }

  /** What to do now; undefined: nothing before what is being saved is safe. `hasRoom`: the transport takes more. */
  next(nowMs: number, hasRoom: () => boolean): Step | undefined {
    if (this.#isSaving) return undefined;
    const core = this.#core;
    const outputs: Uint8Array[] = [];
    let bytes = 0;
    while (hasRoom() && bytes < MESSAGE_BYTES_MAX) {
      const output = core.takeOutput(nowMs);
      if (output === undefined) break;
      outputs.push(output.slice());
      bytes += output.length;
    }
    if (this.isSaved || (outputs.length === 0 && !this.#isDue)) return { outputs, state: undefined };
    this.#isSaving = true;
    this.#isDue = false;
    this.#savingRevision = core.revision;
    return { outputs, state: core.snapshot() };
  }

  /** The state of the last step is safe: its outputs may go, if their transport is still there. */
  saved(): void {
    this.#isSaving = false;
    this.#savedRevision = this.#savingRevision;
  }
}
