/**
 * Keeps a worker thread alive: one that ends although nobody stopped it is started again, at once the first time, then with
 * growing pauses. One that keeps dying is beyond repair, and whoever runs the process is told.
 */
import type { Worker } from 'node:worker_threads';

/** Restarts within the window after which a worker counts as beyond repair. */
const RESTARTS_MAX = 10;
const RESTART_WINDOW_MS = 60_000;
const PAUSE_MS_MAX = 2_000;

export interface SuperviseOptions {
  readonly name: string;
  /** Starts the worker for the `restart`-th time (0: the first). */
  readonly start: (restart: number) => Worker;
  /** False: one that ends by itself is beyond repair at once. */
  readonly restarts?: boolean;
  readonly onMessage?: (message: unknown) => void;
  readonly warn: (sentence: string) => void;
  readonly fatal: (error: Error) => void;
  /** Milliseconds that never fall. */
  readonly nowMs: () => number;
  readonly later: (run: () => void, ms: number) => void;
}

export class Supervised {
  readonly #options: SuperviseOptions;
  readonly #deaths: number[] = [];
  #worker: Worker | undefined;
  #restarts = 0;
  #stopping = false;
  #error: Error | undefined;
  #stopped: (() => void) | undefined;

  constructor(options: SuperviseOptions) {
    this.#options = options;
    this.#start();
  }

  get restarts(): number {
    return this.#restarts;
  }

  get worker(): Worker | undefined {
    return this.#worker;
  }

  #start(): void {
    const worker = this.#options.start(this.#restarts);
    this.#worker = worker;
    this.#error = undefined;
    worker.on('message', (message: unknown) => this.#options.onMessage?.(message));
    worker.on('error', (error: Error) => {
      this.#error = error;
    });
    worker.on('exit', (code) => this.#ended(code));
  }

  #ended(code: number): void {
    this.#worker = undefined;
    if (this.#stopping) {
      this.#stopped?.();
      return;
    }
    const { name, warn, fatal, nowMs, later } = this.#options;
    const why = this.#error?.message ?? `it ended with code ${code}`;
    if (this.#options.restarts === false) {
      fatal(new Error(`${name} died, and cannot start again without a log that is kept: ${why}`));
      return;
    }
    const now = nowMs();
    this.#deaths.push(now);
    while (this.#deaths[0]! < now - RESTART_WINDOW_MS) this.#deaths.shift();
    if (this.#deaths.length > RESTARTS_MAX) {
      fatal(new Error(`${name} died ${this.#deaths.length} times within a minute, the last time because ${why}`));
      return;
    }
    const pauseMs = Math.min(PAUSE_MS_MAX, 50 * (2 ** (this.#deaths.length - 1) - 1));
    warn(`${name} died: ${why}. It starts again${pauseMs > 0 ? ` in ${pauseMs} ms` : ''}.`);
    this.#restarts++;
    later(() => {
      if (!this.#stopping) this.#start();
    }, pauseMs);
  }

  /** No more restarts. Resolves when the worker has ended; `ask` tells it to. */
  async stop(ask: (worker: Worker) => void): Promise<void> {
    this.#stopping = true;
    const worker = this.#worker;
    if (worker === undefined) return;
    await new Promise<void>((resolve) => {
      this.#stopped = resolve;
      ask(worker);
    });
  }
}
