/** The process that floods (flood.ts), as its parent sees it. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FloodOrder } from './flood.js';

export class Sender {
  readonly #child: ChildProcess;
  readonly #gone: Promise<never>;

  constructor() {
    this.#child = fork(fileURLToPath(new URL('./flood.js', import.meta.url)));
    this.#gone = new Promise((_, reject) => {
      this.#child.once('exit', () => reject(new Error('the sender ended: a connection was closed')));
    });
    this.#gone.catch(() => {});
  }

  /** Resolves when it is done. */
  async order(order: FloodOrder): Promise<void> {
    const done = new Promise((resolve) => {
      this.#child.once('message', resolve);
    });
    this.#child.send(order);
    await Promise.race([done, this.#gone]);
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}
