/** What one generator saw, written down as it happens: a history for `dunlin chaos check`, one JSON object a line. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type HistoryEvent, writeHistoryLine } from '../../core/checks/history.js';

/** Written in pieces of about this many characters. */
const PIECE_CHARS = 256 * 1_024;

export class HistoryFile {
  readonly #fd: number;
  #lines = '';
  #isClosed = false;

  /** Replaces what is there. */
  constructor(path: string) {
    this.#fd = openSync(path, 'w');
  }

  /** Nothing, once it is closed. */
  add(event: HistoryEvent): void {
    if (this.#isClosed) return;
    this.#lines += `${writeHistoryLine(event)}\n`;
    if (this.#lines.length >= PIECE_CHARS) this.#flush();
  }

  #flush(): void {
    if (this.#lines.length > 0) writeSync(this.#fd, this.#lines);
    this.#lines = '';
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#flush();
    closeSync(this.#fd);
  }
}
